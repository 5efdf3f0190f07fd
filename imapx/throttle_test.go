package imapx

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/throttle"
)

var _ Throttle = (*throttle.Account)(nil)

// throttled returns a client of a server in memory. Inside a bubble only.
func throttled(t *testing.T, srv *imapserver.Server, cfg Config, limits throttle.Config) (*Client, *throttle.Throttle) {
	t.Helper()
	if srv.User("ada") == nil {
		srv.AddUser("ada", "secret")
	}
	th, err := throttle.New(limits)
	require.NoError(t, err)
	account, err := th.Account(t.Context(), "mail.example.org", "ada")
	require.NoError(t, err)
	cfg.Throttle = account
	cfg.Server = mailhaul.Server{
		Host: "old.localhost", User: "ada", Security: mailhaul.Plaintext, Dial: srv.Dial,
		Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("secret"), nil },
	}
	cl, err := New(cfg)
	require.NoError(t, err)
	return cl, th
}

func only(p throttle.Policy) func(string) throttle.Policy {
	return func(string) throttle.Policy { return p }
}

// The server's time stands still while we wait for leave of our own: a rate far
// below what ProgressTimeout asks of a server ends no connection.
func TestOwnWaitsAreNotTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := imapserver.New(imapserver.Options{})
		defer srv.Close()
		cl, _ := throttled(t, srv, Config{ProgressTimeout: 5 * time.Second}, throttle.Config{
			Policy: only(throttle.Unlimited), Host: throttle.Budget{Read: 1000, Write: 1000, Messages: 0.01, Commands: 0.05},
		})
		box := mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"}
		w, err := cl.OpenWriter(t.Context(), box)
		require.NoError(t, err)
		text := strings.Repeat("0123456789abcde\n", 6_000)
		text = strings.ReplaceAll(text, "\n", "\r\n")
		begun := time.Now()
		for range 2 {
			r, err := w.Append(t.Context(), letters(text))
			require.NoError(t, err)
			outcomes, err := r.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, mailhaul.Stored, outcomes[0].Delivery)
		}
		require.NoError(t, w.Finish(t.Context()))
		require.NoError(t, w.Close())
		assert.Greater(t, time.Since(begun), 190*time.Second)

		begun = time.Now()
		r, err := cl.OpenReader(t.Context(), box)
		require.NoError(t, err)
		var set mailhaul.UIDSet
		set.Add(1)
		set.Add(2)
		bodies, err := r.Fetch(t.Context(), set, false)
		require.NoError(t, err)
		n := 0
		for f, err := range bodies {
			require.NoError(t, err)
			body, err := io.ReadAll(f.Body.Reader())
			require.NoError(t, err)
			require.Equal(t, text, string(body))
			f.Body.Release()
			n++
		}
		require.Equal(t, 2, n)
		require.NoError(t, r.Close())
		assert.Greater(t, time.Since(begun), 190*time.Second)
		require.NoError(t, cl.Close())
	})
}

// Nothing is sent before the time that the server named is over, and the
// connection is of use afterwards.
func TestServersHint(t *testing.T) {
	for _, answer := range []string{
		"BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds",
		"NO Request is throttled. Suggested Backoff Time: 299961 milliseconds",
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var asked []time.Time
			srv := imapserver.New(imapserver.Options{Hooks: imapserver.Hooks{
				Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
					mu.Lock()
					defer mu.Unlock()
					asked = append(asked, time.Now())
					if command == "EXAMINE" && len(asked) < 20 {
						asked = asked[:0]
						for range 20 {
							asked = append(asked, time.Time{})
						}
						return &imapserver.Override{Reply: answer}
					}
					return nil
				},
			}})
			defer srv.Close()
			var waits []throttle.Wait
			cl, _ := throttled(t, srv, Config{}, throttle.Config{
				Policy: only(throttle.Policy{Name: "test", Account: throttle.Budget{Connections: 4}}),
				Events: throttle.Events{Waiting: func(w throttle.Wait) { waits = append(waits, w) }},
			})
			box := mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"}
			_, err := cl.OpenReader(t.Context(), box)
			require.Equal(t, mailhaul.Throttled, mailhaul.KindOf(err))
			begun := time.Now()
			r, err := cl.OpenReader(t.Context(), box)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			mu.Lock()
			require.Greater(t, len(asked), 20)
			for _, at := range asked[20:] {
				assert.GreaterOrEqual(t, at.Sub(begun), 299961*time.Millisecond)
			}
			mu.Unlock()
			if assert.NotEmpty(t, waits) {
				assert.Equal(t, "server asked for 299961 ms", waits[0].Reason)
			}
			require.NoError(t, cl.Close())
		})
	}
}

