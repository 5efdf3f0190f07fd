// POP3 accounts: everything that POP3 shows arrives once, as it was, and a
// second run finds nothing to do.

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/delayproxy"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// runPOP3 makes one pass from a POP3 account and returns what the source did.
func runPOP3(t testing.TB, state string, from pop3x.Config, to mailhaul.Server) (*mailsync.Result, mailhaul.Traffic) {
	t.Helper()
	store, err := checkpoint.Open(state, nil)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, checkpoint.Check(context.Background(), store))
		require.NoError(t, store.Close())
	}()
	source, err := pop3x.New(from)
	require.NoError(t, err)
	target := client(t, to)
	defer target.Close()
	s, err := mailsync.New(mailsync.Config{Source: source, Target: target, Store: store})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	res, err := s.Run(ctx)
	require.NoError(t, err)
	require.Empty(t, res.Failed)
	require.NoError(t, source.Close())
	return res, source.Traffic()
}

// inboxOf makes a corpus of one folder whose messages POP3 can carry as they
// are: with CR LF at their end, and no bare CR or LF.
func inboxOf(messages int) []corpus.Mailbox {
	return corpus.Generate(corpus.Spec{Messages: messages, MaxSize: 200_000, Folders: []corpus.Folder{{Path: []string{"INBOX"}, Role: mailhaul.RoleInbox, Subscribed: true, Weight: 1}}})
}

func TestPOP3FromDovecot(t *testing.T) {
	messages := 1000
	if testing.Short() {
		messages = 100
	}
	for _, store := range []string{"maildir", "sdbox"} {
		for _, target := range []string{"in-process", "dovecot"} {
			t.Run(store+" to "+target, func(t *testing.T) {
				source := testserver.Dovecot(t, testserver.DovecotOptions{Store: store})
				from := source.Account(1)
				var to testserver.Account
				if target == "dovecot" {
					to = testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
				} else {
					to = testserver.InProcess(t, imapserver.Options{}).Account(1)
				}
				r := newRig(t, from, to)
				r.load(inboxOf(messages))
				before := snapshot(t, from)

				var trace bytes.Buffer
				cfg := pop3x.Config{Server: from.POP3, Trace: func(l pop3x.TraceLine) { fmt.Fprintln(&trace, l.Sent, l.Text) }}
				res, _ := runPOP3(t, r.state, cfg, to.Server)
				require.Equal(t, messages, res.Copied)
				require.Empty(t, res.Altered)
				require.NotContains(t, trace.String(), from.Password)
				samePOP3Mail(t, before, snapshot(t, to))

				after := snapshot(t, from)
				marked := 0
				for _, d := range oracle.Compare(before, after, oracle.CompareOptions{SameUIDs: true}) {
					t.Logf("the source was changed: %s", d)
					marked++
				}
				require.LessOrEqual(t, marked, 3, "no more than the sample is marked as read")

				trace.Reset()
				res, traffic := runPOP3(t, r.state, cfg, to.Server)
				require.Zero(t, res.Copied+res.Adopted)
				require.Equal(t, messages, res.Skipped)
				require.LessOrEqual(t, traffic.RoundTrips, int64(8))
				require.NotContains(t, trace.String(), "RETR")
				require.NotContains(t, trace.String(), "TOP 1")

				cfg.Server = source.Reach(source.Users[0], testserver.POP3) // STLS
				r.state += "2"
				res, _ = runPOP3(t, r.state, cfg, to.Server)
				require.Equal(t, messages, res.Copied+res.Adopted, "another port is another account: adopted")
				require.Zero(t, res.Copied)
			})
		}
	}
}

// samePOP3Mail compares what POP3 carries: the octets of INBOX, in order.
func samePOP3Mail(t testing.TB, from, to *oracle.Account) {
	t.Helper()
	a, b := from.Find("INBOX"), to.Find("INBOX")
	require.Equal(t, len(a.Messages), len(b.Messages))
	for i := range a.Messages {
		require.Equal(t, a.Messages[i].Sum, b.Messages[i].Sum, "message %d", i)
		require.Empty(t, b.Messages[i].Flags)
	}
}

// TestPOP3Distance: how far away the source is hardly matters.
func TestPOP3Distance(t *testing.T) {
	messages := 2000
	if testing.Short() {
		messages = 200
	}
	source := testserver.Dovecot(t, testserver.DovecotOptions{})
	target := testserver.Dovecot(t, testserver.DovecotOptions{})
	newRig(t, source.Account(1), target.Account(1)).load(inboxOf(messages))
	took := make(map[time.Duration]time.Duration)
	for i, rtt := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		proxy := delayproxy.New(delayproxy.Options{RTT: rtt})
		from, to := source.Account(1).POP3, target.Account(i+1).Server
		from.Dial, to.Dial = proxy.Dial(nil), proxy.Dial(nil)
		began := time.Now()
		res, traffic := runPOP3(t, newRig(t, source.Account(1), target.Account(i+1)).state, pop3x.Config{Server: from}, to)
		took[rtt] = time.Since(began)
		require.Equal(t, messages, res.Copied)
		t.Logf("at %v: %d messages, %d octets in %.2f s, %.0f messages/s, %d round trips to the source", rtt, messages, res.Bytes,
			took[rtt].Seconds(), float64(messages)/took[rtt].Seconds(), traffic.RoundTrips)
		require.NoError(t, proxy.Close())
	}
	require.Less(t, took[100*time.Millisecond]-took[0], 6*time.Second)
}
