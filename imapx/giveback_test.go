package imapx

// A connection that is wanted back while it is busy.

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/throttle"
)

// lender is a Throttle that allows everything, and can ask for its connections
// back.
type lender struct {
	heard
	mu      sync.Mutex // protects what follows
	ids     int64
	recalls map[int64]func()
	ended   map[int64]time.Time
}

func (l *lender) Connect(_ context.Context, recall func()) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recalls == nil {
		l.recalls, l.ended = make(map[int64]func()), make(map[int64]time.Time)
	}
	l.ids++
	l.recalls[l.ids] = recall
	return l.ids, nil
}

func (l *lender) Disconnect(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended[id].IsZero() {
		l.ended[id] = time.Now()
	}
}

// recall asks for a connection back.
func (l *lender) recall(id int64) {
	l.mu.Lock()
	back := l.recalls[id]
	l.mu.Unlock()
	back()
}

// endOf returns when a connection ended, or the zero time.
func (l *lender) endOf(id int64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended[id]
}

func lent(l *lender) func(*Config) { return func(cfg *Config) { cfg.Throttle = l } }

// wantedBack asserts that an error says no more than that another connection is
// to be used.
func wantedBack(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, errWanted)
	e, ok := err.(*mailhaul.Error)
	require.True(t, ok)
	assert.Equal(t, mailhaul.Transient, e.Kind)
	assert.Equal(t, mailhaul.ScopeConnection, e.Scope)
}

// A Reader with many FETCHes in flight sends no other once its connection is
// wanted back. All that was asked for comes; then the connection is ended, at
// once and in good order.
func TestBusyReaderGivesItsConnectionBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{}
		tg := newTarget(t, imapserver.Options{Hooks: imapserver.Hooks{
			Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
				if command == "UID FETCH" {
					time.Sleep(time.Second)
				}
				return nil
			},
		}}, lent(l))
		for i := range 12 {
			tg.inbox.Add(imapserver.Message{Body: []byte(mail(i))})
		}
		r, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		begun := time.Now()
		got := 0
		var consumers sync.WaitGroup
		var mu sync.Mutex
		fetch := func(uid mailhaul.UID) error {
			bodies, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: uid, Last: uid + 1}}, false)
			if err != nil {
				return err
			}
			consumers.Go(func() {
				for f, err := range bodies {
					if !assert.NoError(t, err) {
						return
					}
					f.Body.Release()
					mu.Lock()
					got++
					mu.Unlock()
				}
			})
			return nil
		}
		for i := range mailhaul.UID(5) {
			require.NoError(t, fetch(2*i+1))
		}
		time.Sleep(1500 * time.Millisecond)
		l.recall(1)
		wantedBack(t, fetch(11))
		assert.Equal(t, 5*time.Second, time.Since(begun), "what is in flight, and nothing else, is waited for")
		assert.Equal(t, begun.Add(5*time.Second), l.endOf(1))
		consumers.Wait()
		assert.Equal(t, 10, got)
		assert.Len(t, tg.lines("UID FETCH"), 5)
		assert.Len(t, tg.lines("LOGOUT"), 1)
		require.NoError(t, r.Close())
		assert.EqualValues(t, 1, l.ids)

		r, err = tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		require.NoError(t, fetch(11))
		consumers.Wait()
		assert.Equal(t, 12, got)
		assert.EqualValues(t, 2, l.ids)
		require.NoError(t, r.Close())
	})
}

