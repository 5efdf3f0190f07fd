// A random life of a mailbox, compared with a plain map, with a crash or a
// fault at any commit.

package checkpoint_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

// modelState is what a MailboxLedger should hold.
type modelState struct {
	records map[mailhaul.UID]string
	state   checkpoint.MailboxState
	intents []string
}

func (m modelState) clone() modelState {
	m.records = maps.Clone(m.records)
	m.intents = slices.Clone(m.intents)
	return m
}

func (m modelState) equal(o modelState) bool {
	return maps.Equal(m.records, o.records) && fmt.Sprint(m.state) == fmt.Sprint(o.state) && slices.Equal(m.intents, o.intents)
}

// read returns what the MailboxLedger holds, by several ways that must agree.
func read(t *testing.T, m *checkpoint.MailboxLedger) modelState {
	t.Helper()
	out := modelState{records: make(map[mailhaul.UID]string), state: m.State()}
	var sources, targets mailhaul.UIDSet
	var mapped []mailhaul.UID
	last := mailhaul.UID(0)
	for r, err := range m.Records(ctx, 0) {
		require.NoError(t, err)
		require.Greater(t, r.Source, last)
		last = r.Source
		out.records[r.Source] = show(r)
		sources.Add(r.Source)
		if r.State == checkpoint.Mapped || r.State == checkpoint.Unread {
			mapped = append(mapped, r.Target)
		}
	}
	targets = mailhaul.UIDSetOf(mapped...)
	s, tt, err := m.Sets(ctx)
	require.NoError(t, err)
	require.Equal(t, sources.String(), s.String())
	require.Equal(t, targets.String(), tt.String())
	for _, i := range m.Intents() {
		out.intents = append(out.intents, fmt.Sprint(i))
	}
	return out
}

// modelSeeds is how many lives TestModel plays; -checkpoint.seeds=1000 is a
// sweep.
var modelSeeds = flag.Int("checkpoint.seeds", 8, "lives that TestModel plays")

func TestModel(t *testing.T) {
	steps, seeds := 300, *modelSeeds
	if testing.Short() {
		seeds = min(seeds, 12)
	}
	var count counts
	for seed := range seeds {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			runModel(t, rand.New(rand.NewPCG(uint64(seed), 7)), steps, seed%2 == 1, &count)
		})
	}
	t.Logf("%d commits, %d faults, %d restarts; chunks were wide at %d of them, and narrow again at %d", count.commits, count.faults, count.restarts, count.wide, count.narrowed)
	for _, n := range []int{count.faults, count.restarts, count.wide, count.narrowed} {
		require.Positive(t, n, "too few seeds")
	}
}

// counts proves that a run met what it is for.
type counts struct{ commits, faults, restarts, wide, narrowed int }

