// The account: mailboxes and messages, with direct access for tests.

package memmail

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Stored is one message in a mailbox.
type Stored struct {
	UID    mailhaul.UID
	Flags  []mailhaul.Flag
	Date   time.Time
	Body   []byte
	ModSeq mailhaul.ModSeq

	// What only an Imposer gives a message.
	UIDL   mailhaul.UIDL
	Order  uint32
	Filler bool // put there to burn a UID

	appended time.Time // by a Writer; zero for what a test put there
}

// Box is one mailbox.
type Box struct {
	Path       []string
	Role       mailhaul.Role
	NoSelect   bool
	Subscribed bool
	Validity   mailhaul.UIDValidity
	Next       mailhaul.UID
	ModSeq     mailhaul.ModSeq
	ID         string   // MAILBOXID; empty for none
	Messages   []Stored // in ascending order of UIDs
}

// Account is a mail account. Its fields are set before it is used; everything
// else is safe for concurrent use.
type Account struct {
	Name   string
	Naming mailhaul.Naming
	Hooks  Hooks

	NoUIDPlus bool // outcomes hold no UIDs
	NoUIDNext bool // opened mailboxes and listings do not say UIDNEXT
	NoModSeq  bool // no mod-sequences
	NoStatus  bool // listings say nothing of the contents

	// Lag is how long after an APPEND was answered the messages stay unseen
	// by everybody: a server whose index follows behind.
	Lag time.Duration

	mu       sync.Mutex // protects what follows
	boxes    []*Box
	validity mailhaul.UIDValidity
	waits    int64
	open     int
	openBox  map[*Box]int // Readers and Writers of each
}

// Hooks change what an account does. Each may be nil.
type Hooks struct {
	// Append is called for each batch before it is stored. It returns what
	// becomes of each message; nil stores all.
	Append func(mailbox string, batch []mailhaul.Outgoing) *Answer
	// Answered changes what the receipt of a batch says. It is called with
	// the truth, once the batch is stored.
	Answered func(mailbox string, truth []mailhaul.Outcome) []mailhaul.Outcome
	// Fetch is called for each message that is about to be delivered. An
	// error ends the FETCH; skip leaves the message out.
	Fetch func(mailbox string, uid mailhaul.UID) (skip bool, err error)
	// Open is called before a mailbox is opened.
	Open func(mailbox string, write bool) error
	// Create is called before a mailbox is made.
	Create func(path []string) error
	// List is called before the mailboxes are listed.
	List func() error
	// Store alters octets on their way into the mailbox.
	Store func(body []byte) []byte
	// Flags is called before flags are changed.
	Flags func(mailbox string, changes []mailhaul.FlagChange)
	// Expunge is called before messages are removed. An error removes none.
	Expunge func(mailbox string, set mailhaul.UIDSet) error
	// UIDs changes what a Reader lists.
	UIDs func(mailbox string, truth mailhaul.UIDSet) mailhaul.UIDSet
	// Finish is called before a Writer finishes, with what stores the messages
	// that an Imposer's Writer has not stored yet.
	Finish func(mailbox string, store func()) error
}

// Answer says what a Writer makes of one batch.
type Answer struct {
	Store    []bool             // which messages end up in the mailbox; nil: all
	Outcomes []mailhaul.Outcome // what the receipt says; nil: the truth
	Err      error              // what Append returns: the Writer is dead
	Late     func(store func()) // if set, is handed the storing, to do it later
}

// New returns an account with an empty INBOX.
func New(name string) *Account {
	a := &Account{Name: name, Naming: mailhaul.Naming{Delimiter: "/"}, validity: 1000}
	a.Box("INBOX")
	return a
}

// Clone returns an account of its own that holds the same. Hooks are not
// copied: they speak of this account.
func (a *Account) Clone() *Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &Account{
		Name: a.Name, Naming: a.Naming, NoUIDPlus: a.NoUIDPlus, NoUIDNext: a.NoUIDNext, NoModSeq: a.NoModSeq, NoStatus: a.NoStatus,
		Lag: a.Lag, validity: a.validity,
	}
	for _, b := range a.boxes {
		d := *b
		d.Messages = slices.Clone(b.Messages)
		c.boxes = append(c.boxes, &d)
	}
	return c
}

// Box returns the mailbox at the path given by levels joined by "/", which it
// makes where it is missing.
func (a *Account) Box(path string) *Box {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.box(strings.Split(path, "/"))
}

func (a *Account) box(path []string) *Box {
	if b := a.find(path); b != nil {
		return b
	}
	a.validity++
	b := &Box{Path: path, Validity: a.validity, Next: 1, ModSeq: 1}
	a.boxes = append(a.boxes, b)
	return b
}

