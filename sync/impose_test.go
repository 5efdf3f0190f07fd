// Identity: UIDs, UIDVALIDITYs and UIDLs survive the move, or the result says
// where they do not.

package sync_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// imposeRig is a rig whose target has an administrator's access.
type imposeRig struct {
	*rig
	imposer *memmail.Imposer
}

func newImposeRig(t testing.TB, set func(*memmail.Imposer)) *imposeRig {
	r := &imposeRig{rig: newRig(t)}
	r.imposer = r.target.Imposer()
	if set != nil {
		set(r.imposer)
	}
	r.decorate = func(mailhaul.Target) mailhaul.Target { return r.imposer }
	return r
}

// empty makes a mailbox of the source, with a UIDVALIDITY that the target would
// not come upon by itself.
func (r *imposeRig) empty(path string) *memmail.Box {
	b := r.source.Box(path)
	if b.Validity < 1e6 {
		b.Validity += 1e6
	}
	return b
}

// holes puts n messages into a mailbox of the source whose UIDs have gaps.
func (r *imposeRig) holes(path string, n int) {
	b := r.empty(path)
	for i := range n {
		uid := b.Next + mailhaul.UID(i*i%7*(1+i%5*13))
		r.source.AddMessage(path, memmail.Stored{UID: uid, Body: []byte(mail(path, int(uid))), Flags: []mailhaul.Flag{mailhaul.FlagSeen, "$Work"}[:i%3%3], Date: time.Date(2015, 3, 4, 5, 6, i, 0, time.UTC)})
	}
	b.Next += 17 // the last ones are gone
}

// exact holds that a mailbox has every identity.
func (r *imposeRig) exact(path string) {
	r.t.Helper()
	r.same(path)
	s, t := r.source.Box(path), r.target.Box(path)
	require.Equal(r.t, uids(r.source, path), uids(r.target, path), path)
	require.Equal(r.t, s.Validity, t.Validity, "%s: UIDVALIDITY", path)
	require.Equal(r.t, s.Next, t.Next, "%s: UIDNEXT", path)
	require.GreaterOrEqual(r.t, t.ModSeq, s.ModSeq, "%s: HIGHESTMODSEQ", path)
}

func uids(a *memmail.Account, path string) (out []mailhaul.UID) {
	for _, m := range a.Snapshot(path) {
		out = append(out, m.UID)
	}
	return out
}

func detail(t testing.TB, res *mailsync.Result, mailbox string) mailsync.MailboxIdentity {
	t.Helper()
	at := slices.IndexFunc(res.IdentityDetail, func(m mailsync.MailboxIdentity) bool { return m.Source == mailbox })
	require.GreaterOrEqual(t, at, 0, mailbox)
	require.Equal(t, string(res.IdentityDetail[at].Level), res.Identity[mailbox])
	return res.IdentityDetail[at]
}

// kinds are the ways in which an Imposer may behave.
var kinds = map[string]func(*memmail.Imposer){
	"at once":     nil,
	"late":        func(i *memmail.Imposer) { i.Late = true },
	"one session": func(i *memmail.Imposer) { i.Late, i.OneSession = true, true },
	"fillers":     func(i *memmail.Imposer) { i.Fill = true },
}

