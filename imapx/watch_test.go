package imapx

// Watching: what is told, by which means, and how it ends.

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// hearing is a Watch that runs, and what it has been told.
type hearing struct {
	events chan string
	err    chan error
	stop   context.CancelFunc
}

func startWatch(t *testing.T, cl *Client, boxes ...mailhaul.Mailbox) *hearing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &hearing{events: make(chan string, 100_000), err: make(chan error, 1), stop: cancel}
	var done sync.WaitGroup
	done.Go(func() {
		h.err <- cl.Watch(ctx, boxes, mailhaul.Listener{
			Listening: func(told []mailhaul.Mailbox) {
				h.events <- fmt.Sprintf("listening to %d of %d", len(told), len(boxes))
			},
			Changed: func(m mailhaul.Mailbox) { h.events <- "changed " + m.Wire },
		})
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return h
}

// next returns what was told next; real servers may take a while.
func (h *hearing) next(t *testing.T) string {
	t.Helper()
	select {
	case e := <-h.events:
		return e
	case err := <-h.err:
		t.Fatalf("Watch ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was told for 30 s")
	}
	return ""
}

// until skips repetitions.
func (h *hearing) until(t *testing.T, want string) {
	t.Helper()
	for h.next(t) != want {
	}
}

var work = mailhaul.Mailbox{Name: "Work", Wire: "Work", Path: []string{"Work"}}

func TestWatchByIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{})
		tg.user.Create("Work")
		in := tg.user.Mailbox("INBOX")
		h := startWatch(t, tg.Client, inbox, work)
		require.Equal(t, "listening to 1 of 2", h.next(t))
		uid := in.Add(imapserver.Message{Body: []byte("x")})
		require.Equal(t, "changed INBOX", h.next(t))
		in.SetFlags(uid, []mailhaul.Flag{mailhaul.FlagSeen})
		require.Equal(t, "changed INBOX", h.next(t))
		in.Expunge(uid)
		require.Equal(t, "changed INBOX", h.next(t))
		tg.user.Mailbox("Work").Add(imapserver.Message{Body: []byte("x")})

		// A day later it still listens, each IDLE having been short enough.
		time.Sleep(24*time.Hour + time.Minute)
		require.Empty(t, h.events)
		require.InDelta(t, 24*60/9, int(tg.server.Stats().Commands["IDLE"]), 2)
		in.Add(imapserver.Message{Body: []byte("y")})
		require.Equal(t, "changed INBOX", h.next(t))

		start := time.Now()
		h.stop()
		err := <-h.err
		require.ErrorIs(t, err, context.Canceled)
		checkError(t, err)
		require.Less(t, time.Since(start), 2*time.Second)
		require.EqualValues(t, 1, tg.server.Stats().Commands["LOGOUT"], "it takes leave")
	})
}

func TestWatchByNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{Caps: imapserver.With("NOTIFY")})
		tg.user.Create("Work")
		h := startWatch(t, tg.Client, inbox, work)
		require.Equal(t, "listening to 2 of 2", h.next(t))
		tg.user.Mailbox("Work").Add(imapserver.Message{Body: []byte("x")})
		require.Equal(t, "changed Work", h.next(t))
		tg.user.Mailbox("INBOX").Add(imapserver.Message{Body: []byte("x")})
		require.Equal(t, "changed INBOX", h.next(t))
		tg.user.Create("New")
		require.Equal(t, "changed ", h.next(t), "the list of mailboxes")
		tg.user.Mailbox("New").Add(imapserver.Message{Body: []byte("x")})
		require.Equal(t, "changed New", h.next(t), "which has one that nobody named")
	})
}

// A server that offers NOTIFY and refuses it is listened to by IDLE; one that
// offers IDLE and refuses it is asked, as one without is.
func TestWatchFallsBack(t *testing.T) {
	refuse := func(refused string) imapserver.Options {
		o := imapserver.Options{Caps: imapserver.With("NOTIFY")}
		o.Hooks.Command = func(c *imapserver.Session, command, args string) *imapserver.Override {
			if strings.Contains(refused, command) {
				return &imapserver.Override{Reply: "NO [BADEVENT (MessageNew)] not here"}
			}
			return nil
		}
		return o
	}
	for name, opts := range map[string]imapserver.Options{
		"NOTIFY refused":          refuse("NOTIFY"),
		"NOTIFY and IDLE refused": refuse("NOTIFY IDLE"),
		"without IDLE":            {Caps: imapserver.Without("IDLE")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tg := newTarget(t, opts)
				h := startWatch(t, tg.Client, inbox, work)
				require.Equal(t, "listening to 1 of 2", h.next(t))
				for range 3 {
					start := time.Now()
					tg.user.Mailbox("INBOX").Add(imapserver.Message{Body: []byte("x")})
					require.Equal(t, "changed INBOX", h.next(t))
					require.LessOrEqual(t, time.Since(start), noopTime)
				}
			})
		})
	}
}

