// Mailboxes and the directories that they are.

package maildir

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/mutf7"
)

// maxDirName is how long the name of a directory may be.
const maxDirName = 255

// naming is how paths and names of mailboxes belong together. INBOX is the
// tree's own directory; all others are directories in it, whose names begin
// with a dot and have dots between the levels (Maildir++).
func (t *Target) naming() mailhaul.Naming {
	if t.flavor == Courier {
		return mailhaul.Naming{Prefix: "INBOX.", Delimiter: "."}
	}
	return mailhaul.Naming{Delimiter: "."}
}

// isMaildirName reports whether a directory of the tree can be a mailbox.
func isMaildirName(name string) bool {
	return len(name) > 1 && name[0] == '.' && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// dirOf returns the directory of the mailbox at path, or why it can have none.
func (t *Target) dirOf(path []string) (string, error) {
	if len(path) == 0 {
		return "", errors.New("the name is empty")
	}
	if t.flavor == Courier && len(path) > 1 && path[0] == "INBOX" {
		path = path[1:] // there all mailboxes are below INBOX
	} else if slices.Equal(path, []string{"INBOX"}) {
		return ".", nil
	}
	if len(path) == 1 && strings.EqualFold(path[0], "INBOX") {
		return "", errors.New("only INBOX itself can be called so")
	}
	var b strings.Builder
	for _, level := range path {
		switch {
		case level == "":
			return "", errors.New("a level of the name is empty")
		case strings.ContainsAny(level, "./"):
			return "", errors.New("a dot separates levels in a Maildir, and a slash directories; neither can be in a name")
		case strings.ContainsFunc(level, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return "", errors.New("the name has control characters")
		}
		wire, ok := mutf7.Encode(level)
		if !ok {
			return "", errors.New("the name is not in UTF-8")
		}
		if t.names == UTF8 {
			wire = level
		}
		b.WriteByte('.')
		b.WriteString(wire)
	}
	dir := b.String()
	if dir[1] == '~' {
		return "", errors.New("a name that begins with a tilde means a user's home")
	}
	if len(dir) > maxDirName {
		return "", fmt.Errorf("the name takes %d octets on the disk, and %d is the limit", len(dir), maxDirName)
	}
	return dir, nil
}

// pathOf is the inverse of dirOf. It returns false for a directory that no
// server takes for a mailbox.
func (t *Target) pathOf(dir string) ([]string, bool) {
	if dir == "." {
		return []string{"INBOX"}, true
	}
	if !isMaildirName(dir) {
		return nil, false
	}
	path := strings.Split(dir[1:], ".")
	for i, level := range path {
		if level == "" {
			return nil, false
		}
		if t.names == ModifiedUTF7 {
			if name, ok := mutf7.Decode(level); ok {
				path[i] = name
			}
		}
	}
	if len(path) == 1 && strings.EqualFold(path[0], "INBOX") {
		return nil, false
	}
	return path, true
}

// mailbox describes the mailbox of a directory.
func (t *Target) mailbox(dir string, path []string) mailhaul.Mailbox {
	m := mailhaul.Mailbox{Path: path, Name: t.naming().Join(path), Wire: dir}
	if m.IsInbox() {
		m.Role = mailhaul.RoleInbox
	}
	return m
}
