package uidmap

// One test for each rule of the matcher that prevents a wrong pair.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// relist lists the world's mails anew, numbered in their order.
func (w *uidlWorld) relist(seed uint64) {
	for n, m := range w.mails {
		m.uid = mailhaul.UID(n + 1)
	}
	w.pop3, w.imap, w.byNum, w.byUID = nil, nil, map[int]*oneMail{}, map[mailhaul.UID]*oneMail{}
	w.list(rand.New(rand.NewPCG(seed, 3)))
}

// requireRight runs the matcher and wants everything right.
func (w *uidlWorld) requireRight(t *testing.T, cfg UIDLConfig) (UIDLResult, uidlScore) {
	t.Helper()
	res := w.run(t, cfg)
	s := w.score(t, res)
	require.Zero(t, s.wrong)
	require.Equal(t, s.unambiguous, s.right)
	return res, s
}

// Of three neighbours of one size POP3 has the first two and IMAP the last two.
func TestMatcherNeighboursOfOneSize(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 500}, 1)
	for at := 50; at < 500; at += 100 {
		var row []*oneMail
		for k := range 3 {
			row = append(row, &oneMail{
				content: 10_000 + at + k, size: int64(900_000 + at), pop3: k < 2, imap: k > 0,
				header: fmt.Sprintf("Received: x\r\nMessage-ID: <row%d.%d@example.org>\r\n", at, k),
			})
		}
		w.mails = slices.Insert(w.mails, at, row...)
	}
	w.relist(1)
	w.requireRight(t, UIDLConfig{})
}

// In a listing with the newest first, twins are the newest first too.
func TestMatcherTwinsInFallingOrder(t *testing.T) {
	for _, order := range []string{"", "reversed"} {
		w := newUIDLWorld(uidlWorldConfig{n: 500, twins: 15, order: order}, 2)
		_, s := w.requireRight(t, UIDLConfig{})
		assert.NotZero(t, s.twins)
		assert.Equal(t, s.twins, s.exactTwins)
	}
}

// A message whose size is wrong in one listing is looked for among all others.
func TestMatcherLooksBeyondSizes(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 3000}, 3)
	for _, m := range w.mails[:2500] {
		m.pop3 = false
	}
	w.relist(3)
	for n := 5; n < len(w.pop3); n += 50 {
		w.pop3[n].Size += 1_000_000
	}
	res, _ := w.requireRight(t, UIDLConfig{})
	assert.NotZero(t, res.Asked[POP3Body])
}

// POP3 counts on where UIDs have gaps: such a counter is not in step.
func TestMatcherCounterOutOfStep(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 500, uidl: func(_ mailhaul.UID, n int, _ *rand.Rand) string { return fmt.Sprintf("UID%d-1", n) }}, 4)
	res, _ := w.requireRight(t, UIDLConfig{})
	for _, p := range res.Pairs {
		require.NotEqual(t, UIDLByCounter, p.Basis)
	}
}

// A few sizes that agree by chance are no alignment.
func TestAlignNotByChance(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	a, b := make([]int64, 200), make([]int64, 200)
	for k := range a {
		a[k], b[k] = 1000+rng.Int64N(1_000_000), 2_000_000+rng.Int64N(1_000_000)
	}
	copy(b[50:54], a[120:124])
	law, runs := alignSizes(a, b)
	assert.Empty(t, runs)
	assert.False(t, law.known)
	copy(b[50:70], a[120:140])
	_, runs = alignSizes(a, b)
	require.Len(t, runs, 1)
	assert.Equal(t, []int{120, 50, 20}, []int{runs[0].p, runs[0].i, runs[0].n})
}

// Messages with one header and one size, but another text.
func TestMatcherSameHeaderOtherText(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 300, order: "shuffled"}, 6)
	for k := 0; k+1 < len(w.mails); k += 10 {
		w.mails[k+1].header, w.mails[k+1].size = w.mails[k].header, w.mails[k].size
	}
	w.relist(6)
	res, _ := w.requireRight(t, UIDLConfig{})
	assert.Equal(t, 60, res.Asked[POP3Body])

	w.asked = nil
	res = w.run(t, UIDLConfig{NoRETR: true})
	assert.Zero(t, w.score(t, res).wrong)
	assert.Len(t, res.UnmatchedPOP3, 60)
	assert.Equal(t, NoEvidence, res.UnmatchedPOP3[0].Reason)
}

// Sizes that agree all along, but the later mails are others: one header that
// contradicts is enough to read the whole run.
func TestMatcherContradictedRun(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 500}, 7)
	var others []*oneMail
	for k, m := range w.mails {
		if k >= 250 {
			o := *m
			o.content, o.pop3, m.imap = -1-k, false, false
			o.header = fmt.Sprintf("Received: x\r\nMessage-ID: <o%d@example.org>\r\n", k)
			others = append(others, &o)
			w.byUID[m.uid] = &o
		}
	}
	w.mails = append(w.mails, others...)
	res, s := w.requireRight(t, UIDLConfig{})
	assert.Equal(t, 250, s.right)
	assert.Len(t, res.UnmatchedIMAP, 250)
}

// Two forms with one text each of which was edited on one side: the text alone
// would pair the one with the other.
func TestMatcherSameTextOtherHeader(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 300}, 8)
	const text, other, another = 10_000, 10_001, 10_002
	add := func(name string, content int, size int64, pop3 bool) {
		w.mails = append(w.mails, &oneMail{content: content, size: size, pop3: pop3, imap: !pop3, header: "Received: x\r\nMessage-ID: <" + name + "@example.org>\r\n"})
	}
	add("a", text, 500_000, true)
	add("a", other, 600_000, false)
	add("b", another, 700_000, true)
	add("b", text, 800_000, false)
	w.relist(8)
	res := w.run(t, UIDLConfig{})
	assert.Equal(t, 2, res.Asked[POP3Body])
	assert.Len(t, res.Pairs, 300)
	assert.Len(t, res.UnmatchedPOP3, 2)
}
