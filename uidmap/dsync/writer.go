package dsync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// closeGrace is how long Close waits for the server to write down what it has.
const closeGrace = 5 * time.Second

// writer imposes an identity in one exchange after the other.
type writer struct {
	t      *Target
	m      mailhaul.Mailbox
	want   mailhaul.Identity
	whole  bool // in one exchange
	status mailhaul.Status

	// Of the goroutine that calls:
	s        *session // nil between two
	next     int      // the message of want that may be appended next
	homeless *spool   // messages that cannot have their UIDs, which come last
	closed   bool

	mu       sync.Mutex // protects the fields below
	reason   error      // why nothing more can be done
	outcomes []mailhaul.Outcome
	sent     []bool        // that something of the message was sent
	decided  chan struct{} // closed when the outcomes are
}

// OpenImposing implements [mailhaul.Imposer]. The mailbox is made where it does
// not exist. The Writer answers in Finish.
func (t *Target) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	if m.Wire == "" {
		var err error
		if m, err = t.Create(ctx, m.Path, m.Role); err != nil {
			return nil, err
		}
	}
	if err := t.check(m, want); err != nil {
		return nil, err
	}
	if err := t.unselect(ctx, m); err != nil {
		return nil, err
	}
	w := &writer{
		t: t, m: m, want: want, decided: make(chan struct{}),
		outcomes: make([]mailhaul.Outcome, len(want.Messages)), sent: make([]bool, len(want.Messages)),
	}
	if want.UIDLs {
		var err error
		if w.whole, err = t.uidlsOnce(ctx); err != nil {
			return nil, t.named(m.Name, err)
		}
	}
	if err := w.begin(ctx, task{want: want, whole: w.whole}); err != nil {
		return nil, err
	}
	b := w.s.x.box
	w.status = mailhaul.Status{
		Messages: b.messages, UIDNext: b.uidNext, UIDValidity: w.s.x.given, HighestModSeq: b.modSeq,
		Flags:      []mailhaul.Flag{mailhaul.FlagAnswered, mailhaul.FlagFlagged, mailhaul.FlagDeleted, mailhaul.FlagSeen, mailhaul.FlagDraft},
		AnyKeyword: true,
	}
	return w, nil
}

// check refuses what the peer would die of.
func (t *Target) check(m mailhaul.Mailbox, want mailhaul.Identity) error {
	last := mailhaul.UID(0)
	for i, msg := range want.Messages {
		if i > 0 && msg.UID <= last {
			return t.fault(m.Name, mailhaul.Permanent, mailhaul.ScopeMailbox, fmt.Errorf("the UIDs that are wanted do not rise: %d behind %d", msg.UID, last))
		}
		last = msg.UID
	}
	return nil
}

// begin opens the next exchange.
func (w *writer) begin(ctx context.Context, k task) error {
	x, err := w.t.begin(ctx, w.m, k)
	if err != nil {
		return err
	}
	w.s = newSession(x)
	return nil
}

