package sync_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// popRig is a POP3 account, a target in memory, and a Store.
type popRig struct {
	t      testing.TB
	server *pop3server.Server
	drop   *pop3server.Maildrop
	target *memmail.Account
	store  checkpoint.Store
	cfg    mailsync.Config
	pop    pop3x.Config

	imposer *memmail.Imposer // in the target's place, if set
}

func newPopRig(t testing.TB, opts pop3server.Options) *popRig {
	r := &popRig{t: t, server: pop3server.New(opts), target: memmail.New("bob"), store: checkpoint.NewMemory()}
	t.Cleanup(func() { require.NoError(t, r.server.Close()) })
	r.drop = r.server.AddUser("ann", "secret")
	r.cfg = mailsync.Config{SettleTime: time.Millisecond}
	r.pop = pop3x.Config{
		Server: mailhaul.Server{
			Protocol: mailhaul.POP3, Host: "127.0.0.1", Security: mailhaul.Plaintext, User: "ann", Dial: r.server.Dial,
			Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("secret"), nil },
		},
		ProgressTimeout: 5 * time.Second,
	}
	return r
}

func (r *popRig) run() (*mailsync.Result, error) {
	r.t.Helper()
	source, err := pop3x.New(r.pop)
	require.NoError(r.t, err)
	defer func() {
		require.NoError(r.t, source.Close())
		// A session that was cut off gives the maildrop back when its server
		// sees that.
		require.Eventually(r.t, func() bool { return !r.drop.Locked() }, 5*time.Second, time.Millisecond)
		require.NoError(r.t, checkpoint.Check(context.Background(), r.store))
	}()
	cfg := r.cfg
	cfg.Source, cfg.Target, cfg.Store = source, r.target, r.store
	if r.imposer != nil {
		cfg.Target = r.imposer
	}
	s, err := mailsync.New(cfg)
	require.NoError(r.t, err)
	return s.Run(context.Background())
}

func (r *popRig) mustRun() *mailsync.Result {
	r.t.Helper()
	res, err := r.run()
	require.NoError(r.t, err)
	require.Empty(r.t, res.Failed)
	return res
}

func popMessage(i int) []byte {
	return fmt.Appendf(nil, "Received: from a by b; Mon, 2 Jan 2023 15:04:%02d +0100\r\nMessage-ID: <%d@test>\r\nDate: Mon, 2 Jan 2023 14:00:00 +0000\r\nSubject: no %d\r\n\r\n%s\r\n", i%60, i, i, strings.Repeat("x", i%70*10))
}

// same checks that the target holds what the maildrop does, each once, and
// what else is given.
func (r *popRig) same(more ...string) {
	r.t.Helper()
	var want, got []string
	for _, m := range r.drop.Messages() {
		want = append(want, string(m.Body))
	}
	want = append(want, more...)
	for _, m := range r.target.Snapshot("INBOX") {
		got = append(got, string(m.Body))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		r.t.Fatalf("the target holds %d messages, not the %d that it should", len(got), len(want))
	}
}

