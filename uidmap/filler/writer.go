package filler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap/internal/lineup"
)

const (
	// mostTogether is how many fillers and messages go in one call, and
	// mostPending how many fillers that are known to be there may wait for
	// their removal.
	mostTogether = 400
	mostPending  = 512

	// most is how many fillers are in the mailbox at a time: those that wait
	// to be removed, those that are unanswered, and the stock of copies.
	most = mostPending + 8*mostTogether + 2*stock
)

// Writer puts fillers between messages. It implements [mailhaul.Writer].
type Writer struct {
	f       *Imposer
	inner   mailhaul.Writer
	box     mailhaul.Mailbox
	mark    string
	key     string // in the budget
	line    *lineup.Line
	expunge mailhaul.Expunger
	copy    copier      // nil: there is no copying
	multi   func() bool // nil: not known
	raise   mailhaul.UID

	// Of the goroutine that appends:
	alone bool // what went last may be refused after what follows it was stored
	ended bool // Finish has come to its end

	mu      sync.Mutex // protects the fields below
	burnt   mailhaul.UIDSet
	claimed uint64 // taken from the budget, for gaps that come
	off     string // why no more are burnt, "" while they are
}

// Unwrap returns the Writer that is decorated.
func (w *Writer) Unwrap() mailhaul.Writer { return w.inner }

// Status implements [mailhaul.Writer].
func (w *Writer) Status() mailhaul.Status { return w.inner.Status() }

// Store implements [mailhaul.Writer].
func (w *Writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	return w.inner.Store(ctx, changes)
}

// Claim makes sure that a gap of n UIDs which comes in one of the next calls of
// Append will be closed; false where as many may not be burnt any more.
func (w *Writer) Claim(n uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.off != "" || !w.f.budget.spend(w.key, n) {
		return false
	}
	w.claimed += n
	return true
}

// Raised says that the mailbox's UIDNEXT was raised by other means, while
// nothing was unanswered.
func (w *Writer) Raised(next mailhaul.UID) { w.line.Jump(next) }

// Held reports whether a filler has taken the UID of a message that was
// refused.
func (w *Writer) Held(uid mailhaul.UID) bool { return w.line.Held(uid) }

// stop ends filling for good. The first reason counts.
func (w *Writer) stop(reason string) {
	w.mu.Lock()
	first := w.off == ""
	if first {
		w.off = reason
	}
	w.mu.Unlock()
	if first {
		w.f.warn(w.box, reason)
	}
}

// spend takes n from what may be burnt; false where that is too little.
func (w *Writer) spend(n uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.off != "" {
		return false
	}
	ahead := min(n, w.claimed)
	if !w.f.budget.spend(w.key, n-ahead) {
		return false
	}
	w.claimed -= ahead
	return true
}

// answer takes what became of a message or a filler, in order.
func (w *Writer) answer(s lineup.Slot, o mailhaul.Outcome, off int64) {
	if s.Own < 0 && o.Delivery == mailhaul.Stored && o.UID != 0 {
		w.mu.Lock()
		w.burnt.Add(o.UID)
		w.mu.Unlock()
	}
	switch {
	case s.Own < 0 && o.Delivery == mailhaul.NotStored:
		w.stop(fmt.Sprintf("a filler was not stored: %v", o.Err))
	case o.Delivery == mailhaul.Stored && o.UID == 0:
		w.stop("the server did not say which UID a message got")
	case off > 0:
		w.stop(fmt.Sprintf("somebody else has delivered to it: UID %d was expected, and it was %d", int64(o.UID)-off, o.UID))
	case off < 0:
		w.stop(fmt.Sprintf("UID %d was expected, and it was %d", int64(o.UID)-off, o.UID))
	}
}

// replace puts a filler in the place of a message that was refused.
func (w *Writer) replace(_ context.Context, refused mailhaul.Outgoing) (*mailhaul.Outgoing, func(mailhaul.Outcome), error) {
	if _, filler := refused.Body.(body); filler || refused.UID == 0 || !w.spend(1) {
		return nil, nil, nil
	}
	p := place(w.mark, refused.UID)
	return &p, func(o mailhaul.Outcome) {
		if o.Delivery != mailhaul.Stored || o.UID == 0 {
			return
		}
		w.mu.Lock()
		w.burnt.Add(o.UID)
		w.mu.Unlock()
		w.line.Hold(refused.UID)
	}, nil
}

// Append implements [mailhaul.Writer]: fillers go between the messages, in the
// same commands.
func (w *Writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	r := w.line.NewReceipt(len(batch))
	p := &piece{w: w, r: r}
	for i, o := range batch {
		err := w.makeRoom(ctx, p, o)
		if err == nil {
			err = p.add(ctx, o, i)
		} else {
			o.Body.Release()
			r.Leave(i, err)
		}
		if err != nil {
			p.drop(err)
			for k := i + 1; k < len(batch); k++ {
				batch[k].Body.Release()
				r.Leave(k, err)
			}
			return r, err
		}
	}
	err := p.send(ctx)
	if err != nil {
		p.drop(err)
	}
	return r, err
}

