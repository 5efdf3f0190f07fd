// Mailboxes that are renamed, removed and made between passes.

package sync_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// variants are ways in which servers tell less than they could.
func variants(t *testing.T, test func(t *testing.T, r *rig)) {
	for name, set := range map[string]func(*memmail.Account){
		"by content":   func(*memmail.Account) {},
		"MAILBOXID":    func(a *memmail.Account) { a.Box("Work").ID = "F" + a.Name },
		"no status":    func(a *memmail.Account) { a.NoStatus = true },
		"says nothing": func(a *memmail.Account) { a.NoStatus, a.NoModSeq, a.NoUIDNext = true, true, true },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Deletes = mailsync.DeletesRemove
			r.fill("INBOX", 5)
			r.fill("Work", 80)
			r.run()
			set(r.source)
			set(r.target)
			r.source.Add("Work", mail("Work", 80))
			r.run()
			test(t, r)
		})
	}
}

func TestSourceMailboxIsRenamed(t *testing.T) {
	variants(t, func(t *testing.T, r *rig) {
		r.source.Rename("Work", "Job")
		r.source.Add("Job", mail("Work", 81))
		r.source.Expunge("Job", 7)
		res := r.run()
		require.Equal(t, 1, res.Copied, "nothing is copied twice")
		require.Equal(t, 1, res.Deleted, "nothing but what was deleted")
		require.Equal(t, []string{"INBOX", "Work"}, r.target.Paths(), "the copy keeps its name")
		require.Contains(t, fmt.Sprint(res.Warnings), `"Job" now`)
		r.sameAs("Job", "Work")
		// Another one takes the old name, and finds it taken.
		r.fill("Work", 3)
		res = r.run()
		require.Equal(t, 3, res.Copied)
		require.Len(t, r.target.Snapshot("Work"), 81)
		require.Len(t, r.target.Snapshot("Work_2"), 3)
		require.Zero(t, r.run().Copied)
	})
}

// A new mailbox with the same UIDVALIDITY and the same UIDs is not the old one.
func TestAnotherMailboxIsNotTakenForARenamedOne(t *testing.T) {
	r := newRig(t)
	r.cfg.Deletes = mailsync.DeletesRemove
	r.fill("INBOX", 5)
	r.fill("Work", 40)
	r.run()
	validity := r.source.Box("Work").Validity
	r.source.Delete("Work")
	for i := range 40 {
		r.source.Add("Play", mail("Play", i))
	}
	r.source.Box("Play").Validity = validity
	res := r.run()
	require.Equal(t, 40, res.Copied)
	require.Equal(t, 40, res.Deleted)
	r.same("Play")
	require.Empty(t, r.target.Snapshot("Work"))

	// Nor is one that has none of the UIDs.
	validity = r.source.Box("Play").Validity
	r.source.Delete("Play")
	r.source.AddMessage("Game", memmail.Stored{UID: 1000, Body: []byte(mail("Game", 1))})
	r.source.Box("Game").Validity = validity
	require.Equal(t, 1, r.run().Copied)
	r.same("Game")
}

func TestTargetMailboxIsRenamed(t *testing.T) {
	variants(t, func(t *testing.T, r *rig) {
		r.target.Rename("Work", "Arbeit")
		r.source.Add("Work", mail("Work", 81))
		res := r.run()
		require.Equal(t, 1, res.Copied, "nothing is copied twice")
		require.Equal(t, []string{"Arbeit", "INBOX"}, r.target.Paths(), "nothing is made under the old name")
		r.sameAs("Work", "Arbeit")
		require.Zero(t, r.run().Copied)
	})
}

