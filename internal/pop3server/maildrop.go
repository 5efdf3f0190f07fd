// A user's mail, with direct access for tests.

package pop3server

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Message is one message of a maildrop.
type Message struct {
	UIDL string
	Body []byte
	Seen bool // RETR was given for it
}

// Maildrop is a user's mail. It is safe for concurrent use.
type Maildrop struct {
	password string

	mu       sync.Mutex // protects what follows
	messages []*Message
	added    int
	sessions int
	lastSeen time.Time // of a log-in
}

// Add puts a message behind the others. Without a uidl it gets one.
func (d *Maildrop) Add(uidl string, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.added++
	if uidl == "" {
		sum := md5.Sum(fmt.Append(nil, d.added))
		uidl = hex.EncodeToString(sum[:8])
	}
	d.messages = append(d.messages, &Message{UIDL: uidl, Body: body})
}

// Change calls f with the messages, which it may alter and put in another
// order. A session under way does not see the change.
func (d *Maildrop) Change(f func([]*Message) []*Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.messages = f(slices.Clone(d.messages))
}

// Messages returns a copy of the list.
func (d *Maildrop) Messages() []Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Message
	for _, m := range d.messages {
		out = append(out, *m)
	}
	return out
}

// Locked reports whether a session holds the maildrop.
func (d *Maildrop) Locked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions > 0
}

// enter begins a session, or returns the text of a refusal.
func (d *Maildrop) enter(o *Options) (snapshot []*Message, refusal string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	switch {
	case o.LoginDelay > 0 && !d.lastSeen.IsZero() && now.Sub(d.lastSeen) < o.LoginDelay:
		return nil, "[LOGIN-DELAY] minimum time between mail checks violation"
	case d.sessions > 0 && !o.Unlocked:
		return nil, "[IN-USE] Do you have another POP session running?"
	}
	d.lastSeen = now
	d.sessions++
	return slices.Clone(d.messages), ""
}

// leave ends a session and removes what it has marked for that.
func (d *Maildrop) leave(deleted map[*Message]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions--
	d.messages = slices.DeleteFunc(d.messages, func(m *Message) bool { return deleted[m] })
}

func (d *Maildrop) see(m *Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.Seen = true
}
