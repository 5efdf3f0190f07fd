package cyrus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
	"github.com/mailhaul/mailhaul/pop3x"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an account on a real Cyrus, and the way to it.
type rig struct {
	t      testing.TB
	srv    *testserver.Server
	acc    testserver.Account
	client *imapx.Client // the user's
	admin  *imapx.Client
	target *Target
}

func newRig(t testing.TB, settings map[string]string, cfg Config) *rig {
	t.Helper()
	srv := testserver.CyrusWith(t, testserver.CyrusOptions{Settings: settings})
	return newRigOn(t, srv, srv.Users[0], cfg)
}

func newRigOn(t testing.TB, srv *testserver.Server, u testserver.User, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, srv: srv, acc: srv.AccountOf(u)}
	r.client = r.connect(r.acc.Server)
	r.admin = r.connect(srv.Reach(testserver.CyrusAdmin, testserver.IMAPS))
	if cfg.Admin == nil {
		cfg.Admin = func(ctx context.Context) (Session, error) { return r.admin.OpenRaw(ctx) }
	}
	if cfg.Login == nil {
		cfg.Login = r.login
	}
	var err error
	r.target, err = New(r.client, cfg)
	require.NoError(t, err)
	return r
}

func (r *rig) login(ctx context.Context) (Session, error) { return r.client.OpenRaw(ctx) }

func (r *rig) connect(srv mailhaul.Server) *imapx.Client {
	cl, err := imapx.New(imapx.Config{Server: srv, Compress: imapx.CompressNever})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, cl.Close()) })
	return cl
}

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// box returns the mailbox at path, made where it is missing.
func (r *rig) box(path ...string) mailhaul.Mailbox {
	r.t.Helper()
	m, err := r.client.Create(ctxOf(r.t), path, mailhaul.RoleNone)
	require.NoError(r.t, err)
	return m
}

// raw logs in with the independent client.
func (r *rig) raw(u testserver.User) *wire.Conn {
	r.t.Helper()
	c, err := wire.Open(ctxOf(r.t), r.srv.Reach(u, testserver.IMAPS))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// say gives a command with the independent client.
func (r *rig) say(c *wire.Conn, command string) string {
	r.t.Helper()
	answer, err := c.Command(command)
	require.NoError(r.t, err, command)
	return string(bytes.Join(answer, []byte("\n")))
}

// memory is a body in memory, or one that streams.
type memory struct {
	data     []byte
	stream   bool
	released int
}

func (b *memory) Size() int64       { return int64(len(b.data)) }
func (b *memory) Reader() io.Reader { return bytes.NewReader(b.data) }
func (b *memory) Buffered() bool    { return !b.stream }
func (b *memory) Release()          { b.released++ }

func mailText(uid mailhaul.UID) []byte {
	return fmt.Appendf(nil, "From: ada@example.org\r\nMessage-ID: <%d@example.org>\r\nSubject: message %d\r\n\r\n%s\r\n",
		uid, uid, strings.Repeat("text ", int(uid%300)))
}

func dateOf(uid mailhaul.UID) time.Time {
	return time.Date(2001, 2, 3, 4, 5, int(uid%60), 0, time.UTC)
}

func outgoing(uid mailhaul.UID, flags ...mailhaul.Flag) mailhaul.Outgoing {
	return mailhaul.Outgoing{UID: uid, Flags: flags, InternalDate: dateOf(uid), Body: &memory{data: mailText(uid)}}
}

// write writes messages in batches, finishes, and returns the outcomes.
func (r *rig) write(m mailhaul.Mailbox, want mailhaul.Identity, size int, out ...mailhaul.Outgoing) []mailhaul.Outcome {
	r.t.Helper()
	ctx := ctxOf(r.t)
	w, err := r.target.OpenImposing(ctx, m, want)
	require.NoError(r.t, err)
	defer w.Close()
	var receipts []mailhaul.Receipt
	for len(out) > 0 {
		n := min(size, len(out))
		receipt, err := w.Append(ctx, out[:n])
		require.NoError(r.t, err)
		receipts = append(receipts, receipt)
		out = out[n:]
	}
	require.NoError(r.t, w.Finish(ctx))
	var outcomes []mailhaul.Outcome
	for _, receipt := range receipts {
		o, err := receipt.Wait(ctx)
		for i := range o {
			require.True(r.t, o[i].Delivery == mailhaul.Stored || hopeless(o[i].Err), "%v %v", o[i], err)
		}
		outcomes = append(outcomes, o...)
	}
	require.NoError(r.t, w.Close())
	return outcomes
}

// listing is what the user sees of a mailbox.
type listing struct {
	status mailhaul.Status
	msgs   map[mailhaul.UID]mailhaul.Message
	bodies map[mailhaul.UID]string
}

func (r *rig) list(m mailhaul.Mailbox) listing {
	r.t.Helper()
	ctx := ctxOf(r.t)
	rd, err := r.client.OpenReader(ctx, m)
	require.NoError(r.t, err)
	defer rd.Close()
	l := listing{rd.Status(), make(map[mailhaul.UID]mailhaul.Message), make(map[mailhaul.UID]string)}
	uids, err := rd.UIDs(ctx)
	require.NoError(r.t, err)
	if len(uids) == 0 {
		return l
	}
	for msg, err := range rd.Messages(ctx, uids, mailhaul.FieldFlags|mailhaul.FieldSize|mailhaul.FieldDate, 0) {
		require.NoError(r.t, err)
		msg.Flags, _ = mailhaul.NormalizeFlags(msg.Flags)
		l.msgs[msg.UID] = msg
	}
	bodies, err := rd.Fetch(ctx, uids, false)
	require.NoError(r.t, err)
	for f, err := range bodies {
		require.NoError(r.t, err)
		data, err := io.ReadAll(f.Body.Reader())
		require.NoError(r.t, err)
		l.bodies[f.UID] = string(data)
		f.Body.Release()
	}
	return l
}

// uidls asks over POP3.
func (r *rig) uidls() []mailhaul.UIDL {
	r.t.Helper()
	ctx := ctxOf(r.t)
	src, err := pop3x.New(pop3x.Config{Server: r.acc.POP3})
	require.NoError(r.t, err)
	defer src.Close()
	l, err := src.List(ctx)
	require.NoError(r.t, err)
	rd, err := src.OpenReader(ctx, l.Mailboxes[0])
	require.NoError(r.t, err)
	defer rd.Close()
	uids, err := rd.UIDs(ctx)
	require.NoError(r.t, err)
	var uidls []mailhaul.UIDL
	for msg, err := range rd.Messages(ctx, uids, 0, 0) {
		require.NoError(r.t, err)
		uidls = append(uidls, msg.UIDL)
	}
	return uidls
}

// holds checks that the messages are there as they were sent.
func (r *rig) holds(l listing, out ...mailhaul.Outgoing) {
	r.t.Helper()
	for _, o := range out {
		msg, ok := l.msgs[o.UID]
		require.True(r.t, ok, "UID %d", o.UID)
		flags, _ := mailhaul.NormalizeFlags(o.Flags)
		require.ElementsMatch(r.t, flags, msg.Flags, "UID %d", o.UID)
		require.Equal(r.t, o.InternalDate.Unix(), msg.InternalDate.Unix(), "UID %d", o.UID)
		require.Equal(r.t, string(o.Body.(*memory).data), l.bodies[o.UID], "UID %d", o.UID)
	}
}
