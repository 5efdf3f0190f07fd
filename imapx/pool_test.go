package imapx

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// No more connections are open than are allowed, who wants more waits, and
// those that are given back are used again.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{MaxConnsPerUser: 2}, func(c *Config) { c.Connections = 2 })
		r1, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		r2, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = tg.OpenReader(ctx, inbox)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		checkError(t, err)

		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				r, err := tg.OpenReader(t.Context(), inbox)
				if assert.NoError(t, err) {
					time.Sleep(time.Second)
					assert.NoError(t, r.Close())
				}
			})
		}
		time.Sleep(time.Second)
		require.NoError(t, r1.Close())
		require.NoError(t, r1.Close())
		require.NoError(t, r2.Close())
		wg.Wait()
		assert.EqualValues(t, 2, tg.Traffic().Connections)
		assert.EqualValues(t, 2, tg.server.Stats().Open)
	})
}

// A connection that has died while it was idle is replaced before it is used.
func TestPoolReplacesTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{})
		_, err := tg.List(t.Context())
		require.NoError(t, err)
		tg.server.DropConnections()
		synctest.Wait()
		_, err = tg.List(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 2, tg.Traffic().Connections)
	})
}

// While a mailbox is open for writing, no other connection has it selected.
func TestWriterHasTheMailboxAlone(t *testing.T) {
	for _, caps := range [][]string{imapserver.DefaultCaps, imapserver.Without("UNSELECT")} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			selected := map[int]string{}
			opts := imapserver.Options{Caps: caps}
			opts.Hooks.Command = func(c *imapserver.Session, command, args string) *imapserver.Override {
				mu.Lock()
				defer mu.Unlock()
				switch command {
				case "EXAMINE", "SELECT":
					name := strings.Trim(strings.TrimSuffix(args, " (CONDSTORE)"), `"`)
					if command == "SELECT" {
						// The server may not have seen yet that another connection
						// has ended.
						mu.Unlock()
						time.Sleep(time.Second)
						mu.Lock()
						for n, other := range selected {
							assert.False(t, n != c.Number() && other == name, "%s is left open", name)
						}
					}
					selected[c.Number()] = name
				case "UNSELECT":
					delete(selected, c.Number())
				}
				return nil
			}
			opts.Hooks.Wrap = func(n int, c net.Conn) net.Conn {
				return closeHook{c, func() { mu.Lock(); delete(selected, n); mu.Unlock() }}
			}
			tg := newTarget(t, opts)
			tg.user.Create("a")
			a := mailhaul.Mailbox{Name: "a", Wire: "a"}
			var readers []mailhaul.Reader
			for _, m := range []mailhaul.Mailbox{inbox, inbox, a} {
				r, err := tg.OpenReader(t.Context(), m)
				require.NoError(t, err)
				readers = append(readers, r)
			}
			for _, r := range readers {
				require.NoError(t, r.Close())
			}
			w, err := tg.OpenWriter(t.Context(), inbox)
			require.NoError(t, err)
			assert.EqualValues(t, 3, tg.Traffic().Connections, "one that has it open is taken")
			require.NoError(t, w.Close())
		})
	}
}

type closeHook struct {
	net.Conn
	closed func()
}

func (c closeHook) Close() error { c.closed(); return c.Conn.Close() }

func TestClosedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{}, func(c *Config) { c.Connections = 1 })
		r, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		waits := make(chan error, 1)
		go func() { _, err := tg.List(t.Context()); waits <- err }()
		synctest.Wait()
		require.NoError(t, tg.Client.Close())
		require.NoError(t, tg.Client.Close())
		assert.ErrorIs(t, <-waits, mailhaul.ErrClosed)
		_, err = r.UIDs(t.Context())
		assert.Error(t, err)
		require.NoError(t, r.Close())
		_, err = r.UIDs(t.Context())
		assert.ErrorIs(t, err, mailhaul.ErrClosed)
		_, err = r.Fetch(t.Context(), mailhaul.UIDSetOf(1), false)
		assert.ErrorIs(t, err, mailhaul.ErrClosed)
		_, err = tg.OpenWriter(t.Context(), inbox)
		assert.ErrorIs(t, err, mailhaul.ErrClosed)
	})
}

// A Client says good-bye, but does not wait for a server that has no manners.
func TestLogout(t *testing.T) {
	for _, rude := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			said := false
			cl := hostileClient(t, "", func(s *script) {
				s.simple(func(tag, rest string) bool {
					if rest == "LOGOUT" {
						said = true
						if rude {
							s.drain()
						}
					}
					return false
				})
			})
			_, err := cl.List(t.Context())
			require.NoError(t, err)
			start := time.Now()
			require.NoError(t, cl.Close())
			assert.LessOrEqual(t, time.Since(start), logoutTime)
			assert.True(t, said)
		})
	}
}

