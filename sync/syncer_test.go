// What a run does when nothing goes wrong.

package sync_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func TestMovesEverythingOnce(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 250)
	r.fill("Work", 37)
	r.source.Box("Empty")
	res := r.run()
	require.Equal(t, 287, res.Copied)
	require.Equal(t, 3, res.Mailboxes)
	require.True(t, res.Complete())
	require.Equal(t, map[string]string{"INBOX": "order", "Work": "order", "Empty": "order"}, res.Identity)
	for _, p := range []string{"INBOX", "Work", "Empty"} {
		r.same(p)
	}
	require.Equal(t, []string{"Empty", "INBOX", "Work"}, r.target.Paths())

	again := r.run()
	require.Zero(t, again.Copied)
	require.Zero(t, again.Adopted)
	require.Equal(t, 287, again.Skipped)
	require.EqualValues(t, 1, again.RoundTrips, "an unchanged account is listed and nothing else")
}

func TestLostCheckpointAdopts(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 120)
	for range 3 { // twins stay twins
		r.source.Add("INBOX", mail("twin", 1))
	}
	r.run()
	r.store = checkpoint.NewMemory()
	res := r.run()
	require.Zero(t, res.Copied)
	require.Equal(t, 123, res.Adopted)
	r.same("INBOX")
}

func TestAdoptsWhatAnotherToolCopied(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 10)
	for i, m := range r.source.Snapshot("INBOX") {
		if i%2 == 0 { // that tool lost the dates
			r.target.AddMessage("INBOX", memmail.Stored{Body: m.Body, Flags: m.Flags, Date: time.Now()})
		}
	}
	r.target.Add("INBOX", "Message-ID: <own@target>\r\n\r\nthe target's own\r\n")
	res := r.run()
	require.Equal(t, 5, res.Adopted)
	require.Equal(t, 5, res.Copied)
	require.Len(t, r.target.Snapshot("INBOX"), 11)
	require.Equal(t, "none", res.Identity["INBOX"])
	require.Zero(t, r.run().Copied)
}

func TestNearTwinIsNotAdopted(t *testing.T) {
	r := newRig(t)
	header := "Message-ID: <1@x>\r\nDate: Mon, 1 Jan 2018 00:00:00 +0000\r\nSubject: draft\r\nFrom: a@b\r\n\r\n"
	r.source.Add("INBOX", header+"the second version\r\n")
	r.target.Add("INBOX", header+"the first\r\n")
	require.Equal(t, 1, r.run().Copied)
	require.Len(t, r.target.Snapshot("INBOX"), 2)
}

func TestSecondPassCarriesWhatChanged(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 20)
	r.run()

	r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = append(m.Flags, mailhaul.FlagFlagged) })
	r.source.Change("INBOX", 3, func(m *memmail.Stored) { m.Flags = nil })
	r.source.Change("INBOX", 4, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagAnswered} })
	r.target.Change("INBOX", 3, func(m *memmail.Stored) { m.Flags = append(m.Flags, mailhaul.FlagDeleted) })
	r.target.Expunge("INBOX", 7)
	r.source.Expunge("INBOX", 9)
	r.fill("INBOX", 2)
	res := r.run()
	require.Equal(t, 2, res.Copied)
	require.Equal(t, 3, res.FlagsUpdated)
	require.Equal(t, 1, res.RemovedOnTarget)

	target := r.target.Snapshot("INBOX")
	require.Len(t, target, 21)
	require.Equal(t, []mailhaul.Flag{mailhaul.FlagFlagged}, target[0].Flags)
	require.Equal(t, []mailhaul.Flag{mailhaul.FlagDeleted}, target[2].Flags, "the target's user wins")
	require.Equal(t, []mailhaul.Flag{mailhaul.FlagAnswered}, target[3].Flags)

	res = r.run()
	require.Zero(t, res.Copied+res.FlagsUpdated+res.RemovedOnTarget)
	require.Len(t, r.target.Snapshot("INBOX"), 21, "what the target's user removed does not come back")

	r.fill("INBOX", 1)
	res = r.run()
	require.Equal(t, 1, res.Copied)
	require.Zero(t, res.RemovedOnTarget, "a removal is reported once")
}

