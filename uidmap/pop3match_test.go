package uidmap

// The matcher on listings that are made to mislead it, and on many small ones.

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// uidlFormats are what servers make UIDLs of that need no reading.
var uidlFormats = map[string]func(uid mailhaul.UID, n int, rng *rand.Rand) string{
	"Dovecot": func(uid mailhaul.UID, _ int, _ *rand.Rand) string {
		return fmt.Sprintf("%08x%08x", uid, testUIDValidity)
	},
	"Cyrus":   func(uid mailhaul.UID, _ int, _ *rand.Rand) string { return fmt.Sprintf("%d.%d", testUIDValidity, uid) },
	"uidonly": func(uid mailhaul.UID, _ int, _ *rand.Rand) string { return fmt.Sprint(uid) },
	"Cyrus as Courier": func(uid mailhaul.UID, _ int, _ *rand.Rand) string {
		return fmt.Sprintf("%d-%d", testUIDValidity, uid)
	},
	"UW": func(uid mailhaul.UID, _ int, _ *rand.Rand) string {
		return fmt.Sprintf("%08x%08x", testUIDValidity, uid)
	},
	"Gmail": func(uid mailhaul.UID, _ int, _ *rand.Rand) string { return fmt.Sprintf("GmailId%x", uint64(uid)<<24+5) },
	"Courier": func(uid mailhaul.UID, _ int, _ *rand.Rand) string {
		return fmt.Sprintf("UID%d-1700000000", int(uid)+17)
	},
}

// Where UIDLs can be derived nothing is read, whatever the listing is like, and
// even twins get what is theirs.
func TestMatcherDerives(t *testing.T) {
	for name, uidl := range uidlFormats {
		for _, order := range []string{"", "reversed", "blocks", "shuffled"} {
			if name == "Courier" && order == "shuffled" {
				continue // see TestMatcherCounterShuffled
			}
			for seed := range uint64(5) {
				w := newUIDLWorld(uidlWorldConfig{n: 2000, twins: 5, equalSizes: 10, missing: 10, headerDiffs: true, order: order, uidl: uidl}, seed)
				res := w.run(t, UIDLConfig{UIDValidity: testUIDValidity})
				s := w.score(t, res)
				require.Empty(t, w.asked, "%s, %s", name, order)
				require.Zero(t, res.Rounds)
				require.Zero(t, s.wrong)
				require.Equal(t, s.unambiguous, s.right, "%s, %s", name, order)
				require.Equal(t, s.twinsPaired, s.exactTwins)
				for _, p := range res.Pairs {
					require.Equal(t, Proved, p.Basis.Confidence())
				}
			}
		}
	}
}

// A counter is only believed where sizes show that it is in step. A listing in
// no order at all shows nothing, so that it is read.
func TestMatcherCounterShuffled(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 300, missing: 3, order: "shuffled", uidl: uidlFormats["Courier"]}, 1)
	s := w.score(t, w.run(t, UIDLConfig{}))
	assert.Zero(t, s.wrong)
	assert.Equal(t, s.unambiguous, s.right)
}

// Numbers that are in step with the UIDs in one half only are no formula.
func TestMatcherRefutesFormula(t *testing.T) {
	for seed := range uint64(20) {
		w := newUIDLWorld(uidlWorldConfig{n: 400, twins: 5, equalSizes: 10, missing: 4}, seed)
		for n := range w.pop3 {
			uid := w.byNum[n+1].uid
			if n > 200 {
				uid += mailhaul.UID(n) / 100
			}
			w.pop3[n].UIDL = mailhaul.UIDL(fmt.Sprintf("%08x%08x", uid, testUIDValidity))
		}
		res := w.run(t, UIDLConfig{UIDValidity: testUIDValidity})
		s := w.score(t, res)
		require.Zero(t, s.wrong)
		require.Equal(t, s.unambiguous, s.right)
		require.True(t, res.Formula.IsZero())
	}
}

