// Tests of what is left to the next commit.

package checkpoint_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// weighed counts the commits of a store, and fails them while told to.
type weighed struct {
	checkpoint.Store
	mu      sync.Mutex // protects what follows
	commits int
	fail    bool
}

func (w *weighed) Commit(ctx context.Context, ops []checkpoint.Op) error {
	w.mu.Lock()
	w.commits++
	fail := w.fail
	w.mu.Unlock()
	if fail {
		return errors.New("the disk is full")
	}
	return w.Store.Commit(ctx, ops)
}

// What is deferred becomes durable with the next commit of whatever mailbox, in
// one commit with it, and never without one.
func TestDefer(t *testing.T) {
	s := &weighed{Store: checkpoint.NewMemory()}
	l := openLedger(t, s, "anna")
	box := func(name string) *checkpoint.MailboxLedger {
		m, err := l.Mailbox(ctx, name)
		require.NoError(t, err)
		return m
	}
	stored := func(name string) []string { return records(t, openMailbox(t, s.Store, name), 0) }
	put := func(name string, uid mailhaul.UID) {
		require.NoError(t, box(name).Put(ctx, checkpoint.Record{Source: uid, Target: uid}))
	}
	put("A", 1)
	box("A").Defer()
	box("A").Defer()
	put("B", 2)
	box("B").Defer()
	assert.Zero(t, s.commits)
	assert.Empty(t, stored("A"))

	put("C", 3)
	s.fail = true
	require.Error(t, box("C").Commit(ctx))
	s.fail = false
	assert.Empty(t, stored("A"), "all or nothing")
	put("A", 4) // staged after it was deferred
	require.NoError(t, box("C").Commit(ctx))
	assert.Equal(t, 2, s.commits)
	assert.Len(t, stored("A"), 2)
	assert.Len(t, stored("B"), 1)
	assert.Len(t, stored("C"), 1)

	require.NoError(t, l.Commit(ctx))
	assert.Equal(t, 2, s.commits, "nothing is left")
	put("A", 5)
	put("B", 6)
	box("B").Defer()
	box("C").Defer() // with nothing staged
	require.NoError(t, l.Commit(ctx))
	assert.Equal(t, 3, s.commits)
	assert.Len(t, stored("A"), 2, "it was not deferred")
	assert.Len(t, stored("B"), 2)

	box("A").Defer()
	s.fail = true
	require.Error(t, l.Commit(ctx))
	s.fail = false
	require.NoError(t, l.Commit(ctx))
	assert.Len(t, stored("A"), 3)
	require.NoError(t, checkpoint.Check(ctx, s.Store))
}

// Mailboxes that defer and commit at once do not wait for one another for ever.
func TestDeferConcurrently(t *testing.T) {
	s := checkpoint.NewMemory()
	l := openLedger(t, s, "anna")
	var wg sync.WaitGroup
	for _, name := range []string{"A", "B", "C", "D"} {
		m, err := l.Mailbox(ctx, name)
		require.NoError(t, err)
		wg.Go(func() {
			for uid := range mailhaul.UID(200) {
				assert.NoError(t, m.Put(ctx, checkpoint.Record{Source: uid + 1, Target: uid + 1}))
				if uid%3 == 0 {
					assert.NoError(t, m.Commit(ctx))
				} else {
					m.Defer()
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Commit(ctx))
	for _, name := range []string{"A", "B", "C", "D"} {
		assert.Len(t, records(t, openMailbox(t, s, name), 0), 200)
	}
	require.NoError(t, checkpoint.Check(ctx, s))
}