func TestIdentityIsImposed(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			r.cfg.Identity = mailhaul.LevelExact
			r.cfg.BatchMessages = 7
			mailsync.SetSession(&r.cfg, 40)
			r.holes("INBOX", 120)
			r.holes("Work", 15)
			r.empty("Empty").Next = 501
			res := r.run()
			require.Empty(t, res.Failed)
			require.Empty(t, res.Warnings)
			require.Equal(t, 135, res.Copied)
			for _, p := range []string{"INBOX", "Work", "Empty"} {
				r.exact(p)
				m := detail(t, res, p)
				require.Equal(t, mailhaul.LevelExact, m.Level, "%+v", m)
				require.Empty(t, m.Reason)
				require.Equal(t, mailsync.Holds, m.UIDValidity)
				require.Equal(t, mailsync.NotApplicable, m.UIDLs)
				require.Equal(t, m.Messages, m.Checked)
			}
			require.Positive(t, detail(t, res, "INBOX").Sampled)
			sessions := 0
			for _, o := range r.imposer.Openings() {
				if o.Mailbox == "INBOX" {
					sessions++
				}
			}
			if name == "one session" {
				require.Equal(t, 1, sessions)
			} else {
				require.Equal(t, 3, sessions)
			}

			// With nothing to do, nobody is asked anything, and the level stands.
			asked, opened := len(r.imposer.Asked()), len(r.imposer.Openings())
			again := r.run()
			require.Zero(t, again.Copied)
			require.EqualValues(t, 1, again.RoundTrips, "both sides are listed, and that is all")
			require.Len(t, r.imposer.Asked(), asked)
			require.Len(t, r.imposer.Openings(), opened)
			require.Equal(t, mailhaul.LevelExact, detail(t, again, "INBOX").Level)
			require.Empty(t, again.Warnings)
		})
	}
}

// Late mail keeps its UID as long as the target has delivered nothing itself.
func TestIdentityOfLateMail(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			r.cfg.Identity = mailhaul.LevelExact
			r.holes("INBOX", 30)
			r.empty("Empty")
			r.run()
			r.holes("INBOX", 5)
			r.holes("Empty", 3)
			r.source.Change("INBOX", uids(r.source, "INBOX")[0], func(m *memmail.Stored) { m.Flags = append(m.Flags, mailhaul.FlagFlagged) })
			res := r.run()
			require.Equal(t, 8, res.Copied)
			require.Equal(t, 1, res.FlagsUpdated)
			r.exact("INBOX")
			r.exact("Empty")
			m := detail(t, res, "INBOX")
			require.Equal(t, mailhaul.LevelExact, m.Level, "%+v", m)
			require.Equal(t, 5, m.Checked, "what was proved before is not read again")
			require.EqualValues(t, 1, r.run().RoundTrips)

			// UIDNEXT alone: a message came and went.
			r.source.Expunge("INBOX", r.source.Add("INBOX", mail("gone", 1)))
			res = r.run()
			r.exact("INBOX")
			require.Equal(t, mailhaul.LevelExact, detail(t, res, "INBOX").Level)

			// The target's own mail takes the next UID.
			own := r.target.Add("INBOX", "Message-ID: <own@target>\r\n\r\nthe target's own\r\n")
			before := r.target.Snapshot("INBOX")
			late := r.source.Box("INBOX").Next
			require.Equal(t, own, late)
			r.holes("INBOX", 4)
			res = r.run()
			require.Empty(t, res.Failed)
			require.Equal(t, 4, res.Copied)
			require.Empty(t, res.Warnings)
			require.Equal(t, before, r.target.Snapshot("INBOX")[:len(before)], "nothing that is there is renumbered")
			m = detail(t, res, "INBOX")
			require.Equal(t, mailhaul.LevelOrder, m.Level)
			require.Equal(t, uids(r.source, "INBOX")[35], m.EndedAt)
			require.Contains(t, m.Reason, fmt.Sprint(m.EndedAt))
			require.GreaterOrEqual(t, r.target.Box("INBOX").Next, r.source.Box("INBOX").Next, "no UID that a client has seen is used again")
			require.Zero(t, r.run().Copied)
			require.EqualValues(t, 1, r.run().RoundTrips)
			require.Len(t, r.target.Snapshot("INBOX"), 40)
		})
	}
}

// Messages that come while a pass moves others keep their UIDs, too: UIDNEXT is
// that of the listing that was moved.
func TestMailThatComesDuringThePassKeepsItsUID(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			r.holes("INBOX", 20)
			come := false
			r.source.Hooks.Fetch = func(string, mailhaul.UID) (bool, error) {
				if !come {
					come = true
					r.source.Add("INBOX", mail("late", 1))
				}
				return false, nil
			}
			r.run()
			require.Len(t, r.target.Snapshot("INBOX"), 20)
			require.Equal(t, 1, r.run().Copied, "a pass does not take for moved what came after it had listed the source")
			r.exact("INBOX")
		})
	}
}

