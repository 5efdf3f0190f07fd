// Two sessions in one mailbox: what is told, and when.

package imapserver_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func fill(b *imapserver.Mailbox, n int) {
	for i := range n {
		b.Add(imapserver.Message{Body: fmt.Appendf(nil, "body %d", i+1)})
	}
}

func TestUpdatesWaitForTheirMoment(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	in := u.Mailbox("INBOX")
	fill(in, 5)
	a, b := login(t, s), login(t, s)
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")

	a.ok(`STORE 2,4 +FLAGS.SILENT (\Deleted)`)
	a.ok("EXPUNGE")
	in.Add(imapserver.Message{Body: []byte("new")})
	in.SetFlags(5, []mailhaul.Flag{`\Flagged`})

	// No EXPUNGE while b's commands speak of numbers; the numbers still hold,
	// and the new message is announced behind them.
	got := b.ok("FETCH 3:5 BODY.PEEK[]")
	assert.Equal(t, []string{
		"3 FETCH (BODY[] {6}\r\nbody 3)",
		"5 FETCH (BODY[] {6}\r\nbody 5)",
		"6 EXISTS", "1 RECENT",
		`5 FETCH (FLAGS (\Flagged))`,
	}, got)
	assert.Equal(t, []string{"SEARCH 1 3 5 6"}, b.ok("SEARCH ALL"))
	b.refused("FETCH 7 UID", "BAD")
	// Now they may go, each with the number that it has by then.
	assert.Equal(t, []string{"2 EXPUNGE", "3 EXPUNGE"}, b.ok("NOOP"))
	assert.Equal(t, []string{"1 FETCH (UID 1)", "2 FETCH (UID 3)", "3 FETCH (UID 5)", "4 FETCH (UID 6)"}, b.ok("FETCH 1:* UID"))
	// a was told by its own commands; "*" is the last message, whatever precedes.
	a.ok("NOOP")
	assert.Equal(t, []string{"4 FETCH (UID 6 RFC822.SIZE 3)"}, a.ok("UID FETCH 100:* RFC822.SIZE"))
}

func TestUpdatesUIDCommandsMayExpunge(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	fill(u.Mailbox("INBOX"), 3)
	x := login(t, s)
	x.ok("EXAMINE INBOX")
	u.Mailbox("INBOX").Expunge(1, 2)
	assert.Equal(t, []string{"3 FETCH (UID 3)", "1 EXPUNGE", "1 EXPUNGE"}, x.ok("UID FETCH 1:* UID"))
	x.refused(`STORE 1 +FLAGS (\Seen)`, "NO")
	x.refused("EXPUNGE", "NO")
	u.Mailbox("INBOX").Clear()
	x.ok("NOOP")
	assert.Empty(t, x.ok("FETCH 1:* UID"))
	assert.Empty(t, x.ok("UID FETCH 1:* UID"))
}

func TestUpdatesOwnAppend(t *testing.T) {
	s, _ := start(t, imapserver.Options{})
	x := login(t, s)
	x.ok("SELECT INBOX")
	assert.Equal(t, []string{"2 EXISTS", "2 RECENT"}, x.ok("APPEND INBOX {1+}\r\nx {1+}\r\ny"))
}

func TestUpdatesLateExists(t *testing.T) {
	s, _ := start(t, imapserver.Options{LateExists: true})
	x := login(t, s)
	x.ok("SELECT INBOX")
	assert.Empty(t, x.ok("APPEND INBOX {1+}\r\nx"))
	assert.Empty(t, x.ok("APPEND INBOX {1+}\r\ny"))
	assert.Equal(t, []string{"2 EXISTS", "2 RECENT"}, x.ok("NOOP"))
}

func TestRecentBelongsToOneSession(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	fill(u.Mailbox("INBOX"), 2)
	a, b := login(t, s), login(t, s)
	assert.Contains(t, a.ok("EXAMINE INBOX"), "2 RECENT")
	assert.Contains(t, a.ok("SELECT INBOX"), "2 RECENT")
	assert.Contains(t, b.ok("SELECT INBOX"), "0 RECENT")
	assert.Equal(t, []string{`1 FETCH (FLAGS (\Recent))`}, a.ok("FETCH 1 FLAGS"))
	assert.Equal(t, []string{`1 FETCH (FLAGS ())`}, b.ok("FETCH 1 FLAGS"))
	b.ok(`UID STORE 1 FLAGS.SILENT (\Seen)`)
	assert.Equal(t, []string{`1 FETCH (FLAGS (\Seen \Recent))`}, a.ok("NOOP"))
}

func TestDeletedMailboxSendsSessionsAway(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	u.Create("Gone")
	a := login(t, s)
	a.ok("SELECT Gone")
	require.True(t, u.Delete("Gone"))
	a.send("x NOOP\r\n")
	assert.True(t, strings.HasPrefix(a.line(), "* BYE "))
	a.closed()
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, u := start(t, imapserver.Options{})
		in := u.Mailbox("INBOX")
		x := login(t, s)
		x.ok("SELECT INBOX")
		x.send("i IDLE\r\n")
		assert.Equal(t, "+ idling", x.line())
		for i := range 3 {
			in.Add(imapserver.Message{Body: []byte("x")})
			assert.Equal(t, fmt.Sprint("* ", i+1, " EXISTS"), x.line())
			assert.Equal(t, fmt.Sprint("* ", i+1, " RECENT"), x.line())
		}
		in.Expunge(2)
		assert.Equal(t, "* 2 EXPUNGE", x.line())
		x.send("DONE\r\n")
		_, status := x.answer("i")
		assert.Equal(t, "OK Idle completed.", status)
		x.ok("NOOP")
		x.send("i IDLE\r\n")
		assert.Equal(t, "+ idling", x.line())
		require.NoError(t, s.Close())
	})
}

func TestPipelinedCommandsAreAnsweredTogether(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	x := login(t, s)
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "p%d APPEND INBOX {5+}\r\nhello\r\n", i)
	}
	go func() { _, _ = x.c.Write([]byte(b.String())) }()
	for i := range 1000 {
		_, status := x.answer(fmt.Sprint("p", i))
		require.Contains(t, status, fmt.Sprint(" ", i+1, "] Append completed."))
	}
	assert.Equal(t, 1000, u.Mailbox("INBOX").Len())
	assert.EqualValues(t, 1000, s.Stats().Commands["APPEND"])
	assert.EqualValues(t, 1000, s.Stats().Appended)
}
