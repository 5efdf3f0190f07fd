package cyrus

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// knife cuts a connection when so many octets have gone one way. Its Close
// returns when the server has done with what had arrived, so that what there is
// can be looked at.
type knife struct {
	net.Conn
	in, out *atomic.Int64 // left; the connection is cut when one is used up
}

func (k knife) Write(p []byte) (int, error) {
	left := k.out.Add(-int64(len(p)))
	if left < 0 {
		n, _ := k.Conn.Write(p[:max(0, int64(len(p))+left)])
		_ = k.Conn.(*net.TCPConn).CloseWrite()
		return n, io.ErrClosedPipe
	}
	return k.Conn.Write(p)
}

func (k knife) Read(p []byte) (int, error) {
	n, err := k.Conn.Read(p)
	if k.in.Add(-int64(n)) < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (k knife) Close() error {
	_ = k.Conn.(*net.TCPConn).CloseWrite()
	_ = k.Conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.Copy(io.Discard, k.Conn)
	return k.Conn.Close()
}

// cutting returns a target whose administrator's connections are cut after so
// many octets in all.
func cutting(t testing.TB, r *rig, in, out int64) (*Target, *atomic.Int64, *atomic.Int64) {
	var i, o atomic.Int64
	i.Store(in)
	o.Store(out)
	srv := r.srv.Reach(testserver.CyrusAdmin, testserver.IMAP)
	srv.Security = mailhaul.Plaintext
	srv.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return knife{c, &i, &o}, nil
	}
	admin, err := imapx.New(imapx.Config{Server: srv, Compress: imapx.CompressNever})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	target, err := New(r.client, Config{Admin: func(ctx context.Context) (Session, error) { return admin.OpenRaw(ctx) }})
	require.NoError(t, err)
	return target, &i, &o
}

// attempt writes what is not there yet, in batches of three, as far as it gets.
// What it returns by UID is what was learnt of each message.
func attempt(t testing.TB, r *rig, target *Target, m mailhaul.Mailbox, want mailhaul.Identity, out []mailhaul.Outgoing) (map[mailhaul.UID]mailhaul.Outcome, error) {
	ctx := ctxOf(t)
	known := make(map[mailhaul.UID]mailhaul.Outcome)
	w, err := target.OpenImposing(ctx, m, want)
	if err != nil {
		return known, err
	}
	defer w.Close()
	var receipts []mailhaul.Receipt
	var sent [][]mailhaul.Outgoing
	var failure error
	for i := 0; i < len(out) && failure == nil; i += 3 {
		batch := out[i:min(i+3, len(out))]
		receipt, err := w.Append(ctx, batch)
		receipts, sent, failure = append(receipts, receipt), append(sent, batch), err
	}
	if failure == nil {
		failure = w.Finish(ctx)
	}
	for i, receipt := range receipts {
		outcomes, err := receipt.Wait(ctx)
		if failure == nil {
			failure = err
		}
		require.Len(t, outcomes, len(sent[i]))
		for j, o := range outcomes {
			known[sent[i][j].UID] = o
		}
	}
	return known, failure
}

// Wherever the connection is cut, the mailbox has all of a batch or nothing,
// what is known of each message is true, and the next run makes it whole.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	srv := testserver.CyrusWith(t, testserver.CyrusOptions{Options: testserver.Options{Users: 5}})
	r := newRigOn(t, srv, srv.Users[0], Config{})
	want := mailhaul.Identity{UIDValidity: 42, UIDNext: 5000, HighestModSeq: 100}
	var out []mailhaul.Outgoing
	messages := func() []mailhaul.Outgoing {
		out = nil
		for uid := mailhaul.UID(1); uid <= 9; uid++ {
			out = append(out, outgoing(uid*100+uid, mailhaul.FlagSeen, "$kw"))
		}
		return out
	}
	const plenty = 1 << 30
	target, in, sent := cutting(t, r, plenty, plenty)
	_, err := attempt(t, r, target, r.box("Whole"), want, messages())
	require.NoError(t, err)
	allIn, allOut := plenty-in.Load(), plenty-sent.Load()
	t.Logf("%d octets out, %d in", allOut, allIn)

	run := func(t *testing.T, r *rig, m mailhaul.Mailbox, in, sent int64) {
		target, _, _ := cutting(t, r, in, sent)
		known, err := attempt(t, r, target, m, want, messages())
		require.Error(t, err)
		there := r.list(m)
		for i, o := range out {
			_, has := there.msgs[o.UID]
			switch known[o.UID].Delivery {
			case mailhaul.Stored:
				require.True(t, has, "UID %d", o.UID)
			case mailhaul.NotStored:
				require.False(t, has, "UID %d", o.UID)
			}
			if i%3 > 0 {
				_, before := there.msgs[out[i-1].UID]
				require.Equal(t, before, has, "half a batch")
			}
		}
		var rest []mailhaul.Outgoing
		for _, o := range messages() {
			if _, has := there.msgs[o.UID]; !has {
				rest = append(rest, o)
			}
		}
		_, err = attempt(t, r, r.target, m, want, rest)
		require.NoError(t, err)
		l := r.list(m)
		require.EqualValues(t, 42, l.status.UIDValidity)
		require.EqualValues(t, 5000, l.status.UIDNext)
		require.Len(t, l.msgs, len(out))
		r.holds(l, messages()...)
		require.Empty(t, r.target.Warnings())
	}
	const points = 9
	for i := range int64(points) {
		run(t, r, r.box(fmt.Sprintf("out%d", i)), plenty, allOut*i/points)
	}
	for i := range int64(points / 3) {
		run(t, r, r.box(fmt.Sprintf("in%d", i)), allIn*i/(points/3), plenty)
	}

	// The same while INBOX is made anew: what hangs on it stays.
	for i, u := range srv.Users[1:] {
		r := newRigOn(t, srv, u, Config{})
		m := r.box("INBOX")
		other := r.box("Other")
		require.NoError(t, r.client.Subscribe(ctxOf(t), other))
		run(t, r, m, plenty, 250+int64(i)*260)
		listing, err := r.client.List(ctxOf(t))
		require.NoError(t, err)
		require.True(t, listing.Find(other.Path).Subscribed)
		state, err := get(ctxOf(t), r.session(), []string{"user." + u.Name})
		require.NoError(t, err)
		require.NotContains(t, state[0].uniqueID, meanwhile)
	}
}

func (r *rig) session() Session {
	s, err := r.target.session(ctxOf(r.t))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = s.Close() })
	return s
}
