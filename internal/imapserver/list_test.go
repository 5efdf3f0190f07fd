// Mailbox names and their listing.

package imapserver_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestListPlain(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	u.Create("a/b/c")
	u.Create("a/b")
	u.Create("Box", `\Noselect`)
	u.Create("Sent", `\Sent`)
	x := login(t, s)
	assert.Equal(t, []string{
		`LIST (\HasNoChildren) "/" "INBOX"`,
		`LIST (\Noselect \HasNoChildren) "/" "Box"`,
		`LIST (\Sent \HasNoChildren) "/" "Sent"`,
		`LIST (\Noselect \HasChildren) "/" "a"`,
		`LIST (\HasChildren) "/" "a/b"`,
		`LIST (\HasNoChildren) "/" "a/b/c"`,
	}, x.ok(`LIST "" *`))
	assert.Len(t, x.ok(`LIST "" %`), 4)
	assert.Equal(t, []string{`LIST (\HasChildren) "/" "a/b"`}, x.ok(`LIST a/ %`))
	assert.Equal(t, []string{`LIST (\HasNoChildren) "/" "INBOX"`}, x.ok(`LIST "" inbox`))
	assert.Equal(t, []string{`LIST (\Noselect) "/" ""`}, x.ok(`LIST "" ""`))
	x.refused("SELECT Box", "NO")
	x.refused("STATUS Box (MESSAGES)", "NO")
	x.refused("APPEND Box {1+}\r\nx", "NO")
	x.ok("CREATE Box")
	x.ok("SELECT Box")
}

func TestListExtended(t *testing.T) {
	s, u := start(t, imapserver.Options{UIDValidity: 5})
	u.Create("Sent", `\Sent`)
	u.Create("a/b")
	u.Subscribe("a/b")
	u.Subscribe("gone")
	x := login(t, s)
	assert.Equal(t, []string{
		`LIST (\Subscribed) "/" "a/b"`,
		`STATUS "a/b" (MESSAGES 0 UIDVALIDITY 7 UIDNEXT 1 HIGHESTMODSEQ 1 SIZE 0)`,
		`LIST (\NonExistent \Subscribed) "/" "gone"`,
	}, x.ok(`LIST (SUBSCRIBED) "" * RETURN (STATUS (MESSAGES UIDVALIDITY UIDNEXT HIGHESTMODSEQ SIZE))`))
	assert.Equal(t, []string{`LIST (\NonExistent) "/" "a" ("CHILDINFO" ("SUBSCRIBED"))`}, x.ok(`LIST (SUBSCRIBED RECURSIVEMATCH) "" a`))
	assert.Equal(t, []string{`LIST (\Sent) "/" "Sent"`}, x.ok(`LIST (SPECIAL-USE) "" *`))
	assert.Equal(t, []string{`LIST () "/" "INBOX"`, `LIST () "/" "Sent"`}, x.ok(`LIST "" (INBOX S%)`))
	assert.Equal(t, []string{`LSUB () "/" "a/b"`, `LSUB () "/" "gone"`}, x.ok(`LSUB "" *`))
	assert.Equal(t, []string{`LSUB (\Noselect) "/" "a"`, `LSUB () "/" "gone"`}, x.ok(`LSUB "" %`))
	x.refused(`LIST (RECURSIVEMATCH) "" *`, "BAD")
}

func TestPrefixedServer(t *testing.T) {
	s, u := start(t, imapserver.Options{Delimiter: ".", Prefix: "INBOX."})
	u.Create("INBOX.Sent", `\Sent`)
	x := login(t, s)
	assert.Equal(t, []string{`NAMESPACE (("INBOX." ".")) NIL NIL`}, x.ok("NAMESPACE"))
	assert.Equal(t, []string{`LIST (\HasChildren) "." "INBOX"`, `LIST (\Sent \HasNoChildren) "." "INBOX.Sent"`}, x.ok(`LIST "" *`))
	x.refused("CREATE Work", "NO [CANNOT]")
	x.ok("CREATE inbox.Work.2024.")
	assert.NotNil(t, u.Mailbox("INBOX.Work.2024"))
	x.refused("CREATE INBOX.Work.2024", "NO [ALREADYEXISTS]")
	x.refused("CREATE INBOX..x", "NO [CANNOT]")
}

