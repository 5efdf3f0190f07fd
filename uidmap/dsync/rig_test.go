package dsync

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stores are the ways in which a Dovecot keeps mail.
var stores = []string{"maildir", "sdbox", "mdbox"}

// rig is a Dovecot, and a Target on the account of one of its users.
type rig struct {
	t   testing.TB
	srv *testserver.Server
	n   int // the user, counted from 1
	*Target
	imap *imapx.Client
}

func newRig(t testing.TB, opts testserver.DovecotOptions) *rig {
	t.Helper()
	opts.Users = max(opts.Users, 1)
	return rigOf(t, testserver.Dovecot(t, opts), 1, nil)
}

// rigOf returns a rig for another user, or with another configuration.
func rigOf(t testing.TB, srv *testserver.Server, user int, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, srv: srv, n: user}
	var err error
	r.imap, err = imapx.New(imapx.Config{Server: srv.Account(user).Server})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.imap.Close() })
	cfg := Config{Server: doveadmPort(srv)}
	if change != nil {
		change(&cfg)
	}
	r.Target, err = New(r.imap, cfg)
	require.NoError(t, err)
	return r
}

func doveadmPort(srv *testserver.Server) mailhaul.Server {
	return mailhaul.Server{
		Host: srv.Host, Port: srv.Port(testserver.Doveadm), Security: mailhaul.Plaintext,
		Credentials: testserver.Password(testserver.DoveadmPassword),
	}
}

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// box makes a mailbox and returns it.
func (r *rig) box(path ...string) mailhaul.Mailbox {
	r.t.Helper()
	if len(path) == 0 {
		path = []string{"INBOX"}
	}
	m, err := r.Create(ctxOf(r.t), path, mailhaul.RoleNone)
	require.NoError(r.t, err)
	return m
}

// body is a body in memory.
type body struct {
	data     []byte
	read     io.Reader // in its place, where it is set
	released *atomic.Int64
}

func (b *body) Size() int64 { return int64(len(b.data)) }
func (b *body) Reader() io.Reader {
	if b.read != nil {
		return b.read
	}
	return bytes.NewReader(b.data)
}
func (b *body) Buffered() bool { return b.read == nil }
func (b *body) Release() {
	if b.released != nil {
		b.released.Add(1)
	}
}

// textOf is the message that belongs to a UID.
func textOf(uid mailhaul.UID) []byte {
	return fmt.Appendf(nil, "From: a@example.org\r\nSubject: message %d\r\nMessage-ID: <m%d@example.org>\r\n\r\n%s.dot\r\n..\r\n", uid, uid,
		strings.Repeat("text of "+u32(uid)+"\r\n", int(uid%7)+1))
}

func dateOf(uid mailhaul.UID) time.Time {
	return time.Unix(1_200_000_000+int64(uid%1_000_000)*61, 0).UTC()
}

// messages are messages with the UIDs, of various flags.
func messages(uids ...mailhaul.UID) []mailhaul.Message {
	out := make([]mailhaul.Message, len(uids))
	for i, uid := range uids {
		out[i] = mailhaul.Message{UID: uid, Size: int64(len(textOf(uid))), InternalDate: dateOf(uid), Flags: flagsOf(uid)}
	}
	return out
}

func flagsOf(uid mailhaul.UID) []mailhaul.Flag {
	all := []mailhaul.Flag{`\Answered`, `\Deleted`, `\Draft`, `\Flagged`, `\Seen`, "$Forwarded", "NonJunk", "key.word-" + mailhaul.Flag(u32(uid%5))}
	var out []mailhaul.Flag
	for i, f := range all {
		if uid>>i&1 == 1 {
			out = append(out, f)
		}
	}
	return out
}

// withUIDLs gives messages UIDLs, and an order that is not that of the UIDs.
func withUIDLs(msgs []mailhaul.Message) []mailhaul.Message {
	for i := range msgs {
		msgs[i].UIDL = uidlOf(msgs[i].UID)
		msgs[i].Order = uint32(len(msgs) - i)
	}
	return msgs
}

func uidlOf(uid mailhaul.UID) mailhaul.UIDL {
	return mailhaul.UIDL([]string{"GmailId" + fmt.Sprintf("%x", uid), `q"~!'+` + u32(uid), "UID" + u32(uid) + "-99"}[uid%3])
}

func outgoing(m mailhaul.Message) mailhaul.Outgoing {
	return mailhaul.Outgoing{Flags: m.Flags, InternalDate: m.InternalDate, Body: &body{data: textOf(m.UID)}, UID: m.UID, UIDL: m.UIDL, Order: m.Order}
}

// impose writes all of an identity's messages but those with the UIDs in
// without, and returns the outcomes of the others.
func (r *rig) impose(m mailhaul.Mailbox, want mailhaul.Identity, without ...mailhaul.UID) []mailhaul.Outcome {
	r.t.Helper()
	ctx := ctxOf(r.t)
	w, err := r.OpenImposing(ctx, m, want)
	require.NoError(r.t, err)
	var receipts []mailhaul.Receipt
	for batch := range slices.Chunk(want.Messages, 7) {
		var outs []mailhaul.Outgoing
		for _, m := range batch {
			if !slices.Contains(without, m.UID) {
				outs = append(outs, outgoing(m))
			}
		}
		receipt, err := w.Append(ctx, outs)
		require.NoError(r.t, err)
		receipts = append(receipts, receipt)
	}
	require.NoError(r.t, w.Finish(ctx))
	var all []mailhaul.Outcome
	for _, receipt := range receipts {
		outcomes, err := receipt.Wait(ctx)
		require.NoError(r.t, err)
		all = append(all, outcomes...)
	}
	require.NoError(r.t, w.Close())
	return all
}

