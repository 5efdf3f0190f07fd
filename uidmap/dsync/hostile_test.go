package dsync

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// stub is a Target with one mailbox, of which there is only a state.
type stub struct {
	mailhaul.Target
	mailhaul.Reader
	status mailhaul.Status
}

func (s *stub) Account() mailhaul.Account { return mailhaul.Account{User: "u1"} }
func (s *stub) OpenReader(context.Context, mailhaul.Mailbox) (mailhaul.Reader, error) {
	return s, nil
}
func (s *stub) Status() mailhaul.Status { return s.status }
func (s *stub) UIDs(context.Context) (mailhaul.UIDSet, error) {
	if s.status.UIDNext > 1 {
		return mailhaul.UIDSet{{First: 1, Last: s.status.UIDNext - 1}}, nil
	}
	return nil, nil
}
func (s *stub) Messages(context.Context, mailhaul.UIDSet, mailhaul.Fields, mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(func(mailhaul.Message, error) bool) {}
}
func (s *stub) Close() error { return nil }

// peerOf returns a Target whose every connection is served by f, after the
// log-in.
func peerOf(t testing.TB, f func(in *bufio.Reader, out io.Writer)) *Target {
	t.Helper()
	return rawPeerOf(t, func(in *bufio.Reader, out io.Writer) {
		_, _ = in.ReadString('\n') // VERSION
		_, _ = io.WriteString(out, "-\n")
		_, _ = in.ReadString('\n') // PLAIN
		_, _ = io.WriteString(out, "+\n")
		_, _ = in.ReadString('\n') // the command
		_, _ = io.WriteString(out, "\n+\n")
		f(in, out)
	})
}

