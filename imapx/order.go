package imapx

// The order of what is stored. A MULTIAPPEND that is refused is taken apart and
// sent again, so nothing that comes behind it may be stored before. To wait for
// each answer would cost a round trip a batch; instead the next command, the
// tail, is sent but for the end of its line, and goes on for as long as no
// answer has come. The answer decides: an OK ends the tail's line, a NO cancels
// the tail.

import (
	"context"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// A tail is not made larger than this: what is refused together is sent again
// together, and its memory is kept until then.
const (
	maxTailMessages = 2000
	maxTailOctets   = 16 << 20
)

// send puts one unit on its way and returns it, or the unit that has taken its
// messages in. An error means that the Writer goes no further; the unit has its
// outcome then, or was never begun.
func (w *Writer) send(ctx context.Context, st *stage, u *unit) (*unit, error) {
	if w.inTrouble() {
		if err := w.resolve(ctx, st); err != nil {
			return u, err
		}
	}
	if err := w.stopped(); err != nil {
		return u, err
	}
	if tail := w.extendable(u); tail != nil {
		return tail, w.extend(ctx, st, tail, u.msgs)
	}
	before := w.divisible()
	if before != nil && !w.mayOverlap(u) || w.hasTail() {
		if err := w.resolve(ctx, st); err != nil {
			return u, err
		}
		if err := w.stopped(); err != nil {
			return u, err
		}
		before = nil
	}
	w.mu.Lock()
	if before != nil && before.ended {
		w.mu.Unlock()
		return w.send(ctx, st, u) // it depends on how
	}
	w.open = append(w.open, u)
	if before != nil {
		w.tail, u.after, u.busy = u, before, true
	}
	w.mu.Unlock()
	err := w.transmit(ctx, st, u)
	if before == nil {
		return u, w.endLine(st, u.cmd, err)
	}
	return u, w.rest(st, u, err)
}

// endLine ends a command after its last message was sent with the given error.
// Some servers read on behind the literal for the line's end, and some that are
// done without still want it.
func (w *Writer) endLine(st *stage, cmd *command, err error) error {
	if err == error(errRefused) {
		return nil // the server has ended the command; answered has seen to that
	}
	if err == nil {
		err = st.text([]byte("\r\n"))
	}
	if err == nil {
		st.complete(cmd)
	}
	return err
}

// divisible returns the youngest unit without an outcome that would have to be
// taken apart if it were refused.
func (w *Writer) divisible() *unit {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range slices.Backward(w.open) {
		if len(u.msgs) > 1 {
			return u
		}
	}
	return nil
}

// mayOverlap reports whether a unit may be sent, but for its end, while it is
// not clear what becomes of the one before.
func (w *Writer) mayOverlap(u *unit) bool {
	return w.way.multi && w.way.plus && w.c.quirks.cancels && u.msgs[0].size > 0 && u.msgs[0].Body.Buffered()
}

func (w *Writer) hasTail() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tail != nil
}

// sent reports whether a unit has been given to the server, so that its outcome
// comes by itself.
func (w *Writer) sent(u *unit) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return u.cmd != nil
}

// extendable returns the tail where it can take the unit's messages in, having
// marked it as busy, or nil.
func (w *Writer) extendable(u *unit) *unit {
	if !w.mayOverlap(u) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tail
	if t == nil || t.ended || w.refusals > 0 || len(t.msgs)+len(u.msgs) > maxTailMessages || t.octets+u.octets > maxTailOctets {
		return nil
	}
	t.busy = true
	t.msgs = append(t.msgs, u.msgs...)
	t.octets += u.octets
	t.cmd.whole.Store(0) // there is more to come
	return t
}

// extend sends more messages as part of the tail.
func (w *Writer) extend(ctx context.Context, st *stage, t *unit, msgs []*outgoing) error {
	w.hold(msgs)
	defer w.letGo(msgs)
	return w.rest(st, t, w.messages(ctx, st, t.cmd, msgs))
}