// The process dies at each commit in turn; the next run finishes the work, and
// each message has its UID.
func TestIdentityAfterDeathAtEveryCommit(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				done := false
				synctest.Test(t, func(t *testing.T) {
					r := newImposeRig(t, set)
					r.cfg.BatchMessages = 4
					r.cfg.Mailboxes = 1
					mailsync.SetSession(&r.cfg, 9)
					r.holes("INBOX", 21)
					for range 3 {
						r.source.Add("INBOX", mail("twin", 1))
					}
					r.source.Box("INBOX").Next += 5
					r.empty("Empty").Next = 99
					r.holes("Work", 5)
					store := r.store
					r.store = &dyingStore{Store: store, left: n}
					_, err := r.syncer().Run(context.Background())
					r.store = store
					done = err == nil
					res := r.run()
					require.Empty(t, res.Failed)
					require.Empty(t, res.Warnings, "died at commit %d", n)
					for _, p := range []string{"INBOX", "Empty", "Work"} {
						require.Equal(t, mailhaul.LevelExact, detail(t, res, p).Level, "died at commit %d: %+v", n, detail(t, res, p))
						r.exact(p)
					}
					require.Zero(t, r.run().Copied)
				})
				if done {
					require.Greater(t, n, 5, "the laboratory saw too few commits")
					return
				}
			}
		})
	}
}

// Connections are lost in the middle; twins keep their UIDs all the same.
func TestIdentityOfTwinsAfterALostConnection(t *testing.T) {
	for name, set := range kinds {
		for batch := range 6 {
			t.Run(fmt.Sprint(name, " ", batch), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newImposeRig(t, set)
					r.cfg.BatchMessages = 3
					r.cfg.SettleTime = time.Second
					for i := range 18 {
						r.source.AddMessage("INBOX", memmail.Stored{UID: mailhaul.UID(10 + 7*i), Body: []byte(mail("twin", i%2)), Date: time.Date(2015, 3, 4, 5, 6, 7, 0, time.UTC)})
					}
					count := 0
					r.target.Hooks.Append = func(_ string, batched []mailhaul.Outgoing) *memmail.Answer {
						if count++; count != batch+1 {
							return nil
						}
						// The last of the batch is stored, and nobody hears of it.
						some := make([]bool, len(batched))
						some[len(some)-1] = !r.imposer.Late
						return &memmail.Answer{Store: some, Outcomes: make([]mailhaul.Outcome, len(batched)), Err: memmail.Lost("")}
					}
					res := r.run()
					require.Empty(t, res.Failed)
					require.Equal(t, bodies(r.source, "INBOX"), bodies(r.target, "INBOX"))
					require.Greater(t, count, batch)
					if r.imposer.Late {
						r.exact("INBOX")
						return
					}
					// Two of the lost batch come too late for their UIDs; all
					// others have their own.
					ours := uids(r.target, "INBOX")
					same := 0
					for _, u := range uids(r.source, "INBOX") {
						if slices.Contains(ours, u) {
							same++
						}
					}
					require.GreaterOrEqual(t, same, 16)
					if m := detail(t, res, "INBOX"); m.EndedAt != 0 {
						require.Equal(t, same, m.SameUID)
					}
				})
			})
		}
	}
}

// A Finish that fails leaves everything unknown; smaller sessions find the
// message that it fails for.
func TestLateAnswersThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newImposeRig(t, kinds["late"])
		r.cfg.BatchMessages = 4
		r.holes("INBOX", 30)
		failed := 0
		r.target.Hooks.Finish = func(string, func()) error {
			if failed++; failed <= 3 {
				return memmail.Lost("")
			}
			return nil
		}
		res := r.run()
		require.Empty(t, res.Failed)
		r.exact("INBOX")
		require.Greater(t, failed, 3)
		require.Contains(t, r.imposer.Recovered(), "INBOX")
	})
}

