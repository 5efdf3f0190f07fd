// The end of a move from POP3: what differs is accounted for by the UIDs that
// the checkpoint gave the messages, since POP3 has none.

package e2e

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func TestCutOverPOP3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := pop3server.New(pop3server.Options{})
		defer srv.Close()
		drop := srv.AddUser("u1", "pw1")
		b := testserver.InProcess(t, imapserver.Options{})
		from, err := pop3x.New(pop3x.Config{Server: mailhaul.Server{
			Protocol: mailhaul.POP3, Host: "127.2.0.1", User: "u1", Credentials: testserver.Password("pw1"),
			Security: mailhaul.Plaintext, Dial: srv.Dial,
		}})
		require.NoError(t, err)
		defer from.Close()
		to := client(t, b.Account(1).Server)
		defer to.Close()
		s, err := mailsync.New(mailsync.Config{Source: from, Target: to})
		require.NoError(t, err)
		for i := range 10 {
			drop.Add(fmt.Sprint("uidl", i), note("INBOX", i))
		}
		first, err := s.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, 10, first.Copied)

		// The old client takes two away from the source, the user two, others,
		// from the target, where one of the target's own arrives.
		drop.Change(func(m []*pop3server.Message) []*pop3server.Message { return m[2:] })
		in := b.User("u1").Mailbox("INBOX")
		in.Expunge(4, 5)
		in.Add(imapserver.Message{Body: note("own", 1)})
		time.Sleep(time.Minute)
		rep, err := s.CutOver(t.Context(), mailsync.CutOverOptions{Earlier: first})
		require.NoError(t, err)
		require.Equal(t, mailsync.VerdictComplete, rep.Verdict, "%+v", rep)
		require.Equal(t, []int{2, 2, 1, 0}, []int{rep.Total.RemovedByUser, rep.Total.Kept, rep.Total.Own, rep.Total.Unexplained})
	})
}
