package mailhaul

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// UIDRange is an inclusive range of UIDs, First <= Last.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs kept as ranges in ascending order that neither
// overlap nor touch, so that a mailbox of a million messages costs as many
// entries as it has holes. The zero value is the empty set. A UIDSet is not
// safe for concurrent use while one goroutine changes it.
type UIDSet []UIDRange

// UIDSetOf returns the set of the given UIDs, in whatever order they come.
func UIDSetOf(uids ...UID) UIDSet {
	var s UIDSet
	if !slices.IsSorted(uids) { // adding in order is linear
		uids = slices.Sorted(slices.Values(uids))
	}
	for _, u := range uids {
		s.Add(u)
	}
	return s
}

// Add puts one UID into the set. Adding in ascending order costs O(1).
func (s *UIDSet) Add(u UID) { s.AddRange(UIDRange{u, u}) }

// AddRange puts a range into the set. The UID 0 is left out, and a range
// whose Last is below its First is empty.
func (s *UIDSet) AddRange(r UIDRange) {
	if r.First == 0 {
		r.First = 1
	}
	if r.Last < r.First {
		return
	}
	// Everything that a listing adds arrives here, in ascending order.
	if n := len(*s); n == 0 || r.First > (*s)[n-1].Last {
		if n > 0 && (*s)[n-1].Last+1 == r.First {
			(*s)[n-1].Last = r.Last
			return
		}
		*s = append(*s, r)
		return
	}
	// lo is the first range that r touches or precedes, hi the first behind it.
	lo, _ := slices.BinarySearchFunc(*s, r.First, func(x UIDRange, u UID) int {
		if uint64(x.Last)+1 < uint64(u) {
			return -1
		}
		return 1
	})
	hi := lo
	for hi < len(*s) && uint64((*s)[hi].First) <= uint64(r.Last)+1 {
		r.First = min(r.First, (*s)[hi].First)
		r.Last = max(r.Last, (*s)[hi].Last)
		hi++
	}
	*s = slices.Replace(*s, lo, hi, r)
}

// Contains reports whether u is in the set.
func (s UIDSet) Contains(u UID) bool {
	_, ok := slices.BinarySearchFunc(s, u, func(x UIDRange, u UID) int {
		switch {
		case x.Last < u:
			return -1
		case x.First > u:
			return 1
		}
		return 0
	})
	return ok
}

// Len returns the number of UIDs in the set.
func (s UIDSet) Len() int {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return int(n)
}

// All yields the UIDs in ascending order.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for u := r.First; ; u++ {
				if !yield(u) {
					return
				}
				if u == r.Last { // not a loop condition: Last may be 2^32-1
					break
				}
			}
		}
	}
}

// Minus returns the UIDs of s that are not in t.
func (s UIDSet) Minus(t UIDSet) UIDSet {
	var out UIDSet
	j := 0
	for _, r := range s {
		first := uint64(r.First)
		for j < len(t) && t[j].Last < r.First {
			j++
		}
		for k := j; k < len(t) && t[k].First <= r.Last; k++ {
			if uint64(t[k].First) > first {
				out = append(out, UIDRange{UID(first), t[k].First - 1})
			}
			first = uint64(t[k].Last) + 1
		}
		if first <= uint64(r.Last) {
			out = append(out, UIDRange{UID(first), r.Last})
		}
	}
	return out
}

// Intersect returns the UIDs that are in both sets.
func (s UIDSet) Intersect(t UIDSet) UIDSet {
	var out UIDSet
	for i, j := 0, 0; i < len(s) && j < len(t); {
		first, last := max(s[i].First, t[j].First), min(s[i].Last, t[j].Last)
		if first <= last {
			out = append(out, UIDRange{first, last})
		}
		if s[i].Last < t[j].Last {
			i++
		} else {
			j++
		}
	}
	return out
}

// Union returns the UIDs that are in either set.
func (s UIDSet) Union(t UIDSet) UIDSet {
	out := make(UIDSet, 0, len(s)+len(t))
	for len(s) > 0 || len(t) > 0 {
		if len(t) == 0 || len(s) > 0 && s[0].First <= t[0].First {
			out.AddRange(s[0])
			s = s[1:]
		} else {
			out.AddRange(t[0])
			t = t[1:]
		}
	}
	return out
}

// Chunks yields the set in ascending pieces of at most n UIDs each. It panics
// when n is not positive.
func (s UIDSet) Chunks(n int) iter.Seq[UIDSet] {
	if n <= 0 {
		panic("mailhaul: UIDSet.Chunks: n must be positive")
	}
	return func(yield func(UIDSet) bool) {
		var chunk UIDSet
		room := uint64(n)
		for _, r := range s {
			for {
				take := min(uint64(r.Last-r.First)+1, room)
				chunk = append(chunk, UIDRange{r.First, r.First + UID(take-1)})
				room -= take
				done := r.First+UID(take-1) == r.Last
				if room == 0 {
					if !yield(chunk) {
						return
					}
					chunk, room = nil, uint64(n)
				}
				if done {
					break
				}
				r.First += UID(take)
			}
		}
		if len(chunk) > 0 {
			yield(chunk)
		}
	}
}

// String returns the set as an IMAP sequence-set (RFC 9051 section 9); the
// empty set, for which IMAP has no form, is the empty string.
func (s UIDSet) String() string {
	b := make([]byte, 0, 12*len(s))
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last > r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return string(b)
}

// ParseUIDSet parses an IMAP uid-set (RFC 4315 section 4): ranges may come in
// either direction and any order. It accepts neither "*" nor the empty string
// nor a UID of 0, and never expands a range, so "1:4294967295" costs no more
// than "1".
func ParseUIDSet(text string) (UIDSet, error) {
	var s UIDSet
	for part := range strings.SplitSeq(text, ",") {
		a, b, ranged := strings.Cut(part, ":")
		first, err := parseUID(a)
		if err != nil {
			return nil, fmt.Errorf("uid-set %.60q: %w", text, err)
		}
		last := first
		if ranged {
			if last, err = parseUID(b); err != nil {
				return nil, fmt.Errorf("uid-set %.60q: %w", text, err)
			}
		}
		s.AddRange(UIDRange{min(first, last), max(first, last)})
	}
	return s, nil
}

func parseUID(text string) (UID, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || text[0] == '+' {
		return 0, fmt.Errorf("%.20q is not a UID", text)
	}
	return UID(n), nil
}
