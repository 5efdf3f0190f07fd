// Tests of who waits for whom when commits are grouped.

package checkpoint_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

func op(key string) []checkpoint.Op {
	return []checkpoint.Op{{Key: []byte(key), Value: []byte("v")}}
}

// TestQueue: of four that wait, one gives up; the others share a transaction,
// and Close waits for them.
func TestQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	b := openBolt(t, path)
	release := b.Hold()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gaveUp := make(chan error, 1)
	go func() { gaveUp <- b.Commit(ctx, op("cancelled")) }()
	results := make(chan error, 3)
	for i := range 3 {
		go func() { results <- b.Commit(context.Background(), op(fmt.Sprint("key", i))) }()
	}
	for b.Queued() < 4 {
		runtime.Gosched()
	}
	cancel()
	require.ErrorIs(t, <-gaveUp, context.Canceled, "it does not wait for the disk")
	require.Equal(t, 3, b.Queued())

	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	for b.Commit(context.Background(), nil) == nil { // until Close has begun
		runtime.Gosched()
	}
	select {
	case <-closed:
		t.Fatal("Close did not wait")
	default:
	}
	release()
	for range 3 {
		require.NoError(t, <-results)
	}
	require.NoError(t, <-closed)
	assert.Equal(t, checkpoint.BoltStats{Commits: 3, Transactions: 1}, b.Stats())

	b = openBolt(t, path)
	_, err := b.Get(context.Background(), []byte("cancelled"))
	assert.ErrorIs(t, err, checkpoint.ErrNotFound)
	for i := range 3 {
		_, err := b.Get(context.Background(), fmt.Append(nil, "key", i))
		assert.NoError(t, err)
	}
}

// TestFailingDisk: after an input/output error nobody knows what the file
// holds, so it is not used any more; a full disk may have room again.
func TestFailingDisk(t *testing.T) {
	b := openBolt(t, filepath.Join(t.TempDir(), "state.db"))
	require.Error(t, b.Fail(fmt.Errorf("write: %w", syscall.ENOSPC)))
	require.NoError(t, b.Commit(ctx, op("a")))
	broken := b.Fail(fmt.Errorf("sync: %w", syscall.EIO))
	assert.ErrorContains(t, broken, "the disk fails (input/output error)")
	assert.Equal(t, mailhaul.Permanent, mailhaul.KindOf(broken))
	assert.Equal(t, broken, b.Commit(ctx, op("b")))
	_, err := b.Get(ctx, []byte("a"))
	assert.Equal(t, broken, err)
	for _, err := range b.Scan(ctx, nil, nil) {
		assert.Equal(t, broken, err)
	}
	require.NoError(t, b.Close())
	b = openBolt(t, b.Path())
	_, err = b.Get(ctx, []byte("a"))
	assert.NoError(t, err)
}