// makeRoom makes room in front of a message, so that it gets its UID.
func (w *Writer) makeRoom(ctx context.Context, p *piece, o mailhaul.Outgoing) error {
	if w.alone { // only the answer tells where it has got to
		if err := p.send(ctx); err != nil {
			return err
		}
		if err := w.line.Drain(ctx); err != nil {
			return err
		}
		w.alone = false
	}
	if err := w.sweep(ctx, mostPending); err != nil {
		return err
	}
	next := w.line.Next() + mailhaul.UID(len(p.out))
	if o.UID == 0 || o.UID <= next || w.stopped() {
		return nil
	}
	gap := uint64(o.UID - next)
	if !w.spend(gap) {
		w.stop(fmt.Sprintf("%d UIDs would have to be burnt, and %d of %d are left", gap, w.f.budget.available(w.key), w.f.max))
		return nil
	}
	if w.isWide(gap) {
		if err := p.send(ctx); err != nil {
			return err
		}
		return w.burn(ctx, o.UID)
	}
	for uid := next; uid < o.UID && !w.stopped(); uid++ {
		if err := p.add(ctx, place(w.mark, uid), -1); err != nil {
			return err
		}
	}
	return nil
}

// piece is what is put together for one call of the inner Writer.
type piece struct {
	w     *Writer
	r     *lineup.Receipt
	out   []mailhaul.Outgoing
	slots []lineup.Slot
}

// add puts a message in; own is its place in the caller's batch, -1 for a
// filler. A message that cannot share a command goes by itself.
func (p *piece) add(ctx context.Context, o mailhaul.Outgoing, own int) error {
	single := !o.Body.Buffered() || o.Body.Size() == 0 || p.w.multi != nil && !p.w.multi()
	if single || len(p.out) >= mostTogether {
		if err := p.send(ctx); err != nil {
			p.out, p.slots = append(p.out, o), append(p.slots, lineup.Slot{Own: own, Want: o.UID})
			return err // drop sees to it
		}
	}
	p.out = append(p.out, o)
	p.slots = append(p.slots, lineup.Slot{Own: own, Want: o.UID})
	if !single {
		return nil
	}
	return p.send(ctx)
}

// send hands on what is there.
func (p *piece) send(ctx context.Context) error {
	if len(p.out) == 0 {
		return nil
	}
	w := p.w
	if w.alone {
		if err := w.line.Drain(ctx); err != nil {
			return err
		}
	}
	w.alone = len(p.out) == 1
	receipt, err := w.inner.Append(ctx, p.out)
	p.r.Take(w.line.Add(receipt, p.slots))
	p.out, p.slots = nil, nil
	return err
}

// drop gives up what was not sent.
func (p *piece) drop(err error) {
	for i, s := range p.slots {
		p.out[i].Body.Release()
		if s.Own >= 0 {
			p.r.Leave(s.Own, err)
		}
	}
	p.out, p.slots = nil, nil
}

// sweep removes the fillers that are known to be there, where there are at
// least this many.
func (w *Writer) sweep(ctx context.Context, atLeast int) error {
	w.mu.Lock()
	burnt := w.burnt
	if burnt.Len() < atLeast {
		burnt = nil
	} else {
		w.burnt = nil
	}
	w.mu.Unlock()
	if len(burnt) == 0 {
		return nil
	}
	err := w.expunge.UIDExpunge(ctx, burnt)
	if err != nil {
		w.mu.Lock()
		w.burnt = w.burnt.Union(burnt) // Close may still try
		w.mu.Unlock()
	}
	return err
}

// Finish implements [mailhaul.Writer]. It raises UIDNEXT by fillers where as
// many may be used, and removes all of them.
func (w *Writer) Finish(ctx context.Context) error {
	err := w.line.Drain(ctx)
	if next := w.line.Next(); err == nil && w.raise > next && w.spend(uint64(w.raise-next)) {
		err = w.burn(ctx, w.raise)
	}
	if e := w.inner.Finish(ctx); err == nil {
		err = e
	}
	if w.expunge != nil {
		if e := w.sweep(ctx, 1); err == nil {
			err = e
		}
	}
	w.ended = err == nil
	return err
}

// mannersTime is how long Close tries to remove what is left.
const mannersTime = time.Second

// Close implements [mailhaul.Writer]. Where Finish was not reached, it tries
// for a second to remove the fillers that are known to be there; the rest is
// for Recover.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.f.budget.giveBack(w.claimed)
	w.claimed = 0
	w.mu.Unlock()
	if !w.ended && w.expunge != nil {
		ctx, cancel := context.WithTimeout(context.Background(), mannersTime)
		if err := w.sweep(ctx, 1); err != nil && !errors.Is(err, mailhaul.ErrClosed) {
			w.f.log.Debug("fillers are left for the next run", "mailbox", w.box.Name, "error", err)
		}
		cancel()
	}
	return w.inner.Close()
}
