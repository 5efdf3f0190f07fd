// Folders and the messages in them.

package corpus

import (
	"iter"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Spec is what to generate. The zero value generates nothing.
type Spec struct {
	// Seed makes one corpus differ from another.
	Seed uint64

	// Messages is how many there are in all folders together.
	Messages int

	// Folders share the messages. Default: Folders().
	Folders []Folder

	// MedianSize and MaxSize are of whole messages, in octets; sizes spread
	// around the median as those of real mail do, with a mean of about four
	// times the median. Default 3 KB and 8 MB.
	MedianSize, MaxSize int
}

// Folder is one folder of a Spec.
type Folder struct {
	Path       []string
	Role       mailhaul.Role
	Subscribed bool
	Weight     int // its share of the messages is Weight by the sum of all weights
}

// Folders returns the ten folders that an account has by default: nested ones,
// names that are not ASCII, one that is empty, one that is not subscribed.
func Folders() []Folder {
	return []Folder{
		{Path: []string{"INBOX"}, Role: mailhaul.RoleInbox, Subscribed: true, Weight: 40},
		{Path: []string{"Sent"}, Role: mailhaul.RoleSent, Subscribed: true, Weight: 20},
		{Path: []string{"Drafts"}, Role: mailhaul.RoleDrafts, Subscribed: true, Weight: 1},
		{Path: []string{"Trash"}, Role: mailhaul.RoleTrash, Subscribed: true, Weight: 5},
		{Path: []string{"Archive", "2019"}, Subscribed: true, Weight: 10},
		{Path: []string{"Archive", "2020"}, Weight: 10},
		{Path: []string{"Büro & Kunden"}, Subscribed: true, Weight: 6},
		{Path: []string{"日本語の手紙"}, Subscribed: true, Weight: 3},
		{Path: []string{"Empty"}, Subscribed: true},
		{Path: []string{"Lists", "golang"}, Subscribed: true, Weight: 5},
	}
}

// Mailbox is a folder with its messages.
type Mailbox struct {
	Path       []string
	Role       mailhaul.Role
	Subscribed bool

	// Len is the number of messages; At makes the i-th, counting from 0.
	Len int
	At  func(i int) Message
}

// Name returns the path with slashes, for people.
func (b Mailbox) Name() string { return strings.Join(b.Path, "/") }

// All yields the messages in order.
func (b Mailbox) All() iter.Seq2[int, Message] {
	return func(yield func(int, Message) bool) {
		for i := range b.Len {
			if !yield(i, b.At(i)) {
				return
			}
		}
	}
}

// Of returns a mailbox with the given messages, such as those of Odd.
func Of(path []string, messages ...Message) Mailbox {
	return Mailbox{
		Path: path, Subscribed: true, Len: len(messages),
		At: func(i int) Message { return messages[i] },
	}
}

// Message is one message.
type Message struct {
	Name  string // what is odd about it; empty for ordinary ones
	Flags []mailhaul.Flag
	Date  time.Time // INTERNALDATE, with its zone
	body  func() []byte
}

// NewMessage returns a message with the given octets.
func NewMessage(body []byte, date time.Time, flags ...mailhaul.Flag) Message {
	return Message{Flags: flags, Date: date, body: func() []byte { return body }}
}

// Body makes the message's octets. They are the same each time, and the
// caller's.
func (m Message) Body() []byte { return m.body() }

// Default returns n messages in the folders of Folders.
func Default(n int) []Mailbox { return Generate(Spec{Messages: n}) }

// Generate returns the folders of the spec, with parents before their
// children where both are named.
func Generate(spec Spec) []Mailbox {
	if spec.Folders == nil {
		spec.Folders = Folders()
	}
	if spec.MedianSize == 0 {
		spec.MedianSize = 3 << 10
	}
	if spec.MaxSize == 0 {
		spec.MaxSize = 8 << 20
	}
	sum := 0
	for _, f := range spec.Folders {
		sum += f.Weight
	}
	boxes := make([]Mailbox, len(spec.Folders))
	weight, given := 0, 0
	for k, f := range spec.Folders {
		// What has been given so far is rounded, so that it adds up.
		weight += f.Weight
		upTo := given
		if sum > 0 {
			upTo = (spec.Messages*weight + sum/2) / sum
		}
		g := generator{spec: spec, folder: f, index: k, n: upTo - given}
		boxes[k] = Mailbox{Path: f.Path, Role: f.Role, Subscribed: f.Subscribed, Len: g.n, At: g.message}
		given = upTo
	}
	return boxes
}

// Total returns how many messages the mailboxes hold.
func Total(boxes []Mailbox) int {
	n := 0
	for _, b := range boxes {
		n += b.Len
	}
	return n
}
