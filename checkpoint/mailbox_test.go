// Tests of what a Ledger remembers.

package checkpoint_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

var ctx = context.Background()

func pair(name string) checkpoint.Pair {
	return checkpoint.Pair{
		From: mailhaul.Account{Protocol: mailhaul.IMAP, Host: "old.example", Port: 993, User: name},
		To:   mailhaul.Account{Protocol: mailhaul.IMAP, Host: "new.example", Port: 993, User: name},
	}
}

func openLedger(t testing.TB, s checkpoint.Store, name string) *checkpoint.Ledger {
	t.Helper()
	l, err := checkpoint.OpenLedger(ctx, s, pair(name))
	require.NoError(t, err)
	return l
}

func openMailbox(t testing.TB, s checkpoint.Store, name string) *checkpoint.MailboxLedger {
	t.Helper()
	m, err := openLedger(t, s, "anna").Mailbox(ctx, name)
	require.NoError(t, err)
	return m
}

// records returns all records, as text.
func records(t testing.TB, m *checkpoint.MailboxLedger, from mailhaul.UID) []string {
	t.Helper()
	var out []string
	for r, err := range m.Records(ctx, from) {
		require.NoError(t, err)
		out = append(out, show(r))
	}
	return out
}

func show(r checkpoint.Record) string {
	text := fmt.Sprintf("%d>%d %d %q %t", r.Source, r.Target, r.State, r.Base, r.Altered)
	if r.Adopted {
		text += " adopted"
	}
	return text
}

func flags(f ...mailhaul.Flag) []mailhaul.Flag { return f }

func TestMailboxKeepsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	b := openBolt(t, path)
	m := openMailbox(t, b, "INBOX")
	assert.Zero(t, m.State())
	assert.False(t, m.Dirty())
	require.NoError(t, m.Commit(ctx), "with nothing staged")
	assert.Zero(t, b.Stats().Transactions, "nothing staged is nothing written")

	state := checkpoint.MailboxState{
		Target: "INBOX/\xff", SourceValidity: 1, TargetValidity: math.MaxUint32, Explained: 77, Complete: true, Imposed: mailhaul.LevelUID, Proved: mailhaul.LevelExact,
		SourceStatus: mailhaul.Status{Messages: 3, UIDNext: 9, UIDValidity: 1, HighestModSeq: math.MaxUint64},
		TargetStatus: mailhaul.Status{Messages: 1 << 31, Flags: flags(`\Seen`), AnyKeyword: true},
	}
	m.SetState(state)
	state.TargetStatus.Flags, state.TargetStatus.AnyKeyword = nil, false
	assert.Equal(t, state, m.State(), "staged is visible")
	long := mailhaul.Flag(strings.Repeat("k", 500))
	require.NoError(t, m.Put(ctx,
		checkpoint.Record{Source: 128, Target: 1, Base: flags("work", `\Seen`, `\seen`, "Work", `\Seen`)},
		checkpoint.Record{Source: 1, Target: math.MaxUint32, Altered: true, Base: flags(long, "$Junk")},
		checkpoint.Record{Source: math.MaxUint32, State: checkpoint.Removed},
	))
	at := time.Date(2026, 11, 21, 12, 0, 0, 123, time.FixedZone("x", 3600))
	first := m.Begin(checkpoint.Intent{Validity: 5, Watermark: 6, Sources: mailhaul.UIDSetOf(1, 2, 3, 9, math.MaxUint32), At: at})
	second := m.Begin(checkpoint.Intent{})
	third := m.Begin(checkpoint.Intent{Sources: mailhaul.UIDSetOf(4)})
	m.MarkStored(first)
	m.End(second)
	m.MarkStored(99)
	m.End(99)
	assert.True(t, m.Dirty())
	wantRecords := []string{
		`1>4294967295 0 ["$Junk" "` + string(long) + `"] true`,
		`128>1 0 ["\\Seen" "\\seen" "Work" "work"] false`,
		`4294967295>0 1 [] false`,
	}
	verify := func(m *checkpoint.MailboxLedger) {
		t.Helper()
		assert.Equal(t, state, m.State())
		assert.Equal(t, wantRecords, records(t, m, 0))
		assert.Equal(t, wantRecords[1:], records(t, m, 2))
		assert.Equal(t, wantRecords[2:], records(t, m, math.MaxUint32))
		sources, targets, err := m.Sets(ctx)
		require.NoError(t, err)
		assert.Equal(t, "1,128,4294967295", sources.String())
		assert.Equal(t, "1,4294967295", targets.String())
		r, ok, err := m.Get(ctx, 128)
		assert.True(t, ok && err == nil && show(r) == wantRecords[1], "%v %v %v", r, ok, err)
		for _, u := range []mailhaul.UID{0, 2, 127, 129, 5000} {
			_, ok, err := m.Get(ctx, u)
			assert.False(t, ok || err != nil, "%d", u)
		}
		intents := m.Intents()
		require.Len(t, intents, 2)
		assert.Equal(t, checkpoint.Intent{ID: first, Validity: 5, Watermark: 6, Sources: mailhaul.UIDSetOf(1, 2, 3, 9, math.MaxUint32), At: at.UTC(), Stored: true}, intents[0])
		assert.Equal(t, third, intents[1].ID)
		assert.True(t, intents[1].At.IsZero())
	}
	verify(m)
	require.NoError(t, m.Commit(ctx))
	assert.False(t, m.Dirty())
	assert.EqualValues(t, 1, b.Stats().Commits)
	verify(m)

	// What says nothing new is not staged.
	m.SetState(state)
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 128, Target: 1, Base: flags("Work", "work", `\seen`, `\Seen`)}))
	require.NoError(t, m.Forget(ctx, mailhaul.UIDSet{{First: 2, Last: 127}, {First: 129, Last: math.MaxUint32 - 1}}))
	m.MarkStored(first)
	assert.False(t, m.Dirty())

	checkpointtest.Check(t, b)
	require.NoError(t, b.Close())
	b = openBolt(t, path)
	m = openMailbox(t, b, "INBOX")
	assert.False(t, m.Dirty())
	verify(m)
	assert.Greater(t, m.Begin(checkpoint.Intent{}), third, "an ID is never given twice")
	checkpointtest.Check(t, b)
}

