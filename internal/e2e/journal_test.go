// What the journal costs: commits, which are counted, and time, which is
// measured against runs that keep the checkpoint in memory.

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// countingStore counts commits.
type countingStore struct {
	checkpoint.Store
	commits atomic.Int64
}

func (c *countingStore) Commit(ctx context.Context, ops []checkpoint.Op) error {
	c.commits.Add(1)
	return c.Store.Commit(ctx, ops)
}

// One commit a batch, and one at the end, in which the last outcomes and the end
// of the run become durable; none for a pass with nothing to do.
func TestCommitsAreCounted(t *testing.T) {
	a := testserver.InProcess(t, imapserver.Options{})
	b := testserver.InProcess(t, imapserver.Options{})
	a.Load(1, corpus.Default(3000))
	store := &countingStore{Store: checkpoint.NewMemory()}
	from, to := client(t, a.Account(1).Server), client(t, b.Account(1).Server)
	defer from.Close()
	defer to.Close()
	var batches int64
	s, err := mailsync.New(mailsync.Config{Source: from, Target: to, Store: store,
		Events: mailsync.Events{Progress: func(mailsync.Progress) { batches++ }}})
	require.NoError(t, err)
	res, err := s.Run(context.Background())
	require.NoError(t, err)
	require.Equal(t, 3000, res.Copied)
	commits := store.commits.Swap(0)
	t.Logf("%d batches, %d mailboxes, %d commits", batches, res.Mailboxes, commits)
	require.GreaterOrEqual(t, batches, int64(30))
	require.LessOrEqual(t, commits, batches+1)

	_, err = s.Run(context.Background())
	require.NoError(t, err)
	require.Zero(t, store.commits.Load(), "a pass with nothing to do writes nothing")
}

// Ten pairs of runs between the same two Dovecots, one with the checkpoint on
// the disk and one with it in memory. The ratio is logged, and bounded loosely:
// machines that run tests are busy.
func TestJournalCost(t *testing.T) {
	if testing.Short() || os.Getenv("MAILHAUL_MEASURE") == "" {
		t.Skip("takes quiet minutes: set MAILHAUL_MEASURE=1")
	}
	a := testserver.Dovecot(t, testserver.DovecotOptions{})
	require.NoError(t, corpus.Load(context.Background(), a.Account(1).Server, corpus.Default(5000)))
	run := func(store checkpoint.Store) float64 {
		b := testserver.Dovecot(t, testserver.DovecotOptions{})
		defer b.Stop()
		from, to := client(t, a.Account(1).Server), client(t, b.Account(1).Server)
		defer from.Close()
		defer to.Close()
		s, err := mailsync.New(mailsync.Config{Source: from, Target: to, Store: store})
		require.NoError(t, err)
		began := time.Now()
		res, err := s.Run(context.Background())
		require.NoError(t, err)
		require.Equal(t, 5000, res.Copied)
		return time.Since(began).Seconds()
	}
	var ratios []float64
	for i := range 10 {
		disk, err := checkpoint.Open(filepath.Join(t.TempDir(), "state.db"), nil)
		require.NoError(t, err)
		var with, without float64
		if i%2 == 0 {
			with, without = run(disk), run(checkpoint.NewMemory())
		} else {
			without, with = run(checkpoint.NewMemory()), run(disk)
		}
		require.NoError(t, disk.Close())
		ratios = append(ratios, without/with)
		t.Logf("with the journal on disk %.2f s, in memory %.2f s: throughput %.2f", with, without, without/with)
	}
	slices.Sort(ratios)
	median := (ratios[4] + ratios[5]) / 2
	t.Logf("median throughput with the journal: %.2f of that without", median)
	require.Greater(t, median, 0.8)
}
