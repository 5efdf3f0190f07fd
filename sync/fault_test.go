// What a run does when things go wrong: nothing is lost, nothing arrives
// twice, and what cannot be moved is listed.

package sync_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// The connection to the target is lost at a random APPEND, which is stored in
// part, stored whole, not stored, or stored later.
func TestLostConnectionsLoseAndDoubleNothing(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				r := newRig(t)
				r.cfg.SettleTime = 10 * time.Second
				r.cfg.BatchMessages = 1 + rnd.IntN(20)
				r.target.NoUIDPlus = seed%3 == 0
				r.fill("INBOX", 60)
				r.source.Add("INBOX", mail("twin", 1))
				r.source.Add("INBOX", mail("twin", 1))
				r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
					switch rnd.IntN(16) {
					case 0: // it was stored, but nobody heard of it
						return &memmail.Answer{Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("")}
					case 1: // it was not stored
						return &memmail.Answer{Store: make([]bool, len(batch)), Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("")}
					case 2: // it will be
						return &memmail.Answer{Err: memmail.Lost(""), Late: func(store func()) { time.AfterFunc(3*time.Second, store) }}
					case 3: // a part was (pipelined single APPENDs)
						some := make([]bool, len(batch))
						for i := range some {
							some[i] = i < len(batch)/2
						}
						return &memmail.Answer{Store: some, Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("")}
					}
					return nil
				}
				r.cfg.Retries = 50
				res := r.run()
				require.Empty(t, res.Failed)
				require.Equal(t, 62, res.Copied)
				require.Equal(t, bodies(r.source, "INBOX"), bodies(r.target, "INBOX"))
				require.Zero(t, r.run().Copied)
			})
		})
	}
}

// The process dies at each commit in turn; the next run finishes the work.
func TestDiesAtEveryCommit(t *testing.T) {
	for n := 0; ; n++ {
		done := false
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.BatchMessages = 4
			r.cfg.Mailboxes = 1
			r.fill("INBOX", 21)
			r.fill("Work", 9)
			r.source.Add("Work", mail("twin", 1))
			r.source.Add("Work", mail("twin", 1))
			dying := &dyingStore{Store: r.store, left: n}
			store := r.store
			r.store = dying
			_, err := r.syncer().Run(context.Background())
			r.store = store
			if err == nil {
				done = true
			}
			res := r.run()
			require.Empty(t, res.Failed)
			require.Equal(t, bodies(r.source, "INBOX"), bodies(r.target, "INBOX"), "died at commit %d", n)
			require.Equal(t, bodies(r.source, "Work"), bodies(r.target, "Work"), "died at commit %d", n)
			require.Zero(t, r.run().Copied)
		})
		if done {
			require.Greater(t, n, 8, "the laboratory saw too few commits")
			return
		}
	}
}

// A run that dies between the APPEND and the reading back leaves the reading
// back to the next.
func TestAlteredOctetsAreListedEvenAfterACrash(t *testing.T) {
	for n := 0; ; n++ {
		r := newRig(t)
		r.cfg.BatchMessages = 2
		r.target.Hooks.Store = func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), "\x00", "\x80")) }
		r.fill("INBOX", 3)
		r.source.Add("INBOX", mail("nul", 1)+"a\x00b\r\n")
		r.fill("INBOX", 12)
		store := r.store
		r.store = &dyingStore{Store: store, left: n}
		first, err := r.syncer().Run(context.Background())
		r.store = store
		second := r.run()
		require.NotEmpty(t, append(first.Altered, second.Altered...), "died at commit %d", n)
		require.Len(t, bodies(r.target, "INBOX"), 16)
		if err == nil {
			require.Greater(t, n, 4)
			return
		}
	}
}

// dyingStore fails every commit after the first few, as a process does that
// is not there any more.
type dyingStore struct {
	checkpoint.Store
	left int
}

func (d *dyingStore) Commit(ctx context.Context, ops []checkpoint.Op) error {
	if d.left == 0 {
		return errors.New("died")
	}
	d.left--
	return d.Store.Commit(ctx, ops)
}