func TestPutRefusesNonsense(t *testing.T) {
	m := openMailbox(t, checkpoint.NewMemory(), "INBOX")
	assert.Error(t, m.Put(ctx, checkpoint.Record{Source: 1}, checkpoint.Record{Source: 0}))
	assert.Error(t, m.Put(ctx, checkpoint.Record{Source: 1}, checkpoint.Record{Source: 2, State: 9}))
	assert.False(t, m.Dirty())
	assert.Empty(t, records(t, m, 0))
}

func TestReset(t *testing.T) {
	for _, commitBetween := range []bool{true, false} {
		s := checkpoint.NewMemory()
		m := openMailbox(t, s, "INBOX")
		require.NoError(t, m.Reset(ctx))
		assert.False(t, m.Dirty(), "nothing to forget")
		for u := mailhaul.UID(1); u < 2000; u += 7 {
			require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u, Base: flags("old")}))
		}
		m.SetState(checkpoint.MailboxState{Target: "x"})
		id := m.Begin(checkpoint.Intent{})
		if commitBetween {
			require.NoError(t, m.Commit(ctx))
		}
		require.NoError(t, m.Reset(ctx))
		assert.Empty(t, records(t, m, 0))
		assert.Empty(t, m.Intents())
		assert.Zero(t, m.State())
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 8, Target: 1, Base: flags("new")}))
		require.NoError(t, m.Forget(ctx, mailhaul.UIDSetOf(15)))
		assert.Equal(t, []string{`8>1 0 ["new"] false`}, records(t, m, 0))
		require.NoError(t, m.Commit(ctx))
		for _, m := range []*checkpoint.MailboxLedger{m, openMailbox(t, s, "INBOX")} {
			assert.Equal(t, []string{`8>1 0 ["new"] false`}, records(t, m, 0))
			assert.Empty(t, m.Intents())
			assert.Zero(t, m.State())
			assert.Greater(t, m.Begin(checkpoint.Intent{}), id)
		}
		checkpointtest.Check(t, s)
	}
}