// UIDLs kept from an earlier server stand beside those of this one's formula.
func TestMatcherForeignUIDLs(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 1000, equalSizes: 10, missing: 5, uidl: uidlFormats["Dovecot"]}, 3)
	for n := range w.pop3[:600] {
		w.pop3[n].UIDL = mailhaul.UIDL(fmt.Sprintf("old%dx", n))
	}
	res := w.run(t, UIDLConfig{UIDValidity: testUIDValidity})
	s := w.score(t, res)
	assert.Zero(t, s.wrong)
	assert.Equal(t, s.unambiguous, s.right)
	assert.Equal(t, "uid+uidvalidity hex", res.Formula.String())
	assert.Less(t, res.Asked[POP3Header], 100)
}

// The traps that Dovecot's pop3-migration plugin is known to fall into.
func TestMatcherTraps(t *testing.T) {
	base := uidlWorldConfig{n: 500, missing: 3, headerDiffs: true}
	check := func(t *testing.T, w *uidlWorld, cfg UIDLConfig) UIDLResult {
		t.Helper()
		res := w.run(t, cfg)
		s := w.score(t, res)
		assert.Zero(t, s.wrong)
		assert.Equal(t, s.unambiguous, s.right)
		return res
	}
	t.Run("empty UIDLs", func(t *testing.T) {
		for _, order := range []string{"", "shuffled"} {
			cfg := base
			cfg.order = order
			w := newUIDLWorld(cfg, 1)
			for n := range w.pop3 {
				if n%7 == 0 {
					w.pop3[n].UIDL = ""
				}
			}
			check(t, w, UIDLConfig{})
		}
	})
	t.Run("all UIDLs the same", func(t *testing.T) {
		w := newUIDLWorld(base, 2)
		for n := range w.pop3 {
			w.pop3[n].UIDL = "1"
		}
		check(t, w, UIDLConfig{UIDValidity: 1})
	})
	t.Run("all sizes equal", func(t *testing.T) {
		w := newUIDLWorld(base, 3)
		for n := range w.pop3 {
			w.pop3[n].Size = 4096
		}
		for n := range w.imap {
			w.imap[n].Size = 4096
		}
		check(t, w, UIDLConfig{})
	})
	t.Run("two sizes in turn", func(t *testing.T) {
		w := newUIDLWorld(base, 4)
		for n := range w.pop3 {
			w.pop3[n].Size = 4096 + int64(w.byNum[n+1].id%2)
		}
		for n := range w.imap {
			w.imap[n].Size = 4096 + int64(w.byUID[w.imap[n].UID].id%2)
		}
		check(t, w, UIDLConfig{})
	})
	t.Run("no sizes", func(t *testing.T) {
		w := newUIDLWorld(base, 5)
		for n := range w.pop3 {
			w.pop3[n].Size = 0
		}
		check(t, w, UIDLConfig{})
	})
	t.Run("sizes are guesses", func(t *testing.T) {
		w := newUIDLWorld(base, 6)
		rng := rand.New(rand.NewPCG(6, 6))
		for n := range w.pop3 {
			w.pop3[n].Size += rng.Int64N(2000)
		}
		check(t, w, UIDLConfig{})
	})
	t.Run("a message replaced by one of its size", func(t *testing.T) {
		w := newUIDLWorld(base, 7)
		for k, m := range w.mails {
			if k%50 == 0 && m.pop3 && m.imap {
				other := *m
				other.content, other.header = -1-k, fmt.Sprintf("Message-ID: <other%d@example.org>\r\n", k)
				other.pop3, m.imap = false, false
				w.byUID[m.uid] = &other
				w.mails = append(w.mails, &other)
			}
		}
		res := check(t, w, UIDLConfig{Thorough: true})
		for _, p := range res.Pairs {
			require.NotEqual(t, UIDLBySequence, p.Basis)
		}
	})
	t.Run("a second copy of half the mailbox", func(t *testing.T) {
		w := newUIDLWorld(base, 8)
		// The copies are twins in the order of the originals.
		cfg := base
		cfg.n = 0
		twice := newUIDLWorld(cfg, 8)
		for _, m := range append(w.mails, w.mails[:250]...) {
			c := *m
			c.uid = mailhaul.UID(len(twice.mails) + 1)
			twice.mails = append(twice.mails, &c)
		}
		twice.list(rand.New(rand.NewPCG(8, 8)))
		res := check(t, twice, UIDLConfig{})
		assert.Less(t, res.Asked[POP3Header], 100)
	})
	t.Run("POP3 shows the newest only", func(t *testing.T) {
		w := newUIDLWorld(uidlWorldConfig{n: 20_000, equalSizes: 10, missing: 5}, 9)
		for _, m := range w.mails[:19_500] {
			m.pop3 = false
		}
		w.pop3, w.imap, w.byNum, w.byUID = nil, nil, map[int]*oneMail{}, map[mailhaul.UID]*oneMail{}
		w.list(rand.New(rand.NewPCG(9, 9)))
		res := check(t, w, UIDLConfig{})
		assert.Less(t, res.Asked[POP3Header], 150)
	})
}

