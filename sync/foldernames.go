// What folders are called on the target: names are made legal there.

package sync

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailhaul/mailhaul"
)

// Limits on names, in octets. File systems take 255 octets for a name, and
// servers keep a level, or a whole name, as one file; IMAP servers and clients
// have buffers of about 1,000 octets for a name (RFC 9051 has no limit).
const (
	folderLevelLimit = 255
	folderNameLimit  = 1000
)

// folderNamer makes names for one target.
type folderNamer struct {
	naming mailhaul.Naming

	// gmail is set for Gmail, which alters some names in silence: it takes away
	// blanks at the ends of a level, and cannot deal with some characters.
	gmail bool
}

// level returns the name of one level as the target can have it, and what was
// wrong with it; nothing wrong, nothing changed.
func (n folderNamer) level(name string) (legal string, wrong []string) {
	legal = name
	if !utf8.ValidString(legal) {
		// Old servers keep names in the character set of their site. Latin-1
		// makes every octet a character, and the right one more often than not.
		legal = folderFromLatin1(legal)
		wrong = append(wrong, "the source's name cannot be decoded")
	}
	note := func(changed, reason string) {
		if changed != legal {
			legal, wrong = changed, append(wrong, reason)
		}
	}
	if d := n.naming.Delimiter; d != "" {
		note(strings.ReplaceAll(legal, d, "_"), fmt.Sprintf("%q separates levels there", d))
	}
	note(strings.Map(folderPrintable, legal), "it has control characters")
	if n.gmail {
		note(strings.Map(folderGmailSafe, legal), "Gmail does not keep these characters")
		note(strings.Trim(legal, " "), "Gmail does not keep blanks at the ends")
	}
	if strings.Trim(legal, " ") == "" {
		note("_", "a level is empty")
	}
	if legal == "." || legal == ".." {
		note(strings.Repeat("_", len(legal)), "it means a directory")
	}
	note(folderShorten(legal, folderLevelLimit), fmt.Sprintf("it is longer than %d octets", folderLevelLimit))
	return legal, wrong
}

// path returns the place of a folder on the target: the levels, each legal by
// itself, as the target's naming can express them. Where the target is flat
// they are joined by dots. INBOX is INBOX in any case.
func (n folderNamer) path(levels []string) (legal []string, wrong []string) {
	legal = append([]string(nil), levels...)
	if strings.EqualFold(legal[0], "INBOX") {
		legal[0] = "INBOX"
	}
	if n.naming.Delimiter == "" && len(legal) > 1 {
		joined := strings.Join(legal, ".")
		legal = []string{folderShorten(joined, folderLevelLimit)}
		if legal[0] != joined {
			wrong = append(wrong, fmt.Sprintf("it is longer than %d octets", folderLevelLimit))
		}
	}
	if short := n.fit(legal); len(short) > 0 {
		legal, wrong = short, append(wrong, fmt.Sprintf("its whole name is longer than %d octets", folderNameLimit))
	}
	return n.canonical(legal), wrong
}

// canonical returns the one path of a folder that several paths name: where all
// folders are below INBOX, a child of INBOX is one that stands beside it.
func (n folderNamer) canonical(path []string) []string {
	for len(path) > 0 {
		again := n.naming.Split(n.naming.Join(path))
		if slices.Equal(again, path) {
			break
		}
		path = again
	}
	return path
}

// fit returns a shorter path where a path is too long as a whole: the upper
// levels that leave room stay, so that folders stay below their parents, and
// the rest becomes one level. It returns nil where the path is not too long.
func (n folderNamer) fit(path []string) []string {
	if folderOctets(n.naming.Join(path)) <= folderNameLimit {
		return nil
	}
	const room = 64
	between := folderOctets(n.naming.Delimiter)
	keep, taken := 0, folderOctets(n.naming.Prefix)
	for ; keep < len(path)-1; keep++ {
		octets := folderOctets(path[keep]) + between
		if taken+octets+room > folderNameLimit {
			break
		}
		taken += octets
	}
	left := max(room, min(folderLevelLimit, folderNameLimit-taken))
	rest := strings.Join(path[keep:], "_")
	return append(append([]string(nil), path[:keep]...), folderCut(rest, left))
}

// folderFromLatin1 reads each octet as a character of ISO 8859-1.
func folderFromLatin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// folderPrintable replaces what Net-Unicode forbids (RFC 5198 section 2, which
// RFC 9051 section 5.1 demands of names): control characters and the line and
// paragraph separators.
func folderPrintable(r rune) rune {
	if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
		return '_'
	}
	return r
}

func folderGmailSafe(r rune) rune {
	if strings.ContainsRune(`\^"'`, r) {
		return '_'
	}
	return r
}

// folderShorten cuts a name that is longer than limit octets.
func folderShorten(name string, limit int) string {
	if folderOctets(name) <= limit {
		return name
	}
	return folderCut(name, limit)
}

// folderCut returns the front of the name and a mark of the whole, so that two
// long names that begin alike stay apart, in at most limit octets.
func folderCut(name string, limit int) string {
	mark := folderMark(name)
	var length folderLength
	end := 0
	for end < len(name) {
		r, width := utf8.DecodeRuneInString(name[end:])
		if length.add(r, width); length.octets()+len(mark) > limit {
			break
		}
		end += width
	}
	return strings.TrimRight(name[:end], " ") + mark
}

func folderMark(name string) string {
	return fmt.Sprintf("~%x", sha256.Sum256([]byte(name)))[:9]
}

// folderOctets returns how long a name is on the wire or on a disk: in UTF-8 or
// in modified UTF-7 (RFC 3501 section 5.1.3), whichever is longer.
func folderOctets(name string) int {
	var length folderLength
	for i := 0; i < len(name); {
		r, width := utf8.DecodeRuneInString(name[i:])
		length.add(r, width)
		i += width
	}
	return length.octets()
}

// folderLength measures a name, character by character.
type folderLength struct {
	utf8, utf7 int
	units      int // UTF-16 code units in the encoded run that is not over
}

func (l *folderLength) add(r rune, width int) {
	l.utf8 += width
	switch {
	case r > 0xffff:
		l.units += 2
		return
	case r < 0x20 || r > 0x7e:
		l.units++
		return
	}
	l.utf7 += l.run() + 1
	l.units = 0
	if r == '&' {
		l.utf7++
	}
}

// run is the length of the encoded run: "&", six bits a character, "-".
func (l *folderLength) run() int {
	if l.units == 0 {
		return 0
	}
	return 2 + (l.units*16+5)/6
}

func (l *folderLength) octets() int { return max(l.utf8, l.utf7+l.run()) }