// The peer of a connection that is closed may have stopped reading, in the
// midst of our writing.
func TestCloseWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := hostileClient(t, "LITERAL+ ID", func(s *script) {
			s.simple(func(tag, rest string) bool {
				switch {
				case strings.HasPrefix(rest, "ID"):
					s.send(tag, `* ID ("name" "Dovecot")`, "TAG OK done")
					return true
				case strings.HasPrefix(rest, "APPEND"):
					time.Sleep(24 * time.Hour)
				}
				return false
			})
		})
		w, err := cl.OpenWriter(t.Context(), inbox)
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			_, err := w.Append(t.Context(), letters(strings.Repeat("x", 10_000_000)))
			done <- err
		}()
		time.Sleep(time.Second)
		start := time.Now()
		require.NoError(t, w.Close())
		assert.Error(t, <-done)
		assert.Zero(t, time.Since(start))
	})
}

// A server that takes nothing any more, or says nothing, is given up after
// ProgressTimeout.
func TestProgressTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := hostileClient(t, "LITERAL+ ID", func(s *script) {
			s.simple(func(tag, rest string) bool {
				switch {
				case strings.HasPrefix(rest, "ID"):
					s.send(tag, `* ID ("name" "Dovecot")`, "TAG OK done")
					return true
				case strings.HasPrefix(rest, "APPEND"):
					time.Sleep(24 * time.Hour)
				}
				return false
			})
		})
		w, err := cl.OpenWriter(t.Context(), inbox)
		require.NoError(t, err)
		start := time.Now()
		r, err := w.Append(t.Context(), letters(strings.Repeat("x", 10_000_000)))
		assert.ErrorIs(t, err, errStuck)
		assert.InDelta(t, 2*time.Minute, time.Since(start), float64(2*time.Second))
		out, err := r.Wait(t.Context())
		assert.Error(t, err)
		assert.Equal(t, mailhaul.NotStored, out[0].Delivery)
		require.NoError(t, w.Close())
	})
}

// What takes long is not given up while it moves: neither a source that is slow
// with a body, nor a server that is slow to take it.
func TestSlowProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := imapserver.Options{}
		opts.Hooks.Wrap = func(_ int, c net.Conn) net.Conn { return slowReader{c} }
		tg := newTarget(t, opts, func(c *Config) { c.ProgressTimeout = 30 * time.Second })
		w := tg.writer(t)
		batch := letters(strings.Repeat("x", 5_000_000))
		batch[0].Body.(*heldBody).stream = true
		start := time.Now()
		r, err := w.Append(t.Context(), batch)
		require.NoError(t, err)
		out, err := r.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, mailhaul.Stored, out[0].Delivery)
		assert.Greater(t, time.Since(start), 5*time.Minute)
	})
}

// slowReader reads 10 kB a second.
type slowReader struct{ net.Conn }

func (c slowReader) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), 10_000)])
	time.Sleep(time.Duration(n) * time.Second / 10_000)
	return n, err
}

func TestUIDExpunge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{})
		for range 3 {
			tg.inbox.Add(imapserver.Message{Body: []byte("x"), Flags: []mailhaul.Flag{`\Deleted`}})
		}
		w := tg.writer(t)
		require.NoError(t, w.UIDExpunge(t.Context(), nil))
		require.NoError(t, w.UIDExpunge(t.Context(), mailhaul.UIDSetOf(2)))
		assert.Equal(t, 2, tg.inbox.Len())
	})
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{Caps: imapserver.Without("UIDPLUS")})
		err := tg.writer(t).UIDExpunge(t.Context(), mailhaul.UIDSetOf(2))
		assert.ErrorIs(t, err, mailhaul.ErrUnsupported)
	})
}

func TestReadOnlyMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := hostileClient(t, "", func(s *script) {
			s.simple(func(tag, rest string) bool {
				if strings.HasPrefix(rest, "SELECT") {
					s.send(tag, "* 0 EXISTS", "* OK [UIDVALIDITY 1] x", "TAG OK [READ-ONLY] done")
					return true
				}
				return false
			})
		})
		_, err := cl.OpenWriter(t.Context(), inbox)
		e := checkError(t, err)
		assert.Equal(t, mailhaul.Permanent, e.Kind)
		assert.Equal(t, mailhaul.ScopeMailbox, e.Scope)
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Connections: -1, Limits: Limits{MaxLine: -1, MaxCommand: 7}})
	for _, part := range []string{"Host", "User", "Connections", "Limits", "MaxCommand"} {
		assert.ErrorContains(t, err, part)
	}
	cl, err := New(Config{Server: mailhaul.Server{Host: "h", User: "u"}})
	require.NoError(t, err)
	d, known := cl.SettleTime()
	assert.Zero(t, d)
	assert.False(t, known)
	assert.NoError(t, cl.Close())
	_, err = cl.List(t.Context())
	assert.True(t, errors.Is(err, mailhaul.ErrClosed))
}
