// What becomes of the copy of a message that the source's user has deleted:
// decided here, without I/O, and carried out on the target.

package sync

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// Deletes says what becomes of the copy on the target when its message is gone
// from the source.
//
// Whatever it says, only copies are touched that this checkpoint knows to be
// appended by us, in the mailbox that they were appended to, with the flags
// that the source had at the last pass: a message that was on the target before
// may be its user's own, and one whose flags differ is in use there. Those stay,
// for ever.
type Deletes string

const (
	// DeletesKeep leaves the copy as it is. It is the default.
	DeletesKeep Deletes = "keep"
	// DeletesFlag sets \Deleted, which mail clients show or hide.
	DeletesFlag Deletes = "flag"
	// DeletesRemove removes the copy, with UID EXPUNGE (RFC 4315) of its UID and
	// nothing else. A server that cannot do that has it flagged, and a warning
	// says so.
	DeletesRemove Deletes = "remove"
)

// fate is what is done about the copy of a message that is gone from the
// source.
type fate uint8

const (
	fateKeep    fate = iota // nothing, for now
	fateRelease             // nothing, ever: it is the target's user's own
	fateFlag
	fateRemove
)

// fateOf decides about one copy that is on the target with the flags now, in a
// mailbox that can store what storable says.
func fateOf(policy Deletes, rec checkpoint.Record, now []mailhaul.Flag, storable mailhaul.Status) fate {
	switch {
	case policy != DeletesFlag && policy != DeletesRemove:
		return fateKeep
	case rec.Adopted || touched(rec.Base, now, storable):
		return fateRelease
	case policy == DeletesFlag:
		return fateFlag
	}
	return fateRemove
}

// touched reports whether somebody has changed flags on the target: it has one
// that the source had not at the last pass, or lacks one that it can store.
func touched(base, now []mailhaul.Flag, storable mailhaul.Status) bool {
	for _, f := range now {
		if !mailhaul.HasFlag(base, f) {
			return true
		}
	}
	for _, f := range keepable(base, storable) {
		if !mailhaul.HasFlag(now, f) {
			return true
		}
	}
	return false
}

// orphan is a copy on the target whose message is gone from the source.
type orphan struct {
	record checkpoint.Record
	flags  []mailhaul.Flag // that the target has
}

// maxOrphans is how many copies one pass deals with: they are held in memory.
const maxOrphans = 10_000

// departures looks for copies whose messages are gone from the source: records
// that are placed, whose source is in gone and whose target is present. It
// counts all, and returns the first of them.
func (j *job) departures(ctx context.Context, gone, present mailhaul.UIDSet) (first []checkpoint.Record, all int, err error) {
	if len(gone) == 0 {
		return nil, 0, nil
	}
	for rec, err := range j.led.Records(ctx, gone[0].First) {
		if err != nil {
			return nil, 0, err
		}
		if !rec.Placed() || !gone.Contains(rec.Source) || !present.Contains(rec.Target) {
			continue
		}
		if all++; len(first) < maxOrphans {
			first = append(first, rec)
		}
	}
	return first, all, nil
}

// release records that copies are the target's user's own from now on.
func (j *job) release(ctx context.Context, records []checkpoint.Record) error {
	for i := range records {
		records[i].State = checkpoint.Removed
	}
	return j.led.Put(ctx, records...)
}

// stillRecorded returns those records that are as they were.
func (j *job) stillRecorded(ctx context.Context, records []checkpoint.Record) ([]checkpoint.Record, error) {
	still := records[:0]
	for _, rec := range records {
		now, known, err := j.led.Get(ctx, rec.Source)
		if err != nil {
			return nil, err
		}
		if known && now.Placed() && now.Target == rec.Target {
			still = append(still, rec)
		}
	}
	return still, nil
}

