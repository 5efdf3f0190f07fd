// Following an account: what is noticed and how soon, what it costs, and how it
// ends. All in fake time.

package sync_test

import (
	"context"
	"errors"
	"fmt"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// telling is a source whose server tells of changes when the test says so.
type telling struct {
	mailhaul.Source
	inboxOnly bool

	mu       stdsync.Mutex // protects what follows
	listener *mailhaul.Listener
	broken   chan error
	watches  int
}

func (s *telling) Unwrap() mailhaul.Source { return s.Source }

func (s *telling) Watch(ctx context.Context, boxes []mailhaul.Mailbox, l mailhaul.Listener) error {
	s.mu.Lock()
	s.watches++
	s.listener = &l
	broken := make(chan error, 1)
	s.broken = broken
	s.mu.Unlock()
	if s.inboxOnly {
		boxes = boxes[:1]
	}
	l.Listening(boxes)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listener = nil
	}()
	select {
	case err := <-broken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *telling) tell(wire string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Changed(mailhaul.Mailbox{Wire: wire})
	}
}

func (s *telling) watched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches
}

func (s *telling) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken <- err
}

// followed is a Follow that runs.
type followed struct {
	t      *testing.T
	syncer *mailsync.Syncer
	stop   context.CancelFunc
	done   chan struct{}
	res    *mailsync.Result
	err    error
	start  time.Time

	mu   stdsync.Mutex // protects made
	made []mailsync.Pass
}

// passes returns those that were made so far.
func (f *followed) passes() []mailsync.Pass {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made
}

// follow starts to follow, inside a bubble.
func (r *rig) follow(t *testing.T, source mailhaul.Source, opts mailsync.FollowOptions) *followed {
	t.Helper()
	cfg := r.cfg
	cfg.Source, cfg.Target, cfg.Store = source, r.target, r.store
	if r.decorate != nil {
		cfg.Target = r.decorate(r.target)
	}
	s, err := mailsync.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	f := &followed{t: t, syncer: s, stop: cancel, done: make(chan struct{}), start: time.Now()}
	passed := opts.Passed
	opts.Passed = func(p mailsync.Pass) {
		f.mu.Lock()
		f.made = append(f.made, p)
		f.mu.Unlock()
		if passed != nil {
			passed(p)
		}
	}
	go func() {
		defer close(f.done)
		f.res, f.err = s.Follow(ctx, opts)
	}()
	synctest.Wait()
	return f
}

func (f *followed) wait() {
	f.t.Helper()
	<-f.done
	f.stop()
}

// within lets time pass and says that it is still following.
func (f *followed) within(d time.Duration) {
	f.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	select {
	case <-f.done:
		f.t.Fatalf("Follow ended after %v: %v", time.Since(f.start), f.err)
	default:
	}
}

func (r *rig) count(a *memmail.Account, paths ...string) int {
	n := 0
	for _, p := range paths {
		n += len(a.Snapshot(p))
	}
	return n
}

func TestFollowByPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 20)
		r.fill("Work", 5)
		f := r.follow(t, r.source, mailsync.FollowOptions{})
		require.Equal(t, 25, r.count(r.target, "INBOX", "Work"))

		r.source.Add("Work", mail("new", 1))
		r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagFlagged} })
		f.within(61 * time.Second)
		require.Equal(t, 26, r.count(r.target, "INBOX", "Work"))
		require.Equal(t, []mailhaul.Flag{mailhaul.FlagFlagged}, r.target.Snapshot("INBOX")[0].Flags)
		require.Len(t, f.passes(), 2)
		require.False(t, f.passes()[1].Whole)
		require.Equal(t, 2, f.passes()[1].Result.Mailboxes)

		// A mailbox that is made needs a pass over everything.
		r.source.Add("Made", mail("made", 1))
		f.within(61 * time.Second)
		require.Equal(t, 1, r.count(r.target, "Made"))

		// Where nothing happens it costs a listing a minute, and a whole pass an
		// hour.
		before := r.source.Traffic().RoundTrips
		passes := len(f.passes())
		f.within(2 * time.Hour)
		require.InDelta(t, 120, r.source.Traffic().RoundTrips-before, 8)
		require.Len(t, f.passes(), passes+2)

		f.syncer.Drain()
		f.wait()
		require.ErrorIs(t, f.err, mailsync.ErrDrained)
		require.Equal(t, 27, f.res.Copied)
		require.Equal(t, 1, f.res.FlagsUpdated)
		require.Equal(t, 3, f.res.Mailboxes)
		r.checkCounts(f.res)
		require.Less(t, time.Since(f.start), 3*time.Hour)
		r.same("INBOX")
	})
}

func TestFollowWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var lists atomic.Int64
		r.source.Hooks.List = func() error { lists.Add(1); return nil }
		r.target.Hooks.List = r.source.Hooks.List
		r.fill("INBOX", 20)
		r.fill("Work", 5)
		r.fill("Left out", 1)
		r.cfg.Exclude = []string{"Left out"}
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{Whole: 1000 * time.Hour})
		f.within(time.Second)
		require.EqualValues(t, 4, lists.Load(), "a pass over everything lists the target twice, and telling begins with a look")
		for i := range 10 {
			path := []string{"INBOX", "Work"}[i%2]
			r.source.Add(path, mail("new", i))
			source.tell(path)
			f.within(time.Second)
			require.Equal(t, 26+i, r.count(r.target, "INBOX", "Work"))
		}
		source.tell("Left out")
		f.within(30 * time.Minute)
		require.EqualValues(t, 4, lists.Load(), "nothing is listed for a message, nor while everything is told")
		require.Len(t, f.passes(), 11)

		// The list of mailboxes has changed.
		r.source.Add("Made", mail("made", 1))
		source.tell("")
		f.within(time.Second)
		require.Equal(t, 1, r.count(r.target, "Made"))
		require.Equal(t, 2, source.watched(), "the new mailbox is listened to as well")
		f.within(time.Minute)
		r.source.Add("Made too", mail("made", 1))
		source.tell("Made too")
		f.within(time.Second)
		require.Equal(t, 1, r.count(r.target, "Made too"), "a server may tell of its mail before it tells of it")

		// What happened while nobody listened is found when somebody does again.
		source.lose(&mailhaul.Error{Op: "watch", Kind: mailhaul.Transient, Err: errors.New("lost")})
		r.source.Add("Work", mail("missed", 1))
		f.within(10 * time.Second)
		require.Equal(t, 4, source.watched())
		require.Equal(t, 11, r.count(r.target, "Work"))
		f.stop()
		stopped := time.Now()
		f.wait()
		require.ErrorIs(t, f.err, context.Canceled)
		require.Less(t, time.Since(stopped), 2*time.Second)
		r.same("INBOX")
		r.same("Work")
	})
}

// Where the server tells of INBOX only, the others are polled.
func TestFollowToldOfInboxOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("Work", 5)
		r.fill("INBOX", 5)
		source := &telling{Source: r.source, inboxOnly: true}
		f := r.follow(t, source, mailsync.FollowOptions{})
		r.source.Add("INBOX", mail("new", 1))
		r.source.Add("Work", mail("new", 2))
		source.tell("INBOX")
		f.within(time.Second)
		require.Equal(t, 6, r.count(r.target, "INBOX"))
		f.within(time.Minute)
		require.Equal(t, 6, r.count(r.target, "Work"))
		f.stop()
		f.wait()
	})
}

func TestFollowEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		opts mailsync.FollowOptions
		at   time.Duration
	}{
		{"by default after 48 hours", mailsync.FollowOptions{}, 48 * time.Hour},
		{"in time", mailsync.FollowOptions{For: 90 * time.Minute}, 90 * time.Minute},
		{"at once", mailsync.FollowOptions{For: time.Nanosecond}, 0},
		{"when it is quiet", mailsync.FollowOptions{UntilQuiet: 10 * time.Minute}, 35 * time.Minute},
		{"on a condition", mailsync.FollowOptions{Until: func(p mailsync.Pass) bool { return p.Result.Copied == 1 }}, 5 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fill("INBOX", 10)
				source := &telling{Source: r.source}
				f := r.follow(t, source, c.opts)
				for i := range 5 { // mail comes every 5 minutes, and then no more
					time.Sleep(5 * time.Minute)
					r.source.Add("INBOX", mail("new", i))
					source.tell("INBOX")
				}
				// What nobody told of is there in the end all the same.
				time.Sleep(time.Second)
				r.source.Add("INBOX", mail("untold", 1))
				f.wait()
				require.NoError(t, f.err)
				last := f.passes()[len(f.passes())-1]
				require.True(t, last.Whole, "the last pass is over everything")
				end := time.Since(f.start)
				if c.at < 25*time.Minute {
					end = c.at // the test's own mail came later
				}
				require.InDelta(t, c.at.Seconds(), end.Seconds(), 61, "%v", end)
				if c.at > 25*time.Minute {
					require.Equal(t, 16, f.res.Copied)
					r.same("INBOX")
				}
				r.checkCounts(f.res)
			})
		})
	}
}

// A quiet that the last pass finds not to have been one goes on.
func TestFollowLastPassFindsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.source.NoModSeq = true // nobody can tell of flags
		r.fill("INBOX", 10)
		f := r.follow(t, r.source, mailsync.FollowOptions{UntilQuiet: 20 * time.Minute})
		time.Sleep(10 * time.Minute)
		r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagFlagged} })
		f.wait()
		require.NoError(t, f.err)
		require.Equal(t, 1, f.res.FlagsUpdated)
		require.InDelta(t, 40, time.Since(f.start).Minutes(), 1)
		r.same("INBOX")
	})
}

func TestFollowAfterErrors(t *testing.T) {
	fault := func(kind mailhaul.Kind) error {
		return &mailhaul.Error{Op: "connect", Server: "old:993", Kind: kind, Scope: mailhaul.ScopeServer, Err: errors.New("no luck")}
	}
	t.Run("a server that is down is waited for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fill("INBOX", 3)
			var down stdsync.Mutex
			var err error
			tries := 0
			hook := func() error {
				down.Lock()
				defer down.Unlock()
				if err != nil {
					tries++
				}
				return err
			}
			r.source.Hooks.List = hook
			r.source.Hooks.Open = func(string, bool) error { return hook() }
			set := func(e error) { down.Lock(); err = e; down.Unlock() }
			f := r.follow(t, r.source, mailsync.FollowOptions{})
			r.source.Add("INBOX", mail("new", 1))
			set(fault(mailhaul.Transient))
			f.within(10 * time.Hour)
			require.Less(t, tries, 10*60, "each pass tries three times, and passes become rarer")
			require.Greater(t, tries, 10*60/6)
			set(nil)
			f.within(6 * time.Minute)
			require.Equal(t, 4, r.count(r.target, "INBOX"))
			f.within(time.Minute)

			set(fault(mailhaul.Auth))
			f.wait()
			require.Equal(t, mailhaul.Auth, mailhaul.KindOf(f.err))
			require.Equal(t, 4, f.res.Copied)
		})
	})
	t.Run("the first pass is not tried again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.source.Hooks.List = func() error { return fault(mailhaul.Transient) }
			f := r.follow(t, r.source, mailsync.FollowOptions{})
			f.wait()
			require.Equal(t, mailhaul.Transient, mailhaul.KindOf(f.err))
			require.Less(t, time.Since(f.start), time.Minute)
		})
	})
	t.Run("it does not outlast its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fill("INBOX", 3)
			var late atomic.Bool
			r.source.Hooks.List = func() error {
				if !late.Load() {
					return nil
				}
				return &mailhaul.Error{Op: "list", Kind: mailhaul.Throttled, Scope: mailhaul.ScopeAccount, Wait: 24 * time.Hour, Err: errors.New("later")}
			}
			f := r.follow(t, r.source, mailsync.FollowOptions{For: time.Hour})
			late.Store(true)
			f.wait()
			require.Equal(t, mailhaul.Throttled, mailhaul.KindOf(f.err))
		})
	})
	t.Run("options that make no sense", func(t *testing.T) {
		r := newRig(t)
		res, err := r.syncer().Follow(t.Context(), mailsync.FollowOptions{For: -1, Poll: -1})
		require.NotNil(t, res)
		require.ErrorContains(t, err, "FollowOptions.For")
		require.ErrorContains(t, err, "FollowOptions.Poll")
	})
	t.Run("one at a time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fill("INBOX", 1)
			f := r.follow(t, r.source, mailsync.FollowOptions{})
			_, err := f.syncer.Run(t.Context())
			require.ErrorIs(t, err, mailsync.ErrRunning)
			f.stop()
			f.wait()
		})
	})
}