func TestFlatServer(t *testing.T) {
	s, u := start(t, imapserver.Options{Delimiter: "NIL"})
	x := login(t, s)
	x.ok("CREATE a/b")
	assert.NotNil(t, u.Mailbox("a/b"))
	assert.Contains(t, x.ok(`LIST "" %`), `LIST (\HasNoChildren) NIL "a/b"`)
}

func TestOddNames(t *testing.T) {
	s, u := start(t, imapserver.Options{RefuseName: func(name string) error {
		if name == "NUL" {
			return errors.New("[CANNOT] Not that name.")
		}
		return nil
	}})
	u.CreateWire("A&B").Add(imapserver.Message{Body: []byte("x")})
	u.CreateWire("gr\xfcn")
	u.CreateWire("line\r\nbreak")
	x := login(t, s)
	assert.Equal(t, []string{
		`LIST (\HasNoChildren) "/" "INBOX"`,
		`LIST (\HasNoChildren) "/" "A&B"`,
		"LIST (\\HasNoChildren) \"/\" {4}\r\ngr\xfcn",
		"LIST (\\HasNoChildren) \"/\" {11}\r\nline\r\nbreak",
	}, x.ok(`LIST "" *`))
	assert.Contains(t, x.ok(`EXAMINE "A&B"`), "1 EXISTS")
	x.ok("SELECT {11+}\r\nline\r\nbreak")
	x.ok("SELECT {4+}\r\ngr\xfcn")
	for _, name := range []string{`"x&y"`, `"&AGE-"`, `"&AP"`, "{1+}\r\n\xfc", `"&2AA-"`} {
		x.refused("CREATE "+name, "NO [CANNOT]")
	}
	x.refused("CREATE NUL", "NO [CANNOT]")
	x.ok(`CREATE "&AOQ-&-&ZeVnLIqe-"`)
	assert.NotNil(t, u.Mailbox("ä&日本語"))
	assert.Equal(t, "&2D3eAA-", u.Create("😀").Wire())
	assert.Equal(t, "😀", u.Mailbox("😀").Name())
}

func TestRename(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	fill(u.Create("a/b"), 2)
	validity := u.Mailbox("a/b").Status().UIDValidity
	fill(u.Mailbox("INBOX"), 3)
	x := login(t, s)
	x.ok("RENAME a z")
	require.NotNil(t, u.Mailbox("z/b"))
	assert.Equal(t, validity, u.Mailbox("z/b").Status().UIDValidity)
	x.refused("RENAME z/b INBOX", "NO [ALREADYEXISTS]")
	x.refused("RENAME nothing y", "NO [NONEXISTENT]")
	used := u.Used()
	x.ok("RENAME INBOX old")
	assert.Equal(t, 3, u.Mailbox("old").Len())
	assert.Zero(t, u.Mailbox("INBOX").Len())
	assert.Equal(t, used, u.Used())

	// A mailbox of the same name is another mailbox.
	require.True(t, u.Delete("z/b"))
	assert.NotEqual(t, validity, u.Create("z/b").Status().UIDValidity)
}

func TestDirectIdentity(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	in := u.Mailbox("INBOX")
	in.SetUIDValidity(42)
	in.SetUIDNext(100)
	assert.EqualValues(t, 100, in.Add(imapserver.Message{}))
	assert.EqualValues(t, 200, in.Add(imapserver.Message{UID: 200}))
	assert.Panics(t, func() { in.Add(imapserver.Message{UID: 150}) })
	assert.Panics(t, func() { in.SetUIDNext(200) })
	x := login(t, s)
	got := x.ok("SELECT INBOX")
	assert.Contains(t, got, "OK [UIDVALIDITY 42] UIDs valid")
	assert.Contains(t, got, "OK [UIDNEXT 201] Predicted next UID")
	in.Expunge(200)
	in.SetUIDNext(101)
	assert.EqualValues(t, 101, in.Add(imapserver.Message{Body: []byte("again")}))
	x.ok("NOOP")
	assert.Equal(t, []string{"2 FETCH (UID 101 RFC822.SIZE 5)"}, x.ok("UID FETCH 101 RFC822.SIZE"))
	m, found := in.Message(101)
	assert.True(t, found)
	assert.Equal(t, mailhaul.UID(101), m.UID)
}
