// NOTIFY: what is told of mailboxes that are not selected.

package imapserver_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, u := start(t, imapserver.Options{Caps: imapserver.With("NOTIFY"), UIDValidity: 7})
		u.Create("Work")
		x := login(t, s)
		x.refused("NOTIFY SET (personal (MessageNew AnnotationChange))", "NO [BADEVENT")
		x.refused("NOTIFY SET personal", "BAD")
		x.ok("NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))")
		x.send("i IDLE\r\n")
		assert.Equal(t, "+ idling", x.line())

		uid := u.Mailbox("Work").Add(imapserver.Message{Body: []byte("x")})
		assert.Equal(t, `* STATUS "Work" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 8)`, x.line())
		u.Mailbox("Work").SetFlags(uid, []mailhaul.Flag{mailhaul.FlagSeen})
		assert.Equal(t, `* STATUS "Work" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 8)`, x.line())
		u.Mailbox("INBOX").Add(imapserver.Message{Body: []byte("x")})
		assert.Equal(t, `* STATUS "INBOX" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 7)`, x.line())
		require.True(t, u.Rename("Work", "Play"))
		assert.Equal(t, `* LIST () "/" "Play" ("OLDNAME" ("Work"))`, x.line())
		u.Create("Neu&")
		assert.Equal(t, `* LIST () "/" "Neu&-"`, x.line())
		require.True(t, u.Delete("Play"))
		assert.Equal(t, `* LIST (\NonExistent) "/" "Play"`, x.line())
		x.send("DONE\r\n")
		_, status := x.answer("i")
		assert.Equal(t, "OK Idle completed.", status)

		x.ok("NOTIFY NONE")
		u.Mailbox("INBOX").Add(imapserver.Message{Body: []byte("x")})
		assert.Empty(t, x.ok("NOOP"))
	})
}
