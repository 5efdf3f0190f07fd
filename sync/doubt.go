// Doubting what the target said: UIDs of messages that it does not hold, or
// that belong to others.

package sync

import (
	"context"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// told is what is recorded on the word of the target's server alone: messages
// that it stored, and named UIDs for, since both sides were last compared.
type told struct {
	led       *checkpoint.MailboxLedger
	given     mailhaul.UIDSet // by the source's UIDs, all of them
	confirmed mailhaul.UIDSet // those of which the target holds a copy
	taken     mailhaul.UIDSet // UIDs on the target that turned out to be copies
}

// doubt compares what was told with what is there. Where each explains the
// other there is nothing to doubt, which is the rule: then it returns nil. What
// this run has recognised by content is beyond doubt.
func (j *job) doubt(ctx context.Context, mapped, present mailhaul.UIDSet, explained mailhaul.UID) (*told, error) {
	since := mailhaul.UIDSet{{First: max(explained, 1), Last: ^mailhaul.UID(0)}}.Minus(j.recognised)
	claims := mapped.Intersect(since)
	there := present.Intersect(since)
	if len(claims) == 0 || len(claims.Minus(there)) == 0 && len(there.Minus(claims)) == 0 {
		return nil, nil
	}
	t := &told{led: j.led}
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return nil, err
		}
		if rec.Placed() && claims.Contains(rec.Target) {
			t.given.Add(rec.Source)
		}
	}
	return t, nil
}

// confirm takes note of a copy of a message that was told of, and returns the
// record to be written; changed is false where the server had told the truth.
func (t *told) confirm(ctx context.Context, source, target mailhaul.UID, altered bool) (rec checkpoint.Record, known, changed bool, err error) {
	if t == nil || !t.given.Contains(source) {
		return rec, false, false, nil
	}
	rec, known, err = t.led.Get(ctx, source)
	if err != nil || !known {
		return rec, false, false, err
	}
	t.confirmed.Add(source)
	changed = rec.Target != target || altered && !rec.Altered
	if rec.Target != target {
		rec.Adopted = true // it looks like ours, and may be a twin that its user put there
	}
	rec.Target, rec.Altered = target, rec.Altered || altered
	return rec, true, changed, nil
}

// take takes note of UIDs on the target that turned out to be copies.
func (t *told) take(targets mailhaul.UIDSet) {
	if t != nil {
		t.taken = t.taken.Union(targets)
	}
}

// withdraw decides about the messages that were told of and that nothing on
// the target looks like. One whose UID is there and no other's copy was changed
// beyond recognition; one whose UID was there once was removed by the target's
// user: both stay as they are. Any other was accepted and is not there. It is
// never sent again, as with servers that name no UIDs: what such a server took
// for a duplicate it would only take for one once more.
func (j *job) withdraw(ctx context.Context, t *told, listing, present mailhaul.UIDSet, next mailhaul.UID) (mailhaul.UIDSet, error) {
	if next == 0 && len(present) > 0 {
		next = present[len(present)-1].Last + 1
	}
	var wrong mailhaul.UIDSet
	for source := range t.given.Minus(t.confirmed).All() {
		rec, ok, err := j.led.Get(ctx, source)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		there := present.Contains(rec.Target)
		if there && t.taken.Contains(rec.Target) || !there && rec.Target >= next {
			wrong.Add(source)
		}
	}
	none := wrong.Intersect(listing)
	if err := j.led.Forget(ctx, wrong); err != nil || len(none) == 0 {
		return nil, err
	}
	st := j.led.State()
	j.led.MarkStored(j.led.Begin(checkpoint.Intent{
		Validity: st.TargetValidity, Watermark: st.Explained, Sources: none, At: time.Now(),
	}))
	known := none.Intersect(j.skipped)
	j.skipped = j.skipped.Minus(known)
	j.res.Copied -= none.Len() - known.Len()
	return none, nil
}

// contradicted reports whether the target's listing cannot be true if what its
// server said is: it named UIDs that it has not reached, or holds fewer
// messages than it stored.
func (j *job) contradicted(now mailhaul.Status) bool {
	return now.UIDValidity == j.led.State().TargetValidity &&
		(now.UIDNext != 0 && now.UIDNext <= j.top || int(now.Messages) < j.there)
}

// reopen makes a job that was complete run once more. Its target may be one
// that shows late what it holds.
func (j *job) reopen() {
	j.complete = false
	j.lostAt = time.Now()
	st := j.led.State()
	st.Complete = false
	j.led.SetState(st)
	j.top, j.there = 0, 0
}

// sources returns the messages that were told of and are still on the source.
func (t *told) sources(listing mailhaul.UIDSet) mailhaul.UIDSet {
	if t == nil {
		return nil
	}
	return t.given.Intersect(listing)
}