// TestManyAccounts: names of any octets, and none is taken for another.
func TestManyAccounts(t *testing.T) {
	b := openBolt(t, filepath.Join(t.TempDir(), "state.db"))
	account := func(host, user string, port int) mailhaul.Account {
		return mailhaul.Account{Protocol: mailhaul.IMAP, Host: host, User: user, Port: port}
	}
	long := strings.Repeat("x", 100_000)
	accounts := []mailhaul.Account{
		account("h", "u", 1), account("hu", "", 1), account("", "hu", 1), account("h", "u", 11), account("h\x00", "u", 1),
		account("h", "\xff\x00", 1), account(long, long, 1), {Protocol: mailhaul.POP3, Host: "h", User: "u", Port: 1}, {},
	}
	names := []string{"", "INBOX", "inbox", "\x00", "\xff\xff", "a/b", long}
	slices.Sort(names)
	all := func(fn func(p checkpoint.Pair, name string, n mailhaul.UID, l *checkpoint.Ledger)) {
		n := mailhaul.UID(0)
		for _, from := range accounts {
			for _, to := range accounts {
				l, err := checkpoint.OpenLedger(ctx, b, checkpoint.Pair{From: from, To: to})
				require.NoError(t, err)
				for _, name := range names {
					n++
					fn(checkpoint.Pair{From: from, To: to}, name, n, l)
				}
			}
		}
	}
	var wg sync.WaitGroup
	all(func(_ checkpoint.Pair, name string, n mailhaul.UID, l *checkpoint.Ledger) {
		wg.Go(func() {
			m, err := l.Mailbox(ctx, name)
			assert.NoError(t, err)
			assert.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: n}))
			assert.NoError(t, m.Commit(ctx))
		})
	})
	wg.Wait()
	all(func(p checkpoint.Pair, name string, n mailhaul.UID, l *checkpoint.Ledger) {
		known, err := l.Mailboxes(ctx)
		require.NoError(t, err)
		require.True(t, slices.Equal(names, known))
		m, err := l.Mailbox(ctx, name)
		require.NoError(t, err)
		again, err := l.Mailbox(ctx, name)
		require.NoError(t, err)
		require.Same(t, m, again)
		r, ok, err := m.Get(ctx, 1)
		require.NoError(t, err)
		require.True(t, ok && r.Target == n)
	})
	stats := b.Stats()
	t.Logf("%d commits took %d transactions", stats.Commits, stats.Transactions)
	assert.Less(t, stats.Transactions, stats.Commits)
	checkpointtest.Check(t, b)
}

// TestOpenWritesNothing: a dry run leaves no trace.
func TestOpenWritesNothing(t *testing.T) {
	h := checkpointtest.NewHistory(nil)
	l := openLedger(t, h, "anna")
	m, err := l.Mailbox(ctx, "INBOX")
	require.NoError(t, err)
	require.NoError(t, m.Commit(ctx))
	assert.Zero(t, h.Commits())
	names, err := l.Mailboxes(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{"INBOX"}, names)
	names, err = openLedger(t, h, "anna").Mailboxes(ctx)
	require.NoError(t, err)
	assert.Empty(t, names)
}

// TestOneStoreCommit: whatever is staged is one commit.
func TestOneStoreCommit(t *testing.T) {
	h := checkpointtest.NewHistory(nil)
	m := openMailbox(t, h, "INBOX")
	for n := 1; n <= 3; n++ {
		for u := mailhaul.UID(n); u < 5000; u += 100 {
			require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u}))
		}
		m.SetState(checkpoint.MailboxState{Explained: mailhaul.UID(n)})
		m.Begin(checkpoint.Intent{})
		require.NoError(t, m.Commit(ctx))
		assert.Equal(t, n, h.Commits())
	}
	require.NoError(t, m.Reset(ctx))
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: 1}))
	require.NoError(t, m.Commit(ctx))
	assert.Equal(t, 4, h.Commits())
	for n := range 5 {
		checkpointtest.Check(t, h.At(n))
	}
}

