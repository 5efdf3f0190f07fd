package filler

// Wide gaps: a stock of fillers is copied within the mailbox, which servers do
// faster than they store.

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
)

const (
	// stock is how many fillers are kept for copying.
	stock = 4096

	// seeds is how many of them are appended, each different; the others are
	// copies.
	seeds = 32
)

// isWide reports whether copies are worth while.
func (w *Writer) isWide(gap uint64) bool {
	if w.multi != nil && !w.multi() { // each APPEND is a round trip or two
		return gap > 4
	}
	return gap > 8*seeds
}

// burn makes the mailbox's UIDNEXT rise to the UID. That many were spent.
func (w *Writer) burn(ctx context.Context, to mailhaul.UID) error {
	if err := w.line.Drain(ctx); err != nil {
		return err
	}
	gap := func() uint64 {
		if next := w.line.Next(); next < to && !w.stopped() {
			return uint64(to - next)
		}
		return 0
	}
	first := w.line.Next()
	if w.copy == nil || !w.isWide(gap()) {
		return w.appendFillers(ctx, gap)
	}
	start := uint64(seeds)
	if w.multi != nil && !w.multi() {
		start = 1
	}
	if err := w.appendSome(ctx, min(start, gap())); err != nil || w.stopped() {
		return err
	}
	pool := mailhaul.UIDSet{{First: first, Last: w.line.Next() - 1}}
	for n := gap(); n > 0; n = gap() {
		grow := pool.Len() < stock && n > uint64(pool.Len())
		from := pool
		if !grow {
			from = firstOf(pool, n)
		}
		copies, done, err := w.copyFillers(ctx, from)
		if err != nil {
			return err
		}
		if !done { // such copies are refused: every filler has to be another
			return w.appendFillers(ctx, gap)
		}
		if grow {
			pool = pool.Union(copies)
			continue
		}
		if err := w.sweepBut(ctx, pool); err != nil {
			return err
		}
	}
	return w.sweep(ctx, 1)
}

func (w *Writer) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.off != ""
}

// appendFillers closes a gap without copies.
func (w *Writer) appendFillers(ctx context.Context, gap func() uint64) error {
	for n := gap(); n > 0; n = gap() {
		if err := w.appendSome(ctx, min(n, mostTogether)); err != nil {
			return err
		}
		if err := w.sweep(ctx, mostPending); err != nil {
			return err
		}
	}
	return nil
}

// appendSome appends n fillers and waits for the answer.
func (w *Writer) appendSome(ctx context.Context, n uint64) error {
	p := &piece{w: w, r: w.line.NewReceipt(0)}
	next := w.line.Next()
	for i := range n {
		if err := p.add(ctx, place(w.mark, next+mailhaul.UID(i)), -1); err != nil {
			p.drop(err)
			return err
		}
	}
	if err := p.send(ctx); err != nil {
		return err
	}
	_, err := p.r.Wait(ctx) // Append saw no error, but the answers may be one
	return err
}

// copyFillers copies fillers to the end of the mailbox. done is false where the
// server refuses that.
func (w *Writer) copyFillers(ctx context.Context, from mailhaul.UIDSet) (copies mailhaul.UIDSet, done bool, err error) {
	copies, err = w.copy.UIDCopy(ctx, from, w.box)
	if e, ok := errors.AsType[*mailhaul.Error](err); ok && e.Scope != mailhaul.ScopeConnection &&
		e.Kind != mailhaul.OverQuota && e.Kind != mailhaul.Throttled && e.Kind != mailhaul.Conflict {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	next, n := w.line.Next(), from.Len()
	w.mu.Lock()
	w.burnt = w.burnt.Union(copies)
	w.mu.Unlock()
	expected := mailhaul.UIDSet{{First: next, Last: next + mailhaul.UID(n) - 1}}
	switch {
	case copies.Len() != n:
		w.stop("the server did not say which UIDs copies got")
	case len(copies) != 1 || copies[0] != expected[0]:
		w.stop(fmt.Sprintf("somebody else has delivered to it: copies were to get the UIDs from %d, and got %s", next, copies))
	}
	if len(copies) > 0 {
		w.line.Jump(copies[len(copies)-1].Last + 1)
	}
	// Flags ought to come with the copies (RFC 9051 section 6.4.7).
	var changes []mailhaul.FlagChange
	for uid := range copies.All() {
		changes = append(changes, mailhaul.FlagChange{UID: uid, Add: []mailhaul.Flag{mailhaul.FlagDeleted}})
	}
	return copies, true, w.inner.Store(ctx, changes)
}

// sweepBut removes the fillers that are there, except those in keep.
func (w *Writer) sweepBut(ctx context.Context, keep mailhaul.UIDSet) error {
	w.mu.Lock()
	kept := w.burnt.Intersect(keep)
	w.burnt = w.burnt.Minus(keep)
	w.mu.Unlock()
	err := w.sweep(ctx, 1)
	w.mu.Lock()
	w.burnt = w.burnt.Union(kept)
	w.mu.Unlock()
	return err
}

// firstOf returns the n lowest UIDs of a set.
func firstOf(set mailhaul.UIDSet, n uint64) mailhaul.UIDSet {
	var out mailhaul.UIDSet
	for _, r := range set {
		size := min(uint64(r.Last-r.First)+1, n)
		if size == 0 {
			break
		}
		out.AddRange(mailhaul.UIDRange{First: r.First, Last: r.First + mailhaul.UID(size-1)})
		n -= size
	}
	return out
}