// What cannot be read costs itself only.
func TestMatcherWithoutEvidence(t *testing.T) {
	never := func() bool { return true }
	for name, c := range map[string]struct {
		down     map[Evidence]func() bool
		complete bool
	}{
		"no TOP":       {map[Evidence]func() bool{POP3Header: never}, true},
		"no IMAP":      {map[Evidence]func() bool{IMAPHeader: never, IMAPBody: never}, false},
		"no bodies":    {map[Evidence]func() bool{POP3Body: never, IMAPBody: never}, false},
		"nothing":      {map[Evidence]func() bool{POP3Header: never, IMAPHeader: never, POP3Body: never, IMAPBody: never}, false},
		"no POP3 body": {map[Evidence]func() bool{POP3Body: never}, false},
	} {
		for _, order := range []string{"", "shuffled"} {
			w := newUIDLWorld(uidlWorldConfig{n: 300, twins: 5, equalSizes: 20, missing: 5, order: order}, 4)
			w.down = c.down
			s := w.score(t, w.run(t, UIDLConfig{}))
			assert.Zero(t, s.wrong, name)
			if c.complete {
				assert.Equal(t, s.unambiguous, s.right, name)
			}
		}
	}
}

func TestMatcherNoRETR(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 1000, twins: 10, equalSizes: 10, missing: 20, drafts: 5, order: "shuffled"}, 5)
	res := w.run(t, UIDLConfig{NoRETR: true})
	s := w.score(t, res)
	assert.Zero(t, s.wrong)
	assert.Equal(t, s.unambiguous, s.right)
	assert.Zero(t, res.Asked[POP3Body])
	reasons := map[UnmatchedReason]int{}
	for _, u := range res.UnmatchedPOP3 {
		reasons[u.Reason]++
	}
	assert.NotZero(t, reasons[NoEvidence])
	assert.NotZero(t, reasons[NoCounterpart])
}

// Many small mailboxes of every kind: no wrong pair ever, and where everything
// can be read each unambiguous message finds its own.
func TestMatcherProperties(t *testing.T) {
	seeds := uint64(1500)
	if testing.Short() {
		seeds = 300
	}
	orders := []string{"", "reversed", "blocks", "swaps", "shuffled"}
	var formats []func(mailhaul.UID, int, *rand.Rand) string
	for _, name := range []string{"Dovecot", "Cyrus", "uidonly", "Cyrus as Courier", "UW", "Gmail", "Courier"} {
		formats = append(formats, uidlFormats[name])
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 9))
		n := rng.IntN(40)
		if rng.IntN(4) == 0 {
			n = rng.IntN(400)
		}
		cfg := uidlWorldConfig{
			n: n, twins: rng.IntN(30), equalSizes: rng.IntN(100), missing: rng.IntN(n/10 + 2),
			order: orders[rng.IntN(len(orders))], delta: rng.Int64N(200) - 100, jitter: rng.Int64N(2) * rng.Int64N(4),
			headerDiffs: rng.IntN(2) == 0, noMessageID: rng.IntN(10), shuffleUIDs: rng.IntN(4) == 0,
		}
		if rng.IntN(2) == 0 {
			cfg.delta = 0
		}
		if n > 0 && rng.IntN(3) == 0 {
			cfg.drafts, cfg.sameSizeOnce = rng.IntN(4), rng.IntN(2)*(4+rng.IntN(10))
		}
		if rng.IntN(4) == 0 {
			cfg.uidl = formats[rng.IntN(len(formats))]
		}
		w := newUIDLWorld(cfg, seed)
		complete := true
		if rng.IntN(4) == 0 {
			complete = false
			flaky := func() bool { return rng.IntN(5) == 0 }
			w.down = map[Evidence]func() bool{POP3Header: flaky, IMAPHeader: flaky, POP3Body: flaky, IMAPBody: flaky}
		}
		uc := UIDLConfig{UIDValidity: testUIDValidity, Thorough: rng.IntN(4) == 0}
		res := w.run(t, uc)
		s := w.score(t, res)
		require.Zero(t, s.wrong, "seed %d: %+v", seed, cfg)
		require.LessOrEqual(t, res.Rounds, 6, "seed %d", seed)
		if complete {
			require.Equal(t, s.unambiguous, s.right, "seed %d: %+v", seed, cfg)
		}
	}
}