func TestSourceMailboxIsRemoved(t *testing.T) {
	for _, n := range []int{50, 51} {
		for _, policy := range []mailsync.Deletes{mailsync.DeletesKeep, mailsync.DeletesFlag, mailsync.DeletesRemove} {
			t.Run(fmt.Sprint(n, policy), func(t *testing.T) {
				r := newRig(t)
				r.cfg.Deletes = policy
				r.fill("INBOX", 5)
				r.fill("Work", n)
				r.run()
				r.target.Change("Work", 3, func(m *memmail.Stored) { m.Flags = append(m.Flags, mailhaul.FlagFlagged) })
				r.target.Add("Work", "the user's own")
				r.source.Delete("Work")
				for range 2 {
					res := r.run()
					require.Contains(t, r.target.Paths(), "Work", "the mailbox stays")
					switch {
					case policy == mailsync.DeletesKeep:
						require.True(t, res.Complete())
						require.Len(t, r.target.Snapshot("Work"), n+1)
					case n > 50 && r.cfg.Confirm == nil:
						require.Equal(t, []mailsync.Held{{Mailbox: "Work", Target: "Work", Side: mailsync.SideSource, Gone: n, Of: n}}, res.Held)
						require.Len(t, r.target.Snapshot("Work"), n+1)
						r.cfg.Confirm = func(mailsync.Held) mailsync.Decision { return mailsync.Accept }
					case policy == mailsync.DeletesFlag:
						require.Len(t, r.target.Snapshot("Work"), n+1)
					default:
						require.Len(t, r.target.Snapshot("Work"), 2, "what its user has touched, and his own")
					}
				}
			})
		}
	}
}

func TestTargetMailboxIsRemoved(t *testing.T) {
	for _, n := range []int{50, 51} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t)
			r.fill("INBOX", 5)
			r.fill("Work", n)
			r.run()
			r.target.Delete("Work")
			if n > 50 {
				for range 2 {
					require.Equal(t, []mailsync.Held{{Mailbox: "Work", Side: mailsync.SideTarget, Gone: n, Of: n}}, r.run().Held)
					require.NotContains(t, r.target.Paths(), "Work")
				}
				r.cfg.Confirm = func(mailsync.Held) mailsync.Decision { return mailsync.Accept }
			}
			res := r.run()
			require.Zero(t, res.Copied)
			require.Equal(t, n, res.RemovedOnTarget)
			r.cfg.Confirm = nil
			require.True(t, r.run().Complete())
			require.NotContains(t, r.target.Paths(), "Work", "it is not made again for nothing")
			r.source.Add("Work", mail("new", 1))
			require.Equal(t, 1, r.run().Copied)
			require.Len(t, r.target.Snapshot("Work"), 1)
			require.Zero(t, r.run().Copied)
		})
	}
	t.Run("refused", func(t *testing.T) {
		r := newRig(t)
		r.fill("Work", 60)
		r.run()
		r.target.Delete("Work")
		require.Len(t, r.run().Held, 1)
		r.cfg.Confirm = func(mailsync.Held) mailsync.Decision { return mailsync.Refuse }
		require.Equal(t, 60, r.run().Copied)
		r.same("Work")
	})
	t.Run("made anew by its user, after that is known", func(t *testing.T) {
		r := newRig(t)
		r.fill("Work", 20)
		r.run()
		r.target.Delete("Work")
		require.Equal(t, 20, r.run().RemovedOnTarget)
		r.target.Add("Work", "the user's own")
		r.source.Add("Work", mail("new", 1))
		res := r.run()
		require.Equal(t, 1, res.Copied)
		require.Empty(t, res.Warnings)
		require.Len(t, r.target.Snapshot("Work"), 2)
	})
	t.Run("made anew by its user", func(t *testing.T) {
		r := newRig(t)
		r.fill("Work", 60)
		r.run()
		r.target.Delete("Work")
		r.target.Box("Work")
		require.Len(t, r.run().Held, 1)
		require.Empty(t, r.target.Snapshot("Work"))
		r.cfg.Confirm = func(mailsync.Held) mailsync.Decision { return mailsync.Accept }
		res := r.run()
		require.Equal(t, 60, res.RemovedOnTarget)
		r.cfg.Confirm = nil
		require.Zero(t, r.run().Copied)
		require.Empty(t, r.target.Snapshot("Work"))
	})
}

// While a run is under way the mailbox goes away.
func TestTargetMailboxIsRemovedMeanwhile(t *testing.T) {
	r := newRig(t)
	r.fill("Work", 60)
	r.run()
	r.source.Add("Work", mail("new", 1))
	r.target.Hooks.Open = func(_ string, write bool) error {
		if write {
			r.target.Hooks.Open = nil
			r.target.Delete("Work")
		}
		return nil
	}
	require.Len(t, r.run().Held, 1)
	require.NotContains(t, r.target.Paths(), "Work")
}

