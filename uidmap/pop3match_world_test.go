package uidmap

// A mailbox as two protocols show it, with the truth about it.

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/stretchr/testify/require"
)

// uidlWorldConfig is what a generated mailbox is like.
type uidlWorldConfig struct {
	n            int
	twins        int // per cent that are the same to the octet as one before
	equalSizes   int // per cent that have one of five sizes
	missing      int // how many are on the other side only, on each side
	order        string
	delta        int64 // IMAP's size less POP3's
	jitter       int64 // and up to so much more
	headerDiffs  bool  // the protocols show headers differently
	noMessageID  int   // per cent
	drafts       int   // messages of which each side has another version
	sameSizeOnce int   // messages of one size, of which each side lacks another
	uidl         func(uid mailhaul.UID, n int, rng *rand.Rand) string
	shuffleUIDs  bool
}

const testUIDValidity = 1_500_000_123

// oneMail is a message of the generated mailbox.
type oneMail struct {
	id      int
	content int // the same for twins
	size    int64
	header  string
	pop3    bool
	imap    bool
	uid     mailhaul.UID
	jitter  int64
}

// uidlWorld is both listings, the evidence and the truth.
type uidlWorld struct {
	cfg   uidlWorldConfig
	pop3  []POP3Message
	imap  []IMAPMessage
	byNum map[int]*oneMail
	byUID map[mailhaul.UID]*oneMail
	mails []*oneMail
	down  map[Evidence]func() bool // what the servers do not answer
	asked []Request
}

func newUIDLWorld(cfg uidlWorldConfig, seed uint64) *uidlWorld {
	rng := rand.New(rand.NewPCG(seed, 77))
	w := &uidlWorld{cfg: cfg, byNum: map[int]*oneMail{}, byUID: map[mailhaul.UID]*oneMail{}}
	common := []int64{2_048, 3_100, 3_101, 5_000, 7_777}
	for id := range cfg.n {
		m := &oneMail{id: id, content: id, pop3: true, imap: true}
		// Sizes are as dense as in real mailboxes: most mails are small.
		m.size = 1500 + int64(rng.ExpFloat64()*12_000)
		if rng.IntN(100) < cfg.equalSizes {
			m.size = common[rng.IntN(len(common))]
		}
		var h strings.Builder
		fmt.Fprintf(&h, "Return-Path: <a%d@example.org>\r\nReceived: from mx%d.example.org\r\n\tby here; id %d\r\n", id, id%7, id)
		fmt.Fprintf(&h, "Date: Mon, 2 Jan 2023 15:%02d:%02d +0000\r\nSubject: Message %d \xe4\r\nFrom: <a%d@example.org>\r\n", id/60%60, id%60, id, id%50)
		if rng.IntN(100) >= cfg.noMessageID {
			fmt.Fprintf(&h, "Message-ID: <%d@example.org>\r\n", id)
		}
		m.header = h.String()
		if rng.IntN(100) < cfg.twins && id > 0 {
			near := max(id-1-rng.IntN(40), 0)
			if rng.IntN(2) == 0 {
				near = rng.IntN(id)
			}
			t := w.mails[near]
			m.content, m.size, m.header = t.content, t.size, t.header
		}
		if cfg.jitter > 0 {
			m.jitter = rng.Int64N(2*cfg.jitter+1) - cfg.jitter
		}
		w.mails = append(w.mails, m)
	}
	for _, k := range rng.Perm(cfg.n)[:min(2*cfg.missing, cfg.n)] {
		if m := w.mails[k]; m.pop3 && m.imap {
			if k%2 == 0 {
				m.pop3 = false
			} else {
				m.imap = false
			}
		}
	}
	// Two versions of a draft, with one header: POP3 has the earlier, IMAP the
	// later.
	for k := range cfg.drafts {
		at := rng.IntN(len(w.mails))
		first := *w.mails[at]
		first.size += 100 * int64(k+1)
		second := first
		first.content, second.content = -len(w.mails)-1, -len(w.mails)-2
		first.header = fmt.Sprintf("Message-ID: <draft%d@example.org>\r\nDate: now\r\nSubject: Draft\r\nFrom: me\r\n", len(w.mails))
		second.header = first.header
		second.size += 1 + rng.Int64N(30)
		if second.size-first.size <= maxTolerance {
			second.size += maxTolerance
		}
		first.pop3, first.imap, second.pop3, second.imap = true, false, false, true
		w.mails = slices.Insert(w.mails, at, &first)
		if cfg.jitter > 0 {
			at = len(w.mails) - 1 // else its size would allow it to be the first
		}
		w.mails = slices.Insert(w.mails, at+1, &second)
	}
	// A row of messages of one size, of which each side lacks another: the
	// counts agree, and the sizes do at every place.
	if cfg.sameSizeOnce > 0 {
		at := rng.IntN(len(w.mails))
		row := make([]*oneMail, cfg.sameSizeOnce)
		for k := range row {
			id := 1_000_000 + k
			row[k] = &oneMail{id: id, content: id, size: 4_321, pop3: k != 1, imap: k != len(row)-2,
				header: fmt.Sprintf("Message-ID: <row%d@example.org>\r\nDate: d%d\r\nSubject: Cron\r\nFrom: cron\r\n", k, k)}
		}
		w.mails = slices.Insert(w.mails, at, row...)
	}
	uid := mailhaul.UID(0)
	for _, m := range w.mails {
		uid += mailhaul.UID(1 + rng.IntN(3)*rng.IntN(2))
		m.uid = uid
	}
	if cfg.shuffleUIDs {
		rng.Shuffle(len(w.mails), func(a, b int) { w.mails[a].uid, w.mails[b].uid = w.mails[b].uid, w.mails[a].uid })
	}
	w.list(rng)
	return w
}

