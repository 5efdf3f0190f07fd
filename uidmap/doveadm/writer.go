package doveadm

import (
	"context"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap/internal/lineup"
)

// Writer raises UIDNEXT in front of each run of UIDs. It implements
// [mailhaul.Writer].
type Writer struct {
	d     *Imposer
	inner mailhaul.Writer
	box   mailhaul.Mailbox
	want  mailhaul.Identity
	line  *lineup.Line
	fill  filler // nil: there are no fillers

	reopen func(context.Context) error // nil: it cannot be

	messages int // in the mailbox
	piled    int // what the session's server holds of outdated lists, in messages

	alone bool // what went last may be refused after what follows it was stored

	// Of whoever takes answers, one at a time:
	ended bool // a UID was not the one asked for, and that was said
}

// Unwrap returns the Writer that is decorated.
func (w *Writer) Unwrap() mailhaul.Writer { return w.inner }

// Status implements [mailhaul.Writer].
func (w *Writer) Status() mailhaul.Status { return w.inner.Status() }

// Store implements [mailhaul.Writer].
func (w *Writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	return w.inner.Store(ctx, changes)
}

// Close implements [mailhaul.Writer].
func (w *Writer) Close() error { return w.inner.Close() }

// answer takes what became of a message, in order. What is asked for next goes
// by what was got.
func (w *Writer) answer(s lineup.Slot, o mailhaul.Outcome, _ int64) {
	if o.Delivery != mailhaul.Stored || s.Want == 0 || o.UID == s.Want || w.ended {
		return
	}
	w.ended = true
	if o.UID == 0 {
		w.d.warn(w.box, "the server did not say which UIDs messages got")
		return
	}
	w.d.warn(w.box, "the message that was to have UID %d got UID %d, and others may differ too from there on: something else has come into the mailbox", s.Want, o.UID)
}

// replace lets the UID of a refused message go by, so that those behind it keep
// theirs.
func (w *Writer) replace(ctx context.Context, refused mailhaul.Outgoing) (*mailhaul.Outgoing, func(mailhaul.Outcome), error) {
	if refused.UID == 0 {
		return nil, nil, nil
	}
	if err := w.d.api.set(ctx, w.box.Name, 0, refused.UID+1, 0); err != nil {
		return nil, nil, err
	}
	w.line.Hold(refused.UID)
	return nil, nil, nil
}

// Append implements [mailhaul.Writer]. Where UIDs are left out between two
// messages it waits for the answers to those in front of the gap.
func (w *Writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	r := w.line.NewReceipt(len(batch))
	var slots []lineup.Slot
	start, next := 0, w.line.Next()
	give := func(err error) (mailhaul.Receipt, error) {
		for i := start; i < len(batch); i++ {
			batch[i].Body.Release()
			r.Leave(i, err)
		}
		return r, err
	}
	send := func(end int) error {
		if start == end {
			return nil
		}
		run := batch[start:end]
		start = end
		w.alone = len(run) == 1 || slices.ContainsFunc(run, func(o mailhaul.Outgoing) bool {
			return !o.Body.Buffered() || o.Body.Size() == 0
		})
		w.messages += len(run)
		receipt, err := w.inner.Append(ctx, run)
		r.Take(w.line.Add(receipt, slots))
		slots = nil
		return err
	}
	for i, o := range batch {
		slot := lineup.Slot{Own: i, Want: o.UID}
		if w.alone && start == i { // only the answer tells where it has got to
			if err := w.line.Drain(ctx); err != nil {
				return give(err)
			}
			w.alone, next = false, w.line.Next()
		}
		if o.UID > next && w.fill != nil && o.UID-next <= w.d.fillUpTo && w.fill.Claim(uint64(o.UID-next)) {
			slot.Gap = o.UID - next
			next = o.UID
		} else if o.UID > next {
			err := send(i)
			if err == nil {
				err = w.raise(ctx, o.UID)
			}
			if err != nil {
				return give(err)
			}
			next = w.line.Next()
		}
		slots = append(slots, slot)
		next++
	}
	if err := send(len(batch)); err != nil {
		return r, err
	}
	return r, nil
}

// raise makes the next message get the UID, unless it is taken.
func (w *Writer) raise(ctx context.Context, to mailhaul.UID) error {
	if err := w.line.Drain(ctx); err != nil {
		return err
	}
	w.alone = false
	if w.line.Next() >= to {
		return nil
	}
	if err := w.d.api.set(ctx, w.box.Name, 0, to, 0); err != nil {
		return err
	}
	w.d.api.prepare()
	w.line.Jump(to)
	if err := w.relieve(ctx); err != nil {
		return err
	}
	if w.fill != nil {
		w.fill.Raised(to)
	}
	return nil
}

// maxPiled is how much may pile up, in messages of outdated lists.
const maxPiled = 1_000_000

// relieve opens the mailbox again now and then: each call makes Dovecot read a
// Maildir's list of UIDs anew, and keep the old one, until the process dies of
// its limit of 256 MB (some 1,400 calls in a mailbox of 5,000 messages).
func (w *Writer) relieve(ctx context.Context) error {
	if w.piled += w.messages; w.piled < maxPiled || w.reopen == nil {
		return nil
	}
	w.piled = 0
	return w.reopen(ctx)
}

// Finish implements [mailhaul.Writer]. It raises UIDNEXT and HIGHESTMODSEQ when
// everything else is done.
func (w *Writer) Finish(ctx context.Context) error {
	if err := w.line.Drain(ctx); err != nil {
		return err
	}
	if err := w.inner.Finish(ctx); err != nil {
		return err
	}
	next, modSeq := w.want.UIDNext, w.want.HighestModSeq
	if next <= w.line.Next() {
		next = 0
	}
	if next == 0 && modSeq == 0 {
		return nil
	}
	return w.d.api.set(ctx, w.box.Name, 0, next, modSeq)
}