// requireStored asserts that all are stored under their own UIDs.
func requireStored(t testing.TB, msgs []mailhaul.Message, outcomes []mailhaul.Outcome) {
	t.Helper()
	require.Len(t, outcomes, len(msgs))
	for i, o := range outcomes {
		require.NoError(t, o.Err)
		require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: msgs[i].UID}, o)
	}
}

// raw is a connection on which a test speaks IMAP or POP3 itself.
type raw struct {
	t  testing.TB
	c  net.Conn
	in *bufio.Reader
	n  int
}

func (r *rig) dialRaw(s testserver.Service) *raw {
	r.t.Helper()
	c, err := net.Dial("tcp", r.srv.Addr(s))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	require.NoError(r.t, c.SetDeadline(time.Now().Add(time.Minute)))
	w := &raw{t: r.t, c: c, in: bufio.NewReader(c)}
	w.line()
	return w
}

func (w *raw) line() string {
	w.t.Helper()
	line, err := w.in.ReadString('\n')
	require.NoError(w.t, err)
	return strings.TrimRight(line, "\r\n")
}

// rawIMAP logs in.
func (r *rig) rawIMAP() *raw {
	r.t.Helper()
	w := r.dialRaw(testserver.IMAP)
	u := r.srv.Users[r.n-1]
	w.do("LOGIN %s %s", u.Name, u.Password)
	return w
}

// do gives a command and returns the lines before its OK, and that.
func (w *raw) do(format string, args ...any) []string {
	w.t.Helper()
	w.n++
	tag := fmt.Sprintf("a%d", w.n)
	_, err := fmt.Fprintf(w.c, tag+" "+format+"\r\n", args...)
	require.NoError(w.t, err)
	var lines []string
	for {
		line := w.line()
		lines = append(lines, line)
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			require.Truef(w.t, strings.HasPrefix(rest, "OK"), "%s: %s", fmt.Sprintf(format, args...), line)
			return lines
		}
	}
}

// seen is a mailbox, as a client that is not ours sees it.
type seen struct {
	status   string
	messages []string // UID, flags, date, size, in the order of the server
}

// see looks at a mailbox with a client that is not ours.
func (r *rig) see(wire string) seen {
	r.t.Helper()
	w := r.rawIMAP()
	defer w.c.Close()
	var s seen
	for _, l := range w.do("STATUS %q (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)", wire) {
		if _, items, ok := strings.Cut(l, " ("); ok && strings.HasPrefix(l, "* STATUS") {
			s.status = strings.TrimSuffix(items, ")")
		}
	}
	w.do("EXAMINE %q", wire)
	for _, l := range w.do("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)") {
		var seq int
		if n, _ := fmt.Sscanf(l, "* %d FETCH", &seq); n == 1 {
			_, items, _ := strings.Cut(l, "FETCH (")
			items = strings.NewReplacer(` \Recent`, "", `\Recent `, "", `\Recent`, "").Replace(items) // by session
			s.messages = append(s.messages, strings.TrimSuffix(items, ")"))
		}
	}
	return s
}

// uids returns the UIDs, in order.
func (s seen) uids() (uids []mailhaul.UID) {
	for _, m := range s.messages {
		var uid uint32
		_, _ = fmt.Sscanf(m, "UID %d", &uid)
		uids = append(uids, mailhaul.UID(uid))
	}
	return uids
}

// octets fetches a message's text.
func (w *raw) octets(uid mailhaul.UID) []byte {
	w.t.Helper()
	w.n++
	tag := fmt.Sprintf("a%d", w.n)
	_, err := fmt.Fprintf(w.c, "%s UID FETCH %d BODY.PEEK[]\r\n", tag, uid)
	require.NoError(w.t, err)
	first := w.line()
	var n int
	i := strings.LastIndexByte(first, '{')
	require.Positive(w.t, i, first)
	_, err = fmt.Sscanf(first[i:], "{%d}", &n)
	require.NoError(w.t, err)
	data := make([]byte, n)
	_, err = io.ReadFull(w.in, data)
	require.NoError(w.t, err)
	for !strings.HasPrefix(w.line(), tag+" ") {
	}
	return data
}

// uidls returns the answer to UIDL, in the maildrop's order.
func (r *rig) uidls() (out []string) {
	r.t.Helper()
	w := r.dialRaw(testserver.POP3)
	defer w.c.Close()
	u := r.srv.Users[r.n-1]
	say := func(format string, args ...any) {
		_, err := fmt.Fprintf(w.c, format+"\r\n", args...)
		require.NoError(r.t, err)
		line := w.line()
		require.Truef(r.t, strings.HasPrefix(line, "+OK"), "%s: %s", format, line)
	}
	say("USER %s", u.Name)
	say("PASS %s", u.Password)
	say("UIDL")
	for {
		line := w.line()
		if line == "." {
			say("QUIT")
			return out
		}
		_, uidl, _ := strings.Cut(line, " ")
		out = append(out, uidl)
	}
}

// deliver appends a message as another program would, and returns its UID.
func (r *rig) deliver(wire, subject string) mailhaul.UID {
	r.t.Helper()
	w := r.rawIMAP()
	defer w.c.Close()
	text := "Subject: " + subject + "\r\n\r\nforeign\r\n"
	lines := w.do("APPEND %q {%d+}\r\n%s", wire, len(text), text)
	var validity, uid uint32
	_, code, _ := strings.Cut(lines[len(lines)-1], "[APPENDUID ")
	_, err := fmt.Sscanf(code, "%d %d]", &validity, &uid)
	require.NoError(r.t, err)
	return mailhaul.UID(uid)
}

// logged returns the server's log.
func (r *rig) logged() string {
	text, _ := os.ReadFile(r.srv.LogFile())
	return string(text)
}
