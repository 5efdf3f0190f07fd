// The one ordered appender of a mailbox: journal, append, receipt, settle.

package sync

import (
	"context"
	"errors"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// appender writes the parcels of one mailbox, in order. While the answer to
// one batch is awaited, the next is collected and journalled; it is sent only
// when the answer is there, so that a message that is refused and sent again
// does not fall behind its successors.
type appender struct {
	j         *job
	w         mailhaul.Writer
	watermark mailhaul.UID // all that is appended from now on has a UID at or above it
	missing   mailhaul.UIDSet
	last      *inFlight
}

// inFlight is a batch that was handed to the Writer.
type inFlight struct {
	intent  uint64
	msgs    []mailhaul.Message
	sizes   []int64
	risky   map[mailhaul.UID]fingerprint
	watched *watchedBody // of a streamed message
	receipt mailhaul.Receipt
}

func (f *inFlight) set() mailhaul.UIDSet {
	var s mailhaul.UIDSet
	for _, m := range f.msgs {
		s.Add(m.UID)
	}
	return s
}

func (a *appender) run(ctx context.Context, parcels <-chan *parcel) error {
	for p := range parcels {
		var err error
		if p.stream {
			err = a.streamed(ctx, p)
		} else {
			err = a.buffered(ctx, p)
		}
		if err != nil {
			return graver(err, a.settle(ctx))
		}
	}
	return a.settle(ctx)
}

// buffered appends a batch whose bodies are held in memory.
func (a *appender) buffered(ctx context.Context, p *parcel) error {
	items, missing, err := p.collect()
	a.note(missing, err)
	if err != nil && !messageOnly(err) {
		release(items)
		a.j.suspects = p.set()
		return err
	}
	if len(items) == 0 {
		return nil
	}
	next := &inFlight{risky: make(map[mailhaul.UID]fingerprint)}
	for _, it := range items {
		f, risky, err := inspect(it.body)
		if err != nil {
			release(items)
			return err
		}
		if risky {
			next.risky[it.msg.UID] = f
		}
		next.msgs = append(next.msgs, it.msg)
		next.sizes = append(next.sizes, it.body.Size())
	}
	if err := a.journal(ctx, next); err != nil {
		release(items)
		return err
	}
	return a.send(ctx, next, items)
}

// streamed appends one large message while it arrives.
func (a *appender) streamed(ctx context.Context, p *parcel) error {
	came, err := p.deliver(ctx, func(it item) error {
		w := watch(it.body)
		next := &inFlight{msgs: []mailhaul.Message{it.msg}, sizes: []int64{it.body.Size()}, watched: w}
		if err := a.journal(ctx, next); err != nil {
			it.body.Release()
			return err
		}
		return a.send(ctx, next, []item{{it.msg, w}})
	})
	if !came {
		a.note(p.set(), err)
		if err == nil || messageOnly(err) {
			return nil
		}
		a.j.suspects = p.set()
	}
	return err
}

// note keeps what did not come, and why.
func (a *appender) note(missing mailhaul.UIDSet, err error) {
	a.missing = a.missing.Union(missing)
	if err == nil || !messageOnly(err) {
		return
	}
	for uid := range missing.All() {
		a.j.lastErr[uid] = err
	}
}

// journal makes the intent to append a batch durable, together with all
// outcomes that are known by now: one commit a batch, before its first octet.
func (a *appender) journal(ctx context.Context, next *inFlight) error {
	next.intent = a.j.led.Begin(checkpoint.Intent{
		Validity: a.w.Status().UIDValidity, Watermark: a.watermark, Sources: next.set(), At: time.Now(),
	})
	return a.j.led.Commit(ctx)
}

// send waits for the batch before and hands this one to the Writer.
func (a *appender) send(ctx context.Context, next *inFlight, items []item) error {
	if err := a.settle(ctx); err != nil {
		release(items)
		a.j.led.End(next.intent) // nothing of it was sent
		return err
	}
	out := make([]mailhaul.Outgoing, len(items))
	for i, it := range items {
		flags, dropped := mailhaul.NormalizeFlags(it.msg.Flags)
		a.j.res.FlagsDropped += dropped
		out[i] = mailhaul.Outgoing{Flags: flags, InternalDate: it.msg.InternalDate, Body: it.body}
	}
	var err error
	next.receipt, err = a.w.Append(ctx, out)
	a.last = next
	if err != nil {
		a.j.suspects = next.set()
	}
	return err
}

// settle waits for the answer to the batch in flight, if there is one, and
// stages what follows from it. The error is what makes going on with this
// Writer, or at all, impossible.
func (a *appender) settle(ctx context.Context) error {
	f := a.last
	if f == nil {
		return nil
	}
	a.last = nil
	j := a.j
	outcomes, failure := f.receipt.Wait(ctx)
	if f.watched != nil {
		if fp, risky := f.watched.fingerprint(); risky {
			f.risky = map[mailhaul.UID]fingerprint{f.msgs[0].UID: fp}
		}
	}
	var open bool // something is in doubt, or stored in an unknown place
	allStored := true
	var bytes int64
	stored := 0
	for i, o := range outcomes {
		m := f.msgs[i]
		j.res.FlagsDropped += o.Dropped
		switch o.Delivery {
		case mailhaul.Stored:
			if fp, risky := f.risky[m.UID]; risky {
				j.checks[m.UID] = fp
			}
			if o.UID == 0 {
				open = true
				j.sent[m.UID] = f.sizes[i]
				continue
			}
			rec := checkpoint.Record{Source: m.UID, Target: o.UID}
			rec.Base, _ = mailhaul.NormalizeFlags(m.Flags)
			if _, risky := f.risky[m.UID]; risky {
				rec.State = checkpoint.Unread
			}
			if err := j.led.Put(ctx, rec); err != nil {
				return graver(err, failure)
			}
			stored++
			bytes += f.sizes[i]
			a.advance(o.UID)
		case mailhaul.NotStored:
			allStored = false
			failure = graver(failure, a.refused(m.UID, o.Err))
		default:
			allStored = false
			open = true
			j.sent[m.UID] = f.sizes[i]
			if fp, risky := f.risky[m.UID]; risky {
				j.checks[m.UID] = fp
			}
			j.lostAt = time.Now()
			if failure = graver(failure, o.Err); failure == nil {
				failure = j.errorf("append to", mailhaul.Transient, errors.New("the server did not say what became of a message"))
			}
		}
	}
	switch {
	case !open:
		j.led.End(f.intent)
	case allStored:
		j.led.MarkStored(f.intent)
	}
	if failure != nil && len(j.suspects) == 0 {
		j.suspects = f.set()
	} else if failure == nil {
		j.suspects = nil
		j.limit = min(j.r.cfg.BatchMessages, j.limit*2)
	}
	if stored > 0 {
		j.copied(stored, bytes)
	}
	return failure
}

// refused decides about a message that was not stored. What concerns the
// message alone is listed; anything else ends this Writer.
func (a *appender) refused(uid mailhaul.UID, err error) error {
	e, ok := errors.AsType[*mailhaul.Error](err)
	if !ok {
		if err == nil {
			err = errors.New("the message was not stored")
		}
		return a.j.errorf("append to", mailhaul.Transient, err)
	}
	if e.Scope != mailhaul.ScopeMessage {
		return err
	}
	switch e.Kind {
	case mailhaul.Transient, mailhaul.Throttled:
		a.j.alone.Add(uid)
		a.j.strikes[uid]++
		a.j.lastErr[uid] = err
		return err
	}
	at := *e
	at.UID = uid
	if at.Mailbox == "" {
		at.Mailbox = a.j.target.Name
	}
	a.j.fail(uid, &at)
	return nil
}

// advance moves the watermark behind a message that was stored, and with it
// what is explained of the target, unless something came in between that is
// not ours.
func (a *appender) advance(uid mailhaul.UID) {
	if uid >= a.watermark {
		a.watermark = uid + 1
	}
	st := a.j.led.State()
	if uid == st.Explained {
		st.Explained = uid + 1
		a.j.led.SetState(st)
	}
}
