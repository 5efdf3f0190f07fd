package doveadm_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/uidmap"
	"github.com/mailhaul/mailhaul/uidmap/doveadm"
	"github.com/mailhaul/mailhaul/uidmap/filler"
)

func TestConfigNamesAllMistakes(t *testing.T) {
	_, err := doveadm.New(doveadm.Config{Server: mailhaul.Server{Security: mailhaul.StartTLS}, FillUpTo: -1, Timeout: -1})
	for _, name := range []string{"Target", "host and a port", "StartTLS", "Key", "FillUpTo", "Timeout"} {
		require.ErrorContains(t, err, name)
	}
}

// TestExact: on every store, IMAP and POP3 see every identity: UIDVALIDITY set
// by itself on an empty mailbox, UIDNEXT after it (Maildir would be one off
// otherwise), gaps, UIDNEXT, HIGHESTMODSEQ, UIDLs; and a later pass goes on.
func TestExact(t *testing.T) {
	stores(t, func(t *testing.T, s *testserver.Server) {
		cl := client(t, s.Account(1).Server)
		d := imposer(t, s, cl)
		box := named(t, cl, "INBOX")
		uids := []mailhaul.UID{5, 6, 7, 900, 70_000, 70_001, 2_000_000_000}
		want := identity(1_234_567, 2_000_000_010, uids...)
		want.HighestModSeq, want.UIDLs = 5000, true
		for i := range want.Messages {
			want.Messages[i].UIDL = mailhaul.UIDL(fmt.Sprintf("%08x%08x", uint32(uids[i]), 1_234_567))
		}
		can, err := d.Imposable(t.Context(), box, want)
		require.NoError(t, err)
		require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact}, can)
		require.Equal(t, uids, move(t, d, box, want, uids, 3))

		other := client(t, s.Account(1).Server)
		require.Equal(t, expected(uids...), held(t, other, box))
		st, err := other.MailboxStatus(t.Context(), box)
		require.NoError(t, err)
		require.EqualValues(t, 1_234_567, st.UIDValidity)
		require.EqualValues(t, 2_000_000_010, st.UIDNext)
		require.GreaterOrEqual(t, st.HighestModSeq, mailhaul.ModSeq(5000))
		var served []mailhaul.UIDL
		for _, m := range want.Messages {
			served = append(served, m.UIDL)
		}
		require.Equal(t, served, uidls(t, s.Account(1).POP3))

		later := []mailhaul.UID{2_000_000_010, 2_000_000_020}
		want = identity(1_234_567, 2_000_000_030, later...)
		can, err = d.Imposable(t.Context(), box, want)
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelExact, can.Level)
		require.Equal(t, later, move(t, d, box, want, later, 3))
		st, err = other.MailboxStatus(t.Context(), box)
		require.NoError(t, err)
		require.EqualValues(t, 2_000_000_030, st.UIDNext)
		require.Empty(t, d.Warnings())

		// An empty mailbox has an identity, too; and one with a name.
		empty, err := cl.Create(t.Context(), []string{"Entwürfe & \"mehr\" *"}, mailhaul.RoleNone)
		require.NoError(t, err)
		require.Empty(t, move(t, d, empty, identity(42, 9), nil, 1))
		st, err = other.MailboxStatus(t.Context(), empty)
		require.NoError(t, err)
		require.EqualValues(t, 42, st.UIDValidity)
		require.EqualValues(t, 9, st.UIDNext)
	})
}

