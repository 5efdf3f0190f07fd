package uidmap

// This file finds the formula that a server's UIDLs follow, by trying each on
// the whole listing.

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// POP3Message is one message as a POP3 listing shows it.
type POP3Message struct {
	Number int           // its number in the session, from 1
	UIDL   mailhaul.UIDL // empty where the server gave none
	Size   int64         // as LIST has it; 0 where it is not known
}

// Recognition is what [Recognise] found.
type Recognition struct {
	// Formula is the one that explains the listing; the zero Formula where
	// none does.
	Formula Formula

	// Explained counts the UIDLs that the formula gives to a listed message.
	// Gone counts those that it would give to a message that IMAP does not
	// list, Foreign all others, such as UIDLs kept from an earlier server.
	Explained, Gone, Foreign int

	// Check are pairs whose headers must be compared before the formula is
	// proved, since the sizes speak against it, or say too little. If one of
	// them is not of one message, the formula is wrong. Where there are none,
	// the listings alone are the proof.
	Check []CheckPair

	pairs []indexPair // the explained ones
	gone  []int       // indices of POP3 messages
}

// CheckPair is a POP3 message and the IMAP message that it should be.
type CheckPair struct {
	Number int
	UID    mailhaul.UID
}

// indexPair is a pair as indices into the two listings.
type indexPair struct{ p, i int }

const (
	// enoughExplained is how many UIDLs a formula must explain to be believed
	// where it does not explain all of them.
	enoughExplained = 8

	// maxChecks bounds how many pairs are compared to prove a formula.
	maxChecks = 16

	// witnessTolerance is by how many octets a pair's sizes may be off the
	// median difference and still speak for a formula.
	witnessTolerance = 16

	// distinctUIDValidity is from where a UIDVALIDITY in a UIDL is no
	// coincidence: servers take the time, or small numbers.
	distinctUIDValidity = 1 << 16
)

// Recognise finds the formula that the UIDLs of a POP3 listing follow. The
// whole listing is the sample: a formula must explain enough of it (eight, or
// all of a shorter one) and nothing may contradict it. What contradicts is
//
//   - another formula that explains the same UIDLs by other messages;
//   - with formulas that are mere numbers, a single UIDL of another form;
//   - sizes. Where those of the pairs do not agree up to a constant, and where
//     a formula that is a mere number finds no support in sizes, the caller has
//     to compare some headers first ([Recognition.Check]).
//
// UIDLs that occur twice, and empty ones, are foreign to any formula. The order
// of the listings does not matter.
func Recognise(pop3 []POP3Message, imap []IMAPMessage, v mailhaul.UIDValidity) Recognition {
	byUID := func(a, b IMAPMessage) int { return cmp.Compare(a.UID, b.UID) }
	if !slices.IsSortedFunc(imap, byUID) {
		imap = slices.SortedStableFunc(slices.Values(imap), byUID)
	}
	return recognise(pop3, imap, v, nil)
}

