// Comparing both sides with the ledger: what is to be done, and what is
// recognised as done. One mechanism for a first run over existing mail, a
// crash, a lost connection and a lost checkpoint.

package sync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// comparison is what compare found.
type comparison struct {
	todo    mailhaul.UIDSet // source messages that are not on the target
	flags   []flagWork
	orphans []orphan        // copies whose messages are gone from the source
	asOf    mailhaul.ModSeq // the target's flags were read after it
	rescan  bool            // flags of recorded messages are not what their bases say
	more    bool            // there is more than one pass can take
	source  mailhaul.Status
	present int          // messages in the target mailbox
	next    mailhaul.UID // of the source: no message that was not listed has a UID below it
	target  mailhaul.Status
	wait    time.Duration // look again after it: a message may still turn up
}

// flagWork is a flag change that is to be carried over.
type flagWork struct {
	change mailhaul.FlagChange
	record checkpoint.Record // to be written afterwards, with the new base
}

// compare reads both mailboxes. What it recognises goes into the ledger. Where
// the target mailbox is another than the ledger speaks of, the one that was
// meant is looked for first.
func (j *job) compare(ctx context.Context) (*comparison, error) {
	c, err := j.comparePair(ctx)
	if errors.Is(err, errAnother) {
		if err := j.seekCopy(ctx); err != nil {
			return nil, err
		}
		c, err = j.comparePair(ctx)
	}
	for errors.Is(err, errShort) {
		c, err = j.comparePair(ctx)
	}
	return c, err
}

// errShort says that the source lists fewer messages than it has. Some may have
// been deleted while it was listed, so it is asked again, before anything
// follows from it.
var errShort = errors.New("the source lists too few messages")

// errAnother says that the target mailbox has another UIDVALIDITY than before.
var errAnother = errors.New("the target mailbox is another one")

// errWhole says that a mailbox is not what a pass over some can judge: it may
// have been renamed, which only a look at all of them tells.
var errWhole = errors.New("a pass over everything has to look at it")

