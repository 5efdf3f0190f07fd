package imapx

// What becomes of what was appended: answers, refusals, and the taking apart
// of what was refused together.

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// receipt implements [mailhaul.Receipt].
type receipt struct {
	w     *Writer
	msgs  []*outgoing
	units []*unit
}

// Wait implements [mailhaul.Receipt]. Where the server has refused several
// messages at once it sends them again, one part after the other; the end of
// ctx ends the connection then, as everywhere, but not while it only waits.
func (r *receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	for _, u := range r.units {
		if err := r.w.waitUnit(ctx, u); err != nil {
			return r.outcomes(), r.w.name(err)
		}
	}
	out := r.outcomes()
	for _, o := range out {
		if e, ok := errors.AsType[*mailhaul.Error](o.Err); ok && (o.Delivery == mailhaul.DeliveryUnknown || e.Scope != mailhaul.ScopeMessage) {
			return out, o.Err
		}
	}
	return out, nil
}

func (r *receipt) outcomes() []mailhaul.Outcome {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	out := make([]mailhaul.Outcome, len(r.msgs))
	for i, m := range r.msgs {
		out[i] = m.outcome
	}
	return out
}

// waitUnit waits until a unit has its outcomes, and sees to them where the
// server has refused something.
func (w *Writer) waitUnit(ctx context.Context, u *unit) error {
	select {
	case <-u.final:
		return nil
	default:
	}
	w.mu.Lock()
	trouble := w.trouble
	w.mu.Unlock()
	select {
	case <-u.final:
		return nil
	case <-trouble:
	case <-ctx.Done():
		return w.c.cancelled(ctx)
	}
	select {
	case w.turn <- struct{}{}:
		defer w.pass()
	case <-u.final: // whoever has the turn has seen to it
		return nil
	case <-ctx.Done():
		return w.c.cancelled(ctx)
	}
	if err := w.resolve(ctx, nil); err != nil {
		return err
	}
	<-u.final
	return nil
}

// name fills in where an error happened.
func (w *Writer) name(err error) error { return w.c.named(opAppend, w.box.Name, err) }

// answered takes the end of a unit's command, on the reading goroutine.
func (u *unit) answered(st wire.Status, err error) {
	w := u.w
	_, started := w.c.out.positions()
	whole := u.cmd.whole.Load()
	complete := whole > 0 && started >= whole
	w.mu.Lock()
	cancelled := u.cancelled
	w.mu.Unlock()
	switch {
	case err != nil && complete:
		u.conclude(mailhaul.DeliveryUnknown, w.name(err))
	case err != nil:
		u.conclude(mailhaul.NotStored, w.name(err))
	case st.Cond == wire.OK && !complete:
		e := w.c.violation("the server says that it has stored what it was not sent yet")
		w.halt(e)
		u.conclude(mailhaul.NotStored, w.name(e))
		w.c.fail(e)
	case st.Cond == wire.OK:
		u.stored(st)
	case st.Cond == wire.BAD:
		u.bad(st)
	case cancelled: // it is sent again
	default:
		u.refused(st, complete)
	}
}

// stored takes an OK, and the UIDs where the server tells them.
func (u *unit) stored(st wire.Status) {
	w := u.w
	if err := w.c.unmixed(opAppend, st); err != nil {
		w.halt(w.name(err)) // stored, but the server asks for less
	}
	var uids []mailhaul.UID
	if st.Code == "APPENDUID" {
		a, ok := wire.ParseAppendUID(st.Arg, len(u.msgs))
		w.mu.Lock()
		if ok && a.UIDValidity == w.status.UIDValidity && a.UIDs[0] >= w.stored.watermark {
			uids = a.UIDs
		}
		w.mu.Unlock()
		if uids == nil {
			w.c.cfg.Logger.Warn("imap server tells UIDs that cannot be right", "server", w.c.addr, "mailbox", w.box.Name,
				"appenduid", wire.Quote(st.Arg))
		}
	}
	w.mu.Lock()
	w.stored.add(uids, len(u.msgs))
	for i, m := range u.msgs {
		o := mailhaul.Outcome{Delivery: mailhaul.Stored}
		if uids != nil {
			o.UID = uids[i]
		}
		w.decide(m, o)
	}
	w.mu.Unlock()
	u.conclude(mailhaul.Stored, nil)
}

