// The Syncer: what a program makes, runs and stops.

package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// Errors of Run.
var (
	// ErrDrained is returned by Run when Drain ended it before everything was
	// moved. What was in flight has been finished and recorded.
	ErrDrained = errors.New("stopped on request; run it again to go on")

	// ErrFolders is wrapped by the error of a folder plan that cannot be
	// carried out: two mailboxes would land in one. Nothing has been written;
	// Config.Rename or Config.Exclude is the cure.
	ErrFolders = errors.New("the mailboxes cannot be mapped")

	// ErrRunning is returned by Run when the Syncer runs already.
	ErrRunning = errors.New("sync: this Syncer is running already")
)

// Syncer moves the mail of one account to another. It may be run any number
// of times, one Run at a time.
type Syncer struct {
	cfg Config

	mu      stdsync.Mutex // protects what follows
	running bool
	drain   chan struct{} // closed by Drain; of the present Run
}

// New checks the configuration and returns a Syncer. It does no I/O. The error
// lists every mistake in cfg.
func New(cfg Config) (*Syncer, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Syncer{cfg: cfg.applyDefaults()}, nil
}

// Run makes one pass: it moves what is on the source and not yet on the
// target, carries changed flags over, and records each step. It returns when
// every goroutine that it started has ended; after ctx is done that takes no
// longer than 2 seconds.
//
// The Result is never nil: it says what was done up to the end, or up to the
// error. An error means that the pass was stopped; its Kind says why
// ([mailhaul.Auth], [mailhaul.OverQuota] and so on). Messages and mailboxes that
// could not be moved are no error: they are in Result.Failed. Whatever
// happened, another Run goes on from there, and is safe.
func (s *Syncer) Run(ctx context.Context) (*Result, error) {
	drain, err := s.begin()
	if err != nil {
		return newTally(s.cfg).result(nil), err
	}
	defer s.end()
	return newRun(s.cfg, drain).pass(ctx)
}

func newRun(cfg Config, drain <-chan struct{}) *run {
	return &run{cfg: cfg, tally: newTally(cfg), emit: emitter{ev: cfg.Events}, start: time.Now(), drain: drain}
}

// Drain makes the present Run, if any, finish what is in flight, record it and
// return ErrDrained. It returns at once.
func (s *Syncer) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return
	}
	select {
	case <-s.drain:
	default:
		close(s.drain)
	}
}

func (s *Syncer) begin() (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return nil, ErrRunning
	}
	s.running, s.drain = true, make(chan struct{})
	return s.drain, nil
}

func (s *Syncer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
}

// run is one Run of a Syncer.
type run struct {
	cfg      Config
	ledger   *checkpoint.Ledger
	tally    *tally
	emit     emitter
	meter    meter
	source   *mailhaul.Listing
	target   *mailhaul.Listing
	every    []*job // of all mailboxes, views last
	start    time.Time
	drain    <-chan struct{}
	mu       stdsync.Mutex   // protects taken
	taken    map[string]bool // places on the target that a mailbox has, joined by NUL
	stuck    atomic.Int32    // mailboxes given up for their connection, in a row
	cut      atomic.Bool     // Drain left something undone
	partial  bool            // this is a pass over some mailboxes
	whole    atomic.Bool     // one over everything has to follow
	eight    eightBit
	suspects int // pairs of mailboxes that were opened to find a renamed one; of prepare
}

// draining reports whether Drain was called.
func (r *run) draining() bool {
	select {
	case <-r.drain:
		return true
	default:
		return false
	}
}

// pass moves everything once.
func (r *run) pass(ctx context.Context) (*Result, error) {
	var order []string
	before := r.traffic()
	err := func() error {
		plan, err := r.prepare(ctx)
		if err != nil {
			return err
		}
		jobs, views, err := r.jobs(ctx, plan)
		if err != nil {
			return err
		}
		r.every = slices.Concat(jobs, views)
		for _, j := range r.every {
			order = append(order, j.source.Name)
		}
		defer r.warm(ctx, jobs)()
		if err := r.chooseIdentity(ctx, jobs); err != nil {
			return err
		}
		if err := r.preflight(ctx, jobs); err != nil {
			return err
		}
		if err := r.makeMailboxes(ctx, jobs); err != nil {
			return err
		}
		r.emit.started(started(r.cfg, plan))
		if err := r.work(ctx, jobs); err != nil {
			return err
		}
		for _, v := range views {
			err := r.retry(ctx, v.source.Name, r.cfg.Retries, func() error { return v.leaveOutHeldElsewhere(ctx, jobs) })
			if err != nil {
				return err
			}
		}
		if err := r.work(ctx, views); err != nil {
			return err
		}
		gone, err := r.departedJobs(ctx)
		if err != nil {
			return err
		}
		for _, j := range gone {
			order = append(order, j.source.Name)
			if err := j.runDeparted(ctx); err != nil {
				return err
			}
		}
		return r.conclude(ctx, append(jobs, views...), true)
	}()
	return r.outcome(ctx, order, before, err)
}

