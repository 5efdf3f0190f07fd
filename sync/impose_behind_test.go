// Mail that the target delivered by itself takes UIDs that the source gives to
// other messages: as few as possible lose theirs.

package sync_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// One message that was delivered to the target costs one message its UID, not
// all that follow it.
func TestOneDeliveryCostsOneUID(t *testing.T) {
	for name, set := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			mailsync.SetSession(&r.cfg, 10)
			r.cfg.BatchMessages = 4
			for i := range 12 {
				r.source.Add("INBOX", mail("dense", i))
			}
			r.source.Box("INBOX").Validity = 777
			r.run()
			r.exact("INBOX")
			for range 2 {
				r.target.Add("INBOX", mail("own", int(r.target.Box("INBOX").Next)))
			}
			before := r.target.Snapshot("INBOX")
			for i := range 30 {
				r.source.Add("INBOX", mail("late", i))
			}
			res := r.run()
			require.Empty(t, res.Failed)
			require.Equal(t, 30, res.Copied)
			require.Equal(t, before, r.target.Snapshot("INBOX")[:len(before)], "nothing that is there is renumbered")
			same := 0
			for _, m := range r.source.Snapshot("INBOX") {
				for _, o := range r.target.Snapshot("INBOX") {
					if m.UID == o.UID && string(m.Body) == string(o.Body) {
						same++
					}
				}
			}
			m := detail(t, res, "INBOX")
			if name == "one session" { // its messages cannot be parted
				require.Equal(t, mailhaul.LevelOrder, m.Level)
				return
			}
			require.Equal(t, 40, same, "42 messages, of which two have lost their UIDs")
			require.Equal(t, 40, m.SameUID)
			require.Equal(t, mailhaul.LevelNone, m.Level)
			require.EqualValues(t, 13, m.EndedAt)
			require.Contains(t, m.Reason, "2 of 42 messages have other UIDs on the target (on the source they have 13:14)")
			require.Zero(t, r.run().Copied)
			require.Len(t, r.target.Snapshot("INBOX"), 44)
		})
	}
}

// Where a gap has room for what is displaced, the order is kept, and so it is
// where programs forget all UIDs anyway.
func TestOrderIsKeptWhereItCostsNothing(t *testing.T) {
	for name, set := range map[string]func(*memmail.Imposer){
		"a gap":               nil,
		"another UIDVALIDITY": func(i *memmail.Imposer) { i.Max = mailhaul.LevelUID },
	} {
		t.Run(name, func(t *testing.T) {
			r := newImposeRig(t, set)
			for i := range 5 {
				r.source.Add("INBOX", mail("dense", i))
			}
			r.source.Box("INBOX").Validity = 777
			r.run()
			r.target.Add("INBOX", mail("own", 0))
			r.source.Add("INBOX", mail("late", 0))
			r.source.Add("INBOX", mail("late", 1))
			want := 4
			if name == "a gap" {
				r.source.Expunge("INBOX", 7)
				want = 5
			}
			for i := range 5 {
				r.source.Add("INBOX", mail("later", i))
			}
			res := r.run()
			m := detail(t, res, "INBOX")
			require.Equal(t, mailhaul.LevelOrder, m.Level, "%+v", m)
			require.Equal(t, bodies(r.source, "INBOX"), slices.DeleteFunc(bodies(r.target, "INBOX"), func(b string) bool { return b == mail("own", 0) }))
			if name == "a gap" {
				require.Equal(t, 5+want, m.SameUID)
			}
		})
	}
}

// A run that dies at any commit is gone on with: the same mail is there, once,
// and no more messages lose their UIDs than one for each delivery.
func TestDeathAmongDisplaced(t *testing.T) {
	for n := 0; ; n++ {
		done := false
		synctest.Test(t, func(t *testing.T) {
			r := newImposeRig(t, nil)
			mailsync.SetSession(&r.cfg, 4)
			r.cfg.BatchMessages = 2
			for i := range 4 {
				r.source.Add("INBOX", mail("dense", i))
			}
			r.source.Box("INBOX").Validity = 777
			r.run()
			r.target.Add("INBOX", mail("own", 0))
			for i := range 9 {
				r.source.Add("INBOX", mail("late", i))
			}
			store := r.store
			r.store = &dyingStore{Store: store, left: n}
			_, err := r.syncer().Run(context.Background())
			r.store = store
			done = err == nil
			res := r.run()
			require.Empty(t, res.Failed)
			got := bodies(r.target, "INBOX")
			require.Len(t, got, 14, "died at commit %d", n)
			slices.Sort(got)
			require.Len(t, slices.Compact(got), 14, "died at commit %d", n)
			require.Equal(t, 12, detail(t, res, "INBOX").SameUID, "died at commit %d", n)
			require.Zero(t, r.run().Copied)
		})
		if done {
			require.Greater(t, n, 5, "the laboratory saw too few commits")
			return
		}
	}
}

