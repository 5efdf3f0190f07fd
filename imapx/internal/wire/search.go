package wire

// SEARCH and ESEARCH responses can hold a number for each message of a
// mailbox. They are parsed as they arrive, so that their line may be longer
// than any other.

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/mailhaul/mailhaul"
)

type searchForm uint8

const (
	notSearch searchForm = iota
	plainSearch
	extendedSearch
)

// searchKind tells from the beginning of a response whether it is SEARCH (RFC
// 9051 appendix E) or ESEARCH (section 7.3.4).
func searchKind(line []byte) searchForm {
	word, ok := bytes.CutPrefix(line, []byte("* "))
	if !ok {
		return notSearch
	}
	word = bytes.TrimLeft(word, " ")
	word, _, _ = bytes.Cut(word, space)
	switch {
	case equalFold(word, "SEARCH"):
		return plainSearch
	case equalFold(word, "ESEARCH"):
		return extendedSearch
	}
	return notSearch
}

// Search is what a SEARCH response found, or the ALL of an ESEARCH response.
type Search struct {
	// UIDs is what was found.
	UIDs mailhaul.UIDSet

	// Malformed is set where something stood among the numbers that is none.
	Malformed bool

	form   searchForm
	ranges Ranges

	// The state between two octets.
	depth  int
	quoted bool
	escape bool
	words  int // tokens seen so far
	all    bool
	word   [8]byte // the token being read, cut
	n      int     // its length
	num    uint64  // the number being read
	low    uint64  // the first number of the range being read
	digits bool
	ranged bool
	bad    bool
}

func (s *Search) begin(form searchForm) {
	*s = Search{form: form, ranges: s.ranges}
	s.ranges.Reset()
}

// feed takes the next octets of the response, from its first on.
func (s *Search) feed(part []byte) {
	for _, c := range part {
		switch {
		case s.escape:
			s.escape = false
		case s.quoted:
			s.escape = c == '\\'
			s.quoted = c != '"'
		case c == '\r': // its LF came in the next part
		case c == '"':
			s.quoted = true
		case c == '(':
			s.token()
			s.depth++
		case c == ')':
			s.depth = max(0, s.depth-1)
		case s.depth > 0: // (TAG "…") or (MODSEQ n)
		case c == ' ':
			s.token()
		default:
			s.octet(c)
		}
	}
}

// octet takes one octet of a token.
func (s *Search) octet(c byte) {
	if s.n < len(s.word) {
		s.word[s.n] = c
	}
	s.n++
	if !s.inNumbers() {
		return
	}
	switch {
	case c >= '0' && c <= '9':
		if s.num = s.num*10 + uint64(c-'0'); s.num > 1<<32-1 {
			s.bad, s.num = true, 1<<32
		}
		s.digits = true
	case c == ':' && s.digits && !s.ranged:
		s.low, s.num, s.ranged, s.digits = s.num, 0, true, false
	case c == ',':
		s.flush()
	default:
		s.bad = true
	}
}

// inNumbers reports whether the token being read is one of numbers.
func (s *Search) inNumbers() bool {
	if s.words < 2 { // "*" and the response's name
		return false
	}
	return s.form == plainSearch || s.all
}

// token ends the token that was being read.
func (s *Search) token() {
	if s.n == 0 {
		return
	}
	if s.inNumbers() {
		s.flush()
		s.all = false
	} else if s.form == extendedSearch && s.n == 3 {
		s.all = equalFold(s.word[:3], "ALL")
	}
	s.words++
	s.n = 0
}

// flush ends a number or range.
func (s *Search) flush() {
	switch {
	case s.bad || s.ranged && !s.digits:
		s.Malformed = true
	case s.ranged:
		s.ranges.Add(s.low, s.num)
	case s.digits:
		s.ranges.Add(s.num, s.num)
	}
	s.num, s.low, s.digits, s.ranged, s.bad = 0, 0, false, false, false
}

func (s *Search) end() {
	s.token()
	s.UIDs = s.ranges.Set()
}

// Ranges collects numbers in any order and makes a set of them. In ascending
// order a number costs nothing, in any other it costs a sort at the end.
type Ranges struct {
	set      mailhaul.UIDSet
	unsorted bool
}

// Reset empties the collection.
func (r *Ranges) Reset() { *r = Ranges{} }

// Add puts the numbers from first to last into the collection. Zero and what
// has more than 32 bits are left out.
func (r *Ranges) Add(first, last uint64) {
	if first > last {
		first, last = last, first
	}
	first, last = max(first, 1), min(last, 1<<32-1)
	if first > last {
		return
	}
	a, b := mailhaul.UID(first), mailhaul.UID(last)
	if n := len(r.set); n > 0 {
		switch prev := &r.set[n-1]; {
		case a > prev.Last && a-1 == prev.Last:
			prev.Last = b
			return
		case a == prev.First && b == prev.Last:
			return
		case a <= prev.Last:
			r.unsorted = true
		}
	}
	r.set = append(r.set, mailhaul.UIDRange{First: a, Last: b})
}

// Set returns what was collected. The collection is empty afterwards.
func (r *Ranges) Set() mailhaul.UIDSet {
	set := r.set
	if r.unsorted {
		slices.SortFunc(set, func(a, b mailhaul.UIDRange) int { return cmp.Compare(a.First, b.First) })
		merged := set[:1]
		for _, x := range set[1:] {
			if prev := &merged[len(merged)-1]; uint64(x.First) <= uint64(prev.Last)+1 {
				prev.Last = max(prev.Last, x.Last)
			} else {
				merged = append(merged, x)
			}
		}
		set = merged
	}
	r.Reset()
	return set
}
