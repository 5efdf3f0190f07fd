// Patterns that choose folders: Config.Include and Config.Exclude.

package sync

import (
	"strings"

	"github.com/mailhaul/mailhaul"
)

// folderPattern is one compiled pattern over a decoded source path whose levels
// are joined by "/".
//
//   - any run of characters within a level
//     ?       one character within a level
//     **      any run of characters, across levels; "**/" also stands for nothing,
//     so that "**/Old" finds "Old" at the top too
//     \x      the character x, where x is one of * ? \
//     \Junk   (the name of a role alone) the folders of that role, by attribute or
//     well-known name
//
// All other characters, brackets too, stand for themselves, and case counts but
// for INBOX. A pattern that names a folder takes in all that is below it, as
// with backup tools; "Work/**" leaves out "Work" itself. INBOX stands for itself
// alone, since on many servers all folders are below it.
type folderPattern struct {
	text   string
	role   mailhaul.Role
	tokens []folderToken
	used   bool // it matched some folder
}

type folderTokenKind uint8

const (
	folderLiteral folderTokenKind = iota
	folderAnyOne                  // ?
	folderAnyRun                  // *
	folderAnyPath                 // **
	folderMaybe                   // the next two tokens may be left out
)

type folderToken struct {
	kind folderTokenKind
	char rune
}

// folderCompile compiles a pattern. Every text is one.
func folderCompile(text string) *folderPattern {
	p := &folderPattern{text: text}
	for _, r := range []mailhaul.Role{
		mailhaul.RoleAll, mailhaul.RoleArchive, mailhaul.RoleDrafts, mailhaul.RoleFlagged,
		mailhaul.RoleJunk, mailhaul.RoleSent, mailhaul.RoleTrash,
	} {
		if strings.EqualFold(text, string(r)) {
			p.role = r
			return p
		}
	}
	if first, _, _ := strings.Cut(text, "/"); strings.EqualFold(first, "INBOX") {
		text = "INBOX" + text[len(first):]
	}
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		rest := runes[i:]
		switch {
		case len(rest) > 1 && rest[0] == '\\' && strings.ContainsRune(`*?\`, rest[1]):
			p.add(folderLiteral, rest[1])
			i++
		case len(rest) > 2 && rest[0] == '*' && rest[1] == '*' && rest[2] == '/' && (i == 0 || runes[i-1] == '/'):
			p.add(folderMaybe, 0)
			p.add(folderAnyPath, 0)
			p.add(folderLiteral, '/')
			i += 2
		case len(rest) > 1 && rest[0] == '*' && rest[1] == '*':
			p.add(folderAnyPath, 0)
			i++
		case rest[0] == '*':
			p.add(folderAnyRun, 0)
		case rest[0] == '?':
			p.add(folderAnyOne, 0)
		default:
			p.add(folderLiteral, rest[0])
		}
	}
	return p
}

func (p *folderPattern) add(kind folderTokenKind, char rune) {
	p.tokens = append(p.tokens, folderToken{kind, char})
}

// matches reports whether the pattern takes in the folder at path, which has
// the given role by attribute or by name.
func (p *folderPattern) matches(path []string, role mailhaul.Role) bool {
	hit := role == p.role
	if p.role == mailhaul.RoleNone {
		hit = p.matchesPath(path)
	}
	p.used = p.used || hit
	return hit
}

// matchesPath runs over the path once, keeping all places in the pattern that
// are reached, so that no pattern takes long. It looks at each level's end
// whether the pattern is over as well.
func (p *folderPattern) matchesPath(path []string) bool {
	here := make([]bool, len(p.tokens)+1)
	next := make([]bool, len(p.tokens)+1)
	step := func(c rune) {
		clear(next)
		p.step(here, next, c)
		here, next = next, here
	}
	p.reach(here, 0)
	for i, level := range path {
		if i > 0 {
			step('/')
		}
		for _, c := range level {
			step(c)
		}
		inboxOnTheWay := i == 0 && len(path) > 1 && level == "INBOX"
		if here[len(p.tokens)] && !inboxOnTheWay {
			return true
		}
	}
	return false
}

// step marks the places in next that a character leads to from those in here.
func (p *folderPattern) step(here, next []bool, c rune) {
	for i, t := range p.tokens {
		switch {
		case !here[i]:
		case t.kind == folderLiteral && c == t.char, t.kind == folderAnyOne && c != '/':
			p.reach(next, i+1)
		case t.kind == folderAnyRun && c != '/', t.kind == folderAnyPath:
			p.reach(next, i)
		}
	}
}

// reach marks place i, and those that are reached from it without a character.
func (p *folderPattern) reach(places []bool, i int) {
	for ; !places[i]; i++ {
		places[i] = true
		if i == len(p.tokens) {
			return
		}
		switch p.tokens[i].kind {
		case folderAnyRun, folderAnyPath:
		case folderMaybe:
			p.reach(places, i+3)
		default:
			return
		}
	}
}