// The base of the merge is the source's value. With any other, the star that
// the target's user set would go one pass later.
func TestFlagOfTheTargetsUserSurvivesEveryPass(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 1)
	r.run()
	r.target.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = append(m.Flags, mailhaul.FlagFlagged) })
	for i := range 3 {
		r.source.Change("INBOX", 1, func(m *memmail.Stored) {
			m.Flags = [][]mailhaul.Flag{{mailhaul.FlagSeen}, nil, {mailhaul.FlagSeen}}[i]
		})
		r.run()
		require.True(t, mailhaul.HasFlag(r.target.Snapshot("INBOX")[0].Flags, mailhaul.FlagFlagged), "pass %d", i)
	}
}

func TestServersThatSayLittle(t *testing.T) {
	for name, set := range map[string]func(*memmail.Account){
		"no UIDPLUS":         func(a *memmail.Account) { a.NoUIDPlus = true },
		"no UIDNEXT":         func(a *memmail.Account) { a.NoUIDNext = true },
		"no mod-sequences":   func(a *memmail.Account) { a.NoModSeq = true },
		"no status in lists": func(a *memmail.Account) { a.NoStatus = true },
		"none of it": func(a *memmail.Account) {
			a.NoUIDPlus, a.NoUIDNext, a.NoModSeq, a.NoStatus = true, true, true, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			set(r.source)
			set(r.target)
			r.fill("INBOX", 230)
			r.source.Add("INBOX", mail("twin", 1))
			r.source.Add("INBOX", mail("twin", 1))
			r.source.Add("INBOX", "no header at all")
			require.Equal(t, 233, r.run().Copied)
			r.same("INBOX")
			r.source.Change("INBOX", 5, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagDraft} })
			r.fill("INBOX", 3)
			res := r.run()
			require.Equal(t, 3, res.Copied)
			require.Equal(t, 1, res.FlagsUpdated)
			require.Zero(t, r.run().Copied)
			r.same("INBOX")
		})
	}
}

func TestLargeMessagesAreStreamed(t *testing.T) {
	r := newRig(t)
	r.cfg.Budget = mailsync.NewBudget(64 << 10)
	big := string(make([]byte, 100<<10)) // NULs: read back, and unaltered here
	for i := range 5 {
		r.source.Add("INBOX", mail("small", i))
		r.source.Add("INBOX", mail("big", i)+big)
	}
	res := r.run()
	require.Equal(t, 10, res.Copied)
	require.Empty(t, res.Altered)
	r.same("INBOX")
}

func TestAlteredOctetsAreListed(t *testing.T) {
	for name, budget := range map[string]int64{"buffered": 1 << 20, "streamed": 64} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Budget = mailsync.NewBudget(budget)
			r.target.Hooks.Store = func(b []byte) []byte {
				b = append([]byte{}, b...)
				for i := range b {
					if b[i] == 0 {
						b[i] = 0x80
					}
				}
				return b
			}
			r.fill("INBOX", 3)
			uid := r.source.Add("INBOX", mail("nul", 1)+"a\x00b\r\n")
			r.source.Add("INBOX", mail("lf", 1)+"bare\nkept\r\n")
			res := r.run()
			require.Equal(t, 5, res.Copied)
			require.Len(t, res.Altered, 1)
			require.Equal(t, uid, res.Altered[0].UID)
			require.Equal(t, uid, res.Altered[0].TargetUID)
		})
	}
}

func TestViewMovesOnlyWhatNothingElseHolds(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 5)
	r.fill("Work", 5)
	all := r.source.Box("All Mail")
	all.Role = mailhaul.RoleAll
	for _, p := range []string{"INBOX", "Work"} {
		for _, m := range r.source.Snapshot(p) {
			r.source.AddMessage("All Mail", memmail.Stored{Body: m.Body, Flags: m.Flags, Date: m.Date})
		}
	}
	require.Equal(t, 10, r.run().Copied)
	require.NotContains(t, r.target.Paths(), "All Mail", "nothing is left for it")

	r.source.Add("All Mail", mail("archived", 1))
	res := r.run()
	require.Equal(t, 1, res.Copied)
	require.Equal(t, []string{mail("archived", 1)}, bodies(r.target, "All Mail"))
	require.Zero(t, r.run().Copied)
}