// A demand that cannot be met is an error before anything is written.
func TestDemandIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	refuse := func(i *memmail.Imposer) {
		i.Refuse = map[string]string{"Work": "its server says no", "Old/2019": "its server says no", "Own": "it holds other mail"}
	}
	fill := func(r *imposeRig) {
		for _, p := range []string{"INBOX", "Work", "Old/2019", "Own"} {
			r.holes(p, 3)
		}
	}
	untouched := func(r *imposeRig) {
		require.Equal(r.t, []string{"INBOX"}, r.target.Paths())
		require.Empty(r.t, r.target.Snapshot("INBOX"))
		require.Empty(r.t, r.imposer.Openings())
	}
	t.Run("some mailboxes", func(t *testing.T) {
		r := newImposeRig(t, refuse)
		fill(r)
		r.cfg.Identity = mailhaul.LevelUID
		_, err := r.syncer().Run(context.Background())
		require.ErrorIs(t, err, mailsync.ErrIdentity)
		var e *mailsync.IdentityError
		require.ErrorAs(t, err, &e)
		require.Len(t, e.Mailboxes, 3)
		for _, text := range []string{`"Work"`, `"Old/2019"`, `"Own"`, "says no", "holds other mail", "3 of 4"} {
			require.Contains(t, err.Error(), text)
		}
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), `"INBOX"`)
		untouched(r)
		_, err = r.syncer().Plan(context.Background())
		require.ErrorIs(t, err, mailsync.ErrIdentity, "a plan says so, too")

		r.cfg.Identity = "" // the best that each allows
		plan, err := r.syncer().Plan(context.Background())
		require.NoError(t, err)
		untouched(r)
		for _, m := range plan.Mailboxes {
			if m.Source == "INBOX" {
				require.Equal(t, mailhaul.LevelExact, m.Identity)
			} else {
				require.Equal(t, mailhaul.LevelOrder, m.Identity)
				require.NotEmpty(t, m.Reason)
			}
		}
		res := r.run()
		require.Equal(t, mailhaul.LevelExact, detail(t, res, "INBOX").Level)
		require.Equal(t, mailhaul.LevelOrder, detail(t, res, "Work").Level)
		require.Equal(t, "its server says no", detail(t, res, "Work").Reason)
	})
	t.Run("too low a level", func(t *testing.T) {
		r := newImposeRig(t, func(i *memmail.Imposer) { i.Max = mailhaul.LevelUID })
		fill(r)
		r.cfg.Identity = mailhaul.LevelExact
		_, err := r.syncer().Run(context.Background())
		require.ErrorIs(t, err, mailsync.ErrIdentity)
		untouched(r)
		r.cfg.Identity = mailhaul.LevelUID
		res := r.run()
		m := detail(t, res, "INBOX")
		require.Equal(t, mailhaul.LevelUID, m.Level, "%+v", m)
		require.Equal(t, mailsync.DoesNotHold, m.UIDValidity)
		require.Equal(t, uids(r.source, "INBOX"), uids(r.target, "INBOX"))
		require.EqualValues(t, 1, r.run().RoundTrips)
	})
	t.Run("no means", func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 3)
		r.cfg.Identity = mailhaul.LevelUID
		_, err := r.syncer().Run(context.Background())
		require.ErrorIs(t, err, mailsync.ErrIdentity)
		require.Empty(t, r.target.Snapshot("INBOX"))
	})
	t.Run("an earlier run", func(t *testing.T) {
		r := newImposeRig(t, nil)
		r.holes("INBOX", 3)
		r.cfg.Identity = mailhaul.LevelOrder
		r.run()
		require.Empty(t, r.imposer.Asked())
		require.Empty(t, r.imposer.Openings())
		r.cfg.Identity = mailhaul.LevelUID
		_, err := r.syncer().Run(context.Background())
		require.ErrorIs(t, err, mailsync.ErrIdentity)
		require.Contains(t, err.Error(), "INBOX")
	})
	t.Run("the log-in of the administrator", func(t *testing.T) {
		r := newImposeRig(t, nil)
		r.holes("INBOX", 3)
		r.imposer.Ask = func(string) error {
			return &mailhaul.Error{Op: "log in", Kind: mailhaul.Auth, Scope: mailhaul.ScopeAccount, Err: errors.New("no")}
		}
		_, err := r.syncer().Run(context.Background())
		require.Equal(t, mailhaul.Auth, mailhaul.KindOf(err))
		untouched(r)
	})
}

