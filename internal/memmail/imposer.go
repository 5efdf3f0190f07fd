// An account that lets itself be told UIDs, UIDVALIDITYs and UIDLs.

package memmail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mailhaul/mailhaul"
)

var (
	_ mailhaul.Imposer   = (*Imposer)(nil)
	_ mailhaul.Recoverer = (*Imposer)(nil)
)

// Imposer is an account with an administrator's access. It panics where the
// contract of mailhaul.Imposer is broken. Its fields are set before it is used.
type Imposer struct {
	*base

	Max        mailhaul.Level    // the highest level; empty: exact
	Late       bool              // the Writer answers in Finish
	Behind     bool              // messages whose UIDs are taken come behind all others of their Writer; only with Late
	OneSession bool              // all messages have to be written by one Writer
	Fill       bool              // UIDs are burnt by fillers, which lie around until Finish has ended
	Refuse     map[string]string // mailboxes that take no identity, with the reasons
	Ask        func(mailbox string) error

	mu        sync.Mutex // protects what follows
	asked     []string
	openings  []Opening
	recovered []string
}

// base is the account by a name that leaves its method Account in sight.
type base = Account

// Imposer returns the account with an administrator's access to it.
func (a *Account) Imposer() *Imposer { return &Imposer{base: a} }

// Opening is one call of OpenImposing.
type Opening struct {
	Mailbox string
	Want    mailhaul.Identity
}

// Unwrap lets mailhaul.As see the account.
func (i *Imposer) Unwrap() mailhaul.Target { return i.base }

// Asked returns the mailboxes that Imposable was asked about.
func (i *Imposer) Asked() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.asked)
}

// Openings returns what OpenImposing was asked for.
func (i *Imposer) Openings() []Opening {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.openings)
}

// Recovered returns the mailboxes that Recover was called for.
func (i *Imposer) Recovered() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.recovered)
}

func (i *Imposer) max() mailhaul.Level {
	if i.Max == "" {
		return mailhaul.LevelExact
	}
	return i.Max
}

// Imposable implements mailhaul.Imposer.
func (i *Imposer) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	path := strings.Join(m.Path, "/")
	checkMessages(want)
	i.mu.Lock()
	i.asked = append(i.asked, path)
	i.mu.Unlock()
	if i.Ask != nil {
		if err := i.Ask(path); err != nil {
			return mailhaul.Imposable{}, err
		}
	}
	out := mailhaul.Imposable{Level: i.max(), OneSession: i.OneSession, AnswersLate: i.Late}
	if out.Level != mailhaul.LevelExact {
		out.Reason = "the UIDVALIDITY cannot be set"
	}
	if reason := i.Refuse[path]; reason != "" {
		out.Level, out.Reason = mailhaul.LevelOrder, reason
		return out, ctx.Err()
	}
	if m.Wire == "" {
		return out, ctx.Err()
	}
	i.base.mu.Lock()
	defer i.base.mu.Unlock()
	b := i.find(m.Path)
	switch {
	case b == nil:
		return out, fmt.Errorf("memmail: there is no mailbox %q", path)
	case len(b.Messages) > 0 && (want.UIDValidity != b.Validity || b.Next > want.UIDNext):
		out.Level, out.Reason = mailhaul.LevelOrder, "it holds mail"
	}
	return out, ctx.Err()
}

// wanted is what a Writer has been told.
type wanted struct {
	mailhaul.Identity
	level   mailhaul.Level
	late    *bool // nil where answers come at once
	fill    bool
	behind  bool
	pending []func()

	displaced []func() // messages whose UIDs are taken
}