// A lost connection ends it; nothing is tried again.
func TestWatchEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{})
		h := startWatch(t, tg.Client, inbox)
		require.Equal(t, "listening to 1 of 1", h.next(t))
		tg.server.DropConnections()
		err := <-h.err
		checkError(t, err)
		require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err))
		require.EqualValues(t, 1, tg.Traffic().Connections)
		_, err = tg.List(t.Context())
		require.NoError(t, err, "the connection's place is free again")
	})
}

// A server that is gone without a word is noticed when the IDLE is renewed.
func TestWatchNoticesASilentEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := imapserver.Options{}
		o.Hooks.Response = func(c *imapserver.Session, command, tag string, response []byte) imapserver.Action {
			if command == "IDLE" {
				return imapserver.Action{End: imapserver.Hang, After: imapserver.All}
			}
			return imapserver.Action{}
		}
		tg := newTarget(t, o)
		h := startWatch(t, tg.Client, inbox)
		require.Equal(t, "listening to 1 of 1", h.next(t))
		start := time.Now()
		err := <-h.err
		require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err))
		require.Less(t, time.Since(start), idleTime+3*time.Minute)
	})
}

func TestWatchNeedsAConnectionToSpare(t *testing.T) {
	tg := newTarget(t, imapserver.Options{}, func(c *Config) { c.Connections = 1 })
	err := tg.Watch(t.Context(), []mailhaul.Mailbox{inbox}, mailhaul.Listener{})
	require.ErrorIs(t, err, mailhaul.ErrUnsupported)
	require.ErrorIs(t, openClient(t, tg.cfg).Watch(t.Context(), nil, mailhaul.Listener{}), mailhaul.ErrUnsupported)
	require.Zero(t, tg.Traffic().Connections)
}

// An IDLE that ends as soon as it has begun is not asked for over and over; a
// flood of news is taken in small memory, and each line of it told at most
// once; what makes no sense does no harm.
func TestWatchHostile(t *testing.T) {
	t.Run("IDLE ends at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			idles := 0
			cl := hostileClient(t, "IDLE", func(s *script) {
				s.simple(func(tag, rest string) bool {
					if rest != "IDLE" {
						return false
					}
					idles++
					s.send(tag, "+ idling", "TAG OK done")
					return true
				})
			})
			err := cl.Watch(t.Context(), []mailhaul.Mailbox{inbox}, mailhaul.Listener{})
			require.ErrorIs(t, err, errIdleShort)
			require.Equal(t, 1, idles)
		})
	})
	t.Run("flood and nonsense", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cl := hostileClient(t, "IDLE NOTIFY", func(s *script) {
				s.simple(func(tag, rest string) bool {
					switch {
					case strings.HasPrefix(rest, "NOTIFY"):
						s.send(tag, "TAG OK")
					case rest == "IDLE":
						s.send(tag, "+ idling", "+ again", "* 99999999999 EXISTS", "* STATUS ((( (", "* 0 EXPUNGE", `* LIST () "/" "x" ("OLDNAME"`, "* VANISHED 1:*")
						for i := range 50_000 {
							s.send(tag, fmt.Sprintf(`* STATUS "box %d" (MESSAGES %d)`, i, i))
						}
						s.send(tag, "* OK [NOTIFICATIONOVERFLOW] too much")
					default:
						return false
					}
					return true
				})
			})
			n := 0
			err := cl.Watch(t.Context(), []mailhaul.Mailbox{inbox}, mailhaul.Listener{Changed: func(mailhaul.Mailbox) { n++ }})
			require.ErrorIs(t, err, errOverflow)
			require.GreaterOrEqual(t, n, 50_000)
			require.LessOrEqual(t, n, 50_010)
		})
	})
	t.Run("more than is bearable", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cl := hostileClient(t, "IDLE", func(s *script) {
				s.simple(func(tag, rest string) bool {
					if rest != "IDLE" {
						return false
					}
					s.send(tag, "+ idling")
					for range 2000 {
						s.send(tag, "* 1 EXISTS")
					}
					return true
				})
			})
			cl.cfg.Limits.MaxResponses = 1000
			err := cl.Watch(t.Context(), []mailhaul.Mailbox{inbox}, mailhaul.Listener{})
			require.Equal(t, mailhaul.Corrupt, mailhaul.KindOf(err))
		})
	})
}