// A Writer with batches in flight, whichever way they go, gives its connection
// back when all of them have their answers. What was to follow is NotStored, and
// goes over another connection: everything is there once, and in order.
func TestBusyWriterGivesItsConnectionBack(t *testing.T) {
	for _, trouble := range []bool{false, true} {
		t.Run(fmt.Sprintf("trouble=%v", trouble), func(t *testing.T) {
			eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
				l := &lender{}
				late := time.Second
				opts.Hooks.Append = func(_, _ string, m *imapserver.Message) error {
					time.Sleep(late)
					if trouble && strings.Contains(string(m.Body), "poison") {
						return fmt.Errorf("Message contains NUL characters")
					}
					return nil
				}
				tg := newTarget(t, opts, lent(l))
				w := tg.writer(t)
				var receipts []mailhaul.Receipt
				var want []string
				refused := 0
				add := func(w mailhaul.Writer, from int) error {
					var texts []string
					for i := from; i < from+3; i++ {
						text := mail(i)
						if trouble && i == 4 {
							text += "poison\r\n"
							refused++
						} else {
							want = append(want, text)
						}
						texts = append(texts, text)
					}
					r, err := w.Append(t.Context(), letters(texts...))
					if err == nil {
						receipts = append(receipts, r)
						return nil
					}
					outcomes, werr := r.Wait(t.Context())
					assert.Error(t, werr)
					for _, o := range outcomes {
						assert.Equal(t, mailhaul.NotStored, o.Delivery)
					}
					want = want[:len(want)-3]
					return err
				}
				for i := range 4 {
					require.NoError(t, add(w, 3*i))
				}
				synctest.Wait()
				l.recall(1)
				wantedBack(t, add(w, 12))
				wantedBack(t, w.Finish(t.Context()))
				assert.False(t, l.endOf(1).IsZero(), "the connection is given back")
				stored := 0
				for _, r := range receipts {
					outcomes, err := r.Wait(t.Context())
					require.NoError(t, err)
					for _, o := range outcomes {
						if o.Delivery == mailhaul.Stored {
							stored++
						} else {
							assert.Equal(t, mailhaul.NotStored, o.Delivery)
						}
					}
				}
				assert.Equal(t, 12-refused, stored)
				receipts = nil
				w2 := tg.writer(t)
				require.NoError(t, add(w2, 12))
				require.NoError(t, w2.Finish(t.Context()))
				assert.Equal(t, want, tg.stored())
				assert.EqualValues(t, 2, l.ids)
			})
		})
	}
}

// A Writer that had done all it was to do when its connection was given back has
// finished.
func TestFinishAfterTheConnectionWasGivenBack(t *testing.T) {
	eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
		l := &lender{}
		tg := newTarget(t, opts, lent(l))
		w := tg.writer(t)
		receipt, err := w.Append(t.Context(), letters(mail(1), mail(2)))
		require.NoError(t, err)
		l.recall(1)
		outcomes, err := receipt.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, mailhaul.Stored, outcomes[1].Delivery)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		require.False(t, l.endOf(1).IsZero())
		require.NoError(t, w.Finish(t.Context()))
	})
}

// A connection that nobody sends anything on is given back at once, though
// somebody has it.
func TestIdleReaderGivesItsConnectionBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{}
		tg := newTarget(t, imapserver.Options{}, lent(l))
		tg.inbox.Add(imapserver.Message{Body: []byte("x")})
		r, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		begun := time.Now()
		l.recall(1)
		synctest.Wait()
		assert.Equal(t, begun, l.endOf(1))
		_, err = r.UIDs(t.Context())
		wantedBack(t, err)
		require.NoError(t, r.Close())
	})
}

// Who consumes a listing may ask for something for each message. On a connection
// that is wanted back he is told so, even where the listing is too long to be
// kept waiting.
func TestListingAndWantedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{}
		tg := newTarget(t, imapserver.Options{}, lent(l))
		const messages = 3 * queueLength
		for range messages {
			tg.inbox.Add(imapserver.Message{Body: []byte("x")})
		}
		r, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		begun := time.Now()
		n := 0
		for m, err := range r.Messages(t.Context(), mailhaul.UIDSet{{First: 1, Last: messages}}, mailhaul.FieldSize, 0) {
			require.NoError(t, err)
			if n++; n == 1 {
				l.recall(1)
				_, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: m.UID, Last: m.UID}}, false)
				wantedBack(t, err)
			}
		}
		assert.Equal(t, messages, n)
		assert.Less(t, time.Since(begun), time.Second)
		require.NoError(t, r.Close())
	})
}

// A streamed body that is being read when the connection is wanted back is read
// to its end, even by somebody who first asks for another.
func TestStreamAndWantedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{}
		tg := newTarget(t, imapserver.Options{}, lent(l))
		text := strings.Repeat("0123456789abcdef\r\n", 100_000)
		tg.inbox.Add(imapserver.Message{Body: []byte(text)})
		tg.inbox.Add(imapserver.Message{Body: []byte("x")})
		r, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		bodies, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: 1, Last: 1}}, true)
		require.NoError(t, err)
		for f, err := range bodies {
			require.NoError(t, err)
			l.recall(1)
			begun := time.Now()
			more, err := r.Fetch(t.Context(), mailhaul.UIDSet{{First: 2, Last: 2}}, false)
			require.NoError(t, err)
			assert.Equal(t, yields, time.Since(begun))
			body, err := io.ReadAll(f.Body.Reader())
			require.NoError(t, err)
			assert.Equal(t, text, string(body))
			f.Body.Release()
			defer func() {
				for f, err := range more {
					require.NoError(t, err)
					f.Body.Release()
				}
				synctest.Wait()
				assert.False(t, l.endOf(1).IsZero())
				require.NoError(t, r.Close())
			}()
		}
	})
}

