// A user and the tree of the user's mailboxes.

package imapserver

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// User is an account. Its methods work on the mail directly, without any
// protocol; they are safe for concurrent use, with sessions too.
type User struct {
	server   *Server
	name     string
	password string
	master   bool
	used     atomic.Int64 // octets stored
	sessions atomic.Int64

	notifyMu sync.Mutex // protects notified; taken after mu and after a Mailbox's
	notified map[*notifications]struct{}

	mu         sync.RWMutex        // protects all below; taken before a Mailbox's
	boxes      map[string]*Mailbox // by wire name
	subscribed map[string]bool     // wire names, of mailboxes or not
}

// Name returns the user's name.
func (u *User) Name() string { return u.name }

// Create returns the mailbox of the given decoded name, which holds the
// server's delimiter and prefix, and makes it where it is missing. Attributes
// are those of LIST: special uses such as `\Sent`, and `\Noselect`. Parents
// need not exist: a name that only has children is listed as \Noselect.
func (u *User) Create(name string, attrs ...string) *Mailbox {
	return u.CreateWire(encodeName(name), attrs...)
}

// CreateWire is like [User.Create] with a name in the octets of the protocol,
// which need not be decodable.
func (u *User) CreateWire(wire string, attrs ...string) *Mailbox {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.createLocked(u.fold(wire), attrs)
}

func (u *User) createLocked(wire string, attrs []string) *Mailbox {
	b := u.boxes[wire]
	if b == nil {
		b = newMailbox(u, wire)
		u.boxes[wire] = b
		u.tell(nil, u.listLine("", wire, ""))
	}
	for _, a := range attrs {
		if !b.hasAttr(a) {
			b.attrs = append(b.attrs, a)
		}
	}
	return b
}

func (u *User) fold(wire string) string { return foldInbox(wire, u.server.opts.Delimiter) }

// Mailbox returns the mailbox of the given decoded name, or nil.
func (u *User) Mailbox(name string) *Mailbox { return u.lookup(encodeName(name)) }

// lookup finds a mailbox by its wire name.
func (u *User) lookup(wire string) *Mailbox {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.boxes[u.fold(wire)]
}

// Mailboxes returns all mailboxes in the order of LIST: INBOX, then by name.
func (u *User) Mailboxes() []*Mailbox {
	u.mu.RLock()
	defer u.mu.RUnlock()
	all := make([]*Mailbox, 0, len(u.boxes))
	for _, b := range u.boxes {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *Mailbox) int { return compareNames(a.wire, b.wire) })
	return all
}

// compareNames puts INBOX first.
func compareNames(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "INBOX":
		return -1
	case b == "INBOX":
		return 1
	}
	return strings.Compare(a, b)
}

// Delete removes a mailbox. Sessions that have it selected are sent away. It
// reports whether there was one.
func (u *User) Delete(name string) bool { return u.remove(encodeName(name)) }

func (u *User) remove(wire string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	wire = u.fold(wire)
	b := u.boxes[wire]
	if b == nil {
		return false
	}
	delete(u.boxes, wire)
	b.destroy()
	u.tell(nil, u.listLine(`\NonExistent`, wire, ""))
	return true
}

// Rename gives a mailbox, and those below it, another name. It reports whether
// there was one, and the new name free.
func (u *User) Rename(from, to string) bool { return u.rename(encodeName(from), encodeName(to)) }

func (u *User) rename(from, to string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	from, to = u.fold(from), u.fold(to)
	below := from + u.server.opts.Delimiter
	moved := make(map[string]*Mailbox)
	for wire, b := range u.boxes {
		switch {
		case wire == from:
			moved[to] = b
		case below != from && strings.HasPrefix(wire, below):
			moved[to+wire[len(from):]] = b
		}
	}
	if len(moved) == 0 {
		return false
	}
	for wire := range moved {
		if u.boxes[wire] != nil {
			return false
		}
	}
	for _, b := range moved {
		delete(u.boxes, b.wire)
	}
	for wire, b := range moved {
		u.tell(nil, u.listLine("", wire, b.wire))
		b.wire = wire
		u.boxes[wire] = b
	}
	return true
}

// Subscribe subscribes to a name.
func (u *User) Subscribe(name string) { u.subscribe(encodeName(name), true) }

// Subscribed reports whether the user subscribed to a name.
func (u *User) Subscribed(name string) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.subscribed[u.fold(encodeName(name))]
}

func (u *User) subscribe(wire string, yes bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if yes {
		u.subscribed[u.fold(wire)] = true
	} else {
		delete(u.subscribed, u.fold(wire))
	}
}

// Used returns the octets that the user's messages take.
func (u *User) Used() int64 { return u.used.Load() }

// reserve adds to what the user has stored, unless that goes beyond the quota.
func (u *User) reserve(octets int64) bool {
	quota := u.server.opts.Quota
	if u.used.Add(octets) > quota && quota > 0 {
		u.used.Add(-octets)
		return false
	}
	return true
}

// nextUIDValidity returns one that was never given before on this server.
func (u *User) nextUIDValidity() uint32 {
	return uint32(u.server.opts.UIDValidity) + u.server.boxesMade.Add(1) - 1
}