// TestCommitFails: after an error all is staged as before; what the disk has is
// the old or, where the fault came after it, the new.
func TestCommitFails(t *testing.T) {
	for _, after := range []bool{false, true} {
		h := checkpointtest.NewHistory(nil)
		fail := false
		s := checkpointtest.NewFaulty(h, func(c checkpointtest.Call) checkpointtest.Fault {
			if fail && c.Op == checkpointtest.Commit {
				return checkpointtest.Fault{Err: checkpointtest.ErrInjected, After: after}
			}
			return checkpointtest.Fault{}
		})
		m := openMailbox(t, s, "INBOX")
		for u := mailhaul.UID(1); u < 1000; u += 3 {
			require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u, Base: flags("a")}))
		}
		require.NoError(t, m.Commit(ctx))
		old := records(t, m, 0)

		// Each of these commits fails; the next does something else to the
		// same chunks.
		fail = true
		steps := []func(){
			func() { assert.NoError(t, m.Put(ctx, checkpoint.Record{Source: 2000, Target: 2000, Base: flags("b")})) },
			func() { assert.NoError(t, m.Forget(ctx, mailhaul.UIDSetOf(2000))) },
			func() { assert.NoError(t, m.Reset(ctx)) },
			func() { assert.NoError(t, m.Put(ctx, checkpoint.Record{Source: 5, Target: 6, Base: flags("c")})) },
			func() { assert.NoError(t, m.Reset(ctx)) },
			func() { assert.NoError(t, m.Put(ctx, checkpoint.Record{Source: 300, Target: 7, Base: flags("d")})) },
			func() { m.Begin(checkpoint.Intent{Watermark: 3}) },
			func() { m.SetState(checkpoint.MailboxState{Target: "t"}) },
		}
		for i, step := range steps {
			step()
			staged := records(t, m, 0)
			require.ErrorIs(t, m.Commit(ctx), checkpointtest.ErrInjected)
			assert.True(t, m.Dirty())
			assert.Equal(t, staged, records(t, m, 0), "step %d", i)
			_, _, err := m.Sets(ctx)
			assert.NoError(t, err)
			disk := openMailbox(t, h.At(h.Commits()), "INBOX")
			if after {
				assert.Equal(t, staged, records(t, disk, 0))
			} else {
				assert.Equal(t, old, records(t, disk, 0))
			}
			checkpointtest.Check(t, h)
		}
		fail = false
		want := []string{`300>7 0 ["d"] false`}
		require.NoError(t, m.Commit(ctx))
		assert.Equal(t, want, records(t, m, 0))
		m = openMailbox(t, h, "INBOX")
		assert.Equal(t, want, records(t, m, 0))
		assert.Len(t, m.Intents(), 1)
		assert.Equal(t, "t", m.State().Target)
		checkpointtest.Check(t, h)
	}
}

