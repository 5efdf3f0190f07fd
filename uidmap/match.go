package uidmap

// This file decides, from listings alone, which messages are copies of which,
// and which bodies must be read to decide the rest.

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Candidate is one message as a listing shows it.
type Candidate struct {
	// UID names the message on its side. It needs no more than to be above 0,
	// unique, and to rise in the order in which twins are to be paired: a
	// source without UIDs numbers its messages.
	UID mailhaul.UID

	// Key and HasID are what KeyOf makes of the header.
	Key   Key
	HasID bool

	// Size is the number of octets, as measured or as listed; 0 where it is
	// not known.
	Size int64

	// Date is the INTERNALDATE, compared as an instant to the second; the zero
	// Time where it is not known.
	Date time.Time
}

// Basis is why two messages were taken for copies of one another.
type Basis uint8

// The bases, from the weakest evidence to the strongest; BasisContent comes
// last, as the messages are known to differ.
const (
	_ Basis = iota
	// BasisSize: the same Message-ID and key and the same size, and no other
	// message on either side has them.
	BasisSize
	// BasisDate: as BasisSize, but several messages on each side have them,
	// and the dates tell these apart.
	BasisDate
	// BasisExact: the octets are the same.
	BasisExact
	// BasisContent: the same key and the same text, but the octets differ: a
	// header line was added, or line ends were repaired. A report lists such a
	// pair as altered.
	BasisContent
)

// String returns what the two messages have in common.
func (b Basis) String() string {
	switch b {
	case BasisSize:
		return "same Message-ID, key and size"
	case BasisDate:
		return "same Message-ID, key, size and date"
	case BasisExact:
		return "same octets"
	case BasisContent:
		return "same key and text, other octets"
	}
	return "unknown"
}

// Altered reports whether the octets of the two messages are known to differ.
func (b Basis) Altered() bool { return b == BasisContent }

// Pair is a message of the source and its copy on the target.
type Pair struct {
	Source, Target mailhaul.UID
	Basis          Basis
}

// Matching is what [Match] found. It does not change, and is safe for
// concurrent use.
type Matching struct {
	pairs                            []Pair
	groups                           []group
	undecidedSource, undecidedTarget mailhaul.UIDSet
	imposed                          bool // see MatchImposed
}

// group is the messages of one key that only their bodies can tell apart, in
// UID order.
type group struct {
	source, target []mailhaul.UID
	key            Key
	hasID          bool
}

// Match finds which messages of the target are copies of messages of the
// source, as a multiset: each message is in one pair at most, so that n twins
// on the source need n copies on the target. The package documentation has the
// rules. Candidates may come in any order and are not changed; one with the UID
// 0, or with the UID of an earlier one, is passed over.
func Match(source, target []Candidate) *Matching {
	m := &Matching{}
	s, t := sorted(source), sorted(target)
	for len(s) > 0 && len(t) > 0 {
		switch c := compareGroup(s[0], t[0]); {
		case c < 0:
			s = s[groupLen(s):]
		case c > 0:
			t = t[groupLen(t):]
		default:
			i, j := groupLen(s), groupLen(t)
			m.addGroup(s[:i], t[:j])
			s, t = s[i:], t[j:]
		}
	}
	sortPairs(m.pairs)
	m.undecidedSource, m.undecidedTarget = undecided(m.groups)
	return m
}

// MatchImposed is Match for a target whose messages were given the UIDs that
// they have on the source, as far as they got. Of twins, Resolve then pairs
// those first that have the same UID on both sides, and only the others in the
// order of their UIDs. A UID alone makes no pair.
func MatchImposed(source, target []Candidate) *Matching {
	m := Match(source, target)
	m.imposed = true
	return m
}

// Pairs returns the pairs that are decided without reading a body, in the
// order of the source's UIDs. The caller must not change them.
func (m *Matching) Pairs() []Pair { return m.pairs }

// Undecided returns the messages whose Digests decide the rest. Neither set is
// empty unless both are. The caller must not change them.
func (m *Matching) Undecided() (source, target mailhaul.UIDSet) {
	return m.undecidedSource, m.undecidedTarget
}

// addGroup decides the messages that share a key.
func (m *Matching) addGroup(s, t []*Candidate) {
	if s[0].HasID {
		if pairs, ok := appendBySize(m.pairs, s, t); ok {
			m.pairs = pairs
			return
		}
	}
	m.groups = append(m.groups, group{source: uids(s), target: uids(t), key: s[0].Key, hasID: s[0].HasID})
}

