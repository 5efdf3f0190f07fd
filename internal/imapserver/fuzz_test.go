// Whatever a client sends, the server answers or hangs up, and ends.

package imapserver_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/imapserver"
)

var sessionSeeds = []string{
	"a NOOP\r\n",
	"a LIST (SUBSCRIBED) \"\" (a b) RETURN (STATUS (MESSAGES))\r\n",
	"a SELECT INBOX\r\nb FETCH 1:* (UID FLAGS ENVELOPE INTERNALDATE BODY[HEADER.FIELDS (a b)]<1.2>)\r\n",
	"a SELECT INBOX (CONDSTORE)\r\nb UID STORE 1:* (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Seen kw)\r\nc EXPUNGE\r\n",
	"a SELECT INBOX\r\nb SEARCH RETURN (ALL) OR (NOT SEEN SINCE 1-Jan-2020) HEADER a {1+}\r\nb UID 1:*\r\n",
	"a APPEND INBOX (\\Seen) \"01-Jan-2020 00:00:00 +0000\" {3+}\r\nabc ~{3+}\r\nabc\r\n",
	"a IDLE\r\nDONE\r\nb COMPRESS DEFLATE\r\n",
	"a AUTHENTICATE PLAIN\r\n*\r\n a CREATE x (USE (\\Sent))\r\n",
	"a COPY 1,3:*,* \"x\"\r\nb RENAME INBOX y\r\nc DELETE y\r\nd STATUS INBOX (UNSEEN SIZE)\r\n",
}

func FuzzSession(f *testing.F) {
	require.NotEmpty(f, sessionSeeds)
	for _, s := range sessionSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		s := imapserver.New(imapserver.Options{PreAuth: "alice", MaxLiteral: 1 << 16})
		u := s.AddUser("alice", "secret")
		fill(u.Mailbox("INBOX"), 3)
		c, err := s.Dial(t.Context(), "tcp", "test:143")
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		go func() {
			_, _ = c.Write(input)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		_, _ = io.Copy(io.Discard, c)
		require.NoError(t, s.Close())
		_ = c.Close()
	})
}
