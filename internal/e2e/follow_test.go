// Following an account over IMAP and POP3: a day in fake time, with servers in
// the process, and seconds in real time, with real ones.

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func note(path string, i int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d@%s>\r\nDate: Mon, 1 Jan 2018 00:00:00 +0000\r\nSubject: %d\r\nFrom: ann@example.org\r\n\r\ntext %d\r\n",
		i, strings.ReplaceAll(path, "/", "."), i, i)
}

// contents returns what a mailbox of a server in the process holds, sorted.
func contents(u *imapserver.User, path string) []string {
	b := u.Mailbox(path)
	if b == nil {
		return nil
	}
	var out []string
	for _, m := range b.Messages() {
		var flags []string
		for _, f := range m.Flags {
			flags = append(flags, string(f))
		}
		slices.Sort(flags)
		out = append(out, fmt.Sprintf("%s %v", m.Body, flags))
	}
	slices.Sort(out)
	return out
}

// A day in which all connections, of either side or both, are lost every hour,
// and mail arrives, is flagged and filed all the time: nothing is missed, and
// while there is a connection it is on the target within the time that the
// server's abilities allow.
func TestFollowADayWithLostConnections(t *testing.T) {
	for _, c := range []struct {
		name       string
		caps       []string
		conns      int
		inbox, any time.Duration // how soon
		flags      bool          // are noticed within that time
	}{
		{"NOTIFY", imapserver.With("NOTIFY"), 4, time.Second, time.Second, true},
		{"IDLE", nil, 4, time.Second, 62 * time.Second, true},
		{"neither", imapserver.Without("IDLE"), 4, 11 * time.Second, 62 * time.Second, true},
		{"one connection", nil, 1, 62 * time.Second, 62 * time.Second, true},
		{"no mod-sequences", imapserver.Without("CONDSTORE"), 4, time.Second, 62 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := testserver.InProcess(t, imapserver.Options{Caps: c.caps, MaxConnsPerUser: c.conns})
				b := testserver.InProcess(t, imapserver.Options{})
				from, err := imapx.New(imapx.Config{Server: a.Account(1).Server, Connections: c.conns})
				require.NoError(t, err)
				defer from.Close()
				to := client(t, b.Account(1).Server)
				defer to.Close()
				source, target := a.User("u1"), b.User("u1")
				boxes := []string{"INBOX", "Work", "Work/2018"}
				for _, box := range boxes {
					for i := range 20 {
						source.Create(box).Add(imapserver.Message{Body: note(box, i)})
					}
				}
				s, err := mailsync.New(mailsync.Config{Source: from, Target: to})
				require.NoError(t, err)
				done := make(chan struct{})
				var res *mailsync.Result
				var passes int
				go func() {
					defer close(done)
					res, err = s.Follow(t.Context(), mailsync.FollowOptions{For: 24 * time.Hour, Passed: func(mailsync.Pass) { passes++ }})
				}()
				time.Sleep(time.Minute)
				has := func(path string, i int) bool {
					return slices.ContainsFunc(contents(target, path), func(s string) bool { return strings.HasPrefix(s, string(note(path, i))) })
				}
				for hour := range 23 {
					// With the connections just lost, it has up to some minutes.
					i := 1000 + 10*hour
					box := boxes[hour%3]
					source.Mailbox(box).Add(imapserver.Message{Body: note(box, i)})
					[]func(){a.DropConnections, b.DropConnections, func() { a.DropConnections(); b.DropConnections() }}[hour%3]()
					source.Mailbox(box).Add(imapserver.Message{Body: note(box, i+1)})
					time.Sleep(8 * time.Minute)
					require.True(t, has(box, i) && has(box, i+1), "hour %d: mail around a lost connection", hour)

					for n, box := range boxes {
						within := c.any
						if box == "INBOX" {
							within = c.inbox
						}
						uid := source.Mailbox(box).Add(imapserver.Message{Body: note(box, i+2+n)})
						time.Sleep(within)
						require.True(t, has(box, i+2+n), "hour %d: %s within %v", hour, box, within)
						source.Mailbox(box).SetFlags(uid, []mailhaul.Flag{mailhaul.FlagSeen})
						time.Sleep(within)
						if c.flags {
							require.Equal(t, contents(source, box), contents(target, box), "hour %d: a flag in %s within %v", hour, box, within)
						}
					}
					time.Sleep(time.Until(time.Date(2000, 1, 1, hour+1, 1, 0, 0, time.UTC)))
				}
				<-done
				require.NoError(t, err)
				require.Empty(t, res.Failed)
				require.Equal(t, 60+23*5, res.Copied)
				for _, box := range boxes {
					require.Equal(t, contents(source, box), contents(target, box))
				}
				t.Logf("%d passes; %d connections to the source, %d commands in %d round trips; IDLE %d, NOOP %d, LIST %d, STATUS %d",
					passes, from.Traffic().Connections, from.Traffic().Commands, from.Traffic().RoundTrips,
					a.Stats().Commands["IDLE"], a.Stats().Commands["NOOP"], a.Stats().Commands["LIST"], a.Stats().Commands["STATUS"])
			})
		})
	}
}