// TestReadFails: an error of the n-th call, for every n, changes nothing.
func TestReadFails(t *testing.T) {
	base := checkpoint.NewMemory()
	m := openMailbox(t, base, "INBOX")
	for u := mailhaul.UID(1); u < 1000; u += 3 {
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u}))
	}
	require.NoError(t, m.Commit(ctx))
	want := records(t, m, 0)
	scenario := func(s checkpoint.Store) error {
		l, err := checkpoint.OpenLedger(ctx, s, pair("anna"))
		if err != nil {
			return err
		}
		m, err := l.Mailbox(ctx, "INBOX")
		if err != nil {
			return err
		}
		if _, _, err := m.Get(ctx, 4); err != nil {
			return err
		}
		if err := m.Put(ctx, checkpoint.Record{Source: 300, Target: 2000}, checkpoint.Record{Source: 900, Target: 2001}); err != nil {
			if m.Dirty() {
				t.Error("half of a Put is staged")
			}
			return err
		}
		if err := m.Forget(ctx, mailhaul.UIDSet{{First: 1, Last: 2}, {First: 5, Last: 950}}); err != nil {
			if _, ok, err := m.Get(ctx, 300); err == nil && !ok {
				t.Error("half of a Forget is staged")
			}
			return err
		}
		for _, err := range m.Records(ctx, 1) {
			if err != nil {
				return err
			}
		}
		if _, _, err := m.Sets(ctx); err != nil {
			return err
		}
		return m.Commit(ctx)
	}
	counted := checkpointtest.NewFaulty(base.Clone(), nil)
	require.NoError(t, scenario(counted))
	require.Greater(t, counted.Calls(), 10)
	for n := 1; n <= counted.Calls(); n++ {
		s := base.Clone()
		require.ErrorIs(t, scenario(checkpointtest.NewFaulty(s, checkpointtest.FailCall(n, nil))), checkpointtest.ErrInjected, "call %d", n)
		assert.Equal(t, want, records(t, openMailbox(t, s, "INBOX"), 0), "call %d", n)
		checkpointtest.Check(t, s)
	}
	t.Logf("%d faults", counted.Calls())
}

// TestLoopsMayCommit: the loop over the records may change and commit them.
func TestLoopsMayCommit(t *testing.T) {
	b := openBolt(t, filepath.Join(t.TempDir(), "state.db"))
	m := openMailbox(t, b, "INBOX")
	for u := mailhaul.UID(1); u <= 10000; u++ {
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u}))
	}
	require.NoError(t, m.Commit(ctx))
	n := mailhaul.UID(0)
	for r, err := range m.Records(ctx, 1) {
		require.NoError(t, err)
		n++
		require.Equal(t, n, r.Source)
		r.Base = flags(`\Seen`)
		require.NoError(t, m.Put(ctx, r))
		if n%500 == 0 {
			require.NoError(t, m.Commit(ctx))
		}
	}
	assert.EqualValues(t, 10000, n)
	for r, err := range m.Records(ctx, 1) {
		require.NoError(t, err)
		require.Len(t, r.Base, 1)
	}
	checkpointtest.Check(t, b)
}

// TestConcurrent lets everything happen at once, for the race detector.
func TestConcurrent(t *testing.T) {
	b := openBolt(t, filepath.Join(t.TempDir(), "state.db"))
	m := openMailbox(t, b, "INBOX")
	const workers, each = 4, 300
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				u := mailhaul.UID(i*workers + w + 1)
				assert.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u, Base: flags(mailhaul.Flag(fmt.Sprint("k", w)))}))
				id := m.Begin(checkpoint.Intent{Sources: mailhaul.UIDSetOf(u)})
				if i%10 == 0 {
					assert.NoError(t, m.Commit(ctx))
					disk, err := checkpoint.OpenLedger(ctx, b, pair("anna"))
					assert.NoError(t, err)
					d, err := disk.Mailbox(ctx, "INBOX")
					assert.NoError(t, err)
					_, ok, err := d.Get(ctx, u)
					assert.True(t, ok && err == nil, "what was committed is there: %v", err)
				}
				m.MarkStored(id)
				m.End(id)
				_, _, err := m.Get(ctx, u/2+1)
				assert.NoError(t, err)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			_, _, err := m.Sets(ctx)
			assert.NoError(t, err)
			var last mailhaul.UID
			for r, err := range m.Records(ctx, 1) {
				assert.NoError(t, err)
				assert.Greater(t, r.Source, last)
				last = r.Source
			}
			m.SetState(checkpoint.MailboxState{Explained: last})
			m.Intents()
			m.Dirty()
		}
	})
	wg.Wait()
	require.NoError(t, m.Commit(ctx))
	assert.Len(t, records(t, openMailbox(t, b, "INBOX"), 0), workers*each)
	checkpointtest.Check(t, b)
}