// finishSession ends the exchange that is open, and takes its outcomes.
func (w *writer) finishSession(ctx context.Context) error {
	outcomes, err := w.s.finish(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	for i, e := range w.s.x.entries {
		if e.sent {
			w.outcomes[e.at] = outcomes[i]
		}
	}
	w.mu.Unlock()
	w.s.close(0)
	w.s = nil
	return nil
}

// Status implements [mailhaul.Writer].
func (w *writer) Status() mailhaul.Status { return w.status }

func (w *writer) fault(kind mailhaul.Kind, err error) *mailhaul.Error {
	return w.t.fault(w.m.Name, kind, mailhaul.ScopeConnection, err)
}

func (w *writer) stopped() error {
	if w.closed {
		return w.fault(mailhaul.Permanent, mailhaul.ErrClosed)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

// Append implements [mailhaul.Writer].
func (w *writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	r := &receipt{w: w, at: make([]int, len(batch)), errs: make([]error, len(batch))}
	for i := range r.at {
		r.at[i] = -1
	}
	for i := range batch {
		err := w.append(ctx, r, i, batch[i])
		batch[i].Body.Release()
		if err != nil {
			r.errs[i] = err
			for j := i + 1; j < len(batch); j++ {
				batch[j].Body.Release()
				r.errs[j] = err
			}
			return r, err
		}
	}
	if w.s != nil {
		if err := w.s.x.p.while(ctx, w.s.x.p.flush); err != nil {
			return r, w.die(err)
		}
	}
	return r, nil
}

// append sends one message. An error means that the writer is dead.
func (w *writer) append(ctx context.Context, r *receipt, i int, out mailhaul.Outgoing) error {
	if err := w.stopped(); err != nil {
		return err
	}
	at := w.find(out)
	if at < 0 {
		// It was not offered, so that it cannot be sent any more.
		e := w.fault(mailhaul.Conflict, errors.New("the message is not among those that the mailbox was opened for, or came out of order"))
		e.Scope, e.UID = mailhaul.ScopeMessage, out.UID
		r.errs[i] = e
		return nil
	}
	w.next = at + 1
	for w.s == nil || at >= w.s.x.to {
		from := at
		if w.s != nil {
			from = w.s.x.to
			if err := w.finishSession(ctx); err != nil {
				return w.die(err)
			}
		}
		if err := w.begin(ctx, task{want: w.want, from: max(from, at), whole: w.whole}); err != nil {
			return w.die(err)
		}
	}
	r.at[i] = at
	place, offered := w.s.x.place[at]
	if !offered {
		if err := w.keep(at, out); err != nil {
			r.at[i] = -1
			return w.die(err)
		}
		return nil
	}
	if err := w.s.x.p.while(ctx, func() error { return w.s.put(place, out) }); err != nil {
		return w.die(err)
	}
	w.mu.Lock()
	w.sent[at] = true
	w.mu.Unlock()
	return nil
}

// find returns the place of a message among those that are wanted, or -1.
func (w *writer) find(out mailhaul.Outgoing) int {
	for at := w.next; at < len(w.want.Messages); at++ {
		m := w.want.Messages[at]
		if m.UID == out.UID && (out.UIDL == "" || m.UIDL == out.UIDL) {
			return at
		}
		if m.UID > out.UID {
			break
		}
	}
	return -1
}

// keep puts a message aside that cannot have its UID. It gets one above all
// others, so that it must not be stored before them.
func (w *writer) keep(at int, out mailhaul.Outgoing) error {
	if w.homeless == nil {
		var err error
		if w.homeless, err = newSpool(); err != nil {
			return w.fault(mailhaul.Permanent, err)
		}
	}
	return w.homeless.add(at, out)
}

// die ends everything in the middle: what is complete stays, what is not is
// thrown away by the server.
func (w *writer) die(err error) error {
	switch b, ok := errors.AsType[*bodyError](err); {
	case ok:
		if own, is := errors.AsType[*mailhaul.Error](b.err); is {
			err = own
		} else {
			err = w.fault(mailhaul.Transient, err)
		}
	case w.s != nil:
		err = w.s.explain(err)
	}
	if w.s != nil {
		w.s.fail(err)
		w.s.x.p.link.Interrupt()
	}
	w.conclude(err)
	return err
}

// conclude decides all outcomes, once. With an error those that are not known
// are in doubt, or not stored where nothing of them was sent.
func (w *writer) conclude(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.decided:
		return
	default:
	}
	w.reason = err
	for i := range w.outcomes {
		o := &w.outcomes[i]
		if o.Delivery == mailhaul.DeliveryUnknown && o.Err == nil {
			o.Err = err
			if !w.sent[i] {
				o.Delivery = mailhaul.NotStored
			}
		}
		_, o.Dropped = mailhaul.NormalizeFlags(w.want.Messages[i].Flags)
	}
	close(w.decided)
}

// Store implements [mailhaul.Writer]: the decorated Target does it.
func (w *writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	if w.closed {
		return w.fault(mailhaul.Permanent, mailhaul.ErrClosed)
	}
	if len(changes) == 0 {
		return nil
	}
	inner, err := w.t.OpenWriter(ctx, w.m)
	if err != nil {
		return err
	}
	if err = inner.Store(ctx, changes); err == nil {
		err = inner.Finish(ctx)
	}
	if cerr := inner.Close(); err == nil {
		err = cerr
	}
	if uerr := w.t.unselect(ctx, w.m); err == nil {
		err = uerr
	}
	return err
}

// Finish implements [mailhaul.Writer].
func (w *writer) Finish(ctx context.Context) error {
	if err := w.stopped(); err != nil {
		return err
	}
	select {
	case <-w.decided: // before
		return nil
	default:
	}
	if w.s != nil {
		if err := w.finishSession(ctx); err != nil {
			return w.die(err)
		}
	}
	if w.homeless != nil {
		if err := w.settleHomeless(ctx); err != nil {
			return w.die(err)
		}
	}
	if err := w.raise(ctx); err != nil {
		return w.die(err)
	}
	w.conclude(nil)
	return nil
}

// settleHomeless sends what was put aside.
func (w *writer) settleHomeless(ctx context.Context) error {
	if err := w.begin(ctx, task{want: w.want, homeless: w.homeless.places()}); err != nil {
		return err
	}
	for at, out := range w.homeless.all(w.want) {
		if err := w.s.x.p.while(ctx, func() error { return w.s.put(w.s.x.place[at], out) }); err != nil {
			return err
		}
		w.mu.Lock()
		w.sent[at] = true
		w.mu.Unlock()
	}
	return w.finishSession(ctx)
}

// raise raises UIDNEXT and HIGHESTMODSEQ, where they are lower than wanted.
func (w *writer) raise(ctx context.Context) error {
	st, _, err := w.t.look(ctx, w.m)
	if err != nil {
		return err
	}
	if st.UIDNext >= w.want.UIDNext && st.HighestModSeq >= w.want.HighestModSeq {
		return nil
	}
	if err := w.begin(ctx, task{want: w.want, raise: true}); err != nil {
		return err
	}
	return w.finishSession(ctx)
}

// Close implements [mailhaul.Writer].
func (w *writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	if w.s != nil {
		grace := closeGrace
		if w.s.stopped() != nil {
			grace = 0
		}
		w.s.close(grace)
	}
	w.conclude(w.fault(mailhaul.Transient, mailhaul.ErrClosed))
	if w.homeless != nil {
		w.homeless.close()
	}
	return nil
}

// receipt is the answer to one Append.
type receipt struct {
	w    *writer
	at   []int   // of each message; -1 where it was not sent
	errs []error // why not
}

// Wait implements [mailhaul.Receipt]. It returns when the writer is finished,
// dead or closed.
func (r *receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	out := make([]mailhaul.Outcome, len(r.at))
	var waited error
	select {
	case <-r.w.decided:
	default:
		select {
		case <-r.w.decided:
		case <-ctx.Done():
			waited = r.w.fault(mailhaul.Transient, ctx.Err())
		}
	}
	var failure error
	for i, at := range r.at {
		switch {
		case at < 0:
			out[i] = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: r.errs[i]}
		case waited != nil:
			out[i] = mailhaul.Outcome{Err: waited}
		default:
			r.w.mu.Lock()
			out[i] = r.w.outcomes[at]
			r.w.mu.Unlock()
		}
		if e, ok := errors.AsType[*mailhaul.Error](out[i].Err); ok && e.Scope != mailhaul.ScopeMessage && failure == nil {
			failure = out[i].Err
		}
	}
	return out, failure
}