// rest leaves the tail alone, after its last message was sent with the given
// error: it is ended when what comes before it is stored, now or later.
func (w *Writer) rest(st *stage, t *unit, err error) error {
	if err == nil {
		err = st.flush()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t.busy = false
	switch {
	case err == error(errRefused):
		w.tail = nil // its line is over
		return nil
	case err != nil:
		return err
	case w.tail == t && t.after == nil:
		w.endTail()
	}
	return nil
}

// endTail ends the tail's line. w.mu is held.
func (w *Writer) endTail() {
	t := w.tail
	w.tail = nil
	w.c.out.put([]byte("\r\n"))
	w.c.expect(t.cmd)
}

// behind sees to the tail when what comes before it has its outcome. w.mu is
// held.
func (w *Writer) behind(u *unit, d mailhaul.Delivery) {
	t := w.tail
	switch {
	case t == nil || t != u && t.after != u:
		return
	case t == u: // it was answered before its time, and its line is still to be ended
	case d != mailhaul.Stored || w.stop != nil:
		w.alarm()
		return
	}
	t.after = nil
	if !t.busy {
		w.endTail()
	}
}

// alarm says that there is something that somebody with the turn has to look
// into. w.mu is held.
func (w *Writer) alarm() {
	if !w.alarmed {
		w.alarmed = true
		close(w.trouble)
	}
}

func (w *Writer) inTrouble() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alarmed
}

// resolve ends the tail or cancels it, looks into what was refused, and returns
// when all that was sent has its outcome. The caller has the turn, and st where
// something may be staged. An error means that the Writer goes no further.
func (w *Writer) resolve(ctx context.Context, st *stage) error {
	if st != nil {
		if err := st.flush(); err != nil {
			return err
		}
	}
	for {
		w.mu.Lock()
		if len(w.open) == 0 {
			if w.alarmed {
				w.alarmed, w.trouble = false, make(chan struct{})
			}
			w.mu.Unlock()
			return nil
		}
		u := w.open[0]
		w.mu.Unlock()
		if err := w.resolveUnit(ctx, u); err != nil {
			w.giveUp(err)
			return err
		}
	}
}

// resolveUnit brings the oldest unit without an outcome to one.
func (w *Writer) resolveUnit(ctx context.Context, u *unit) error {
	w.mu.Lock()
	isTail, cmd := w.tail == u, u.cmd
	w.mu.Unlock()
	switch {
	case isTail: // and nothing is before it that could be stored: the Writer was stopped
		return w.cancel(ctx, u)
	case cmd == nil:
		if err := w.stopped(); err != nil {
			return err
		}
		return w.sendAlone(ctx, u)
	}
	if _, err := w.c.wait(ctx, cmd); err != nil {
		// The end of the connection has given all that was sent its outcome,
		// or is about to.
		<-u.final
		return err
	}
	w.mu.Lock()
	ended, tail := u.ended, w.tail
	w.mu.Unlock()
	if ended {
		return nil
	}
	if tail != nil {
		if err := w.cancel(ctx, tail); err != nil {
			return err
		}
	}
	return w.look(ctx, u)
}

// sendAlone sends a unit while nothing else is under way.
func (w *Writer) sendAlone(ctx context.Context, u *unit) error {
	st := w.c.stage(ctx)
	defer st.drop()
	err := w.transmit(ctx, st, u)
	if err = w.endLine(st, u.cmd, err); err != nil {
		return err
	}
	return st.flush()
}

// giveUp concludes what will not be sent any more.
func (w *Writer) giveUp(err error) {
	w.mu.Lock()
	open := slices.Clone(w.open)
	w.mu.Unlock()
	for _, u := range open {
		if !w.sent(u) {
			u.conclude(mailhaul.NotStored, w.name(err))
		}
	}
}

// cancel takes the tail back, by a literal of no octets: the server refuses the
// whole command then (RFC 3502 section 6.3.11). It has to be sent again.
func (w *Writer) cancel(ctx context.Context, t *unit) error {
	w.mu.Lock()
	if w.tail != t {
		w.mu.Unlock()
		return nil // its line was ended meanwhile
	}
	w.tail = nil
	t.cancelled = true
	w.mu.Unlock()
	w.c.out.put([]byte(" {0+}\r\n\r\n"))
	w.c.expect(t.cmd)
	answer, err := w.c.wait(ctx, t.cmd)
	if err != nil {
		<-t.final
		return err
	}
	if answer.Cond == wire.NO {
		w.mu.Lock()
		t.cmd, t.after = nil, nil
		w.mu.Unlock()
	}
	return nil
}
