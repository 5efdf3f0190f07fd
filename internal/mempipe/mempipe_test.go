// What net.Conn and net.Listener promise, checked on the connections of this
// package. The cases follow golang.org/x/net/nettest.TestConn.

package mempipe_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul/internal/mempipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ net.Listener = mempipe.Listen()

func TestOctetsArriveInOrder(t *testing.T) {
	for _, size := range []int{1, 7, 512, mempipe.DefaultBuffer} {
		a, b := mempipe.PipeSize(size)
		data := make([]byte, 50_000)
		rng := rand.New(rand.NewPCG(1, uint64(size)))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		want := sha256.Sum256(data)
		go func() {
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rng.IntN(3000))
				if _, err := a.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			_ = a.Close()
		}()
		h := sha256.New()
		_, err := io.CopyBuffer(h, struct{ io.Reader }{b}, make([]byte, 777))
		require.NoError(t, err)
		assert.Equal(t, want[:], h.Sum(nil), "buffer of %d", size)
		require.NoError(t, b.Close())
	}
}

func TestBothDirectionsAtOnce(t *testing.T) {
	a, b := mempipe.PipeSize(64)
	data := bytes.Repeat([]byte("ping pong "), 5000)
	var wg sync.WaitGroup
	for _, c := range []*mempipe.Conn{a, b} {
		wg.Go(func() {
			_, err := c.Write(data)
			assert.NoError(t, err)
			assert.NoError(t, c.CloseWrite())
		})
		wg.Go(func() {
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(data, got))
		})
	}
	wg.Wait()
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestConcurrentWritesStayWhole(t *testing.T) {
	a, b := mempipe.PipeSize(16)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				_, err := a.Write(bytes.Repeat([]byte{byte('a' + i)}, 100))
				assert.NoError(t, err)
			}
		})
	}
	go func() { wg.Wait(); _ = a.Close() }()
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Len(t, got, 8*20*100)
	for i := 0; i < len(got); i += 100 {
		require.Equal(t, bytes.Repeat(got[i:i+1], 100), got[i:i+100])
	}
}

func TestWriteWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mempipe.PipeSize(10)
		done := false
		go func() {
			n, err := a.Write(make([]byte, 11))
			assert.Equal(t, 11, n)
			assert.NoError(t, err)
			done = true
		}()
		synctest.Wait()
		assert.False(t, done, "the eleventh octet has no room")
		_, err := b.Read(make([]byte, 1))
		require.NoError(t, err)
		synctest.Wait()
		assert.True(t, done)
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mempipe.PipeSize(4)
		start := time.Now()
		timedOut := func(err error) {
			t.Helper()
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			nerr, ok := errors.AsType[net.Error](err)
			require.True(t, ok && nerr.Timeout())
		}

		require.NoError(t, a.SetReadDeadline(start.Add(time.Minute)))
		_, err := a.Read(make([]byte, 1))
		timedOut(err)
		assert.Equal(t, time.Minute, time.Since(start))

		// It stays so until the deadline is moved, even with octets at hand.
		_, err = b.Write([]byte("x"))
		require.NoError(t, err)
		_, err = a.Read(make([]byte, 1))
		timedOut(err)
		require.NoError(t, a.SetReadDeadline(time.Time{}))
		_, err = a.Read(make([]byte, 1))
		require.NoError(t, err)

		// A deadline in the past ends at once; moving one keeps a waiting Read.
		require.NoError(t, a.SetDeadline(time.Now().Add(-1)))
		_, err = a.Read(make([]byte, 1))
		timedOut(err)
		_, err = a.Write([]byte("x"))
		timedOut(err)
		require.NoError(t, a.SetDeadline(time.Now().Add(time.Second)))
		time.AfterFunc(500*time.Millisecond, func() { _ = a.SetReadDeadline(time.Now().Add(time.Hour)) })
		start = time.Now()
		_, err = a.Read(make([]byte, 1))
		timedOut(err)
		assert.Equal(t, time.Hour+500*time.Millisecond, time.Since(start))

		// A Write that runs out of time says how much of it went.
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err := a.Write([]byte("123456"))
		timedOut(err)
		assert.Equal(t, 4, n)

		// Setting a deadline wakes a Read that waits without one.
		require.NoError(t, b.SetDeadline(time.Time{}))
		_, err = io.ReadFull(b, make([]byte, 4))
		require.NoError(t, err)
		time.AfterFunc(time.Second, func() { _ = b.SetReadDeadline(time.Unix(1, 0)) })
		_, err = b.Read(make([]byte, 1))
		timedOut(err)

		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
		require.ErrorIs(t, a.SetDeadline(time.Now()), net.ErrClosed)
	})
}

