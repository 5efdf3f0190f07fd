package checkpoint_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

func TestWhereAndExport(t *testing.T) {
	store := checkpoint.NewMemory()
	pair := checkpoint.Pair{From: mailhaul.Account{Protocol: mailhaul.POP3, Host: "a", User: "u"}, To: mailhaul.Account{Protocol: mailhaul.IMAP, Host: "b", User: "u"}}
	l, err := checkpoint.OpenLedger(ctx, store, pair)
	require.NoError(t, err)
	work, err := l.Mailbox(ctx, "Work")
	require.NoError(t, err)
	work.SetState(checkpoint.MailboxState{Target: "INBOX.Work", SourceValidity: 11, TargetValidity: 12})
	for uid := mailhaul.UID(1); uid <= 3000; uid++ { // several chunks
		rec := checkpoint.Record{Source: 3 * uid, Target: 3*uid + 1}
		switch uid {
		case 5:
			rec.State = checkpoint.Removed
		case 6:
			rec.State = checkpoint.Unread
		case 7:
			rec.State, rec.Target = checkpoint.Elsewhere, 0
		}
		require.NoError(t, work.Put(ctx, rec))
	}
	drop, err := l.Mailbox(ctx, "INBOX")
	require.NoError(t, err)
	drop.SetState(checkpoint.MailboxState{Target: "INBOX", SourceValidity: 1, TargetValidity: 42})
	_, err = drop.AssignUIDs(ctx, []checkpoint.AssignedUIDL{{UIDL: "GmailId1"}, {UIDL: " digest"}, {UIDL: "twice"}, {UIDL: "twice"}, {UIDL: "t\x00key"}})
	require.NoError(t, err)
	for uid := mailhaul.UID(1); uid <= 5; uid++ {
		require.NoError(t, drop.Put(ctx, checkpoint.Record{Source: uid, Target: 100 + uid}))
	}
	require.NoError(t, drop.Commit(ctx))
	require.NoError(t, work.Commit(ctx))
	untouched, err := l.Mailbox(ctx, "Untouched")
	require.NoError(t, err)
	require.NotNil(t, untouched)

	l, err = checkpoint.OpenLedger(ctx, store, pair) // another process
	require.NoError(t, err)
	p, ok, err := l.Where(ctx, "Work", 12)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, checkpoint.Place{Mailbox: "Work", UIDValidity: 11, UID: 12, TargetMailbox: "INBOX.Work", TargetUIDValidity: 12, TargetUID: 13}, p)
	p, ok, err = l.Where(ctx, "Work", 15)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, checkpoint.Place{Mailbox: "Work", UIDValidity: 11, UID: 15, State: checkpoint.Removed}, p)
	for _, unknown := range []mailhaul.UID{0, 1, 90001} {
		_, ok, err = l.Where(ctx, "Work", unknown)
		require.NoError(t, err)
		require.False(t, ok)
	}
	_, ok, err = l.Where(ctx, "Nobody's", 1)
	require.NoError(t, err)
	require.False(t, ok)
	names, err := l.Mailboxes(ctx)
	require.NoError(t, err)
	require.NotContains(t, names, "Nobody's", "to ask is not to make")

	places, err := l.WhereUIDL(ctx, "INBOX", "GmailId1")
	require.NoError(t, err)
	require.Len(t, places, 1)
	require.EqualValues(t, 101, places[0].TargetUID)
	require.EqualValues(t, "GmailId1", places[0].UIDL)
	places, err = l.WhereUIDL(ctx, "INBOX", "twice")
	require.NoError(t, err)
	require.Len(t, places, 2)
	for _, none := range []mailhaul.UIDL{" digest", "", "t\x00key", "other"} {
		places, err = l.WhereUIDL(ctx, "INBOX", none)
		require.NoError(t, err)
		require.Empty(t, places)
	}

	var b strings.Builder
	require.NoError(t, l.ExportMap(ctx, &b, func(mailbox string, uid mailhaul.UID) mailhaul.UIDL {
		if mailbox == "Work" && uid == 3 {
			return "known"
		}
		return ""
	}))
	require.True(t, strings.HasPrefix(b.String(), "mailhaul map 1\nsource uidvalidity 1 mailbox \"INBOX\"\ntarget uidvalidity 42 mailbox \"INBOX\"\n1 101 GmailId1\n2 102\n3 103 twice\n4 104 twice\n5 105\n"+
		"source uidvalidity 11 mailbox \"Work\"\ntarget uidvalidity 12 mailbox \"INBOX.Work\"\n3 4 known\n6 7\n"), b.String()[:300])
	n := 0
	for line, err := range uidmap.ReadMap(strings.NewReader(b.String())) {
		require.NoError(t, err)
		n++
		require.NotContains(t, []mailhaul.UID{15, 21}, line.Message.Source)
		if line.Mailbox.Source == "Work" {
			require.Equal(t, line.Message.Source+1, line.Message.Target)
		}
	}
	require.Equal(t, 5+3000-2, n)
	require.Error(t, l.ExportMap(ctx, full{}, nil))
	require.Error(t, l.ExportMap(ctx, &b, func(string, mailhaul.UID) mailhaul.UIDL { return "no UIDL" }))
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

// TestExportOfAnIMAPSource: its UIDs are its own, and nothing was assigned to
// them.
func TestExportOfAnIMAPSource(t *testing.T) {
	store := checkpoint.NewMemory()
	pair := checkpoint.Pair{From: mailhaul.Account{Protocol: mailhaul.IMAP, Host: "a", User: "u"}, To: mailhaul.Account{Protocol: mailhaul.IMAP, Host: "b", User: "u"}}
	l, err := checkpoint.OpenLedger(ctx, store, pair)
	require.NoError(t, err)
	m, err := l.Mailbox(ctx, "INBOX")
	require.NoError(t, err)
	m.SetState(checkpoint.MailboxState{Target: "INBOX", SourceValidity: 1, TargetValidity: 1, SourceStatus: mailhaul.Status{UIDValidity: 1, UIDNext: 18}})
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 17, Target: 17}))
	require.NoError(t, m.Commit(ctx))
	l, err = checkpoint.OpenLedger(ctx, store, pair)
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, l.ExportMap(ctx, &b, nil))
	require.Contains(t, b.String(), "\n17 17\n")
	p, ok, err := l.Where(ctx, "INBOX", 17)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 17, p.TargetUID)
}
