// Mail that is to be gone from where it was: only what is safely on the target
// is removed, whatever dies when.

package sync_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// removeMoved removes what was moved. At its end nothing is lost.
func (r *popRig) removeMoved() (*mailsync.Removal, error) {
	r.t.Helper()
	before := r.drop.Messages()
	source, err := pop3x.New(r.pop)
	require.NoError(r.t, err)
	out, err := mailsync.RemoveMoved(context.Background(), mailsync.RemoveOptions{Source: source, Target: r.target, Store: r.store})
	require.NoError(r.t, source.Close())
	require.Eventually(r.t, func() bool { return !r.drop.Locked() }, 5*time.Second, time.Millisecond)
	r.safe(before)
	return out, err
}

// safe holds that what is gone from the maildrop is on the target.
func (r *popRig) safe(before []pop3server.Message) {
	r.t.Helper()
	there := make(map[string]int)
	for _, m := range r.target.Snapshot("INBOX") {
		there[string(m.Body)]++
	}
	for _, m := range r.drop.Messages() {
		before = slices.DeleteFunc(before, func(b pop3server.Message) bool { return b.UIDL == m.UIDL && string(b.Body) == string(m.Body) })
	}
	for _, gone := range before {
		if there[string(gone.Body)]--; there[string(gone.Body)] < 0 {
			r.t.Fatalf("lost: %s", gone.UIDL)
		}
	}
}

func (r *popRig) add(from, to int) {
	for i := from; i < to; i++ {
		r.drop.Add(fmt.Sprintf("id%d", i), popMessage(i))
	}
}

func TestMovedMailIsRemoved(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	r.add(0, 230)
	out, err := r.removeMoved()
	require.NoError(t, err)
	require.Zero(t, out.Removed, "nothing was moved yet")
	require.Zero(t, r.server.Commands("DELE"))
	r.mustRun()
	r.add(230, 240)
	out, err = r.removeMoved()
	require.NoError(t, err)
	require.Equal(t, 230, out.Removed)
	require.Equal(t, map[mailsync.KeptReason]int{mailsync.KeptNotMoved: 10}, out.Kept)
	require.Len(t, r.drop.Messages(), 10)

	// The copies are nobody's orphans.
	r.cfg.Deletes = mailsync.DeletesRemove
	r.cfg.Confirm = func(mailsync.Held) mailsync.Decision { return mailsync.Accept }
	res := r.mustRun()
	require.Equal(t, 10, res.Copied)
	require.Len(t, r.target.Snapshot("INBOX"), 240)
	res = r.mustRun()
	require.Zero(t, res.Copied+res.Adopted+res.Deleted)
	out, err = r.removeMoved()
	require.NoError(t, err)
	require.Equal(t, 10, out.Removed)
	require.Empty(t, r.drop.Messages())
	r.mustRun()
	require.Len(t, r.target.Snapshot("INBOX"), 240)
}

// What cannot be shown to be safe stays.
func TestWhatIsNotRemoved(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	r.add(0, 20)
	r.mustRun()
	kept := func(why mailsync.KeptReason, n int) {
		t.Helper()
		out, err := r.removeMoved()
		require.NoError(t, err)
		require.Equal(t, map[mailsync.KeptReason]int{why: n}, out.Kept)
		require.Equal(t, 20-n, out.Removed+20-len(r.drop.Messages())-out.Removed)
	}
	change := func(i int, f func(*pop3server.Message)) {
		r.drop.Change(func(list []*pop3server.Message) []*pop3server.Message {
			c := *list[i]
			f(&c)
			list[i] = &c
			return list
		})
	}
	uids := func() (out []mailhaul.UID) {
		for _, m := range r.target.Snapshot("INBOX") {
			out = append(out, m.UID)
		}
		return out
	}()
	change(0, func(m *pop3server.Message) { m.Body = append(m.Body, "more\r\n"...) }) // another, under the same name
	change(1, func(m *pop3server.Message) { m.UIDL = "id2" })                         // a name that two have
	r.target.Expunge("INBOX", uids[5])                                                // its user removed the copy
	out, err := r.removeMoved()
	require.NoError(t, err)
	require.Equal(t, map[mailsync.KeptReason]int{mailsync.KeptNameless: 3, mailsync.KeptNotThere: 1}, out.Kept)
	require.Equal(t, 16, out.Removed)

	r = newPopRig(t, pop3server.Options{})
	r.add(0, 20)
	r.mustRun()
	r.target.NewValidity("INBOX")
	kept(mailsync.KeptNotThere, 20)
	r.target.Delete("INBOX")
	kept(mailsync.KeptNotThere, 20)

	// UIDLs that are numbers name whatever has the number.
	r = newPopRig(t, pop3server.Options{})
	for i := range 20 {
		r.drop.Add(fmt.Sprint(i+1), popMessage(i))
	}
	r.mustRun()
	kept(mailsync.KeptByServer, 20)
	require.Zero(t, r.server.Commands("DELE"))

	r = newPopRig(t, pop3server.Options{NoUIDL: true})
	r.add(0, 20)
	r.mustRun()
	kept(mailsync.KeptNameless, 20)
}