// A checkpoint that was rolled back to any earlier commit only costs time.
func TestCheckpointRolledBack(t *testing.T) {
	r := newRig(t)
	history := &historyStore{Store: r.store}
	r.store = history
	r.cfg.BatchMessages = 5
	r.fill("INBOX", 33)
	r.run()
	r.fill("INBOX", 8)
	r.run()
	require.Greater(t, len(history.ops), 10)
	for n := range history.ops {
		old := checkpoint.NewMemory()
		for _, ops := range history.ops[:n] {
			require.NoError(t, old.Commit(context.Background(), ops))
		}
		r.store = old
		res := r.run()
		require.Zero(t, res.Copied, "rolled back to commit %d", n)
		require.Empty(t, res.Failed)
		require.Len(t, bodies(r.target, "INBOX"), 41)
	}
}

type historyStore struct {
	checkpoint.Store
	ops [][]checkpoint.Op
}

func (h *historyStore) Commit(ctx context.Context, ops []checkpoint.Op) error {
	if err := h.Store.Commit(ctx, ops); err != nil {
		return err
	}
	var kept []checkpoint.Op
	for _, op := range ops {
		kept = append(kept, checkpoint.Op{Key: slices.Clone(op.Key), Value: slices.Clone(op.Value)})
	}
	h.ops = append(h.ops, kept)
	return nil
}

func TestRefusedMessageIsListedAndTheRestMoves(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 30)
	bad := r.source.Add("INBOX", mail("bad", 1)+"virus")
	r.fill("INBOX", 5)
	r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		for i, o := range batch {
			if readAll(o.Body) != mail("bad", 1)+"virus" {
				continue
			}
			// The Writer has bisected: the others are stored.
			a := &memmail.Answer{Store: make([]bool, len(batch)), Outcomes: make([]mailhaul.Outcome, len(batch))}
			next := r.target.Box("INBOX").Next
			for k := range batch {
				if k == i {
					a.Outcomes[k] = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: &mailhaul.Error{
						Op: "append to", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Err: errors.New("it contains a virus")}}
					continue
				}
				a.Store[k] = true
				a.Outcomes[k] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: next}
				next++
			}
			return a
		}
		return nil
	}
	var hook []mailsync.Failure
	r.cfg.OnFailure = func(f mailsync.Failure) { hook = append(hook, f) }
	for range 2 { // it is tried again by the next run, and listed again
		res := r.run()
		require.False(t, res.Complete())
		require.Len(t, res.Failed, 1)
		require.Equal(t, bad, res.Failed[0].UID)
		require.Contains(t, res.Failed[0].Reason, "virus")
		require.Len(t, r.target.Snapshot("INBOX"), 35)
	}
	require.Len(t, hook, 2)
}

func readAll(b mailhaul.Body) string {
	var s strings.Builder
	buf := make([]byte, 1<<10)
	for rd := b.Reader(); ; {
		n, err := rd.Read(buf)
		s.Write(buf[:n])
		if err != nil {
			return s.String()
		}
	}
}

// One message breaks the connection whenever it is appended, or fetched: it is
// isolated and listed, and everything else moves.
func TestMessageThatBreaksTheConnection(t *testing.T) {
	for _, side := range []string{"append", "fetch"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fill("INBOX", 150)
				bad := r.source.Add("INBOX", "poison")
				r.fill("INBOX", 80)
				if side == "append" {
					r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
						for _, o := range batch {
							if readAll(o.Body) == "poison" {
								return &memmail.Answer{Store: make([]bool, len(batch)), Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("")}
							}
						}
						return nil
					}
				} else {
					r.source.Hooks.Fetch = func(_ string, uid mailhaul.UID) (bool, error) {
						if uid == bad {
							return false, memmail.Lost("")
						}
						return false, nil
					}
				}
				res := r.run()
				require.Len(t, res.Failed, 1)
				require.Equal(t, bad, res.Failed[0].UID)
				require.Equal(t, 230, res.Copied)
				require.Len(t, r.target.Snapshot("INBOX"), 230)
			})
		})
	}
}