func TestPlanWritesNothing(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 4)
	r.fill("Work", 6)
	r.target.AddMessage("INBOX", r.source.Snapshot("INBOX")[0])
	p, err := r.syncer().Plan(context.Background())
	require.NoError(t, err)
	require.Equal(t, 10, p.Messages)
	require.Equal(t, 9, p.Move)
	require.Equal(t, []mailsync.PlannedMailbox{
		{Source: "INBOX", Target: "INBOX", Messages: 4, Move: 3, Adopt: 1, Bytes: p.Mailboxes[0].Bytes},
		{Source: "Work", Target: "Work", Create: true, Messages: 6, Move: 6, Bytes: p.Mailboxes[1].Bytes},
	}, p.Mailboxes)
	require.Equal(t, []string{"INBOX"}, r.target.Paths())
	require.Len(t, r.target.Snapshot("INBOX"), 1)
	for range r.store.Scan(context.Background(), nil, nil) {
		t.Fatal("the dry run wrote to the Store")
	}
}

func TestConfigReportsEveryMistake(t *testing.T) {
	_, err := mailsync.New(mailsync.Config{Mailboxes: -1, BatchBytes: -1})
	require.ErrorContains(t, err, "Source is missing")
	require.ErrorContains(t, err, "Target is missing")
	require.ErrorContains(t, err, "Mailboxes is -1")
	require.ErrorContains(t, err, "BatchBytes is -1")
	a := memmail.New("ann")
	_, err = mailsync.New(mailsync.Config{Source: a, Target: a})
	require.ErrorContains(t, err, "the same account")
}

func TestEventsAddUp(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 150)
	var last mailsync.Progress
	var started mailsync.Started
	var done []string
	r.cfg.Events = mailsync.Events{
		Started:  func(s mailsync.Started) { started = s },
		Progress: func(p mailsync.Progress) { last = p },
		Mailbox: func(m mailsync.MailboxEvent) {
			if m.Done {
				done = append(done, m.Source)
			}
		},
	}
	res := r.run()
	require.Equal(t, 150, started.Messages)
	require.Equal(t, []string{"INBOX"}, done)
	require.Equal(t, 150, last.Messages)
	require.Equal(t, 150, last.TotalMessages)
	require.Equal(t, res.Bytes, last.AccountBytes)
	require.Equal(t, res.Bytes, last.AccountTotalBytes)
	require.Zero(t, last.Left)
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 1000)
	r.cfg.BatchMessages = 10
	var s *mailsync.Syncer
	r.cfg.Events.Progress = func(mailsync.Progress) { s.Drain() }
	s = r.syncer()
	res, err := s.Run(context.Background())
	require.ErrorIs(t, err, mailsync.ErrDrained)
	require.Less(t, res.Copied, 1000)
	require.NotZero(t, res.Copied)
	require.Equal(t, res.Copied, len(r.target.Snapshot("INBOX")))

	r.cfg.Events.Progress = nil
	require.Equal(t, 1000-res.Copied, r.run().Copied)
	r.same("INBOX")
}

func TestOnlyOneRunAtATime(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 1)
	var s *mailsync.Syncer
	var inner error
	r.cfg.Events.Started = func(mailsync.Started) { _, inner = s.Run(context.Background()) }
	s = r.syncer()
	_, err := s.Run(context.Background())
	require.NoError(t, err)
	require.True(t, errors.Is(inner, mailsync.ErrRunning))
}

// A target that leaves flags out of its answer has them carried over later.
func TestFlagsOfMessagesThatTheTargetLeavesOut(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 9)
	r.run()
	r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagFlagged} })
	silent := &leavesOut{Target: r.target, uid: 1}
	r.decorate = func(mailhaul.Target) mailhaul.Target { return silent }
	require.Zero(t, r.run().FlagsUpdated)
	silent.uid = 0
	require.Equal(t, 1, r.run().FlagsUpdated)
	r.same("INBOX")
}

// leavesOut is a target whose Readers do not describe one message.
type leavesOut struct {
	mailhaul.Target
	uid mailhaul.UID
}

func (l *leavesOut) Unwrap() mailhaul.Target { return l.Target }

func (l *leavesOut) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := l.Target.OpenReader(ctx, m)
	return leavingOut{r, l.uid}, err
}

type leavingOut struct {
	mailhaul.Reader
	uid mailhaul.UID
}

func (l leavingOut) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return l.Reader.Messages(ctx, set.Minus(mailhaul.UIDSetOf(l.uid)), fields, since)
}
