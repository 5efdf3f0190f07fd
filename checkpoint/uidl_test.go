package checkpoint_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

func uidlLedger(t testing.TB, store checkpoint.Store) *checkpoint.MailboxLedger {
	t.Helper()
	l, err := checkpoint.OpenLedger(context.Background(), store, checkpoint.Pair{
		From: mailhaul.Account{Protocol: mailhaul.POP3, Host: "h", Port: 995, User: "u"}, To: mailhaul.Account{Protocol: mailhaul.IMAP, Host: "i", Port: 993, User: "u"},
	})
	require.NoError(t, err)
	m, err := l.Mailbox(context.Background(), "INBOX")
	require.NoError(t, err)
	return m
}

func uidlsOf(first, last int) (list []checkpoint.AssignedUIDL) {
	for i := first; i <= last; i++ {
		list = append(list, checkpoint.AssignedUIDL{UID: mailhaul.UID(i), UIDL: mailhaul.UIDL(fmt.Sprintf("id%d", i)), Size: int64(i)})
	}
	return list
}

func TestUIDLsAreAssignedOnceAndKept(t *testing.T) {
	ctx := context.Background()
	store := checkpoint.NewMemory()
	m := uidlLedger(t, store)
	n := 0
	for _, more := range []int{0, 1, 254, 1, 1, 300, 700} {
		before, err := m.UIDLs(ctx)
		require.NoError(t, err)
		require.Equal(t, len(uidlsOf(1, n)), len(before))
		first, err := m.AssignUIDs(ctx, uidlsOf(n+1, n+more))
		require.NoError(t, err)
		require.Equal(t, mailhaul.UID(n+1), first)

		lost, err := uidlLedger(t, store).UIDLs(ctx)
		require.NoError(t, err)
		require.Len(t, lost, n, "what is staged is not durable")
		require.NoError(t, m.Commit(ctx))
		require.False(t, m.Dirty())
		require.NoError(t, checkpoint.Check(ctx, store))
		if n += more; n > 0 {
			kept, err := uidlLedger(t, store).UIDLs(ctx)
			require.NoError(t, err)
			require.Equal(t, uidlsOf(1, n), kept)
		}
	}
	require.NoError(t, m.Reset(ctx))
	require.NoError(t, m.Commit(ctx))
	kept, err := uidlLedger(t, store).UIDLs(ctx)
	require.NoError(t, err)
	require.Len(t, kept, n, "Reset forgets no assignment")
}

func TestDamagedUIDLsAreFound(t *testing.T) {
	ctx := context.Background()
	fresh := func() checkpoint.Store {
		store := checkpoint.NewMemory()
		m := uidlLedger(t, store)
		_, err := m.AssignUIDs(ctx, uidlsOf(1, 600))
		require.NoError(t, err)
		m.SetState(checkpoint.MailboxState{Target: "INBOX", SourceStatus: mailhaul.Status{UIDNext: 601}})
		require.NoError(t, m.Commit(ctx))
		return store
	}
	damage := 0
	for kv, err := range fresh().Scan(ctx, []byte{'u'}, nil) {
		require.NoError(t, err)
		for _, value := range [][]byte{nil, append([]byte{kv.Value[0] ^ 1}, kv.Value[1:]...)} {
			store := fresh()
			require.NoError(t, store.Commit(ctx, []checkpoint.Op{{Key: kv.Key, Value: value}}))
			_, err := uidlLedger(t, store).UIDLs(ctx)
			require.ErrorIs(t, err, checkpoint.ErrDamaged)
			require.ErrorIs(t, checkpoint.Check(ctx, store), checkpoint.ErrDamaged)
			damage++
		}
	}
	require.Equal(t, 8, damage)

	store := fresh()
	var ops []checkpoint.Op
	for kv, err := range store.Scan(ctx, []byte{'u'}, nil) {
		require.NoError(t, err)
		ops = append(ops, checkpoint.Op{Key: append([]byte{}, kv.Key...)})
	}
	require.NoError(t, store.Commit(ctx, ops))
	_, err := uidlLedger(t, store).UIDLs(ctx)
	require.ErrorIs(t, err, checkpoint.ErrDamaged, "a table that is gone altogether")
}

func TestUIDLMap(t *testing.T) {
	ctx := context.Background()
	m := uidlLedger(t, checkpoint.NewMemory())
	list := uidlsOf(1, 4)
	list[2].UIDL = " digest.17" // not the server's
	_, err := m.AssignUIDs(ctx, list)
	require.NoError(t, err)
	m.SetState(checkpoint.MailboxState{Target: "In", TargetValidity: 99})
	require.NoError(t, m.Put(ctx,
		checkpoint.Record{Source: 1, Target: 11}, checkpoint.Record{Source: 3, Target: 13},
		checkpoint.Record{Source: 2, Target: 12, State: checkpoint.Removed}, checkpoint.Record{Source: 4, Target: 10}))
	got, err := m.UIDLMap(ctx)
	require.NoError(t, err)
	require.Equal(t, uidmap.UIDLMap{Mailbox: "In", UIDValidity: 99, Entries: []uidmap.UIDLEntry{{UIDL: "id1", UID: 11}, {UIDL: "id4", UID: 10}}}, got)
}
