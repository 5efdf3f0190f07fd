package xuidl_test

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
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/uidmap/doveadm"
	"github.com/mailhaul/mailhaul/uidmap/filler"
	"github.com/mailhaul/mailhaul/uidmap/xuidl"
)

type memBody struct{ octets []byte }

func (b memBody) Size() int64       { return int64(len(b.octets)) }
func (b memBody) Reader() io.Reader { return bytes.NewReader(b.octets) }
func (memBody) Buffered() bool      { return true }
func (memBody) Release()            {}

func client(t *testing.T, srv mailhaul.Server) *imapx.Client {
	t.Helper()
	cl, err := imapx.New(imapx.Config{Server: srv})
	require.NoError(t, err)
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func imposer(t *testing.T, target mailhaul.Target) *xuidl.Imposer {
	t.Helper()
	x, err := xuidl.New(target)
	require.NoError(t, err)
	return x
}

func inbox(t *testing.T, s mailhaul.Source) mailhaul.Mailbox {
	t.Helper()
	l, err := s.List(context.Background())
	require.NoError(t, err)
	i := slices.IndexFunc(l.Mailboxes, mailhaul.Mailbox.IsInbox)
	require.GreaterOrEqual(t, i, 0)
	return l.Mailboxes[i]
}

// served returns the UIDLs that POP3 serves, in order.
func served(t *testing.T, srv mailhaul.Server) (all []mailhaul.UIDL) {
	t.Helper()
	p, err := pop3x.New(pop3x.Config{Server: srv})
	require.NoError(t, err)
	defer p.Close()
	r, err := p.OpenReader(context.Background(), inbox(t, p))
	require.NoError(t, err)
	defer r.Close()
	set, err := r.UIDs(context.Background())
	require.NoError(t, err)
	for m, err := range r.Messages(context.Background(), set, mailhaul.FieldSize, 0) {
		require.NoError(t, err)
		all = append(all, m.UIDL)
	}
	return all
}

// letters are messages with and without X-UIDL fields of their own.
func letters() (texts []string) {
	own := []string{"", "X-UIDL: own\r\n", "X-Uidl:\r\n folded own\r\n", "X-UIDL: one \r\nX-UIDL: two\r\n"}
	for i := range 12 {
		texts = append(texts, fmt.Sprintf("Message-ID: <%d@example>\r\n%sSubject: message %d\r\nFrom: a@example\r\n\r\ntext %d\r\n", i, own[i%len(own)], i, i))
	}
	return append(texts, "Subject: no text\r\nX-UIDL: own\r\n\r\n", "Subject: no text at all\r\n\r\n")
}

// identity is what the letters are to have.
func identity(uid func(i int) mailhaul.UID) (want mailhaul.Identity, batch []mailhaul.Outgoing) {
	odd := []string{"GmailId16a0b2c3", `x"y~!`, "<a&b@c>", "'+" + strings.Repeat("z", 68), "1"}
	want.UIDLs = true
	for i, text := range letters() {
		uidl := mailhaul.UIDL(fmt.Sprintf("uidl-%d", i))
		if i < len(odd) {
			uidl = mailhaul.UIDL(odd[i])
		}
		m := mailhaul.Message{UID: uid(i), UIDL: uidl, Order: uint32(i + 1), Size: int64(len(text))}
		want.Messages = append(want.Messages, m)
		batch = append(batch, mailhaul.Outgoing{UID: m.UID, UIDL: m.UIDL, Order: m.Order, Body: memBody{[]byte(text)}, InternalDate: time.Unix(1e9, 0)})
	}
	return want, batch
}

func stores(t *testing.T, test func(t *testing.T, s *testserver.Server)) {
	for _, store := range []string{"maildir", "sdbox", "mdbox"} {
		t.Run(store, func(t *testing.T) {
			test(t, testserver.Dovecot(t, testserver.DovecotOptions{Store: store, Extra: []string{"pop3_reuse_xuidl = yes"}}))
		})
	}
}

func write(t *testing.T, x mailhaul.Imposer, m mailhaul.Mailbox, want mailhaul.Identity, batch []mailhaul.Outgoing) []mailhaul.Outcome {
	t.Helper()
	w, err := x.OpenImposing(t.Context(), m, want)
	require.NoError(t, err)
	r, err := w.Append(t.Context(), batch)
	require.NoError(t, err)
	require.NoError(t, w.Finish(t.Context()))
	require.NoError(t, w.Close())
	outcomes, err := r.Wait(t.Context())
	require.NoError(t, err)
	return outcomes
}

// TestServed: POP3 serves the UIDLs, and readers see the messages without.
func TestServed(t *testing.T) {
	stores(t, func(t *testing.T, s *testserver.Server) {
		cl := client(t, s.Account(1).Server)
		x := imposer(t, cl)
		box := inbox(t, x)
		want, batch := identity(func(int) mailhaul.UID { return 0 })
		can, err := x.Imposable(t.Context(), box, want)
		require.NoError(t, err)
		require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact}, can)
		write(t, x, box, want, batch)
		var uidls []mailhaul.UIDL
		for _, m := range want.Messages {
			uidls = append(uidls, m.UIDL)
		}
		require.Equal(t, uidls, served(t, s.Account(1).POP3))
		require.Len(t, x.Warnings(), 1)
		require.Contains(t, x.Warnings()[0], "14 messages")
		require.Contains(t, x.Warnings()[0], "10 of them lost")

		for _, stream := range []bool{false, true} {
			r, err := x.OpenReader(t.Context(), box)
			require.NoError(t, err)
			for i, text := range letters() {
				bodies, err := r.Fetch(t.Context(), mailhaul.UIDSetOf(mailhaul.UID(i+1)), stream)
				require.NoError(t, err)
				for f, err := range bodies {
					require.NoError(t, err)
					got, err := io.ReadAll(f.Body.Reader())
					require.NoError(t, err)
					require.EqualValues(t, len(got), f.Body.Size())
					require.NotContains(t, strings.ToLower(string(got)), "x-uidl")
					if !strings.Contains(strings.ToLower(text), "x-uidl") {
						require.Equal(t, text, string(got))
					}
					f.Body.Release()
				}
			}
			require.NoError(t, r.Close())
		}

		// What has no UIDL is left alone.
		plain := []mailhaul.Outgoing{{Body: memBody{[]byte(letters()[1])}}, {UIDL: " digest", Body: memBody{[]byte(letters()[0])}}}
		write(t, x, box, mailhaul.Identity{}, plain)
		require.Contains(t, x.Warnings()[0], "14 messages")
		r, err := cl.OpenReader(t.Context(), box)
		require.NoError(t, err)
		defer r.Close()
		bodies, err := r.Fetch(t.Context(), mailhaul.UIDSetOf(15, 16), false)
		require.NoError(t, err)
		for f, err := range bodies {
			require.NoError(t, err)
			got, err := io.ReadAll(f.Body.Reader())
			require.NoError(t, err)
			require.Equal(t, letters()[16-f.UID], string(got))
			f.Body.Release()
		}
	})
}