// TestNoSessionIsCut: connections of ours that had the mailbox selected leave
// it before its UIDVALIDITY changes; somebody else's is cut, and what it had
// under way is there once.
func TestNoSessionIsCut(t *testing.T) {
	stores(t, func(t *testing.T, s *testserver.Server) {
		cl := client(t, s.Account(1).Server)
		d := imposer(t, s, cl)
		box := named(t, cl, "INBOX")
		for range 2 { // leave connections behind that have it selected
			w, err := cl.OpenWriter(t.Context(), box)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			r, err := cl.OpenReader(t.Context(), box)
			require.NoError(t, err)
			require.NoError(t, r.Close())
		}
		foreign := client(t, s.Account(1).Server)
		fw, err := foreign.OpenWriter(t.Context(), box)
		require.NoError(t, err)

		uids := []mailhaul.UID{10, 11, 20}
		require.Equal(t, uids, move(t, d, box, identity(99, 30, uids...), uids, 10))
		require.Equal(t, expected(uids...), held(t, client(t, s.Account(1).Server), box))

		// The trap: stored, and cut before the answer. The Writer says that it
		// does not know, and does not try again.
		r, err := fw.Append(t.Context(), outgoing(40))
		if err == nil {
			outcomes, werr := r.Wait(t.Context())
			err = werr
			require.NotEqual(t, mailhaul.NotStored, outcomes[0].Delivery)
		}
		_ = fw.Close()
		t.Logf("the foreign session: %v", err)
		found := held(t, client(t, s.Account(1).Server), box)
		copies := 0
		for _, subject := range found {
			if subject == "message 40" {
				copies++
			}
		}
		require.Equal(t, 1, copies)
	})
}

// TestUIDValidityOfMailIsLeftAlone: a mailbox that holds mail keeps its
// UIDVALIDITY and its UIDs, and what cannot be had is said beforehand.
func TestUIDValidityOfMailIsLeftAlone(t *testing.T) {
	stores(t, func(t *testing.T, s *testserver.Server) {
		cl := client(t, s.Account(1).Server)
		d := imposer(t, s, cl)
		box := named(t, cl, "INBOX")
		require.Equal(t, []mailhaul.UID{1, 2}, move(t, d, box, identity(0, 0), []mailhaul.UID{1, 2}, 2))
		before, err := cl.MailboxStatus(t.Context(), box)
		require.NoError(t, err)

		can, err := d.Imposable(t.Context(), box, identity(77, 20, 10, 11))
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelUID, can.Level)
		require.Contains(t, can.Reason, "holds 2 messages under the UIDVALIDITY")
		can, err = d.Imposable(t.Context(), box, identity(77, 20, 2, 11))
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelOrder, can.Level)
		require.Contains(t, can.Reason, "has come to UID 2 already")
		can, err = d.Imposable(t.Context(), box, mailhaul.Identity{UIDValidity: before.UIDValidity, UIDNext: 2})
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelOrder, can.Level)

		require.Equal(t, []mailhaul.UID{3, 11}, move(t, d, box, identity(77, 20, 2, 11), []mailhaul.UID{2, 11}, 2))
		after, err := cl.MailboxStatus(t.Context(), box)
		require.NoError(t, err)
		require.Equal(t, before.UIDValidity, after.UIDValidity)
		require.Equal(t, map[mailhaul.UID]string{1: "message 1", 2: "message 2", 3: "message 2", 11: "message 11"}, held(t, cl, box))
		require.Len(t, d.Warnings(), 2)
		require.Contains(t, d.Warnings()[0], "keeps its UIDVALIDITY")
		require.Contains(t, d.Warnings()[1], "UID 2 got UID 3")
	})
}

// TestSomebodyDelivers: what is there keeps its UID, what cannot be imposed is
// stored, and identity goes on at the next UID that is free.
func TestSomebodyDelivers(t *testing.T) {
	stores(t, func(t *testing.T, s *testserver.Server) {
		cl := client(t, s.Account(1).Server)
		d := imposer(t, s, cl)
		box := named(t, cl, "INBOX")
		w, err := d.OpenImposing(t.Context(), box, identity(99, 0, 10, 11, 12, 20))
		require.NoError(t, err)
		r1, err := w.Append(t.Context(), outgoing(10))
		require.NoError(t, err)
		require.Equal(t, []mailhaul.UID{10}, uidsOf(t, r1))
		fw, err := client(t, s.Account(1).Server).OpenWriter(t.Context(), box)
		require.NoError(t, err)
		fr, err := fw.Append(t.Context(), outgoing(500))
		require.NoError(t, err)
		require.Equal(t, []mailhaul.UID{11}, uidsOf(t, fr))
		require.NoError(t, fw.Close())
		r2, err := w.Append(t.Context(), outgoing(11, 12, 20))
		require.NoError(t, err)
		require.NoError(t, w.Finish(t.Context()))
		require.NoError(t, w.Close())
		require.Equal(t, []mailhaul.UID{12, 13, 20}, uidsOf(t, r2))
		require.Equal(t, map[mailhaul.UID]string{10: "message 10", 11: "message 500", 12: "message 11", 13: "message 12", 20: "message 20"}, held(t, cl, box))
		require.Len(t, d.Warnings(), 1)
		require.Contains(t, d.Warnings()[0], "UID 11 got UID 12")
	})
}

