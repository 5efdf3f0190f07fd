// The rig of the tests: a tree below a server, or below none.

package maildir

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// TestMain lets more tests run side by side than there are processors: most of
// them wait for Courier's log-ins, and for Dovecot to let go of mailboxes.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

var both = []Flavor{Dovecot, Courier}

// serve starts the server of a flavor.
func serve(t testing.TB, flavor Flavor) *testserver.Server {
	t.Helper()
	if flavor == Courier {
		return testserver.Courier(t, testserver.Options{Users: 1})
	}
	s := testserver.Dovecot(t, testserver.DovecotOptions{Options: testserver.Options{Users: 1}})
	t.Cleanup(func() { require.NotRegexp(t, "(?i)error|corrupt|broken|panic", s.Log(), "Dovecot complains") })
	return s
}

// tree opens the Maildir of the server's user.
func tree(t testing.TB, s *testserver.Server, flavor Flavor) *Target {
	t.Helper()
	return open(t, Config{Path: s.Maildir(s.Users[0]), Flavor: flavor, Owner: &Owner{testserver.MailUser, testserver.MailUser}})
}

func open(t testing.TB, cfg Config) *Target {
	t.Helper()
	target, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	return target
}

// octets is a Body in memory.
type octets struct{ b []byte }

func (o octets) Size() int64       { return int64(len(o.b)) }
func (o octets) Reader() io.Reader { return bytes.NewReader(o.b) }
func (o octets) Buffered() bool    { return true }
func (o octets) Release()          {}

// letter is a message that is to be written.
type letter struct {
	uid   mailhaul.UID
	uidl  mailhaul.UIDL
	order uint32
	flags []mailhaul.Flag
	body  string
}

func date(uid mailhaul.UID) time.Time {
	return time.Date(2015, 3, 4, 5, 6, 7, 0, time.FixedZone("", 7200)).Add(time.Duration(uid) * time.Second)
}

func (l letter) outgoing() mailhaul.Outgoing {
	if l.body == "" {
		l.body = fmt.Sprintf("Message-ID: <%d@example.org>\r\nSubject: %d\r\n\r\nbody %d\r\n", l.uid, l.uid, l.uid)
	}
	return mailhaul.Outgoing{UID: l.uid, UIDL: l.uidl, Order: l.order, Flags: l.flags, InternalDate: date(l.uid), Body: octets{[]byte(l.body)}}
}

// identity is what the letters are to be known by.
func identity(validity mailhaul.UIDValidity, next mailhaul.UID, letters ...letter) mailhaul.Identity {
	id := mailhaul.Identity{UIDValidity: validity, UIDNext: next}
	for _, l := range letters {
		id.UIDLs = id.UIDLs || l.uidl != ""
		id.Messages = append(id.Messages, mailhaul.Message{UID: l.uid, UIDL: l.uidl, Order: l.order, Flags: l.flags})
	}
	return id
}

// impose writes letters with their identity, which must all be stored, and
// returns the UIDs that they got.
func impose(t testing.TB, target *Target, m mailhaul.Mailbox, want mailhaul.Identity, letters ...letter) []mailhaul.UID {
	t.Helper()
	ctx := context.Background()
	w, err := target.OpenImposing(ctx, m, want)
	require.NoError(t, err)
	defer w.Close()
	return put(t, w, letters...)
}

func put(t testing.TB, w mailhaul.Writer, letters ...letter) []mailhaul.UID {
	t.Helper()
	ctx := context.Background()
	var receipts []mailhaul.Receipt
	for some := range slices.Chunk(letters, 3) {
		var batch []mailhaul.Outgoing
		for _, l := range some {
			batch = append(batch, l.outgoing())
		}
		r, err := w.Append(ctx, batch)
		require.NoError(t, err)
		receipts = append(receipts, r)
	}
	var uids []mailhaul.UID
	for _, r := range receipts {
		outcomes, err := r.Wait(ctx)
		require.NoError(t, err)
		for _, o := range outcomes {
			require.NoError(t, o.Err)
			require.Equal(t, mailhaul.Stored, o.Delivery)
			uids = append(uids, o.UID)
		}
	}
	require.NoError(t, w.Finish(ctx))
	return uids
}

// mailboxOf makes a mailbox.
func mailboxOf(t testing.TB, target *Target, path ...string) mailhaul.Mailbox {
	t.Helper()
	m, err := target.Create(context.Background(), path, mailhaul.RoleNone)
	require.NoError(t, err)
	return m
}

