package cyrus

// Showing what was uploaded: the records of a batch, and their answer.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// tell has the mailbox told of the messages of the oldest batch, run by run. To
// the end, it waits for the last answer too; otherwise it leaves that open where
// it is about all that is left.
func (w *Writer) tell(ctx context.Context, b *batch, toTheEnd bool) error {
	if b.upload != nil {
		if _, err := b.upload(ctx); err != nil {
			return w.fail(err)
		}
		b.upload = nil
	}
	tries := 0
	for {
		if b.apply != nil {
			again, err := w.answer(ctx, b)
			if err != nil {
				return err
			}
			if again {
				if tries++; tries == maxTries {
					return w.fail(w.t.fault(opAppend, w.box, mailhaul.Transient, mailhaul.ScopeMailbox, "run again when less goes on in it", errBusy))
				}
			} else {
				tries = 0
			}
		}
		left := b.undecided()
		if len(left) == 0 {
			w.queue = slices.DeleteFunc(w.queue, func(q *batch) bool { return q == b })
			close(b.final)
			return nil
		}
		if w.stale {
			s, err := reread(ctx, w.sess, w.s)
			if err != nil {
				return w.fail(err)
			}
			w.s, w.stale = s, false
		}
		run, imposed := w.run(left)
		if !imposed {
			if err := w.appendInside(ctx, run); err != nil {
				return err
			}
			continue
		}
		if err := w.apply(ctx, b, run); err != nil {
			return w.fail(err)
		}
		if !toTheEnd && len(run) == len(left) {
			return nil
		}
	}
}

// run returns the messages at the beginning of left that go together: those
// whose UIDs can be had, or those whose cannot.
func (w *Writer) run(left []*message) (run []*message, imposed bool) {
	last := w.s.lastUID
	if m := left[0]; m.UID <= last || !m.uploaded {
		// Each that is appended takes another UID.
		n := 0
		for n < len(left) && (left[n].decided || left[n].UID <= last || !left[n].uploaded) {
			if !left[n].decided {
				last++
			}
			n++
		}
		return left[:n], false
	}
	n := 0
	for n < len(left) && !left[n].decided && left[n].uploaded && left[n].UID > last {
		if w.careful && n > 0 && (w.unproved(left[n]) || w.unproved(left[0])) {
			break
		}
		last = left[n].UID
		n++
	}
	return left[:n], true
}

// unproved reports whether the message has a keyword that the mailbox may not
// take.
func (w *Writer) unproved(m *message) bool {
	return slices.ContainsFunc(m.Flags, func(f mailhaul.Flag) bool {
		return !f.System() && !w.accepted[strings.ToLower(string(f))]
	})
}

func (w *Writer) accept(flags []mailhaul.Flag) {
	for _, f := range flags {
		if f.Keyword() {
			w.accepted[strings.ToLower(string(f))] = true
		}
	}
}

// apply tells the mailbox of messages with UIDs above all that it has given.
func (w *Writer) apply(ctx context.Context, b *batch, run []*message) error {
	c := w.s.same()
	c.modSeq++
	c.lastUID = run[len(run)-1].UID
	answer, err := w.sess.Send(ctx, bytes.NewReader(w.s.command(c, records(run, c.modSeq, time.Now()))))
	b.run, b.apply, b.after = run, answer, w.s.changed(c)
	if err != nil {
		b.apply = func(context.Context) ([][]byte, error) { return nil, err } // some of it may have arrived
	}
	return err
}

// records returns what RECORD holds for the messages.
func records(run []*message, modSeq mailhaul.ModSeq, now time.Time) []byte {
	var b []byte
	for i, m := range run {
		if i > 0 {
			b = append(b, ' ')
		}
		b = fmt.Appendf(b, "%%(UID %d MODSEQ %d LAST_UPDATED %d FLAGS (", m.UID, modSeq, now.Unix())
		for j, f := range m.Flags {
			if j > 0 {
				b = append(b, ' ')
			}
			if f.System() {
				b = append(b, f...)
			} else {
				b = appendString(b, string(f), false) // so that NIL is a keyword, too
			}
		}
		date := m.InternalDate
		if date.IsZero() {
			date = now
		}
		b = fmt.Appendf(b, ") INTERNALDATE %d SIZE %d GUID %x)", min(max(date.Unix(), 0), 1<<32-1), m.Body.Size(), m.sum)
	}
	return b
}

// answer waits for the answer to the second step. It returns true where the
// mailbox has changed meanwhile, so that nothing was stored.
func (w *Writer) answer(ctx context.Context, b *batch) (again bool, err error) {
	_, err = b.apply(ctx)
	switch {
	case err == nil:
		w.s = b.after
		for _, m := range b.run {
			w.accept(m.Flags)
			m.decide(mailhaul.Stored, m.UID, nil)
		}
	case !refused(err):
		return false, w.fail(err)
	case overtaken(err):
		again, w.stale = true, true
	case codeOf(err) == "IMAP_PROTOCOL_ERROR" && slices.ContainsFunc(b.run, w.unproved):
		// A mailbox has room for 128 keywords.
		if w.careful = true; len(b.run) == 1 {
			m := b.run[0]
			m.outcome.Dropped += len(m.Flags)
			m.Flags = slices.DeleteFunc(slices.Clone(m.Flags), func(f mailhaul.Flag) bool {
				return !f.System() && !w.accepted[strings.ToLower(string(f))]
			})
			m.outcome.Dropped -= len(m.Flags)
		}
	default:
		if strings.HasPrefix(codeOf(err), "IMAP_") { // found before anything was stored
			b.apply = nil
		}
		return false, w.fail(err)
	}
	b.apply, b.run = nil, nil
	return again, nil
}

// appendInside appends messages through the Target that is decorated.
func (w *Writer) appendInside(ctx context.Context, run []*message) error {
	var out []mailhaul.Outgoing
	var msgs []*message
	for _, m := range run {
		if !m.decided {
			o := m.Outgoing
			o.Body, o.UID, o.UIDL, o.Order = lent{m.Body}, 0, "", 0
			out, msgs = append(out, o), append(msgs, m)
		}
	}
	w.stale = true
	in, err := w.t.Target.OpenWriter(ctx, w.box)
	if err != nil {
		return w.fail(err)
	}
	defer in.Close()
	receipt, failure := in.Append(ctx, out)
	outcomes, err := receipt.Wait(ctx)
	if failure == nil {
		failure = err
	}
	for i, o := range outcomes {
		if o.Delivery == mailhaul.DeliveryUnknown && failure == nil {
			failure = o.Err
		}
		if o.Delivery != mailhaul.Stored && !hopeless(o.Err) {
			w.missed = true
		}
		msgs[i].outcome.Dropped += o.Dropped
		msgs[i].decide(o.Delivery, o.UID, o.Err)
	}
	if failure != nil {
		return w.fail(failure)
	}
	return nil
}

// hopeless reports whether a message that was refused will be refused again.
func hopeless(err error) bool {
	e, ok := errors.AsType[*mailhaul.Error](err)
	return ok && e.Kind == mailhaul.Permanent && e.Scope == mailhaul.ScopeMessage
}