func TestPOP3SourceMoves(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	for i := range 250 {
		r.drop.Add("", popMessage(i))
	}
	res := r.mustRun()
	require.Equal(t, 250, res.Copied)
	require.Equal(t, "order", res.Identity["INBOX"])
	require.Empty(t, res.Warnings)
	r.same()
	for i, m := range r.target.Snapshot("INBOX") {
		require.Equal(t, fmt.Sprintf("2023-01-02T15:04:%02d+01:00", i%60), m.Date.Format(time.RFC3339))
		require.Empty(t, m.Flags)
	}

	r.server.ForgetCommands()
	res = r.mustRun()
	require.Zero(t, res.Copied+res.Adopted)
	require.Equal(t, 250, res.Skipped)
	require.Zero(t, r.server.Commands("RETR")+r.server.Commands("TOP"))
	require.LessOrEqual(t, res.RoundTrips, int64(8))

	// The order changes, one goes, two come.
	first := string(r.drop.Messages()[0].Body)
	r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message {
		m = m[1:]
		slices.Reverse(m)
		return m
	})
	r.drop.Add("", popMessage(1001))
	r.drop.Add("", popMessage(1002))
	res = r.mustRun()
	require.Equal(t, 2, res.Copied)
	require.Equal(t, 249, res.Skipped)
	r.same(first)

	// The target's user deletes one: it does not come back.
	r.target.Expunge("INBOX", 5)
	res = r.mustRun()
	require.Zero(t, res.Copied)
	require.Equal(t, 1, res.RemovedOnTarget)

	// Without the checkpoint everything is recognised.
	r.store = checkpoint.NewMemory()
	res = r.mustRun()
	require.Equal(t, 250, res.Adopted)
	require.Equal(t, 1, res.Copied, "what was deleted there comes back")
	r.same(first)

	led, err := checkpoint.OpenLedger(context.Background(), r.store, checkpoint.Pair{From: r.pop.Server.Account(), To: r.target.Account()})
	require.NoError(t, err)
	m, err := led.Mailbox(context.Background(), "INBOX")
	require.NoError(t, err)
	uidls, err := m.UIDLMap(context.Background())
	require.NoError(t, err)
	require.Len(t, uidls.Entries, 251)
	bodies := make(map[mailhaul.UID]string)
	for _, m := range r.target.Snapshot("INBOX") {
		bodies[m.UID] = string(m.Body)
	}
	byUIDL := make(map[string]string)
	for _, m := range r.drop.Messages() {
		byUIDL[m.UIDL] = string(m.Body)
	}
	for _, e := range uidls.Entries {
		require.Equal(t, byUIDL[string(e.UIDL)], bodies[e.UID])
	}
}

func TestPOP3DuplicateUIDLs(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	for i := range 20 {
		r.drop.Add(fmt.Sprintf("id%d", i/2), popMessage(i))
	}
	r.drop.Add("twin", popMessage(77))
	r.drop.Add("twin", popMessage(77))
	require.Equal(t, 22, r.mustRun().Copied)
	r.same()
	require.Zero(t, r.mustRun().Copied)
	r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message {
		slices.Reverse(m)
		return m
	})
	require.Zero(t, r.mustRun().Copied)
	r.drop.Add("id3", popMessage(500))
	r.drop.Add("twin", popMessage(77))
	require.Equal(t, 2, r.mustRun().Copied)
	r.same()
}

func TestPOP3WithoutUIDL(t *testing.T) {
	for _, opts := range []pop3server.Options{{NoUIDL: true}, {NoUIDL: true, NoTOP: true, NoPipelining: true}, {NoUIDL: true, NoCapa: true}} {
		r := newPopRig(t, opts)
		for i := range 30 {
			r.drop.Add("", popMessage(i))
		}
		r.drop.Add("", popMessage(3)) // a twin
		res := r.mustRun()
		require.Equal(t, 31, res.Copied)
		require.NotEmpty(t, res.Warnings)
		r.same()
		r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message { return append(m[7:], m[:7]...) })
		r.drop.Add("", popMessage(99))
		require.Equal(t, 1, r.mustRun().Copied)
		r.same()
	}
}

func TestPOP3NumbersAreNoNames(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	for i := range 10 {
		r.drop.Add(fmt.Sprint(i+1), popMessage(i))
	}
	r.mustRun()
	r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message {
		m = m[1:]
		for i := range m {
			m[i].UIDL = fmt.Sprint(i + 1)
		}
		return m
	})
	r.drop.Add("10", popMessage(50))
	res, err := r.run()
	require.NoError(t, err)
	require.Len(t, res.Failed, 1)
	require.Contains(t, res.Failed[0].Reason, "numbers")
}

func TestPOP3FailuresNameTheirUIDL(t *testing.T) {
	r := newPopRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if line == "RETR 3" || line == "TOP 3 2147483647" {
			return &pop3server.Override{Reply: "-ERR damaged"}
		}
		return nil
	}}})
	for i := range 10 {
		r.drop.Add(fmt.Sprintf("id%d", i), popMessage(i))
	}
	res, err := r.run()
	require.NoError(t, err)
	require.Equal(t, 9, res.Copied)
	require.Len(t, res.Failed, 1)
	require.Equal(t, mailhaul.UIDL("id2"), res.Failed[0].UIDL)
	require.Equal(t, mailhaul.UID(3), res.Failed[0].UID)
}