// A connection that is wanted back while it logs in is not used, and another
// takes its place.
func TestWantedBackDuringLogIn(t *testing.T) {
	for _, during := range []string{"AUTHENTICATE", "NAMESPACE", "EXAMINE"} {
		t.Run(during, func(t *testing.T) { wantedDuring(t, during) })
	}
}

func wantedDuring(t *testing.T, during string) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{}
		begun := time.Now()
		called := false
		tg := newTarget(t, imapserver.Options{ID: map[string]string{"name": "x"}, Hooks: imapserver.Hooks{
			Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
				time.Sleep(10 * time.Millisecond)
				if !called && command == during {
					called = true
					l.recall(1)
				}
				return nil
			},
		}}, lent(l))
		tg.inbox.Add(imapserver.Message{Body: []byte("x")})
		r, err := tg.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		if during == "EXAMINE" { // it was in use
			_, err = r.UIDs(t.Context())
			wantedBack(t, err)
			require.NoError(t, r.Close())
			r, err = tg.OpenReader(t.Context(), inbox)
			require.NoError(t, err)
		}
		_, err = r.UIDs(t.Context())
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.True(t, called)
		assert.Less(t, time.Since(begun), time.Second)
		assert.EqualValues(t, 2, l.ids)
		assert.False(t, l.endOf(1).IsZero())
	})
}

// A pause of hours (a schedule that says stop, a server that names a time) meets
// one connection that is idle in the pool, one that somebody has, and one that
// waits for leave to send: none of them is held, so that no time-out of the
// server's hits one, and nothing is sent before its time. Afterwards all goes on.
func TestLongPause(t *testing.T) {
	for _, hint := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			open := 0
			var commands []time.Time
			srv := imapserver.New(imapserver.Options{Hooks: imapserver.Hooks{
				Wrap: func(_ int, c net.Conn) net.Conn {
					mu.Lock()
					open++
					mu.Unlock()
					return &told{Conn: c, closed: sync.OnceFunc(func() {
						mu.Lock()
						open--
						mu.Unlock()
					})}
				},
				Command: func(*imapserver.Session, string, string) *imapserver.Override {
					mu.Lock()
					defer mu.Unlock()
					commands = append(commands, time.Now())
					return nil
				},
			}})
			defer srv.Close()
			srv.AddUser("ada", "secret").Mailbox("INBOX").Add(imapserver.Message{Body: []byte("x")})
			begun := time.Now() // midnight
			limits := throttle.Config{Policy: only(throttle.Policy{Name: "test", Start: 4, Account: throttle.Budget{Connections: 4}})}
			if !hint {
				limits.Schedule = throttle.Schedule{{From: time.Minute, To: 8 * time.Hour, Stop: true}}
			}
			cl, th := throttled(t, srv, Config{}, limits)
			box := mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"}
			var readers []mailhaul.Reader
			for range 3 {
				r, err := cl.OpenReader(t.Context(), box)
				require.NoError(t, err)
				readers = append(readers, r)
			}
			require.NoError(t, readers[0].Close())
			if hint {
				account, err := th.Account(t.Context(), "mail.example.org", "ada")
				require.NoError(t, err)
				account.Refused(2, false, false, 8*time.Hour, "x")
			} else {
				time.Sleep(time.Minute)
			}
			waits := make(chan error, 1)
			paused := time.Now()
			go func() {
				_, err := readers[1].UIDs(t.Context())
				waits <- err
			}()
			time.Sleep(11 * time.Minute)
			mu.Lock()
			assert.Zero(t, open, "connections that are held")
			for _, at := range commands {
				assert.False(t, at.After(paused), "a command after %v", at.Sub(paused))
			}
			before := len(commands)
			mu.Unlock()
			require.Len(t, waits, 1)
			wantedBack(t, <-waits)
			for _, r := range readers {
				require.NoError(t, r.Close())
			}
			r, err := cl.OpenReader(t.Context(), box)
			require.NoError(t, err)
			assert.GreaterOrEqual(t, time.Since(begun), 8*time.Hour)
			mu.Lock()
			assert.False(t, commands[before].Before(begun.Add(8*time.Hour)))
			mu.Unlock()
			_, err = r.UIDs(t.Context())
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.NoError(t, cl.Close())
		})
	}
}

// told is a server's connection that says when it is closed.
type told struct {
	net.Conn
	closed func()
}

func (c *told) Close() error {
	c.closed()
	return c.Conn.Close()
}