func runModel(t *testing.T, r *rand.Rand, steps int, sparse bool, count *counts) {
	path := filepath.Join(t.TempDir(), "state.db")
	var inner checkpoint.Store = openBolt(t, path)
	// fault is what becomes of the next commit.
	var fault checkpointtest.Fault
	plan := func(c checkpointtest.Call) checkpointtest.Fault {
		if c.Op == checkpointtest.Commit {
			return fault
		}
		return checkpointtest.Fault{}
	}
	store := checkpointtest.NewFaulty(inner, plan)
	m := openMailbox(t, store, "INBOX")
	now := read(t, m) // what was staged
	disk := now.clone()
	// lost is what the disk may have instead, after a commit that failed.
	lost := disk

	keywords := []mailhaul.Flag{`\Seen`, `\Flagged`, "$Forwarded", "work", "Work", "a-very-long-keyword-that-nobody-would-use-but-somebody-does-anyway-it-seems"}
	// UIDs are dense here and sparse there, and reach the end of the numbers. A
	// sparse mailbox becomes dense halfway.
	gap := func() mailhaul.UID { return 1 }
	if sparse {
		gap = func() mailhaul.UID { return mailhaul.UID(1 + r.IntN(5000)) }
	}
	uid := func() mailhaul.UID {
		kind := r.IntN(4)
		if sparse && kind < 3 {
			return mailhaul.UID(7000 + r.IntN(1<<20))
		}
		switch kind {
		case 0:
			return mailhaul.UID(1 + r.IntN(300))
		case 1:
			return mailhaul.UID(1 + r.IntN(20)*1000)
		case 2:
			return mailhaul.UID(1<<32 - 1 - r.IntN(200))
		}
		return mailhaul.UID(5000 + r.IntN(1000))
	}
	next := mailhaul.UID(1)
	for step := range steps {
		if sparse && step > steps/2 {
			sparse, gap = false, func() mailhaul.UID { return 1 }
		}
		switch r.IntN(12) {
		default: // a batch
			var batch []checkpoint.Record
			u := uid()
			for range 1 + r.IntN(100) {
				next += mailhaul.UID(1 + r.IntN(8)/7*r.IntN(1000))
				rec := checkpoint.Record{Source: u, Target: next, Altered: r.IntN(20) == 0, Adopted: r.IntN(15) == 0}
				if r.IntN(20) == 0 {
					rec.State, rec.Target = checkpoint.Removed, uid()
				} else if r.IntN(10) == 0 {
					rec.State = checkpoint.Unread
				} else if r.IntN(20) == 0 {
					rec.State, rec.Target = checkpoint.Elsewhere, 0
				}
				for _, k := range keywords {
					if r.IntN(6) == 0 {
						rec.Base = append(rec.Base, k)
					}
				}
				batch = append(batch, rec)
				before := u
				if u += gap(); u < before {
					break
				}
			}
			require.NoError(t, m.Put(ctx, batch...))
			for _, rec := range batch {
				got, ok, err := m.Get(ctx, rec.Source)
				require.True(t, ok && err == nil)
				require.ElementsMatch(t, rec.Base, got.Base)
				rec.Base = got.Base
				now.records[rec.Source] = show(rec)
			}
		case 0, 1:
			var set mailhaul.UIDSet
			for range r.IntN(5) {
				u := uid()
				set.AddRange(mailhaul.UIDRange{First: u, Last: max(u, u+mailhaul.UID(r.IntN(3)*r.IntN(500)))})
			}
			require.NoError(t, m.Forget(ctx, set))
			maps.DeleteFunc(now.records, func(u mailhaul.UID, _ string) bool { return set.Contains(u) })
		case 2:
			now.state = checkpoint.MailboxState{Target: fmt.Sprint("t", r.IntN(3)), Explained: uid(), Complete: r.IntN(2) == 0, Departed: r.IntN(3) == 0, SourceID: []string{"", "F1"}[r.IntN(2)], SourceStatus: mailhaul.Status{Messages: 7}}
			if now.state.Complete {
				now.state.Imposed = mailhaul.LevelUID
			}
			m.SetState(now.state)
		case 3:
			i := checkpoint.Intent{Watermark: uid(), Sources: mailhaul.UIDSetOf(uid(), uid())}
			i.ID = m.Begin(i)
			now.intents = append(now.intents, fmt.Sprint(i))
		case 4:
			if all := m.Intents(); len(all) > 0 {
				n := r.IntN(len(all))
				if r.IntN(2) == 0 {
					m.End(all[n].ID)
					now.intents = slices.Delete(now.intents, n, n+1)
				} else {
					m.MarkStored(all[n].ID)
					all[n].Stored = true
					now.intents[n] = fmt.Sprint(all[n])
				}
			}
		case 5:
			if r.IntN(8) == 0 {
				require.NoError(t, m.Reset(ctx))
				now = modelState{records: make(map[mailhaul.UID]string)}
			}
		}
		if r.IntN(3) > 0 {
			continue
		}
		// The commit succeeds, fails before or after it took effect, or the
		// process dies so.
		count.commits++
		fault = checkpointtest.Fault{}
		if r.IntN(4) == 0 {
			fault = checkpointtest.Fault{Err: checkpointtest.ErrInjected, After: r.IntN(2) == 0, Crash: r.IntN(2) == 0}
		}
		dirty := m.Dirty()
		err := m.Commit(ctx)
		if err != nil {
			count.faults++
		}
		if bits, narrowed := m.Shape(); narrowed {
			count.narrowed++
		} else if bits > 7 {
			count.wide++
		}
		require.True(t, (err != nil) == (fault.Err != nil && dirty), "%v", err)
		if err == nil || fault.After {
			lost = now.clone()
		}
		if err == nil {
			disk = now.clone()
			require.False(t, m.Dirty())
		}
		require.True(t, store.Crashed() || now.equal(read(t, m)), "what is staged is kept")
		if store.Crashed() || r.IntN(6) == 0 {
			// The next process.
			count.restarts++
			require.NoError(t, store.Close())
			inner = openBolt(t, path)
			store = checkpointtest.NewFaulty(inner, plan)
			checkpointtest.Check(t, store)
			m = openMailbox(t, store, "INBOX")
			now = read(t, m)
			require.True(t, now.equal(disk) || now.equal(lost), "neither the old nor the new")
			disk, lost = now.clone(), now.clone()
		}
	}
	fault = checkpointtest.Fault{}
	require.NoError(t, m.Commit(ctx))
	require.True(t, now.equal(read(t, openMailbox(t, store, "INBOX"))))
	checkpointtest.Check(t, store)
}
