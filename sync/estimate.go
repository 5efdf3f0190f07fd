// How much there is to do, before anything is done: the dry run, and the
// question whether it fits.

package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// Plan is what a Run would do. Its JSON form is what examples/migrate prints
// for a dry run.
type Plan struct {
	From      string           `json:"from"`
	To        string           `json:"to"`
	Mailboxes []PlannedMailbox `json:"mailboxes"`
	Messages  int              `json:"messages"` // in the source
	Move      int              `json:"move"`     // to be moved
	Bytes     int64            `json:"bytes"`    // of those, as the source lists them
	Delete    int              `json:"delete"`   // copies that Config.Deletes would flag or remove
	Room      int64            `json:"room"`     // octets left on the target; -1: it does not tell
	Held      []Held           `json:"held"`     // mailboxes that the brake would stop
	Warnings  []string         `json:"warnings"`
}

// PlannedMailbox is the plan for one mailbox.
type PlannedMailbox struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Create   bool   `json:"create"` // the target does not have it yet
	Messages int    `json:"messages"`
	Move     int    `json:"move"`
	Adopt    int    `json:"adopt"` // on the target already
	Bytes    int64  `json:"bytes"`

	// Delete is how many copies of messages that are gone from the source
	// Config.Deletes would flag or remove: those that are ours and untouched.
	// Of a mailbox that is gone as a whole it is all that there is to say.
	Delete int `json:"delete,omitempty"`

	// Identity is the level that the mailbox can have, and Reason why it can
	// have none higher; both empty where nobody was asked, since nothing is to
	// be done or the mailbox was begun.
	Identity mailhaul.Level `json:"identity,omitempty"`
	Reason   string         `json:"reason,omitempty"`
}

// Plan finds out what a Run would do and writes nothing: neither to the target
// nor to the Store.
func (s *Syncer) Plan(ctx context.Context) (*Plan, error) {
	drain, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer s.end()
	cfg := s.cfg
	if cfg.Store, err = copyOf(ctx, cfg.Store); err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, tally: newTally(cfg), emit: emitter{ev: cfg.Events}, start: time.Now(), drain: drain}
	return r.plan(ctx)
}

// copyOf reads a Store into memory, so that a dry run can use it as if it
// were its own.
func copyOf(ctx context.Context, s checkpoint.Store) (checkpoint.Store, error) {
	m := checkpoint.NewMemory()
	var ops []checkpoint.Op
	for kv, err := range s.Scan(ctx, nil, nil) {
		if err != nil {
			return nil, err
		}
		ops = append(ops, checkpoint.Op{Key: append([]byte(nil), kv.Key...), Value: append([]byte{}, kv.Value...)})
	}
	return m, m.Commit(ctx, ops)
}

func (r *run) plan(ctx context.Context) (*Plan, error) {
	folders, err := r.prepare(ctx)
	if err != nil {
		return nil, err
	}
	jobs, views, err := r.jobs(ctx, folders)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if err := v.leaveOutHeldElsewhere(ctx, jobs); err != nil {
			return nil, err
		}
	}
	jobs = append(jobs, views...)
	if err := r.chooseIdentity(ctx, jobs); err != nil {
		return nil, err
	}
	p := &Plan{From: r.tally.r.From, To: r.tally.r.To, Room: -1, Mailboxes: make([]PlannedMailbox, len(jobs))}
	if err := r.estimate(ctx, jobs, func(i int, m PlannedMailbox) { p.Mailboxes[i] = m }); err != nil {
		return nil, err
	}
	if err := r.estimateDeparted(ctx, p); err != nil {
		return nil, err
	}
	for _, m := range p.Mailboxes {
		p.Messages += m.Messages
		p.Delete += m.Delete
		p.Move += m.Move
		p.Bytes += m.Bytes
	}
	if room, ok := r.room(ctx); ok {
		p.Room = room.Bytes
		if w := tooMuch(room, p.Move, p.Bytes); w != "" {
			r.tally.warn(w)
		}
	}
	res := r.tally.result(nil)
	p.Warnings, p.Held = res.Warnings, res.Held
	return p, nil
}

// estimateDeparted adds the mailboxes that are gone from the source, as far as
// something would be deleted of their copies.
func (r *run) estimateDeparted(ctx context.Context, p *Plan) error {
	gone, err := r.departedJobs(ctx)
	if err != nil {
		return err
	}
	for _, j := range gone {
		n, err := j.deletable(ctx, func() (*comparison, error) {
			c, err := j.compareDeparted(ctx)
			return &c, err
		})
		if _, held := j.wouldHold(err); err != nil && !held {
			return err
		}
		if n > 0 {
			p.Mailboxes = append(p.Mailboxes, PlannedMailbox{Source: j.source.Name, Target: j.target.Name, Delete: n})
		}
	}
	return nil
}

// wouldHold notes that a mailbox would be held, if that is what err says.
func (j *job) wouldHold(err error) (Held, bool) {
	held, ok := errors.AsType[*heldError](err)
	if !ok {
		return Held{}, false
	}
	j.r.tally.hold(held.Held)
	j.r.tally.warn(fmt.Sprintf("mailbox %q would be held: %v", j.source.Name, held))
	return held.Held, true
}