func (a *Account) find(path []string) *Box {
	for _, b := range a.boxes {
		if slices.Equal(b.Path, path) {
			return b
		}
	}
	return nil
}

// Delete removes a mailbox.
func (a *Account) Delete(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.boxes = slices.DeleteFunc(a.boxes, func(b *Box) bool { return strings.Join(b.Path, "/") == path })
}

// Add puts a message into a mailbox and returns its UID.
func (a *Account) Add(path string, body string, flags ...mailhaul.Flag) mailhaul.UID {
	return a.AddMessage(path, Stored{Body: []byte(body), Flags: flags, Date: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)})
}

// AddMessage puts a message into a mailbox, under its UID or the next.
func (a *Account) AddMessage(path string, m Stored) mailhaul.UID {
	b := a.Box(path)
	a.mu.Lock()
	defer a.mu.Unlock()
	return b.add(m)
}

func (b *Box) add(m Stored) mailhaul.UID {
	if m.UID < b.Next {
		m.UID = b.Next
	}
	b.Next = m.UID + 1
	b.ModSeq++
	m.ModSeq = b.ModSeq
	b.Messages = append(b.Messages, m)
	return m.UID
}

// Change calls f with a message of a mailbox, which it may alter.
func (a *Account) Change(path string, uid mailhaul.UID, f func(*Stored)) {
	b := a.Box(path)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range b.Messages {
		if b.Messages[i].UID == uid {
			f(&b.Messages[i])
			b.ModSeq++
			b.Messages[i].ModSeq = b.ModSeq
			return
		}
	}
	panic(fmt.Sprintf("memmail: no UID %d in %q", uid, path))
}

// Expunge removes messages from a mailbox.
func (a *Account) Expunge(path string, uids ...mailhaul.UID) {
	b := a.Box(path)
	a.mu.Lock()
	defer a.mu.Unlock()
	b.Messages = slices.DeleteFunc(b.Messages, func(m Stored) bool { return slices.Contains(uids, m.UID) })
	b.ModSeq++
}

// Rename gives a mailbox another path, and keeps all else.
func (a *Account) Rename(from, to string) {
	b := a.Box(from)
	a.mu.Lock()
	defer a.mu.Unlock()
	b.Path = strings.Split(to, "/")
}

// NewValidity gives a mailbox another UIDVALIDITY, and its messages the UIDs
// from 1 on.
func (a *Account) NewValidity(path string) {
	b := a.Box(path)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.validity++
	b.Validity, b.Next = a.validity, 1
	b.Messages = slices.Clone(b.Messages)
	for i := range b.Messages {
		b.Messages[i].UID = b.Next
		b.Next++
	}
}

// Snapshot returns a copy of a mailbox's messages.
func (a *Account) Snapshot(path string) []Stored {
	b := a.Box(path)
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(b.Messages)
}

// Paths lists the mailboxes, their levels joined by "/".
func (a *Account) Paths() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var paths []string
	for _, b := range a.boxes {
		paths = append(paths, strings.Join(b.Path, "/"))
	}
	slices.Sort(paths)
	return paths
}

// Open returns how many Readers and Writers are open.
func (a *Account) Open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open
}

// seen returns the messages that the account shows by now.
func (b *Box) seen(a *Account) []Stored {
	for i, m := range b.Messages {
		if a.Lag > 0 && !m.appended.IsZero() && time.Since(m.appended) < a.Lag {
			return b.Messages[:i]
		}
	}
	return b.Messages
}

func (b *Box) status(a *Account) mailhaul.Status {
	seen, next := b.seen(a), b.Next
	if len(seen) < len(b.Messages) {
		next = b.Messages[len(seen)].UID
	}
	s := mailhaul.Status{
		Messages: uint32(len(seen)), UIDNext: next, UIDValidity: b.Validity, HighestModSeq: b.ModSeq, MailboxID: b.ID,
		Flags:      []mailhaul.Flag{mailhaul.FlagSeen, mailhaul.FlagAnswered, mailhaul.FlagFlagged, mailhaul.FlagDeleted, mailhaul.FlagDraft},
		AnyKeyword: true,
	}
	if a.NoUIDNext {
		s.UIDNext = 0
	}
	if a.NoModSeq {
		s.HighestModSeq = 0
	}
	return s
}

// headerFields returns the lines of the fields that FieldHeader asks for.
func headerFields(body []byte) []byte {
	var out []byte
	keep := false
	for line := range bytes.Lines(body) {
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := bytes.Cut(line, []byte(":"))
			keep = slices.ContainsFunc([]string{"Message-ID", "Date", "Subject", "From"}, func(f string) bool {
				return strings.EqualFold(f, strings.TrimSpace(string(name)))
			})
		}
		if keep {
			out = append(out, line...)
		}
	}
	return append(out, '\r', '\n')
}