// TestOverFillers: small gaps by fillers, wide ones by the API.
func TestOverFillers(t *testing.T) {
	stores(t, func(t *testing.T, s *testserver.Server) {
		cl := client(t, s.Account(1).Server)
		f, err := filler.New(filler.Config{Target: cl, Max: 60})
		require.NoError(t, err)
		d := imposer(t, s, f)
		recoverer, ok := mailhaul.As[mailhaul.Recoverer](d)
		require.True(t, ok)
		require.Same(t, f, recoverer)
		box := named(t, cl, "INBOX")
		var uids []mailhaul.UID
		u := mailhaul.UID(3)
		for i := range mailhaul.UID(90) { // more small gaps than fillers
			if u++; i%3 == 0 {
				u++
			}
			if i%25 == 0 {
				u += 50_000
			}
			uids = append(uids, u)
		}
		for i := range 40 {
			u += 2
			uids = append(uids, u)
			_ = i
		}
		want := identity(7, u+100, uids...)
		want.HighestModSeq = 9999
		can, err := d.Imposable(t.Context(), box, want)
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelExact, can.Level)
		require.Equal(t, uids, move(t, d, box, want, uids, 20))
		require.Equal(t, expected(uids...), held(t, cl, box))
		st, err := cl.MailboxStatus(t.Context(), box)
		require.NoError(t, err)
		require.EqualValues(t, 7, st.UIDValidity)
		require.Equal(t, u+100, st.UIDNext)
		require.GreaterOrEqual(t, st.HighestModSeq, mailhaul.ModSeq(9999))
		require.Empty(t, d.Warnings())
	})
}

// TestUIDLs: exact where the server makes the source's UIDLs.
func TestUIDLs(t *testing.T) {
	s := testserver.Dovecot(t, testserver.DovecotOptions{Extra: []string{"pop3_uidl_format = %v.%u"}})
	cl := client(t, s.Account(1).Server)
	cyrus, ok := uidmap.FormulaNamed("uidvalidity.uid")
	require.True(t, ok)
	d, err := doveadm.New(doveadm.Config{Target: cl, Server: admin(s), Key: mailhaul.NewSecret(testserver.DoveadmAPIKey), UIDLs: cyrus})
	require.NoError(t, err)
	box := named(t, cl, "INBOX")
	want := identity(321, 0, 4, 9)
	want.UIDLs = true
	want.Messages[0].UIDL, want.Messages[1].UIDL = "321.4", "GmailId16a0"
	can, err := d.Imposable(t.Context(), box, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelUID, can.Level)
	require.Contains(t, can.Reason, "GmailId16a0")
	want.Messages[1].UIDL = "321.9"
	can, err = d.Imposable(t.Context(), box, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelExact, can.Level)
	want.Messages[0].Order, want.Messages[1].Order = 2, 1
	can, err = d.Imposable(t.Context(), box, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelUID, can.Level, "the maildrop has another order")
	want.Messages[0].Order, want.Messages[1].Order = 0, 0
	move(t, d, box, want, []mailhaul.UID{4, 9}, 2)
	require.Equal(t, []mailhaul.UIDL{"321.4", "321.9"}, uidls(t, s.Account(1).POP3))
}