// recognise leaves out the formulas that were proved wrong, and wants the IMAP
// listing in the order of its UIDs.
func recognise(pop3 []POP3Message, imap []IMAPMessage, v mailhaul.UIDValidity, wrong []Formula) Recognition {
	times := make(map[mailhaul.UIDL]int, len(pop3))
	for _, p := range pop3 {
		times[p.UIDL]++
	}
	var all []Recognition
	for _, f := range Formulas() {
		if slices.Contains(wrong, f) {
			continue
		}
		if r := explain(f, pop3, imap, v, times); r.Explained > 0 {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return Recognition{Foreign: len(pop3)}
	}
	slices.SortStableFunc(all, func(a, b Recognition) int { return cmp.Compare(b.Explained, a.Explained) })
	best := all[0]
	for _, r := range all[1:] {
		if r.Explained*10 > best.Explained && contradict(best.pairs, r.pairs) {
			return Recognition{Foreign: len(pop3)}
		}
	}
	if !best.believable(v) {
		return Recognition{Foreign: len(pop3)}
	}
	best.Check = best.checks(pop3, imap, v)
	return best
}

// weak reports whether the formula is a mere number, which another counter can
// run in step with.
func (f Formula) weak(v mailhaul.UIDValidity) bool {
	return f.hasUID() && (!f.hasUIDValidity() || v < distinctUIDValidity)
}

// explain tries one formula on the listing.
func explain(f Formula, pop3 []POP3Message, imap []IMAPMessage, v mailhaul.UIDValidity, times map[mailhaul.UIDL]int) Recognition {
	r := Recognition{Formula: f}
	find := finder(f, imap, v)
	if find == nil {
		return r
	}
	for n, p := range pop3 {
		i, known := -1, false
		if p.UIDL != "" && times[p.UIDL] == 1 {
			i, known = find(p.UIDL)
		}
		switch {
		case i >= 0:
			r.Explained++
			r.pairs = append(r.pairs, indexPair{n, i})
		case known:
			r.Gone++
			r.gone = append(r.gone, n)
		default:
			r.Foreign++
		}
	}
	return r
}

// finder returns what finds the index of the IMAP message to which the formula
// gives a UIDL: -1 where there is none, and then known says whether the UIDL
// has the formula's form. It returns nil where the formula cannot be used.
func finder(f Formula, imap []IMAPMessage, v mailhaul.UIDValidity) func(mailhaul.UIDL) (i int, known bool) {
	if f.hasUID() {
		if f.hasUIDValidity() && v == 0 {
			return nil
		}
		return func(u mailhaul.UIDL) (int, bool) {
			uid, validity, ok := f.Parse(u)
			if !ok || f.hasUIDValidity() && validity != v {
				return -1, false
			}
			i, found := slices.BinarySearchFunc(imap, uid, func(m IMAPMessage, u mailhaul.UID) int { return cmp.Compare(m.UID, u) })
			if !found {
				return -1, true
			}
			return i, true
		}
	}
	index := map[mailhaul.UIDL]int{}
	for i, m := range imap {
		u, ok := f.UIDL(m, v)
		if !ok {
			continue
		}
		if _, twice := index[u]; twice {
			i = -1
		}
		index[u] = i
	}
	if len(index) == 0 {
		return nil
	}
	return func(u mailhaul.UIDL) (int, bool) {
		if i, ok := index[u]; ok {
			return i, false
		}
		return -1, f.kind == gmailID && strings.HasPrefix(string(u), "GmailId")
	}
}

// contradict reports whether the two pair a POP3 message differently. Both come
// in the order of the POP3 listing.
func contradict(a, b []indexPair) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].p < b[0].p:
			a = a[1:]
		case a[0].p > b[0].p:
			b = b[1:]
		case a[0].i != b[0].i:
			return true
		default:
			a, b = a[1:], b[1:]
		}
	}
	return false
}

// believable reports whether the formula explains enough.
func (r Recognition) believable(v mailhaul.UIDValidity) bool {
	if r.Formula.weak(v) {
		return r.Explained >= enoughExplained && r.Foreign == 0 && r.Gone <= r.Explained/10
	}
	return r.Explained >= enoughExplained || r.Foreign == 0 && r.Gone == 0
}

// knowsGone reports whether UIDLs of messages that IMAP does not list may be
// taken for those of messages that are gone. Where there are many, the mailbox
// may have been numbered anew.
func (r Recognition) knowsGone() bool { return fewGone(r.Gone, r.Explained) }

func fewGone(gone, explained int) bool { return gone <= 2+explained/50 }

// checks returns the pairs that must be compared.
func (r Recognition) checks(pop3 []POP3Message, imap []IMAPMessage, v mailhaul.UIDValidity) []CheckPair {
	var sized []indexPair
	var deltas []int64
	for _, pair := range r.pairs {
		if p, i := pop3[pair.p].Size, imap[pair.i].Size; p > 0 && i > 0 {
			sized = append(sized, pair)
			deltas = append(deltas, i-p)
		}
	}
	med := median(deltas)
	fits := func(p, i int) bool {
		d := imap[i].Size - pop3[p].Size - med
		return -witnessTolerance <= d && d <= witnessTolerance
	}
	var good, bad []indexPair
	shifted := 0
	for n, pair := range sized {
		if fits(pair.p, pair.i) {
			good = append(good, pair)
		} else {
			bad = append(bad, pair)
		}
		if n > 0 && fits(pair.p, sized[n-1].i) {
			shifted++
		}
	}
	var out []indexPair
	if len(bad) > 0 {
		out = spread(bad, maxChecks/2)
	}
	if r.Formula.weak(v) {
		// Sizes prove something only if a neighbour's would not do as well.
		tells := len(good) >= enoughExplained && shifted*2 <= len(sized)
		if !tells || len(bad) > 0 {
			if len(good) == 0 && len(bad) == 0 {
				good = r.pairs
			}
			out = append(out, spread(good, maxChecks-len(out))...)
		}
	}
	check := make([]CheckPair, len(out))
	for n, pair := range out {
		check[n] = CheckPair{pop3[pair.p].Number, imap[pair.i].UID}
	}
	return check
}

// median returns the middle of the values, 0 of none.
func median(values []int64) int64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return v[len(v)/2]
}

// spread returns at most n of the values, from all over.
func spread[T any](values []T, n int) []T {
	if len(values) <= n {
		return slices.Clone(values)
	}
	out := make([]T, 0, n)
	for k := range n {
		out = append(out, values[k*(len(values)-1)/max(n-1, 1)])
	}
	return out
}
