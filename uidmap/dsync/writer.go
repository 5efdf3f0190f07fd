package dsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
)

// writer is an exchange that bodies are put into.
type writer struct {
	x *exchange

	// Of the goroutine that calls:
	next   int // the entry that may be appended next
	block  block
	ending chan ending
	closed bool

	stopping atomic.Bool // we have given up ourselves

	mu       sync.Mutex // protects the fields below
	reason   error      // why nothing more can be done
	outcomes []mailhaul.Outcome
	decided  chan struct{} // closed when the outcomes are
}

// ending is how the server ended the exchange.
type ending struct {
	changed bool // it has given other UIDs than it was told
	whole   bool // it says that all is written
	err     error
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
	x, err := t.begin(ctx, m, want)
	if err != nil {
		return nil, err
	}
	return newWriter(x), nil
}

func newWriter(x *exchange) *writer {
	w := &writer{x: x, ending: make(chan ending, 1), decided: make(chan struct{})}
	w.outcomes = make([]mailhaul.Outcome, len(x.entries))
	x.p.link.patience = -1 // the source may take its time
	go w.listen()
	return w
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

// listen waits for the server's last words, which come early where something
// goes wrong; writing ends then, too.
func (w *writer) listen() {
	var e ending
	p := w.x.p
	state, err := p.one(itemState)
	if err == nil {
		e.changed = state.flag("changes_during_sync")
		var last record
		if last, err = p.one(itemFinish); err == nil {
			err = p.finished(last)
		}
	}
	e.err, e.whole = err, err == nil
	if err != nil {
		w.fail(err)
		if !w.stopping.Load() {
			p.link.Interrupt() // whoever writes
		}
	}
	w.ending <- e
}

// fail notes the first reason why nothing more can be done, and returns it.
func (w *writer) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason == nil {
		w.reason = err
	}
	return w.reason
}

func (w *writer) stopped() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

// Status implements [mailhaul.Writer].
func (w *writer) Status() mailhaul.Status {
	b := w.x.box
	return mailhaul.Status{
		Messages: b.messages, UIDNext: b.uidNext, UIDValidity: w.x.given, HighestModSeq: b.modSeq,
		Flags:      []mailhaul.Flag{mailhaul.FlagAnswered, mailhaul.FlagFlagged, mailhaul.FlagDeleted, mailhaul.FlagSeen, mailhaul.FlagDraft},
		AnyKeyword: true,
	}
}

// Append implements [mailhaul.Writer].
func (w *writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	r := &receipt{w: w, entries: make([]int, len(batch)), errs: make([]error, len(batch))}
	for i := range batch {
		r.entries[i] = -1
		r.errs[i] = w.stopped()
	}
	if w.closed {
		release(batch)
		return r, w.refuse(r, 0, w.x.fault(mailhaul.Permanent, mailhaul.ErrClosed))
	}
	for i := range batch {
		err := w.append(ctx, r, i, batch[i])
		batch[i].Body.Release()
		if err != nil {
			release(batch[i+1:])
			return r, w.refuse(r, i+1, err)
		}
	}
	if err := w.x.p.while(ctx, w.x.p.flush); err != nil {
		return r, w.die(err)
	}
	return r, nil
}

func release(batch []mailhaul.Outgoing) {
	for _, out := range batch {
		out.Body.Release()
	}
}

// refuse gives the messages from i on, which were not sent, the error that they
// were not sent for.
func (w *writer) refuse(r *receipt, i int, err error) error {
	for ; i < len(r.errs); i++ {
		r.errs[i] = err
	}
	return err
}

// append sends one message. An error means that the writer is dead.
func (w *writer) append(ctx context.Context, r *receipt, i int, out mailhaul.Outgoing) error {
	if err := w.stopped(); err != nil {
		r.errs[i] = err
		return err
	}
	x := w.x
	at := w.find(out)
	if at < 0 {
		// It was not offered, so that it cannot be sent any more.
		e := x.fault(mailhaul.Conflict, errors.New("the message is not among those that the mailbox was opened for, or came out of order"))
		e.Scope, e.UID = mailhaul.ScopeMessage, out.UID
		r.errs[i] = e
		return nil
	}
	w.next = at + 1
	r.entries[i] = at
	if !x.entries[at].requested {
		x.entries[at].sent = true // it is there already, and is found
		return nil
	}
	if err := x.p.while(ctx, func() error { return w.put(at, out) }); err != nil {
		return w.die(err)
	}
	return nil
}