// TestRefusedMessageKeepsItsPlace: a message that the server refuses in the
// middle of a batch does not shift those behind it, with fillers or without.
func TestRefusedMessageKeepsItsPlace(t *testing.T) {
	for _, filled := range []bool{false, true} {
		t.Run(fmt.Sprintf("fillers %v", filled), func(t *testing.T) {
			s := testserver.Dovecot(t, testserver.DovecotOptions{Store: "mdbox", QuotaBytes: 1 << 30, Extra: []string{
				"plugin {\n quota_max_mail_size = 1500\n}",
			}})
			cl := client(t, s.Account(1).Server)
			var target mailhaul.Target = cl
			if filled {
				f, err := filler.New(filler.Config{Target: cl, Max: 100})
				require.NoError(t, err)
				target = f
			}
			d := imposer(t, s, target)
			box := named(t, cl, "INBOX")
			w, err := d.OpenImposing(t.Context(), box, identity(9, 0, 2, 3, 4, 5, 8, 9, 10))
			require.NoError(t, err)
			batch := outgoing(2, 3, 4, 5)
			batch[1].Body = memBody{octets: []byte(letterTo(3) + strings.Repeat("x", 3000))}
			r, err := w.Append(t.Context(), batch)
			require.NoError(t, err)
			large := outgoing(8)
			large[0].Body = memBody{octets: []byte(letterTo(8) + strings.Repeat("x", 3000)), stream: true}
			_, err = w.Append(t.Context(), large)
			require.NoError(t, err)
			r3, err := w.Append(t.Context(), outgoing(9, 10))
			require.NoError(t, err)
			require.NoError(t, w.Finish(t.Context()))
			require.NoError(t, w.Close())
			outcomes, err := r.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, mailhaul.NotStored, outcomes[1].Delivery)
			require.EqualValues(t, 4, outcomes[2].UID)
			require.Equal(t, []mailhaul.UID{9, 10}, uidsOf(t, r3))
			require.Equal(t, expected(2, 4, 5, 9, 10), held(t, cl, box))
			require.Empty(t, d.Warnings())
		})
	}
}

// TestRealErrors: what the real API says when something is wrong.
func TestRealErrors(t *testing.T) {
	s := testserver.Dovecot(t, testserver.DovecotOptions{})
	cl := client(t, s.Account(1).Server)
	box := named(t, cl, "INBOX")
	cfg := doveadm.Config{Target: cl, Server: admin(s), Key: mailhaul.NewSecret(testserver.DoveadmAPIKey)}
	imposable := func(cfg doveadm.Config, m mailhaul.Mailbox) (mailhaul.Imposable, error) {
		d, err := doveadm.New(cfg)
		require.NoError(t, err)
		return d.Imposable(t.Context(), m, identity(1, 0))
	}

	wrong := cfg
	wrong.Key = mailhaul.NewSecret("not-the-key")
	_, err := imposable(wrong, box)
	require.Equal(t, mailhaul.Auth, mailhaul.KindOf(err), err)
	require.NotContains(t, err.Error(), "not-the-key")

	nobody := cfg
	nobody.User = "nobody"
	can, err := imposable(nobody, box)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelOrder, can.Level)
	require.Contains(t, can.Reason, "no such user")

	missing := box
	missing.Name, missing.Wire = "Gone", "Gone"
	_, err = imposable(cfg, missing)
	require.Equal(t, mailhaul.Conflict, mailhaul.KindOf(err), err)
	d := imposer(t, s, cl)
	_, err = d.OpenImposing(t.Context(), missing, identity(1, 0))
	require.Equal(t, mailhaul.Conflict, mailhaul.KindOf(err), err)

	unnamed := box
	unnamed.Name = "\xff"
	can, err = imposable(cfg, unnamed)
	require.NoError(t, err)
	require.Contains(t, can.Reason, "cannot be decoded")

	can, err = imposable(cfg, mailhaul.Mailbox{Path: []string{"new"}})
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelExact, can.Level)

	imapPort := cfg
	imapPort.Server.Port = s.Port(testserver.IMAP)
	imapPort.Timeout = 5 * time.Second
	_, err = imposable(imapPort, box)
	require.Error(t, err)

	closed := cfg
	closed.Server.Port = 1
	_, err = imposable(closed, box)
	require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err), err)

	away := cfg
	away.Server.Host = "192.0.2.1"
	can, err = imposable(away, box)
	require.NoError(t, err)
	require.Contains(t, can.Reason, "no connection without TLS")
}

