package main

import (
	"fmt"
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
	// Round trips are counted as they happen: on a busy machine an answer may be
	// there before the next command of a flight is, which then counts by itself.
	// What the pass needs is the least of a few.
	least := 1e9
	for range 3 {
		m := r.run("-json", "-pop3-seen").want(exitComplete).counts(map[string]int{"copied": 0, "skipped": 120})
		least = min(least, m["round_trips"].(float64))
	}
	require.LessOrEqual(t, least, 8.0)
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
