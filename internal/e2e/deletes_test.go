package e2e

// Deletions, flags and renamed folders between passes, on real servers.

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func TestDeletesOnServers(t *testing.T) {
	dovecot := func(t *testing.T) testserver.Account {
		return testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	}
	cyrus := func(t *testing.T) testserver.Account { return testserver.Cyrus(t, testserver.Options{}).Account(1) }
	courier := func(t *testing.T) testserver.Account { return testserver.Courier(t, testserver.Options{}).Account(1) }
	for _, tt := range []struct {
		name     string
		from, to func(*testing.T) testserver.Account
	}{
		{"Dovecot to Dovecot", dovecot, dovecot},
		{"Courier to Dovecot", courier, dovecot},
		{"Dovecot to Courier", dovecot, courier},
		{"Dovecot to Cyrus", dovecot, cyrus},
		{"Cyrus to Dovecot", cyrus, dovecot},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			from, to := tt.from(t), tt.to(t)
			r := newRig(t, from, to)
			r.cfg.Deletes = mailsync.DeletesRemove
			source, target := newUser(t, from), newUser(t, to)
			inbox := mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"}
			for i := range 8 {
				source.put(inbox, note("INBOX", i))
			}
			require.Equal(t, 8, r.mustRun().Copied)

			// The source's user deletes three, of which one is starred on the
			// target; the target's user deletes another.
			target.flag(inbox, 2, mailhaul.FlagFlagged)
			target.expunge(inbox, 7)
			source.expunge(inbox, 1, 2, 3)
			source.flag(inbox, 5, mailhaul.FlagAnswered)
			res := r.mustRun()
			t.Logf("%d round trips", res.RoundTrips)
			require.True(t, res.Complete(), "%v", res.Failed)
			require.Equal(t, 2, res.Deleted, "%v", res.Warnings)
			require.Equal(t, 1, res.RemovedOnTarget)
			require.Equal(t, 1, res.FlagsUpdated)
			messages, starred := target.see(inbox, mailhaul.FlagFlagged)
			require.Equal(t, []int{5, 1}, []int{messages, starred}, "8, less two and one")
			_, answered := target.see(inbox, mailhaul.FlagAnswered)
			require.Equal(t, 1, answered)
			_, deleted := target.see(inbox, mailhaul.FlagDeleted)
			require.Zero(t, deleted)
			require.False(t, r.mustRun().Changed())
		})
	}
}

// expunge lets the user delete messages.
func (u *user) expunge(m mailhaul.Mailbox, uids ...mailhaul.UID) {
	u.t.Helper()
	w, err := u.c.OpenWriter(u.t.Context(), m)
	require.NoError(u.t, err)
	defer w.Close()
	var changes []mailhaul.FlagChange
	for _, uid := range uids {
		changes = append(changes, mailhaul.FlagChange{UID: uid, Add: []mailhaul.Flag{mailhaul.FlagDeleted}})
	}
	require.NoError(u.t, w.Store(u.t.Context(), changes))
	require.NoError(u.t, w.(mailhaul.Expunger).UIDExpunge(u.t.Context(), mailhaul.UIDSetOf(uids...)))
}

// A folder is renamed on either side, by a real server.
func TestRenamedFoldersOnDovecot(t *testing.T) {
	from := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	to := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	r := newRig(t, from, to)
	source, target := newUser(t, from), newUser(t, to)
	work, err := source.c.Create(t.Context(), []string{"Work"}, "")
	require.NoError(t, err)
	for i := range 5 {
		source.put(work, note("Work", i))
	}
	require.Equal(t, 5, r.mustRun().Copied)
	for i, u := range []*user{source, target} {
		u.rename("Work", []string{"Job", "Arbeit"}[i])
		if i == 0 {
			res := r.mustRun()
			require.Zero(t, res.Copied, "%v", res.Warnings)
		}
	}
	job := mailhaul.Mailbox{Path: []string{"Job"}, Name: "Job", Wire: "Job"}
	source.put(job, note("Work", 5))
	res := r.mustRun()
	require.Equal(t, 1, res.Copied, "%v", res.Warnings)
	arbeit := mailhaul.Mailbox{Path: []string{"Arbeit"}, Name: "Arbeit", Wire: "Arbeit"}
	n, _ := target.see(arbeit, mailhaul.FlagSeen)
	require.Equal(t, 6, n)
	require.False(t, r.mustRun().Changed())
}

// rename lets the user rename a folder.
func (u *user) rename(from, to string) {
	u.t.Helper()
	raw, err := u.c.OpenRaw(u.t.Context())
	require.NoError(u.t, err)
	defer raw.Close()
	answer, err := raw.Send(u.t.Context(), strings.NewReader("RENAME "+from+" "+to))
	require.NoError(u.t, err)
	_, err = answer(u.t.Context())
	require.NoError(u.t, err)
}