// A mailbox that was begun goes on, whatever has become of the demand.
func TestDemandDoesNotStopWhatWasBegun(t *testing.T) {
	r := newImposeRig(t, nil)
	r.cfg.Identity = mailhaul.LevelExact
	r.holes("INBOX", 10)
	r.run()
	r.target.Add("INBOX", "Message-ID: <own@target>\r\n\r\nthe target's own\r\n")
	r.holes("INBOX", 3)
	res := r.run()
	require.Equal(t, 3, res.Copied)
	require.Equal(t, mailhaul.LevelOrder, detail(t, res, "INBOX").Level)
	require.NotZero(t, detail(t, res, "INBOX").EndedAt)
}

func TestIdentityIsValidated(t *testing.T) {
	r := newRig(t)
	for _, cfg := range []mailsync.Config{{Identity: "best"}, {Identity: "none"}, {Identity: mailhaul.LevelUID, Appenders: 2}, {Identity: mailhaul.LevelExact, Appenders: 2}} {
		cfg.Source, cfg.Target = r.source, r.target
		_, err := mailsync.New(cfg)
		require.Error(t, err)
		require.Contains(t, err.Error(), "Identity")
	}
	i := newImposeRig(t, nil)
	i.holes("INBOX", 10)
	i.cfg.Appenders = 2
	require.Equal(t, mailhaul.LevelOrder, detail(t, i.run(), "INBOX").Level)
	require.Empty(t, i.imposer.Asked(), "several appenders give order up, and all else with it")
}

// Answers that come late do not hold up the budget: bodies are given back when
// they are with the transport.
func TestLateAnswersWithinTheBudget(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			r.cfg.Budget = mailsync.NewBudget(8 << 10)
			r.cfg.BatchMessages = 3
			for i := range 60 {
				size := 1 << 10
				if i%9 == 4 {
					size = 20 << 10 // streamed
				}
				r.source.AddMessage("INBOX", memmail.Stored{UID: mailhaul.UID(3 * (i + 1)), Body: []byte(mail("big", i) + strings.Repeat("x", size) + "\r\n")})
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			res, err := r.syncer().Run(ctx)
			require.NoError(t, err)
			require.Equal(t, 60, res.Copied)
			r.exact("INBOX")
		})
	}
}

// A drain lets a session whose answers come late end, since nothing of it
// counts before.
func TestDrainEndsTheSession(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			r.cfg.BatchMessages = 2
			mailsync.SetSession(&r.cfg, 10)
			r.holes("INBOX", 40)
			s := r.syncer()
			r.target.Hooks.Append = func(string, []mailhaul.Outgoing) *memmail.Answer {
				s.Drain()
				return nil
			}
			_, err := s.Run(context.Background())
			r.target.Hooks.Append = nil
			if r.imposer.OneSession {
				require.NoError(t, err)
				require.Len(t, r.target.Snapshot("INBOX"), 40)
			} else {
				require.ErrorIs(t, err, mailsync.ErrDrained)
				require.Less(t, len(r.target.Snapshot("INBOX")), 20)
			}
			if r.imposer.Late {
				require.NotEmpty(t, r.target.Snapshot("INBOX"))
			}
			res := r.run()
			require.Empty(t, res.Failed)
			r.exact("INBOX")
			require.Equal(t, mailhaul.LevelExact, detail(t, res, "INBOX").Level)
		})
	}
}

