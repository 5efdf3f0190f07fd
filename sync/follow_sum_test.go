// What Follow makes of passes over some mailboxes: of their errors, and of their
// results.

package sync_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// What was told and could not be looked at, is looked at when that is possible
// again: neither the source nor a listing says it a second time.
func TestFollowKeepsWhatItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 3)
		r.fill("Work", 3)
		r.run()
		var down atomic.Bool
		r.target.Hooks.Open = func(string, bool) error {
			if down.Load() {
				return &mailhaul.Error{Op: "connect", Kind: mailhaul.Transient, Scope: mailhaul.ScopeServer, Err: errors.New("down")}
			}
			return nil
		}
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{Whole: 1000 * time.Hour})
		f.within(time.Minute)

		// The first pass found nothing to do: this one must not think the same.
		r.source.Add("INBOX", mail("told", 1))
		source.tell("INBOX")
		f.within(time.Second)
		require.Equal(t, 4, r.count(r.target, "INBOX"))

		down.Store(true)
		r.source.Add("Work", mail("told", 2))
		source.tell("Work")
		f.within(time.Hour)
		down.Store(false)
		f.within(6 * time.Minute)
		require.Equal(t, 4, r.count(r.target, "Work"))
		for _, p := range f.passes()[1:] {
			require.False(t, p.Whole)
		}
		f.stop()
		f.wait()
	})
}

// The sum before the last pass over everything: counts are of all mailboxes, and
// what failed in one is not forgotten when another is looked at.
func TestFollowSumOfSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 5)
		r.fill("Work", 5)
		r.source.Add("Work", mail("refused", 1))
		r.target.Hooks.Append = func(mailbox string, batch []mailhaul.Outgoing) *memmail.Answer {
			a := &memmail.Answer{}
			for _, m := range batch {
				o := mailhaul.Outcome{Delivery: mailhaul.Stored}
				if bad := m.Body.Size() == int64(len(mail("refused", 1))); bad {
					o = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: &mailhaul.Error{
						Op: "append to", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Err: errors.New("no")}}
				}
				a.Store = append(a.Store, o.Delivery == mailhaul.Stored)
				a.Outcomes = append(a.Outcomes, o)
			}
			return a
		}
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{Whole: 1000 * time.Hour})
		f.within(time.Second)
		for i := range 4 {
			r.source.Add("INBOX", mail("more", 2+i))
			source.tell("INBOX")
			f.within(time.Second)
		}
		f.syncer.Drain()
		f.wait()
		require.ErrorIs(t, f.err, mailsync.ErrDrained)
		require.Len(t, f.res.Failed, 1)
		require.Equal(t, "Work", f.res.Failed[0].Mailbox)
		require.Equal(t, 15, f.res.Messages)
		require.Equal(t, 14, f.res.Copied)
		require.Equal(t, 2, f.res.Mailboxes)
		require.Len(t, f.res.PerMailbox, 2)
		require.Equal(t, map[string]string{"INBOX": "order", "Work": "order"}, f.res.Identity)
		r.checkCounts(f.res)
	})
}

// A server that never stops telling is not asked without a pause.
func TestFollowATalker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 3)
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{})
		f.within(time.Second)
		for i := range 6000 { // for 10 minutes
			source.tell([]string{"", "INBOX", "no such mailbox"}[i%3])
			time.Sleep(100 * time.Millisecond)
		}
		f.within(time.Second)
		whole, some := 0, 0
		for _, p := range f.passes() {
			if p.Whole {
				whole++
			} else {
				some++
			}
		}
		require.LessOrEqual(t, whole, 10*60/10+2)
		require.LessOrEqual(t, some, 10*60*5)
		require.GreaterOrEqual(t, some, 10*60)
		f.stop()
		f.wait()
	})
}

// Mail that is carried over while the account is followed has its identity, as
// that of the first pass has.
func TestFollowKeepsIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newImposeRig(t, nil)
		r.cfg.Identity = mailhaul.LevelExact
		r.holes("INBOX", 20)
		source := &telling{Source: r.source}
		f := r.follow(t, source, mailsync.FollowOptions{Whole: 1000 * time.Hour})
		f.within(time.Second)
		for i := range 3 {
			r.source.Box("INBOX").Next += 5
			r.source.Add("INBOX", mail("told", i))
			source.tell("INBOX")
			f.within(time.Second)
		}
		require.Len(t, f.passes(), 4)
		f.syncer.Drain()
		f.wait()
		require.Equal(t, "exact", f.res.Identity["INBOX"])
		require.Equal(t, 23, f.res.Copied)
		ours, theirs := r.source.Snapshot("INBOX"), r.target.Snapshot("INBOX")
		require.Len(t, theirs, len(ours))
		for i := range ours {
			require.Equal(t, ours[i].UID, theirs[i].UID)
		}
	})
}