func TestCommitCancelled(t *testing.T) {
	s := checkpoint.NewMemory()
	m := openMailbox(t, s, "INBOX")
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: 1}))
	done, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, m.Commit(done), context.Canceled)
	assert.True(t, m.Dirty())
	require.NoError(t, m.Commit(ctx))
	_, _, err := m.Get(done, 1)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, m.Put(done, checkpoint.Record{Source: 1, Target: 2}), context.Canceled)
	assert.ErrorIs(t, m.Forget(done, mailhaul.UIDSetOf(1)), context.Canceled)
	assert.ErrorIs(t, m.Reset(done), context.Canceled)
	_, _, err = m.Sets(done)
	assert.ErrorIs(t, err, context.Canceled)
	assert.False(t, m.Dirty())
}

func TestClosedStore(t *testing.T) {
	s := checkpoint.NewMemory()
	m := openMailbox(t, s, "INBOX")
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: 1}))
	require.NoError(t, s.Close())
	assert.ErrorIs(t, m.Commit(ctx), mailhaul.ErrClosed)
	_, err := checkpoint.OpenLedger(ctx, s, pair("anna"))
	assert.ErrorIs(t, err, mailhaul.ErrClosed)
}

// TestKeywordsWithoutEnd: a server that invents keywords costs room in the
// chunks, and the head stays small.
func TestKeywordsWithoutEnd(t *testing.T) {
	s := checkpoint.NewMemory()
	m := openMailbox(t, s, "INBOX")
	want := make(map[mailhaul.UID]mailhaul.Flag)
	for u := mailhaul.UID(1); u <= 1000; u++ {
		want[u] = mailhaul.Flag(fmt.Sprint("keyword", u))
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u, Base: flags(want[u])}))
		if u%100 == 0 {
			require.NoError(t, m.Commit(ctx))
		}
	}
	m = openMailbox(t, s, "INBOX")
	for r, err := range m.Records(ctx, 1) {
		require.NoError(t, err)
		require.Equal(t, flags(want[r.Source]), r.Base)
	}
	for kv, err := range s.Scan(ctx, []byte("m"), nil) {
		require.NoError(t, err)
		require.Less(t, len(kv.Value), 8000)
	}
	checkpointtest.Check(t, s)
}

func TestMissingChunkIsNoticed(t *testing.T) {
	s := checkpoint.NewMemory()
	m := openMailbox(t, s, "INBOX")
	var before checkpoint.KeyValue
	for u := mailhaul.UID(1); u <= 1000; u++ {
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u}))
		if u == 300 || u == 1000 {
			require.NoError(t, m.Commit(ctx))
		}
		if u == 300 {
			for kv := range s.Scan(ctx, []byte("m"), nil) {
				before = checkpoint.KeyValue{Key: slices.Clone(kv.Key), Value: slices.Clone(kv.Value)} // the last chunk
			}
		}
	}
	for name, op := range map[string]checkpoint.Op{
		"lost": {Key: before.Key},
		"old":  {Key: before.Key, Value: before.Value},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.Clone()
			require.NoError(t, s.Commit(ctx, []checkpoint.Op{op}))
			_, _, err := openMailbox(t, s, "INBOX").Sets(ctx)
			wantDamage(t, err)
			wantDamage(t, checkpoint.Check(ctx, s))
		})
	}
}

func wantDamage(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, checkpoint.ErrDamaged)
	assert.Equal(t, mailhaul.Corrupt, mailhaul.KindOf(err))
	assert.Contains(t, err.Error(), "delete the file: the next run recognises what is on the target already")
}

