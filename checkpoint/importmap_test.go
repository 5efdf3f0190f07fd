package checkpoint_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

func TestImportMap(t *testing.T) {
	store := checkpoint.NewMemory()
	pair := checkpoint.Pair{From: mailhaul.Account{Protocol: mailhaul.IMAP, Host: "a", User: "u"}, To: mailhaul.Account{Protocol: mailhaul.IMAP, Host: "b", User: "u"}}
	open := func() *checkpoint.Ledger {
		l, err := checkpoint.OpenLedger(ctx, store, pair)
		require.NoError(t, err)
		return l
	}
	var text strings.Builder
	text.WriteString("mailhaul map 1\nsource uidvalidity 1 mailbox \"INBOX\"\ntarget uidvalidity 2 mailbox \"Inbox\"\n")
	for uid := mailhaul.UID(1); uid < 10_000; uid++ { // several commits
		text.WriteString(strings.Repeat("#", int(uid%3)) + "\n")
		text.WriteString(mailhaul.UIDSetOf(uid*2).String() + " " + mailhaul.UIDSetOf(uid).String() + "\n")
	}
	text.WriteString("source uidvalidity 3 mailbox \"Empty\"\ntarget uidvalidity 4 mailbox \"E\"\n")
	n, err := open().ImportMap(ctx, strings.NewReader(text.String()))
	require.NoError(t, err)
	require.Equal(t, 9999, n)
	l := open() // all of it is durable
	require.NoError(t, checkpoint.Check(ctx, store))
	m, err := l.Mailbox(ctx, "INBOX")
	require.NoError(t, err)
	require.Equal(t, checkpoint.MailboxState{Target: "Inbox", SourceValidity: 1, TargetValidity: 2, Explained: 1}, m.State())
	rec, ok, err := m.Get(ctx, 19_998)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, checkpoint.Record{Source: 19_998, Target: 9999, Adopted: true}, rec)
	p, ok, err := l.Where(ctx, "Empty", 1)
	require.NoError(t, err)
	require.False(t, ok)
	require.Zero(t, p)
	e, err := l.Mailbox(ctx, "Empty")
	require.NoError(t, err)
	require.Equal(t, "E", e.State().Target)

	for _, bad := range []string{
		"", "mailhaul map 1\nsource uidvalidity 3 mailbox \"Empty\"\ntarget uidvalidity 4 mailbox \"E\"\n1 1\n", // known already
		"mailhaul map 1\nsource uidvalidity 3 mailbox \"New\"\ntarget uidvalidity 4 mailbox \"\"\n1 1\n",
		"mailhaul map 1\nsource uidvalidity 3 mailbox \"New\"\ntarget uidvalidity 4 mailbox \"N\"\n1 1\n1 1\n",
	} {
		_, err := open().ImportMap(ctx, strings.NewReader(bad))
		require.Error(t, err, "%q", bad)
	}
	require.NoError(t, checkpoint.Check(ctx, store))

	// A map cannot make more of memory than it has itself.
	pair.From.Protocol = mailhaul.POP3
	_, err = open().ImportMap(ctx, strings.NewReader("mailhaul map 1\nsource uidvalidity 1 mailbox \"INBOX\"\ntarget uidvalidity 4 mailbox \"N\"\n4294967295 1 a\n"))
	require.ErrorContains(t, err, "too far")
}