// outcome makes the Result of a pass, and its error.
func (r *run) outcome(ctx context.Context, order []string, before int64, err error) (*Result, error) {
	err = graver(err, r.record(ctx))
	for _, side := range []any{r.cfg.Source, r.cfg.Target} {
		if w, ok := mailhaul.As[mailhaul.Warner](side); ok {
			for _, text := range w.Warnings() {
				r.tally.warn(text)
			}
		}
	}
	res := r.tally.result(order)
	res.Seconds = time.Since(r.start).Seconds()
	res.RoundTrips = r.traffic() - before
	switch {
	case ctx.Err() != nil && err != nil:
		err = fmt.Errorf("stopped: %w", ctx.Err())
	case err == nil && r.cut.Load():
		err = ErrDrained
	}
	return res, err
}

// traffic returns the waits for a server so far, of the larger side.
func (r *run) traffic() int64 {
	var most int64
	for _, side := range []any{r.cfg.Source, r.cfg.Target} {
		if m, ok := mailhaul.As[mailhaul.Meter](side); ok {
			most = max(most, m.Traffic().RoundTrips)
		}
	}
	return most
}

// prepare lists both sides and makes the folder plan.
func (r *run) prepare(ctx context.Context) (*folderPlan, error) {
	var err error
	pair := checkpoint.Pair{From: r.cfg.Source.Account(), To: r.cfg.Target.Account()}
	if r.ledger, err = checkpoint.OpenLedger(ctx, r.cfg.Store, pair); err != nil {
		return nil, err
	}
	r.cfg.Source = withUIDs(r.cfg.Source, r.ledger)
	var source, target *mailhaul.Listing
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		source, err = r.list(gctx, r.cfg.Source)
		return err
	})
	g.Go(func() (err error) {
		target, err = r.list(gctx, r.cfg.Target)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, w := range append(source.Warnings, target.Warnings...) {
		r.tally.warn(w)
	}
	r.source, r.target = source, target
	if err := r.followRenames(ctx, source, target); err != nil {
		return nil, err
	}
	earlier, err := r.earlier(ctx, target)
	if err != nil {
		return nil, err
	}
	plan, err := planFolders(source, target, folderOptions{
		Include: r.cfg.Include, Exclude: r.cfg.Exclude, Rename: r.cfg.Rename, Shared: r.cfg.Shared,
		Earlier: earlier,
	})
	if err != nil {
		return nil, err
	}
	for _, w := range plan.Warnings {
		r.tally.warn(w)
	}
	return plan, nil
}

// earlier says where an earlier pass put a mailbox, if it is still there.
func (r *run) earlier(ctx context.Context, target *mailhaul.Listing) (func(mailhaul.Mailbox) []string, error) {
	paths := make(map[string][]string, len(target.Mailboxes))
	for _, m := range target.Mailboxes {
		paths[m.Wire] = m.Path
	}
	known, err := r.ledger.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	places := make(map[string][]string, len(known))
	for _, wire := range known {
		led, err := r.ledger.Mailbox(ctx, wire)
		if err != nil {
			return nil, err
		}
		places[wire] = paths[led.State().Target]
	}
	return func(m mailhaul.Mailbox) []string { return places[m.Wire] }, nil
}

// list asks one side for its mailboxes. This is the first contact: it is tried
// again only twice, so that a wrong host name does not take minutes to show.
func (r *run) list(ctx context.Context, side mailhaul.Source) (l *mailhaul.Listing, err error) {
	err = r.retry(ctx, "", min(2, r.cfg.Retries), func() (err error) {
		l, err = side.List(ctx)
		return err
	})
	return l, err
}

// wait tells why the run pauses.
func (r *run) wait(mailbox string, d time.Duration, reason error) {
	r.cfg.Logger.Warn("waiting", "mailbox", mailbox, "for", d, "reason", reason)
	r.emit.waiting(Waiting{Mailbox: mailbox, For: d, Reason: reason.Error()})
}

// claim takes a place on the target, unless another mailbox has it.
func (r *run) claim(path []string) bool {
	key := strings.Join(path, "\x00")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[key] {
		return false
	}
	r.taken[key] = true
	return true
}

// jobs turns the folder plan into work, the views apart, and counts what the
// plan leaves out.
func (r *run) jobs(ctx context.Context, plan *folderPlan) (jobs, views []*job, err error) {
	r.taken = make(map[string]bool)
	for _, m := range r.target.Mailboxes {
		r.claim(m.Path)
	}
	for _, m := range plan.Moves {
		r.claim(m.TargetPath)
		if m.Container {
			continue
		}
		led, err := r.ledger.Mailbox(ctx, m.Source.Wire)
		if err != nil {
			return nil, nil, err
		}
		j := newJob(r, m, led)
		if m.View {
			views = append(views, j)
		} else {
			jobs = append(jobs, j)
		}
	}
	for _, s := range plan.Skipped {
		r.tally.warn(fmt.Sprintf("mailbox %q is left out: %s", s.Mailbox.Name, s.Reason))
	}
	return jobs, views, nil
}

func started(cfg Config, plan *folderPlan) Started {
	s := Started{From: cfg.Source.Account().String(), To: cfg.Target.Account().String()}
	for _, m := range plan.Moves {
		if m.Container {
			continue
		}
		s.Mailboxes++
		if m.Source.Status != nil && !m.View {
			s.Messages += int(m.Source.Status.Messages)
		}
	}
	return s
}

// work carries the jobs out, Config.Mailboxes at a time: INBOX first, for
// whoever waits for it, then those with the most messages, so that none of them
// is left to the end, when it would run alone.
func (r *run) work(ctx context.Context, jobs []*job) error {
	r.eight.ask(r.cfg.Target)
	jobs = slices.Clone(jobs)
	slices.SortStableFunc(jobs, func(a, b *job) int {
		if a.source.IsInbox() != b.source.IsInbox() {
			if a.source.IsInbox() {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.expected(), a.expected())
	})
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Mailboxes)
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return j.run(ctx) })
	}
	return g.Wait()
}