// A mailbox that was empty, and moved, is given its UIDVALIDITY when its first
// mail comes. That is no change that anybody has to be told of, even if the
// process dies between the two.
func TestUIDValidityOfAMailboxThatWasEmpty(t *testing.T) {
	for n := range 5 {
		r := newImposeRig(t, nil)
		r.empty("Later")
		r.cfg.Identity = mailhaul.LevelOrder
		r.run()
		r.holes("Later", 6)
		r.cfg.Identity = mailhaul.LevelExact
		store := r.store
		r.store = &dyingStore{Store: store, left: n}
		_, _ = r.syncer().Run(context.Background())
		r.store = store
		res := r.run()
		require.Empty(t, res.Warnings, "nobody has changed a UIDVALIDITY but we; died at commit %d", n)
		r.exact("Later")
		require.Equal(t, mailhaul.LevelExact, detail(t, res, "Later").Level)
	}
}

// A Writer that dies while it burns the last UIDs leaves nothing either, even
// if there was no message to be written.
func TestRecoverAfterADeathInFinish(t *testing.T) {
	r := newImposeRig(t, kinds["fillers"])
	r.empty("Empty").Next = 77
	r.target.Hooks.Finish = func(mailbox string, _ func()) error {
		if mailbox != "Empty" { // whose end would end the run before
			return nil
		}
		return errors.New("died")
	}
	_, err := r.syncer().Run(context.Background())
	require.Error(t, err)
	require.Len(t, r.target.Snapshot("Empty"), 1)
	r.target.Hooks.Finish = nil
	res := r.run()
	require.Empty(t, res.Failed)
	require.Empty(t, r.target.Snapshot("Empty"))
	require.GreaterOrEqual(t, r.target.Box("Empty").Next, r.source.Box("Empty").Next)
}

// Messages whose UIDs are taken may come behind all others. They are believed
// to be where the target says.
func TestDisplacedMessagesAreBelieved(t *testing.T) {
	r := newImposeRig(t, func(i *memmail.Imposer) { i.Late, i.Behind = true, true })
	r.holes("INBOX", 10)
	r.run()
	r.target.Add("INBOX", mail("own", 1))
	first := r.source.Add("INBOX", mail("late", 1))
	r.holes("INBOX", 5)
	reads := 0
	r.target.Hooks.Fetch = func(string, mailhaul.UID) (bool, error) { reads++; return false, nil }
	compared := 0
	r.target.Hooks.Open = func(_ string, write bool) error {
		if !write {
			compared++
		}
		return nil
	}
	res := r.run()
	require.Equal(t, 6, res.Copied)
	require.Len(t, r.target.Snapshot("INBOX"), 17)
	m := detail(t, res, "INBOX")
	require.Equal(t, mailhaul.LevelNone, m.Level)
	require.Equal(t, first, m.EndedAt)
	require.Equal(t, 15, m.SameUID)
	require.Zero(t, reads)
	require.Equal(t, 1, compared, "nothing is in doubt")
	require.Equal(t, bodies(r.source, "INBOX"), slices.DeleteFunc(bodies(r.target, "INBOX"), func(b string) bool { return b == mail("own", 1) }))
	require.Zero(t, r.run().Copied)
}

// A server may store what it has received after the connection is lost, for as
// long as the settle time says from then on.
func TestLateAnswersAreSettledFromTheLossOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newImposeRig(t, kinds["late"])
		r.cfg.SettleTime = 10 * time.Second
		r.holes("INBOX", 12)
		once := true
		r.target.Hooks.Finish = func(_ string, store func()) error {
			if !once {
				return nil
			}
			once = false
			time.Sleep(time.Minute)
			time.AfterFunc(3*time.Second, store)
			return memmail.Lost("")
		}
		res := r.run()
		time.Sleep(time.Minute)
		require.Equal(t, 12, res.Copied)
		require.Len(t, r.target.Snapshot("INBOX"), 12)
		r.exact("INBOX")
	})
}

