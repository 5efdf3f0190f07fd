// An appender of a mailbox: journal, append, receipt, settle.

package sync

import (
	"context"
	"errors"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// unanswered is how many batches of one appender may wait for their answers, so
// that a distant server is kept busy. A Writer that cannot keep the order of
// batches behind each other waits for each answer itself.
const unanswered = 16

// appender writes the batches that it gets, in order. While the answers to
// some are awaited, the next is journalled and handed on. It is the Writer that
// keeps the order: a message that is refused and sent again does not fall
// behind its successors. So with one appender, UIDs on the target rise in the
// order of the source.
type appender struct {
	j         *job
	w         mailhaul.Writer
	watermark mailhaul.UID // all that is appended from now on has a UID at or above it
	inFlight  []*inFlight  // handed to the Writer, oldest first
	failures  []Failure    // to be reported

	imposing bool            // each message is to have the UID, and the UIDL, that it has on the source
	named    mailhaul.UIDSet // all UIDs that the Writer of an Imposer has named, and that were believed
	late     bool            // the Writer answers in Finish only
}

func (j *job) newAppender(w mailhaul.Writer) *appender {
	watermark := w.Status().UIDNext
	if watermark == 0 { // the server does not say (Courier)
		watermark = j.led.State().Explained
	}
	return &appender{j: j, w: w, watermark: watermark}
}

// newImposer is newAppender for the Writer of an Imposer. Its watermark stays:
// a message whose UID was taken may be stored behind those that follow it.
func (j *job) newImposer(w mailhaul.Writer, late bool) *appender {
	a := j.newAppender(w)
	a.imposing, a.late = true, late
	return a
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

func (a *appender) run(ctx context.Context, loads <-chan *load) error {
	for l := range loads {
		var err error
		if l.stream {
			err = a.streamed(ctx, l.parcel)
		} else {
			err = a.buffered(ctx, l)
		}
		if err != nil && a.late {
			return err
		}
		if err != nil {
			return graver(err, a.settle(ctx, 0))
		}
	}
	if a.late {
		return nil // the answers come with Finish
	}
	return a.settle(ctx, 0)
}

// abandon notes that nothing is known of what was handed to a Writer that will
// not finish.
func (a *appender) abandon(ctx context.Context) {
	for _, f := range a.inFlight {
		// Whatever is wrong is being reported already.
		_, _, _ = a.outcome(context.WithoutCancel(ctx), f, make([]mailhaul.Outcome, len(f.msgs)), nil)
	}
	a.inFlight = nil
}

// buffered appends a batch whose bodies are held in memory.
func (a *appender) buffered(ctx context.Context, l *load) error {
	a.note(l.missing, l.err)
	if l.err != nil && !messageOnly(l.err) {
		l.drop()
		a.j.suspect(l.set())
		return l.err
	}
	if len(l.items) == 0 {
		return nil
	}
	next := &inFlight{risky: make(map[mailhaul.UID]fingerprint)}
	for _, it := range l.items {
		f, risky, err := a.j.r.eight.inspect(it.body)
		if err != nil {
			l.drop()
			return err
		}
		if risky {
			next.risky[it.msg.UID] = f
		}
		next.msgs = append(next.msgs, it.msg)
		next.sizes = append(next.sizes, it.body.Size())
	}
	if err := a.journal(ctx, next); err != nil {
		l.drop()
		return err
	}
	return a.send(ctx, next, l.items)
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
		a.j.suspect(p.set())
	}
	return err
}

// note keeps what did not come, and why.
func (a *appender) note(missing mailhaul.UIDSet, err error) {
	j := a.j
	j.mu.Lock()
	defer j.mu.Unlock()
	j.missing = j.missing.Union(missing)
	if err == nil || !messageOnly(err) {
		return
	}
	for uid := range missing.All() {
		j.lastErr[uid] = err
	}
}

// journal makes the intent to append a batch durable, together with all
// outcomes that are known by now: one commit a batch, before its first octet.
func (a *appender) journal(ctx context.Context, next *inFlight) error {
	a.j.unprove()
	next.intent = a.j.led.Begin(checkpoint.Intent{
		Validity: a.w.Status().UIDValidity, Watermark: a.watermark, Sources: next.set(), At: time.Now(),
	})
	return a.j.led.Commit(ctx)
}

// send hands a batch to the Writer, as soon as few enough are unanswered.
func (a *appender) send(ctx context.Context, next *inFlight, items []item) error {
	if !a.late {
		if err := a.settle(ctx, unanswered-1); err != nil {
			release(items)
			a.j.led.End(next.intent) // nothing of it was sent
			return err
		}
	}
	out := make([]mailhaul.Outgoing, len(items))
	for i, it := range items {
		out[i] = mailhaul.Outgoing{Flags: it.msg.Flags, InternalDate: it.msg.InternalDate, Body: it.body}
		if a.imposing {
			out[i].UID, out[i].UIDL, out[i].Order = it.msg.UID, it.msg.UIDL, it.msg.Order
		}
	}
	var err error
	next.receipt, err = a.w.Append(ctx, out)
	a.inFlight = append(a.inFlight, next)
	switch {
	case err != nil && a.late:
		a.j.suspect(next.set())
	case err != nil:
		a.j.suspect(a.inFlight[0].set())
	}
	return err
}

// settle waits for answers, oldest first, until no more than keep batches are
// unanswered, and stages what follows from them. The error is what makes going
// on with this Writer, or at all, impossible; all answers are in then.
func (a *appender) settle(ctx context.Context, keep int) error {
	var failure error
	for len(a.inFlight) > keep {
		f := a.inFlight[0]
		a.inFlight = a.inFlight[1:]
		if err := a.answer(ctx, f); err != nil {
			failure = graver(failure, err)
			keep = 0
		}
	}
	return failure
}

// answer waits for the answer to one batch.
func (a *appender) answer(ctx context.Context, f *inFlight) error {
	outcomes, failure := f.receipt.Wait(ctx)
	if f.watched != nil {
		if fp, risky := f.watched.fingerprint(); risky {
			f.risky = map[mailhaul.UID]fingerprint{f.msgs[0].UID: fp}
		}
	}
	// An answer that has come is noted even if everything else is being stopped.
	stored, bytes, failure := a.outcome(context.WithoutCancel(ctx), f, outcomes, failure)
	for _, f := range a.failures {
		a.j.r.report(f)
	}
	a.failures = nil
	if stored > 0 {
		a.j.copied(stored, bytes)
	}
	return failure
}

// outcome stages what the answer to a batch says, and returns how much was
// stored under known UIDs.
func (a *appender) outcome(ctx context.Context, f *inFlight, outcomes []mailhaul.Outcome, failure error) (stored int, bytes int64, err error) {
	j := a.j
	j.mu.Lock()
	defer j.mu.Unlock()
	var open bool // something is in doubt, or stored in an unknown place
	allStored := true
	believed := a.plausible(f.msgs, outcomes)
	records := make([]checkpoint.Record, 0, len(outcomes))
	for i, o := range outcomes {
		m := f.msgs[i]
		j.res.FlagsDropped += o.Dropped
		if fp, risky := f.risky[m.UID]; risky && o.Delivery != mailhaul.NotStored {
			j.checks[m.UID] = fp
		}
		switch o.Delivery {
		case mailhaul.Stored:
			if o.UID == 0 || !believed {
				open = true
				j.lostAt = time.Now() // it may be shown late
				j.sent[m.UID] = sentMessage{f.sizes[i], m.Flags, true}
				continue
			}
			rec := checkpoint.Record{Source: m.UID, Target: o.UID, Base: m.Flags}
			if _, risky := f.risky[m.UID]; risky {
				rec.State = checkpoint.Unread
			}
			records = append(records, rec)
			bytes += f.sizes[i]
		case mailhaul.NotStored:
			allStored = false
			failure = graver(failure, a.refused(m.UID, o.Err))
		default:
			allStored = false
			open = true
			j.sent[m.UID] = sentMessage{f.sizes[i], m.Flags, false}
			j.lostAt = time.Now()
			if failure = graver(failure, o.Err); failure == nil {
				failure = j.errorf("append to", mailhaul.Transient, errors.New("the server did not say what became of a message"))
			}
		}
	}
	if err := j.led.Put(ctx, records...); err != nil {
		return 0, 0, graver(err, failure)
	}
	for _, rec := range records { // only what is recorded is explained
		j.wrote.Add(rec.Source)
		j.top, j.there = max(j.top, rec.Target), j.there+1
		a.advance(rec.Target)
	}
	stored = len(records)
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
	return stored, bytes, failure
}

// plausible reports whether the UIDs that the server named can be those of the
// batch: they rise, from the watermark on (RFC 9051 section 2.3.1.1). Those of
// a server that lies, or names the copy that it had already, are not believed:
// the batch is then looked for by content.
//
// Where UIDs are imposed, each message has its own, or any at or above the
// watermark if that was taken; no two have the same.
func (a *appender) plausible(msgs []mailhaul.Message, outcomes []mailhaul.Outcome) bool {
	if a.imposing {
		var named mailhaul.UIDSet
		for i, o := range outcomes {
			if o.Delivery != mailhaul.Stored || o.UID == 0 {
				continue
			}
			if named.Contains(o.UID) || a.named.Contains(o.UID) || o.UID < a.watermark && o.UID != msgs[i].UID {
				return false
			}
			named.Add(o.UID)
		}
		for uid := range named.All() {
			a.named.Add(uid)
		}
		return true
	}
	least := a.watermark
	for _, o := range outcomes {
		if o.Delivery != mailhaul.Stored || o.UID == 0 {
			continue
		}
		if o.UID < least {
			return false
		}
		least = o.UID + 1
	}
	return true
}

// refused decides about a message that was not stored; job.mu is held. What concerns the
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
	if f, first := a.j.mark(uid, &at); first {
		a.failures = append(a.failures, f)
	}
	return nil
}

// advance moves the watermark behind a message that was stored, and with it
// what is explained of the target, unless something came in between that is
// not ours.
func (a *appender) advance(uid mailhaul.UID) {
	if uid >= a.watermark && !a.imposing {
		a.watermark = uid + 1
	}
	st := a.j.led.State()
	if uid == st.Explained {
		st.Explained = uid + 1
		a.j.led.SetState(st)
	}
}
