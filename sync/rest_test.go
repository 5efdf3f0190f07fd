// What keeps an account that is followed from coming to rest, or costs more
// than it should: servers that never stop telling, and mailboxes that nobody
// can open.

package sync_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// Quiet is that nothing is found to do, whatever a server tells.
func TestFollowIsQuietThoughToldWithoutPause(t *testing.T) {
	for _, what := range []string{"INBOX", ""} {
		t.Run("telling of "+what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fill("INBOX", 5)
				r.fill("Work", 5)
				r.source.Hooks.Open = func(string, bool) error { time.Sleep(300 * time.Millisecond); return nil }
				r.source.Hooks.List = func() error { time.Sleep(300 * time.Millisecond); return nil }
				source := &telling{Source: r.source}
				f := r.follow(t, source, mailsync.FollowOptions{UntilQuiet: 10 * time.Minute})
				start := time.Now()
				for n := 0; ; n++ {
					select {
					case <-f.done:
					default:
						source.tell(what)
						if time.Since(start) > time.Hour {
							f.stop()
							t.Fatal("it is never quiet")
						}
						if n == 600 { // a minute on, there is something
							r.source.Add("INBOX", mail("new", 1))
						}
						time.Sleep(100 * time.Millisecond)
						continue
					}
					break
				}
				f.wait()
				require.NoError(t, f.err)
				require.Equal(t, 6, r.count(r.target, "INBOX"))
				require.InDelta(t, 11, time.Since(start).Minutes(), 1)
			})
		})
	}
}

// A mailbox that cannot be opened, and of which the listing says nothing, has
// not changed because of that.
func TestFollowLeavesAloneWhatCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 5)
		r.fill("Locked", 5)
		r.source.NoStatus = true
		r.source.Hooks.Open = func(mailbox string, _ bool) error {
			if mailbox == "Locked" {
				return &mailhaul.Error{Op: "examine", Mailbox: mailbox, Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Err: errors.New("no permission")}
			}
			return nil
		}
		f := r.follow(t, r.source, mailsync.FollowOptions{})
		f.within(150 * time.Minute)
		whole := 0
		for _, p := range f.passes() {
			if p.Whole {
				whole++
			}
		}
		require.LessOrEqual(t, whole, 4, "one at the beginning, and one an hour")
		require.Len(t, f.passes()[len(f.passes())-1].Result.Failed, 1)
		f.syncer.Drain()
		f.wait()
		require.Len(t, f.res.Failed, 1)
	})
}
