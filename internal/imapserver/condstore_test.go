// CONDSTORE (RFC 7162).

package imapserver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestCondstore(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	in := u.Mailbox("INBOX")
	fill(in, 3) // MODSEQ 2, 3, 4
	x, y := login(t, s), login(t, s)
	assert.Contains(t, x.ok("SELECT INBOX (CONDSTORE)"), "OK [HIGHESTMODSEQ 4] Highest")
	assert.Equal(t, []string{"STATUS \"INBOX\" (HIGHESTMODSEQ 4)"}, y.ok("STATUS INBOX (HIGHESTMODSEQ)"))
	y.ok("SELECT INBOX")
	assert.Equal(t, []string{"3 FETCH (UID 3 FLAGS (\\Recent) MODSEQ (4))"}, x.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 3)"))

	y.ok(`STORE 2 +FLAGS.SILENT (\Seen)`)
	assert.Equal(t, []string{"2 FETCH (UID 2 FLAGS (\\Seen \\Recent) MODSEQ (5))"}, x.ok("NOOP"))
	got, status := x.do(`UID STORE 1:3 (UNCHANGEDSINCE 4) +FLAGS.SILENT (\Flagged)`)
	assert.Equal(t, "OK [MODIFIED 2] Conditional STORE failed.", status)
	assert.Equal(t, []string{"1 FETCH (UID 1 MODSEQ (6))", "3 FETCH (UID 3 MODSEQ (6))"}, got)
	assert.Equal(t, []mailhaul.Flag{`\Seen`}, in.Messages()[1].Flags)
	assert.Equal(t, []string{"SEARCH 1 3 (MODSEQ 6)"}, x.ok("SEARCH MODSEQ 6"))

	// What changes nothing counts for nothing; an expunge counts.
	x.ok(`STORE 1 +FLAGS.SILENT (\Flagged)`)
	assert.EqualValues(t, 6, in.Status().HighestModSeq)
	in.Expunge(1)
	assert.EqualValues(t, 7, in.Status().HighestModSeq)
	assert.Equal(t, "ENABLED CONDSTORE", y.ok("ENABLE CONDSTORE QRESYNC")[0])
}

func TestSwitchedOffCapabilities(t *testing.T) {
	tests := map[string][]string{ // capability: commands that need it
		"CONDSTORE":          {"SELECT INBOX (CONDSTORE)", "STATUS INBOX (HIGHESTMODSEQ)", "UID FETCH 1 (MODSEQ)", "UID FETCH 1 FLAGS (CHANGEDSINCE 1)", "STORE 1 (UNCHANGEDSINCE 1) FLAGS ()", "SEARCH MODSEQ 1"},
		"ENABLE":             {"ENABLE CONDSTORE"},
		"ESEARCH":            {"SEARCH RETURN (COUNT) ALL"},
		"ID":                 {"ID NIL"},
		"IDLE":               {"IDLE"},
		"NAMESPACE":          {"NAMESPACE"},
		"QUOTA":              {"GETQUOTAROOT INBOX"},
		"UIDPLUS":            {"UID EXPUNGE 1"},
		"CREATE-SPECIAL-USE": {`CREATE x (USE (\Sent))`},
		"LIST-EXTENDED":      {`LIST "" * RETURN (SUBSCRIBED)`, `LIST (SUBSCRIBED) "" *`, `LIST "" (a b)`},
		"LIST-STATUS":        {`LIST "" * RETURN (STATUS (MESSAGES))`},
		"SPECIAL-USE":        {`LIST "" * RETURN (SPECIAL-USE)`, `LIST (SPECIAL-USE) "" *`},
		"STATUS=SIZE":        {"STATUS INBOX (SIZE)"},
		"COMPRESS=DEFLATE":   {"COMPRESS DEFLATE"},
		"UNSELECT":           {"UNSELECT"},
	}
	for capability, commands := range tests {
		t.Run(capability, func(t *testing.T) {
			s, u := start(t, imapserver.Options{Caps: imapserver.Without(capability)})
			fill(u.Mailbox("INBOX"), 1)
			x := login(t, s)
			assert.NotContains(t, x.ok("CAPABILITY")[0]+" ", " "+capability+" ")
			x.ok("SELECT INBOX")
			for _, c := range commands {
				x.refused(c, "BAD")
			}
			if capability == "CONDSTORE" {
				assert.NotContains(t, x.ok("SELECT INBOX"), "HIGHESTMODSEQ")
			}
		})
	}
}