func TestMessageThatIsListedButNotDelivered(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 12)
	r.source.Hooks.Fetch = func(_ string, uid mailhaul.UID) (bool, error) { return uid == 4, nil }
	res := r.run()
	require.Len(t, res.Failed, 1)
	require.EqualValues(t, 4, res.Failed[0].UID)
	require.Contains(t, res.Failed[0].Reason, "does not deliver")
	require.Equal(t, 11, res.Copied)
}

func TestMessageThatVanishesMeanwhile(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 12)
	r.source.Hooks.Fetch = func(_ string, uid mailhaul.UID) (bool, error) {
		if uid == 4 {
			r.source.Expunge("INBOX", 4)
		}
		return uid == 4, nil
	}
	res := r.run()
	require.Empty(t, res.Failed)
	require.Equal(t, 1, res.Vanished)
	require.Equal(t, 11, res.Copied)
}

func TestFullTargetStopsAndResumes(t *testing.T) {
	r := newRig(t)
	r.cfg.BatchMessages = 10
	r.fill("INBOX", 50)
	room := 20
	r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		if room -= len(batch); room >= 0 {
			return nil
		}
		full := make([]mailhaul.Outcome, len(batch))
		for i := range full {
			full[i] = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: &mailhaul.Error{Op: "append to", Mailbox: "INBOX",
				Kind: mailhaul.OverQuota, Scope: mailhaul.ScopeAccount, Err: errors.New("full"), Hint: "make room and run again"}}
		}
		return &memmail.Answer{Store: make([]bool, len(batch)), Outcomes: full}
	}
	res, err := r.syncer().Run(context.Background())
	require.Equal(t, mailhaul.OverQuota, mailhaul.KindOf(err))
	require.NotContains(t, err.Error(), "\n", "one sentence")
	require.Equal(t, 20, res.Copied)
	room = 1000
	require.Equal(t, 30, r.run().Copied)
	r.same("INBOX")
}

func TestMailboxThatCannotBeOpened(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 5)
	r.fill("Broken", 5)
	r.fill("Work", 5)
	r.source.Hooks.Open = func(m string, _ bool) error {
		if m == "Broken" {
			return &mailhaul.Error{Op: "open", Mailbox: m, Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Err: errors.New("permission denied")}
		}
		return nil
	}
	res, err := r.syncer().Run(context.Background())
	require.NoError(t, err)
	require.Len(t, res.Failed, 1)
	require.Equal(t, "Broken", res.Failed[0].Mailbox)
	require.Equal(t, 10, res.Copied)
}

func TestUIDValidityChanges(t *testing.T) {
	for _, side := range []string{"source", "target", "both"} {
		t.Run(side, func(t *testing.T) {
			r := newRig(t)
			r.fill("INBOX", 20)
			r.run()
			renumber := func(a *memmail.Account) {
				b := a.Box("INBOX")
				b.Validity += 7
				for i := range b.Messages {
					b.Messages[i].UID = mailhaul.UID(3*i + 2)
				}
				b.Next = 100
			}
			if side != "target" {
				renumber(r.source)
			}
			if side != "source" {
				renumber(r.target)
			}
			r.fill("INBOX", 1)
			res := r.run()
			require.Equal(t, 20, res.Adopted)
			require.Equal(t, 1, res.Copied)
			require.Len(t, res.Warnings, 1)
			require.Contains(t, res.Warnings[0], "UIDVALIDITY changed")
			require.Zero(t, r.run().Copied)
			require.Len(t, r.target.Snapshot("INBOX"), 21)
		})
	}
}

func TestUIDNextGoesBack(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 20)
	r.run()
	// The target was restored from a backup: the last ten are not there.
	b := r.target.Box("INBOX")
	b.Messages, b.Next = b.Messages[:10], 11
	res := r.run()
	require.Equal(t, 10, res.Copied)
	require.Equal(t, 10, res.Adopted)
	r.same("INBOX")
}

func TestCancelReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 500)
		r.cfg.BatchMessages = 7
		ctx, cancel := context.WithCancel(context.Background())
		r.cfg.Events.Progress = func(p mailsync.Progress) {
			if p.Messages > 100 {
				cancel()
			}
		}
		begun := time.Now()
		res, err := r.syncer().Run(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, time.Since(begun), 2*time.Second)
		require.Less(t, res.Copied, 500)
		require.Empty(t, res.Failed)
		r.cfg.Events.Progress = nil
		r.run()
		r.same("INBOX")
	})
}

