// One mailbox's way from one account to the other: the loop around its passes.

package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// job moves one mailbox. One goroutine runs it, but for the stages of its
// pipeline.
type job struct {
	r      *run
	source mailhaul.Mailbox
	target mailhaul.Mailbox // Wire is empty until the mailbox exists
	folder folderMove
	led    *checkpoint.MailboxLedger
	res    MailboxResult

	complete  bool // everything is accounted for
	untouched bool // there was nothing to look at

	listing mailhaul.UIDSet // the source's messages, as first listed in this run
	known   bool            // listing has been filled in
	skipped mailhaul.UIDSet // those of them that an earlier run has moved

	decided  map[Side]Decision        // what Config.Confirm said
	departed int                      // copies whose messages are gone from the source, decided about
	noReturn mailhaul.UIDSet          // messages that are not moved again, should nothing on the target look like them
	sought   bool                     // the target mailbox was found to be another, and the right one looked for
	short    int                      // messages that the source has and does not list
	shorts   int                      // how often it was asked again because of that
	outlived map[mailhaul.UID]attempt // messages that were sent, looked for until the settle time was over, and not found
	rebased  mailhaul.UIDSet          // messages whose flags this run has merged
	merges   int                      // how often flags changed between reading and writing them

	recognised mailhaul.UIDSet // UIDs on the target that this run has recorded by content

	identityJob

	mu       stdsync.Mutex                // protects what follows, and res, from the appenders, of which there may be several
	missing  mailhaul.UIDSet              // listed by the source but not delivered, in this pass
	failed   mailhaul.UIDSet              // given up in this run
	vanished mailhaul.UIDSet              // gone from the source
	altered  mailhaul.UIDSet              // listed as having other octets on the target
	top      mailhaul.UID                 // the highest that the target named since it was last compared
	there    int                          // messages that it must hold
	sent     map[mailhaul.UID]sentMessage // messages that were sent and whose UID on the target is not known
	checks   map[mailhaul.UID]fingerprint // to be read back, by source UID
	lostAt   time.Time                    // when a connection was last lost with messages in doubt

	// What broke a connection or was refused together is tried again in
	// smaller pieces.
	limit    int
	alone    mailhaul.UIDSet
	suspects mailhaul.UIDSet
	strikes  map[mailhaul.UID]int
	lastErr  map[mailhaul.UID]error // why a message's body did not come

	done  int          // messages moved in this run
	bytes int64        // of those
	total atomic.Int64 // octets found to be moved so far; the fetching goroutine adds to it
}

func newJob(r *run, m folderMove, led *checkpoint.MailboxLedger) *job {
	j := &job{
		r: r, source: m.Source, folder: m, led: led, limit: r.cfg.BatchMessages,
		sent:     make(map[mailhaul.UID]sentMessage),
		outlived: make(map[mailhaul.UID]attempt),
		checks:   make(map[mailhaul.UID]fingerprint),
		strikes:  make(map[mailhaul.UID]int),
		lastErr:  make(map[mailhaul.UID]error),
	}
	if m.Target != nil {
		j.target = *m.Target
	}
	return j
}

// sentMessage is a message as it was sent.
type sentMessage struct {
	size   int64
	flags  []mailhaul.Flag
	stored bool // the server said that it has it
}

// attempt is what was sent of a message, and to where, and not found there in
// time. A Dovecot that was killed may find such messages when the next one is
// appended, and show them without flags.
type attempt struct {
	flags     []mailhaul.Flag
	validity  mailhaul.UIDValidity
	watermark mailhaul.UID
}

// maxStrikes is how often a message may break a connection, or stay away
// although it is listed, before it is given up.
const maxStrikes = 5

// run works until the mailbox is done or given up. An error stops the run of
// the account.
func (j *job) run(ctx context.Context) error {
	j.r.emit.mailbox(MailboxEvent{Source: j.source.Name, Target: j.target.Name, Messages: j.expected()})
	err := j.loop(ctx)
	j.conclude(ctx, err)
	j.r.emit.mailbox(MailboxEvent{Source: j.source.Name, Target: j.target.Name, Messages: j.res.Messages, Done: true, Result: j.res})
	return err
}

func (j *job) expected() int {
	if j.source.Status == nil {
		return 0
	}
	return int(j.source.Status.Messages)
}

