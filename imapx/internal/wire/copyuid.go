package wire

import (
	"strings"

	"github.com/mailhaul/mailhaul"
)

// CopyUID is the argument of a COPYUID response code (RFC 4315 section 3).
type CopyUID struct {
	UIDValidity mailhaul.UIDValidity // of the mailbox copied to
	From, To    mailhaul.UIDSet
}

// ParseCopyUID parses the argument of COPYUID for a COPY of at most n messages.
// It is false where the sets differ in size, or hold more.
func ParseCopyUID(arg string, n int) (CopyUID, bool) {
	validity, sets, found := strings.Cut(arg, " ")
	from, to, both := strings.Cut(strings.TrimSpace(sets), " ")
	v, ok := parseUint([]byte(validity), 32)
	if !found || !both || !ok || v == 0 {
		return CopyUID{}, false
	}
	c := CopyUID{UIDValidity: mailhaul.UIDValidity(v)}
	if c.From, ok = boundedSet(from, n); !ok {
		return CopyUID{}, false
	}
	if c.To, ok = boundedSet(strings.TrimSpace(to), n); !ok {
		return CopyUID{}, false
	}
	return c, c.From.Len() == c.To.Len()
}

// boundedSet parses a set of at least one and at most n UIDs, in whatever order
// they come, each once.
func boundedSet(text string, n int) (mailhaul.UIDSet, bool) {
	var set mailhaul.UIDSet
	left := uint64(max(n, 0))
	for part := range strings.SplitSeq(text, ",") {
		lo, hi, ranged := strings.Cut(part, ":")
		first, ok := parseUint([]byte(lo), 32)
		if !ok || first == 0 {
			return nil, false
		}
		last := first
		if ranged {
			if last, ok = parseUint([]byte(hi), 32); !ok || last == 0 {
				return nil, false
			}
		}
		if last < first { // RFC 9051 section 9: the order of the two does not matter
			first, last = last, first
		}
		if last-first >= left {
			return nil, false
		}
		left -= last - first + 1
		set.AddRange(mailhaul.UIDRange{First: mailhaul.UID(first), Last: mailhaul.UID(last)})
	}
	// A UID that is there twice would count once.
	return set, uint64(set.Len()) == uint64(max(n, 0))-left
}