// Mailboxes that are renamed and deleted while they are followed, on either
// side, and views.
func TestFollowFolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 3)
		r.fill("Work", 3)
		r.fill("All", 4)
		r.source.Box("All").Role = mailhaul.RoleAll
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{})
		require.Equal(t, 4, r.count(r.target, "All"))
		r.source.Add("All", mail("archived", 1))
		source.tell("All")
		f.within(time.Second)
		require.Equal(t, 5, r.count(r.target, "All"))
		require.True(t, f.passes()[len(f.passes())-1].Whole, "a view needs all others to be looked at")

		// The target's user deletes a mailbox that is moved: mail that comes
		// later makes it anew.
		r.target.Delete("Work")
		r.source.Add("Work", mail("late", 1))
		source.tell("Work")
		f.within(time.Minute)
		require.Contains(t, bodies(r.target, "Work"), mail("late", 1))

		// The source's user deletes one.
		r.source.Delete("Work")
		source.tell("Work")
		f.within(2 * time.Minute)
		f.stop()
		f.wait()
		require.ErrorIs(t, f.err, context.Canceled)
		require.Empty(t, f.res.Failed, "the last whole pass knows that it is gone")
	})
}

// The sum of passes counts each message once, whichever passes moved it.
func TestFollowSum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 7)
		r.run() // an earlier run
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{For: 3 * time.Hour})
		for i := range 60 {
			path := fmt.Sprintf("Box %d", i%4)
			r.source.Add(path, mail("sum", i))
			source.tell(path)
			f.within(2 * time.Minute)
		}
		f.wait()
		require.NoError(t, f.err)
		require.Equal(t, 60, f.res.Copied)
		require.Equal(t, 7, f.res.Skipped)
		require.Equal(t, 67, f.res.Messages)
		r.checkCounts(f.res)
		sum, boxes := 0, 0
		for _, m := range f.res.PerMailbox {
			sum += m.Copied
			boxes++
		}
		require.Equal(t, 60, sum)
		require.Equal(t, 5, boxes)
		require.False(t, f.passes()[len(f.passes())-1].Result.Changed())
	})
}

// What is told of a mailbox before a listing shows that it is another is left
// to a pass over everything.
func TestFollowMailboxesThatAreMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 3)
		r.fill("Work", 30)
		r.fill("Play", 30)
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{})
		f.within(time.Minute)
		r.source.Rename("Work", "Old work")
		r.source.Add("Work", mail("new", 1))
		source.tell("Work")
		r.target.Rename("Play", "Old play")
		r.target.Box("Play")
		r.source.Add("Play", mail("new", 2))
		source.tell("Play")
		f.within(time.Minute)
		require.Equal(t, 30, r.count(r.target, "Work"))
		require.Equal(t, 1, r.count(r.target, "Work_2"))
		require.Equal(t, 31, r.count(r.target, "Old play"))
		require.Zero(t, r.count(r.target, "Play"))
		require.NotContains(t, r.target.Paths(), "Old work")
		f.stop()
		f.wait()
		require.Equal(t, 65, f.res.Copied)
		require.Empty(t, f.res.Failed)
	})
}
