// The patterns of LIST and LSUB.

package imapserver

import "strings"

// matchPattern reports whether name matches a pattern in which * stands for
// anything and % for anything without the delimiter (RFC 9051 section 6.3.9).
func matchPattern(pattern, name, delimiter string) bool {
	pattern = foldInbox(pattern, delimiter)
	// The usual iterative wildcard match, with a place to come back to for the
	// last * and one for the last % after it.
	type mark struct{ p, n int }
	star, percent := mark{-1, 0}, mark{-1, 0}
	p, n := 0, 0
	for {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, percent = mark{p, n}, mark{-1, 0}
			p++
			continue
		case p < len(pattern) && pattern[p] == '%':
			percent = mark{p, n}
			p++
			continue
		case p == len(pattern) && n == len(name):
			return true
		case p < len(pattern) && n < len(name) && pattern[p] == name[n]:
			p++
			n++
			continue
		}
		if percent.p >= 0 && percent.n < len(name) && (delimiter == "" || !strings.HasPrefix(name[percent.n:], delimiter)) {
			percent.n++
			p, n = percent.p+1, percent.n
			continue
		}
		if star.p >= 0 && star.n < len(name) {
			star.n++
			percent = mark{-1, 0}
			p, n = star.p+1, star.n
			continue
		}
		return false
	}
}