// Fillers that a Writer left when it died are removed, and never taken for mail.
func TestRecoverIsCalledAfterADeath(t *testing.T) {
	r := newImposeRig(t, kinds["fillers"])
	r.cfg.BatchMessages = 3
	r.holes("INBOX", 30)
	store := r.store
	r.store = &dyingStore{Store: store, left: 5}
	_, err := r.syncer().Run(context.Background())
	require.Error(t, err)
	r.store = store
	fillers := func() (n int) {
		for _, m := range r.target.Snapshot("INBOX") {
			if m.Filler {
				n++
			}
		}
		return n
	}
	require.Positive(t, fillers(), "the laboratory left none")
	require.Empty(t, r.imposer.Recovered())
	res := r.run()
	require.Zero(t, fillers())
	require.Equal(t, []string{"INBOX"}, r.imposer.Recovered())
	require.Empty(t, res.Failed)
	r.exact("INBOX")
}

// A checkpoint that was lost, or rolled back to any earlier commit, costs time
// and no identity.
func TestIdentityOutlivesTheCheckpoint(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			r.cfg.Identity = mailhaul.LevelExact
			history := &historyStore{Store: r.store}
			r.store = history
			r.cfg.BatchMessages = 5
			mailsync.SetSession(&r.cfg, 10)
			r.holes("INBOX", 33)
			for range 3 {
				r.source.Add("INBOX", mail("twin", 1))
			}
			r.empty("Empty").Next = 44
			r.run()
			r.holes("INBOX", 8)
			r.run()
			require.Greater(t, len(history.ops), 3)
			for n := range history.ops {
				old := checkpoint.NewMemory()
				for _, ops := range history.ops[:n] {
					require.NoError(t, old.Commit(context.Background(), ops))
				}
				r.store = old
				res := r.run()
				require.Zero(t, res.Copied, "rolled back to commit %d", n)
				require.Empty(t, res.Failed)
				for _, p := range []string{"INBOX", "Empty"} {
					require.Equal(t, mailhaul.LevelExact, detail(t, res, p).Level, "rolled back to commit %d: %+v", n, detail(t, res, p))
					r.exact(p)
				}
				require.EqualValues(t, 1, r.run().RoundTrips)
			}
		})
	}
}

// What cannot be proved is moved all the same.
func TestWhatCannotBeProvedIsMoved(t *testing.T) {
	r := newImposeRig(t, nil)
	r.holes("INBOX", 10)
	r.target.Hooks.Fetch = func(_ string, uid mailhaul.UID) (bool, error) {
		return false, &mailhaul.Error{Op: "fetch", UID: uid, Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Err: errors.New("its index is corrupt")}
	}
	res := r.run()
	require.Empty(t, res.Failed)
	require.Len(t, res.Warnings, 1)
	require.Contains(t, res.Warnings[0], "could not be proved")
	m := detail(t, res, "INBOX")
	require.Equal(t, mailhaul.LevelOrder, m.Level)
	require.Equal(t, 10, m.SameUID)
	require.Contains(t, m.Reason, "have not been read")
	r.target.Hooks.Fetch = nil
	r.source.Change("INBOX", uids(r.source, "INBOX")[0], func(m *memmail.Stored) { m.Flags = nil })
	require.Equal(t, mailhaul.LevelExact, detail(t, r.run(), "INBOX").Level)
}

// The driver's own reason is the one that is reported.
func TestReasonOfTheDriver(t *testing.T) {
	r := newImposeRig(t, func(i *memmail.Imposer) { i.Max = mailhaul.LevelUID })
	r.holes("INBOX", 3)
	r.imposer.Ask = func(m string) error {
		if m != "Odd" {
			return nil
		}
		return &mailhaul.Error{Op: "ask", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Err: errors.New("its name is not for administrators")}
	}
	r.holes("Odd", 3)
	res := r.run()
	require.Equal(t, "the UIDVALIDITY cannot be set", detail(t, res, "INBOX").Reason)
	require.Equal(t, "its name is not for administrators", detail(t, res, "Odd").Reason)
	require.Equal(t, mailhaul.LevelOrder, detail(t, res, "Odd").Level)
	require.Equal(t, 6, res.Copied)
}