func (j *job) comparePair(ctx context.Context) (*comparison, error) {
	// Target before source: the order of taking that excludes deadlock.
	t, copies, err := j.open(ctx, j.r.cfg.Target, j.target, 0)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	s, known, err := j.open(ctx, j.r.cfg.Source, j.source, mailhaul.FieldFlags)
	if err != nil {
		return nil, err
	}
	defer s.Close()

	state, wait, err := j.trust(ctx, s.Status(), t.Status())
	if err != nil || wait > 0 {
		return &comparison{wait: wait}, err
	}
	present, err := copies.orList(ctx, t)
	if err != nil {
		return nil, err
	}
	listing, err := known.orList(ctx, s)
	if err != nil {
		return nil, err
	}
	if j.short = shortage(s.Status(), listing); j.short > 0 && j.shorts < maxShorts {
		j.shorts++
		return nil, errShort
	}
	recorded, mapped, err := j.led.Sets(ctx)
	if err != nil {
		return nil, err
	}
	j.firstListing(listing, recorded)
	j.top, j.there = 0, present.Len()

	c := &comparison{source: s.Status(), present: present.Len(), next: nextUID(s.Status(), listing), target: t.Status(), asOf: t.Status().HighestModSeq}
	absent, err := j.absences(ctx, s.Status(), t.Status(), listing, recorded, present, mapped, state.Explained)
	if err != nil {
		return nil, err
	}
	if j.rebased.Len() > 0 {
		// Whether their users have touched these is to be seen against what the
		// source had before this run: the next one decides.
		n := len(absent.orphans)
		absent.orphans = slices.DeleteFunc(absent.orphans, func(rec checkpoint.Record) bool { return j.rebased.Contains(rec.Source) })
		absent.departed = absent.departed || len(absent.orphans) < n
	}
	if absent.again { // refused: those are not recorded any more
		if recorded, mapped, err = j.led.Sets(ctx); err != nil {
			return nil, err
		}
	}
	c.todo = listing.Minus(recorded).Minus(j.failed)
	unexplained := present.Intersect(mailhaul.UIDSet{{First: max(state.Explained, 1), Last: ^mailhaul.UID(0)}})
	told, err := j.doubt(ctx, mapped, present, state.Explained)
	if err != nil {
		return nil, err
	}
	if told == nil {
		unexplained = unexplained.Minus(mapped)
	} else {
		unexplained = unexplained.Minus(j.recognised)
	}
	if wanted := c.todo.Union(told.sources(listing)); len(wanted) > 0 && len(unexplained) > 0 {
		adopted, err := j.adopt(ctx, s, t, wanted, unexplained, told, c)
		if err != nil {
			return nil, err
		}
		c.todo = c.todo.Minus(adopted)
	}
	if back := c.todo.Intersect(j.noReturn); len(back) > 0 {
		if err := j.putRemoved(ctx, back); err != nil {
			return nil, err
		}
		c.todo = c.todo.Minus(back)
		j.skipped = j.skipped.Minus(back)
		j.res.RemovedOnTarget += back.Len()
	}
	if told != nil {
		none, err := j.withdraw(ctx, told, listing, present, t.Status().UIDNext)
		if err != nil {
			return nil, err
		}
		c.todo = c.todo.Union(none)
		if recorded, mapped, err = j.led.Sets(ctx); err != nil {
			return nil, err
		}
	}
	if len(c.todo) > 0 || len(j.led.Intents()) > 0 {
		state.Complete = false
	}
	if !absent.doubtful {
		if err := j.noteRemovals(ctx, mapped.Minus(present), listing); err != nil {
			return nil, err
		}
	}
	j.settleIntents(c)

	since := state.SourceStatus.HighestModSeq
	state.Explained = t.Status().UIDNext
	if state.Explained == 0 && len(present) > 0 { // the server does not say (Courier)
		state.Explained = present[len(present)-1].Last + 1
	}
	state.Explained = max(state.Explained, 1)
	state.Departed = absent.departed
	if absent.doubtful {
		state.Complete = false
	}
	j.led.SetState(state)
	if c.rescan {
		state.SourceStatus.HighestModSeq = 0
		j.led.SetState(state)
	}
	if told != nil { // a copy may have turned out to be another message's
		if absent.orphans, err = j.stillRecorded(ctx, absent.orphans); err != nil {
			return nil, err
		}
	}
	if c.orphans, err = j.orphans(ctx, t, absent.orphans); err != nil {
		return nil, err
	}
	c.more = absent.more

	// What changed up to that mod-sequence is in the bases of the records.
	if since == 0 || since != s.Status().HighestModSeq {
		both := recorded.Intersect(listing)
		flags, silent, err := j.changedFlags(ctx, s, t, known, both, since)
		if err != nil {
			return nil, err
		}
		c.flags = append(c.flags, flags...)
		if len(silent.Intersect(present)) > 0 {
			c.source.HighestModSeq = since // the source is to tell of these once more
		}
	}
	return c, j.led.Commit(ctx)
}

// open opens a mailbox to be compared. Where all that it holds has to be asked
// for anyway, since the source cannot say what has changed, it does that at the
// same time.
func (j *job) open(ctx context.Context, side mailhaul.Source, m mailhaul.Mailbox, fields mailhaul.Fields) (mailhaul.Reader, described, error) {
	// The side itself is asked, not what it may decorate.
	if o, ok := side.(mailhaul.ListedOpener); ok && m.Status != nil && 0 < m.Status.Messages && m.Status.Messages <= listAtOnce {
		recorded, _, err := j.led.Sets(ctx)
		if err != nil {
			return nil, nil, err
		}
		if len(recorded) > 0 && j.led.State().SourceStatus.HighestModSeq == 0 {
			return o.OpenListed(ctx, m, fields)
		}
	}
	r, err := side.OpenReader(ctx, m)
	return r, nil, err
}

// orList returns the UIDs of what is described, which is all of the mailbox, or
// else lists it.
func (d described) orList(ctx context.Context, r mailhaul.Reader) (mailhaul.UIDSet, error) {
	if d == nil {
		return uidsOf(ctx, r)
	}
	return d.set(), nil
}

