// Package lineup keeps what was handed to a Writer in order, with the UIDs that
// it is expected to get, until the answers say which it got.
package lineup

import (
	"context"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// Slot is one message that was handed on.
type Slot struct {
	// Own is the message's place in the batch of whoever called; below 0 it is
	// none of theirs.
	Own int

	// Want is the UID that was asked for, 0 for none.
	Want mailhaul.UID

	// Gap is how many UIDs the Writer below burns in front of it.
	Gap mailhaul.UID
}

// Line is all that was handed to one Writer. It is safe for concurrent use,
// except that Add, Jump and Drain are for the goroutine that appends.
type Line struct {
	// Below, where it is set before the first Add, reports whether the Writer
	// below has held the UID of a message that was refused.
	Below func(want mailhaul.UID) bool

	// note is called with each answer, in order.
	note func(s Slot, o mailhaul.Outcome, off int64)

	turn chan struct{} // held by whoever waits for answers

	mu    sync.Mutex // protects the fields below, and those of parts
	next  mailhaul.UID
	shift int64 // by how much all expectations were wrong so far
	held  map[mailhaul.UID]bool
	parts []*Part // without their answers, oldest first
	lost  error   // why an answer is not to be had, or the Writer goes no further
}

// New returns a Line in front of a mailbox whose UIDNEXT is next. note, which
// may be nil, is called with each answer, and by how much its UID differs from
// the one expected: above 0, somebody else has taken UIDs; below 0 somebody has
// left some out.
func New(next mailhaul.UID, note func(s Slot, o mailhaul.Outcome, off int64)) *Line {
	if note == nil {
		note = func(Slot, mailhaul.Outcome, int64) {}
	}
	return &Line{note: note, next: next, turn: make(chan struct{}, 1), held: make(map[mailhaul.UID]bool)}
}

// Part is what went in one call.
type Part struct {
	receipt  mailhaul.Receipt
	slots    []Slot
	first    mailhaul.UID // expected for the first slot, when shift was
	shift    int64
	outcomes []mailhaul.Outcome
	err      error
	settled  bool
}

// Next is the UID that is expected for what comes next.
func (l *Line) Next() mailhaul.UID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Jump says that UIDNEXT was raised, while nothing was unanswered.
func (l *Line) Jump(next mailhaul.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = next
}

// Hold says that the UID of a message which is refused is taken all the same,
// so that those behind it keep theirs.
func (l *Line) Hold(want mailhaul.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[want] = true
}

// Held reports whether Hold was said of the UID.
func (l *Line) Held(want mailhaul.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[want]
}

// Add takes what was handed on in one call, and its receipt.
func (l *Line) Add(r mailhaul.Receipt, slots []Slot) *Part {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &Part{receipt: r, slots: slots, first: l.next, shift: l.shift}
	for _, s := range slots {
		l.next += s.Gap + 1
	}
	l.parts = append(l.parts, p)
	return p
}

// Drain waits for all answers. An error means that some are not to be had, now
// or ever, or that the Writer goes no further: nothing may be built on where
// the mailbox has got to.
func (l *Line) Drain(ctx context.Context) error {
	if err := l.settle(ctx, nil); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// settle waits for answers, oldest first, up to the part's; nil stands for all.
func (l *Line) settle(ctx context.Context, upTo *Part) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		l.mu.Lock()
		if upTo != nil && upTo.settled || len(l.parts) == 0 {
			l.mu.Unlock()
			return nil
		}
		p := l.parts[0]
		l.mu.Unlock()

		outcomes, err := p.receipt.Wait(ctx)
		l.mu.Lock()
		p.outcomes, p.err = outcomes, err
		if ctx.Err() != nil && err != nil { // the answer may still come
			l.mu.Unlock()
			return context.Cause(ctx)
		}
		p.settled = true
		l.parts = l.parts[1:]
		if l.lost == nil {
			l.lost = err
		}
		offs := l.compare(p)
		l.mu.Unlock()
		for i, s := range p.slots {
			l.note(s, p.outcome(i), offs[i])
		}
	}
}

// outcome returns that of a slot; a Receipt that returns too few says nothing
// of the others.
func (p *Part) outcome(i int) mailhaul.Outcome {
	if i < len(p.outcomes) {
		return p.outcomes[i]
	}
	return mailhaul.Outcome{Err: p.err}
}

// compare corrects the expectations by what a part got. l.mu is held.
func (l *Line) compare(p *Part) []int64 {
	offs := make([]int64, len(p.slots))
	at := int64(p.first)
	for i, s := range p.slots {
		at += int64(s.Gap)
		switch o := p.outcome(i); {
		case o.Delivery == mailhaul.NotStored && !l.held[s.Want] && (l.Below == nil || !l.Below(s.Want)):
			l.correct(-1)
		case o.Delivery == mailhaul.Stored && o.UID != 0:
			offs[i] = int64(o.UID) - (at + l.shift - p.shift)
			l.correct(offs[i])
		}
		at++
	}
	return offs
}

func (l *Line) correct(by int64) {
	l.shift += by
	l.next = mailhaul.UID(int64(l.next) + by)
}

// Receipt is the answer to a batch that went in parts. The zero value of an
// outcome stands for what was never handed on: set it with Leave.
type Receipt struct {
	line  *Line
	parts []*Part
	left  []mailhaul.Outcome // what is known of messages that are in no part
	err   error
}

// NewReceipt returns one for a batch of n messages.
func (l *Line) NewReceipt(n int) *Receipt {
	return &Receipt{line: l, left: make([]mailhaul.Outcome, n)}
}

// Take adds a part.
func (r *Receipt) Take(p *Part) { r.parts = append(r.parts, p) }

// Leave says that the i-th message was not handed on, and why.
func (r *Receipt) Leave(i int, err error) {
	r.left[i] = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: err}
	r.err = err
}

// Wait implements [mailhaul.Receipt].
func (r *Receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	out := append([]mailhaul.Outcome(nil), r.left...)
	var failure error
	for _, p := range r.parts {
		err := r.line.settle(ctx, p)
		r.line.mu.Lock()
		if err == nil {
			err = p.err
		}
		for i, s := range p.slots {
			if s.Own >= 0 {
				out[s.Own] = p.outcome(i)
			}
		}
		r.line.mu.Unlock()
		if failure == nil {
			failure = err
		}
	}
	if failure == nil {
		failure = r.err
	}
	return out, failure
}
