// Messages that are gone from the source, and what becomes of their copies.

package sync_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func TestDeletesReachOnlyWhatIsOursAndUntouched(t *testing.T) {
	for _, policy := range []mailsync.Deletes{"", mailsync.DeletesKeep, mailsync.DeletesFlag, mailsync.DeletesRemove} {
		for _, plain := range []bool{false, true} { // without UIDPLUS
			t.Run(fmt.Sprint(policy, plain), func(t *testing.T) {
				r := newRig(t)
				r.cfg.Deletes = policy
				r.target.NoUIDPlus = plain
				r.fill("INBOX", 20)
				own := r.source.Snapshot("INBOX")[9]
				r.target.AddMessage("INBOX", memmail.Stored{Body: own.Body, Flags: own.Flags}) // 1: adopted, the user's own
				foreign := r.target.Add("INBOX", "Message-ID: <own@target>\r\n\r\nthe target's own\r\n", mailhaul.FlagDeleted)
				require.Equal(t, 1, r.run().Adopted)
				copyOf := func(source mailhaul.UID) memmail.Stored {
					body := mail("INBOX", int(source)-1)
					all := r.target.Snapshot("INBOX")
					i := slices.IndexFunc(all, func(m memmail.Stored) bool { return string(m.Body) == body })
					if i < 0 {
						return memmail.Stored{}
					}
					return all[i]
				}
				touched := copyOf(5).UID
				r.target.Change("INBOX", touched, func(m *memmail.Stored) { m.Flags = append(slices.Clone(m.Flags), "$Mine") })
				r.target.Change("INBOX", copyOf(6).UID, func(m *memmail.Stored) { m.Flags = nil }) // it had two
				r.target.Expunge("INBOX", copyOf(8).UID)
				r.source.Expunge("INBOX", 2, 3, 5, 6, 8, 10)
				r.source.Expunge("INBOX", 11)
				r.fill("INBOX", 0)
				removed := r.target.Hooks
				var expunged mailhaul.UIDSet
				removed.Expunge = func(_ string, set mailhaul.UIDSet) error {
					expunged = expunged.Union(set)
					return nil
				}
				r.target.Hooks = removed
				untouched := mailhaul.UIDSetOf(copyOf(2).UID, copyOf(3).UID, copyOf(11).UID)
				before := r.target.Snapshot("INBOX")

				res := r.run()
				require.Zero(t, res.Copied)
				after := r.target.Snapshot("INBOX")
				switch {
				case policy == "" || policy == mailsync.DeletesKeep:
					require.Equal(t, before, after)
					require.Zero(t, res.Deleted)
					r.cfg.Deletes = mailsync.DeletesFlag // a later pass may still do it
					require.Equal(t, 3, r.run().Deleted)
					return
				case policy == mailsync.DeletesFlag || plain:
					require.Len(t, after, len(before))
					for _, m := range after {
						want := untouched.Contains(m.UID) || m.UID == foreign
						require.Equal(t, want, mailhaul.HasFlag(m.Flags, mailhaul.FlagDeleted), "UID %d", m.UID)
					}
					require.Equal(t, plain && policy == mailsync.DeletesRemove, len(res.Warnings) > 0, "%v", res.Warnings)
				default:
					require.Equal(t, untouched, expunged)
					require.Len(t, after, len(before)-3)
				}
				require.Equal(t, 3, res.Deleted)
				require.True(t, slices.ContainsFunc(after, func(m memmail.Stored) bool { return m.UID == foreign }))

				// What was decided is decided: the flag that the user takes off
				// stays off, and what he used once stays his.
				for _, m := range r.target.Snapshot("INBOX") {
					r.target.Change("INBOX", m.UID, func(m *memmail.Stored) { m.Flags = nil })
				}
				before = r.target.Snapshot("INBOX")
				res = r.run()
				require.Zero(t, res.Deleted+res.Copied+res.FlagsUpdated)
				require.Equal(t, before, r.target.Snapshot("INBOX"))
			})
		}
	}
}