// sequence yields messages that are known already.
func sequence(msgs []mailhaul.Message) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		for _, m := range msgs {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// uidsOf lists a mailbox; an empty one needs no asking.
func uidsOf(ctx context.Context, r mailhaul.Reader) (mailhaul.UIDSet, error) {
	if r.Status().Messages == 0 {
		return nil, nil
	}
	return r.UIDs(ctx)
}

// shortage returns how many messages a mailbox has that its list leaves out.
func shortage(st mailhaul.Status, listing mailhaul.UIDSet) int {
	return max(0, int(st.Messages)-listing.Len())
}

// trust checks that the ledger speaks of these two mailboxes. If it does not,
// because a UIDVALIDITY is another or a UIDNEXT went back, what it says of
// UIDs is worth nothing: it is forgotten, and everything is recognised again by
// content. A batch whose answer is missing would be forgotten too, and a target
// may show late what it holds, so the settle time is waited for first: wait says
// how long, and nothing has been done then.
func (j *job) trust(ctx context.Context, source, target mailhaul.Status) (st checkpoint.MailboxState, wait time.Duration, err error) {
	st = j.led.State()
	var reason string
	sourceAsBefore := st.SourceValidity == source.UIDValidity
	switch {
	case st.SourceValidity != 0 && st.SourceValidity != source.UIDValidity:
		reason = fmt.Sprintf("the source's UIDVALIDITY changed from %d to %d", st.SourceValidity, source.UIDValidity)
	case st.Target == "" || st.TargetValidity == 0: // its copy was deleted, and is begun anew
	case st.Target != j.target.Wire:
		reason = "it goes to another mailbox than before"
	case st.TargetValidity != target.UIDValidity:
		reason = fmt.Sprintf("the target's UIDVALIDITY changed from %d to %d", st.TargetValidity, target.UIDValidity)
	case source.UIDNext != 0 && source.UIDNext < st.SourceStatus.UIDNext:
		reason = fmt.Sprintf("the source's UIDNEXT went back from %d to %d", st.SourceStatus.UIDNext, source.UIDNext)
	case target.UIDNext != 0 && target.UIDNext < st.Explained:
		reason = fmt.Sprintf("the target's UIDNEXT went back from %d to %d", st.Explained, target.UIDNext)
	}
	if reason != "" {
		switch own, nothing, err := j.changedByUs(ctx, source, target); {
		case err != nil:
			return st, 0, err
		case own:
			st.TargetValidity, st.Explained = target.UIDValidity, 1
			j.led.SetState(st)
			return st, 0, nil
		case nothing:
			if err := j.led.Reset(ctx); err != nil {
				return st, 0, err
			}
			reason, st = "", checkpoint.MailboxState{}
		}
	}
	if reason != "" && j.r.partial {
		return st, 0, errWhole
	}
	if reason != "" && sourceAsBefore && st.Target == j.target.Wire && st.TargetValidity != target.UIDValidity && !j.sought {
		j.sought = true
		return st, 0, errAnother
	}
	if reason != "" {
		if wait = j.unsettled(); wait > 0 {
			return st, wait, nil
		}
		var removed mailhaul.UIDSet
		if sourceAsBefore {
			if removed, err = j.removals(ctx, target); err != nil {
				return st, 0, err
			}
		}
		j.r.tally.warn(fmt.Sprintf("mailbox %q: %s; its messages were recognised again by content, and what the target's user had deleted there since the last pass may be back", j.source.Name, reason))
		if err := j.led.Reset(ctx); err != nil {
			return st, 0, err
		}
		if err := j.putRemoved(ctx, removed); err != nil {
			return st, 0, err
		}
		j.recognised = nil
		st = checkpoint.MailboxState{}
	}
	if st.Target == "" || st.TargetValidity == 0 {
		st = checkpoint.MailboxState{
			Target: j.target.Wire, SourceValidity: source.UIDValidity, TargetValidity: target.UIDValidity, Explained: 1,
			SourceID: mailboxID(j.source, ""), TargetID: mailboxID(j.target, ""),
		}
		j.led.SetState(st)
	}
	return st, 0, nil
}

// firstListing keeps what the source held when this run first looked: that is
// what has to be accounted for in the end.
func (j *job) firstListing(listing, recorded mailhaul.UIDSet) {
	if j.known {
		return
	}
	j.known = true
	j.listing = listing
	j.skipped = listing.Intersect(recorded)
	j.r.meter.expect(listing.Len()-j.skipped.Len(), 0)
}

// noteRemovals records which of our messages the target's user removed. They
// are never brought back.
func (j *job) noteRemovals(ctx context.Context, gone, listing mailhaul.UIDSet) error {
	if len(gone) == 0 {
		return nil
	}
	// The target's user may have emptied the mailbox.
	const atOnce = 4096
	var removed []checkpoint.Record
	var ours mailhaul.UIDSet
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return err
		}
		if !rec.Placed() || !gone.Contains(rec.Target) {
			continue
		}
		rec.State = checkpoint.Removed
		removed = append(removed, rec)
		ours.Add(rec.Source)
		if len(removed) < atOnce {
			continue
		}
		if err := j.led.Put(ctx, removed...); err != nil {
			return err
		}
		if err := j.led.Commit(ctx); err != nil {
			return err
		}
		removed = removed[:0]
	}
	ours = ours.Intersect(listing).Intersect(j.skipped)
	j.res.RemovedOnTarget += ours.Len()
	j.skipped = j.skipped.Minus(ours)
	return j.led.Put(ctx, removed...)
}

