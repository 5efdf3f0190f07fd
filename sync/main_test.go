// The rig of the engine's tests: two accounts in memory, a Store, and the
// checks that each test ends with.

package sync_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a source, a target and a Store.
type rig struct {
	t      testing.TB
	source *memmail.Account
	target *memmail.Account
	store  checkpoint.Store
	cfg    mailsync.Config

	decorate func(mailhaul.Target) mailhaul.Target // if set
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, source: memmail.New("ann"), target: memmail.New("bob"), store: checkpoint.NewMemory()}
	r.cfg = mailsync.Config{SettleTime: time.Millisecond}
	t.Cleanup(func() {
		require.NoError(t, checkpoint.Check(context.Background(), r.store))
		require.Zero(t, r.source.Open(), "connections to the source left open")
		require.Zero(t, r.target.Open(), "connections to the target left open")
	})
	return r
}

func (r *rig) syncer() *mailsync.Syncer {
	r.t.Helper()
	cfg := r.cfg
	cfg.Source, cfg.Target, cfg.Store = r.source, r.target, r.store
	if r.decorate != nil {
		cfg.Target = r.decorate(r.target)
	}
	s, err := mailsync.New(cfg)
	require.NoError(r.t, err)
	return s
}

// run makes one pass that must not be stopped.
func (r *rig) run() *mailsync.Result {
	r.t.Helper()
	res, err := r.syncer().Run(context.Background())
	require.NoError(r.t, err)
	r.checkCounts(res)
	if res.Complete() {
		r.checkNothingOpen()
	}
	return res
}

// checkNothingOpen holds that a complete run leaves no batch in doubt.
func (r *rig) checkNothingOpen() {
	r.t.Helper()
	ctx := context.Background()
	l, err := checkpoint.OpenLedger(ctx, r.store, checkpoint.Pair{From: r.source.Account(), To: r.target.Account()})
	require.NoError(r.t, err)
	names, err := l.Mailboxes(ctx)
	require.NoError(r.t, err)
	for _, name := range names {
		m, err := l.Mailbox(ctx, name)
		require.NoError(r.t, err)
		require.Empty(r.t, m.Intents(), "open batches of %s", name)
		for rec, err := range m.Records(ctx, 0) {
			require.NoError(r.t, err)
			require.NotEqual(r.t, checkpoint.Unread, rec.State, "UID %d of %s was not read back", rec.Source, name)
		}
	}
}

// checkCounts holds the promise that each message is counted exactly once.
func (r *rig) checkCounts(res *mailsync.Result) {
	r.t.Helper()
	failed := 0
	for _, f := range res.Failed {
		if f.UID != 0 {
			failed++
		}
	}
	if len(res.Held) > 0 {
		return // its mailbox is in Failed as a whole
	}
	require.Equal(r.t, res.Messages, res.Copied+res.Adopted+res.Skipped+res.Vanished+res.RemovedOnTarget+failed, "%+v", res)
}

// fill puts n different messages into a mailbox of the source.
func (r *rig) fill(path string, n int) {
	for i := range n {
		r.source.AddMessage(path, memmail.Stored{
			Body:  []byte(mail(path, i)),
			Flags: [][]mailhaul.Flag{nil, {mailhaul.FlagSeen}, {mailhaul.FlagSeen, "$Work"}}[i%3],
			Date:  time.Date(2015, 3, 4, 5, 6, i, 0, time.FixedZone("", 3600*(i%5))),
		})
	}
}

func mail(path string, i int) string {
	return fmt.Sprintf("Message-ID: <%d@%s>\r\nDate: Mon, 1 Jan 2018 00:00:%02d +0000\r\nSubject: %d\r\nFrom: ann@example.org\r\n\r\n%s\r\n",
		i, path, i%60, i, strings.Repeat("text ", i%50))
}

// same compares a mailbox on both sides: octets, flags, date, order.
func (r *rig) same(path string) {
	r.t.Helper()
	r.sameAs(path, path)
}

func (r *rig) sameAs(source, target string) {
	r.t.Helper()
	want, got := lines(r.source.Snapshot(source)), lines(r.target.Snapshot(target))
	require.True(r.t, slices.Equal(want, got), "%s differs: %d messages on the source, %d on the target", source, len(want), len(got))
}

func lines(msgs []memmail.Stored) []string {
	out := make([]string, 0, len(msgs))
	for _, m := range msgs {
		flags, _ := mailhaul.NormalizeFlags(m.Flags)
		out = append(out, fmt.Sprintf("%x %v %s %.20q", sha256.Sum256(m.Body), flags, m.Date.UTC().Format(time.RFC3339), m.Body))
	}
	return out
}

// bodies returns the octets of a mailbox, sorted.
func bodies(a *memmail.Account, path string) []string {
	var out []string
	for _, m := range a.Snapshot(path) {
		out = append(out, string(m.Body))
	}
	slices.Sort(out)
	return out
}