// bad takes a BAD. The server may be running what it was sent as commands, so
// the connection ends at once.
func (u *unit) bad(st wire.Status) {
	w := u.w
	e := w.c.refused(opAppend, st)
	e.Mailbox = w.box.Name
	v := classify(opAppend, st.Cond.String(), st.Code, st.Arg, st.Text)
	switch {
	case v.DropFlags && u.keywords():
		w.client.facts.set(noKeywords)
		e.Kind, e.Scope = mailhaul.Transient, mailhaul.ScopeConnection
		e.Hint = "keywords are left out from now on"
	case len(u.msgs) > 1 && e.Kind != mailhaul.Throttled && e.Kind != mailhaul.OverQuota:
		// Which message it was cannot be known. One by one it will be.
		w.client.facts.set(noMultiAppend)
		e.Kind, e.Scope = mailhaul.Transient, mailhaul.ScopeConnection
		e.Hint = "messages are sent one by one from now on"
	case e.Kind == mailhaul.Corrupt:
		e.Scope = mailhaul.ScopeMessage // of which the server did not like something
	}
	if e.Kind != mailhaul.Throttled && e.Kind != mailhaul.OverQuota {
		w.client.facts.set(literalsRun)
	}
	// For all but these messages it is only that the connection has ended.
	ended := *e
	ended.Op = ""
	if e.Scope == mailhaul.ScopeMessage {
		ended.Kind, ended.Scope = mailhaul.Transient, mailhaul.ScopeConnection
		ended.Hint = "connect again"
	}
	w.halt(w.name(&ended))
	u.conclude(mailhaul.NotStored, e)
	w.c.fail(&ended)
}

// keywords reports whether a message of the unit has keywords.
func (u *unit) keywords() bool {
	return slices.ContainsFunc(u.msgs, func(m *outgoing) bool { return len(systemFlags(m.Flags)) < len(m.Flags) })
}

