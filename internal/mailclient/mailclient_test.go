package mailclient_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var login = mailclient.Login{User: "u1", Password: "pw1"}

// The accounts of these tests.
const (
	all   = 120 // messages
	inbox = 48  // of which are in the INBOX
)

// account is a server with an account that is the same each time, but for what
// change does to it.
func account(t testing.TB, uidls testserver.UIDLs, change func([]testserver.Planted)) *testserver.Server {
	srv := testserver.Dovecot(t, testserver.DovecotOptions{Extra: uidls.Format()})
	boxes := testserver.Sparse{Messages: all, UIDLs: uidls, MaxSize: 20_000}.Plant()
	if change != nil {
		change(boxes)
	}
	srv.Plant(srv.Users[0], boxes)
	return srv
}

// deliver puts one more message into the INBOX.
func deliver(t testing.TB, srv *testserver.Server) {
	m := corpus.NewMessage([]byte("Message-ID: <new@example.org>\r\nSubject: new\r\nFrom: a@example.org\r\n\r\nnew\r\n"), time.Now())
	require.NoError(t, corpus.Load(t.Context(), srv.Account(1).Server, []corpus.Mailbox{corpus.Of([]string{"INBOX"}, m)}))
}

// flag marks the first message of the INBOX.
func flag(t testing.TB, srv *testserver.Server) {
	c, err := wire.Open(t.Context(), srv.Account(1).Server)
	require.NoError(t, err)
	defer c.Close()
	for _, command := range []string{"SELECT INBOX", `STORE 1 +FLAGS (\Flagged \Answered)`, "LOGOUT"} {
		_, err := c.Command(command)
		require.NoError(t, err)
	}
}

func first(t testing.TB, c *mailclient.Client, messages int) {
	t.Helper()
	e := c.Run()
	require.Empty(t, e.First(messages), e.Output)
	e = c.Run()
	require.Empty(t, e.Noticed(), e.Output)
}

// TestMirrors: an IMAP program mirrors an account, sees nothing when another
// server with the same identities takes the name over, and sees what happens
// there then, once.
func TestMirrors(t *testing.T) {
	for _, p := range mailclient.IMAPPrograms() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			c := mailclient.New(t, p, login)
			a, b := account(t, testserver.UIDLsDovecot, nil), account(t, testserver.UIDLsDovecot, nil)
			c.PointAt(a.Addr(testserver.IMAP))
			first(t, c, all)
			c.PointAt(b.Addr(testserver.IMAP))
			e := c.Run()
			require.Empty(t, e.Noticed(), e.Output)
			deliver(t, b)
			flag(t, b)
			e = c.Run()
			require.Empty(t, e.Brought(1, 1), e.Output)
			require.Empty(t, c.Run().Noticed())
		})
	}
}

// TestMirrorsNotice: it does see a server that does not have them.
func TestMirrorsNotice(t *testing.T) {
	for _, p := range mailclient.IMAPPrograms() {
		for _, tt := range []struct {
			name   string
			change func(inbox *testserver.Planted)
		}{
			{"another UIDVALIDITY", func(b *testserver.Planted) { b.UIDValidity++ }},
			{"a lower UIDVALIDITY", func(b *testserver.Planted) { b.UIDValidity-- }},
			{"other UIDs", func(b *testserver.Planted) {
				for i := range b.Known {
					b.Known[i].UID = b.UIDNext + mailhaul.UID(i)
				}
				b.UIDNext += 1000
			}},
			{"one other UID", func(b *testserver.Planted) {
				b.Known[len(b.Known)-1].UID++
			}},
			{"one message less", func(b *testserver.Planted) {
				b.Len--
			}},
		} {
			t.Run(p.Name+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				c := mailclient.New(t, p, login)
				a := account(t, testserver.UIDLsDovecot, nil)
				b := account(t, testserver.UIDLsDovecot, func(boxes []testserver.Planted) { tt.change(&boxes[0]) })
				c.PointAt(a.Addr(testserver.IMAP))
				first(t, c, all)
				c.PointAt(b.Addr(testserver.IMAP))
				noticed := c.Run().Noticed()
				require.NotEmpty(t, noticed)
				t.Log(strings.Join(noticed, "; "))
			})
		}
	}
}

// TestFetchers is TestMirrors for POP3 programs and each kind of UIDLs.
func TestFetchers(t *testing.T) {
	for _, uidls := range testserver.AllUIDLs() {
		for _, p := range mailclient.POP3Programs() {
			t.Run(fmt.Sprintf("%s, %s", p.Name, uidls), func(t *testing.T) {
				t.Parallel()
				c := mailclient.New(t, p, login)
				a, b := account(t, uidls, nil), account(t, uidls, nil)
				c.PointAt(a.Addr(testserver.POP3))
				first(t, c, inbox)
				c.PointAt(b.Addr(testserver.POP3))
				e := c.Run()
				require.Empty(t, e.Noticed(), e.Output)
				deliver(t, b)
				e = c.Run()
				require.Empty(t, e.Brought(1, 0), e.Output)
				require.Empty(t, c.Run().Noticed())
			})
		}
	}
}

// TestFetchersNotice: they do see a server that has other UIDLs, or one.
func TestFetchersNotice(t *testing.T) {
	for _, p := range mailclient.POP3Programs() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			c := mailclient.New(t, p, login)
			a := account(t, testserver.UIDLsGmail, nil)
			one := account(t, testserver.UIDLsGmail, func(boxes []testserver.Planted) { boxes[0].Known[7].UIDL += "~" })
			other := account(t, testserver.UIDLsDovecot, nil)
			c.PointAt(a.Addr(testserver.POP3))
			first(t, c, inbox)
			c.PointAt(one.Addr(testserver.POP3))
			e := c.Run()
			require.Empty(t, e.Brought(1, 0), e.Output)
			c.PointAt(other.Addr(testserver.POP3))
			e = c.Run()
			require.Empty(t, e.Brought(inbox, 0), e.Output)
		})
	}
}