// A Throttle that wants the connection back gets it.
func TestWatchGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &recalling{}
		tg := newTarget(t, imapserver.Options{}, func(c *Config) { c.Throttle = th })
		h := startWatch(t, tg.Client, inbox)
		require.Equal(t, "listening to 1 of 1", h.next(t))
		synctest.Wait()
		require.Zero(t, th.working(), "it is idle while it listens")
		start := time.Now()
		th.recallAll()
		err := <-h.err
		require.Less(t, time.Since(start), 2*time.Second)
		require.ErrorIs(t, err, errWanted)
		require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err))
		require.Zero(t, th.open())
	})
}

// recalling is a Throttle that allows everything and can want all connections
// back.
type recalling struct {
	Throttle // no other method is called

	mu     sync.Mutex
	ids    int64
	recall map[int64]func()
	work   map[int64]bool
}

func (r *recalling) Connect(ctx context.Context, recall func()) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids++; r.recall == nil {
		r.recall, r.work = map[int64]func(){}, map[int64]bool{}
	}
	r.recall[r.ids] = recall
	return r.ids, nil
}

func (r *recalling) set(id int64, works bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.work[id] = works
}

func (r *recalling) Disconnect(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.recall, id)
	delete(r.work, id)
}

func (r *recalling) Command(ctx context.Context, id int64) error {
	r.set(id, true)
	return nil
}
func (r *recalling) Idle(id int64)                                    { r.set(id, false) }
func (r *recalling) Messages(context.Context, int) error              { return nil }
func (r *recalling) Read(context.Context, int) error                  { return nil }
func (r *recalling) Write(context.Context, int) error                 { return nil }
func (r *recalling) FirstByte(int64, time.Duration)                   {}
func (r *recalling) Identified(string)                                {}
func (r *recalling) Refused(int64, bool, bool, time.Duration, string) {}

func (r *recalling) working() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, works := range r.work {
		if works {
			n++
		}
	}
	return n
}

func (r *recalling) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.recall)
}

func (r *recalling) recallAll() {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.recall))
	r.mu.Unlock()
	for _, f := range all {
		f()
	}
}

// The same on a real server, which has NOTIFY.
func TestWatchDovecot(t *testing.T) {
	a := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1).Server
	ctx := t.Context()
	user := openClient(t, Config{Server: a})
	box, err := user.Create(ctx, []string{"Work"}, mailhaul.RoleNone)
	require.NoError(t, err)
	for _, notify := range []bool{true, false} {
		t.Run(map[bool]string{true: "NOTIFY", false: "IDLE"}[notify], func(t *testing.T) {
			cl := openClient(t, Config{Server: a})
			want := "listening to 2 of 2"
			if !notify {
				cl.facts.set(noNotify)
				want = "listening to 1 of 2"
			}
			h := startWatch(t, cl, inbox, box)
			require.Equal(t, want, h.next(t))
			start := time.Now()
			put(t, user, inbox)
			h.until(t, "changed INBOX")
			t.Logf("INBOX after %v", time.Since(start))
			w, err := user.OpenWriter(ctx, inbox)
			require.NoError(t, err)
			uids, err := w.(*Writer).c.uids(ctx)
			require.NoError(t, err)
			for len(h.events) > 0 {
				<-h.events
			}
			start = time.Now()
			require.NoError(t, w.Store(ctx, []mailhaul.FlagChange{{UID: uids[0].First, Add: []mailhaul.Flag{"$" + mailhaul.Flag(want[13:14])}}}))
			h.until(t, "changed INBOX")
			t.Logf("a flag after %v", time.Since(start))
			require.NoError(t, w.Close())
			if notify {
				start = time.Now()
				put(t, user, box)
				h.until(t, "changed Work")
				t.Logf("Work after %v", time.Since(start))
				_, err = user.Create(ctx, []string{"Made"}, mailhaul.RoleNone)
				require.NoError(t, err)
				h.until(t, "changed ")
			}
			h.stop()
			assert.ErrorIs(t, <-h.err, context.Canceled)
		})
	}
}

func put(t *testing.T, cl *Client, m mailhaul.Mailbox) {
	t.Helper()
	w, err := cl.OpenWriter(t.Context(), m)
	require.NoError(t, err)
	_, err = w.Append(t.Context(), []mailhaul.Outgoing{out(mail(1))})
	require.NoError(t, err)
	require.NoError(t, w.Finish(t.Context()))
	require.NoError(t, w.Close())
}
