package mailhaul

import (
	"slices"
	"strings"
)

// Role is what a mailbox is for: a special-use attribute (RFC 6154 section 2)
// or [RoleInbox]. The zero value is an ordinary mailbox.
type Role string

// The roles. RoleAll and RoleFlagged are views: their messages live in other
// mailboxes too.
const (
	RoleNone    Role = ""
	RoleInbox   Role = "INBOX"
	RoleAll     Role = `\All`
	RoleArchive Role = `\Archive`
	RoleDrafts  Role = `\Drafts`
	RoleFlagged Role = `\Flagged`
	RoleJunk    Role = `\Junk`
	RoleSent    Role = `\Sent`
	RoleTrash   Role = `\Trash`
)

// Mailbox is one entry of a server's list.
type Mailbox struct {
	// Path is the mailbox's place in the hierarchy, one decoded level an
	// element, without the prefix of the personal namespace. INBOX, in
	// whatever case the server spells it, is ["INBOX"].
	Path []string

	// Name is the decoded name as the server's users see it, with the
	// server's own separator and prefix. It is for people: a name that cannot
	// be decoded shows its octets as they are.
	Name string

	// Wire is the name in the octets of the protocol. It alone opens the
	// mailbox, so that a name that cannot be decoded still works.
	Wire string

	// Role is what the server says that the mailbox is for.
	Role Role

	// NoSelect is set where the entry holds other mailboxes but no messages
	// (RFC 9051 section 7.3.1, \Noselect and \NonExistent).
	NoSelect bool

	// Subscribed is set where the user subscribed to the mailbox.
	Subscribed bool

	// Shared is set for what lies outside the user's personal namespaces.
	Shared bool

	// Status is what the listing said of the contents; nil where it said
	// nothing.
	Status *Status
}

// IsInbox reports whether the mailbox is the user's INBOX.
func (m Mailbox) IsInbox() bool { return len(m.Path) == 1 && m.Path[0] == "INBOX" }

// Status is the state of a mailbox at one moment, as STATUS, SELECT or EXAMINE
// reports it. Fields that the server did not send are zero, which none of them
// can be otherwise but Messages.
type Status struct {
	Messages      uint32
	UIDNext       UID
	UIDValidity   UIDValidity
	HighestModSeq ModSeq

	// MailboxID is the mailbox's for ever, whatever its name (RFC 8474 section
	// 4). Only listings tell it.
	MailboxID string

	// Flags is what PERMANENTFLAGS allows to be stored, AnyKeyword whether new
	// keywords may be made (\*). Only an opened mailbox knows them.
	Flags      []Flag
	AnyKeyword bool
}

// Naming is how a server builds the names of a user's mailboxes.
type Naming struct {
	// Prefix is what the personal namespace puts before each name but INBOX
	// (RFC 2342), such as "INBOX."; often empty.
	Prefix string

	// Delimiter separates hierarchy levels; empty where the server is flat.
	Delimiter string
}

// Join returns the name of the mailbox at path. INBOX and what is below it
// stand outside the prefix.
func (n Naming) Join(path []string) string {
	if len(path) == 0 {
		return ""
	}
	name := strings.Join(path, n.Delimiter)
	if strings.EqualFold(path[0], "INBOX") {
		return "INBOX" + name[len("INBOX"):]
	}
	return n.Prefix + name
}

// Split is the inverse of Join: it returns the path of a decoded name. Only
// the name INBOX itself, in whatever case, has the path ["INBOX"].
func (n Naming) Split(name string) []string {
	if strings.EqualFold(name, "INBOX") {
		return []string{"INBOX"}
	}
	if n.Delimiter == "" {
		return []string{strings.TrimPrefix(name, n.Prefix)}
	}
	whole := strings.Split(name, n.Delimiter)
	path := whole
	if len(name) > len(n.Prefix) && strings.EqualFold(name[:len(n.Prefix)], n.Prefix) {
		path = strings.Split(name[len(n.Prefix):], n.Delimiter)
		if strings.EqualFold(path[0], "INBOX") {
			path = whole // a mailbox below the prefix that is called INBOX, too
		}
	}
	if strings.EqualFold(path[0], "INBOX") {
		path[0] = "INBOX"
	}
	return path
}

// Listing is what a server answers when it is asked for its mailboxes.
type Listing struct {
	Mailboxes []Mailbox
	Naming    Naming

	// Warnings are sentences about entries that could not be read or were
	// left out, such as a name that is too long.
	Warnings []string
}

// Find returns the mailbox at path, or nil.
func (l *Listing) Find(path []string) *Mailbox {
	for i := range l.Mailboxes {
		if slices.Equal(l.Mailboxes[i].Path, path) {
			return &l.Mailboxes[i]
		}
	}
	return nil
}
