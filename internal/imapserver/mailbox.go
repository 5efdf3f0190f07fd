// A mailbox: its messages and what may be done to them.

package imapserver

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Mailbox holds messages in ascending order of their UIDs. Its methods work on
// them directly, without any protocol, and tell the sessions that have the
// mailbox selected. They are safe for concurrent use.
type Mailbox struct {
	user *User

	// Protected by user.mu.
	wire  string
	attrs []string

	mu          sync.RWMutex // protects all below, and the views; never held over network I/O
	messages    []message
	uidValidity uint32
	uidNext     uint32
	modseq      uint64 // HIGHESTMODSEQ
	recentFrom  uint32 // UIDs from here on were shown to no session yet
	octets      int64
	flags       flagTable
	views       map[*view]struct{}
	deleted     bool
}

func newMailbox(u *User, wire string) *Mailbox {
	return &Mailbox{
		user: u, wire: wire,
		uidValidity: u.nextUIDValidity(), uidNext: 1, modseq: 1, recentFrom: 1,
		views: make(map[*view]struct{}),
	}
}

// Name returns the decoded name; a name that cannot be decoded as it is.
func (b *Mailbox) Name() string {
	wire := b.Wire()
	if name, err := decodeName(wire); err == nil {
		return name
	}
	return wire
}

// Wire returns the name in the octets of the protocol.
func (b *Mailbox) Wire() string {
	b.user.mu.RLock()
	defer b.user.mu.RUnlock()
	return b.wire
}

// Attrs returns the attributes that the mailbox was made with.
func (b *Mailbox) Attrs() []string {
	b.user.mu.RLock()
	defer b.user.mu.RUnlock()
	return slices.Clone(b.attrs)
}

// hasAttr is called with user.mu held.
func (b *Mailbox) hasAttr(attr string) bool {
	return slices.ContainsFunc(b.attrs, func(a string) bool { return strings.EqualFold(a, attr) })
}

func (b *Mailbox) noSelect() bool {
	b.user.mu.RLock()
	defer b.user.mu.RUnlock()
	return b.hasAttr(`\Noselect`) || b.hasAttr(`\NonExistent`)
}

// Add stores a message and returns its UID. It panics where msg.UID is not
// above those of the messages that are there, and knows no quota.
func (b *Mailbox) Add(msg Message) mailhaul.UID {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user.used.Add(int64(len(msg.Body)))
	b.modseq++
	uid := b.addLocked(&msg)
	b.wakeLocked(nil)
	return mailhaul.UID(uid)
}

func (b *Mailbox) addLocked(msg *Message) uint32 {
	uid := uint32(msg.UID)
	if uid == 0 {
		uid = b.uidNext
	} else if n := len(b.messages); n > 0 && uid <= b.messages[n-1].uid {
		panic(fmt.Sprintf("imapserver: UID %d added to %q after UID %d", uid, b.wire, b.messages[n-1].uid))
	}
	m := message{body: msg.Body, flags: b.flags.intern(msg.Flags), modseq: b.modseq, uid: uid}
	if msg.Date.IsZero() {
		m.setDate(time.Now())
	} else {
		m.setDate(msg.Date)
	}
	b.messages = append(b.messages, m)
	b.octets += int64(len(m.body))
	b.uidNext = max(b.uidNext, uid+1)
	return uid
}

// deliver stores what APPEND or COPY brought, all of it or nothing, after the
// user's room was reserved. A message with a discard entry is not stored.
// It returns ok false where the mailbox is gone or refuses the UIDs.
func (b *Mailbox) deliver(batch []Message, discard []*Discard, self *view) (validity uint32, uids []uint32, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleted {
		return 0, nil, false
	}
	next := b.uidNext
	for i := range batch {
		if uid := uint32(batch[i].UID); uid != 0 && discard[i] == nil {
			if uid < next {
				return 0, nil, false
			}
			next = uid
		}
		next++
	}
	b.modseq++
	uids = make([]uint32, len(batch))
	for i := range batch {
		switch d := discard[i]; {
		case d == nil:
			uids[i] = b.addLocked(&batch[i])
		case d.UID != 0:
			uids[i] = uint32(d.UID)
		default:
			uids[i] = b.uidNext
			b.uidNext++
		}
	}
	b.wakeLocked(self)
	return b.uidValidity, uids, true
}

// Messages returns all messages. Their bodies are shared with the mailbox.
func (b *Mailbox) Messages() []Message {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Message, len(b.messages))
	for i := range b.messages {
		out[i] = b.messages[i].public()
	}
	return out
}

// Message returns the message of a UID, and whether there is one.
func (b *Mailbox) Message(uid mailhaul.UID) (Message, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if i := b.lower(uint32(uid)); i < len(b.messages) && b.messages[i].uid == uint32(uid) {
		return b.messages[i].public(), true
	}
	return Message{}, false
}

// Len returns the number of messages.
func (b *Mailbox) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.messages)
}