// A connection on which nothing happens is given back to another account of the
// host, and not within a moment of its last use.
func TestConnectionIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := imapserver.New(imapserver.Options{})
		defer srv.Close()
		srv.AddUser("ada", "secret").Mailbox("INBOX").Add(imapserver.Message{Body: []byte("x")})
		cl, th := throttled(t, srv, Config{}, throttle.Config{Policy: only(throttle.Policy{Name: "test", Host: throttle.Budget{Connections: 1}})})
		r, err := cl.OpenReader(t.Context(), mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
		require.NoError(t, err)
		other, err := th.Account(t.Context(), "mail.example.org", "bob")
		require.NoError(t, err)
		got := make(chan error, 1)
		go func() {
			_, err := other.Connect(t.Context(), nil)
			got <- err
		}()
		for range 10 {
			time.Sleep(time.Second)
			_, err := r.UIDs(t.Context())
			require.NoError(t, err)
		}
		require.Empty(t, got)
		time.Sleep(5 * time.Second)
		require.Len(t, got, 1)
		require.NoError(t, <-got)
		_, err = r.UIDs(t.Context())
		require.ErrorIs(t, err, errWanted)
		require.NoError(t, r.Close())
		require.NoError(t, cl.Close())
	})
}

// Close ends a wait for leave to connect.
func TestCloseWhileWaitingForLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := imapserver.New(imapserver.Options{})
		defer srv.Close()
		cl, th := throttled(t, srv, Config{}, throttle.Config{Policy: only(throttle.Policy{Name: "test", Host: throttle.Budget{Connections: 1}})})
		other, err := th.Account(t.Context(), "mail.example.org", "bob")
		require.NoError(t, err)
		_, err = other.Connect(t.Context(), nil)
		require.NoError(t, err)
		failed := make(chan error, 1)
		go func() {
			_, err := cl.OpenReader(t.Context(), mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
			failed <- err
		}()
		synctest.Wait()
		require.NoError(t, cl.Close())
		assert.ErrorIs(t, <-failed, mailhaul.ErrClosed)
	})
}

// heard is a Throttle that allows everything and remembers what it is told.
type heard struct {
	mu        sync.Mutex
	open      int
	latencies []time.Duration
	read      int
	written   int
	messages  int
	commands  int
	idle      bool
	name      string
	refusals  []refusalHeard
	failures  []bool // of the server
}

type refusalHeard struct {
	connections, server bool
	wait                time.Duration
}

func (h *heard) tell(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *heard) Connect(context.Context, func()) (int64, error) {
	h.tell(func() { h.open++ })
	return 1, nil
}
func (h *heard) Disconnect(int64) { h.tell(func() { h.open-- }) }
func (h *heard) Command(context.Context, int64) error {
	h.tell(func() { h.commands++; h.idle = false })
	return nil
}
func (h *heard) Idle(int64) { h.tell(func() { h.idle = true }) }
func (h *heard) Messages(_ context.Context, n int) error {
	h.tell(func() { h.messages += n })
	return nil
}
func (h *heard) Read(_ context.Context, n int) error  { h.tell(func() { h.read += n }); return nil }
func (h *heard) Write(_ context.Context, n int) error { h.tell(func() { h.written += n }); return nil }
func (h *heard) FirstByte(_ int64, latency time.Duration) {
	h.tell(func() { h.latencies = append(h.latencies, latency) })
}
func (h *heard) Identified(name string) { h.tell(func() { h.name = name }) }
func (h *heard) Failed(server bool, _ string) {
	h.tell(func() { h.failures = append(h.failures, server) })
}
func (h *heard) Refused(_ int64, connections, server bool, wait time.Duration, _ string) {
	h.tell(func() { h.refusals = append(h.refusals, refusalHeard{connections, server, wait}) })
}