// What the target's user removed stays removed when the target's UIDVALIDITY
// changes.
func TestRemovalsOutliveTheTargetsUIDValidity(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 30)
	r.run()
	r.target.Expunge("INBOX", 3, 4)
	require.Equal(t, 2, r.run().RemovedOnTarget)
	r.target.NewValidity("INBOX")
	res := r.run()
	require.Zero(t, res.Copied)
	require.Equal(t, 28, res.Skipped+res.Adopted-2)
	require.Len(t, r.target.Snapshot("INBOX"), 28)
}

// Records of a mailbox whose copy is gone are worth nothing once the source
// has other UIDs.
func TestTargetRemovedAndSourceUIDValidityChanged(t *testing.T) {
	r := newRig(t)
	r.fill("Work", 20)
	r.run()
	r.target.Delete("Work")
	require.Equal(t, 20, r.run().RemovedOnTarget)
	r.source.NewValidity("Work")
	require.Equal(t, 20, r.run().Copied, "nothing may be lost")
	r.same("Work")
}

// The target's user keeps a mailbox under another name and makes a new one under
// the old: what he has put aside does not come back.
func TestTargetMailboxIsRenamedAndMadeAnew(t *testing.T) {
	variants(t, func(t *testing.T, r *rig) {
		r.cfg.Confirm = func(h mailsync.Held) mailsync.Decision { t.Errorf("held: %v", h); return mailsync.Hold }
		r.target.Rename("Work", "Old work")
		r.target.Add("Work", "the user's own")
		r.source.Add("Work", mail("Work", 81))
		res := r.run()
		require.Equal(t, 1, res.Copied, "nothing is copied twice: %v", res.Warnings)
		require.Len(t, r.target.Snapshot("Old work"), 82)
		require.Len(t, r.target.Snapshot("Work"), 1)
		require.Zero(t, r.run().Copied)
	})
}

// The source's user puts a mailbox aside under another name, and goes on in a
// new one: what was moved is known under its new name.
func TestSourceMailboxIsRenamedAndMadeAnew(t *testing.T) {
	variants(t, func(t *testing.T, r *rig) {
		r.target.Expunge("Work", r.target.Snapshot("Work")[0].UID)
		r.source.Rename("Work", "Work 2025")
		for i := range 3 {
			r.source.Add("Work", mail("Work", 100+i))
		}
		res := r.run()
		if r.source.NoStatus { // what was moved comes again, and is not lost
			t.Skip("a listing that says nothing of its mailboxes")
		}
		require.Equal(t, 3, res.Copied, "%v", res.Warnings)
		require.Zero(t, res.Deleted)
		require.Len(t, r.target.Snapshot("Work"), 80, "the copy keeps its name")
		require.Len(t, r.target.Snapshot("Work_2"), 3)
		require.Zero(t, r.run().Copied)
	})
}

// Names that move on by one, as when archives are turned over.
func TestSourceMailboxesTakeEachOthersNames(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"Log", "Log 1", "Log 2"} {
		r.fill(name, 30)
	}
	r.run()
	r.source.Rename("Log 2", "Log 3")
	r.source.Rename("Log 1", "Log 2")
	r.source.Rename("Log", "Log 1")
	r.source.Add("Log", mail("Log", 100))
	r.source.Add("Log 3", mail("Log 2", 100))
	res := r.run()
	require.Equal(t, 2, res.Copied, "%v", res.Warnings)
	r.sameAs("Log 1", "Log")
	r.sameAs("Log 2", "Log 1")
	r.sameAs("Log 3", "Log 2")
	require.False(t, r.run().Changed())

	// Two that are exchanged are recognised by content, and nothing is lost.
	r.source.Rename("Log 2", "x")
	r.source.Rename("Log 1", "Log 2")
	r.source.Rename("x", "Log 1")
	r.run()
	for _, name := range []string{"Log 1", "Log 2", "Log 3", "Log"} {
		for _, m := range r.source.Snapshot(name) {
			n := 0
			for _, path := range r.target.Paths() {
				if slices.Contains(bodies(r.target, path), string(m.Body)) {
					n++
				}
			}
			require.Positive(t, n)
		}
	}
	require.False(t, r.run().Changed())
}