func TestImposable(t *testing.T) {
	cl := client(t, testserver.InProcess(t, imapserver.Options{}).Account(1).Server)
	x := imposer(t, cl)
	_, err := xuidl.New(nil)
	require.Error(t, err)
	for _, c := range []struct {
		want   mailhaul.Identity
		level  mailhaul.Level
		reason string
	}{
		{mailhaul.Identity{UIDLs: true, Messages: []mailhaul.Message{{UIDL: "a b"}}}, mailhaul.LevelOrder, "none that a header can carry"},
		{mailhaul.Identity{UIDLs: true, Messages: []mailhaul.Message{{UIDL: mailhaul.UIDL(strings.Repeat("x", 71))}}}, mailhaul.LevelOrder, "70 octets"},
		{mailhaul.Identity{UIDLs: true, UIDValidity: 5}, mailhaul.LevelOrder, "UIDVALIDITY"},
		{mailhaul.Identity{}, mailhaul.LevelOrder, "no UIDLs"},
		{mailhaul.Identity{UIDLs: true}, mailhaul.LevelExact, ""},
	} {
		can, err := x.Imposable(t.Context(), inbox(t, cl), c.want)
		require.NoError(t, err)
		require.Equal(t, c.level, can.Level)
		require.Contains(t, can.Reason, c.reason)
	}
}