func rawPeerOf(t testing.TB, f func(in *bufio.Reader, out io.Writer)) *Target {
	t.Helper()
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
			f(bufio.NewReader(c), c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	target, err := New(&stub{status: mailhaul.Status{UIDValidity: 9, UIDNext: 1}}, Config{
		Server: mailhaul.Server{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: mailhaul.Plaintext,
			Credentials: testserver.Password("s3cret")},
		ProgressTimeout: 500 * time.Millisecond,
	})
	require.NoError(t, err)
	return target
}

// The honest beginnings of a server.
const (
	guid    = "00112233445566778899aabbccddeeff"
	greeted = "VERSION\tdsync\t3\t5\nHhostname\nSmailbox_guid\tlast_uidvalidity\tlast_common_uid\tlast_common_modseq\tlast_common_pvt_modseq\tchanges_during_sync\n" +
		"Nname\texistence\tmailbox_guid\nDhierarchy_sep\tescape_char\nBmailbox_guid\tuid_validity\tuid_next\tmessages_count\thighest_modseq\thave_save_guids\n" +
		"Rguid\tuid\nFerror\tmail_error\n.\nHhost\n"
	listed = greeted + "NINBOX\ty\t" + guid + "\n.\nD/\t%\n"
	boxed  = listed + "B" + guid + "\t9\t1\t0\t1\t\n"
)

// TestHostilePeers: whatever it says, it ends, soon, in an error that holds no
// secret, and costs no memory.
func TestHostilePeers(t *testing.T) {
	endless := func(text string) func(*bufio.Reader, io.Writer) {
		return func(_ *bufio.Reader, out io.Writer) {
			block := strings.Repeat(text, 1+(64<<10)/len(text))
			for {
				if _, err := io.WriteString(out, block); err != nil {
					return
				}
			}
		}
	}
	say := func(text string) func(*bufio.Reader, io.Writer) {
		return func(in *bufio.Reader, out io.Writer) {
			_, _ = io.WriteString(out, text)
			_, _ = io.Copy(io.Discard, in)
		}
	}
	hang := func(text string) func(*bufio.Reader, io.Writer) {
		return func(_ *bufio.Reader, out io.Writer) {
			_, _ = io.WriteString(out, text)
			time.Sleep(800 * time.Millisecond)
		}
	}
	early := func(text string) func(*bufio.Reader, io.Writer) {
		return func(_ *bufio.Reader, out io.Writer) { _, _ = io.WriteString(out, text) }
	}
	after := func(text string, f func(*bufio.Reader, io.Writer)) func(*bufio.Reader, io.Writer) {
		return func(in *bufio.Reader, out io.Writer) { _, _ = io.WriteString(out, text); f(in, out) }
	}
	trickle := func(in *bufio.Reader, out io.Writer) {
		for range 40 {
			if _, err := io.WriteString(out, "x"); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	for _, c := range []struct {
		name string
		f    func(*bufio.Reader, io.Writer)
		kind mailhaul.Kind
		text string
	}{
		{"endless line", endless("x"), mailhaul.Corrupt, "longer than"},
		{"endless headers", after("VERSION\tdsync\t3\t5\n", endless("Nname\n")), mailhaul.Corrupt, "no end"},
		{"endless keys", say("VERSION\tdsync\t3\t5\nN" + strings.Repeat("k\t", 200) + "\n"), mailhaul.Corrupt, "keys"},
		{"endless tree", after(greeted, endless("Nx\ty\n")), mailhaul.Corrupt, "no end"},
		{"wide tree", after(greeted, endless("N"+strings.Repeat("y", 1<<20)+"\ty\n")), mailhaul.Corrupt, "no end"},
		{"garbage", say("\x00\xff\x01garbage\n\n\n"), mailhaul.Permanent, "something else"},
		{"wrong version", say("VERSION\tdsync\t4\t0\n"), mailhaul.Permanent, "version"},
		{"no version", say("VERSION\n"), mailhaul.Permanent, "something else"},
		{"empty line", say("VERSION\tdsync\t3\t5\n\n"), mailhaul.Corrupt, "empty"},
		{"bad escape", say("VERSION\tdsync\t3\t5\nN\x01q\n"), mailhaul.Corrupt, "escape"},
		{"silence", hang(""), mailhaul.Transient, "stopped answering"},
		{"silence later", hang(boxed), mailhaul.Transient, "stopped answering"},
		{"trickle", trickle, mailhaul.Transient, "slowly"},
		{"early end", early(""), mailhaul.Transient, "lost"},
		{"early end in the tree", early(greeted + "NINBOX"), mailhaul.Transient, "lost"},
		{"gives up", say(listed + "X\n"), mailhaul.Transient, "gave up"},
		{"F for all", say(listed + "Fdsync failed\t6\n"), mailhaul.OverQuota, "quota"},
		{"F with words", say(listed + "Fwrong\x01nline\t1\n"), mailhaul.Transient, "could not finish"},
		{"F too early", say(listed + "F\x02\n"), mailhaul.Corrupt, "too early"},
		{"wrong item", say(greeted + "R1\t2\n"), mailhaul.Corrupt, "was due"},
		{"no separator", say(greeted + ".\nDxx\n"), mailhaul.Corrupt, "separator"},
		{"not listed", say(greeted + "NOther\ty\t" + guid + "\n.\nD/\n"), mailhaul.Conflict, "not list"},
		{"bad number", say(listed + "B" + guid + "\tx\t1\t0\n"), mailhaul.Corrupt, "uid_validity"},
		{"huge number", say(listed + "B" + guid + "\t99999999999\t1\t0\n"), mailhaul.Corrupt, "uid_validity"},
		{"zero", say(listed + "B" + guid + "\t0\t0\t0\n"), mailhaul.Corrupt, "UIDVALIDITY"},
		{"other mailbox", say(listed + "B" + strings.Repeat("0", 32) + "\t9\t1\t0\t1\t\n"), mailhaul.Conflict, "gone"},
		{"no GUIDs", say(listed + "B" + guid + "\t9\t1\t0\t1\t\x02\n"), mailhaul.Permanent, "GUIDs"},
		{"keeps moving", say(listed + "B" + guid + "\t9\t7\t3\t1\t\n"), mailhaul.Conflict, "keeps coming"},
		{"wants another", say(boxed + "Rffff\t1\n"), mailhaul.Corrupt, "not offered"},
		{"endless requests", after(boxed, endless("Rffff\t1\n")), mailhaul.Corrupt, "not offered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := peerOf(t, c.f)
			var before, afterwards runtime.MemStats
			runtime.ReadMemStats(&before)
			w, err := target.OpenImposing(ctxOf(t), mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"},
				mailhaul.Identity{UIDValidity: 9, UIDNext: 10, Messages: messages(3)})
			require.Nil(t, w)
			require.Error(t, err)
			runtime.ReadMemStats(&afterwards)
			require.Equal(t, c.kind, mailhaul.KindOf(err), err)
			require.Contains(t, err.Error(), c.text)
			require.NotContains(t, err.Error(), "s3cret")
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 1000)
			require.Less(t, int64(afterwards.HeapInuse)-int64(before.HeapInuse), int64(256<<20))
		})
	}
}

// TestHostileLogin: the same before the log-in.
func TestHostileLogin(t *testing.T) {
	for name, text := range map[string]string{"greeting": "* OK IMAP4rev1\n", "eof": "", "endless": strings.Repeat("x", 5<<20), "answer": "-\nwhat\n", "status": "-\n+\n\n?\n", "code": "-\n+\n\n-TEMPFAIL\n"} {
		t.Run(name, func(t *testing.T) {
			target := rawPeerOf(t, func(in *bufio.Reader, out io.Writer) {
				_, _ = io.WriteString(out, text)
				_, _ = io.CopyN(io.Discard, in, 200)
			})
			_, err := target.Imposable(ctxOf(t), mailhaul.Mailbox{Path: []string{"INBOX"}}, mailhaul.Identity{})
			require.Error(t, err)
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

// TestPasswordThatComesBack: a server may say what it was told.
func TestPasswordThatComesBack(t *testing.T) {
	target := rawPeerOf(t, func(in *bufio.Reader, out io.Writer) {
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(out, "-\n")
		line, _ := in.ReadString('\n')
		_, _ = io.WriteString(out, line)
		_, _ = io.CopyN(io.Discard, in, 200)
	})
	_, err := target.Imposable(ctxOf(t), mailhaul.Mailbox{Path: []string{"INBOX"}}, mailhaul.Identity{})
	require.ErrorContains(t, err, "neither yes nor no")
	require.NotContains(t, err.Error(), "PLAIN")
}

// TestPeerThatDiesLater: after the requests, at each place.
func TestPeerThatDiesLater(t *testing.T) {
	x := &exchange{m: mailhaul.Mailbox{Name: "INBOX"}, task: task{want: mailhaul.Identity{UIDValidity: 9}}}
	for _, c := range []struct{ name, text string }{
		{"end", ""}, {"gives up", "X\n"}, {"garbage", "\x00\n"}, {"F", "Fno\t1\n"}, {"state, then end", "S" + guid + "\t9\t0\t0\t0\t\x02\n"},
		{"state, then no", "S" + guid + "\t9\t0\t0\t0\t\x02\nFdsync failed\t6\n"}, {"list", ".\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var target *Target
			target = peerOf(t, func(in *bufio.Reader, out io.Writer) {
				x := *x
				x.t = target
				fmt.Fprintf(out, "%sR%s\t3\n.\n", boxed, x.guid(mailhaul.Message{UID: 3}))
				for { // the message, or else it is cut while it is sent
					line, err := in.ReadString('\n')
					if err != nil || line == "M" || strings.HasPrefix(line, ".") && strings.HasSuffix(line, ".\r\n") {
						break
					}
				}
				_, _ = io.WriteString(out, c.text)
			})
			ctx := ctxOf(t)
			w, err := target.OpenImposing(ctx, mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"},
				mailhaul.Identity{UIDValidity: 9, UIDNext: 10, Messages: messages(3)})
			require.NoError(t, err)
			receipt, err := w.Append(ctx, []mailhaul.Outgoing{outgoing(messages(3)[0])})
			if err == nil {
				err = w.Finish(ctx)
			}
			require.Error(t, err)
			outcomes, err := receipt.Wait(ctx)
			require.Error(t, err)
			require.Len(t, outcomes, 1)
			require.NotEqual(t, mailhaul.Stored, outcomes[0].Delivery)
			_, err = w.Append(ctx, []mailhaul.Outgoing{outgoing(messages(3)[0])})
			require.Error(t, err, "it is dead")
			require.NoError(t, w.Close())
			require.Error(t, w.Finish(ctx))
			require.Error(t, w.Store(ctx, []mailhaul.FlagChange{{UID: 1}}))
		})
	}
}

// TestCancelled: the end of a context ends what waits.
func TestCancelled(t *testing.T) {
	target := peerOf(t, func(in *bufio.Reader, out io.Writer) { _, _ = io.Copy(io.Discard, in) })
	target.cfg.ProgressTimeout = time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := target.OpenImposing(ctx, mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"}, mailhaul.Identity{UIDValidity: 9})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)
}

// TestWhatIsAskedOfTheServer: the switches without which it would delete, or
// look at other mailboxes.
func TestWhatIsAskedOfTheServer(t *testing.T) {
	asked := make(chan record, 1)
	target := peerOf(t, func(in *bufio.Reader, out io.Writer) {
		_, _ = io.WriteString(out, greeted)
		keys := make(map[byte][]string)
		for {
			line, err := in.ReadString('\n')
			if err != nil || len(line) < 2 {
				return
			}
			line = strings.TrimSuffix(line, "\n")
			if k := keys[line[0]]; k != nil {
				r, err := parseValues(line[1:], k)
				if err == nil && line[0] == itemHandshake {
					asked <- r
				}
				return
			}
			keys[line[0]], _ = parseKeys(line[1:])
		}
	})
	_, err := target.OpenImposing(ctxOf(t), mailhaul.Mailbox{Path: []string{"A"}, Name: "A", Wire: "A"}, mailhaul.Identity{UIDValidity: 9})
	require.Error(t, err)
	r := <-asked
	require.Equal(t, "A", r["sync_box"])
	for _, key := range []string{"no_backup_overwrite", "backup_recv", "send_mail_requests"} {
		require.Contains(t, r, key)
	}
}