// Between reading a copy's flags and removing it, its user stars it.
func TestDeleteLeavesWhatChangesMeanwhile(t *testing.T) {
	r := newRig(t)
	r.cfg.Deletes = mailsync.DeletesRemove
	r.fill("INBOX", 10)
	r.run()
	r.source.Expunge("INBOX", 1, 2)
	r.target.Hooks.Flags = func(string, []mailhaul.FlagChange) {
		r.target.Hooks.Flags = nil
		r.target.Change("INBOX", 2, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagFlagged} })
	}
	require.Equal(t, 1, r.run().Deleted)
	require.Zero(t, r.run().Deleted)
	all := r.target.Snapshot("INBOX")
	require.Len(t, all, 9)
	require.Equal(t, []mailhaul.Flag{mailhaul.FlagFlagged}, all[0].Flags)
}

// The user takes \Deleted off again before the message is expunged.
func TestDeleteRespectsAChangeOfMind(t *testing.T) {
	r := newRig(t)
	r.cfg.Deletes = mailsync.DeletesRemove
	r.fill("INBOX", 10)
	r.run()
	r.source.Expunge("INBOX", 1)
	r.target.Hooks.Expunge = func(string, mailhaul.UIDSet) error {
		r.target.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = nil })
		return nil
	}
	r.run()
	require.Len(t, r.target.Snapshot("INBOX"), 10)
}

// A flag that changes on the target between reading and writing is merged anew.
func TestFlagsAreMergedAgainWhereTheyChangeMeanwhile(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "for ever": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fill("INBOX", 3)
			r.run()
			r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{"$Junk"} })
			r.target.Hooks.Flags = func(string, []mailhaul.FlagChange) {
				if times--; times < 0 {
					return
				}
				r.target.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{"$NotJunk"} })
			}
			r.run()
			require.Equal(t, []mailhaul.Flag{"$NotJunk"}, r.target.Snapshot("INBOX")[0].Flags, "one excludes the other")
			r.target.Hooks.Flags = nil
			r.run()
			require.Equal(t, []mailhaul.Flag{"$NotJunk"}, r.target.Snapshot("INBOX")[0].Flags)
		})
	}
}

// In the same run where it happens once, in the next where it goes on.
func TestFlagsThatChangeMeanwhileAreCarriedOver(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "for ever": 1 << 20} {
		for _, mail := range []string{"", "Message-ID: <a>\r\n\r\none more\r\n"} {
			t.Run(name+fmt.Sprint(len(mail)), func(t *testing.T) {
				r := newRig(t)
				r.fill("INBOX", 3)
				r.run()
				r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagFlagged} })
				if mail != "" {
					r.source.Add("INBOX", mail)
				}
				n := times
				r.target.Hooks.Flags = func(string, []mailhaul.FlagChange) {
					if n--; n >= 0 {
						r.target.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.Flag(fmt.Sprint("k", n%2))} })
					}
				}
				r.run()
				require.Equal(t, times == 1, mailhaul.HasFlag(r.target.Snapshot("INBOX")[0].Flags, mailhaul.FlagFlagged))
				r.target.Hooks.Flags = nil
				r.run()
				require.True(t, mailhaul.HasFlag(r.target.Snapshot("INBOX")[0].Flags, mailhaul.FlagFlagged))
				require.Len(t, r.target.Snapshot("INBOX")[0].Flags, 2, "and the user's own")
			})
		}
	}
}