// A POP3 account is asked every 5 minutes at most, whatever it is told, and not
// locked in between.
func TestFollowPOP3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var logins []time.Time
		opts := pop3server.Options{}
		opts.Hooks.Command = func(n int, line string) *pop3server.Override {
			if strings.HasPrefix(line, "PASS") || strings.HasPrefix(line, "AUTH PLAIN") {
				mu.Lock()
				logins = append(logins, time.Now())
				mu.Unlock()
			}
			return nil
		}
		srv := pop3server.New(opts)
		defer srv.Close()
		drop := srv.AddUser("u1", "pw1")
		b := testserver.InProcess(t, imapserver.Options{})
		from, err := pop3x.New(pop3x.Config{Server: mailhaul.Server{
			Protocol: mailhaul.POP3, Host: "127.2.0.1", User: "u1", Credentials: testserver.Password("pw1"),
			Security: mailhaul.Plaintext, Dial: srv.Dial,
		}})
		require.NoError(t, err)
		defer from.Close()
		to := client(t, b.Account(1).Server)
		defer to.Close()
		s, err := mailsync.New(mailsync.Config{Source: from, Target: to})
		require.NoError(t, err)
		drop.Add("a1", note("INBOX", 1))
		done := make(chan struct{})
		var res *mailsync.Result
		go func() {
			defer close(done)
			res, err = s.Follow(t.Context(), mailsync.FollowOptions{For: 6 * time.Hour, Poll: time.Second})
		}()
		free := 0
		for i := range 60 {
			time.Sleep(5*time.Minute + 7*time.Second)
			drop.Add(fmt.Sprint("b", i), note("INBOX", 100+i))
			time.Sleep(47 * time.Second)
			if !drop.Locked() {
				free++
			}
		}
		<-done
		require.NoError(t, err)
		require.Equal(t, 61, res.Copied)
		require.Len(t, contents(b.User("u1"), "INBOX"), 61)
		require.GreaterOrEqual(t, free, 50, "the maildrop is free between two looks")
		mu.Lock()
		defer mu.Unlock()
		require.Greater(t, len(logins), 60)
		for i := 1; i < len(logins); i++ {
			require.GreaterOrEqual(t, logins[i].Sub(logins[i-1]), 5*time.Minute, "log-in %d", i)
		}
		t.Logf("%d log-ins in 6 hours", len(logins))
	})
}

// A maildrop that somebody else uses is not knocked at more often either.
func TestFollowPOP3InUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tries := 0
		busy := false
		opts := pop3server.Options{}
		opts.Hooks.Command = func(n int, line string) *pop3server.Override {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(line, "PASS") || strings.HasPrefix(line, "AUTH PLAIN") {
				tries++
				if busy {
					return &pop3server.Override{Reply: "-ERR [IN-USE] somebody reads"}
				}
			}
			return nil
		}
		srv := pop3server.New(opts)
		defer srv.Close()
		drop := srv.AddUser("u1", "pw1")
		b := testserver.InProcess(t, imapserver.Options{})
		from, err := pop3x.New(pop3x.Config{Server: mailhaul.Server{
			Protocol: mailhaul.POP3, Host: "127.2.0.1", User: "u1", Credentials: testserver.Password("pw1"),
			Security: mailhaul.Plaintext, Dial: srv.Dial,
		}})
		require.NoError(t, err)
		defer from.Close()
		to := client(t, b.Account(1).Server)
		defer to.Close()
		s, err := mailsync.New(mailsync.Config{Source: from, Target: to})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err = s.Follow(ctx, mailsync.FollowOptions{})
		}()
		time.Sleep(time.Minute)
		mu.Lock()
		busy, tries = true, 0
		mu.Unlock()
		drop.Add("late", note("INBOX", 1))
		time.Sleep(2 * time.Hour)
		mu.Lock()
		busy = false
		require.Greater(t, tries, 20)
		require.Less(t, tries, 2*24+4, "two looks at a maildrop, List and the Reader, each 5 minutes")
		mu.Unlock()
		time.Sleep(11 * time.Minute)
		require.Len(t, contents(b.User("u1"), "INBOX"), 1)
		stop()
		<-done
		require.True(t, errors.Is(err, context.Canceled))
	})
}