func (j *job) loop(ctx context.Context) error {
	if j.r.draining() {
		j.r.cut.Store(true)
		return nil
	}
	if j.unchanged() {
		j.untouched, j.complete = true, true
		return nil
	}
	if j.folder.View && j.known && j.target.Wire == "" {
		recorded, _, err := j.led.Sets(ctx)
		if err != nil || len(j.listing.Minus(recorded)) == 0 {
			return err // other mailboxes hold all of it
		}
	}
	tries := attempts{limit: j.r.cfg.Retries}
	for {
		before := j.advanced()
		again, err := j.pass(ctx)
		if held, ok := errors.AsType[*heldError](err); ok {
			j.hold(held)
			return j.record(ctx)
		}
		if errors.Is(err, errWhole) {
			j.r.whole.Store(true)
			return j.record(ctx)
		}
		if err != nil || again { // else the balance is drawn first
			err = graver(err, j.record(ctx))
		}
		if j.advanced() > before {
			tries.progress()
			j.r.stuck.Store(0)
		}
		switch {
		case errors.Is(err, ErrDrained):
			j.r.cut.Store(true)
			return nil
		case err == nil && !again:
			return nil
		case err == nil:
			err = j.errorf("move", mailhaul.Transient, errors.New("the mailbox changes faster than it can be compared"))
		default:
			j.broken = true
			if j.isolate(err) {
				tries.progress()
			}
		}
		v, wait := tries.after(ctx, err)
		if again {
			wait = 0
		}
		switch v {
		case failMailbox:
			if scope(err) == mailhaul.ScopeConnection && j.r.stuck.Add(1) > 1 {
				return err // it is the server, not the mailbox
			}
			j.giveUp(err)
			return nil
		case stopRun:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if mailhaul.KindOf(err) == mailhaul.Conflict && scope(err) == mailhaul.ScopeMailbox {
			j.target.Wire = "" // made anew by the next pass, or found again
		}
		if !again {
			j.r.wait(j.source.Name, wait, err)
		}
		switch perr := j.r.pause(ctx, wait); {
		case errors.Is(perr, ErrDrained):
			j.r.cut.Store(true)
			return nil
		case perr != nil:
			return perr
		}
	}
}

// maxShorts is how often a source that lists fewer messages than it has is
// asked again.
const maxShorts = 2

// advanced grows with whatever a pass has settled.
func (j *job) advanced() int { return j.done + j.failed.Len() + j.vanished.Len() + j.departed }

// pass does what can be done with one set of connections. again asks for
// another: something has to be looked at once more.
func (j *job) pass(ctx context.Context) (again bool, err error) {
	if j.target.Wire == "" && j.led.State().Target != "" {
		if done, err := j.targetGone(ctx); err != nil || done {
			return false, err
		}
	}
	if err := j.makeTarget(ctx); err != nil {
		return false, err
	}
	if err := j.recover(ctx); err != nil {
		return false, err
	}
	var c *comparison
	if !j.freshTarget() {
		if c, err = j.compareUntilSettled(ctx); err != nil {
			return false, err
		}
	}
	if again, err = j.move(ctx, c); again || err != nil {
		return again, err
	}
	if len(j.led.Intents()) > 0 && len(j.sent) > 0 {
		return true, nil // stored, but the server did not say where
	}
	if again, err = j.readBack(ctx); again || err != nil {
		return again, err
	}
	if j.short > 0 && j.shorts < maxShorts {
		j.shorts++
		return true, nil // as in compare, which has not been asked
	}
	return j.proveIdentity(ctx)
}

// compareUntilSettled compares until no message is in doubt any more.
func (j *job) compareUntilSettled(ctx context.Context) (*comparison, error) {
	for {
		c, err := j.compare(ctx)
		if err != nil || c.wait == 0 {
			return c, err
		}
		j.r.wait(j.source.Name, c.wait, errors.New("the target may still store messages whose answer was lost"))
		if err := j.r.pause(ctx, c.wait); err != nil {
			return nil, err
		}
	}
}

// makeTarget makes the mailbox on the target where it is missing.
func (j *job) makeTarget(ctx context.Context) error {
	if j.target.Wire == "" {
		m, err := j.create(ctx)
		if err != nil {
			return err
		}
		j.made(m)
	}
	if j.folder.Subscribe && !j.target.Subscribed {
		if err := j.r.cfg.Target.Subscribe(ctx, j.target); err != nil {
			if v := mailhaul.KindOf(err); v != mailhaul.Permanent {
				return err
			}
			j.r.tally.warn(fmt.Sprintf("mailbox %q could not be subscribed to: %v", j.target.Name, err))
		}
		j.target.Subscribed = true
	}
	return nil
}

// made takes over a mailbox that was made. It is taken to be empty, which move
// makes sure of.
func (j *job) made(m mailhaul.Mailbox) {
	m.Subscribed = m.Subscribed || j.target.Subscribed
	if m.Status == nil {
		m.Status = &mailhaul.Status{}
	}
	j.target = m
}

// create makes the mailbox, under a plainer name if the target refuses the one
// that was planned.
func (j *job) create(ctx context.Context) (mailhaul.Mailbox, error) {
	m, err := j.r.cfg.Target.Create(ctx, j.folder.TargetPath, j.folder.Role)
	if mailhaul.KindOf(err) != mailhaul.Permanent || scope(err) != mailhaul.ScopeMailbox {
		return m, err
	}
	path := plainPath(j.folder.TargetPath)
	if slices.Equal(path, j.folder.TargetPath) || !j.r.claim(path) {
		return m, err
	}
	m, again := j.r.cfg.Target.Create(ctx, path, j.folder.Role)
	if again != nil {
		return m, err
	}
	j.r.tally.warn(fmt.Sprintf("mailbox %q: the target refuses the name %q; it is %q there", j.source.Name, j.r.target.Naming.Join(j.folder.TargetPath), m.Name))
	j.folder.TargetPath = path
	return m, nil
}

// unchanged reports whether both sides' listings show that nothing has
// happened since the last pass was completed. Flags are only covered where the
// source keeps mod-sequences (RFC 7162); what the target's user does to flags
// is not our concern.
func (j *job) unchanged() bool {
	st, s, t := j.led.State(), j.source.Status, j.target.Status
	if !st.Complete || s == nil || t == nil || st.Target != j.target.Wire || j.folder.Subscribe && !j.target.Subscribed {
		return false
	}
	return s.HighestModSeq != 0 && s.HighestModSeq == st.SourceStatus.HighestModSeq &&
		s.UIDValidity == st.SourceValidity && s.UIDNext == st.SourceStatus.UIDNext && s.UIDNext != 0 &&
		s.Messages == st.SourceStatus.Messages &&
		t.UIDValidity == st.TargetValidity && t.UIDNext == st.TargetStatus.UIDNext && t.UIDNext != 0 &&
		t.UIDNext <= st.Explained && t.Messages == st.TargetStatus.Messages &&
		(!st.Departed || j.r.cfg.Deletes == DeletesKeep)
}

// freshTarget reports whether the target mailbox is known to be empty and
// nothing is recorded of it, so that there is nothing to compare.
func (j *job) freshTarget() bool {
	return j.led.State().Target == "" && len(j.led.Intents()) == 0 && j.target.Status != nil && j.target.Status.Messages == 0
}

// isolate narrows down what broke a connection: it halves the batches, and
// counts what a single message has broken. It reports whether it learnt
// anything.
func (j *job) isolate(err error) bool {
	s := j.suspects
	j.suspects = nil
	if j.shrunk {
		j.shrunk = false
		return true
	}
	if s.Len() == 0 || scope(err) != mailhaul.ScopeConnection {
		return false
	}
	if s.Len() > 1 {
		j.limit = max(1, s.Len()/2)
		return true
	}
	uid := s[0].First
	j.strikes[uid]++
	j.lastErr[uid] = err
	return true
}

// suspect notes what was under way when something broke.
func (j *job) suspect(set mailhaul.UIDSet) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.suspects = set
}

