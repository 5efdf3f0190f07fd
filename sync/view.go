// Views: mailboxes such as \All that show what other mailboxes hold.

package sync

import (
	"context"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

// leaveOutHeldElsewhere records which messages of a view another mailbox of
// the account holds, so that only the rest is moved. Messages are recognised
// as they are on the target: by key and size, and by their octets where these
// do not decide.
func (j *job) leaveOutHeldElsewhere(ctx context.Context, others []*job) error {
	if j.unchanged() {
		return nil
	}
	var view []uidmap.Candidate
	err := j.reading(ctx, j.source, func(s mailhaul.Reader) error {
		todo, err := j.viewTodo(ctx, s)
		if err == nil && len(todo) > 0 {
			view, err = candidates(ctx, s, todo)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, other := range others {
		if len(view) == 0 {
			break
		}
		if view, err = j.leaveOut(ctx, view, other); err != nil {
			return err
		}
	}
	return j.led.Commit(ctx)
}

// viewTodo returns the messages of the view of which nothing is recorded.
func (j *job) viewTodo(ctx context.Context, s mailhaul.Reader) (mailhaul.UIDSet, error) {
	if st := j.led.State(); st.Target != "" && st.SourceValidity != s.Status().UIDValidity {
		if err := j.led.Reset(ctx); err != nil {
			return nil, err
		}
	}
	listing, err := uidsOf(ctx, s)
	if err != nil {
		return nil, err
	}
	recorded, _, err := j.led.Sets(ctx)
	if err != nil {
		return nil, err
	}
	j.firstListing(listing, recorded)
	return listing.Minus(recorded), nil
}

// leaveOut takes out of view what the other mailbox holds, and returns the
// rest.
func (j *job) leaveOut(ctx context.Context, view []uidmap.Candidate, other *job) ([]uidmap.Candidate, error) {
	held, err := j.heldBy(ctx, view, other)
	if err != nil {
		return nil, err
	}
	var set mailhaul.UIDSet
	for _, p := range held {
		if p.Basis.Altered() {
			continue // not the same octets: both are kept
		}
		set.Add(p.Source)
		if err := j.led.Put(ctx, checkpoint.Record{Source: p.Source, State: checkpoint.Elsewhere}); err != nil {
			return nil, err
		}
	}
	j.skipped = j.skipped.Union(set)
	return slices.DeleteFunc(view, func(c uidmap.Candidate) bool { return set.Contains(c.UID) }), nil
}

// heldBy matches messages of the view with those of another mailbox. One
// connection is open at a time.
func (j *job) heldBy(ctx context.Context, view []uidmap.Candidate, other *job) ([]uidmap.Pair, error) {
	var match *uidmap.Matching
	var theirs map[mailhaul.UID]uidmap.Digest
	var undecided mailhaul.UIDSet
	err := j.reading(ctx, other.source, func(o mailhaul.Reader) error {
		all, err := uidsOf(ctx, o)
		if err != nil || len(all) == 0 {
			return err
		}
		held, err := candidates(ctx, o, all)
		if err != nil {
			return err
		}
		match = uidmap.Match(view, held)
		us, them := match.Undecided()
		undecided = us
		theirs, err = digests(ctx, o, them)
		return err
	})
	if err != nil || match == nil {
		return nil, err
	}
	pairs := match.Pairs()
	if len(undecided) == 0 {
		return pairs, nil
	}
	err = j.reading(ctx, j.source, func(s mailhaul.Reader) error {
		ours, err := digests(ctx, s, undecided)
		pairs = append(pairs, match.Resolve(ours, theirs)...)
		return err
	})
	return pairs, err
}

// reading opens a mailbox of the source for the time of f.
func (j *job) reading(ctx context.Context, m mailhaul.Mailbox, f func(mailhaul.Reader) error) error {
	r, err := j.r.cfg.Source.OpenReader(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	return f(r)
}