// orphans finds out what flags copies have on the target. Those that are not
// ours to delete are released at once.
func (j *job) orphans(ctx context.Context, t mailhaul.Reader, gone []checkpoint.Record) ([]orphan, error) {
	var adopted []checkpoint.Record
	ours := make(map[mailhaul.UID]checkpoint.Record)
	var uids []mailhaul.UID
	for _, rec := range gone {
		if rec.Adopted {
			adopted = append(adopted, rec)
			continue
		}
		ours[rec.Target] = rec
		uids = append(uids, rec.Target)
	}
	if err := j.release(ctx, adopted); err != nil || len(uids) == 0 {
		return nil, err
	}
	out := make([]orphan, 0, len(uids))
	for m, err := range t.Messages(ctx, mailhaul.UIDSetOf(uids...), mailhaul.FieldFlags, 0) {
		if err != nil {
			return nil, err
		}
		rec, ok := ours[m.UID]
		if !ok {
			continue
		}
		delete(ours, m.UID) // some servers answer twice
		now, _ := mailhaul.NormalizeFlags(m.Flags)
		out = append(out, orphan{rec, now})
	}
	return out, nil
}

// deleteCopies carries Config.Deletes out. A copy that its user changes at this
// very moment is left to the next pass.
//
// \Deleted is set before the copy is removed, by the same rule: a server that
// dies in between leaves it flagged, and it stays so, since it looks as if its
// user had done that.
func (j *job) deleteCopies(ctx context.Context, w mailhaul.Writer, found []orphan, asOf mailhaul.ModSeq) error {
	policy := j.r.cfg.Deletes
	var released, flagged []checkpoint.Record
	var changes []mailhaul.FlagChange
	for _, o := range found {
		switch fateOf(policy, o.record, o.flags, w.Status()) {
		case fateRelease:
			released = append(released, o.record)
		case fateFlag, fateRemove:
			flagged = append(flagged, o.record)
			changes = append(changes, mailhaul.FlagChange{UID: o.record.Target, Add: []mailhaul.Flag{mailhaul.FlagDeleted}})
		}
	}
	if err := j.release(ctx, released); err != nil || len(flagged) == 0 {
		return err
	}
	if !mailhaul.HasFlag(w.Status().Flags, mailhaul.FlagDeleted) {
		j.r.tally.warn(fmt.Sprintf("mailbox %q: %d copies of messages that are gone from the source stay, since the target does not let \\Deleted be set there", j.source.Name, len(flagged)))
		return nil
	}
	modified, err := storeFlags(ctx, w, changes, asOf)
	if err != nil {
		return err
	}
	var set, sources mailhaul.UIDSet
	kept := flagged[:0]
	for _, rec := range flagged { // ascending by source, so the targets mostly are too
		if modified.Contains(rec.Target) {
			j.setDeparted(true)
			continue
		}
		kept = append(kept, rec)
		set.Add(rec.Target)
		sources.Add(rec.Source)
	}
	if len(set) == 0 {
		return nil
	}
	if policy == DeletesRemove {
		err := errUnsupported
		if e, ok := mailhaul.As[mailhaul.Expunger](w); ok {
			err = e.UIDExpunge(ctx, set)
		}
		switch {
		case err == nil:
			j.res.Deleted += len(kept)
			j.mu.Lock()
			j.there = max(0, j.there-len(kept)) // they are not missed at the end
			j.mu.Unlock()
			if late := sources.Intersect(j.listing); len(late) > 0 { // it went after this run first looked
				j.vanish(late)
				j.skipped = j.skipped.Minus(late)
			}
			return j.led.Forget(ctx, sources)
		case !errors.Is(err, mailhaul.ErrUnsupported):
			return err
		}
		j.r.tally.warn("the target cannot remove single messages (no UIDPLUS); copies of messages that are gone from the source were only flagged as deleted")
	}
	j.res.Deleted += len(kept)
	return j.release(ctx, kept)
}

var errUnsupported = fmt.Errorf("expunge by UID: %w", mailhaul.ErrUnsupported)

// setDeparted notes whether copies are left whose messages are gone from the
// source and of which nothing was made.
func (j *job) setDeparted(departed bool) {
	st := j.led.State()
	st.Departed = departed
	j.led.SetState(st)
}

// storeFlags changes flags of messages that have not changed after asOf, where
// the Writer can tell, and returns the UIDs of the others.
func storeFlags(ctx context.Context, w mailhaul.Writer, changes []mailhaul.FlagChange, asOf mailhaul.ModSeq) (modified mailhaul.UIDSet, err error) {
	if c, ok := mailhaul.As[mailhaul.ConditionalStorer](w); ok {
		return c.StoreUnchanged(ctx, changes, asOf)
	}
	return nil, w.Store(ctx, changes)
}
