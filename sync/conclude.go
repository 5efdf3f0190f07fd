// The balance of a mailbox at the end of its run.

package sync

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
)

// conclude draws the balance of the mailbox: each message that the source held
// when this run first looked is moved, known, gone, or listed as failed.
func (j *job) conclude(ctx context.Context, err error) {
	j.res.Source, j.res.Target = j.source.Name, j.target.Name
	defer func() { j.r.tally.mailbox(j.res) }()
	switch {
	case j.untouched:
		j.res.Messages = j.expected()
		j.res.Skipped = j.res.Messages
	case !j.known:
		j.res.Messages = j.expected()
	default:
		j.res.Messages = j.listing.Len()
		j.res.Skipped = j.skipped.Len()
		j.res.Vanished = j.vanished.Intersect(j.listing).Len()
		j.res.Failed += j.failed.Len()
	}
	if err != nil || j.r.cut.Load() && !j.known {
		return
	}
	if j.known && j.short > 0 {
		st := j.led.State()
		st.Complete = false // the next pass looks again
		j.led.SetState(st)
		j.giveUp(j.errorf("list", mailhaul.Permanent, fmt.Errorf("the source lists %d of %d messages; those that it does not list were not moved",
			j.listing.Len(), j.listing.Len()+j.short)))
	}
	if j.known && j.res.Failed == 0 && !j.r.draining() {
		j.complete = j.prove(ctx)
	}
	if j.complete {
		// The next batch of any mailbox takes it along. Should nobody live to
		// see that, the last batch is settled again.
		j.led.Defer()
	} else if err := j.record(ctx); err != nil {
		j.giveUp(err)
		return
	}
	if m, ok := j.concludeIdentity(ctx); ok {
		j.r.tally.identity(m)
	}
}

// prove holds the invariant that a clean end means proof: the recorded set
// equals the source's, less what vanished. Only then is the mailbox complete.
func (j *job) prove(ctx context.Context) bool {
	recorded, _, err := j.led.Sets(ctx)
	if err != nil {
		j.giveUp(err)
		return false
	}
	for uid := range j.listing.Minus(recorded).Minus(j.vanished).All() {
		j.fail(uid, j.errorf("move", mailhaul.Permanent, errors.New("the message was not accounted for; run again")))
		j.res.Failed++
	}
	if j.res.Failed > 0 {
		return false
	}
	st := j.led.State()
	st.Complete = true
	j.led.SetState(st)
	return true
}

// alter lists a message whose octets on the target are not the source's.
func (j *job) alter(source, target mailhaul.UID, reason string) {
	j.altered.Add(source)
	j.r.tally.alter(Alteration{Mailbox: j.source.Name, UID: source, TargetUID: target, Reason: reason})
}
