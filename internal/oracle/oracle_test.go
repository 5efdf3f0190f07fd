// The oracle on real servers: equal accounts are equal, and each way to break
// one is seen.

package oracle_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

func snapshot(t testing.TB, srv mailhaul.Server) *oracle.Account {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	a, err := oracle.Snapshot(ctx, srv)
	require.NoError(t, err)
	return a
}

func load(t testing.TB, srv mailhaul.Server, boxes []corpus.Mailbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, corpus.Load(ctx, srv, boxes))
}

func TestTwoDovecotsHoldTheSame(t *testing.T) {
	t.Parallel()
	boxes := corpus.Default(5000)
	maildir := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	sdbox := testserver.Dovecot(t, testserver.DovecotOptions{Store: "sdbox", Separator: ".", Prefix: "INBOX."}).Account(1)
	for _, a := range []testserver.Account{maildir, sdbox} {
		begin := time.Now()
		load(t, a.Server, boxes)
		t.Logf("loaded in %v", time.Since(begin))
	}
	begin := time.Now()
	src := snapshot(t, maildir.Server)
	t.Logf("read in %v", time.Since(begin))
	dst := snapshot(t, sdbox.Server)
	require.Equal(t, 5000, src.Count())
	require.Equal(t, 5000, dst.Count())
	require.Empty(t, oracle.Compare(src, dst, oracle.CompareOptions{}))
	require.NotNil(t, src.Find("Büro & Kunden"))
	require.Len(t, src.Find("INBOX").Messages, 2000)
	require.True(t, src.Find("Lists", "golang").Subscribed)
	require.False(t, src.Find("Archive", "2020").Subscribed)

	// What arrived is what was generated, octet for octet.
	for _, box := range boxes {
		got := src.Find(box.Path...)
		require.Len(t, got.Messages, box.Len, box.Name())
		for i, m := range box.All() {
			require.Equal(t, int64(len(m.Body())), got.Messages[i].Size)
			require.True(t, m.Date.Equal(got.Messages[i].Date))
		}
	}
}

// TestOddMessagesLoad: Dovecot takes all of the odd messages but the empty one.
func TestOddMessagesLoad(t *testing.T) {
	t.Parallel()
	srv := testserver.Dovecot(t, testserver.DovecotOptions{Store: "mdbox"}).Account(1).Server
	messages := append(corpus.Odd(), corpus.Large(3<<20))
	var refused []string
	loader := corpus.Loader{Refused: func(box corpus.Mailbox, i int, answer string) {
		refused = append(refused, box.At(i).Name+": "+answer)
	}}
	require.NoError(t, loader.Load(t.Context(), srv, []corpus.Mailbox{corpus.Of([]string{"Odd"}, messages...)}))
	require.Len(t, refused, 1)
	require.Contains(t, refused[0], "0 bytes: NO ")
	require.Len(t, snapshot(t, srv).Find("Odd").Messages, len(messages)-1)
}

// admin talks to the target account.
type admin struct {
	*testing.T
	c *wire.Conn
}

func (a admin) do(format string, args ...any) [][]byte {
	a.Helper()
	lines, err := a.c.Command(fmt.Sprintf(format, args...))
	require.NoError(a.T, err)
	return lines
}

// put stores a message of the corpus again, changed.
func (a admin) put(mailbox string, m corpus.Message, change func(*corpus.Message, *[]byte)) {
	a.Helper()
	body := append([]byte(nil), m.Body()...)
	change(&m, &body)
	var flags []string
	for _, f := range m.Flags {
		flags = append(flags, string(f))
	}
	a.do("APPEND %s (%s) \"%s\" {%d+}\r\n%s", mailbox, strings.Join(flags, " "), m.Date.Format("_2-Jan-2006 15:04:05 -0700"), len(body), body)
}

func (a admin) remove(mailbox string, seq int) {
	a.Helper()
	a.do("SELECT %s", mailbox)
	a.do(`STORE %d +FLAGS.SILENT (\Deleted)`, seq)
	a.do(`UID SEARCH ALL`)
	lines := a.do("FETCH %d (UID)", seq)
	var n, uid int
	_, err := fmt.Sscanf(string(lines[len(lines)-1]), "* %d FETCH (UID %d)", &n, &uid)
	require.NoError(a.T, err, "%q", lines)
	a.do("UID EXPUNGE %d", uid)
	a.do("CLOSE")
}

