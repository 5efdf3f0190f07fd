// Following real servers, in real time.

package e2e

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// user is somebody at work in an account.
type user struct {
	t *testing.T
	c *imapx.Client
}

func newUser(t *testing.T, a testserver.Account) *user {
	c := client(t, a.Server)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return &user{t, c}
}

// put stores a message, and returns its UID where the server tells it.
func (u *user) put(m mailhaul.Mailbox, text []byte) mailhaul.UID {
	u.t.Helper()
	w, err := u.c.OpenWriter(u.t.Context(), m)
	require.NoError(u.t, err)
	defer w.Close()
	r, err := w.Append(u.t.Context(), []mailhaul.Outgoing{{Body: octets(text)}})
	require.NoError(u.t, err)
	out, err := r.Wait(u.t.Context())
	require.NoError(u.t, err)
	require.Equal(u.t, mailhaul.Stored, out[0].Delivery, "%v", out[0].Err)
	return out[0].UID
}

func (u *user) flag(m mailhaul.Mailbox, uid mailhaul.UID, f mailhaul.Flag) {
	u.t.Helper()
	w, err := u.c.OpenWriter(u.t.Context(), m)
	require.NoError(u.t, err)
	defer w.Close()
	require.NoError(u.t, w.Store(u.t.Context(), []mailhaul.FlagChange{{UID: uid, Add: []mailhaul.Flag{f}}}))
}

// see returns what a mailbox holds: how many messages, and how many of them
// with the flag.
func (u *user) see(m mailhaul.Mailbox, f mailhaul.Flag) (messages, flagged int) {
	u.t.Helper()
	r, err := u.c.OpenReader(u.t.Context(), m)
	require.NoError(u.t, err)
	defer r.Close()
	if r.Status().Messages == 0 {
		return 0, 0
	}
	uids, err := r.UIDs(u.t.Context())
	require.NoError(u.t, err)
	for msg, err := range r.Messages(u.t.Context(), uids, mailhaul.FieldFlags, 0) {
		require.NoError(u.t, err)
		messages++
		if mailhaul.HasFlag(msg.Flags, f) {
			flagged++
		}
	}
	return messages, flagged
}

// until waits for something to be so, and returns how long that took.
func until(t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !so() {
		if time.Since(start) > time.Minute {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(15 * time.Millisecond)
	}
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// startFollow follows an account until the test ends it. It returns when the
// server has begun to tell of so many mailboxes, if it is to tell at all.
func startFollow(t *testing.T, from, to mailhaul.Target, told int, opts mailsync.FollowOptions) (finish func() (*mailsync.Result, error)) {
	t.Helper()
	s, err := mailsync.New(mailsync.Config{Source: from, Target: to})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	type end struct {
		res *mailsync.Result
		err error
	}
	done, passed, watching := make(chan end, 1), make(chan bool, 1000), make(chan int, 1000)
	opts.Passed = func(mailsync.Pass) { passed <- true }
	opts.Watching = func(told int, reason error) { watching <- told }
	go func() {
		res, err := s.Follow(ctx, opts)
		done <- end{res, err}
	}()
	<-passed
	if told > 0 {
		require.Equal(t, told, <-watching)
	}
	return func() (*mailsync.Result, error) {
		stop()
		start := time.Now()
		e := <-done
		require.Less(t, time.Since(start), 2*time.Second)
		return e.res, e.err
	}
}

// A new mail in INBOX is on the target within 2 seconds of being on the source,
// in the median, and so are flags; with NOTIFY in other folders too.
func TestFollowDovecot(t *testing.T) {
	t.Parallel()
	a := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	b := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	ann, reader := newUser(t, a), newUser(t, b)
	work, err := ann.c.Create(t.Context(), []string{"Work"}, mailhaul.RoleNone)
	require.NoError(t, err)
	inbox := mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX", Path: []string{"INBOX"}}
	for i := range 50 {
		ann.put(inbox, note("INBOX", i))
	}
	from, to := client(t, a.Server), client(t, b.Server)
	defer from.Close()
	defer to.Close()
	finish := startFollow(t, from, to, 2, mailsync.FollowOptions{Poll: time.Hour})

	var mails, flags, others []time.Duration
	for i := range 5 {
		uid := ann.put(inbox, note("INBOX", 1000+i))
		mails = append(mails, until(t, "mail in INBOX", func() bool { n, _ := reader.see(inbox, mailhaul.FlagFlagged); return n == 51+i }))
		ann.flag(inbox, uid, mailhaul.FlagFlagged)
		flags = append(flags, until(t, "flag in INBOX", func() bool { _, n := reader.see(inbox, mailhaul.FlagFlagged); return n == i+1 }))
	}
	for i := range 3 {
		ann.put(work, note("Work", i))
		others = append(others, until(t, "mail in Work", func() bool { n, _ := reader.see(work, mailhaul.FlagFlagged); return n == i+1 }))
	}
	res, err := finish()
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 58, res.Copied)
	require.Equal(t, 5, res.FlagsUpdated)
	t.Logf("median: mail in INBOX %v, a flag there %v, mail elsewhere %v", median(mails), median(flags), median(others))
	require.LessOrEqual(t, median(mails), 2*time.Second)
	require.LessOrEqual(t, median(flags), 2*time.Second)
	require.LessOrEqual(t, median(others), 2*time.Second)
}

// A server without NOTIFY, CONDSTORE and LIST-STATUS, which allows one
// connection: mail is found by asking for the state of each folder, flags by
// the passes over everything.
func TestFollowCourier(t *testing.T) {
	t.Parallel()
	a := testserver.Courier(t, testserver.Options{}).Account(1)
	b := testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
	ann, reader := newUser(t, a), newUser(t, b)
	inbox := mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX", Path: []string{"INBOX"}}
	made, err := ann.c.Create(t.Context(), []string{"Work"}, mailhaul.RoleNone)
	require.NoError(t, err)
	ann.put(inbox, note("INBOX", 1))
	ann.put(made, note("Work", 1))
	from, err := imapx.New(imapx.Config{Server: a.Server, Connections: 1})
	require.NoError(t, err)
	defer from.Close()
	to := client(t, b.Server)
	defer to.Close()
	finish := startFollow(t, from, to, 0, mailsync.FollowOptions{Poll: time.Second, Whole: 4 * time.Second})
	there := mailhaul.Mailbox{Name: "Work", Wire: "Work", Path: []string{"Work"}}
	var took []time.Duration
	for i := range 2 {
		uid := ann.put(inbox, note("INBOX", 10+i))
		ann.put(made, note("Work", 10+i))
		took = append(took, until(t, "mail", func() bool {
			n, _ := reader.see(inbox, mailhaul.FlagFlagged)
			m, _ := reader.see(there, mailhaul.FlagFlagged)
			return n == 2+i && m == 2+i
		}))
		ann.flag(inbox, uid, mailhaul.FlagFlagged)
	}
	flags := until(t, "flags", func() bool { _, n := reader.see(inbox, mailhaul.FlagFlagged); return n == 2 })
	res, err := finish()
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 6, res.Copied)
	require.Equal(t, 2, res.FlagsUpdated)
	t.Logf("asked every second, mail in two folders after %v; flags, looked at every 4 s, after %v", took, flags)
}

// octets is a body that is at hand.
type octets []byte

func (o octets) Size() int64       { return int64(len(o)) }
func (o octets) Reader() io.Reader { return bytes.NewReader(o) }
func (o octets) Buffered() bool    { return true }
func (o octets) Release()          {}
