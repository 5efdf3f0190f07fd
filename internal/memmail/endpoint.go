// The account as a mailhaul.Source and mailhaul.Target.

package memmail

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

var (
	_ mailhaul.Target            = (*Account)(nil)
	_ mailhaul.Meter             = (*Account)(nil)
	_ mailhaul.Expunger          = (*writer)(nil)
	_ mailhaul.ConditionalStorer = (*writer)(nil)
)

func (a *Account) Account() mailhaul.Account {
	return mailhaul.Account{Protocol: mailhaul.IMAP, Host: "memory", Port: 143, User: a.Name}
}

func (a *Account) Close() error { return nil }

func (a *Account) Traffic() mailhaul.Traffic {
	a.mu.Lock()
	defer a.mu.Unlock()
	return mailhaul.Traffic{RoundTrips: a.waits}
}

func (a *Account) List(ctx context.Context) (*mailhaul.Listing, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a.Hooks.List != nil {
		if err := a.Hooks.List(); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits++
	l := &mailhaul.Listing{Naming: a.Naming}
	for _, b := range a.boxes {
		l.Mailboxes = append(l.Mailboxes, a.mailbox(b))
	}
	return l, nil
}

func (a *Account) mailbox(b *Box) mailhaul.Mailbox {
	name := a.Naming.Join(b.Path)
	m := mailhaul.Mailbox{Path: b.Path, Name: name, Wire: name, Role: b.Role, NoSelect: b.NoSelect, Subscribed: b.Subscribed}
	if !a.NoStatus && !b.NoSelect {
		s := b.status(a)
		s.Flags, s.AnyKeyword = nil, false
		m.Status = &s
	}
	return m
}

func (a *Account) Create(ctx context.Context, path []string, role mailhaul.Role) (mailhaul.Mailbox, error) {
	if a.Hooks.Create != nil {
		if err := a.Hooks.Create(path); err != nil {
			return mailhaul.Mailbox{}, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits++
	b := a.box(slices.Clone(path))
	if b.Role == "" {
		b.Role = role
	}
	return a.mailbox(b), ctx.Err()
}

func (a *Account) Subscribe(ctx context.Context, m mailhaul.Mailbox) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.find(m.Path).Subscribed = true
	return ctx.Err()
}

func (a *Account) opened(ctx context.Context, m mailhaul.Mailbox, write bool) (*Box, mailhaul.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, mailhaul.Status{}, err
	}
	if a.Hooks.Open != nil {
		if err := a.Hooks.Open(m.Name, write); err != nil {
			return nil, mailhaul.Status{}, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits++
	for _, b := range a.boxes {
		if a.Naming.Join(b.Path) == m.Wire && !b.NoSelect {
			a.open++
			if a.openBox == nil {
				a.openBox = make(map[*Box]int)
			}
			a.openBox[b]++
			return b, b.status(a), nil
		}
	}
	return nil, mailhaul.Status{}, &mailhaul.Error{Op: "open", Server: "memory:143", Mailbox: m.Name,
		Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox, Code: "NONEXISTENT"}
}

func (a *Account) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	b, st, err := a.opened(ctx, m, false)
	if err != nil {
		return nil, err
	}
	return &reader{session{a: a, b: b, name: m.Name, status: st}}, nil
}

func (a *Account) OpenWriter(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Writer, error) {
	b, st, err := a.opened(ctx, m, true)
	if err != nil {
		return nil, err
	}
	return &writer{session: session{a: a, b: b, name: m.Name, status: st}}, nil
}

// session is what a Reader and a Writer have in common.
type session struct {
	a      *Account
	b      *Box
	name   string
	status mailhaul.Status
	once   sync.Once
}

func (s *session) Status() mailhaul.Status { return s.status }

func (s *session) Close() error {
	s.once.Do(func() {
		s.a.mu.Lock()
		defer s.a.mu.Unlock()
		s.a.open--
		s.a.openBox[s.b]--
	})
	return nil
}

type reader struct{ session }

func (r *reader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.a.waits++
	var s mailhaul.UIDSet
	for _, m := range r.b.seen(r.a) {
		s.Add(m.UID)
	}
	if r.a.Hooks.UIDs != nil {
		s = r.a.Hooks.UIDs(r.name, s)
	}
	return s, ctx.Err()
}

func (r *reader) snapshot() []Stored {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.a.waits++
	return slices.Clone(r.b.seen(r.a))
}

func (r *reader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		for _, m := range r.snapshot() {
			if err := ctx.Err(); err != nil {
				yield(mailhaul.Message{}, err)
				return
			}
			if !set.Contains(m.UID) || !r.a.NoModSeq && m.ModSeq <= since && since > 0 {
				continue
			}
			out := mailhaul.Message{UID: m.UID}
			if fields&mailhaul.FieldFlags != 0 {
				out.Flags = append(slices.Clone(m.Flags), `\Recent`)
				if !r.a.NoModSeq {
					out.ModSeq = m.ModSeq
				}
			}
			if fields&mailhaul.FieldSize != 0 {
				out.Size = int64(len(m.Body))
			}
			if fields&mailhaul.FieldDate != 0 {
				out.InternalDate = m.Date
			}
			switch {
			case fields&mailhaul.FieldWholeHeader != 0:
				header, _, _ := bytes.Cut(m.Body, []byte("\r\n\r\n"))
				out.Header = append(bytes.Clone(header), "\r\n\r\n"...)
			case fields&mailhaul.FieldHeader != 0:
				out.Header = headerFields(m.Body)
			}
			if !yield(out, nil) {
				return
			}
		}
	}
}

func (r *reader) Fetch(ctx context.Context, set mailhaul.UIDSet, stream bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	msgs := r.snapshot()
	return func(yield func(mailhaul.Fetched, error) bool) {
		for _, m := range msgs {
			if !set.Contains(m.UID) {
				continue
			}
			if r.a.Hooks.Fetch != nil {
				skip, err := r.a.Hooks.Fetch(r.name, m.UID)
				if err != nil {
					yield(mailhaul.Fetched{}, err)
					return
				}
				if skip {
					continue
				}
			}
			if err := ctx.Err(); err != nil {
				yield(mailhaul.Fetched{}, err)
				return
			}
			if !yield(mailhaul.Fetched{UID: m.UID, Body: &body{octets: m.Body, stream: stream}}, nil) {
				return
			}
		}
	}, nil
}

// body is a Body that notices misuse.
type body struct {
	octets   []byte
	stream   bool
	read     bool
	released bool
}

func (b *body) Size() int64    { return int64(len(b.octets)) }
func (b *body) Buffered() bool { return !b.stream }
func (b *body) Release()       { b.released = true }
func (b *body) Reader() io.Reader {
	if b.released {
		panic("memmail: body read after its release")
	}
	if b.stream && b.read {
		return failing{}
	}
	b.read = true
	return bytes.NewReader(b.octets)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, mailhaul.ErrBodyConsumed }

type writer struct {
	session
	want *wanted // of an Imposer's Writer
}

func (w *writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	rec := &receipt{outcomes: make([]mailhaul.Outcome, len(batch))} // nothing is known yet
	if w.want != nil {
		w.want.check(batch)
		rec.late = w.want.late
	}
	if err := ctx.Err(); err != nil {
		return rec, err
	}
	var answer Answer
	if w.a.Hooks.Append != nil {
		var err error
		if batch, err = buffered(batch); err != nil {
			return rec, err
		}
		if a := w.a.Hooks.Append(w.name, batch); a != nil {
			answer = *a
		}
	}
	var stored []Stored
	for i, o := range batch {
		octets, err := io.ReadAll(o.Body.Reader())
		o.Body.Release()
		if err != nil {
			return rec, err
		}
		if answer.Store != nil && !answer.Store[i] {
			stored = append(stored, Stored{})
			continue
		}
		if w.a.Hooks.Store != nil {
			octets = w.a.Hooks.Store(octets)
		}
		m := Stored{Flags: o.Flags, Date: o.InternalDate, Body: append([]byte{}, octets...), appended: time.Now()}
		if w.want != nil {
			m.UID, m.UIDL, m.Order = o.UID, o.UIDL, o.Order
		}
		stored = append(stored, m)
	}
	truth := make([]mailhaul.Outcome, len(batch))
	store := func() {
		w.a.mu.Lock()
		defer w.a.mu.Unlock()
		for i, m := range stored {
			if m.Body == nil {
				truth[i] = mailhaul.Outcome{Delivery: mailhaul.NotStored}
				continue
			}
			if w.want != nil && w.want.fill && m.UID > w.b.Next {
				w.b.add(Stored{Filler: true, Body: []byte("filler")})
			}
			if w.want != nil && w.want.behind && m.UID < w.b.Next {
				w.want.displaced = append(w.want.displaced, func() { truth[i] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: w.b.add(m)} })
				continue
			}
			truth[i] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: w.b.add(m)}
			if w.a.NoUIDPlus {
				truth[i].UID = 0
			}
		}
	}
	w.a.mu.Lock()
	w.a.waits++
	w.a.mu.Unlock()
	told := func() {
		store()
		rec.outcomes = truth // what is displaced is filled in at the end
		if w.a.Hooks.Answered != nil {
			rec.outcomes = w.a.Hooks.Answered(w.name, truth)
		}
	}
	switch {
	case answer.Late != nil:
		answer.Late(store)
	case w.want != nil && w.want.late != nil && answer.Err == nil:
		w.want.pending = append(w.want.pending, told)
	default:
		told()
	}
	if answer.Outcomes != nil {
		rec.outcomes = answer.Outcomes
	}
	return rec, answer.Err
}

