package filler_test

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
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/uidmap/filler"
)

// memBody is a body in memory.
type memBody struct {
	octets   []byte
	stream   bool
	released *int
}

func (b memBody) Size() int64       { return int64(len(b.octets)) }
func (b memBody) Reader() io.Reader { return bytes.NewReader(b.octets) }
func (b memBody) Buffered() bool    { return !b.stream }
func (b memBody) Release() {
	if b.released != nil {
		*b.released++
	}
}

func letterTo(uid mailhaul.UID) string {
	return fmt.Sprintf("Message-ID: <%d@example>\r\nSubject: message %d\r\nFrom: a@example\r\n\r\n%s\r\n", uid, uid, strings.Repeat("x", int(uid%500)))
}

func outgoing(uids ...mailhaul.UID) []mailhaul.Outgoing {
	var batch []mailhaul.Outgoing
	for _, u := range uids {
		batch = append(batch, mailhaul.Outgoing{UID: u, Body: memBody{octets: []byte(letterTo(u))}, InternalDate: time.Unix(1e9, 0)})
	}
	return batch
}

func identity(uidNext mailhaul.UID, uids ...mailhaul.UID) mailhaul.Identity {
	want := mailhaul.Identity{UIDValidity: 77, UIDNext: uidNext}
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

func imposer(t testing.TB, target mailhaul.Target, limit int) *filler.Imposer {
	t.Helper()
	f, err := filler.New(filler.Config{Target: target, Max: limit})
	require.NoError(t, err)
	return f
}

func inbox(t testing.TB, s mailhaul.Source) mailhaul.Mailbox {
	t.Helper()
	l, err := s.List(context.Background())
	require.NoError(t, err)
	i := slices.IndexFunc(l.Mailboxes, mailhaul.Mailbox.IsInbox)
	require.GreaterOrEqual(t, i, 0)
	return l.Mailboxes[i]
}

// holds returns what a mailbox holds: subjects by UID.
func holds(t testing.TB, s mailhaul.Source, m mailhaul.Mailbox) map[mailhaul.UID]string {
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
	require.Less(t, all.Len(), 500, "fillers were left: %.300s", all)
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

// expected is what holds returns where each message has its UID.
func expected(uids ...mailhaul.UID) map[mailhaul.UID]string {
	m := make(map[mailhaul.UID]string)
	for _, u := range uids {
		m[u] = fmt.Sprintf("message %d", u)
	}
	return m
}

// uidsOf waits for a receipt and returns the UIDs.
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

// servers are those that a test of what every server does runs on.
func servers(t *testing.T, test func(t *testing.T, srv mailhaul.Server)) {
	inProcess := func(caps ...string) func(t *testing.T) mailhaul.Server {
		return func(t *testing.T) mailhaul.Server {
			return testserver.InProcess(t, imapserver.Options{Caps: imapserver.Without(caps...)}).Account(1).Server
		}
	}
	dovecot := func(store string) func(t *testing.T) mailhaul.Server {
		return func(t *testing.T) mailhaul.Server {
			return testserver.Dovecot(t, testserver.DovecotOptions{Store: store}).Account(1).Server
		}
	}
	for name, start := range map[string]func(t *testing.T) mailhaul.Server{
		"imapserver":           inProcess(),
		"imapserver, one each": inProcess("MULTIAPPEND", "LITERAL+"),
		"dovecot maildir":      dovecot("maildir"),
		"dovecot sdbox":        dovecot("sdbox"),
		"dovecot mdbox":        dovecot("mdbox"),
		"cyrus":                func(t *testing.T) mailhaul.Server { return testserver.Cyrus(t, testserver.Options{}).Account(1).Server },
		"courier": func(t *testing.T) mailhaul.Server {
			return testserver.Courier(t, testserver.Options{}).Account(1).Server
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}