func TestHalfClose(t *testing.T) {
	a, b := mempipe.Pipe()
	_, err := a.Write([]byte("question"))
	require.NoError(t, err)
	require.NoError(t, a.CloseWrite())
	_, err = a.Write([]byte("more"))
	require.ErrorIs(t, err, net.ErrClosed)
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	assert.Equal(t, "question", string(got))
	_, err = b.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	got, err = io.ReadAll(a)
	require.NoError(t, err)
	assert.Equal(t, "answer", string(got))
	require.NoError(t, a.Close())
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mempipe.PipeSize(4)
		_, err := a.Write([]byte("tail"))
		require.NoError(t, err)
		for _, f := range []func() error{
			func() error { _, err := a.Read(make([]byte, 1)); return err },
			func() error { _, err := a.Write([]byte("more")); return err },
		} {
			go func() { assert.ErrorIs(t, f(), net.ErrClosed) }()
		}
		synctest.Wait()
		require.NoError(t, a.Close())
		synctest.Wait()
		require.ErrorIs(t, a.Close(), net.ErrClosed)
		_, err = b.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		assert.Equal(t, "tail", string(got), "what was sent before still arrives")
		require.NoError(t, b.Close())
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mempipe.PipeSize(4)
		_, err := a.Write([]byte("tail"))
		require.NoError(t, err)
		go func() {
			_, err := b.Write([]byte("12345"))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		}()
		synctest.Wait()
		require.NoError(t, a.Reset())
		synctest.Wait()
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		got, err := io.ReadAll(b)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		assert.Equal(t, "tail", string(got))
		require.NoError(t, b.Close())
	})
}

func TestConcurrentMethods(t *testing.T) {
	a, b := mempipe.PipeSize(100)
	go func() { _, _ = io.Copy(b, struct{ io.Reader }{b}) }()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = a.Read(make([]byte, 64)) })
		wg.Go(func() { _, _ = a.Write(make([]byte, 64)) })
		wg.Go(func() { _ = a.SetDeadline(time.Now().Add(20 * time.Millisecond)) })
		wg.Go(func() { _ = a.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) })
		wg.Go(func() { _, _ = a.LocalAddr(), a.RemoteAddr() })
	}
	wg.Wait()
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mempipe.Listen()
		var served sync.WaitGroup
		served.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					return
				}
				served.Go(func() { _, _ = io.Copy(c, struct{ io.Reader }{c}); _ = c.Close() })
			}
		})
		for range 3 {
			c, err := l.Dial(t.Context(), "tcp", "imap.example:143")
			require.NoError(t, err)
			assert.Equal(t, "imap.example:143", c.RemoteAddr().String())
			_, err = c.Write([]byte("echo"))
			require.NoError(t, err)
			_, err = io.ReadFull(c, make([]byte, 4))
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
		require.NoError(t, l.Close())
		require.ErrorIs(t, l.Close(), net.ErrClosed)
		served.Wait()
		_, err := l.Dial(t.Context(), "tcp", "")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestListenerBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mempipe.Listen()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var conns []net.Conn
		var err error
		for err == nil {
			var c net.Conn
			if c, err = l.Dial(ctx, "", ""); err == nil {
				conns = append(conns, c)
			}
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, l.Close())
		for _, c := range conns {
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, syscall.ECONNRESET)
		}
		_, err = l.Dial(ctx, "", "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func BenchmarkThroughput(b *testing.B) {
	x, y := mempipe.Pipe()
	go func() { _, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{y}, make([]byte, 32<<10)) }()
	chunk := make([]byte, 32<<10)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	_ = x.Close()
}