// TestEveryBitCounts: no flipped bit goes unnoticed, nor a value in the wrong
// place.
func TestEveryBitCounts(t *testing.T) {
	s := checkpoint.NewMemory()
	m := openMailbox(t, s, "INBOX")
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 5, Target: 7, Base: flags(`\Seen`, "x")}, checkpoint.Record{Source: 200, Target: 8}))
	m.SetState(checkpoint.MailboxState{Target: "INBOX"})
	m.Begin(checkpoint.Intent{Sources: mailhaul.UIDSetOf(1)})
	require.NoError(t, m.Commit(ctx))
	use := func(s checkpoint.Store) error {
		l, err := checkpoint.OpenLedger(ctx, s, pair("anna"))
		if err != nil {
			return err
		}
		m, err := l.Mailbox(ctx, "INBOX")
		if err != nil {
			return err
		}
		for _, u := range []mailhaul.UID{5, 200} {
			if _, _, err := m.Get(ctx, u); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, use(s))
	n := 0
	var values []checkpoint.KeyValue
	for kv := range s.Scan(ctx, nil, nil) {
		values = append(values, checkpoint.KeyValue{Key: slices.Clone(kv.Key), Value: slices.Clone(kv.Value)})
	}
	require.Len(t, values, 5)
	for i, kv := range values {
		for bit := range 8 * len(kv.Value) {
			value := slices.Clone(kv.Value)
			value[bit/8] ^= 1 << (bit % 8)
			bad := s.Clone()
			require.NoError(t, bad.Commit(ctx, []checkpoint.Op{{Key: kv.Key, Value: value}}))
			wantDamage(t, use(bad))
			require.Error(t, checkpoint.Check(ctx, bad))
			n++
		}
		swapped := s.Clone()
		require.NoError(t, swapped.Commit(ctx, []checkpoint.Op{{Key: kv.Key, Value: values[(i+1)%len(values)].Value}}))
		require.Error(t, use(swapped))
	}
	t.Logf("%d bits", n)
}

func TestNewerFormat(t *testing.T) {
	_, err := checkpoint.OpenLedger(ctx, newerStore(t, checkpoint.NewMemory()), pair("anna"))
	require.ErrorIs(t, err, checkpoint.ErrNewerFormat)
	assert.EqualError(t, err, "open checkpoint: it was written by a newer mailhaul (format 7, this one reads up to 2); use that version or another -state file")
	assert.Equal(t, mailhaul.Permanent, mailhaul.KindOf(err))
}

// newerStore writes what a later version would.
func newerStore(t *testing.T, s checkpoint.Store) checkpoint.Store {
	t.Helper()
	require.NoError(t, s.Commit(ctx, []checkpoint.Op{
		{Key: []byte("f"), Value: checkpoint.Seal([]byte("f"), []byte("mailhaul checkpoint\n\x07and more"))},
	}))
	return s
}

func TestForeignStore(t *testing.T) {
	s := checkpoint.NewMemory()
	require.NoError(t, s.Commit(ctx, []checkpoint.Op{{Key: []byte("hello"), Value: []byte("world")}}))
	_, err := checkpoint.OpenLedger(ctx, s, pair("anna"))
	require.ErrorIs(t, err, checkpoint.ErrNotCheckpoint)
	assert.Error(t, checkpoint.Check(ctx, s))
}

// TestCheckFinds: the same target twice is no checksum's to see.
func TestCheckFinds(t *testing.T) {
	s := checkpoint.NewMemory()
	m := openMailbox(t, s, "INBOX")
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: 7}, checkpoint.Record{Source: 2, Target: 7, State: checkpoint.Removed},
		checkpoint.Record{Source: 3}, checkpoint.Record{Source: 4}))
	require.NoError(t, m.Commit(ctx))
	checkpointtest.Check(t, s)
	for _, state := range []checkpoint.RecordState{checkpoint.Mapped, checkpoint.Unread} {
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1000, Target: 7, State: state}))
		require.NoError(t, m.Commit(ctx))
		err := checkpoint.Check(ctx, s)
		wantDamage(t, err)
		assert.Contains(t, err.Error(), `mailbox "INBOX" maps the source UIDs 1 and 1000 to the target UID 7`)
	}
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1000, Target: 7, State: checkpoint.Elsewhere}))
	require.NoError(t, m.Commit(ctx))
	checkpointtest.Check(t, s)
}
