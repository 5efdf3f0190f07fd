package cyrus

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// generated is a large body that streams and is never in memory.
type generated struct {
	size     int64
	released int
}

func (g *generated) Size() int64    { return g.size }
func (g *generated) Buffered() bool { return false }
func (g *generated) Release()       { g.released++ }
func (g *generated) Reader() io.Reader {
	lines := strings.NewReader("Subject: large\r\n\r\n")
	return io.LimitReader(io.MultiReader(lines, &noise{rand.NewChaCha8([32]byte{7}), nil}), g.size)
}

// noise is lines of letters without end.
type noise struct {
	r    *rand.ChaCha8
	rest []byte
}

func (n *noise) Read(p []byte) (int, error) {
	if len(n.rest) == 0 {
		line := make([]byte, 37)
		_, _ = n.r.Read(line)
		n.rest = fmt.Appendf(nil, "%x\r\n", line)
	}
	k := copy(p, n.rest)
	n.rest = n.rest[k:]
	return k, nil
}

// A message of 60 MB goes through a file, and neither the memory nor a disk, the
// server's neither, is left with it.
func TestLargeMessage(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, nil, Config{TempDir: dir})
	m := r.box("Work")
	ctx := ctxOf(t)
	body := &generated{size: 60 << 20}
	w, err := r.target.OpenImposing(ctx, m, mailhaul.Identity{UIDValidity: 42, UIDNext: 901})
	require.NoError(t, err)
	defer w.Close()
	done := make(chan uint64)
	stop := make(chan struct{})
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	go func() {
		var most uint64
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
			select {
			case <-stop:
				done <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	receipt, err := w.Append(ctx, []mailhaul.Outgoing{{UID: 900, Body: body, InternalDate: dateOf(1)}})
	require.NoError(t, err)
	outcomes, err := receipt.Wait(ctx)
	require.NoError(t, err)
	require.NoError(t, w.Finish(ctx))
	close(stop)
	most := <-done
	require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: 900}, outcomes[0])
	t.Logf("the heap grew by %d KiB at most", (int64(most)-int64(before.HeapAlloc))>>10)
	require.Less(t, int64(most)-int64(before.HeapAlloc), int64(16<<20))
	require.Positive(t, body.released)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, w.Close())
	ready, err := filepath.Glob(filepath.Join(r.srv.Root, "spool", "sync.", "*", "*"))
	require.NoError(t, err)
	require.Empty(t, ready, "the server still holds messages ready")

	rd, err := r.client.OpenReader(ctx, m)
	require.NoError(t, err)
	defer rd.Close()
	bodies, err := rd.Fetch(ctx, mailhaul.UIDSetOf(900), true)
	require.NoError(t, err)
	got, want := sha256.New(), sha256.New()
	_, err = io.Copy(want, body.Reader())
	require.NoError(t, err)
	for f, err := range bodies {
		require.NoError(t, err)
		_, err = io.Copy(got, f.Body.Reader())
		require.NoError(t, err)
		f.Body.Release()
	}
	require.Equal(t, want.Sum(nil), got.Sum(nil))
}

// A body that cannot be read costs its batch, and nothing of it is stored.
func TestBodyFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, nil, Config{TempDir: dir})
	m := r.box("Work")
	ctx := ctxOf(t)
	for _, wrong := range []int64{-1, +1} {
		w, err := r.target.OpenImposing(ctx, m, mailhaul.Identity{})
		require.NoError(t, err)
		before, err := w.Append(ctx, []mailhaul.Outgoing{outgoing(mailhaul.UID(10 + wrong))})
		require.NoError(t, err)
		bad := outgoing(20)
		bad.Body = lying{bad.Body.(*memory), wrong}
		receipt, err := w.Append(ctx, []mailhaul.Outgoing{bad})
		require.ErrorContains(t, err, "octets")
		outcomes, err := receipt.Wait(ctx)
		require.Error(t, err)
		require.Equal(t, mailhaul.NotStored, outcomes[0].Delivery)
		// What was not told to the mailbox is not there.
		outcomes, _ = before.Wait(ctx)
		require.Equal(t, mailhaul.NotStored, outcomes[0].Delivery)
		require.NoError(t, w.Close())
	}
	require.Empty(t, r.list(m).msgs)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// lying is a stream that is not as long as it says.
type lying struct {
	*memory
	by int64
}

func (l lying) Size() int64    { return l.memory.Size() + l.by }
func (l lying) Buffered() bool { return false }

// The server is killed in the middle and started again: the next run goes on.
func TestKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("INBOX")
	want := mailhaul.Identity{UIDValidity: 42, UIDNext: 100000}
	var out []mailhaul.Outgoing
	for uid := mailhaul.UID(1); uid <= 300; uid++ {
		out = append(out, outgoing(uid*7))
	}
	ctx := ctxOf(t)
	w, err := r.target.OpenImposing(ctx, m, want)
	require.NoError(t, err)
	var receipts []mailhaul.Receipt
	for i := 0; i < 200; i += 20 {
		receipt, err := w.Append(ctx, out[i:i+20])
		require.NoError(t, err)
		receipts = append(receipts, receipt)
	}
	r.srv.Kill()
	stored := 0
	for i, receipt := range receipts {
		outcomes, err := receipt.Wait(ctx)
		for _, o := range outcomes {
			if o.Delivery == mailhaul.Stored {
				stored = max(stored, 20*(i+1))
			} else {
				require.Error(t, err)
			}
		}
	}
	require.Error(t, w.Finish(ctx))
	require.NoError(t, w.Close())
	r.srv.Restart()
	l := r.list(m)
	require.GreaterOrEqual(t, len(l.msgs), stored)
	require.GreaterOrEqual(t, stored, 160)
	require.Zero(t, len(l.msgs)%20)
	var rest []mailhaul.Outgoing
	for i, o := range out {
		if _, has := l.msgs[o.UID]; !has {
			rest = append(rest, outgoing(out[i].UID))
		}
	}
	r.write(m, want, 50, rest...)
	l = r.list(m)
	require.Len(t, l.msgs, len(out))
	require.EqualValues(t, 42, l.status.UIDValidity)
	r.holds(l, out...)
	require.Len(t, r.uidls(), len(out))
}