// TestHostileAnswers: whatever an API answers is an error of the right kind,
// bounded, and quotes no secret.
func TestHostileAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		kind   mailhaul.Kind
	}{
		"unauthorized":    {401, "", mailhaul.Auth},
		"redirect":        {302, "", mailhaul.Permanent},
		"not found":       {404, "", mailhaul.Permanent},
		"too many":        {429, "", mailhaul.Throttled},
		"broken":          {502, "", mailhaul.Transient},
		"empty":           {200, "", mailhaul.Corrupt},
		"no JSON":         {200, "hello", mailhaul.Corrupt},
		"no answer":       {200, "[]", mailhaul.Corrupt},
		"two":             {200, `[["doveadmResponse",[],"c"],["doveadmResponse",[],"c"]]`, mailhaul.Corrupt},
		"another's":       {200, `[["doveadmResponse",[],"d"]]`, mailhaul.Corrupt},
		"numbers":         {200, `[[1,2,3]]`, mailhaul.Corrupt},
		"unknown kind":    {200, `[["what",[],"c"]]`, mailhaul.Corrupt},
		"no object":       {200, `[["error",[],"c"]]`, mailhaul.Corrupt},
		"no rows":         {200, `[["doveadmResponse",{},"c"]]`, mailhaul.Corrupt},
		"huge number":     {200, `[["doveadmResponse",[{"mailbox":"INBOX","uidnext":"99999999999"}],"c"]]`, mailhaul.Corrupt},
		"unknown method":  {200, `[["error",{"type":"unknownMethod","exitCode":0},"c"]]`, mailhaul.Permanent},
		"temporary":       {200, `[["error",{"type":"exitCode","exitCode":75},"c"]]`, mailhaul.Transient},
		"not there":       {200, `[["error",{"type":"exitCode","exitCode":68},"c"]]`, mailhaul.Conflict},
		"unknown code":    {200, `[["error",{"type":"exitCode","exitCode":-1},"c"]]`, mailhaul.Permanent},
		"another mailbox": {200, `[["doveadmResponse",[{"mailbox":"OTHER","uidnext":"1"}],"c"]]`, mailhaul.Conflict},
		"endless":         {200, "endless", mailhaul.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.status == 302 {
					w.Header().Set("Location", "/elsewhere")
				}
				require.NotEqual(t, "/elsewhere", r.URL.Path, "the key is not carried elsewhere")
				w.WriteHeader(c.status)
				for c.body == "endless" && r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
				_, _ = w.Write([]byte(c.body))
			}))
			defer srv.Close()
			u, err := url.Parse(srv.URL)
			require.NoError(t, err)
			port, err := strconv.Atoi(u.Port())
			require.NoError(t, err)
			cl := client(t, testserver.InProcess(t, imapserver.Options{}).Account(1).Server)
			d, err := doveadm.New(doveadm.Config{Target: cl, Key: mailhaul.NewSecret("hush"),
				Server: mailhaul.Server{Host: u.Hostname(), Port: port, Security: mailhaul.Plaintext}})
			require.NoError(t, err)
			defer d.Close()
			_, err = d.OpenImposing(t.Context(), named(t, cl, "INBOX"), identity(1, 0))
			e, ok := errors.AsType[*mailhaul.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, c.kind, e.Kind, err)
			require.NotContains(t, err.Error(), "hush")
			require.Less(t, len(err.Error()), 600)
		})
	}
}