// refused takes a NO. Where it is clear what it means for each message, they
// have their outcomes now; otherwise the Writer looks into it.
func (u *unit) refused(st wire.Status, complete bool) {
	w := u.w
	e := w.c.refused(opAppend, st)
	e.Mailbox = w.box.Name
	if e.Scope != mailhaul.ScopeMessage {
		w.halt(e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusals++
	single := len(u.msgs) == 1
	doubtful := complete && (e.Kind == mailhaul.Transient || e.Kind == mailhaul.Throttled)
	flagged := classify(opAppend, st.Cond.String(), st.Code, st.Arg, st.Text).DropFlags && u.keywords() && u.msgs[0].Body.Buffered()
	clear := single && !doubtful && !flagged || !complete && e.Scope != mailhaul.ScopeMessage
	if clear {
		u.concludeLocked(mailhaul.NotStored, e)
		return
	}
	u.refusal, u.complete, u.flagged, u.before = e, complete, flagged, w.stored
	w.alarm()
}

// look sees to a unit that was refused. The caller has the turn. An error means
// that the Writer goes no further.
func (w *Writer) look(ctx context.Context, u *unit) error {
	w.mu.Lock()
	e, complete, flagged, ended := u.refusal, u.complete, u.flagged, u.ended
	w.mu.Unlock()
	if ended {
		return nil
	}
	if complete {
		fresh, err := w.arrivals(ctx, u)
		if err != nil {
			u.conclude(mailhaul.DeliveryUnknown, w.name(err))
			return err
		}
		if fresh {
			w.halt(e)
			u.conclude(mailhaul.DeliveryUnknown, e)
			return nil
		}
	}
	single := len(u.msgs) == 1
	if e.Scope != mailhaul.ScopeMessage || single && !flagged {
		u.conclude(mailhaul.NotStored, e)
		return nil
	}
	w.hold(u.msgs)
	defer w.letGo(u.msgs)
	var err error
	if single {
		m := u.msgs[0]
		kept := systemFlags(m.Flags)
		m.dropped += len(m.Flags) - len(kept)
		m.Flags = kept
		err = w.resend(ctx, u.msgs)
	} else {
		err = w.takeApart(ctx, u.msgs)
	}
	u.conclude(mailhaul.NotStored, w.name(err))
	return err
}

// takeApart sends messages that were refused together in two halves, and those
// that are refused again likewise, until each message has its own answer.
func (w *Writer) takeApart(ctx context.Context, msgs []*outgoing) error {
	middle := len(msgs) / 2
	if err := w.resend(ctx, msgs[:middle]); err != nil {
		return err
	}
	return w.resend(ctx, msgs[middle:])
}

// resend sends messages again and sees to their outcomes. An error means that
// the Writer goes no further.
func (w *Writer) resend(ctx context.Context, msgs []*outgoing) error {
	u := w.newUnit(msgs)
	if err := w.sendAlone(ctx, u); err != nil {
		return err
	}
	if _, err := w.c.wait(ctx, u.cmd); err != nil {
		<-u.final
		return err
	}
	if err := w.look(ctx, u); err != nil {
		return err
	}
	if err := w.stopped(); err != nil || len(msgs) > 1 {
		return err
	}
	return w.replace(ctx, msgs[0])
}

// tally is what is known to be ours in the mailbox. Of two values of a Writer's
// tally, the later tells what was stored in between.
type tally struct {
	watermark mailhaul.UID    // above all UIDs that the server has told
	uids      mailhaul.UIDSet // that the server has told
	nameless  int             // messages whose UIDs it has not told
	below     int             // those of them that are below the watermark
}

// add counts n messages that the server has stored. uids may be nil. They are
// above all that were stored before: the server has answered in that order.
func (t *tally) add(uids []mailhaul.UID, n int) {
	if uids == nil {
		t.nameless += n
		return
	}
	t.uids = slices.Clone(t.uids) // an earlier value may share it
	for _, uid := range uids {
		t.uids.Add(uid)
	}
	t.watermark, t.below = uids[n-1]+1, t.nameless
}

// arrivals reports whether something has come into the mailbox, since the last
// message that was stored before a refused unit, that is not known to be ours.
func (w *Writer) arrivals(ctx context.Context, u *unit) (bool, error) {
	w.mu.Lock()
	from := u.before
	w.mu.Unlock()
	if err := w.c.noop(ctx); err != nil {
		return false, err
	}
	found, st, err := w.c.searchUIDs(ctx, "UID "+strconv.FormatUint(uint64(from.watermark), 10)+":*")
	if err == nil {
		err = w.c.unmixed(opSearch, st)
	}
	if err != nil {
		return false, err
	}
	// "*" is the last message, even where that is below the watermark.
	found = found.Intersect(mailhaul.UIDSet{{First: from.watermark, Last: 1<<32 - 1}})
	w.mu.Lock()
	defer w.mu.Unlock()
	return found.Minus(w.stored.uids).Len() > w.stored.nameless-from.below, nil
}

// conclude gives each message of the unit that has no outcome yet this one.
func (u *unit) conclude(d mailhaul.Delivery, err error) {
	u.w.mu.Lock()
	defer u.w.mu.Unlock()
	u.concludeLocked(d, err)
}

// concludeLocked is conclude while Writer.mu is held.
func (u *unit) concludeLocked(d mailhaul.Delivery, err error) {
	w := u.w
	if u.ended {
		return
	}
	u.ended = true
	for _, m := range u.msgs {
		w.decide(m, mailhaul.Outcome{Delivery: d, Err: err})
	}
	if i := slices.Index(w.open, u); i >= 0 {
		w.open = slices.Delete(w.open, i, i+1)
	}
	close(u.final)
	w.behind(u, d)
}

// refuse decides a message that is not sent.
func (w *Writer) refuse(m *outgoing, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.decide(m, mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: err})
}

// decide gives a message its outcome; only the first counts. w.mu is held.
func (w *Writer) decide(m *outgoing, o mailhaul.Outcome) {
	if m.decided {
		return
	}
	m.decided = true
	o.Dropped = m.dropped
	m.outcome = o
	if m.held == 0 {
		m.Body.Release()
	}
}

// hold keeps bodies from being released while they are read.
func (w *Writer) hold(msgs []*outgoing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range msgs {
		m.held++
	}
}

// letGo ends hold, and releases what nobody needs any more.
func (w *Writer) letGo(msgs []*outgoing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range msgs {
		if m.held--; m.held == 0 && m.decided {
			m.Body.Release()
		}
	}
}