func TestPOP3LockIsWaitedFor(t *testing.T) {
	var tries atomic.Int32
	r := newPopRig(t, pop3server.Options{AuthMechs: []string{}, Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if strings.HasPrefix(line, "PASS") && tries.Add(1) <= 2 {
			return &pop3server.Override{Reply: "-ERR [IN-USE] another program has it"}
		}
		return nil
	}}})
	r.drop.Add("", popMessage(1))
	var waited []time.Duration
	r.cfg.Events.Waiting = func(w mailsync.Waiting) { waited = append(waited, w.For) }
	require.Equal(t, 1, r.mustRun().Copied)
	require.Len(t, waited, 1)
	require.EqualValues(t, 3, tries.Load())
}

func TestPOP3SessionsEndInBetween(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	for i := range 300 {
		r.drop.Add("", popMessage(i))
	}
	r.cfg.BatchMessages = 2 // a session ends behind what was asked for ahead
	r.pop.SessionBytes, r.pop.SessionPause = 20_000, time.Millisecond
	require.Equal(t, 300, r.mustRun().Copied)
	require.Greater(t, r.server.Connections(), 3)
	r.same()
	for i, m := range r.target.Snapshot("INBOX") {
		require.Equal(t, string(popMessage(i)), string(m.Body), "order is kept")
	}
}

// cutConn ends a connection after so many octets.
type cutConn struct {
	net.Conn
	left *atomic.Int64
}

func (c cutConn) Write(p []byte) (int, error) {
	if left := c.left.Add(-int64(len(p))); left < 0 {
		keep := max(0, int64(len(p))+left)
		n, _ := c.Conn.Write(p[:keep])
		_ = c.Conn.Close()
		return n, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// TestPOP3CutAnywhere cuts the source's connection at sampled octets, crashes
// in between (a rolled back store, appends whose answer is lost), and finds
// everything there once in the end.
func TestPOP3CutAnywhere(t *testing.T) {
	samples := 25
	if testing.Short() {
		samples = 10
	}
	const messages = 120
	for sample := range samples {
		rng := rand.New(rand.NewPCG(5, uint64(sample)))
		var left atomic.Int64
		left.Store(rng.Int64N(60_000))
		r := newPopRig(t, pop3server.Options{Hooks: pop3server.Hooks{Wrap: func(n int, c net.Conn) net.Conn {
			if n == 1 {
				return cutConn{c, &left}
			}
			return c
		}}})
		for i := range messages {
			uidl := ""
			if rng.IntN(10) == 0 {
				uidl = "again"
			}
			r.drop.Add(uidl, popMessage(i-i%7/6)) // some twins
		}
		r.cfg.BatchMessages, r.cfg.Retries = 9, -1
		lose := rng.IntN(12)
		r.target.Hooks.Append = func(string, []mailhaul.Outgoing) *memmail.Answer {
			if lose--; lose == 0 {
				return &memmail.Answer{Outcomes: make([]mailhaul.Outcome, 9), Err: memmail.Lost("cut")}
			}
			return nil
		}
		old := r.copyStore()
		_, _ = r.run()
		if rng.IntN(3) == 0 {
			r.store = old
		}
		r.target.Hooks.Append = nil
		r.cfg.Retries = 5
		old = r.copyStore()
		r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message {
			slices.Reverse(m)
			return m
		})
		r.mustRun()
		r.same()
		r.drop.Add("late", popMessage(1000))
		r.mustRun()
		r.same()
		if rng.IntN(3) == 0 {
			r.store = old // the state of two runs ago
		}
		r.mustRun()
		r.same()
	}
}

func (r *popRig) copyStore() checkpoint.Store {
	r.t.Helper()
	ctx := context.Background()
	out := checkpoint.NewMemory()
	var ops []checkpoint.Op
	for kv, err := range r.store.Scan(ctx, nil, nil) {
		require.NoError(r.t, err)
		ops = append(ops, checkpoint.Op{Key: slices.Clone(kv.Key), Value: slices.Clone(kv.Value)})
	}
	require.NoError(r.t, out.Commit(ctx, ops))
	return out
}