// list makes the listings.
func (w *uidlWorld) list(rng *rand.Rand) {
	var pop3 []*oneMail
	for _, m := range w.mails {
		if m.imap {
			w.imap = append(w.imap, IMAPMessage{UID: m.uid, Size: w.size(m, true), GmailID: uint64(m.uid)<<24 + 5, GUID: fmt.Sprintf("%d.M%dP1.host", m.uid, m.id), MessageID: messageIDOf(m.header)})
			w.byUID[m.uid] = m
		}
		if m.pop3 {
			pop3 = append(pop3, m)
		}
	}
	slices.SortFunc(w.imap, func(a, b IMAPMessage) int { return cmp.Compare(a.UID, b.UID) })
	switch w.cfg.order {
	case "reversed":
		slices.Reverse(pop3)
	case "blocks":
		var blocks [][]*oneMail
		for rest := pop3; len(rest) > 0; {
			n := min(len(rest), len(pop3)/20+rng.IntN(len(pop3)/10+1)+1)
			blocks = append(blocks, rest[:n])
			rest = rest[n:]
		}
		rng.Shuffle(len(blocks), func(a, b int) { blocks[a], blocks[b] = blocks[b], blocks[a] })
		pop3 = slices.Concat(blocks...)
	case "swaps":
		// One in a hundred was moved to anywhere.
		for range len(pop3) / 100 {
			a, b := rng.IntN(len(pop3)), rng.IntN(len(pop3))
			m := pop3[a]
			pop3 = slices.Insert(slices.Delete(pop3, a, a+1), b, m)
		}
	case "shuffled":
		rng.Shuffle(len(pop3), func(a, b int) { pop3[a], pop3[b] = pop3[b], pop3[a] })
	}
	for n, m := range pop3 {
		uidl := fmt.Sprintf("x%08x", rng.Uint32())
		if w.cfg.uidl != nil {
			uidl = w.cfg.uidl(m.uid, n+1, rng)
		}
		w.pop3 = append(w.pop3, POP3Message{Number: n + 1, UIDL: mailhaul.UIDL(uidl), Size: w.size(m, false)})
		w.byNum[n+1] = m
	}
}