// find returns the entry of a message, or -1.
func (w *writer) find(out mailhaul.Outgoing) int {
	for at := w.next; at < len(w.x.entries); at++ {
		m := w.x.entries[at].msg
		if m.UID == out.UID && (out.UIDL == "" || m.UIDL == out.UIDL) {
			return at
		}
		if m.UID > out.UID {
			break
		}
	}
	return -1
}

// leftOut reports whether the server waits for something that does not come.
// It must not be told so by the way that the protocol has for it, a message
// without a body: an sdbox forgets another message with it, one that it has
// saved (sdbox_save_cancel of one that was not begun).
func (w *writer) leftOut() bool {
	return slices.ContainsFunc(w.x.entries, func(e entry) bool { return e.requested && !e.sent })
}

// die ends the exchange in the middle: what is complete stays, what is not is
// thrown away by the server.
func (w *writer) die(err error) error {
	if b, ok := errors.AsType[*bodyError](err); ok {
		if own, ok := errors.AsType[*mailhaul.Error](b.err); ok {
			err = own
		} else {
			err = w.x.fault(mailhaul.Transient, err)
		}
	} else if e := w.stopped(); e != nil {
		err = e // the server's own words
	} else if !errors.Is(err, errStuck) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		// The server may have said why.
		select {
		case e := <-w.ending:
			w.ending <- e
			if e.err != nil {
				err = e.err
			}
		case <-time.After(time.Second):
		}
	}
	err = w.fail(err)
	w.x.p.link.Interrupt()
	w.conclude(nil, err)
	return err
}

// Store implements [mailhaul.Writer]: the decorated Target does it.
func (w *writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	if w.closed {
		return w.x.fault(mailhaul.Permanent, mailhaul.ErrClosed)
	}
	if len(changes) == 0 {
		return nil
	}
	t := w.x.t
	inner, err := t.OpenWriter(ctx, w.x.m)
	if err != nil {
		return err
	}
	if err = inner.Store(ctx, changes); err == nil {
		err = inner.Finish(ctx)
	}
	if cerr := inner.Close(); err == nil {
		err = cerr
	}
	if uerr := t.unselect(ctx, w.x.m); err == nil {
		err = uerr
	}
	return err
}

// Finish implements [mailhaul.Writer].
func (w *writer) Finish(ctx context.Context) error {
	if w.closed {
		return w.x.fault(mailhaul.Permanent, mailhaul.ErrClosed)
	}
	if err := w.stopped(); err != nil {
		w.conclude(nil, err)
		return err
	}
	select {
	case <-w.decided: // before
		return nil
	default:
	}
	x := w.x
	if err := x.p.while(ctx, w.letGo); err != nil {
		return w.die(err)
	}
	// Dovecot gives a message that others have delivered meanwhile another UID
	// in the end, where it lies among ours. It is not told of the end then.
	strangers, err := w.strangers(ctx)
	if err != nil {
		return w.die(err)
	}
	short := strangers || w.leftOut()
	var e ending
	err = x.p.while(ctx, func() error {
		if short {
			x.t.cfg.Logger.Info("exchange is broken off", "server", x.t.where, "mailbox", x.m.Name, "delivered_meanwhile", strangers, "left_out", !strangers)
			return w.stopShort(&e)
		}
		return w.end(&e)
	})
	if err != nil {
		return w.die(err)
	}
	x.p.close()
	if err := w.settle(ctx, e); err != nil {
		w.conclude(nil, w.fail(err))
		return err
	}
	if short {
		return x.raise(ctx)
	}
	return nil
}