// Mail that was on the target before is read on both sides.
func TestAdoptedMailIsReadBeforeItIsRemoved(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	r.add(0, 20)
	for i := range 20 {
		body := string(popMessage(i))
		if i == 3 { // of the same size and key
			body = strings.Replace(body, "by b;", "by c;", 1)
		}
		r.target.Add("INBOX", body)
	}
	require.Equal(t, 20, r.mustRun().Adopted+len(r.target.Snapshot("INBOX"))-20)
	out, err := r.removeMoved()
	require.NoError(t, err)
	require.GreaterOrEqual(t, out.Removed, 19)
	for _, m := range r.drop.Messages() {
		require.Equal(t, "id3", m.UIDL)
	}
}

// A server that says no, or nothing, to QUIT has removed nobody knows what, and
// nothing is counted. The next time shows it.
func TestQUITIsListenedTo(t *testing.T) {
	for name, override := range map[string]*pop3server.Override{
		"refused": {Reply: "-ERR [SYS/TEMP] some deleted messages not removed"},
		"silent":  {Close: true},
	} {
		t.Run(name, func(t *testing.T) {
			var on bool
			var mu stdsync.Mutex
			deleted := 0
			r := newPopRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
				mu.Lock()
				defer mu.Unlock()
				if strings.HasPrefix(line, "DELE") {
					deleted++
				}
				if on && line == "QUIT" && deleted > 0 {
					return override
				}
				return nil
			}}})
			r.add(0, 20)
			r.mustRun()
			on = true
			out, err := r.removeMoved()
			require.ErrorIs(t, err, mailhaul.ErrUncertain)
			require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err))
			require.Zero(t, out.Removed)
			mu.Lock()
			on = false
			mu.Unlock()
			out, err = r.removeMoved()
			require.NoError(t, err)
			require.Equal(t, 20, out.Removed, "they are read on both sides, and go")
			require.Zero(t, r.mustRun().Copied)
		})
	}
}

// fewOctets is a connection that is lost after so many octets have been written
// or read.
type fewOctets struct {
	net.Conn
	left *int
	mu   *stdsync.Mutex
}

func (c fewOctets) take(n int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := min(n, *c.left)
	*c.left -= m
	return m, m == n
}

func (c fewOctets) Write(p []byte) (int, error) {
	n, whole := c.take(len(p))
	n, err := c.Conn.Write(p[:n])
	if err == nil && !whole {
		_ = c.Conn.Close()
		return n, errors.New("the cable is cut")
	}
	return n, err
}

func (c fewOctets) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	m, whole := c.take(n)
	if err == nil && !whole {
		_ = c.Conn.Close()
		return m, errors.New("the cable is cut")
	}
	return m, err
}

// The connection is cut after each octet of a removal, and the checkpoint is
// lost at each of its commits: nothing is gone that is not on the target, and a
// further try removes the rest.
func TestRemovalCutAnywhere(t *testing.T) {
	cuts := 0
	for octets := 0; ; octets++ {
		r := newPopRig(t, pop3server.Options{})
		r.add(0, 4)
		r.mustRun()
		dial := r.pop.Server.Dial
		left, mu := octets, &stdsync.Mutex{}
		r.pop.Server.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return fewOctets{c, &left, mu}, err
		}
		out, err := r.removeMoved()
		if err == nil && cuts > 0 && left > 0 {
			require.Equal(t, 4, out.Removed)
			break
		}
		cuts++
		if err != nil {
			require.Zero(t, out.Removed)
		}
		r.pop.Server.Dial = dial
		_, err = r.removeMoved()
		require.NoError(t, err)
		require.Empty(t, r.drop.Messages())
		r.cfg.Deletes = mailsync.DeletesRemove
		res := r.mustRun()
		require.Zero(t, res.Copied+res.Deleted)
		require.Len(t, r.target.Snapshot("INBOX"), 4)
	}
	require.Greater(t, cuts, 400)
}

// deadStore refuses a Commit and all that follow.
type deadStore struct {
	checkpoint.Store
	left int
}

func (s *deadStore) Commit(ctx context.Context, ops []checkpoint.Op) error {
	if s.left--; s.left < 0 {
		return errors.New("dead")
	}
	return s.Store.Commit(ctx, ops)
}

func TestNothingIsRemovedThatIsNotRecorded(t *testing.T) {
	r := newPopRig(t, pop3server.Options{})
	r.add(0, 10)
	r.mustRun()
	alive := r.store
	r.store = &deadStore{Store: alive}
	_, err := r.removeMoved()
	require.ErrorContains(t, err, "dead")
	require.Zero(t, r.server.Commands("DELE"))
	require.Len(t, r.drop.Messages(), 10)
}

func TestOnlyPOP3IsRemovedFrom(t *testing.T) {
	_, err := mailsync.RemoveMoved(t.Context(), mailsync.RemoveOptions{Source: memmail.New("a"), Target: memmail.New("b"), Store: checkpoint.NewMemory()})
	require.ErrorIs(t, err, mailhaul.ErrUnsupported)
	_, err = mailsync.RemoveMoved(t.Context(), mailsync.RemoveOptions{})
	require.ErrorContains(t, err, "all needed")
}
