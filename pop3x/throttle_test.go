package pop3x_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
	"github.com/mailhaul/mailhaul/throttle"
)

var _ pop3x.Throttle = (*throttle.Account)(nil)

// noting is a Throttle that gives leave at once, unless told otherwise, and
// counts what it is asked.
type noting struct {
	mu       sync.Mutex // protects what follows
	open     map[int64]func()
	ids      int64
	commands int
	messages int
	read     int
	written  int
	bytes1   int // calls of FirstByte
	idle     int
	refusals []string
	failures []string
	names    []string

	stop chan struct{} // while it is open, Command and Connect wait
}

func (n *noting) wait(ctx context.Context) error {
	n.mu.Lock()
	stop := n.stop
	n.mu.Unlock()
	if stop == nil {
		return nil
	}
	select {
	case <-stop:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *noting) Connect(ctx context.Context, recall func()) (int64, error) {
	if err := n.wait(ctx); err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids++
	if n.open == nil {
		n.open = make(map[int64]func())
	}
	n.open[n.ids] = recall
	return n.ids, nil
}

func (n *noting) Disconnect(id int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open[id] == nil {
		panic("disconnected twice")
	}
	delete(n.open, id)
}

func (n *noting) Command(ctx context.Context, _ int64) error {
	if err := n.wait(ctx); err != nil {
		return err
	}
	n.count(&n.commands, 1)
	return nil
}

func (n *noting) count(what *int, by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*what += by
}

func (n *noting) Idle(int64)                               { n.count(&n.idle, 1) }
func (n *noting) Messages(_ context.Context, by int) error { n.count(&n.messages, by); return nil }
func (n *noting) Read(_ context.Context, by int) error     { n.count(&n.read, by); return nil }
func (n *noting) Write(_ context.Context, by int) error    { n.count(&n.written, by); return nil }
func (n *noting) FirstByte(_ int64, latency time.Duration) { n.count(&n.bytes1, 1) }
func (n *noting) Refused(_ int64, connections, server bool, wait time.Duration, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusals = append(n.refusals, fmt.Sprint(connections, server, wait, " ", reason))
}
func (n *noting) Failed(server bool, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failures = append(n.failures, fmt.Sprint(server, " ", reason))
}
func (n *noting) Identified(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = append(n.names, name)
}

// All that is done is asked for and told.
func TestThrottleIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &noting{}
		r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(int, string) *pop3server.Override {
			time.Sleep(time.Millisecond)
			return nil
		}}})
		r.cfg.Throttle = n
		size := 0
		for i := range 30 {
			m := message(i, 5000)
			size += len(m)
			r.drop.Add("", m)
		}
		src, err := pop3x.New(r.cfg)
		require.NoError(t, err)
		reader, err := src.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		gets(t, reader, 30)
		require.NoError(t, reader.Close())
		require.NoError(t, src.Close())
		assert.Empty(t, n.open, "each connection's end is told")
		assert.EqualValues(t, 1, n.ids)
		assert.GreaterOrEqual(t, n.messages, 30)
		assert.GreaterOrEqual(t, n.commands, 34, "30 messages and the listing")
		assert.Greater(t, n.read, size)
		assert.Greater(t, n.written, 30*len("TOP 1 2147483647\r\n"))
		assert.Positive(t, n.bytes1)
		assert.Positive(t, n.idle)
		assert.Empty(t, n.refusals)
		assert.Equal(t, []string{"mailhaul"}, n.names)
	})
}

// gets fetches all there is.
func gets(t *testing.T, reader mailhaul.Reader, want int) {
	t.Helper()
	got, err := fetchAll(reader, all(reader))
	require.NoError(t, err)
	require.Len(t, got, want)
}