func messageIDOf(header string) string {
	_, rest, _ := strings.Cut(header, "Message-ID: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

func (w *uidlWorld) size(m *oneMail, imap bool) int64 {
	if imap {
		return m.size + w.cfg.delta + m.jitter
	}
	return m.size
}

// header is what a protocol shows of the message's header.
func (w *uidlWorld) header(m *oneMail, imap bool) []byte {
	h := m.header
	if w.cfg.headerDiffs {
		if imap {
			h = strings.ReplaceAll(h, "\xe4", "?") + fmt.Sprintf("X-Imap-Id: %d\r\nX-UID: %d\r\n", m.uid, m.uid)
		} else {
			h = "X-POP3-Gateway: here\r\nStatus: RO\r\n" + strings.ReplaceAll(h, "\r\n\tby", " by")
			h = strings.ReplaceAll(h, "by here;", "by gateway;")
		}
	}
	return []byte(h + "\r\n")
}

func (w *uidlWorld) body(m *oneMail, imap bool) Digest {
	return Digest{
		Exact:   sha256.Sum256(append(w.header(m, imap), fmt.Sprint(m.content)...)),
		Content: sha256.Sum256(fmt.Append(nil, m.content)),
		Size:    w.size(m, imap),
	}
}

// run answers all that the matcher asks for.
func (w *uidlWorld) run(tb testing.TB, cfg UIDLConfig) UIDLResult {
	tb.Helper()
	m, err := NewUIDLMatcher(w.pop3, w.imap, cfg)
	require.NoError(tb, err)
	seen := map[Request]bool{}
	for rounds := 0; !m.Done(); rounds++ {
		require.Less(tb, rounds, 20)
		need := m.Need()
		require.NotEmpty(tb, need)
		for _, r := range need {
			require.False(tb, seen[r], "asked twice: %v", r)
			seen[r] = true
			w.asked = append(w.asked, r)
			w.answer(m, r)
		}
	}
	require.Empty(tb, m.Need())
	return m.Result()
}

func (w *uidlWorld) answer(m *UIDLMatcher, r Request) {
	if down := w.down[r.Evidence]; down != nil && down() {
		m.Unavailable(r)
		return
	}
	switch r.Evidence {
	case POP3Header:
		m.Header(r, w.header(w.byNum[r.Number], false))
	case IMAPHeader:
		m.Header(r, w.header(w.byUID[r.UID], true))
	case POP3Body:
		m.Body(r, w.body(w.byNum[r.Number], false))
	case IMAPBody:
		m.Body(r, w.body(w.byUID[r.UID], true))
	}
}

// uidlScore is a result against the truth.
type uidlScore struct {
	unambiguous, right int // messages on both sides that nothing is the same as
	wrong              int // pairs of messages that are not the same to the octet
	twins, twinsPaired int // messages that others are the same as, and could be paired
	exactTwins         int // of these, the ones that got their own partner
}

// score compares a result with the truth and checks that it is well-formed.
func (w *uidlWorld) score(tb testing.TB, res UIDLResult) uidlScore {
	tb.Helper()
	var s uidlScore
	countP, countI, total := map[int]int{}, map[int]int{}, map[int]int{}
	for _, m := range w.mails {
		if m.pop3 {
			countP[m.content]++
		}
		if m.imap {
			countI[m.content]++
		}
		total[m.content]++
	}
	for c, n := range total {
		if n > 1 {
			s.twins += min(countP[c], countI[c])
		} else if countP[c] == 1 && countI[c] == 1 {
			s.unambiguous++
		}
	}
	usedP, usedI := map[int]bool{}, map[mailhaul.UID]bool{}
	for _, p := range res.Pairs {
		require.False(tb, usedP[p.Number] || usedI[p.UID])
		usedP[p.Number], usedI[p.UID] = true, true
		require.NotZero(tb, p.Basis.Confidence())
		require.Equal(tb, w.pop3[p.Number-1].UIDL, p.UIDL)
		a, b := w.byNum[p.Number], w.byUID[p.UID]
		switch {
		case a.content != b.content:
			s.wrong++
			tb.Logf("wrong: %+v: %+v %+v", p, *a, *b)
		case total[a.content] > 1:
			s.twinsPaired++
			if a == b {
				s.exactTwins++
			}
		default:
			s.right++
		}
	}
	for _, u := range res.UnmatchedPOP3 {
		require.False(tb, usedP[u.Number])
		usedP[u.Number] = true
	}
	for _, u := range res.UnmatchedIMAP {
		require.False(tb, usedI[u])
		usedI[u] = true
	}
	require.Len(tb, usedP, len(w.pop3))
	require.Len(tb, usedI, len(w.imap))
	return s
}