// settleIntents decides about the batches whose answer is missing, after what
// arrived of them has been recognised and taken out of c.todo.
//
// A message that the server has is recognised, whenever it was stored. One
// that it does not have may still be on its way from the server's buffer into
// the mailbox, for as long as Config.SettleTime: until then it is looked for
// again and not sent. The time runs from the loss of the connection, which for
// a batch of an earlier run can have been as late as the start of this one.
func (j *job) settleIntents(c *comparison) {
	for _, in := range j.led.Intents() {
		left := in.Sources.Intersect(c.todo)
		remaining := j.unsettled()
		switch {
		case len(left) == 0 && in.Stored && len(in.Sources.Intersect(j.failed)) > 0:
			// It stays, so that no later run sends these again.
		case len(left) == 0:
			j.led.End(in.ID)
		case in.Stored && remaining <= 0:
			// The server said OK, but nothing there looks like it. Sent again,
			// it would be twice there if the server altered it beyond
			// recognition.
			for uid := range left.All() {
				j.fail(uid, j.errorf("append to", mailhaul.Permanent,
					fmt.Errorf("the server accepted the message but holds none that looks like it; it discarded or rewrote it")))
			}
			c.todo = c.todo.Minus(left)
		case remaining > 0:
			step := min(remaining, max(50*time.Millisecond, j.r.cfg.settleTime()-remaining))
			if c.wait == 0 || step < c.wait {
				c.wait = step
			}
		default:
			j.led.End(in.ID)
			for uid := range left.All() {
				if m, ours := j.sent[uid]; ours {
					j.outlived[uid] = attempt{m.flags, in.Validity, in.Watermark}
				}
				delete(j.sent, uid)
			}
		}
	}
}

// unsettled returns for how long the target may still store a message whose
// answer is missing.
func (j *job) unsettled() time.Duration {
	lost := j.r.start
	if j.lostAt.After(lost) {
		lost = j.lostAt
	}
	return j.r.cfg.settleTime() - time.Since(lost)
}

// changedFlags finds the flags that the source's user changed since the last
// pass and merges them with what the target has. silent are the UIDs of copies
// that the target said nothing of: nothing is done about these.
func (j *job) changedFlags(ctx context.Context, s, t mailhaul.Reader, known described, both mailhaul.UIDSet, since mailhaul.ModSeq) (work []flagWork, silent mailhaul.UIDSet, err error) {
	if len(both) == 0 {
		return nil, nil, nil
	}
	changed := make(map[mailhaul.UID]checkpoint.Record) // by target UID, with the new base
	bases := make(map[mailhaul.UID][]mailhaul.Flag)
	var ask mailhaul.UIDSet
	described := s.Messages(ctx, both, mailhaul.FieldFlags, since)
	if msgs, ok := known.of(both); ok {
		described = sequence(msgs)
	}
	for m, err := range described {
		if err != nil {
			return nil, nil, err
		}
		rec, ok, err := j.led.Get(ctx, m.UID)
		if err != nil {
			return nil, nil, err
		}
		flags, _ := mailhaul.NormalizeFlags(m.Flags)
		if !ok || !rec.Placed() || sameFlags(flags, rec.Base) {
			continue
		}
		bases[rec.Target] = rec.Base
		rec.Base = flags
		changed[rec.Target] = rec
		ask.Add(rec.Target)
	}
	if len(ask) == 0 {
		return nil, nil, nil
	}
	for m, err := range t.Messages(ctx, ask, mailhaul.FieldFlags, 0) {
		if err != nil {
			return nil, nil, err
		}
		rec, ok := changed[m.UID]
		if !ok {
			continue
		}
		delete(changed, m.UID) // some servers answer twice
		now, _ := mailhaul.NormalizeFlags(m.Flags)
		add, remove := mergeFlags(bases[m.UID], rec.Base, now)
		work = append(work, flagWork{mailhaul.FlagChange{UID: m.UID, Add: add, Remove: remove}, rec})
	}
	return work, mailhaul.UIDSetOf(slices.Sorted(maps.Keys(changed))...), nil
}