// giveUpBreakers gives up, out of what is certainly not on the target, the
// messages that have broken too many connections, and returns the rest.
func (j *job) giveUpBreakers(todo mailhaul.UIDSet) mailhaul.UIDSet {
	for uid, n := range j.strikes {
		if n < maxStrikes || !todo.Contains(uid) {
			continue
		}
		err := j.lastErr[uid]
		if err == nil {
			err = j.errorf("fetch from", mailhaul.Permanent, errors.New("the server lists the message but does not deliver it"))
		}
		j.fail(uid, err)
	}
	return todo.Minus(j.failed)
}

// fail gives one message up for this run.
func (j *job) fail(uid mailhaul.UID, err error) {
	if f, first := j.mark(uid, err); first {
		j.r.report(f)
	}
}

// mark notes that a message is given up, and returns what is to be reported;
// first is false if that has been done.
func (j *job) mark(uid mailhaul.UID, err error) (f Failure, first bool) {
	if j.failed.Contains(uid) {
		return Failure{}, false
	}
	j.failed.Add(uid)
	delete(j.sent, uid)
	return Failure{Mailbox: j.source.Name, UID: uid, Reason: reasonOf(err), Err: err}, true
}

// giveUp records that the whole mailbox could not be moved.
func (j *job) giveUp(err error) {
	j.r.report(Failure{Mailbox: j.source.Name, Reason: reasonOf(err), Err: err})
	j.res.Failed++
}

// reasonOf leaves out of an error's text what a Failure says already.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*mailhaul.Error](err); ok {
		return e.Reason()
	}
	return err.Error()
}

func (r *run) report(f Failure) {
	r.cfg.Logger.Error("not moved", "mailbox", f.Mailbox, "uid", f.UID, "reason", f.Reason)
	r.tally.fail(f)
	if r.cfg.OnFailure != nil {
		r.cfg.OnFailure(f)
	}
}

// record makes what is staged durable, even when ctx is done: it is an answer
// that was received.
func (j *job) record(ctx context.Context) error {
	if !j.led.Dirty() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return j.led.Commit(ctx)
}

// errorf makes an error of the engine's own about this mailbox.
func (j *job) errorf(op string, kind mailhaul.Kind, err error) error {
	return &mailhaul.Error{Op: op, Mailbox: j.source.Name, Kind: kind, Scope: mailhaul.ScopeMailbox, Err: err}
}

func scope(err error) mailhaul.Scope {
	if e, ok := errors.AsType[*mailhaul.Error](err); ok {
		return e.Scope
	}
	return mailhaul.ScopeConnection
}
