package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/pop3server"
)

// popSource puts a POP3 account with n letters into the place of the rig's
// source.
func (r *rig) popSource(n int, opts pop3server.Options) *pop3server.Server {
	r.t.Helper()
	s := pop3server.New(opts)
	r.t.Cleanup(func() { require.NoError(r.t, s.Close()) })
	drop := s.AddUser("ada", fromPassword)
	for i := range n {
		drop.Add(fmt.Sprintf("id%d", i), []byte(letter("INBOX", i)))
	}
	addr, err := s.Listen()
	require.NoError(r.t, err)
	r.from = "pop3+plain://ada:" + fromPassword + "@" + addr
	return s
}

func TestFromPOP3(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	server := r.popSource(120, pop3server.Options{})
	r.run("-json", "-dry-run").want(exitComplete).counts(map[string]int{"messages": 120, "move": 120})
	r.run("-json", "-pop3-seen").want(exitComplete).counts(map[string]int{"messages": 120, "copied": 120})
	there := r.target.User("ada").Mailbox("INBOX").Messages()
	require.Len(t, there, 120)
	for i, m := range there {
		require.Equal(t, letter("INBOX", i), string(m.Body))
		require.Len(t, m.Flags, 1)
		require.EqualValues(t, 2016, m.Date.Year())
	}
	server.ForgetCommands()
	for range 20 {
		m := r.run("-json", "-pop3-seen").want(exitComplete).counts(map[string]int{"copied": 0, "skipped": 120})
		require.LessOrEqual(t, m["round_trips"].(float64), 8.0)
	}
	require.Zero(t, server.Commands("RETR")+server.Commands("TOP"))

	r.from = r.from[:len("pop3+plain://ada:")] + "wrong" + r.from[len("pop3+plain://ada:")+len(fromPassword):]
	r.run().want(exitAuth).says("log in")
}

func TestFromPOP3ThatDeletes(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	r.popSource(3, pop3server.Options{Expire: "0"})
	r.run().want(exitStopped).says("EXPIRE 0", "-pop3-allow-expire-0")
	r.run("-json", "-pop3-allow-expire-0").want(exitComplete).counts(map[string]int{"copied": 3})
}

// TestPOP3Delete: what was moved is gone from the source, and counted; what was
// not is still there, and said.
func TestPOP3Delete(t *testing.T) {
	r := newRig(t, imapserver.Options{}, imapserver.Options{})
	server := r.popSource(40, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if line == "RETR 7" || strings.HasPrefix(line, "TOP 7 ") {
			return &pop3server.Override{Reply: "-ERR there is something wrong with this one"}
		}
		return nil
	}}})
	r.run("-json").want(exitIncomplete)
	require.Zero(t, server.Commands("DELE"), "only where it is asked for")
	require.Len(t, server.User("ada").Messages(), 40)

	out := r.run("-json", "-pop3-delete").want(exitIncomplete)
	m := out.counts(map[string]int{"messages": 40, "removed_from_source": 39})
	require.Contains(t, fmt.Sprint(m["warnings"]), "1 message stayed on the source: not moved")
	left := server.User("ada").Messages()
	require.Len(t, left, 1)
	require.Equal(t, "id6", left[0].UIDL)
	require.Len(t, r.target.User("ada").Mailbox("INBOX").Messages(), 39)

	server.User("ada").Add("later", []byte(letter("INBOX", 100)))
	// The one that could not be read has another number now, and can be.
	text := r.run("-pop3-delete", "-deletes", "remove", "-confirm-deletes", "*").want(exitComplete)
	require.Regexp(t, `deleted at source +2 `, text.stdout)
	require.Empty(t, server.User("ada").Messages())
	require.Len(t, r.target.User("ada").Mailbox("INBOX").Messages(), 41)

	r.run("-pop3-delete", "-dry-run").want(exitUsage)
	r.from = "imaps://ada:x@old.example.org"
	r.run("-pop3-delete").want(exitUsage).says("-pop3-delete is for mail that comes over POP3")
}