func TestBrake(t *testing.T) {
	accept := func(mailsync.Held) mailsync.Decision { return mailsync.Accept }
	refuse := func(mailsync.Held) mailsync.Decision { return mailsync.Refuse }
	// emptied makes 60 of 100 messages vanish.
	emptied := func(t *testing.T, side mailsync.Side) *rig {
		r := newRig(t)
		r.cfg.Deletes = mailsync.DeletesRemove
		r.fill("INBOX", 100)
		r.fill("Other", 3)
		r.run()
		account := r.source
		if side == mailsync.SideTarget {
			account = r.target
		}
		for uid := mailhaul.UID(1); uid <= 60; uid++ {
			account.Expunge("INBOX", uid)
		}
		r.source.Add("INBOX", mail("new", 1))
		r.source.Add("Other", mail("new", 2))
		for range 3 { // not forgotten by the next pass
			before := r.target.Snapshot("INBOX")
			res := r.run()
			require.Equal(t, []mailsync.Held{{Mailbox: "INBOX", Target: "INBOX", Side: side, Gone: 60, Of: 100}}, res.Held)
			require.False(t, res.Complete())
			require.Contains(t, res.Failed[0].Reason, "60 of 100 messages are gone from the "+string(side))
			require.Equal(t, before, r.target.Snapshot("INBOX"), "nothing was changed")
			require.Len(t, r.target.Snapshot("Other"), 4, "other mailboxes go on")
		}
		return r
	}
	t.Run("source accepted", func(t *testing.T) {
		r := emptied(t, mailsync.SideSource)
		r.cfg.Confirm = accept
		res := r.run()
		require.Equal(t, 60, res.Deleted)
		require.Empty(t, res.Held)
		require.Len(t, r.target.Snapshot("INBOX"), 41)
		r.cfg.Confirm = nil
		require.Zero(t, r.run().Deleted)
	})
	t.Run("source refused", func(t *testing.T) {
		r := emptied(t, mailsync.SideSource)
		r.cfg.Confirm = refuse
		require.True(t, r.run().Complete())
		r.cfg.Confirm = nil
		res := r.run()
		require.True(t, res.Complete(), "that is settled")
		require.Zero(t, res.Deleted)
		require.Len(t, r.target.Snapshot("INBOX"), 101)
	})
	t.Run("target accepted", func(t *testing.T) {
		r := emptied(t, mailsync.SideTarget)
		r.cfg.Confirm = accept
		res := r.run()
		require.Equal(t, 60, res.RemovedOnTarget)
		require.Len(t, r.target.Snapshot("INBOX"), 41)
		r.cfg.Confirm = nil
		require.True(t, r.run().Complete())
		require.Len(t, r.target.Snapshot("INBOX"), 41)
	})
	t.Run("target refused", func(t *testing.T) {
		r := emptied(t, mailsync.SideTarget)
		r.cfg.Confirm = refuse
		res := r.run()
		require.Equal(t, 61, res.Copied)
		r.cfg.Confirm = nil
		require.True(t, r.run().Complete())
		require.ElementsMatch(t, bodies(r.source, "INBOX"), bodies(r.target, "INBOX"))
	})
	t.Run("brought back", func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 100)
		r.run()
		all := r.target.Snapshot("INBOX")
		box := r.target.Box("INBOX")
		box.Messages = nil
		require.Len(t, r.run().Held, 1)
		box.Messages = all // UIDs and all
		res := r.run()
		require.True(t, res.Complete())
		require.Equal(t, 100, res.Skipped)
		r.same("INBOX")
	})
	t.Run("few", func(t *testing.T) {
		for _, gone := range []int{50, 51} {
			r := newRig(t)
			r.cfg.Deletes = mailsync.DeletesRemove
			r.fill("INBOX", 60)
			r.run()
			for uid := range gone {
				r.source.Expunge("INBOX", mailhaul.UID(uid+1))
			}
			require.Len(t, r.run().Held, gone-50)
		}
	})
	t.Run("a small part", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Deletes = mailsync.DeletesRemove
		r.fill("INBOX", 400)
		r.run()
		for uid := range 80 {
			r.source.Expunge("INBOX", mailhaul.UID(uid+1))
		}
		require.Equal(t, 80, r.run().Deleted)
	})
	t.Run("more than one pass takes", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Deletes, r.cfg.Confirm = mailsync.DeletesRemove, accept
		for i := range 25_000 {
			r.source.Add("INBOX", mail("INBOX", i))
		}
		r.run()
		r.source.Box("INBOX").Messages = nil
		require.Equal(t, 25_000, r.run().Deleted)
		require.Empty(t, r.target.Snapshot("INBOX"))
	})
}

// A list that is shorter than the mailbox is no proof that anything is gone.
func TestShortListsDeleteNothing(t *testing.T) {
	half := func(_ string, truth mailhaul.UIDSet) mailhaul.UIDSet {
		return truth.Intersect(mailhaul.UIDSet{{First: 1, Last: 5}})
	}
	r := newRig(t)
	r.cfg.Deletes = mailsync.DeletesRemove
	r.fill("INBOX", 10)
	r.run()
	for _, account := range []*memmail.Account{r.source, r.target} {
		account.Hooks.UIDs = half
		r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagFlagged} })
		res := r.run()
		require.Zero(t, res.Deleted+res.RemovedOnTarget)
		require.NotEmpty(t, res.Warnings)
		account.Hooks.UIDs = nil
	}
	r.source.Change("INBOX", 1, func(m *memmail.Stored) { m.Flags = nil })
	res := r.run()
	require.Zero(t, res.Deleted+res.RemovedOnTarget+res.Copied)
	require.Empty(t, res.Warnings)
	require.Len(t, r.target.Snapshot("INBOX"), 10)
	r.source.Expunge("INBOX", 10)
	require.Equal(t, 1, r.run().Deleted)
}

