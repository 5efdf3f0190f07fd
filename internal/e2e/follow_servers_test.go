// Following real servers, in real time.

package e2e

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync/atomic"
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
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("%s: not within two minutes", what)
		}
		time.Sleep(15 * time.Millisecond)
	}
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// following is a Follow that runs until the test ends it.
type following struct {
	t             *testing.T
	stop          context.CancelFunc
	done          chan error
	res           *mailsync.Result
	copied, flags atomic.Int64 // by the passes that have ended
}

// startFollow follows an account. It returns when the server has begun to tell
// of so many mailboxes, if it is to tell at all.
func startFollow(t *testing.T, from, to mailhaul.Target, told int, opts mailsync.FollowOptions) *following {
	t.Helper()
	s, err := mailsync.New(mailsync.Config{Source: from, Target: to})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	f := &following{t: t, stop: stop, done: make(chan error, 1)}
	var passes, telling atomic.Int64
	opts.Passed = func(p mailsync.Pass) {
		f.copied.Add(int64(p.Result.Copied))
		f.flags.Add(int64(p.Result.FlagsUpdated))
		passes.Add(1)
	}
	opts.Watching = func(told int, reason error) { telling.Store(int64(told)) }
	go func() {
		var err error
		f.res, err = s.Follow(ctx, opts)
		f.done <- err
	}()
	until(t, "the first pass, and being told", func() bool { return passes.Load() > 0 && telling.Load() == int64(told) })
	return f
}

// finish ends it when its passes have done so much: what is there may not have
// been recorded yet.
func (f *following) finish(copied, flags int) {
	f.t.Helper()
	until(f.t, "the end of the passes", func() bool {
		return f.copied.Load() >= int64(copied) && f.flags.Load() >= int64(flags)
	})
	f.stop()
	start := time.Now()
	require.ErrorIs(f.t, <-f.done, context.Canceled)
	require.Less(f.t, time.Since(start), 20*time.Second) // 2 s, of a machine that has nothing else to do
	require.Equal(f.t, copied, f.res.Copied)
	require.Equal(f.t, flags, f.res.FlagsUpdated)
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
	f := startFollow(t, from, to, 2, mailsync.FollowOptions{Poll: time.Hour})

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
	f.finish(58, 5)
	t.Logf("median: mail in INBOX %v, a flag there %v, mail elsewhere %v", median(mails), median(flags), median(others))
	// What a busy machine adds shows in how long it takes just to look.
	var looks []time.Duration
	for range 5 {
		start := time.Now()
		reader.see(inbox, mailhaul.FlagFlagged)
		looks = append(looks, time.Since(start))
	}
	limit := 2*time.Second + 50*max(0, median(looks)-20*time.Millisecond)
	require.LessOrEqual(t, median(mails), limit)
	require.LessOrEqual(t, median(flags), limit)
	require.LessOrEqual(t, median(others), limit)
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
	f := startFollow(t, from, to, 0, mailsync.FollowOptions{Poll: time.Second, Whole: 4 * time.Second})
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
	f.finish(6, 2)
	t.Logf("asked every second, mail in two folders after %v; flags, looked at every 4 s, after %v", took, flags)
}

// octets is a body that is at hand.
type octets []byte

func (o octets) Size() int64       { return int64(len(o)) }
func (o octets) Reader() io.Reader { return bytes.NewReader(o) }
func (o octets) Buffered() bool    { return true }
func (o octets) Release()          {}
