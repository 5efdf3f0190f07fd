// Follow: an account is kept in step while its users go on working.

package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
)

// FollowOptions says for how long, and how closely, an account is followed. The
// zero value follows it for 48 hours.
type FollowOptions struct {
	// For is how long at most. Default 48 h, which is how long mail may arrive
	// at a server that the DNS has ceased to name.
	For time.Duration

	// UntilQuiet ends it as soon as no pass has found anything to do
	// ([Result.Changed]) for so long. Default: it does not.
	UntilQuiet time.Duration

	// Until is asked after each pass, and ends it by returning true. Default:
	// nobody is asked.
	Until func(Pass) bool

	// Poll is how often the source is asked, by one listing, which of its
	// mailboxes have changed: those that its server does not tell of. Default
	// 1 minute, and as much longer as it takes for such a listing to be no more
	// than a tenth of the time. A POP3 account, which is locked while it is
	// asked, is never asked more often than each 5 minutes.
	Poll time.Duration

	// Whole is how often a pass over everything is made though nothing was told:
	// it finds changed flags of a source that keeps no mod-sequences (RFC
	// 7162), and what the target's user has removed. Default 1 hour.
	Whole time.Duration

	// Passed is called after each pass.
	Passed func(Pass)

	// Watching is called when the server begins to tell of changes, with the
	// number of mailboxes that it tells of, and when that has ended, with 0 and
	// the reason. It is called on a goroutine of its own and must not block.
	Watching func(told int, reason error)
}

// Pass is one pass of several.
type Pass struct {
	Whole  bool // over everything; else over what had changed
	Result *Result
	Err    error // why it was stopped, if it was
}

// The least time between two looks into a POP3 account, and how long Follow
// waits for more when it has been told of a change: as long as the last pass
// took if that is longer, so that a server that never stops telling has half of
// the time to itself. Passes over everything are made for the sake of what is told
// no more often than listings says.
const (
	popPoll   = 5 * time.Minute
	gathering = 200 * time.Millisecond
	gatherMax = 5 * time.Second
	listings  = 10 * time.Second
)