// With the checkpoint lost, twins that are still there are recognised by their
// UIDs; the one that the target's user removed is the one that comes back.
func TestTwinsAreRecognisedByTheirUIDs(t *testing.T) {
	r := newImposeRig(t, nil)
	r.holes("INBOX", 5)
	var twins []mailhaul.UID
	for range 4 {
		twins = append(twins, r.source.Add("INBOX", mail("twin", 1)))
	}
	r.run()
	r.target.Expunge("INBOX", twins[0])
	r.store = checkpoint.NewMemory()
	res := r.run()
	require.Equal(t, 1, res.Copied)
	m := detail(t, res, "INBOX")
	require.Equal(t, 8, m.SameUID, "%+v", m)
	require.Equal(t, twins[0], m.EndedAt)
}

// A map that was exported and imported stands in for a lost checkpoint, and is
// believed no more than one.
func TestImportedMapStandsInForTheCheckpoint(t *testing.T) {
	r := newImposeRig(t, nil)
	r.holes("INBOX", 30)
	r.holes("Work", 5)
	r.empty("Empty")
	r.run()
	ctx := context.Background()
	pair := checkpoint.Pair{From: r.source.Account(), To: r.target.Account()}
	ledger, err := checkpoint.OpenLedger(ctx, r.store, pair)
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, ledger.ExportMap(ctx, &text, nil))
	imports := func() {
		r.store = checkpoint.NewMemory()
		ledger, err := checkpoint.OpenLedger(ctx, r.store, pair)
		require.NoError(t, err)
		n, err := ledger.ImportMap(ctx, strings.NewReader(text.String()))
		require.NoError(t, err)
		require.Equal(t, 35, n)
		_, err = ledger.ImportMap(ctx, strings.NewReader(text.String()))
		require.ErrorContains(t, err, "already")
	}
	imports()
	r.holes("Work", 2)
	res := r.run()
	require.Equal(t, 2, res.Copied)
	require.Zero(t, res.Adopted, "nothing had to be recognised")
	for _, p := range []string{"INBOX", "Work", "Empty"} {
		r.exact(p)
		require.Equal(t, mailhaul.LevelExact, detail(t, res, p).Level, "%+v", detail(t, res, p))
	}

	imports() // it is old by now
	res = r.run()
	require.Zero(t, res.Copied)
	require.Equal(t, 2, res.Adopted)
	r.exact("Work")
}

func TestImportedMapOfAPOP3Account(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	for i := range 9 {
		r.drop.Add(popUIDL(i), popMessage(i))
	}
	r.mustRun()
	source, err := pop3x.New(r.pop)
	require.NoError(t, err)
	require.NoError(t, source.Close())
	ctx := context.Background()
	pair := checkpoint.Pair{From: source.Account(), To: r.target.Account()}
	ledger, err := checkpoint.OpenLedger(ctx, r.store, pair)
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, ledger.ExportMap(ctx, &text, nil))
	some := strings.Replace(text.String(), "\n4 4 "+popUIDL(3), "", 1) // another tool does not know all
	require.NotEqual(t, text.String(), some)
	r.store = checkpoint.NewMemory()
	ledger, err = checkpoint.OpenLedger(ctx, r.store, pair)
	require.NoError(t, err)
	n, err := ledger.ImportMap(ctx, strings.NewReader(some))
	require.NoError(t, err)
	require.Equal(t, 8, n)
	r.drop.Add(popUIDL(9), popMessage(9))
	res := r.mustRun()
	require.Equal(t, 1, res.Copied)
	require.Equal(t, 1, res.Adopted)
	require.Equal(t, 8, res.Skipped)
	r.same()
}