// What is asked and told adds up, and the latency is the server's, without the
// time that the body takes.
func TestWhatAThrottleHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{}
		srv := imapserver.New(imapserver.Options{Hooks: imapserver.Hooks{
			Response: func(_ *imapserver.Session, command, _ string, response []byte) (a imapserver.Action) {
				if command == "UID FETCH" && strings.Contains(string(response), "FETCH (") {
					a.Delay = 70 * time.Millisecond
				}
				return a
			},
		}})
		defer srv.Close()
		inbox := srv.AddUser("ada", "secret").Create("INBOX")
		for range 3 {
			inbox.Add(imapserver.Message{Body: []byte(strings.Repeat("x", 1000))})
		}
		cl, _ := throttled(t, srv, Config{}, throttle.Config{})
		cl.cfg.Throttle = h
		r, err := cl.OpenReader(t.Context(), mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
		require.NoError(t, err)
		var set mailhaul.UIDSet
		for uid := range mailhaul.UID(3) {
			set.Add(uid + 1)
		}
		bodies, err := r.Fetch(t.Context(), set, false)
		require.NoError(t, err)
		for f, err := range bodies {
			require.NoError(t, err)
			f.Body.Release()
		}
		require.NoError(t, r.Close())
		require.NoError(t, cl.Close())
		traffic := cl.Traffic()
		assert.Zero(t, h.open)
		assert.Equal(t, 3, h.messages)
		assert.Equal(t, int(traffic.BytesIn), h.read)
		assert.Equal(t, int(traffic.BytesOut), h.written)
		assert.True(t, h.idle)
		assert.Equal(t, []time.Duration{70 * time.Millisecond}, h.latencies)
	})
}

// Each signal reaches the Throttle with what it says.
func TestSignalsReachTheThrottle(t *testing.T) {
	for answer, want := range map[string]refusalHeard{
		"OK done [THROTTLED]": {},
		"NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=3)": {connections: true},
		"NO [LIMIT] Rate limit hit.":                                          {},
		"BAD Request is throttled. Suggested Backoff Time: 1000 milliseconds": {wait: time.Second},
	} {
		h := &heard{}
		srv := imapserver.New(imapserver.Options{Hooks: imapserver.Hooks{
			Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
				if command == "UID FETCH" {
					return &imapserver.Override{Reply: answer}
				}
				return nil
			},
		}})
		srv.AddUser("ada", "secret").Create("INBOX").Add(imapserver.Message{Body: []byte("x")})
		cl, _ := throttled(t, srv, Config{}, throttle.Config{})
		cl.cfg.Throttle = h
		r, err := cl.OpenReader(t.Context(), mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
		require.NoError(t, err)
		var set mailhaul.UIDSet
		set.Add(1)
		bodies, err := r.Fetch(t.Context(), set, false)
		require.NoError(t, err)
		for _, err := range bodies {
			assert.Equal(t, mailhaul.Throttled, mailhaul.KindOf(err), answer)
		}
		require.NoError(t, r.Close())
		require.NoError(t, cl.Close())
		require.NoError(t, srv.Close())
		assert.Contains(t, h.refusals, want, answer)
	}
	for answer, want := range map[string][]bool{
		"NO [UNAVAILABLE] later": {false}, "NO [SERVERBUG] oops": {false}, "NO [NONEXISTENT] no": nil, "NO [INUSE] locked": nil,
	} {
		h := &heard{}
		srv := imapserver.New(imapserver.Options{Hooks: imapserver.Hooks{
			Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
				if command == "EXAMINE" {
					return &imapserver.Override{Reply: answer}
				}
				return nil
			},
		}})
		cl, _ := throttled(t, srv, Config{}, throttle.Config{})
		cl.cfg.Throttle = h
		_, err := cl.OpenReader(t.Context(), mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
		assert.Error(t, err)
		require.NoError(t, cl.Close())
		require.NoError(t, srv.Close())
		assert.Equal(t, want, h.failures, answer)
	}
	// A connection that is refused, and one that is cancelled by us.
	for _, ours := range []bool{false, true} {
		h := &heard{}
		cl, _ := throttled(t, imapserver.New(imapserver.Options{}), Config{}, throttle.Config{})
		cl.cfg.Throttle = h
		ctx, cancel := context.WithCancel(t.Context())
		cl.cfg.Server.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if ours {
				cancel()
				return nil, ctx.Err()
			}
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		_, err := cl.OpenReader(ctx, mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
		assert.Error(t, err)
		cancel()
		require.NoError(t, cl.Close())
		assert.Zero(t, h.open)
		assert.Equal(t, !ours, len(h.failures) == 1 && h.failures[0], "%v", h.failures)
	}
	// A connection that is closed without a greeting.
	h := &heard{}
	srv := imapserver.New(imapserver.Options{Hooks: imapserver.Hooks{Accept: func(int) error { return io.EOF }}})
	cl, _ := throttled(t, srv, Config{}, throttle.Config{})
	cl.cfg.Throttle = h
	_, err := cl.OpenReader(t.Context(), mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
	assert.Equal(t, mailhaul.Throttled, mailhaul.KindOf(err))
	require.NoError(t, cl.Close())
	require.NoError(t, srv.Close())
	assert.Equal(t, []refusalHeard{{connections: true, server: true}}, h.refusals)
	assert.Zero(t, h.open)
}
