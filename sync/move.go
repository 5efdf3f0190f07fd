// Carrying out what a comparison found: flags first, then the messages.

package sync

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
)

// move writes to the target. Without a comparison the target mailbox is taken
// to be empty; if that, or what the comparison saw, is no longer true, it asks
// for another pass and writes nothing.
func (j *job) move(ctx context.Context, c *comparison) (again bool, err error) {
	if j.impose {
		return j.moveImposed(ctx, c)
	}
	if c != nil && len(c.todo) == 0 && len(c.orphans) == 0 && !slices.ContainsFunc(c.flags, flagWork.needed) {
		return c.more, j.settleSource(ctx, c.source, c.flags)
	}
	var w mailhaul.Writer
	var s mailhaul.Reader
	var known described
	if c == nil {
		if w, s, known, err = j.openBoth(ctx); err != nil {
			return false, err
		}
		defer w.Close()
		defer s.Close()
		if j.surprised(w.Status(), c) {
			return true, nil
		}
	} else {
		if w, err = j.r.cfg.Target.OpenWriter(ctx, j.target); err != nil {
			return false, err
		}
		defer w.Close()
		if j.surprised(w.Status(), c) {
			return true, nil
		}
		if again, err := j.changeBy(ctx, w, c); again || err != nil {
			return again, err
		}
		if len(c.todo) == 0 {
			return c.more, j.settleSource(ctx, c.source, nil)
		}
		if s, err = j.r.cfg.Source.OpenReader(ctx, j.source); err != nil {
			return false, err
		}
		defer s.Close()
	}
	var todo mailhaul.UIDSet
	switch {
	case c == nil:
		state, _, err := j.trust(ctx, s.Status(), w.Status()) // no batch is in doubt, so nothing is waited for
		if err != nil {
			return false, err
		}
		listing := known.set()
		if known == nil {
			if listing, err = uidsOf(ctx, s); err != nil {
				return false, err
			}
		}
		recorded, _, err := j.led.Sets(ctx) // of a view, what is held elsewhere
		if err != nil {
			return false, err
		}
		j.firstListing(listing, recorded)
		j.short = shortage(s.Status(), listing)
		todo = listing.Minus(recorded)
		state.Explained = max(w.Status().UIDNext, 1)
		j.led.SetState(state)
	case s.Status().UIDValidity != j.led.State().SourceValidity:
		return true, nil
	default:
		todo = c.todo
	}
	missing, err := j.pipeline(ctx, j.newAppender(w), s, j.giveUpBreakers(todo.Minus(j.failed)), known)
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
	status := s.Status()
	if c != nil { // what has come to the source since it was listed is for the next pass
		again = again || c.more
		status = c.source
	}
	return again, j.settleSource(ctx, status, nil)
}

// changeBy carries over what was found to have changed of the messages that
// are on the target: their flags, and that they are gone. It asks for another
// pass where the target's user changed flags meanwhile.
func (j *job) changeBy(ctx context.Context, w mailhaul.Writer, c *comparison) (again bool, err error) {
	modified, err := j.storeFlags(ctx, w, c.flags, c.asOf)
	if err != nil {
		return false, err
	}
	if err := j.deleteCopies(ctx, w, c.orphans, c.asOf); err != nil {
		return false, err
	}
	if modified { // merge again, with what is there now
		if j.merges++; j.merges <= maxMerges {
			return true, nil
		}
		c.source.HighestModSeq = j.led.State().SourceStatus.HighestModSeq // the next run does
	}
	return false, nil
}