// warm has the connections opened that the jobs will need, while other things
// are done. The function that it returns ends that.
func (r *run) warm(ctx context.Context, jobs []*job) (end func()) {
	n := 0
	for _, j := range jobs {
		if !j.unchanged() {
			n++
		}
	}
	n = min(n, r.cfg.Mailboxes)
	ctx, cancel := context.WithCancel(ctx)
	var warming stdsync.WaitGroup
	for _, side := range []any{r.cfg.Source, r.cfg.Target} {
		if w, ok := mailhaul.As[mailhaul.Warmer](side); ok && n > 1 {
			warming.Go(func() { w.Warm(ctx, n) })
		}
	}
	return func() {
		cancel()
		warming.Wait()
	}
}

// makeMailboxes makes what is missing on the target at once, and subscribes to
// what is there, where the target can do that. What it does not do is left to the
// mailbox's own job.
func (r *run) makeMailboxes(ctx context.Context, jobs []*job) error {
	bulk, ok := mailhaul.As[mailhaul.BulkCreator](r.cfg.Target)
	if !ok {
		return nil
	}
	var wanted []mailhaul.NewMailbox
	var of []*job
	for _, j := range jobs {
		if j.target.Wire == "" && j.led.State().Target != "" {
			continue // its user has removed it
		}
		if subscribe := j.folder.Subscribe && !j.target.Subscribed; j.target.Wire == "" || subscribe {
			wanted = append(wanted, mailhaul.NewMailbox{
				Path: j.folder.TargetPath, Role: j.folder.Role, Subscribe: subscribe, Wire: j.target.Wire,
			})
			of = append(of, j)
		}
	}
	if len(wanted) < 2 {
		return nil
	}
	var made []mailhaul.Mailbox
	err := r.retry(ctx, "", r.cfg.Retries, func() (err error) {
		made, err = bulk.CreateMany(ctx, wanted)
		return err
	})
	if err != nil {
		return err
	}
	for i, m := range made {
		switch j := of[i]; {
		case wanted[i].Wire != "":
			j.target.Subscribed = m.Subscribed
		case m.Wire != "":
			j.made(m)
		}
	}
	return nil
}

// conclude notes, for each mailbox that is done, how the target looks now, so
// that the next pass can see at a glance that nothing has changed. Where that
// contradicts what the server said before, the mailbox is compared once more.
func (r *run) conclude(ctx context.Context, jobs []*job, doubt bool) error {
	changed := false
	for _, j := range jobs {
		changed = changed || j.complete && !j.untouched
	}
	if !changed || r.draining() {
		return nil
	}
	listing, err := r.list(ctx, r.cfg.Target)
	if err != nil {
		// All mail is moved and recorded; the next pass only has to look.
		r.cfg.Logger.Warn("the target could not be listed at the end", "error", err)
		return ctx.Err()
	}
	status := make(map[string]*mailhaul.Status, len(listing.Mailboxes))
	for _, m := range listing.Mailboxes {
		status[m.Wire] = m.Status
	}
	var doubted []*job
	for _, j := range jobs {
		if st := status[j.target.Wire]; doubt && j.complete && !j.untouched && st != nil && j.contradicted(*st) {
			j.reopen()
			doubted = append(doubted, j)
		}
	}
	if len(doubted) > 0 {
		if err := r.work(ctx, doubted); err != nil {
			return err
		}
		return r.conclude(ctx, jobs, false)
	}
	for _, j := range jobs {
		st := status[j.target.Wire]
		state := j.led.State()
		if j.untouched || st == nil || state.Target != j.target.Wire {
			continue
		}
		if j.complete {
			state.TargetStatus = *st
		}
		state.SourceID, state.TargetID = mailboxID(j.source, state.SourceID), cmp.Or(st.MailboxID, state.TargetID)
		j.led.SetState(state)
		j.led.Defer()
	}
	return nil
}

// record makes durable how mailboxes have ended, even when ctx is done.
func (r *run) record(ctx context.Context) error {
	if r.ledger == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return r.ledger.Commit(ctx)
}
