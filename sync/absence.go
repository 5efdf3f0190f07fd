// What is missing on either side, and whether that may be believed.

package sync

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// absence is what a comparison makes of messages that are gone.
type absence struct {
	orphans  []checkpoint.Record // copies that Config.Deletes decides about
	departed bool                // copies stay of which nothing was made
	more     bool                // there are more orphans than one pass takes
	doubtful bool                // the target's list is too short: nothing follows from it
	again    bool                // records were dropped
}

// absences finds out what is gone from either side. It stops the mailbox, with
// a *heldError, where that is too much at once and nobody has confirmed it.
//
// A list of UIDs that is shorter than the mailbox proves nothing: there are
// servers whose index does not know all messages. Nor does a UID that the
// server has not reached yet, or that nothing but its word of this run vouches
// for (see doubt).
func (j *job) absences(ctx context.Context, source, target mailhaul.Status, listing, recorded, present, mapped mailhaul.UIDSet, explained mailhaul.UID) (a absence, err error) {
	if a.doubtful = present.Len() < int(target.Messages); a.doubtful {
		j.r.tally.warn(fmt.Sprintf("mailbox %q: the target lists %d of %d messages; what it does not list is not taken for removed", j.source.Name, present.Len(), target.Messages))
	} else {
		below := explained
		if target.UIDNext != 0 {
			below = min(below, target.UIDNext)
		}
		sure := mapped.Intersect(mailhaul.UIDSet{{First: 1, Last: max(below, 2) - 1}})
		gone := sure.Minus(present)
		d, err := j.decide(SideTarget, gone.Len(), sure.Len())
		if err != nil {
			return a, err
		}
		if d == Refuse && len(gone) > 0 {
			if err := j.forgetCopies(ctx, gone); err != nil {
				return a, err
			}
			a.again = true
		}
	}

	gone := recorded.Minus(listing)
	if len(gone) == 0 {
		return a, nil
	}
	first, all, err := j.departures(ctx, gone, present)
	if err != nil || all == 0 {
		return a, err
	}
	short := listing.Len() < int(source.Messages)
	if short {
		j.r.tally.warn(fmt.Sprintf("mailbox %q: the source lists %d of %d messages; what it does not list is not taken for deleted", j.source.Name, listing.Len(), source.Messages))
	}
	if a.departed = short || j.r.cfg.Deletes == DeletesKeep; a.departed {
		return a, nil
	}
	d, err := j.decide(SideSource, all, mapped.Intersect(present).Len())
	if err != nil {
		return a, err
	}
	a.more = all > len(first)
	j.departed += len(first)
	if d == Refuse {
		return a, j.release(ctx, first)
	}
	a.orphans = first
	return a, nil
}

// forgetCopies drops the records of copies that are gone, so that their
// messages are moved once more.
func (j *job) forgetCopies(ctx context.Context, gone mailhaul.UIDSet) error {
	var uids []mailhaul.UID
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return err
		}
		if rec.Placed() && gone.Contains(rec.Target) {
			uids = append(uids, rec.Source)
		}
	}
	set := mailhaul.UIDSetOf(uids...)
	j.skipped = j.skipped.Minus(set)
	return j.led.Forget(ctx, set)
}

// removals returns the messages of the source that the target's user is known
// to have removed, before the target's UIDs lose their meaning. A mailbox that
// holds far fewer messages than it should may have been emptied and made anew:
// that is for the brake.
func (j *job) removals(ctx context.Context, target mailhaul.Status) (removed mailhaul.UIDSet, err error) {
	var uids, placed []mailhaul.UID
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return nil, err
		}
		switch {
		case rec.State == checkpoint.Removed:
			uids = append(uids, rec.Source)
		case rec.Placed():
			placed = append(placed, rec.Source)
		}
	}
	if gone := len(placed) - int(target.Messages); braked(gone, len(placed)) {
		d, err := j.decide(SideTarget, gone, len(placed))
		if err != nil {
			return nil, err
		}
		if d == Accept {
			j.noReturn = mailhaul.UIDSetOf(placed...)
		}
	}
	return mailhaul.UIDSetOf(uids...), nil
}

// putRemoved records messages as removed by the target's user.
func (j *job) putRemoved(ctx context.Context, set mailhaul.UIDSet) error {
	for some := range set.Chunks(recordAtOnce) {
		records := make([]checkpoint.Record, 0, recordAtOnce)
		for uid := range some.All() {
			records = append(records, checkpoint.Record{Source: uid, State: checkpoint.Removed})
		}
		if err := j.led.Put(ctx, records...); err != nil {
			return err
		}
	}
	return nil
}
