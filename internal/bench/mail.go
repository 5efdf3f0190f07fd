// The mail that benchmarks move.

package bench

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
)

// The kinds of Mail.
const (
	Account = "account" // ten folders as real accounts have them, 14 KB a message
	Folder  = "folder"  // the same messages in INBOX alone
	Spread  = "spread"  // folders of five messages each
	Tiny    = "tiny"    // messages of 150 octets in INBOX
	Wide    = "wide"    // the same messages in Mail.Folders folders
	Huge    = "huge"    // messages of Mail.Size octets in INBOX
)

// Mail is what an account is loaded with.
type Mail struct {
	Kind     string
	Messages int
	Size     int // of Huge
	Folders  int // of Wide
}

// Boxes returns the folders with their messages.
func (m Mail) Boxes() ([]corpus.Mailbox, error) {
	inbox := corpus.Folder{Path: []string{"INBOX"}, Role: mailhaul.RoleInbox, Subscribed: true, Weight: 1}
	switch m.Kind {
	case Account:
		return corpus.Default(m.Messages), nil
	case Folder:
		return corpus.Generate(corpus.Spec{Messages: m.Messages, Folders: []corpus.Folder{inbox}}), nil
	case Spread:
		var folders []corpus.Folder
		for i := range max(m.Messages/5, 1) {
			folders = append(folders, corpus.Folder{Path: []string{"Projects", fmt.Sprintf("%04d", i)}, Subscribed: true, Weight: 1})
		}
		return corpus.Generate(corpus.Spec{Messages: m.Messages, Folders: folders}), nil
	case Tiny:
		return []corpus.Mailbox{{Path: inbox.Path, Role: inbox.Role, Subscribed: true, Len: m.Messages, At: tiny}}, nil
	case Wide:
		boxes := make([]corpus.Mailbox, max(m.Folders, 1))
		for f := range boxes {
			boxes[f] = corpus.Mailbox{
				Path: []string{"Archive", fmt.Sprintf("%04d", f)}, Subscribed: true,
				Len: m.Messages / len(boxes), At: func(i int) corpus.Message { return tiny(i*len(boxes) + f) },
			}
		}
		return boxes, nil
	case Huge:
		large := corpus.Large(m.Size)
		body := large.Body()
		return []corpus.Mailbox{{Path: inbox.Path, Role: inbox.Role, Subscribed: true, Len: m.Messages, At: func(i int) corpus.Message {
			return corpus.NewMessage(body, large.Date.Add(time.Duration(i)*time.Hour), mailhaul.FlagSeen)
		}}}, nil
	}
	return nil, fmt.Errorf("bench: there is no mail of kind %q", m.Kind)
}

// tiny returns the i-th of any number of different small messages.
func tiny(i int) corpus.Message {
	n := strconv.Itoa(i)
	b := make([]byte, 0, 160)
	b = append(b, "From: a@example.org\r\nSubject: note "...)
	b = append(b, n...)
	b = append(b, "\r\nDate: Mon, 3 Feb 2020 10:00:00 +0000\r\nMessage-ID: <"...)
	b = append(b, n...)
	b = append(b, "@tiny.example.org>\r\n\r\nHello, this is all.\r\n"...)
	flags := []mailhaul.Flag{mailhaul.FlagSeen}
	if i%7 == 0 {
		flags = append(flags, mailhaul.FlagAnswered)
	}
	return corpus.NewMessage(b, time.Unix(1_500_000_000+int64(i)*60, 0).UTC(), flags...)
}

// Total is what a load came to.
type Total struct {
	Folders, Messages int
	Octets            int64
}

// counted returns the boxes, and a total that is right when each message has
// been asked for once.
func counted(boxes []corpus.Mailbox) ([]corpus.Mailbox, *Total) {
	total := &Total{Folders: len(boxes)}
	out := make([]corpus.Mailbox, len(boxes))
	for k, box := range boxes {
		out[k] = box
		out[k].At = func(i int) corpus.Message {
			m := box.At(i)
			body := m.Body()
			total.Messages++
			total.Octets += int64(len(body))
			return corpus.NewMessage(body, m.Date, m.Flags...)
		}
	}
	return out, total
}