// Someone else delivers to the target between our batches: nothing of it is
// taken for ours, and ours are all found.
func TestDeliveriesInBetween(t *testing.T) {
	for _, uidplus := range []bool{true, false} {
		t.Run(fmt.Sprint("uidplus=", uidplus), func(t *testing.T) {
			r := newRig(t)
			r.target.NoUIDPlus = !uidplus
			r.cfg.BatchMessages = 5
			r.fill("INBOX", 50)
			n := 0
			r.target.Hooks.Append = func(string, []mailhaul.Outgoing) *memmail.Answer {
				n++
				r.target.Add("INBOX", mail("delivered", n))
				return nil
			}
			require.Equal(t, 50, r.run().Copied)
			require.Len(t, r.target.Snapshot("INBOX"), 50+n)
			r.target.Hooks.Append = nil
			require.Zero(t, r.run().Copied)
		})
	}
}

// A server that drops duplicates and says OK keeps one; the other is listed
// and never sent again.
func TestServerThatDropsDuplicates(t *testing.T) {
	r := newRig(t)
	r.target.NoUIDPlus = true
	r.source.Add("INBOX", mail("twin", 1))
	r.source.Add("INBOX", mail("twin", 1))
	sent := 0
	r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		sent += len(batch)
		keep := make([]bool, len(batch))
		keep[0] = true
		ok := make([]mailhaul.Outcome, len(batch))
		for i := range ok {
			ok[i].Delivery = mailhaul.Stored
		}
		return &memmail.Answer{Store: keep, Outcomes: ok}
	}
	for range 3 {
		res := r.run()
		require.Len(t, res.Failed, 1)
		require.Contains(t, res.Failed[0].Reason, "discarded or rewrote")
	}
	require.Equal(t, 2, sent)
	require.Len(t, r.target.Snapshot("INBOX"), 1)
}

func TestNameThatTheTargetRefuses(t *testing.T) {
	r := newRig(t)
	r.fill("What?", 3)
	r.fill("What_", 2)
	r.fill("Other*", 1)
	r.target.Hooks.Create = func(path []string) error {
		if strings.ContainsAny(path[0], "?*") {
			return &mailhaul.Error{Op: "create", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Err: errors.New("invalid name")}
		}
		return nil
	}
	for range 2 {
		res, err := r.syncer().Run(context.Background())
		require.NoError(t, err)
		require.Len(t, res.Failed, 1, "its plain name is another mailbox's")
		require.Equal(t, "What?", res.Failed[0].Mailbox)
		require.Equal(t, []string{"INBOX", "Other_", "What_"}, r.target.Paths())
		require.Len(t, bodies(r.target, "What_"), 2)
	}
}

// Several appenders in one mailbox give up the order and nothing else.
func TestSeveralAppenders(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			var mu stdsync.Mutex
			rnd := rand.New(rand.NewPCG(seed, 2))
			r := newRig(t)
			r.cfg.Appenders = 1 + int(seed%4)
			r.cfg.BatchMessages = 3
			r.cfg.SettleTime = 10 * time.Second
			r.cfg.Retries = 50
			r.fill("INBOX", 100)
			r.source.Add("INBOX", mail("twin", 1))
			r.source.Add("INBOX", mail("twin", 1))
			r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
				mu.Lock()
				defer mu.Unlock()
				switch rnd.IntN(30) {
				case 0:
					return &memmail.Answer{Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("")}
				case 1:
					return &memmail.Answer{Err: memmail.Lost(""), Late: func(store func()) { time.AfterFunc(3*time.Second, store) }}
				}
				return nil
			}
			res := r.run()
			require.Empty(t, res.Failed)
			require.Equal(t, 102, res.Copied)
			require.Equal(t, bodies(r.source, "INBOX"), bodies(r.target, "INBOX"))
			res = r.run()
			require.Zero(t, res.Copied)
			require.LessOrEqual(t, res.RoundTrips, int64(1), "nothing is left to be explained")
		})
	}
}