// buffered returns the batch with bodies that a hook can read without taking
// the octets away.
func buffered(batch []mailhaul.Outgoing) ([]mailhaul.Outgoing, error) {
	batch = slices.Clone(batch)
	for i, o := range batch {
		if o.Body.Buffered() {
			continue
		}
		octets, err := io.ReadAll(o.Body.Reader())
		o.Body.Release()
		if err != nil {
			return nil, err
		}
		batch[i].Body = &body{octets: octets}
	}
	return batch, nil
}

type receipt struct {
	outcomes []mailhaul.Outcome
	late     *bool // set once the Writer has finished; nil where answers come at once
}

func (r *receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	if r.late != nil && !*r.late {
		panic("memmail: a Receipt was waited for before the Writer had finished")
	}
	return r.outcomes, nil
}

func (w *writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	_, err := w.StoreUnchanged(ctx, changes, 0)
	return err
}

func (w *writer) StoreUnchanged(ctx context.Context, changes []mailhaul.FlagChange, since mailhaul.ModSeq) (modified mailhaul.UIDSet, err error) {
	if w.a.Hooks.Flags != nil {
		w.a.Hooks.Flags(w.name, changes)
	}
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.a.waits++
	for _, c := range changes {
		for i := range w.b.Messages {
			m := &w.b.Messages[i]
			if m.UID != c.UID {
				continue
			}
			if since > 0 && !w.a.NoModSeq && m.ModSeq > since {
				modified.Add(m.UID)
				continue
			}
			flags := slices.DeleteFunc(slices.Clone(m.Flags), func(f mailhaul.Flag) bool { return mailhaul.HasFlag(c.Remove, f) })
			for _, f := range c.Add {
				if !mailhaul.HasFlag(flags, f) {
					flags = append(flags, f)
				}
			}
			m.Flags = flags
			w.b.ModSeq++
			m.ModSeq = w.b.ModSeq
		}
	}
	return modified, ctx.Err()
}