// A server that is killed may keep a message of the batch in flight and lose
// its flags. They are set in the same run; those of a message that was there
// before are its user's.
func TestFlagsLostWithTheServerAreRestored(t *testing.T) {
	r := newRig(t)
	r.cfg.Deletes = mailsync.DeletesRemove
	own := "Message-ID: <own@x>\r\n\r\nthere before\r\n"
	r.source.Add("INBOX", own, mailhaul.FlagSeen)
	r.target.Add("INBOX", own)
	r.source.Add("INBOX", mail("INBOX", 1), mailhaul.FlagSeen, mailhaul.FlagFlagged)
	r.source.Add("INBOX", mail("INBOX", 2), mailhaul.FlagSeen)
	dead := false
	r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		if dead {
			return nil
		}
		dead = true
		batch[0].Flags, batch[1].Flags = nil, []mailhaul.Flag{"$Server"}
		return &memmail.Answer{Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("killed")}
	}
	res := r.run()
	require.Equal(t, 1, res.Adopted)
	require.Equal(t, 2, res.Copied)
	flagsOf := func() (out [][]mailhaul.Flag) {
		for _, m := range r.target.Snapshot("INBOX") {
			f, _ := mailhaul.NormalizeFlags(m.Flags)
			out = append(out, f)
		}
		return out
	}
	want := [][]mailhaul.Flag{nil, {mailhaul.FlagFlagged, mailhaul.FlagSeen}, {"$Server", mailhaul.FlagSeen}}
	got := flagsOf()
	require.Len(t, got, 3)
	for i := range want {
		require.ElementsMatch(t, want[i], got[i])
	}
	r.source.Expunge("INBOX", 1, 2)
	require.Equal(t, 1, r.run().Deleted, "the one that we appended, and not the user's own")
	require.Len(t, r.target.Snapshot("INBOX"), 2)
}

// The same, where the server finds the batch as late as when half of it comes
// again, after the settle time: so does Dovecot's sdbox.
func TestFlagsOfWhatIsFoundTooLateAreRestored(t *testing.T) {
	r := newRig(t)
	for i := range 8 {
		r.source.Add("INBOX", mail("INBOX", i), []mailhaul.Flag{mailhaul.FlagSeen, "$Work"}[:1+i%2]...)
	}
	var files []string
	r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		lost := &memmail.Answer{Store: make([]bool, len(batch)), Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("killed")}
		if files == nil {
			for i := range 8 {
				files = append(files, mail("INBOX", i))
			}
			return lost
		}
		for _, body := range files {
			r.target.Add("INBOX", body)
		}
		r.target.Hooks.Append = nil
		return lost
	}
	r.run()
	require.Len(t, r.target.Snapshot("INBOX"), 8)
	for i, m := range r.target.Snapshot("INBOX") {
		require.Len(t, m.Flags, 1+i%2, "UID %d", m.UID)
	}
	require.Zero(t, r.run().Copied)
}

// The same, where we die before the flags are set.
func TestFlagsLostAreRestoredByTheNextRun(t *testing.T) {
	r := newRig(t)
	r.source.Add("INBOX", mail("INBOX", 1), mailhaul.FlagSeen, mailhaul.FlagFlagged)
	r.cfg.Retries = 1
	r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		batch[0].Flags = nil
		return &memmail.Answer{Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("killed")}
	}
	r.target.Hooks.Open = func(_ string, write bool) error {
		if write && len(r.target.Snapshot("INBOX")) > 0 {
			return memmail.Lost("gone")
		}
		return nil
	}
	_, _ = r.syncer().Run(t.Context())
	require.Empty(t, r.target.Snapshot("INBOX")[0].Flags)
	l, err := checkpoint.OpenLedger(t.Context(), r.store, checkpoint.Pair{From: r.source.Account(), To: r.target.Account()})
	require.NoError(t, err)
	m, err := l.Mailbox(t.Context(), "INBOX")
	require.NoError(t, err)
	rec, ok, err := m.Get(t.Context(), 1)
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, rec.Base)
	r.target.Hooks = memmail.Hooks{}
	r.run()
	require.Len(t, r.target.Snapshot("INBOX")[0].Flags, 2)
}