// openBoth opens both mailboxes for a copy of the whole, side by side where the
// target lets its connection be taken first: that order excludes deadlock.
func (j *job) openBoth(ctx context.Context) (w mailhaul.Writer, s mailhaul.Reader, known described, err error) {
	// The target itself is asked, not what it may decorate.
	r, ok := j.r.cfg.Target.(mailhaul.Reserver)
	if !ok {
		if w, err = j.r.cfg.Target.OpenWriter(ctx, j.target); err != nil {
			return nil, nil, nil, err
		}
		if s, known, err = j.openSource(ctx); err != nil {
			_ = w.Close()
			return nil, nil, nil, err
		}
		return w, s, known, nil
	}
	reserved, err := r.Reserve(ctx, j.target)
	if err != nil {
		return nil, nil, nil, err
	}
	var opening errgroup.Group
	opening.Go(func() (err error) {
		w, err = reserved.Open(ctx)
		return err
	})
	s, known, err = j.openSource(ctx)
	if failed := opening.Wait(); failed != nil {
		if err == nil {
			_ = s.Close()
		}
		return nil, nil, nil, graver(failed, err)
	}
	if err != nil {
		_ = w.Close()
		return nil, nil, nil, err
	}
	return w, s, known, nil
}

// openSource opens the source's mailbox and describes the messages with it,
// where that costs nothing.
func (j *job) openSource(ctx context.Context) (mailhaul.Reader, described, error) {
	// As above.
	if o, ok := j.r.cfg.Source.(mailhaul.ListedOpener); ok && 0 < j.expected() && j.expected() <= listAtOnce {
		return o.OpenListed(ctx, j.source, describedFields)
	}
	s, err := j.r.cfg.Source.OpenReader(ctx, j.source)
	return s, nil, err
}

// maxMerges is how often flags of a mailbox are merged anew in one run, since
// its user changed them between reading and writing them.
const maxMerges = 3

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
		j.rebased.Add(f.record.Source)
		if err := j.led.Put(ctx, f.record); err != nil {
			return err
		}
	}
	_, mapped, err := j.led.Sets(ctx)
	if err != nil {
		return err
	}
	st := j.led.State()
	st.SourceStatus = status
	for _, r := range mapped { // what several appenders stored side by side
		if r.First <= st.Explained && st.Explained <= r.Last {
			st.Explained = r.Last + 1
		}
	}
	j.led.SetState(st)
	return nil
}

// storeFlags carries flag changes over. It reports whether some messages have
// changed on the target after asOf, when they were read: nothing was done about
// them.
func (j *job) storeFlags(ctx context.Context, w mailhaul.Writer, work []flagWork, asOf mailhaul.ModSeq) (bool, error) {
	var changes []mailhaul.FlagChange
	for i := range work {
		work[i].change.Add = keepable(work[i].change.Add, w.Status())
		work[i].change.Remove = keepable(work[i].change.Remove, w.Status())
		if work[i].needed() {
			changes = append(changes, work[i].change)
		}
	}
	var modified mailhaul.UIDSet
	if len(changes) > 0 {
		var err error
		if modified, err = storeFlags(ctx, w, changes, asOf); err != nil {
			return false, err
		}
		j.res.FlagsUpdated += len(changes) - modified.Len()
	}
	for _, f := range work {
		if modified.Contains(f.change.UID) {
			continue
		}
		j.rebased.Add(f.record.Source)
		if err := j.led.Put(ctx, f.record); err != nil {
			return false, err
		}
	}
	return len(modified) > 0, nil
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
	j.mu.Lock()
	j.res.Copied += n
	j.res.Bytes += bytes
	j.mu.Unlock()
	j.progress(n, bytes)
}

// progress tells how far the mailbox is.
func (j *job) progress(n int, bytes int64) {
	j.mu.Lock()
	j.done += n
	j.bytes += bytes
	p := Progress{
		Account: j.r.cfg.Source.Account().String(), Mailbox: j.source.Name,
		Messages: j.done, TotalMessages: j.listing.Len() - j.skipped.Len(),
		Bytes: j.bytes, TotalBytes: max(j.bytes, j.total.Load()),
	}
	j.mu.Unlock()
	j.r.meter.moved(n, bytes, time.Since(j.r.start), &p)
	j.r.emit.progress(p)
}