// A target that names one UID for messages of several batches is not believed.
func TestOneUIDForTwoMessagesIsNotBelieved(t *testing.T) {
	r := newImposeRig(t, nil)
	r.cfg.BatchMessages = 2
	r.holes("INBOX", 10)
	var named mailhaul.UID
	r.target.Hooks.Answered = func(_ string, truth []mailhaul.Outcome) []mailhaul.Outcome {
		if named == 0 {
			named = truth[1].UID
		} else {
			truth[1].UID = named
		}
		return truth
	}
	res := r.run()
	require.Empty(t, res.Failed)
	r.exact("INBOX")
	require.Equal(t, 10, detail(t, res, "INBOX").SameUID)
	require.Equal(t, mailhaul.LevelExact, detail(t, res, "INBOX").Level)
}

// A target without mod-sequences has none that programs could find lower; one
// that has them, and lower ones, is found out.
func TestTargetWithoutModSequences(t *testing.T) {
	r := newImposeRig(t, nil)
	r.cfg.Identity = mailhaul.LevelExact
	r.holes("INBOX", 10)
	r.source.Box("INBOX").ModSeq = 4711
	r.target.NoModSeq = true
	m := detail(t, r.run(), "INBOX")
	require.Equal(t, mailhaul.LevelExact, m.Level, "%+v", m)
	require.Equal(t, mailsync.NotApplicable, m.HighestModSeq)
	res := r.run()
	require.EqualValues(t, 1, res.RoundTrips)
	require.Equal(t, m.Level, detail(t, res, "INBOX").Level)
	require.Equal(t, mailsync.NotApplicable, detail(t, res, "INBOX").HighestModSeq, "what an earlier run has proved is not made more of")

	// An Imposer that can raise no mod-sequences, over a target that has some.
	r = newImposeRig(t, nil)
	r.holes("INBOX", 10)
	r.source.Box("INBOX").ModSeq = 4711
	r.run()
	r.target.Box("INBOX").ModSeq = 12
	p := r.prove(mailsync.ProveOptions{})
	require.Equal(t, mailhaul.LevelUID, p.Mailboxes[0].Level)
	require.Equal(t, mailsync.DoesNotHold, p.Mailboxes[0].HighestModSeq)
}

// A name is part of what programs know a mailbox by. Another one is not exact,
// and refused where exact is demanded; another prefix or separator is said.
func TestNamesArePartOfIdentity(t *testing.T) {
	rename := func(path []string) []string {
		if path[0] == "Work" {
			return []string{"Old work"}
		}
		return path
	}
	r := newImposeRig(t, nil)
	r.target.Naming = mailhaul.Naming{Prefix: "INBOX.", Delimiter: "."}
	r.holes("INBOX", 5)
	r.holes("Work", 5)
	r.holes("Lists/go", 5)
	r.cfg.Rename = rename
	r.cfg.Identity = mailhaul.LevelExact
	_, err := r.syncer().Run(context.Background())
	var refused *mailsync.IdentityError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, []mailsync.RefusedIdentity{{Mailbox: "Work", Level: mailhaul.LevelUID,
		Reason: `its name is "INBOX.Old work" on the target, so that programs take it for another mailbox`}}, refused.Mailboxes)
	require.Empty(t, r.target.Snapshot("Lists/go"))

	r.cfg.Identity = mailhaul.LevelUID
	for range 2 { // the second time there is nothing to do
		res := r.run()
		for name, want := range map[string]struct {
			finding mailsync.Finding
			level   mailhaul.Level
		}{
			"INBOX": {mailsync.Holds, mailhaul.LevelExact}, "Lists/go": {mailsync.HoldsByNamespace, mailhaul.LevelExact},
			"Work": {mailsync.DoesNotHold, mailhaul.LevelUID},
		} {
			m := detail(t, res, name)
			require.Equal(t, want.finding, m.Name, "%+v", m)
			require.Equal(t, want.level, m.Level, "%+v", m)
		}
		require.Contains(t, detail(t, res, "Work").Reason, "Old work")
		require.Equal(t, mailsync.Holds, detail(t, res, "Work").UIDValidity)
	}
	p := r.prove(mailsync.ProveOptions{Rename: rename})
	require.Equal(t, mailhaul.LevelUID, p.Level())
}

// A program finds what could not be moved gone: that is not exact.
func TestWhatIsMissingIsNotExact(t *testing.T) {
	r := newImposeRig(t, nil)
	r.holes("INBOX", 10)
	r.holes("Work", 3)
	refused := uids(r.source, "INBOX")[4]
	r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		a := memmail.Answer{Store: make([]bool, len(batch)), Outcomes: make([]mailhaul.Outcome, len(batch))}
		for i, o := range batch {
			if a.Store[i] = o.UID != refused; a.Store[i] {
				a.Outcomes[i] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: o.UID}
				continue
			}
			a.Outcomes[i] = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: &mailhaul.Error{
				Op: "append to", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Err: errors.New("too large")}}
		}
		return &a
	}
	res := r.run()
	require.Len(t, res.Failed, 1)
	m := detail(t, res, "INBOX")
	require.Equal(t, mailhaul.LevelUID, m.Level, "%+v", m)
	require.Contains(t, m.Reason, "1 messages of the source could not be moved")
	require.Equal(t, mailhaul.LevelExact, detail(t, res, "Work").Level)

	// Its user deletes it there: nothing is missing any more.
	r.source.Expunge("INBOX", refused)
	require.Equal(t, mailhaul.LevelExact, detail(t, r.run(), "INBOX").Level)
}
