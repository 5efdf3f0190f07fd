// The brake: where much vanishes from a mailbox at once, on either side, nobody
// knows yet whether that was meant.

package sync

import (
	"fmt"

	"github.com/mailhaul/mailhaul"
)

// Side is the source or the target.
type Side string

// The sides.
const (
	SideSource Side = "source"
	SideTarget Side = "target"
)

// Held is a mailbox that the brake has stopped: more than 50 of its messages,
// and more than a fifth of them, are gone at once. Nothing of it was removed,
// forgotten or copied; each pass finds the same until Config.Confirm decides,
// or the messages are there again.
type Held struct {
	Mailbox string `json:"mailbox"` // of the source
	Target  string `json:"target"`  // its copy
	Side    Side   `json:"side"`    // where they are gone from
	Gone    int    `json:"gone"`
	Of      int    `json:"of"` // messages that we know on both sides
}

// String says what happened and what can be done about it.
func (h Held) String() string {
	where, meant, not := "source", "the copies are to follow Config.Deletes", "to be kept"
	if h.Side == SideTarget {
		where, meant, not = "target", "they are not to be copied again", "to be copied again"
	}
	return fmt.Sprintf("%d of %d messages are gone from the %s at once; nothing was changed: confirm it if %s, refuse it if they are %s, or bring them back there",
		h.Gone, h.Of, where, meant, not)
}

// Decision is what Config.Confirm makes of a mailbox that the brake has
// stopped.
type Decision uint8

const (
	// Hold leaves everything as it is. The mailbox is not complete.
	Hold Decision = iota
	// Accept takes the messages for deleted: those gone from the source are
	// subject to Config.Deletes, those gone from the target are never copied
	// again.
	Accept
	// Refuse takes the messages for lost by mistake: those gone from the
	// source stay on the target for ever, those gone from the target are copied
	// again.
	Refuse
)

// What the brake lets pass: so many messages, and such a part of a mailbox.
const (
	brakeMessages = 50
	brakePart     = 5 // a fifth
)

// braked reports whether so many messages of a mailbox may not vanish at once.
func braked(gone, of int) bool { return gone > brakeMessages && gone*brakePart > of }

// heldError is why a mailbox is not done.
type heldError struct{ Held }

func (e *heldError) Error() string { return e.String() }

// decide asks what is to be made of messages that are gone. The answer counts
// until the end of the run. An error is a *heldError: the mailbox is to be left
// alone.
func (j *job) decide(side Side, gone, of int) (Decision, error) {
	if d, ok := j.decided[side]; ok {
		return d, nil
	}
	if !braked(gone, of) {
		return Accept, nil
	}
	h := Held{Mailbox: j.source.Name, Target: j.target.Name, Side: side, Gone: gone, Of: of}
	d := Hold
	if j.r.cfg.Confirm != nil {
		d = j.r.cfg.Confirm(h)
	}
	if d != Accept && d != Refuse {
		return Hold, &heldError{h}
	}
	j.r.cfg.Logger.Info("confirmed", "mailbox", h.Mailbox, "side", h.Side, "gone", gone, "of", of, "refused", d == Refuse)
	if j.decided == nil {
		j.decided = make(map[Side]Decision)
	}
	j.decided[side] = d
	return d, nil
}

// hold gives the mailbox up for this run, and sees to it that the next one
// looks at it again.
func (j *job) hold(h *heldError) {
	st := j.led.State()
	st.Complete = false
	j.led.SetState(st)
	j.r.tally.hold(h.Held)
	j.giveUp(&mailhaul.Error{Op: "move", Mailbox: j.source.Name, Kind: mailhaul.Conflict, Scope: mailhaul.ScopeMailbox, Err: h})
}