// TestComposed: every identity at once, by the API over fillers over X-UIDL, and
// with X-UIDL outside.
func TestComposed(t *testing.T) {
	for _, outside := range []bool{false, true} {
		t.Run(fmt.Sprintf("outside %v", outside), func(t *testing.T) {
			stores(t, func(t *testing.T, s *testserver.Server) {
				var target mailhaul.Target = client(t, s.Account(1).Server)
				if !outside {
					target = imposer(t, target)
				}
				f, err := filler.New(filler.Config{Target: target, Max: 20})
				require.NoError(t, err)
				var top mailhaul.Imposer
				top, err = doveadm.New(doveadm.Config{Target: f, Key: mailhaul.NewSecret(testserver.DoveadmAPIKey),
					Server: mailhaul.Server{Host: s.Host, Port: s.Port(testserver.DoveadmHTTP), Security: mailhaul.Plaintext}})
				require.NoError(t, err)
				if outside {
					top = imposer(t, top)
				}
				box := inbox(t, top)
				want, batch := identity(func(i int) mailhaul.UID { return mailhaul.UID(10 + 2*i + i/5*70_000) })
				want.UIDValidity, want.UIDNext = 4321, 300_000
				can, err := top.Imposable(t.Context(), box, want)
				require.NoError(t, err)
				require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact}, can)
				bad := want
				bad.Messages = append(slices.Clone(want.Messages), mailhaul.Message{UID: 400_000, UIDL: "a b"})
				can, err = top.Imposable(t.Context(), box, bad)
				require.NoError(t, err)
				require.Equal(t, mailhaul.LevelUID, can.Level)

				var uidls []mailhaul.UIDL
				for i, o := range write(t, top, box, want, batch) {
					require.Equal(t, want.Messages[i].UID, o.UID)
					uidls = append(uidls, want.Messages[i].UIDL)
				}
				require.Equal(t, uidls, served(t, s.Account(1).POP3))
				st, err := client(t, s.Account(1).Server).MailboxStatus(t.Context(), box)
				require.NoError(t, err)
				require.EqualValues(t, 4321, st.UIDValidity)
				require.EqualValues(t, 300_000, st.UIDNext)
				require.EqualValues(t, len(batch), st.Messages)
				w, ok := mailhaul.As[mailhaul.Warner](top)
				require.True(t, ok)
				require.Len(t, w.Warnings(), 1)
			})
		})
	}
}

// TestRecognisedAfterACrash: with the checkpoint lost, the engine finds its own
// work, whatever X-UIDL fields the source's messages have.
func TestRecognisedAfterACrash(t *testing.T) {
	for _, cleaned := range []bool{false, true} {
		t.Run(fmt.Sprintf("clean source %v", cleaned), func(t *testing.T) {
			from := testserver.InProcess(t, imapserver.Options{})
			a := from.Account(1)
			for _, text := range letters() {
				from.User(a.User).Mailbox("INBOX").Add(imapserver.Message{Body: []byte(text)})
			}
			var source mailhaul.Source = client(t, a.Server)
			if cleaned {
				source = xuidl.Clean(source)
			}
			x := imposer(t, client(t, testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1).Server))
			want, batch := identity(func(int) mailhaul.UID { return 0 })
			write(t, x, inbox(t, x), want, batch)

			s, err := mailsync.New(mailsync.Config{Source: source, Target: x})
			require.NoError(t, err)
			res, err := s.Run(t.Context())
			require.NoError(t, err)
			if cleaned {
				require.Zero(t, res.Copied)
				require.Empty(t, res.Altered)
			} else {
				// A message without text can be told by nothing but its octets.
				require.LessOrEqual(t, res.Copied, 1)
				require.NotEmpty(t, res.Altered, "octets of the source's own field are gone, and that is said")
			}
			require.Equal(t, len(batch), res.Copied+res.Adopted)
			require.Contains(t, strings.Join(res.Warnings, "\n"), "X-UIDL: 14 messages")
		})
	}
}
