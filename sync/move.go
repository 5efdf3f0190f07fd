// Carrying out what a comparison found: flags first, then the messages, which
// are fetched ahead of one ordered appender.

package sync

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
)

// listAtOnce is how many messages are described before their bodies are asked
// for.
const listAtOnce = 1000

// move writes to the target. Without a comparison the target mailbox is taken
// to be empty; if that, or what the comparison saw, is no longer true, it asks
// for another pass and writes nothing.
func (j *job) move(ctx context.Context, c *comparison) (again bool, err error) {
	if c != nil && len(c.todo) == 0 && !slices.ContainsFunc(c.flags, flagWork.needed) {
		return false, j.settleSource(ctx, c.source, c.flags)
	}
	w, err := j.r.cfg.Target.OpenWriter(ctx, j.target)
	if err != nil {
		return false, err
	}
	defer w.Close()
	if j.surprised(w.Status(), c) {
		return true, nil
	}
	if c != nil {
		if err := j.storeFlags(ctx, w, c.flags); err != nil {
			return false, err
		}
		if len(c.todo) == 0 {
			return false, j.settleSource(ctx, c.source, nil)
		}
	}

	s, err := j.r.cfg.Source.OpenReader(ctx, j.source)
	if err != nil {
		return false, err
	}
	defer s.Close()
	var todo mailhaul.UIDSet
	switch {
	case c == nil:
		state, _, err := j.trust(ctx, s.Status(), w.Status()) // no batch is in doubt, so nothing is waited for
		if err != nil {
			return false, err
		}
		listing, err := uidsOf(ctx, s)
		if err != nil {
			return false, err
		}
		recorded, _, err := j.led.Sets(ctx) // of a view, what is held elsewhere
		if err != nil {
			return false, err
		}
		j.firstListing(listing, recorded)
		todo = listing.Minus(recorded)
		state.Explained = max(w.Status().UIDNext, 1)
		j.led.SetState(state)
	case s.Status().UIDValidity != j.led.State().SourceValidity:
		return true, nil
	default:
		todo = c.todo
	}
	missing, err := j.pipeline(ctx, w, s, j.giveUpBreakers(todo.Minus(j.failed)))
	if err != nil {
		return false, err
	}
	if err := w.Finish(ctx); err != nil {
		return false, err
	}
	if len(missing) > 0 {
		if again, err = j.askAfter(ctx, s, missing); err != nil {
			return false, err
		}
	}
	return again, j.settleSource(ctx, s.Status(), nil)
}

func (w flagWork) needed() bool { return len(w.change.Add)+len(w.change.Remove) > 0 }

// surprised reports whether the target mailbox is not what it was taken for.
func (j *job) surprised(now mailhaul.Status, c *comparison) bool {
	if c == nil {
		if now.Messages > 0 {
			j.target.Status = &now // no longer known to be empty: compare
			return true
		}
		return false
	}
	st := j.led.State()
	if now.UIDValidity != st.TargetValidity {
		return true
	}
	if now.UIDNext == 0 {
		return int(now.Messages) != c.present
	}
	return now.UIDNext > st.Explained
}

// settleSource remembers the state of the source that this pass has dealt
// with, and writes the bases of flags that need no change on the target.
func (j *job) settleSource(ctx context.Context, status mailhaul.Status, flags []flagWork) error {
	for _, f := range flags {
		if err := j.led.Put(ctx, f.record); err != nil {
			return err
		}
	}
	st := j.led.State()
	st.SourceStatus = status
	j.led.SetState(st)
	return nil
}

// storeFlags carries flag changes over.
func (j *job) storeFlags(ctx context.Context, w mailhaul.Writer, work []flagWork) error {
	var changes []mailhaul.FlagChange
	for i := range work {
		work[i].change.Add = keepable(work[i].change.Add, w.Status())
		work[i].change.Remove = keepable(work[i].change.Remove, w.Status())
		if work[i].needed() {
			changes = append(changes, work[i].change)
		}
	}
	if len(changes) > 0 {
		if err := w.Store(ctx, changes); err != nil {
			return err
		}
		j.res.FlagsUpdated += len(changes)
	}
	for _, f := range work {
		if err := j.led.Put(ctx, f.record); err != nil {
			return err
		}
	}
	return nil
}