func (w *writer) UIDExpunge(ctx context.Context, set mailhaul.UIDSet) error {
	if w.a.NoUIDPlus {
		return fmt.Errorf("expunge by UID: %w", mailhaul.ErrUnsupported)
	}
	if w.a.Hooks.Expunge != nil {
		if err := w.a.Hooks.Expunge(w.name, set); err != nil {
			return err
		}
	}
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	w.a.waits++
	w.b.Messages = slices.DeleteFunc(slices.Clone(w.b.Messages), func(m Stored) bool {
		return set.Contains(m.UID) && mailhaul.HasFlag(m.Flags, mailhaul.FlagDeleted)
	})
	w.b.ModSeq++
	return ctx.Err()
}

func (w *writer) Finish(ctx context.Context) error {
	if w.want != nil {
		w.want.litter(w)
	}
	if w.a.Hooks.Finish != nil {
		store := func() {}
		if w.want != nil {
			store = func() { w.want.store(w) }
		}
		if err := w.a.Hooks.Finish(w.name, store); err != nil {
			return err
		}
	}
	if w.want != nil {
		w.want.finish(w)
	}
	return ctx.Err()
}

// Lost is the error of a connection that broke.
func Lost(text string) error {
	return &mailhaul.Error{Op: "append", Server: "memory:143", Kind: mailhaul.Transient, Scope: mailhaul.ScopeConnection, Err: io.ErrUnexpectedEOF, Hint: strings.TrimSpace(text)}
}
