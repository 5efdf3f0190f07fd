// A name that any server takes, for a mailbox whose own name was refused.

package sync

import (
	"strings"
	"unicode"
)

// plainPath replaces, in each level, what is neither a letter, a digit, a blank
// nor one of -_.,()& by an underscore, and drops blanks and dots at the ends of
// a level: what servers were seen to refuse.
func plainPath(path []string) []string {
	plain := make([]string, len(path))
	for i, level := range path {
		level = strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" -_.,()&", r) {
				return r
			}
			return '_'
		}, level)
		if plain[i] = strings.Trim(level, " ."); plain[i] == "" {
			plain[i] = "_"
		}
	}
	return plain
}
