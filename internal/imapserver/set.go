// Sets of message numbers and UIDs (RFC 9051 section 9, sequence-set).

package imapserver

import "strconv"

// numRange is one element of a set; 0 stands for "*".
type numRange struct{ a, b uint32 }

type numSet []numRange

func (r numRange) star() bool { return r.a == 0 || r.b == 0 }

// bounds returns the range in ascending order, with "*" as last.
func (r numRange) bounds(last uint32) (lo, hi uint32) {
	lo, hi = r.a, r.b
	if lo == 0 {
		lo = last
	}
	if hi == 0 {
		hi = last
	}
	return min(lo, hi), max(lo, hi)
}

func parseNumSet(text []byte) (numSet, bool) {
	var set numSet
	for i := 0; ; {
		n := func() (uint32, bool) {
			start := i
			if i < len(text) && text[i] == '*' {
				i++
				return 0, true
			}
			for i < len(text) && '0' <= text[i] && text[i] <= '9' {
				i++
			}
			v, err := strconv.ParseUint(string(text[start:i]), 10, 32)
			return uint32(v), err == nil && v != 0
		}
		var r numRange
		var ok bool
		if r.a, ok = n(); !ok {
			return nil, false
		}
		r.b = r.a
		if i < len(text) && text[i] == ':' {
			i++
			if r.b, ok = n(); !ok {
				return nil, false
			}
		}
		set = append(set, r)
		switch {
		case i == len(text):
			return set, true
		case text[i] != ',':
			return nil, false
		}
		i++
	}
}