func (o FollowOptions) withDefaults(source mailhaul.Source) (FollowOptions, error) {
	var errs []error
	for _, f := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{{"For", &o.For, 48 * time.Hour}, {"Poll", &o.Poll, time.Minute}, {"Whole", &o.Whole, time.Hour}, {"UntilQuiet", &o.UntilQuiet, 0}} {
		if *f.value < 0 {
			errs = append(errs, fmt.Errorf("sync: FollowOptions.%s is %v; it cannot be negative", f.name, *f.value))
		}
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	if source.Account().Protocol == mailhaul.POP3 {
		o.Poll = max(o.Poll, popPoll)
	}
	return o, errors.Join(errs...)
}

// Follow keeps the target in step with the source until there is a reason to
// stop. It makes a pass over everything, as [Syncer.Run] does, and from then on
// passes over what has changed: at once where the source's server tells of it
// ([mailhaul.Watcher]), and within FollowOptions.Poll elsewhere. Watching takes
// one of the source's connections. In the end, be it the time, the quiet or
// the condition, it makes a last pass over everything.
//
// The Result is never nil and sums all passes up: what was done adds up, and
// what could not be moved is what the last look at each mailbox found. An error
// of the first pass ends it. Afterwards a connection that is lost, a server
// that is down, or one that asks for less, is waited for, longer each time up
// to 5 minutes; refused credentials, a full target and whatever else another
// try will not change end it.
//
// Drain and the end of ctx stop it as they stop Run, without a last pass. Like
// Run it may be repeated at any time. Config.Events are those of each pass; the
// Syncer runs as long as this lasts.
func (s *Syncer) Follow(ctx context.Context, opts FollowOptions) (*Result, error) {
	opts, err := opts.withDefaults(s.cfg.Source)
	if err != nil {
		return newTally(s.cfg).result(nil), err
	}
	drain, err := s.begin()
	if err != nil {
		return newTally(s.cfg).result(nil), err
	}
	defer s.end()
	now := time.Now()
	f := &follower{
		cfg: s.cfg, opts: opts, drain: drain, pop: s.cfg.Source.Account().Protocol == mailhaul.POP3,
		emit: emitter{ev: s.cfg.Events}, sum: newTally(s.cfg).result(nil),
		until: now.Add(opts.For), quietFrom: now, news: newNews(),
	}
	err = f.run(ctx)
	f.ears.stop()
	return f.sum, err
}

// follower is one Follow.
type follower struct {
	cfg   Config
	opts  FollowOptions
	drain <-chan struct{}
	pop   bool
	emit  emitter
	sum   *Result
	until time.Time

	ground *ground // of the last pass over everything
	news   *news
	ears   *ears           // nil: nobody listens
	closed map[string]bool // mailboxes that the last pass over everything could not move at all

	nextPoll, nextWhole time.Time
	nextListed          time.Time     // when a change of the list of mailboxes is heeded again
	took                time.Duration // by the last pass
	lastPass            time.Time     // when the last pass ended
	lastWhole           bool          // and whether it looked at everything
	quietFrom           time.Time     // since when there was nothing to do
	failures            int           // in a row
	notBefore           time.Time     // after a failure
	condition           bool          // Until has said that it is the end
}

// errOver ends the loop: all is done.
var errOver = errors.New("over")

func (f *follower) run(ctx context.Context) error {
	if err := f.whole(ctx); err != nil {
		return err
	}
	for {
		err := f.step(ctx)
		if errors.Is(err, errOver) {
			return nil
		}
		if err = f.endure(ctx, err); err != nil {
			return err
		}
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
}

// step does what is due.
func (f *follower) step(ctx context.Context) error {
	now := time.Now()
	if now.Before(f.notBefore) {
		return nil
	}
	if f.news.hasBegun() {
		f.nextPoll = now
	}
	if f.ending(now) {
		return f.last(ctx, now)
	}
	switch changed, list := f.news.look(f.ground); {
	case list && !now.Before(f.nextListed), !now.Before(f.nextWhole):
		err := f.whole(ctx)
		if list {
			f.nextListed = time.Now().Add(listings)
		}
		return err
	case len(changed) > 0:
		return f.some(ctx, changed)
	case !now.Before(f.nextPoll):
		return f.poll(ctx)
	}
	return nil
}

// ending reports whether there is a reason to stop. It is quiet when there was
// nothing to do, whatever a server may tell meanwhile: the last pass looks at
// that, too.
func (f *follower) ending(now time.Time) bool {
	return f.condition || !now.Before(f.until) ||
		f.opts.UntilQuiet > 0 && now.Sub(f.quietFrom) >= f.opts.UntilQuiet
}

// last makes the last pass, unless the one before was it. Where that finds that
// it was not so quiet, it goes on.
func (f *follower) last(ctx context.Context, now time.Time) error {
	if f.lastWhole && f.news.none() && now.Sub(f.lastPass) < time.Second {
		return errOver // it has just ended
	}
	if f.pop && now.Before(f.lastPass.Add(popPoll)) {
		f.notBefore = f.lastPass.Add(popPoll)
		return nil
	}
	if err := f.whole(ctx); err != nil {
		return err
	}
	if f.condition || !time.Now().Before(f.until) || f.quietFrom.Before(f.lastPass) {
		return errOver
	}
	return nil
}

// whole makes a pass over everything.
func (f *follower) whole(ctx context.Context) error {
	f.news.clear()
	r := newRun(f.cfg, f.drain)
	if f.pop && f.ground != nil {
		r.cfg.Retries = 0 // the next poll is the next try
	}
	res, err := r.pass(ctx)
	f.nextWhole = time.Now().Add(f.opts.Whole)
	if f.pop {
		f.nextWhole = time.Now().Add(f.opts.Poll)
	}
	f.nextPoll = time.Now().Add(f.opts.Poll)
	if err == nil {
		f.ground = r.ground()
		f.closed = wholly(res.Failed)
	} else {
		f.news.list()
	}
	err = f.passed(ctx, true, res, err)
	if err == nil {
		f.listen(ctx)
	}
	return err
}

// some makes a pass over mailboxes that have changed.
func (f *follower) some(ctx context.Context, changed map[string]bool) error {
	f.news.forget(changed)
	r := newRun(f.cfg, f.drain)
	res, err := r.some(ctx, f.ground, changed)
	if err != nil {
		f.news.add(changed)
	}
	if r.whole.Load() {
		f.news.list()
	}
	for mailbox := range wholly(res.Failed) {
		if !f.closed[mailbox] {
			f.news.list() // it may have been renamed, or be gone
		}
	}
	return f.passed(ctx, false, res, err)
}

// wholly returns the mailboxes that failed as a whole.
func wholly(failed []Failure) map[string]bool {
	boxes := make(map[string]bool)
	for _, f := range failed {
		if f.UID == 0 && f.UIDL == "" {
			boxes[f.Mailbox] = true
		}
	}
	return boxes
}

// passed takes note of a pass.
func (f *follower) passed(ctx context.Context, whole bool, res *Result, err error) error {
	f.sum.add(res, whole)
	f.lastPass, f.lastWhole = time.Now(), whole && err == nil
	f.took = time.Duration(res.Seconds * float64(time.Second))
	if res.Changed() || err != nil {
		f.quietFrom = f.lastPass
	}
	p := Pass{Whole: whole, Result: res, Err: err}
	if f.opts.Passed != nil {
		f.opts.Passed(p)
	}
	if f.opts.Until != nil && f.opts.Until(p) {
		f.condition = true
	}
	return err
}

// poll asks the source which mailboxes have changed.
func (f *follower) poll(ctx context.Context) error {
	if f.pop {
		return f.whole(ctx)
	}
	start := time.Now()
	listing, err := f.cfg.Source.List(ctx)
	f.nextPoll = time.Now().Add(max(f.opts.Poll, 9*time.Since(start)))
	if err != nil {
		return err
	}
	changed, list := compareListings(f.ground.source, listing)
	f.ground.source = listing
	f.news.add(changed)
	if list {
		f.news.list()
	}
	if f.ears.hearsAll(f.ground) {
		f.nextPoll = f.nextWhole
	}
	f.failures = 0
	return nil
}

// compareListings says which mailboxes are not as they were, by wire name, and
// whether they are others than before.
func compareListings(before, now *mailhaul.Listing) (changed map[string]bool, list bool) {
	changed = make(map[string]bool)
	known := make(map[string]mailhaul.Mailbox, len(before.Mailboxes))
	for _, m := range before.Mailboxes {
		known[m.Wire] = m
	}
	for _, m := range now.Mailboxes {
		was, ok := known[m.Wire]
		delete(known, m.Wire)
		if !ok || was.NoSelect != m.NoSelect || was.Subscribed != m.Subscribed || was.Role != m.Role {
			list = true
			continue
		}
		if !m.NoSelect && !sameStatus(was.Status, m.Status) {
			changed[m.Wire] = true
		}
	}
	return changed, list || len(known) > 0
}

// sameStatus reports whether both say that nothing has changed; who says
// nothing does not say that.
func sameStatus(a, b *mailhaul.Status) bool {
	return a != nil && b != nil && a.Messages == b.Messages && a.UIDNext == b.UIDNext &&
		a.UIDValidity == b.UIDValidity && a.HighestModSeq == b.HighestModSeq
}

// endure decides whether an error ends it, or is waited for.
func (f *follower) endure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped: %w", ctx.Err())
	}
	e, ok := errors.AsType[*mailhaul.Error](err)
	if !ok {
		return err // ErrDrained, ErrFolders, the checkpoint
	}
	switch e.Kind {
	case mailhaul.Transient, mailhaul.Throttled, mailhaul.Conflict:
	case mailhaul.Corrupt:
		if f.failures >= f.cfg.Retries {
			return err
		}
	default:
		return err
	}
	left := time.Until(f.until)
	if left <= 0 {
		return err
	}
	f.failures++
	wait := max(e.Wait, backoff(f.failures, 5*time.Second, 5*time.Minute))
	if f.pop {
		wait = max(wait, popPoll)
	}
	wait = min(wait, left) // the last pass is tried in any case
	f.notBefore = time.Now().Add(wait)
	f.cfg.Logger.Warn("waiting", "for", wait, "reason", err)
	f.emit.waiting(Waiting{For: wait, Reason: err.Error()})
	return nil
}

