package mailhaul

import (
	"slices"
	"strings"
)

// Flag is an IMAP flag: one of the five system flags below, or a keyword (an
// atom that does not begin with a backslash, RFC 9051 section 2.3.2). Flags
// are compared without regard to case.
type Flag string

// The system flags that a client may set. \Recent is not among them: it is
// the server's own and cannot be stored.
const (
	FlagSeen     Flag = `\Seen`
	FlagAnswered Flag = `\Answered`
	FlagFlagged  Flag = `\Flagged`
	FlagDeleted  Flag = `\Deleted`
	FlagDraft    Flag = `\Draft`
)

// systemFlags lists the five system flags.
var systemFlags = [...]Flag{FlagAnswered, FlagDeleted, FlagDraft, FlagFlagged, FlagSeen}

// System reports whether f is one of the five system flags.
func (f Flag) System() bool {
	for _, s := range systemFlags {
		if strings.EqualFold(string(f), string(s)) {
			return true
		}
	}
	return false
}

// Keyword reports whether f is a keyword that may be sent to a server: a
// non-empty ASCII atom (RFC 9051 section 9, flag-keyword). Anything else
// could end a command early, so nothing else is ever sent.
func (f Flag) Keyword() bool {
	if f == "" {
		return false
	}
	for i := range len(f) {
		switch c := f[i]; {
		case c <= ' ' || c >= 0x7f:
			return false
		case strings.IndexByte(`(){%*"\]`, c) >= 0:
			return false
		}
	}
	return true
}

// Equal reports whether the two flags are the same, without regard to case.
func (f Flag) Equal(g Flag) bool { return strings.EqualFold(string(f), string(g)) }

// NormalizeFlags returns the flags that can be carried to another server:
// the five system flags in their canonical spelling and the keywords as they
// were spelt first, without duplicates, sorted without regard to case.
// \Recent, unknown system flags and keywords that are no atoms are left out;
// dropped counts those of them that were not \Recent. The argument is not
// changed.
func NormalizeFlags(flags []Flag) (kept []Flag, dropped int) {
	kept = make([]Flag, 0, len(flags))
next:
	for _, f := range flags {
		if f.Equal(`\Recent`) {
			continue
		}
		for _, s := range systemFlags {
			if f.Equal(s) {
				f = s
			}
		}
		if !f.System() && !f.Keyword() {
			dropped++
			continue
		}
		for _, k := range kept {
			if k.Equal(f) {
				continue next
			}
		}
		kept = append(kept, f)
	}
	slices.SortFunc(kept, func(a, b Flag) int {
		return strings.Compare(strings.ToLower(string(a)), strings.ToLower(string(b)))
	})
	return kept, dropped
}

// HasFlag reports whether flags contains f, without regard to case.
func HasFlag(flags []Flag, f Flag) bool {
	return slices.ContainsFunc(flags, f.Equal)
}