// told is what a Reader says of a mailbox.
type told struct {
	status   mailhaul.Status
	messages []mailhaul.Message
	bodies   map[mailhaul.UID]string
}

func (s told) uids() (uids []mailhaul.UID) {
	for _, m := range s.messages {
		uids = append(uids, m.UID)
	}
	return uids
}

func readAll(t testing.TB, target *Target, m mailhaul.Mailbox) told {
	t.Helper()
	ctx := context.Background()
	r, err := target.OpenReader(ctx, m)
	require.NoError(t, err)
	defer r.Close()
	s := told{status: r.Status(), bodies: map[mailhaul.UID]string{}}
	set, err := r.UIDs(ctx)
	require.NoError(t, err)
	for msg, err := range r.Messages(ctx, set, mailhaul.FieldFlags|mailhaul.FieldSize|mailhaul.FieldDate|mailhaul.FieldHeader, 0) {
		require.NoError(t, err)
		s.messages = append(s.messages, msg)
	}
	bodies, err := r.Fetch(ctx, set, false)
	require.NoError(t, err)
	for b, err := range bodies {
		require.NoError(t, err)
		text, err := io.ReadAll(b.Body.Reader())
		require.NoError(t, err)
		require.EqualValues(t, len(text), b.Body.Size())
		b.Body.Release()
		s.bodies[b.UID] = string(text)
	}
	for _, msg := range s.messages {
		require.EqualValues(t, len(s.bodies[msg.UID]), msg.Size, "UID %d", msg.UID)
	}
	return s
}

// served is what the server says of the account over IMAP.
func served(t testing.TB, s *testserver.Server) *oracle.Account {
	t.Helper()
	return servedTo(t, s, 1)
}

func servedTo(t testing.TB, s *testserver.Server, user int) *oracle.Account {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, err := oracle.Snapshot(ctx, s.Account(user).Server)
	require.NoError(t, err)
	return a
}

// session is a client of a server's IMAP.
func session(t testing.TB, s *testserver.Server) *wire.Conn {
	t.Helper()
	c, err := wire.Open(context.Background(), s.Account(1).Server)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c
}

func command(t testing.TB, c *wire.Conn, format string, args ...any) string {
	t.Helper()
	lines, err := c.Command(fmt.Sprintf(format, args...))
	require.NoError(t, err)
	return string(bytes.Join(lines, []byte("\n")))
}

// maildrop is what the server says over POP3: the unique-ids in order.
func maildrop(t testing.TB, s *testserver.Server) (uidls []string) {
	t.Helper()
	c, err := wire.Dial(context.Background(), s.Account(1).POP3)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	in := bufio.NewReader(c)
	line := func() string {
		text, err := in.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimRight(text, "\r\n")
	}
	line()
	for _, cmd := range []string{"USER " + s.Users[0].Name, "PASS " + s.Users[0].Password, "UIDL"} {
		fmt.Fprintf(c, "%s\r\n", cmd)
		require.Regexp(t, `^\+OK`, line())
	}
	for text := line(); text != "."; text = line() {
		_, uidl, _ := strings.Cut(text, " ")
		uidls = append(uidls, uidl)
	}
	fmt.Fprint(c, "QUIT\r\n")
	line()
	return uidls
}

// appendMail appends over IMAP and returns what APPENDUID says.
func appendMail(t testing.TB, s *testserver.Server, mailbox string) string {
	t.Helper()
	c := session(t, s)
	defer c.Close()
	body := "Subject: delivered\r\n\r\nlater\r\n"
	tag := c.Send(fmt.Sprintf("APPEND %q {%d}", mailbox, len(body)))
	require.NoError(t, c.Continue(tag))
	_, err := c.W.WriteString(body + "\r\n")
	require.NoError(t, err)
	require.NoError(t, c.W.Flush())
	for {
		line, err := c.ReadResponse()
		require.NoError(t, err)
		if strings.HasPrefix(string(line), tag+" ") {
			return string(line)
		}
	}
}

func tempFiles(t testing.TB, target *Target, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(target.path, dir, "tmp"))
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// How long, and how often, a condition is waited for.
const (
	waitLong = 30 * time.Second
	waitStep = 20 * time.Millisecond
)