// Status returns the state of the mailbox.
func (b *Mailbox) Status() mailhaul.Status {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return mailhaul.Status{
		Messages:      uint32(len(b.messages)),
		UIDNext:       mailhaul.UID(b.uidNext),
		UIDValidity:   mailhaul.UIDValidity(b.uidValidity),
		HighestModSeq: mailhaul.ModSeq(b.modseq),
	}
}

// SetUIDValidity changes UIDVALIDITY. Sessions are not told.
func (b *Mailbox) SetUIDValidity(v mailhaul.UIDValidity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uidValidity = uint32(v)
}

// SetUIDNext changes UIDNEXT. It may go back as far as the messages that are
// there allow; where they do not, it panics.
func (b *Mailbox) SetUIDNext(uid mailhaul.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.messages); uid == 0 || n > 0 && uint32(uid) <= b.messages[n-1].uid {
		panic(fmt.Sprintf("imapserver: UIDNEXT %d of %q is not above its messages", uid, b.wire))
	}
	b.uidNext = uint32(uid)
	for v := range b.views {
		v.next = min(v.next, b.uidNext)
	}
}

// SetModSeq changes HIGHESTMODSEQ, in any direction.
func (b *Mailbox) SetModSeq(m mailhaul.ModSeq) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.modseq = uint64(m)
}

// SetFlags replaces the flags of a message. It reports whether there is one.
func (b *Mailbox) SetFlags(uid mailhaul.UID, flags []mailhaul.Flag) bool {
	set := mailhaul.UIDSetOf(uid)
	found := false
	b.store(set, func(*message) bool { found = true; return true },
		func(*flagList) *flagList { return b.flags.intern(flags) }, nil)
	return found
}

// Expunge removes messages. Those that are not there are no error.
func (b *Mailbox) Expunge(uids ...mailhaul.UID) {
	b.expunge(mailhaul.UIDSetOf(uids...), func(*message) bool { return true })
}

// Clear removes all messages.
func (b *Mailbox) Clear() {
	b.expunge(everything, func(*message) bool { return true })
}

var everything = mailhaul.UIDSet{{First: 1, Last: 1<<32 - 1}}

// lower returns the index of the first message whose UID is at least uid. It is
// called with the lock held.
func (b *Mailbox) lower(uid uint32) int {
	return sort.Search(len(b.messages), func(i int) bool { return b.messages[i].uid >= uid })
}

// inSet calls f for each message of the set. It is called with the lock held.
func (b *Mailbox) inSet(set mailhaul.UIDSet, f func(i int, m *message)) {
	for _, r := range set {
		for i := b.lower(uint32(r.First)); i < len(b.messages) && b.messages[i].uid <= uint32(r.Last); i++ {
			f(i, &b.messages[i])
		}
	}
}

// store changes the flags of those messages of the set for which may is true.
// change is called once for each combination that occurs. All views but self
// are told. It returns the UIDs that changed.
func (b *Mailbox) store(set mailhaul.UIDSet, may func(*message) bool, change func(*flagList) *flagList, self *view) (changed mailhaul.UIDSet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	memo := make(map[*flagList]*flagList)
	modseq := b.modseq + 1
	b.inSet(set, func(_ int, m *message) {
		if !may(m) {
			return
		}
		to := memo[m.flags]
		if to == nil {
			to = change(m.flags)
			memo[m.flags] = to
		}
		if to != m.flags {
			m.flags, m.modseq = to, modseq
			changed.Add(mailhaul.UID(m.uid))
		}
	})
	if len(changed) > 0 {
		b.modseq = modseq
		for v := range b.views {
			if v != self {
				for _, r := range changed {
					v.changed.AddRange(r)
				}
			}
		}
		b.wakeLocked(self)
	}
	return changed
}

// expunge removes those messages of the set for which doomed is true.
func (b *Mailbox) expunge(set mailhaul.UIDSet, doomed func(*message) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var gone []uint32
	first := len(b.messages)
	b.inSet(set, func(i int, m *message) {
		if doomed(m) {
			first = min(first, i)
			gone = append(gone, m.uid)
		}
	})
	if len(gone) == 0 {
		return
	}
	keep, g, octets := first, 0, int64(0)
	for i := first; i < len(b.messages); i++ {
		m := &b.messages[i]
		if g < len(gone) && gone[g] == m.uid {
			g++
			octets += int64(len(m.body))
			continue
		}
		b.messages[keep] = *m
		keep++
	}
	clear(b.messages[keep:])
	b.messages = b.messages[:keep]
	b.octets -= octets
	b.user.used.Add(-octets)
	b.modseq++
	for v := range b.views {
		v.lose(gone)
	}
	b.wakeLocked(nil)
}

// destroy marks the mailbox as deleted and sends its sessions away.
func (b *Mailbox) destroy() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleted = true
	b.user.used.Add(-b.octets)
	b.wakeLocked(nil)
}

// wakeLocked tells IDLE and NOTIFY sessions that there is news.
func (b *Mailbox) wakeLocked(except *view) {
	b.user.tell(b)
	for v := range b.views {
		if v != except {
			select {
			case v.news <- struct{}{}:
			default:
			}
		}
	}
}