// appendBySize pairs the messages of one group, which come sorted by size, if
// sizes, and dates where sizes are equal, give each message of the source a
// copy of its own. It is all or nothing: where a message of the source finds no
// copy of its size, what looks like its twin's copy may be its own, grown by a
// header line that a tool added, and to pair the twin with it would lose the
// twin.
func appendBySize(pairs []Pair, s, t []*Candidate) ([]Pair, bool) {
	for len(s) > 0 {
		size := s[0].Size
		if size <= 0 {
			return nil, false
		}
		for len(t) > 0 && t[0].Size < size {
			t = t[1:] // somebody else's
		}
		i, j := sizeLen(s, size), sizeLen(t, size)
		if i != j {
			return nil, false
		}
		basis := BasisSize
		if i > 1 {
			if !datesAgree(s[:i], t[:i]) {
				return nil, false
			}
			basis = BasisDate
		}
		for k := range i {
			pairs = append(pairs, Pair{s[k].UID, t[k].UID, basis})
		}
		s, t = s[i:], t[i:]
	}
	return pairs, true
}

// datesAgree reports whether the dates, which both sides are sorted by, are
// known, distinct and the same on both sides.
func datesAgree(s, t []*Candidate) bool {
	for k := range s {
		if s[k].Date.IsZero() || t[k].Date.IsZero() || s[k].Date.Unix() != t[k].Date.Unix() ||
			k > 0 && s[k].Date.Unix() == s[k-1].Date.Unix() {
			return false
		}
	}
	return true
}

// sorted returns the candidates by key, size, date and UID, without those that
// have no UID of their own.
func sorted(cands []Candidate) []*Candidate {
	out := make([]*Candidate, 0, len(cands))
	for i := range cands {
		if cands[i].UID != 0 {
			out = append(out, &cands[i])
		}
	}
	// A message that is listed twice must not stand in for two. Listings come
	// in UID order, so that this rarely sorts.
	byUID := func(a, b *Candidate) int { return cmp.Compare(a.UID, b.UID) }
	if !slices.IsSortedFunc(out, byUID) {
		slices.SortStableFunc(out, byUID)
	}
	out = slices.CompactFunc(out, func(a, b *Candidate) bool { return a.UID == b.UID })
	slices.SortFunc(out, func(a, b *Candidate) int {
		return cmp.Or(
			compareGroup(a, b),
			cmp.Compare(a.Size, b.Size),
			cmp.Compare(a.Date.Unix(), b.Date.Unix()),
			cmp.Compare(a.UID, b.UID),
		)
	})
	return out
}

// compareGroup orders candidates by what they must share to be compared at
// all.
func compareGroup(a, b *Candidate) int {
	if c := bytes.Compare(a.Key[:], b.Key[:]); c != 0 || a.HasID == b.HasID {
		return c
	}
	if b.HasID {
		return -1
	}
	return 1
}

// groupLen returns how many of the candidates share the first one's group.
func groupLen(c []*Candidate) int {
	n := 1
	for n < len(c) && compareGroup(c[0], c[n]) == 0 {
		n++
	}
	return n
}

// sizeLen returns how many candidates at the front are of the given size.
func sizeLen(c []*Candidate, size int64) int {
	n := 0
	for n < len(c) && c[n].Size == size {
		n++
	}
	return n
}

// uids returns the candidates' UIDs in ascending order.
func uids(c []*Candidate) []mailhaul.UID {
	out := make([]mailhaul.UID, len(c))
	for i := range c {
		out[i] = c[i].UID
	}
	slices.Sort(out)
	return out
}

// undecided returns the UIDs of all groups as sets.
func undecided(groups []group) (source, target mailhaul.UIDSet) {
	var s, t []mailhaul.UID
	for _, g := range groups {
		s = append(s, g.source...)
		t = append(t, g.target...)
	}
	slices.Sort(s)
	slices.Sort(t)
	return mailhaul.UIDSetOf(s...), mailhaul.UIDSetOf(t...)
}

func sortPairs(pairs []Pair) {
	slices.SortFunc(pairs, func(a, b Pair) int { return cmp.Compare(a.Source, b.Source) })
}