// TestServerThatTellsTheKey: whatever an answer holds, an error does not hold the
// key, and is short.
func TestServerThatTellsTheKey(t *testing.T) {
	long := strings.Repeat("x", 50_000)
	for name, answer := range map[string]func(header string) string{
		"status line": func(h string) string { return "HTTP/" + h + "\r\n\r\n" },
		"long line":   func(string) string { return "220 " + long + "\r\n" },
		"header":      func(h string) string { return "HTTP/1.1 200 OK\r\n" + strings.ReplaceAll(h, ":", "") + "\r\n\r\n" },
		"number": func(h string) string {
			body := `[["doveadmResponse",[{"mailbox":"INBOX","uidnext":"` + strings.TrimSpace(h) + `"}],"c"]]`
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		},
		"long number": func(string) string {
			body := `[["doveadmResponse",[{"mailbox":"INBOX","uidnext":"` + long + `"}],"c"]]`
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_ = c.SetDeadline(time.Now().Add(10 * time.Second))
					in := bufio.NewReader(c)
					for {
						line, err := in.ReadString('\n')
						if key, ok := strings.CutPrefix(line, "Authorization: X-Dovecot-API "); ok {
							_, _ = io.WriteString(c, answer("Key: "+strings.TrimSpace(key)+" hush"))
							break
						}
						if err != nil {
							break
						}
					}
					_ = c.Close()
				}
			}()
			defer func() { _ = l.Close(); <-done }()
			cl := client(t, testserver.InProcess(t, imapserver.Options{}).Account(1).Server)
			d, err := doveadm.New(doveadm.Config{Target: cl, Key: mailhaul.NewSecret("hush"),
				Server: mailhaul.Server{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: mailhaul.Plaintext}})
			require.NoError(t, err)
			defer d.Close()
			_, err = d.OpenImposing(t.Context(), named(t, cl, "INBOX"), identity(1, 0))
			require.Error(t, err)
			require.NotContains(t, err.Error(), "hush")
			require.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString([]byte("hush")))
			require.Less(t, len(err.Error()), 600)
		})
	}
}

// TestOverTLS: the certificate is proved.
func TestOverTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[["doveadmResponse",[{"mailbox":"INBOX","messages":"0","uidnext":"1","uidvalidity":"1","highestmodseq":"1"}],"c"]]`))
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(u.Port())
	require.NoError(t, err)
	cl := client(t, testserver.InProcess(t, imapserver.Options{}).Account(1).Server)
	cfg := doveadm.Config{Target: cl, Key: mailhaul.NewSecret("hush"), Server: mailhaul.Server{Host: u.Hostname(), Port: port}}
	d, err := doveadm.New(cfg)
	require.NoError(t, err)
	can, err := d.Imposable(t.Context(), named(t, cl, "INBOX"), identity(1, 0))
	require.True(t, err != nil || strings.Contains(can.Reason, "certificate"), "%v %v", can, err)

	cfg.Server.TLS.Roots = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	d, err = doveadm.New(cfg)
	require.NoError(t, err)
	defer d.Close()
	can, err = d.Imposable(t.Context(), named(t, cl, "INBOX"), identity(1, 0))
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelExact, can.Level)
}

// TestRelief: the session opens the mailbox again before it has piled up too
// much, and goes on with the same identity, fillers or not.
func TestRelief(t *testing.T) {
	s := testserver.Dovecot(t, testserver.DovecotOptions{})
	for i, filled := range []bool{false, true} {
		var selects atomic.Int32
		cl, err := imapx.New(imapx.Config{Server: s.Account(i + 1).Server, Trace: func(l imapx.TraceLine) {
			if l.Sent && strings.Contains(l.Text, "SELECT ") && !strings.Contains(l.Text, "UNSELECT") {
				selects.Add(1)
			}
		}})
		require.NoError(t, err)
		defer cl.Close()
		var target mailhaul.Target = cl
		if filled {
			target, err = filler.New(filler.Config{Target: cl, Max: 100})
			require.NoError(t, err)
		}
		d := imposer(t, s, target)
		w, err := d.OpenImposing(t.Context(), named(t, cl, "INBOX"), identity(5, 0))
		require.NoError(t, err)
		w.(*doveadm.Writer).Pile()
		before := selects.Load()
		r, err := w.Append(t.Context(), outgoing(10, 12, 1000, 1001, 2000))
		require.NoError(t, err)
		require.NoError(t, w.Finish(t.Context()))
		require.NoError(t, w.Close())
		require.Equal(t, []mailhaul.UID{10, 12, 1000, 1001, 2000}, uidsOf(t, r))
		require.Equal(t, before+1, selects.Load())
	}
}
