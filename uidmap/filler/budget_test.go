package filler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// Whatever mailboxes do side by side, no more is spent than there is, and what
// a mailbox was promised it can spend.
func TestBudget(t *testing.T) {
	const most = 500
	for seed := range uint64(50) {
		b := newBudget(most)
		var spent atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(i)))
				key := fmt.Sprint(i)
				promised := uint64(rnd.IntN(150))
				if !b.promise(key, promised) {
					promised = 0
				}
				for range 20 {
					n := uint64(rnd.IntN(12))
					ok := b.spend(key, n)
					if n <= promised {
						require.True(t, ok, "a promise was broken")
					}
					promised -= min(n, promised)
					if !ok {
						continue
					}
					if rnd.IntN(4) == 0 {
						b.giveBack(n)
						continue
					}
					spent.Add(int64(n))
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, spent.Load(), int64(most))
		require.EqualValues(t, most-spent.Load(), b.left)
		require.LessOrEqual(t, b.total, b.left)
	}
}

// box makes a mailbox with room for it.
func box(t *testing.T, f *Imposer, name string) mailhaul.Mailbox {
	t.Helper()
	m, err := f.Create(context.Background(), []string{name}, "")
	require.NoError(t, err)
	return m
}

func rigged(t *testing.T, most int) *Imposer {
	t.Helper()
	cl, err := imapx.New(imapx.Config{Server: testserver.InProcess(t, imapserver.Options{}).Account(1).Server})
	require.NoError(t, err)
	t.Cleanup(func() { _ = cl.Close() })
	f, err := New(Config{Target: cl, Max: most})
	require.NoError(t, err)
	return f
}

// Mailboxes that need no more than the limit each, but more in all, are not all
// promised their UIDs: not even where they are asked about side by side, or
// before they are made.
func TestLimitIsForAllMailboxes(t *testing.T) {
	f := rigged(t, 100)
	ctx := context.Background()
	want := mailhaul.Identity{UIDNext: 50, Count: 9} // 40 to be burnt
	var can [3]mailhaul.Imposable
	var all sync.WaitGroup
	for i := range can {
		m := mailhaul.Mailbox{Path: []string{fmt.Sprint("Box", i)}}
		all.Go(func() {
			var err error
			can[i], err = f.Imposable(ctx, m, want)
			require.NoError(t, err)
		})
	}
	all.Wait()
	refused := -1
	for i, c := range can {
		if c.Level == mailhaul.LevelUID {
			continue
		}
		require.Equal(t, -1, refused, "%+v", can)
		refused = i
		require.Equal(t, "40 UIDs would have to be burnt, and of the 100 that may be, 20 are left when the other mailboxes have theirs", c.Reason)
	}
	require.GreaterOrEqual(t, refused, 0, "120 were promised of 100")

	// Asked again, as a second pass asks, a mailbox does not count twice.
	for i := range can {
		if i != refused {
			c, err := f.Imposable(ctx, mailhaul.Mailbox{Path: []string{fmt.Sprint("Box", i)}}, want)
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelUID, c.Level)
		}
	}

	// The one that was refused cannot take what is the others'.
	_, err := f.OpenImposing(ctx, box(t, f, fmt.Sprint("Box", refused)), want)
	require.ErrorContains(t, err, "20 are left")
	require.Equal(t, mailhaul.Permanent, mailhaul.KindOf(err))

	// The others have it, made by now, session by session.
	for i := range can {
		if i == refused {
			continue
		}
		m := box(t, f, fmt.Sprint("Box", i))
		for _, next := range []mailhaul.UID{11, 41} { // 10, and 30 more
			w, err := f.OpenImposing(ctx, m, mailhaul.Identity{UIDNext: next})
			require.NoError(t, err)
			require.NoError(t, w.Finish(ctx))
			require.NoError(t, w.Close())
		}
		st, err := f.next(ctx, m)
		require.NoError(t, err)
		require.EqualValues(t, 41, st)
	}

	// What is left over is all that is left over, in whatever mailbox.
	_, err = f.OpenImposing(ctx, box(t, f, "Other"), mailhaul.Identity{UIDNext: 21})
	require.NoError(t, err)
	require.EqualValues(t, 20, f.budget.left)
	_, err = f.OpenImposing(ctx, box(t, f, "Another"), mailhaul.Identity{UIDNext: 22})
	require.ErrorContains(t, err, "21 UIDs would have to be burnt")
}

// What a driver claims is there when its gap comes, whoever else spends, and is
// given back if it does not come.
func TestClaimIsKept(t *testing.T) {
	f := rigged(t, 30)
	ctx := context.Background()
	open := func(name string) *Writer {
		w, err := f.OpenFilling(ctx, box(t, f, name), mailhaul.Identity{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = w.Close() })
		return w.(*Writer)
	}
	a, b := open("A"), open("B")
	require.True(t, a.Claim(20))
	require.False(t, b.Claim(20))
	require.True(t, b.Claim(10))
	require.True(t, a.spend(12))
	require.True(t, a.spend(8))
	require.False(t, a.spend(1))
	require.NoError(t, b.Close())
	require.True(t, a.spend(10))
	require.False(t, a.spend(1))
}