// deletable counts the copies that would be flagged or removed. What the target
// can store is not told to who only reads it: it is taken for everything, so
// that there may be some more.
func (j *job) deletable(ctx context.Context, compare func() (*comparison, error)) (n int, err error) {
	storable := mailhaul.Status{AnyKeyword: true, Flags: []mailhaul.Flag{
		mailhaul.FlagSeen, mailhaul.FlagAnswered, mailhaul.FlagFlagged, mailhaul.FlagDeleted, mailhaul.FlagDraft}}
	for {
		c, err := compare()
		if err != nil {
			return n, err
		}
		dealt := make([]checkpoint.Record, 0, len(c.orphans))
		for _, o := range c.orphans {
			if f := fateOf(j.r.cfg.Deletes, o.record, o.flags, storable); f == fateFlag || f == fateRemove {
				n++
			}
			dealt = append(dealt, o.record)
		}
		if !c.more || len(dealt) == 0 {
			return n, nil
		}
		if err := j.release(ctx, dealt); err != nil { // in the copy of the Store
			return n, err
		}
	}
}

// preflight warns if the target says that it has less room than is needed. It
// asks for sizes only where the target has a limit; mail that is there already
// is counted as if it were not, so it is a warning and no more.
func (r *run) preflight(ctx context.Context, jobs []*job) error {
	room, ok := r.room(ctx)
	if !ok || room.Bytes < 0 && room.Messages < 0 {
		return nil
	}
	sums := make([]PlannedMailbox, len(jobs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Mailboxes)
	for i, j := range jobs {
		if j.unchanged() {
			continue
		}
		g.Go(func() error { return j.reading(ctx, j.source, j.size(ctx, &sums[i])) })
	}
	if g.Wait() != nil {
		return ctx.Err() // whatever is wrong shows itself when the mailbox is moved
	}
	var total PlannedMailbox
	for _, s := range sums {
		total.Move += s.Move
		total.Bytes += s.Bytes
	}
	if w := tooMuch(room, total.Move, total.Bytes); w != "" {
		r.tally.warn(w)
		r.cfg.Logger.Warn(w)
	}
	return nil
}

// room asks the target how much it can take; ok is false where it does not
// tell.
func (r *run) room(ctx context.Context) (q mailhaul.Quota, ok bool) {
	t, ok := mailhaul.As[mailhaul.QuotaTeller](r.cfg.Target)
	if !ok {
		return q, false
	}
	q, err := t.Quota(ctx)
	if err != nil && !errors.Is(err, mailhaul.ErrUnsupported) {
		r.cfg.Logger.Warn("the target's quota could not be read", "error", err)
	}
	return q, err == nil
}

func tooMuch(room mailhaul.Quota, messages int, bytes int64) string {
	switch {
	case room.Bytes >= 0 && bytes > room.Bytes:
		return fmt.Sprintf("it may not fit: %d octets are to be moved and the target's quota leaves %d; raise it, or leave mailboxes out", bytes, room.Bytes)
	case room.Messages >= 0 && int64(messages) > room.Messages:
		return fmt.Sprintf("it may not fit: %d messages are to be moved and the target's quota leaves %d; raise it, or leave mailboxes out", messages, room.Messages)
	}
	return ""
}

// estimate looks at each mailbox and calls got with what is to be done.
func (r *run) estimate(ctx context.Context, jobs []*job, got func(int, PlannedMailbox)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Mailboxes)
	for i, j := range jobs {
		m := PlannedMailbox{
			Source: j.source.Name, Target: j.target.Name, Create: j.target.Wire == "",
			Identity: j.can.Level, Reason: j.can.Reason,
		}
		if m.Create {
			m.Target = r.target.Naming.Join(j.folder.TargetPath)
		}
		if j.unchanged() {
			m.Messages = j.expected()
			got(i, m)
			continue
		}
		g.Go(func() (err error) {
			held := false
			if !m.Create && !j.freshTarget() {
				// Into the copy of the Store.
				if m.Delete, err = j.deletable(ctx, func() (*comparison, error) { return j.compare(ctx) }); err != nil {
					if _, held = j.wouldHold(err); !held {
						return err
					}
				}
				m.Adopt = j.res.Adopted
			}
			if err := j.reading(ctx, j.source, j.size(ctx, &m)); err != nil {
				return err
			}
			if m.Create && m.Move == 0 && j.led.State().Target != "" {
				m.Create = false // its user has deleted it, and it is not made again for nothing
			}
			if held {
				m.Move, m.Bytes = 0, 0
			}
			got(i, m)
			return nil
		})
	}
	return g.Wait()
}

// size adds up what of the source is not recorded.
func (j *job) size(ctx context.Context, m *PlannedMailbox) func(mailhaul.Reader) error {
	return func(s mailhaul.Reader) error {
		listing, err := uidsOf(ctx, s)
		if err != nil {
			return err
		}
		recorded, _, err := j.led.Sets(ctx)
		if err != nil {
			return err
		}
		todo := listing.Minus(recorded)
		m.Messages, m.Move = listing.Len(), todo.Len()
		if len(todo) == 0 {
			return nil
		}
		for msg, err := range s.Messages(ctx, todo, mailhaul.FieldSize, 0) {
			if err != nil {
				return err
			}
			m.Bytes += max(0, msg.Size)
		}
		return nil
	}
}