// Where there is no leave for long, the session ends, so that the user gets at
// the maildrop; another begins when there is.
func TestThrottleThatWaitsEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &noting{}
		r := newRig(t, pop3server.Options{})
		r.cfg.Throttle = n
		r.drop.Add("", message(1, 500))
		src := r.source()
		reader, err := src.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		n.mu.Lock()
		n.stop = make(chan struct{})
		n.mu.Unlock()
		begun := time.Now()
		_, failure := fetchAll(reader, all(reader))
		require.Equal(t, mailhaul.Throttled, mailhaul.KindOf(failure), "%v", failure)
		assert.Equal(t, 30*time.Second, time.Since(begun))
		require.NoError(t, reader.Close())
		synctest.Wait()
		n.mu.Lock()
		assert.Empty(t, n.open)
		stop := n.stop
		n.mu.Unlock()

		time.AfterFunc(8*time.Hour, func() { close(stop) })
		reader, err = src.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		assert.Greater(t, time.Since(begun), 8*time.Hour, "the log-in waited")
		gets(t, reader, 1)
		require.NoError(t, reader.Close())
	})
}

// A connection that is wanted back is given back between two messages.
func TestThrottleCallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &noting{}
		r := newRig(t, pop3server.Options{})
		r.cfg.Throttle = n
		r.cfg.SessionPause = time.Minute
		r.drop.Add("", message(1, 500))
		src := r.source()
		reader, err := src.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		gets(t, reader, 1)
		n.mu.Lock()
		n.open[1]()
		n.mu.Unlock()
		gets(t, reader, 1)
		n.mu.Lock()
		assert.Contains(t, n.open, int64(2))
		assert.NotContains(t, n.open, int64(1))
		n.mu.Unlock()
		require.NoError(t, reader.Close())
	})
}

// A server that asks for less is heard; one whose maildrop is in use is not
// overloaded.
func TestThrottleHearsRefusals(t *testing.T) {
	for _, tt := range []struct {
		reply string
		want  string
	}{
		{"-ERR [SYS/TEMP] too many connections from your host", "falsefalse0s the server answers -ERR"},
		{"-ERR [SYS/TEMP] the disk is asleep", ""},
		{"-ERR Too many connections", "falsefalse0s the server answers -ERR"},
		{"-ERR [IN-USE] the maildrop is locked", ""},
		{"-ERR [LOGIN-DELAY] minimum time between mail checks violation", ""},
		{"-ERR [AUTH] wrong password", ""},
	} {
		t.Run(tt.reply, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &noting{}
				r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
					if strings.HasPrefix(line, "AUTH") || strings.HasPrefix(line, "PASS") {
						return &pop3server.Override{Reply: tt.reply}
					}
					return nil
				}}})
				r.cfg.Throttle = n
				r.refused()
				assert.Equal(t, tt.want != "", len(n.refusals) > 0, "%q", n.refusals)
				assert.Equal(t, strings.Contains(tt.reply, "asleep"), len(n.failures) == 1, "%q", n.failures)
				assert.Empty(t, n.open)
			})
		})
	}
	t.Run("it closes without a greeting", func(t *testing.T) {
		n := &noting{}
		r := newRig(t, pop3server.Options{})
		require.NoError(t, r.server.Close())
		r.cfg.Throttle = n
		r.refused()
		assert.Empty(t, n.open)
		assert.Len(t, n.failures, 1, "a connection that is refused is no overload, and many are")
	})
}

// The rate of the budget holds to a twentieth, and our own waits are not taken
// for the server's silence.
func TestThrottleKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pop3server.Options{})
		size := 0
		for i := range 100 {
			m := message(i, 4000)
			size += len(m)
			r.drop.Add("", m)
		}
		th, err := throttle.New(throttle.Config{
			Policy: func(string) throttle.Policy { return throttle.Unlimited }, Host: throttle.Budget{Read: 2000},
		})
		require.NoError(t, err)
		account, err := th.Account(t.Context(), "mail.example.org", "ann")
		require.NoError(t, err)
		r.cfg.Throttle = account
		src := r.source()
		begun := time.Now()
		reader, err := src.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		gets(t, reader, 100)
		took := time.Since(begun).Seconds()
		assert.InEpsilon(t, float64(src.Traffic().BytesIn)/2000, took, 0.05)
		require.NoError(t, reader.Close())
		require.NoError(t, th.Close(t.Context()))
	})
}
