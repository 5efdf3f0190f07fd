// A pass over some mailboxes: those that something has happened to since a
// whole pass found out where everything goes.

package sync

import (
	"context"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// ground is what a pass over everything has found out, and a pass over some
// mailboxes goes by.
type ground struct {
	source, target *mailhaul.Listing
	moves          []folderMove // with the mailboxes that were made
}

// ground returns what the pass has found out.
func (r *run) ground() *ground {
	g := &ground{source: r.source, target: r.target}
	for _, j := range r.every {
		m := j.folder
		if j.target.Wire != "" {
			t := j.target
			m.Target = &t
			m.Subscribe = m.Subscribe && !t.Subscribed
		}
		g.moves = append(g.moves, m)
	}
	return g
}

// some makes a pass over the mailboxes of the source whose wire names are in
// the set. Neither side is listed: what the mailboxes hold is found out by
// opening them, and so everything in them is compared. What such a pass leaves
// to one over everything is to note how the target looks in its listing, so
// that one will not pass over these mailboxes at a glance; and the views, which
// need all others to be looked at first.
func (r *run) some(ctx context.Context, g *ground, wanted map[string]bool) (*Result, error) {
	var order []string
	before := r.traffic()
	r.partial = true
	err := func() error {
		pair := checkpoint.Pair{From: r.cfg.Source.Account(), To: r.cfg.Target.Account()}
		var err error
		if r.ledger, err = checkpoint.OpenLedger(ctx, r.cfg.Store, pair); err != nil {
			return err
		}
		r.cfg.Source = withUIDs(r.cfg.Source, r.ledger)
		r.source, r.target = g.source, g.target
		plan := &folderPlan{}
		for _, m := range g.moves {
			if !wanted[m.Source.Wire] || m.View {
				continue
			}
			m.Source.Status = nil // they are old
			if m.Target != nil {
				t := *m.Target
				t.Status = nil
				m.Target = &t
			}
			plan.Moves = append(plan.Moves, m)
		}
		jobs, _, err := r.jobs(ctx, plan)
		if err != nil {
			return err
		}
		r.every = jobs
		for _, j := range jobs {
			order = append(order, j.source.Name)
		}
		if err := r.chooseIdentity(ctx, jobs); err != nil {
			return err
		}
		return r.work(ctx, jobs)
	}()
	return r.outcome(ctx, order, before, err)
}