// OpenImposing implements mailhaul.Imposer.
func (i *Imposer) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	want.Messages = slices.Clone(want.Messages)
	checkMessages(want)
	i.mu.Lock()
	i.openings = append(i.openings, Opening{strings.Join(m.Path, "/"), want})
	i.mu.Unlock()
	b, _, err := i.opened(ctx, m, true)
	if err != nil {
		return nil, err
	}
	i.base.mu.Lock()
	defer i.base.mu.Unlock()
	if i.openBox[b] > 1 {
		panic("memmail: the mailbox is open on another connection")
	}
	if i.max() == mailhaul.LevelExact && want.UIDValidity != 0 && len(b.Messages) == 0 && b.Validity != want.UIDValidity {
		b.Validity, b.Next = want.UIDValidity, 1
	}
	w := &writer{session: session{a: i.base, b: b, name: m.Name, status: b.status(i.base)}}
	w.want = &wanted{Identity: want, level: i.max(), fill: i.Fill, behind: i.Behind}
	if i.Late {
		w.want.late = new(bool)
	}
	return w, nil
}

func checkMessages(want mailhaul.Identity) {
	last := mailhaul.UID(0)
	for _, msg := range want.Messages {
		if msg.UID <= last {
			panic("memmail: the messages do not ascend")
		}
		if last = msg.UID; strings.Contains(string(msg.UIDL), " ") {
			panic("memmail: this is no UIDL")
		}
	}
	if last >= want.UIDNext && want.UIDNext != 0 {
		panic("memmail: UIDNEXT is not above the last message")
	}
}

// check holds that what is appended is what was announced.
func (w *wanted) check(batch []mailhaul.Outgoing) {
	for _, o := range batch {
		at := slices.IndexFunc(w.Messages, func(m mailhaul.Message) bool { return m.UID == o.UID })
		if at < 0 {
			panic(fmt.Sprintf("memmail: UID %d was not announced, or comes out of order", o.UID))
		}
		m := w.Messages[at]
		if m.UIDL != o.UIDL || m.Order != o.Order || !slices.Equal(m.Flags, o.Flags) {
			panic(fmt.Sprintf("memmail: UID %d is not as it was announced: %+v, %+v", o.UID, m, o))
		}
		w.Messages = w.Messages[at+1:]
	}
}

// litter leaves the filler that burns UIDs up to UIDNEXT.
func (w *wanted) litter(of *writer) {
	of.a.mu.Lock()
	defer of.a.mu.Unlock()
	if w.fill && of.b.Next < w.UIDNext {
		of.b.add(Stored{UID: w.UIDNext - 1, Filler: true, Body: []byte("filler")})
	}
}

// store stores what has been held back until the end.
func (w *wanted) store(of *writer) {
	for _, store := range w.pending {
		store()
	}
	w.pending = nil
	of.a.mu.Lock()
	defer of.a.mu.Unlock()
	for _, store := range w.displaced {
		store()
	}
	w.displaced = nil
}

func (w *wanted) finish(of *writer) {
	w.store(of)
	if w.late != nil {
		*w.late = true
	}
	of.a.mu.Lock()
	defer of.a.mu.Unlock()
	of.b.Messages = slices.DeleteFunc(of.b.Messages, func(m Stored) bool { return m.Filler })
	of.b.Next = max(of.b.Next, w.UIDNext)
	if w.level == mailhaul.LevelExact {
		of.b.ModSeq = max(of.b.ModSeq, w.HighestModSeq)
	}
}

// Recover implements mailhaul.Recoverer.
func (i *Imposer) Recover(ctx context.Context, m mailhaul.Mailbox, from mailhaul.UID) error {
	i.mu.Lock()
	i.recovered = append(i.recovered, strings.Join(m.Path, "/"))
	i.mu.Unlock()
	i.base.mu.Lock()
	defer i.base.mu.Unlock()
	b := i.find(m.Path)
	if b == nil {
		return errors.New("memmail: there is no such mailbox")
	}
	if i.openBox[b] > 0 {
		panic("memmail: the mailbox is open on another connection")
	}
	b.Messages = slices.DeleteFunc(b.Messages, func(m Stored) bool { return m.Filler && m.UID >= from })
	return ctx.Err()
}
