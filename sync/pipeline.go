// The pipeline of one mailbox: fetch, collect, append.

package sync

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
)

// listAtOnce is how many messages are described before their bodies are asked
// for.
const listAtOnce = 5000

// fetchAhead is how many batches may be asked for and not be waited for yet. It
// is the budget that bounds what they hold; this bounds how much of it one
// mailbox takes.
const fetchAhead = 16

// pipeline moves the messages of todo, some of which may be known already. It
// returns those that the source lists but did not deliver.
//
// Three stages, joined by small channels, each run by goroutines that end with
// it: one asks for batches, one waits for their bodies, in the order in which
// they were asked for, and one appends them; or several append, on connections
// of their own, where the order is not asked for.
func (j *job) pipeline(ctx context.Context, a *appender, s mailhaul.Reader, todo mailhaul.UIDSet, known described) (missing mailhaul.UIDSet, err error) {
	g, ctx := errgroup.WithContext(ctx)
	parcels := make(chan *parcel, fetchAhead)
	loads := make(chan *load, 1)
	limits := batchLimits{messages: j.limit, bytes: j.r.cfg.BatchBytes, stream: j.r.cfg.StreamAbove, alone: slices.Clone(j.alone)}
	var gone mailhaul.UIDSet
	g.Go(func() error {
		defer close(parcels)
		var err error
		gone, err = j.fetch(ctx, s, todo, known, limits, a.late, parcels)
		return err
	})
	g.Go(func() error {
		defer close(loads)
		return collect(ctx, parcels, loads)
	})
	j.missing = nil
	opening, opened := context.WithCancel(ctx)
	g.Go(func() error {
		defer opened()
		return a.run(ctx, loads)
	})
	for range min(j.r.cfg.Appenders-1, todo.Len()/limits.messages) { // none where an identity is imposed
		g.Go(func() error { return j.appendBeside(ctx, opening, loads) })
	}
	err = g.Wait()
	for p := range parcels {
		p.abandon()
	}
	for l := range loads {
		l.drop()
	}
	j.vanish(gone)
	if err == nil && j.r.draining() && !a.late {
		err = ErrDrained
	}
	return j.missing, err
}

// appendBeside runs one more appender, on a connection of its own, if it gets
// one before opening is done, which is when everything has been appended. What
// it waits for is thus nothing that anyone else waits for.
func (j *job) appendBeside(ctx, opening context.Context, loads <-chan *load) error {
	w, err := j.r.cfg.Target.OpenWriter(opening, j.target)
	if opening.Err() != nil && err != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	defer w.Close()
	if w.Status().UIDValidity != j.led.State().TargetValidity {
		return nil // the next pass will see to it
	}
	if err := j.newAppender(w).run(ctx, loads); err != nil {
		return err
	}
	return w.Finish(ctx)
}

// fetch asks for the messages of todo in batches, as far ahead as the budget
// and the channel allow. It runs beside the appenders. It returns the messages
// that are gone. A run that is drained stops between two batches, unless all of
// them have to be there before their Writer finishes.
func (j *job) fetch(ctx context.Context, s mailhaul.Reader, todo mailhaul.UIDSet, known described, limits batchLimits, all bool, out chan<- *parcel) (gone mailhaul.UIDSet, err error) {
	budget := j.r.cfg.Budget
	for chunk := range todo.Chunks(listAtOnce) {
		msgs, ok := known.of(chunk)
		if !ok {
			var err error
			if msgs, err = describe(ctx, s, chunk); err != nil {
				return gone, err
			}
		}
		var bytes int64
		gone = gone.Union(j.normalize(chunk, msgs))
		for _, m := range msgs {
			bytes += max(0, m.Size)
		}
		j.r.meter.expect(0, bytes)
		j.total.Add(bytes)
		for b := range batches(msgs, limits) {
			if j.r.draining() && !all {
				return gone, nil
			}
			var err error
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

// normalize brings the flags of messages that were described into the form in
// which they are appended and recorded. It returns those of chunk that are
// gone.
func (j *job) normalize(chunk mailhaul.UIDSet, msgs []mailhaul.Message) (gone mailhaul.UIDSet) {
	var there mailhaul.UIDSet
	dropped := 0
	for i := range msgs {
		m := &msgs[i]
		there.Add(m.UID)
		var n int
		m.Flags, n = mailhaul.NormalizeFlags(m.Flags)
		dropped += n
	}
	j.mu.Lock()
	j.res.FlagsDropped += dropped
	j.mu.Unlock()
	return chunk.Minus(there)
}

// describedFields is what is to be known of a message before its body is asked
// for.
const describedFields = mailhaul.FieldFlags | mailhaul.FieldSize | mailhaul.FieldDate

// described are messages of which that is known.
type described []mailhaul.Message

func (d described) set() mailhaul.UIDSet {
	uids := make([]mailhaul.UID, len(d))
	for i, m := range d {
		uids[i] = m.UID
	}
	slices.Sort(uids)
	return mailhaul.UIDSetOf(uids...)
}

// of returns the messages of the set, in ascending order, if all are known.
func (d described) of(set mailhaul.UIDSet) ([]mailhaul.Message, bool) {
	if len(d) == 0 {
		return nil, false
	}
	msgs := make([]mailhaul.Message, 0, set.Len())
	for _, m := range d {
		if set.Contains(m.UID) {
			msgs = append(msgs, m)
		}
	}
	slices.SortFunc(msgs, func(a, b mailhaul.Message) int { return cmp.Compare(a.UID, b.UID) })
	return msgs, len(msgs) == set.Len()
}

// describe lists a few messages, in ascending order.
func describe(ctx context.Context, s mailhaul.Reader, set mailhaul.UIDSet) ([]mailhaul.Message, error) {
	msgs := make([]mailhaul.Message, 0, set.Len())
	for m, err := range s.Messages(ctx, set, describedFields, 0) {
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

// load is a batch whose bodies have come, or what came of it instead. A
// streamed message is not asked for yet.
type load struct {
	*parcel
	items   []item
	missing mailhaul.UIDSet
	err     error
}

// drop gives up what will not be appended.
func (l *load) drop() { release(l.items) }

// collect waits for the bodies of each parcel, in order. A connection that
// broke is the appender's to report, after what came before it.
func collect(ctx context.Context, parcels <-chan *parcel, loads chan<- *load) error {
	for p := range parcels {
		l := &load{parcel: p}
		if !p.stream {
			l.items, l.missing, l.err = p.collect()
		}
		select {
		case loads <- l:
		case <-ctx.Done():
			l.drop()
			return ctx.Err()
		}
	}
	return nil
}
