// POP3 servers other than Dovecot, old ones among them.

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func TestPOP3Servers(t *testing.T) {
	messages := 150
	if testing.Short() {
		messages = 30
	}
	// Without twins and near-twins: some of these servers make a UIDL of what
	// these have in common, and are asked for headers then.
	var chosen []corpus.Message
	var octets [][]byte
	for i, m := range inboxOf(messages)[0].All() {
		if i%50 != 17 && i%50 != 33 {
			chosen = append(chosen, m)
			octets = append(octets, m.Body())
		}
	}
	messages = len(chosen)
	inbox := corpus.Of([]string{"INBOX"}, chosen...)
	for _, tt := range []struct {
		name  string
		start func(testing.TB) *testserver.Server
		// reach is how to log in, and over what.
		reach func(*testserver.Server, testserver.User) []mailhaul.Server
		added bool // the server adds header lines of its own
	}{
		{"cyrus", func(t testing.TB) *testserver.Server { return testserver.Cyrus(t, testserver.Options{}) }, overTLS, false},
		{"courier", func(t testing.TB) *testserver.Server { return testserver.Courier(t, testserver.Options{}) }, overTLS, false},
		{"mailutils", func(t testing.TB) *testserver.Server { return testserver.Mailutils(t, testserver.Options{}) },
			func(s *testserver.Server, u testserver.User) []mailhaul.Server {
				list := overTLS(s, u)
				for i := range list {
					list[i].User += "@" + testserver.MailutilsDomain
				}
				return list
			}, true},
		{"popa3d", func(t testing.TB) *testserver.Server { return testserver.Popa3d(t, testserver.Options{}) }, inTheClear, false},
		{"solid-pop3d", func(t testing.TB) *testserver.Server { return testserver.Solid(t, testserver.Options{}) }, inTheClear, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source := tt.start(t)
			u := source.Users[0]
			var sums []oracle.Message // what Cyrus made of 8-bit header fields
			if tt.name == "cyrus" {
				newRig(t, source.Account(1), source.Account(1)).load([]corpus.Mailbox{inbox})
				sums = snapshot(t, source.Account(1)).Find("INBOX").Messages
			} else {
				source.Deliver(u, octets...)
			}
			target := testserver.InProcess(t, imapserver.Options{})
			for i, srv := range tt.reach(source, u) {
				to := target.Account(i + 1)
				r := newRig(t, to, to)
				var trace bytes.Buffer
				cfg := pop3x.Config{Server: srv, Trace: func(l pop3x.TraceLine) { fmt.Fprintln(&trace, l.Sent, l.Text) }}
				res, traffic := runPOP3(t, r.state, cfg, to.Server)
				require.Equal(t, messages, res.Copied)
				require.NotContains(t, trace.String(), u.Password)
				t.Logf("%d round trips, warnings %q", traffic.RoundTrips, res.Warnings)
				there := target.User(to.User).Mailbox("INBOX").Messages()
				require.Len(t, there, messages)
				octets := octets
				if tt.name == "solid-pop3d" { // it lists files as they come
					octets = slices.SortedFunc(slices.Values(octets), bytes.Compare)
					slices.SortFunc(there, func(a, b imapserver.Message) int { return bytes.Compare(a.Body, b.Body) })
				}
				for k, m := range there {
					if sums != nil {
						require.Equal(t, sums[k].Sum, sha256.Sum256(m.Body))
					} else if tt.added {
						_, text, _ := bytes.Cut(octets[k], []byte("\r\n\r\n"))
						require.True(t, bytes.HasSuffix(m.Body, text), "message %d", k)
					} else {
						require.Equal(t, string(octets[k]), string(m.Body), "message %d", k)
					}
				}
				trace.Reset()
				res, traffic = runPOP3(t, r.state, cfg, to.Server)
				require.Zero(t, res.Copied+res.Adopted)
				require.Equal(t, messages, res.Skipped)
				require.LessOrEqual(t, traffic.RoundTrips, int64(8))
				require.NotContains(t, trace.String(), "RETR")
				require.NotContains(t, trace.String(), "TOP 1")
				if last := tt.reach(source, u); i == len(last)-1 {
					removeMoved(t, r.state, cfg, to.Server, messages)
					res, _ = runPOP3(t, r.state, cfg, to.Server)
					require.Zero(t, res.Messages)
					require.Len(t, target.User(to.User).Mailbox("INBOX").Messages(), messages)
				}
			}
			cfg := pop3x.Config{Server: tt.reach(source, u)[0]}
			cfg.Server.Credentials = testserver.Password("wrong-password")
			wrong, err := pop3x.New(cfg)
			require.NoError(t, err)
			_, err = wrong.OpenReader(t.Context(), mailhaul.Mailbox{Wire: "INBOX"})
			require.Equal(t, mailhaul.Auth, mailhaul.KindOf(err), "%v", err)
			require.NoError(t, wrong.Close())
		})
	}
}

// removeMoved deletes on the source what was moved: all of it.
func removeMoved(t *testing.T, state string, from pop3x.Config, to mailhaul.Server, messages int) {
	t.Helper()
	store, err := checkpoint.Open(state, nil)
	require.NoError(t, err)
	defer store.Close()
	source, err := pop3x.New(from)
	require.NoError(t, err)
	defer source.Close()
	target := client(t, to)
	defer target.Close()
	out, err := mailsync.RemoveMoved(t.Context(), mailsync.RemoveOptions{Source: source, Target: target, Store: store})
	require.NoError(t, err)
	require.Equal(t, messages, out.Removed, "kept: %v, %q", out.Kept, source.Warnings())
}

// overTLS reaches a server with implicit TLS and with STLS.
func overTLS(s *testserver.Server, u testserver.User) []mailhaul.Server {
	return []mailhaul.Server{s.Reach(u, testserver.POP3S), s.Reach(u, testserver.POP3)}
}

func inTheClear(s *testserver.Server, u testserver.User) []mailhaul.Server {
	srv := s.Reach(u, testserver.POP3)
	srv.Security = mailhaul.Plaintext
	return []mailhaul.Server{srv}
}