func TestMatcherRefusesListings(t *testing.T) {
	_, err := NewUIDLMatcher([]POP3Message{{Number: 1}, {Number: 1}, {}}, []IMAPMessage{{UID: 1}, {UID: 1}, {}}, UIDLConfig{})
	require.Error(t, err)
	for _, want := range []string{"message 1 twice", "message number 0", "UID 1 twice", "without UID"} {
		assert.ErrorContains(t, err, want)
	}
	m, err := NewUIDLMatcher(nil, nil, UIDLConfig{})
	require.NoError(t, err)
	assert.True(t, m.Done())
	assert.Empty(t, m.Result().Pairs)
}

// Answers to what was never asked, or twice, do no harm.
func TestMatcherIgnoresStrangeAnswers(t *testing.T) {
	m, err := NewUIDLMatcher([]POP3Message{{Number: 1, UIDL: "a", Size: 9}}, []IMAPMessage{{UID: 7, Size: 9}}, UIDLConfig{})
	require.NoError(t, err)
	header := []byte("Received: from mx\r\nMessage-ID: <1@example.org>\r\n\r\n")
	for _, r := range []Request{{}, {Evidence: POP3Header, Number: 2}, {Evidence: IMAPHeader, UID: 8}, {Evidence: 99, Number: 1}} {
		m.Header(r, header)
		m.Body(r, Digest{})
		m.Unavailable(r)
	}
	require.Len(t, m.Need(), 2)
	for _, r := range m.Need() {
		m.Header(r, header)
		m.Header(r, nil)
		m.Unavailable(r)
	}
	require.True(t, m.Done())
	assert.Equal(t, []UIDLMatch{{Number: 1, UIDL: "a", UID: 7, Basis: UIDLByHeader}}, m.Result().Pairs)
}

// Evidence that is at hand is not asked for.
func TestMatcherTakesEvidenceUnasked(t *testing.T) {
	w := newUIDLWorld(uidlWorldConfig{n: 50, order: "shuffled"}, 1)
	m, err := NewUIDLMatcher(w.pop3, w.imap, UIDLConfig{})
	require.NoError(t, err)
	for _, i := range w.imap {
		w.answer(m, Request{Evidence: IMAPHeader, UID: i.UID})
	}
	for _, r := range m.Need() {
		require.Equal(t, POP3Header, r.Evidence)
		require.NotEmpty(t, r.UIDL)
		w.answer(m, r)
	}
	require.True(t, m.Done())
	assert.Len(t, m.Result().Pairs, 50)
}

// A listing that repeats itself has no places worth looking at: looking at all
// of them would take its square.
func TestAlignRepetitiveListing(t *testing.T) {
	sizes := make([]int64, 50_000)
	for k := range sizes {
		sizes[k] = int64(k%7) + 5
	}
	assert.Empty(t, seedAndExtend(sizes, sizes, sizeLaw{known: true}))
	law, runs := alignSizes(sizes, sizes)
	assert.Empty(t, runs)
	assert.False(t, law.known)
}