// pipeline moves the messages of todo. It returns those that the source lists
// but did not deliver.
func (j *job) pipeline(ctx context.Context, w mailhaul.Writer, s mailhaul.Reader, todo mailhaul.UIDSet) (missing mailhaul.UIDSet, err error) {
	g, ctx := errgroup.WithContext(ctx)
	parcels := make(chan *parcel, 2)
	limits := batchLimits{messages: j.limit, bytes: j.r.cfg.BatchBytes, stream: j.r.cfg.StreamAbove, alone: slices.Clone(j.alone)}
	var gone mailhaul.UIDSet
	g.Go(func() error {
		defer close(parcels)
		var err error
		gone, err = j.fetch(ctx, s, todo, limits, parcels)
		return err
	})
	g.Go(func() error {
		a := appender{j: j, w: w, watermark: max(w.Status().UIDNext, j.led.State().Explained)}
		err := a.run(ctx, parcels)
		missing = a.missing
		return err
	})
	err = g.Wait()
	for p := range parcels {
		p.abandon()
	}
	j.vanish(gone)
	if err == nil && j.r.draining() {
		err = ErrDrained
	}
	return missing, err
}

// fetch asks for the messages of todo in batches, as far ahead as the budget
// and the channel allow. It runs beside the appender and touches nothing that
// the appender does. It returns the messages that are gone.
func (j *job) fetch(ctx context.Context, s mailhaul.Reader, todo mailhaul.UIDSet, limits batchLimits, out chan<- *parcel) (gone mailhaul.UIDSet, err error) {
	budget := j.r.cfg.Budget
	for chunk := range todo.Chunks(listAtOnce) {
		msgs, err := describe(ctx, s, chunk)
		if err != nil {
			return gone, err
		}
		var bytes int64
		var there mailhaul.UIDSet
		for _, m := range msgs {
			there.Add(m.UID)
			bytes += max(0, m.Size)
		}
		gone = gone.Union(chunk.Minus(there))
		j.r.meter.expect(0, bytes)
		j.total.Add(bytes)
		for b := range batches(msgs, limits) {
			if j.r.draining() {
				return gone, nil
			}
			p := &parcel{batch: b, budget: budget}
			if b.stream {
				p.done = make(chan struct{})
				p.ask = func(ctx context.Context) (seq, error) { return s.Fetch(ctx, b.set(), true) }
			} else {
				if p.taken, err = budget.take(ctx, b.bytes); err != nil {
					return gone, err
				}
				if p.bodies, err = s.Fetch(ctx, b.set(), false); err != nil {
					p.abandon()
					return gone, err
				}
			}
			select {
			case out <- p:
			case <-ctx.Done():
				p.abandon()
				return gone, ctx.Err()
			}
			if b.stream { // nothing may be asked for before the appender has asked for it
				select {
				case <-p.done:
				case <-ctx.Done():
					return gone, ctx.Err()
				}
			}
		}
	}
	return gone, nil
}

// describe lists a few messages, in ascending order.
func describe(ctx context.Context, s mailhaul.Reader, set mailhaul.UIDSet) ([]mailhaul.Message, error) {
	msgs := make([]mailhaul.Message, 0, set.Len())
	for m, err := range s.Messages(ctx, set, mailhaul.FieldFlags|mailhaul.FieldSize|mailhaul.FieldDate, 0) {
		if err != nil {
			return nil, err
		}
		if set.Contains(m.UID) {
			msgs = append(msgs, m)
		}
	}
	slices.SortStableFunc(msgs, func(a, b mailhaul.Message) int { return cmp.Compare(a.UID, b.UID) })
	return slices.CompactFunc(msgs, func(a, b mailhaul.Message) bool { return a.UID == b.UID }), nil
}

// vanish counts messages that are gone from the source. It is no error: its
// user may delete mail at any time.
func (j *job) vanish(gone mailhaul.UIDSet) {
	j.vanished = j.vanished.Union(gone)
}

// askAfter looks after messages whose body did not come: those that are gone
// have vanished; the others are tried again by themselves, and given up in the
// end.
func (j *job) askAfter(ctx context.Context, s mailhaul.Reader, missing mailhaul.UIDSet) (again bool, err error) {
	there, err := describe(ctx, s, missing)
	if err != nil {
		return false, err
	}
	for _, m := range there {
		missing = missing.Minus(mailhaul.UIDSetOf(m.UID))
		j.alone.Add(m.UID)
		j.strikes[m.UID]++
	}
	j.vanish(missing)
	return len(there) > 0, nil
}

// copied counts messages that were moved by this run.
func (j *job) copied(n int, bytes int64) {
	j.res.Copied += n
	j.res.Bytes += bytes
	j.progress(n, bytes)
}

// progress tells how far the mailbox is.
func (j *job) progress(n int, bytes int64) {
	j.done += n
	j.bytes += bytes
	p := Progress{
		Account: j.r.cfg.Source.Account().String(), Mailbox: j.source.Name,
		Messages: j.done, TotalMessages: j.listing.Len() - j.skipped.Len(),
		Bytes: j.bytes, TotalBytes: max(j.bytes, j.total.Load()),
	}
	j.r.meter.moved(n, bytes, time.Since(j.r.start), &p)
	j.r.emit.progress(p)
}