// wait waits until something is due, or has been told of.
func (f *follower) wait(ctx context.Context) error {
	now := time.Now()
	if f.lastPass.After(f.notBefore) {
		f.failures = 0
	}
	due := slices.MinFunc([]time.Time{f.nextPoll, f.nextWhole, f.until}, time.Time.Compare)
	if f.opts.UntilQuiet > 0 && f.news.none() {
		if quiet := f.quietFrom.Add(f.opts.UntilQuiet); quiet.Before(due) {
			due = quiet
		}
	}
	if !f.news.none() || f.condition {
		due = now.Add(gathering)
	}
	wake := f.news.wake
	if f.notBefore.After(now) {
		due, wake = f.notBefore, nil
	}
	t := time.NewTimer(max(0, due.Sub(now)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-wake:
		return f.gather(ctx)
	case <-f.drain:
		return ErrDrained
	case <-ctx.Done():
		return fmt.Errorf("stopped: %w", ctx.Err())
	}
}

// gather waits for more of what has begun to happen.
func (f *follower) gather(ctx context.Context) error {
	t := time.NewTimer(min(gatherMax, max(gathering, f.took)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-f.drain:
		return ErrDrained
	case <-ctx.Done():
		return fmt.Errorf("stopped: %w", ctx.Err())
	}
}
