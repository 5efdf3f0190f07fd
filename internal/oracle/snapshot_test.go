// Servers whose answers go-imap's client loses messages over: Snapshot must
// fail, never report less than there is.

package oracle_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// scripted serves an account of one mailbox with two messages, and answers
// FETCH with the given responses.
func scripted(t *testing.T, fetch ...string) mailhaul.Server {
	return mailhaul.Server{
		Host: "localhost", Security: mailhaul.Plaintext, User: "u", Credentials: testserver.Password("p"),
		Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			t.Cleanup(func() { server.Close() })
			go func() {
				defer server.Close()
				w := bufio.NewWriter(server)
				say := func(lines ...string) {
					for _, l := range lines {
						w.WriteString(l + "\r\n")
					}
					w.Flush()
				}
				say("* OK [CAPABILITY IMAP4rev1 LIST-EXTENDED] hello")
				for r := bufio.NewScanner(server); r.Scan(); {
					tag, rest, _ := strings.Cut(r.Text(), " ")
					verb, _, _ := strings.Cut(rest, " ")
					switch verb {
					case "CAPABILITY":
						say("* CAPABILITY IMAP4rev1 LIST-EXTENDED")
					case "LIST":
						say(`* LIST (\Subscribed) "/" INBOX`)
					case "EXAMINE":
						say("* 2 EXISTS", "* FLAGS ()", "* OK [UIDVALIDITY 7] x", "* OK [UIDNEXT 9] x")
					case "FETCH":
						say(fetch...)
					case "HANG":
						return
					}
					say(tag + " OK done")
				}
			}()
			return client, nil
		},
	}
}

const (
	head1 = `* 1 FETCH (UID 3 FLAGS (\Seen) INTERNALDATE "01-Feb-2020 10:00:00 +0100" `
	head2 = `* 2 FETCH (UID 5 FLAGS () INTERNALDATE "01-Feb-2020 10:00:00 +0100" `
	body  = "BODY[] {3}\r\nabc)"
)

func TestSnapshotIsWholeOrFails(t *testing.T) {
	for name, tt := range map[string]struct {
		fetch []string
		fails bool
	}{
		"plain":                  {[]string{head1 + body, head2 + body}, false},
		"empty body":             {[]string{head1 + `BODY[] "")`, head2 + body}, false},
		"flag update afterwards": {[]string{head1 + body, `* 1 FETCH (UID 3 FLAGS (\Seen X))`, head2 + body}, false},
		"flag update before":     {[]string{`* 1 FETCH (UID 3 FLAGS (\Seen X))`, head1 + body, head2 + body}, true},
		"parts apart":            {[]string{head1[:len(head1)-1] + ")", "* 1 FETCH (UID 3 " + body, head2 + body}, true},
		"one left out":           {[]string{head2 + body}, true},
		"no UID":                 {[]string{strings.Replace(head1, "UID 3 ", "", 1) + body, head2 + body}, true},
		"no date":                {[]string{`* 1 FETCH (UID 3 FLAGS () ` + body, head2 + body}, true},
		"no body":                {[]string{head1[:len(head1)-1] + ")", head2 + body}, true},
		"NIL body":               {[]string{head1 + "BODY[] NIL)", head2 + body}, true},
		"two bodies":             {[]string{head1 + body[:len(body)-1] + " " + body, head2 + body}, true},
		"UIDs fall":              {[]string{strings.Replace(head1, "UID 3", "UID 8", 1) + body, head2 + body}, true},
		"number out of range":    {[]string{head1 + body, head2 + body, strings.Replace(head2, "* 2", "* 3", 1) + body}, false},
		"cut":                    {[]string{head1 + "BODY[] {300}\r\nabc)"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			a, err := oracle.Snapshot(ctx, scripted(t, tt.fetch...))
			if tt.fails {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, 2, a.Count())
			m := a.Find("INBOX").Messages
			require.Equal(t, [2]mailhaul.UID{3, 5}, [2]mailhaul.UID{m[0].UID, m[1].UID})
			require.Equal(t, []string{`\seen`}, m[0].Flags)
		})
	}
}

func TestSnapshotHeedsItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := oracle.Snapshot(ctx, scripted(t, head1+fmt.Sprintf("BODY[] {%d}\r\nabc", 1<<20)))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begin), time.Second)
}