// end ends the exchange as it should.
func (w *writer) end(e *ending) error {
	x := w.x
	x.p.end() // of messages
	x.p.send(itemState, record{
		"mailbox_guid": x.box.guid, "last_uidvalidity": u32(x.given),
		"last_common_uid": "0", "last_common_modseq": "0", "last_common_pvt_modseq": "0",
	})
	x.p.end() // of mailboxes
	if err := x.p.flush(); err != nil {
		return err
	}
	return w.await(e)
}

// patience is how long the server may take to write down what it has.
func (w *writer) patience() time.Duration {
	return w.x.t.cfg.ProgressTimeout + time.Duration(len(w.x.entries))*50*time.Millisecond
}

// await waits for the server's last words.
func (w *writer) await(e *ending) error {
	timer := time.NewTimer(w.patience())
	defer timer.Stop()
	select {
	case *e = <-w.ending:
		w.ending <- *e
		return e.err
	case <-timer.C:
		return w.x.p.fault(mailhaul.Transient, mailhaul.ScopeConnection, "connect again", fmt.Errorf("%w for %v", errSilent, w.patience()))
	}
}

// stopShort gives up in words that the server understands, and waits until it
// has ended: all that it has got is written down then.
func (w *writer) stopShort(e *ending) error {
	x := w.x
	w.stopping.Store(true)
	x.p.out.WriteString(string(itemDone) + "\n")
	if err := x.p.flush(); err != nil {
		return err
	}
	if err := x.p.link.CloseWrite(); err != nil {
		return x.p.lost(err)
	}
	err := w.await(e)
	if errors.Is(err, errGaveUp) || errors.Is(err, io.ErrUnexpectedEOF) {
		return x.drain()
	}
	return err
}

// drain reads until the server has closed the connection.
func (x *exchange) drain() error {
	x.p.link.patience = 0
	n, err := io.Copy(io.Discard, io.LimitReader(x.p.in, maxRest))
	if err == nil && n >= maxRest {
		err = errors.New("it does not stop")
	}
	if err != nil {
		return x.p.lost(err)
	}
	return nil
}

// conclude decides all outcomes, once. Without any, what was sent is in doubt.
func (w *writer) conclude(outcomes []mailhaul.Outcome, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.decided:
		return
	default:
	}
	for i := range w.outcomes {
		if outcomes != nil {
			w.outcomes[i] = outcomes[i]
		} else {
			w.outcomes[i] = mailhaul.Outcome{Err: err}
		}
		if !w.x.entries[i].sent { // not whole, so that the server has thrown it away
			w.outcomes[i].Delivery = mailhaul.NotStored
		}
		w.outcomes[i].Dropped = w.x.entries[i].dropped
	}
	close(w.decided)
}

// Close implements [mailhaul.Writer].
func (w *writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	select {
	case <-w.decided:
	default:
		// The server writes down what it has, for which it is given time.
		w.fail(w.x.fault(mailhaul.Transient, mailhaul.ErrClosed))
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		var e ending
		_ = w.x.p.while(ctx, func() error { return w.stopShort(&e) })
		cancel()
		w.conclude(nil, w.stopped())
	}
	w.x.p.link.Interrupt() // whoever reads
	w.x.p.close()
	<-w.ending
	return nil
}

// closeGrace is how long Close waits for the server to write down what it has.
const closeGrace = 5 * time.Second

func (x *exchange) fault(kind mailhaul.Kind, err error) *mailhaul.Error {
	return x.t.fault(x.m.Name, kind, mailhaul.ScopeConnection, err)
}

// receipt is the answer to one Append.
type receipt struct {
	w       *writer
	entries []int   // of each message; -1 where it was not sent
	errs    []error // why not
}

// Wait implements [mailhaul.Receipt]. It returns when the writer is finished,
// dead or closed.
func (r *receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	out := make([]mailhaul.Outcome, len(r.entries))
	var waited error
	select {
	case <-r.w.decided:
	default:
		select {
		case <-r.w.decided:
		case <-ctx.Done():
			waited = r.w.x.fault(mailhaul.Transient, ctx.Err())
		}
	}
	var failure error
	for i, at := range r.entries {
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

// copyBuffer returns a buffer for bodies.
func (x *exchange) copyBuffer() []byte {
	if x.buf == nil {
		x.buf = make([]byte, 64<<10)
	}
	return x.buf
}
