package doveadm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
	"github.com/mailhaul/mailhaul/uidmap/doveadm"
)

type memBody struct {
	octets []byte
	stream bool
}

func (b memBody) Size() int64       { return int64(len(b.octets)) }
func (b memBody) Reader() io.Reader { return bytes.NewReader(b.octets) }
func (b memBody) Buffered() bool    { return !b.stream }
func (memBody) Release()            {}

func letterTo(uid mailhaul.UID) string {
	return fmt.Sprintf("Message-ID: <%d@example>\r\nSubject: message %d\r\nFrom: a@example\r\n\r\n%s\r\n", uid, uid, strings.Repeat("x", 500+int(uid%500)))
}

func outgoing(uids ...mailhaul.UID) []mailhaul.Outgoing {
	var batch []mailhaul.Outgoing
	for _, u := range uids {
		batch = append(batch, mailhaul.Outgoing{UID: u, Body: memBody{octets: []byte(letterTo(u))}, InternalDate: time.Unix(1e9, 0)})
	}
	return batch
}

func identity(v mailhaul.UIDValidity, uidNext mailhaul.UID, uids ...mailhaul.UID) mailhaul.Identity {
	want := mailhaul.Identity{UIDValidity: v, UIDNext: uidNext}
	for _, u := range uids {
		want.Messages = append(want.Messages, mailhaul.Message{UID: u, Size: int64(len(letterTo(u)))})
	}
	return want
}

func client(t testing.TB, srv mailhaul.Server) *imapx.Client {
	t.Helper()
	cl, err := imapx.New(imapx.Config{Server: srv})
	require.NoError(t, err)
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// admin is how to reach the server's API.
func admin(s *testserver.Server) mailhaul.Server {
	return mailhaul.Server{Host: s.Host, Port: s.Port(testserver.DoveadmHTTP), Security: mailhaul.Plaintext}
}

func imposer(t testing.TB, s *testserver.Server, target mailhaul.Target) *doveadm.Imposer {
	t.Helper()
	d, err := doveadm.New(doveadm.Config{Target: target, Server: admin(s), Key: mailhaul.NewSecret(testserver.DoveadmAPIKey)})
	require.NoError(t, err)
	return d
}

func named(t testing.TB, s mailhaul.Source, name string) mailhaul.Mailbox {
	t.Helper()
	l, err := s.List(context.Background())
	require.NoError(t, err)
	i := slices.IndexFunc(l.Mailboxes, func(m mailhaul.Mailbox) bool { return m.Name == name })
	require.GreaterOrEqual(t, i, 0)
	return l.Mailboxes[i]
}

// held returns the subjects of what a mailbox holds, by UID.
func held(t testing.TB, s mailhaul.Source, m mailhaul.Mailbox) map[mailhaul.UID]string {
	t.Helper()
	r, err := s.OpenReader(context.Background(), m)
	require.NoError(t, err)
	defer r.Close()
	found := make(map[mailhaul.UID]string)
	all, err := r.UIDs(context.Background())
	require.NoError(t, err)
	if len(all) == 0 {
		return found
	}
	require.Less(t, all.Len(), 500, "%.300s", all)
	bodies, err := r.Fetch(context.Background(), all, false)
	require.NoError(t, err)
	for b, err := range bodies {
		require.NoError(t, err)
		text, err := io.ReadAll(b.Body.Reader())
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(text), "Subject: ")
		found[b.UID], _, _ = strings.Cut(rest, "\r\n")
		b.Body.Release()
	}
	return found
}

func expected(uids ...mailhaul.UID) map[mailhaul.UID]string {
	m := make(map[mailhaul.UID]string)
	for _, u := range uids {
		m[u] = fmt.Sprintf("message %d", u)
	}
	return m
}

func uidsOf(t testing.TB, r mailhaul.Receipt) []mailhaul.UID {
	t.Helper()
	outcomes, err := r.Wait(context.Background())
	require.NoError(t, err)
	var uids []mailhaul.UID
	for _, o := range outcomes {
		require.Equal(t, mailhaul.Stored, o.Delivery)
		uids = append(uids, o.UID)
	}
	return uids
}

// uidls returns the UIDLs that POP3 serves, in order.
func uidls(t testing.TB, srv mailhaul.Server) []mailhaul.UIDL {
	t.Helper()
	p, err := pop3x.New(pop3x.Config{Server: srv})
	require.NoError(t, err)
	defer p.Close()
	l, err := p.List(context.Background())
	require.NoError(t, err)
	r, err := p.OpenReader(context.Background(), l.Mailboxes[0])
	require.NoError(t, err)
	defer r.Close()
	set, err := r.UIDs(context.Background())
	require.NoError(t, err)
	var all []mailhaul.UIDL
	for m, err := range r.Messages(context.Background(), set, mailhaul.FieldSize, 0) {
		require.NoError(t, err)
		all = append(all, m.UIDL)
	}
	return all
}

// move imposes an identity, in batches.
func move(t testing.TB, target mailhaul.Imposer, m mailhaul.Mailbox, want mailhaul.Identity, uids []mailhaul.UID, batch int) []mailhaul.UID {
	t.Helper()
	w, err := target.OpenImposing(t.Context(), m, want)
	require.NoError(t, err)
	var receipts []mailhaul.Receipt
	for some := range slices.Chunk(uids, batch) {
		r, err := w.Append(t.Context(), outgoing(some...))
		require.NoError(t, err)
		receipts = append(receipts, r)
	}
	require.NoError(t, w.Finish(t.Context()))
	require.NoError(t, w.Close())
	var got []mailhaul.UID
	for _, r := range receipts {
		got = append(got, uidsOf(t, r)...)
	}
	return got
}

// stores runs a test on each store of Dovecot.
func stores(t *testing.T, test func(t *testing.T, s *testserver.Server)) {
	for _, store := range []string{"maildir", "sdbox", "mdbox"} {
		t.Run(store, func(t *testing.T) {
			test(t, testserver.Dovecot(t, testserver.DovecotOptions{Store: store}))
		})
	}
}