func TestEachBreakIsSeen(t *testing.T) {
	t.Parallel()
	boxes := corpus.Generate(corpus.Spec{Messages: 40, Folders: []corpus.Folder{
		{Path: []string{"INBOX"}, Role: mailhaul.RoleInbox, Subscribed: true, Weight: 9},
		{Path: []string{"A", "B"}, Subscribed: true, Weight: 1},
		{Path: []string{"Empty"}},
	}})
	inbox := boxes[0]
	last := inbox.Len - 1
	same := func(*corpus.Message, *[]byte) {}

	breaks := []struct {
		name string
		do   func(a admin)
		want []string
	}{
		{"nothing", func(a admin) {}, nil},
		{"flag", func(a admin) {
			a.do("SELECT INBOX")
			a.do(`STORE 5 +FLAGS.SILENT (Odd-Keyword)`)
		}, []string{"folder INBOX: flags differ: message UID 5 has"}},
		{"keyword's case alone", func(a admin) {
			a.do("SELECT INBOX")
			a.do(`STORE 1:* -FLAGS.SILENT (NonJunk)`)
			for i, m := range inbox.All() {
				if mailhaul.HasFlag(m.Flags, "NonJunk") {
					a.do(`STORE %d +FLAGS.SILENT (NONJUNK)`, i+1)
				}
			}
		}, nil},
		{"byte", func(a admin) {
			a.remove("INBOX", last+1)
			a.put("INBOX", inbox.At(last), func(_ *corpus.Message, body *[]byte) { (*body)[len(*body)-3] ^= 1 })
		}, []string{"folder INBOX: bytes differ: message UID 36"}},
		{"date", func(a admin) {
			a.remove("INBOX", last+1)
			a.put("INBOX", inbox.At(last), func(m *corpus.Message, _ *[]byte) { m.Date = m.Date.Add(time.Second) })
		}, []string{"folder INBOX: date differs: message UID 36"}},
		{"date's zone alone", func(a admin) {
			a.remove("INBOX", last+1)
			a.put("INBOX", inbox.At(last), func(m *corpus.Message, _ *[]byte) { m.Date = m.Date.UTC() })
		}, nil},
		{"duplicate", func(a admin) {
			a.put("INBOX", inbox.At(3), same)
		}, []string{"folder INBOX: duplicated: message UID 4"}},
		{"one twin missing", func(a admin) { a.remove("INBOX", 18) }, []string{"folder INBOX: missing: message UID 18"}},
		{"missing", func(a admin) { a.remove("INBOX", 3) }, []string{"folder INBOX: missing: message UID 3"}},
		{"extra", func(a admin) {
			a.put("INBOX", inbox.At(3), func(m *corpus.Message, body *[]byte) {
				*body = append(*body, "x\r\n"...)
				m.Date = m.Date.Add(time.Hour)
			})
		}, []string{"folder INBOX: extra: target message UID 37"}},
		{"order", func(a admin) {
			a.remove("INBOX", 3)
			a.put("INBOX", inbox.At(2), same)
		}, []string{"folder INBOX: order differs at 1 places: messages UID 3, 4 have become UID 37, 4"}},
		{"folder missing", func(a admin) {
			a.do("DELETE A/B")
			a.do("UNSUBSCRIBE A/B")
		}, []string{"folder A/B: missing on the target, with 4 messages"}},
		{"empty folder missing", func(a admin) { a.do("DELETE Empty") }, []string{"folder Empty: missing on the target, with 0 messages"}},
		{"extra folder", func(a admin) { a.do("CREATE New") }, []string{"folder New: only on the target, with 0 messages"}},
		{"renamed folder", func(a admin) { a.do("RENAME Empty Full") },
			[]string{"folder Empty: missing", "folder Full: only on the target"}},
		{"subscription", func(a admin) { a.do("UNSUBSCRIBE A/B") }, []string{"folder A/B: subscribed is true, on the target false"}},
	}

	const users = 20
	source := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	target := testserver.Dovecot(t, testserver.DovecotOptions{Store: "sdbox", Options: testserver.Options{Users: users}})
	require.LessOrEqual(t, len(breaks), users)
	load(t, source.Server, boxes)
	src := snapshot(t, source.Server)
	for i, tt := range breaks {
		t.Run(tt.name, func(t *testing.T) {
			account := target.Account(i + 1).Server
			load(t, account, boxes)
			c, err := wire.Open(t.Context(), account)
			require.NoError(t, err)
			defer c.Close()
			tt.do(admin{t, c})
			got := oracle.Compare(src, snapshot(t, account), oracle.CompareOptions{})
			require.Len(t, got, len(tt.want), "%q", got)
			for k := range got {
				require.Contains(t, got[k], tt.want[k])
			}
		})
	}
}

// TestWaysIn reads one account by every way that the oracle knows.
func TestWaysIn(t *testing.T) {
	t.Parallel()
	srv := testserver.Dovecot(t, testserver.DovecotOptions{
		MasterUser: "master", MasterPassword: "mpw", SpecialUse: true,
		// Announced are neither LIST-EXTENDED nor SPECIAL-USE.
		Extra: []string{"protocol imap {\n imap_capability = IMAP4rev1 LITERAL+ NAMESPACE UIDPLUS MULTIAPPEND\n}"},
	})
	modern := testserver.Dovecot(t, testserver.DovecotOptions{SpecialUse: true})
	boxes := corpus.Default(50)
	implicit := srv.Account(1).Server
	load(t, implicit, boxes)
	load(t, modern.Account(1).Server, boxes)
	want := snapshot(t, implicit)
	require.Equal(t, 50, want.Count())
	require.True(t, want.Find("Lists", "golang").Subscribed)
	require.False(t, want.Find("Archive", "2020").Subscribed)
	extended := snapshot(t, modern.Account(1).Server)
	require.Equal(t, mailhaul.RoleTrash, extended.Find("Trash").Role)
	require.Empty(t, oracle.Compare(want, extended, oracle.CompareOptions{IgnoreRoles: true}))

	startTLS := srv.Reach(srv.Users[0], testserver.IMAP)
	plain := startTLS
	plain.Security = mailhaul.Plaintext
	pinned := implicit
	pinned.TLS = mailhaul.TLS{Pins: [][32]byte{srv.Certificate().Pin}}
	master := implicit
	master.AuthzID, master.User, master.Credentials = "u1", "master", testserver.Password("mpw")
	for name, way := range map[string]mailhaul.Server{"STARTTLS": startTLS, "plain": plain, "pinned": pinned, "master": master} {
		require.Empty(t, oracle.Compare(want, snapshot(t, way), oracle.CompareOptions{SameUIDs: true}), name)
	}

	wrong := implicit
	wrong.Credentials = testserver.Password("wrong")
	unknown := implicit
	unknown.TLS = mailhaul.TLS{}
	pinned.TLS.Pins = [][32]byte{{1}}
	for name, way := range map[string]mailhaul.Server{"password": wrong, "roots": unknown, "pin": pinned} {
		_, err := oracle.Snapshot(t.Context(), way)
		require.Error(t, err, name)
	}
}
