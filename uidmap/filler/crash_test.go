package filler_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// cutConn ends after so many octets were read or written by the server.
type cutConn struct {
	net.Conn
	left *atomic.Int64
}

var errCut = errors.New("cut")

func (c cutConn) take(n int) int {
	before := c.left.Add(-int64(n)) + int64(n)
	return int(max(0, min(int64(n), before)))
}

func (c cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if k := c.take(n); k < n || c.left.Load() <= 0 {
		_ = c.Close()
		return k, errCut
	}
	return n, err
}

func (c cutConn) Write(p []byte) (int, error) {
	k := c.take(len(p))
	n, err := c.Conn.Write(p[:k])
	if k < len(p) {
		_ = c.Close()
		return n, errCut
	}
	return n, err
}

// moveOnce appends what is not there yet as an engine would: it calls Recover
// from the watermark, compares, and goes on. It returns the error that it died
// of.
func moveOnce(ctx context.Context, t *testing.T, target mailhaul.Target, uids []mailhaul.UID, watermark *mailhaul.UID) error {
	f := imposer(t, target, 20_000)
	l, err := f.List(ctx)
	if err != nil {
		return err
	}
	box := l.Mailboxes[0]
	if err := f.Recover(ctx, box, *watermark); err != nil {
		return err
	}
	r, err := f.OpenReader(ctx, box)
	if err != nil {
		return err
	}
	present, err := r.UIDs(ctx)
	_ = r.Close()
	if err != nil {
		return err
	}
	var todo []mailhaul.UID
	for _, u := range uids {
		if !present.Contains(u) {
			todo = append(todo, u)
		}
	}
	w, err := f.OpenImposing(ctx, box, identity(0, todo...))
	if err != nil {
		return err
	}
	defer w.Close()
	*watermark = max(1, min(*watermark, w.Status().UIDNext))
	for len(todo) > 0 {
		n := min(len(todo), 10)
		if _, err := w.Append(ctx, outgoing(todo[:n]...)); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return w.Finish(ctx)
}

// TestDiesAtAnyOctet: the connection dies at random octets, again and again.
// Once Recover has run no filler is there, no mail is lost or doubled, and
// what is imposed later is imposed.
func TestDiesAtAnyOctet(t *testing.T) {
	var uids []mailhaul.UID
	for u := mailhaul.UID(2); u < 150; u += 1 + u%4 {
		uids = append(uids, u)
	}
	uids = append(uids, 900, 901, 1500)
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	found := 0
	for seed := range uint64(rounds) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		var left atomic.Int64
		left.Store(1 << 40)
		opts := imapserver.Options{UIDValidity: 9}
		if seed%3 == 1 {
			opts.Caps = imapserver.Without("MULTIAPPEND", "LITERAL+")
		}
		opts.Hooks.Wrap = func(_ int, c net.Conn) net.Conn { return cutConn{c, &left} }
		s := testserver.InProcess(t, opts)
		a := s.Account(1)
		foreign := imapserver.Message{Body: []byte("Subject: keeps a place, and goes again\r\n\r\nno filler"), Flags: []mailhaul.Flag{mailhaul.FlagDeleted}}
		s.User(a.User).Mailbox("INBOX").Add(foreign)

		watermark := ^mailhaul.UID(0)
		for range 3 {
			left.Store(rnd.Int64N(120_000))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			cl := client(t, a.Server)
			_ = moveOnce(ctx, t, cl, uids, &watermark)
			_ = cl.Close()
			cancel()
			for _, m := range s.User(a.User).Mailbox("INBOX").Messages() {
				if strings.Contains(string(m.Body), "filler.mailhaul.invalid") {
					found++
				}
			}
		}
		left.Store(1 << 40)
		cl := client(t, a.Server)
		require.NoError(t, moveOnce(t.Context(), t, cl, uids, &watermark), "seed %d", seed)
		subjects := make(map[string]int)
		for _, m := range s.User(a.User).Mailbox("INBOX").Messages() {
			require.NotContains(t, string(m.Body), "filler.mailhaul.invalid", "seed %d", seed)
			subjects[string(m.Body)]++
		}
		require.Equal(t, 1, subjects[string(foreign.Body)], "what only looks like a filler stays")
		require.Len(t, subjects, len(uids)+1, "seed %d", seed)
		for _, u := range uids {
			require.Equal(t, 1, subjects[letterTo(u)], "seed %d: UID %d", seed, u)
		}
	}
	require.NotZero(t, found, "no run left a filler: nothing was tested")
	t.Logf("%d fillers were left by runs that died", found)
}

// TestRecoverKeepsTheRest: nothing but a filler of this mailbox, deleted, at or
// above the watermark, is removed.
func TestRecoverKeepsTheRest(t *testing.T) {
	s := testserver.InProcess(t, imapserver.Options{UIDValidity: 9})
	a := s.Account(1)
	var real []byte
	cl := client(t, a.Server)
	box := inbox(t, cl)
	f := imposer(t, cl, 100)
	// A writer that dies leaves its fillers.
	w, err := f.OpenFilling(t.Context(), box, mailhaul.Identity{})
	require.NoError(t, err)
	_, err = w.Append(t.Context(), outgoing(5))
	require.NoError(t, err)
	in := s.User(a.User).Mailbox("INBOX")
	require.Eventually(t, func() bool { return len(in.Messages()) == 5 }, 10*time.Second, time.Millisecond)
	real = in.Messages()[0].Body
	require.Contains(t, string(real), "filler.mailhaul.invalid")
	require.NoError(t, cl.Close()) // and the Writer with it
	_ = w.Close()

	deleted := []mailhaul.Flag{mailhaul.FlagDeleted}
	for _, m := range []imapserver.Message{
		{Body: real}, // 6: not deleted
		{Body: append([]byte("X: y\r\n"), real...), Flags: deleted},                               // 7: other octets
		{Body: []byte(strings.Replace(string(real), "keeps a place", "kept", 1)), Flags: deleted}, // 8
		{Body: []byte(strings.ReplaceAll(string(real), ".1@", ".2@")), Flags: deleted},            // 9: header and body differ
	} {
		in.Add(m)
	}
	cl = client(t, a.Server)
	f = imposer(t, cl, 100)
	box = inbox(t, cl)
	uids := func() (all []mailhaul.UID) {
		for _, m := range in.Messages() {
			all = append(all, m.UID)
		}
		return all
	}
	require.NoError(t, f.Recover(t.Context(), box, 10))
	require.Equal(t, []mailhaul.UID{1, 2, 3, 4, 5, 6, 7, 8, 9}, uids())
	require.NoError(t, f.Recover(t.Context(), box, 3))
	require.Equal(t, []mailhaul.UID{1, 2, 5, 6, 7, 8, 9}, uids())
	require.NoError(t, f.Recover(t.Context(), box, 0))
	require.Equal(t, []mailhaul.UID{5, 6, 7, 8, 9}, uids())
	require.NoError(t, f.Recover(t.Context(), mailhaul.Mailbox{Path: []string{"new"}}, 1), "a mailbox that does not exist holds none")
	other := box
	other.Name, other.Wire = "Other", "Other"
	s.User(a.User).Create("Other").Add(imapserver.Message{Body: real, Flags: deleted})
	require.NoError(t, f.Recover(t.Context(), other, 1))
	require.Len(t, s.User(a.User).Mailbox("Other").Messages(), 1, "a filler of another mailbox is mail here")
}