// A dry run says what would be held, and that a mailbox is not made again.
func TestPlanWithMailThatIsGone(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 100)
	r.fill("Work", 3)
	r.run()
	r.target.Box("INBOX").Messages = nil
	r.target.Delete("Work")
	p, err := r.syncer().Plan(t.Context())
	require.NoError(t, err)
	require.Zero(t, p.Move)
	require.Contains(t, fmt.Sprint(p.Warnings), `mailbox "INBOX" would be held: 100 of 100 messages are gone from the target`)
	require.Equal(t, []mailsync.Held{{Mailbox: "INBOX", Target: "INBOX", Side: mailsync.SideTarget, Gone: 100, Of: 100}}, p.Held)
	for _, m := range p.Mailboxes {
		require.False(t, m.Create, "%+v", m)
	}
	require.Len(t, r.run().Held, 1, "a dry run decides nothing")
}

// A dry run counts what would be deleted, and deletes nothing.
func TestPlanCountsDeletions(t *testing.T) {
	for _, policy := range []mailsync.Deletes{mailsync.DeletesKeep, mailsync.DeletesFlag, mailsync.DeletesRemove} {
		t.Run(string(policy), func(t *testing.T) {
			r := newRig(t)
			r.cfg.Deletes = policy
			r.fill("INBOX", 300)
			r.fill("Work", 30)
			r.fill("Large", 60)
			r.run()
			r.target.Change("INBOX", 2, func(m *memmail.Stored) { m.Flags = append(m.Flags, mailhaul.FlagFlagged) })
			r.source.Expunge("INBOX", 1, 2, 3)
			r.source.Delete("Work")
			r.source.Delete("Large")
			p, err := r.syncer().Plan(t.Context())
			require.NoError(t, err)
			if policy == mailsync.DeletesKeep {
				require.Zero(t, p.Delete)
				require.Empty(t, p.Held)
				return
			}
			require.Equal(t, 32, p.Delete)
			require.Equal(t, 2, p.Mailboxes[0].Delete)
			require.Equal(t, mailsync.PlannedMailbox{Source: "Work", Target: "Work", Delete: 30}, p.Mailboxes[1])
			require.Len(t, p.Held, 1)
			require.Equal(t, "Large", p.Held[0].Mailbox)
			require.Len(t, r.target.Snapshot("INBOX"), 300)
			res := r.run()
			require.Equal(t, p.Delete, res.Deleted, "the run does what the plan says")
			require.Equal(t, p.Held, res.Held)
		})
	}
}

// What a pass has deleted itself is not missed by it at the end; and a copy
// whose flags the same pass has merged is left to the next one, since its user's
// change may look like the source's.
func TestDeletionsAreNotDoubted(t *testing.T) {
	r := newRig(t)
	r.cfg.Deletes = mailsync.DeletesRemove
	r.fill("INBOX", 20)
	r.run()
	r.source.Expunge("INBOX", 1, 2)
	opened := 0
	r.target.Hooks.Open = func(_ string, write bool) error {
		if !write {
			opened++
		}
		return nil
	}
	require.Equal(t, 2, r.run().Deleted)
	require.Equal(t, 1, opened, "it is compared once")

	// Both users do the same to a flag; then the copy's user removes another,
	// so that the mailbox is looked at twice, and the source's user deletes it.
	both := func(m *memmail.Stored) { m.Flags = []mailhaul.Flag{mailhaul.FlagFlagged} }
	r.source.Change("INBOX", 5, both)
	target := r.target.Snapshot("INBOX")
	r.target.Change("INBOX", target[2].UID, both)
	lists := 0
	r.target.Hooks.List = func() error {
		if lists++; lists == 2 {
			r.source.Expunge("INBOX", 5, 7)
			r.target.Expunge("INBOX", target[3].UID)
		}
		return nil
	}
	r.source.Add("INBOX", mail("new", 1))
	res := r.run()
	require.Equal(t, 1, res.Copied)
	require.Equal(t, 1, res.Deleted)
	require.Equal(t, 1, res.Vanished, "it was there when the run began")
	require.Equal(t, 1, r.run().Deleted, "now its flags are what the source had")
}
