package delayproxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul/internal/mempipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// through returns a client's connection through a proxy and the server's end.
func through(t *testing.T, opts Options) (client net.Conn, server *mempipe.Conn, p *Proxy) {
	t.Helper()
	p = New(opts)
	near, far := mempipe.Pipe()
	client, err := p.Wrap(near)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = client.Close()
		_ = far.Close()
		require.NoError(t, p.Close())
	})
	return client, far, p
}

// echo answers each line with itself, at once.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.Close()
}

func TestRoundTripTakesTheTimeItShould(t *testing.T) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		t.Run(rtt.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server, p := through(t, Options{RTT: rtt})
				go echo(server)
				r := bufio.NewReader(client)
				for i := range 5 {
					start := time.Now()
					fmt.Fprintf(client, "line %d\n", i)
					line, err := r.ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, fmt.Sprintf("line %d\n", i), line)
					require.Equal(t, rtt, time.Since(start))
				}
				require.Equal(t, Stats{Connections: 1, ToServer: 35, ToClient: 35, Turns: 5}, p.Stats())
			})
		})
	}
}

func TestWhatIsSentTogetherArrivesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, p := through(t, Options{RTT: 100 * time.Millisecond})
		go echo(server)
		start := time.Now()
		const lines = 1000
		go func() {
			for i := range lines {
				fmt.Fprintf(client, "%d\n", i)
			}
		}()
		r := bufio.NewReader(client)
		for i := range lines {
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%d\n", i), line)
		}
		require.Equal(t, 100*time.Millisecond, time.Since(start))
		require.Equal(t, int64(1), p.Stats().Turns)
	})
}

func TestLaterOctetsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := through(t, Options{RTT: 100 * time.Millisecond})
		start := time.Now()
		go func() {
			for range 3 {
				_, _ = client.Write([]byte("x"))
				time.Sleep(7 * time.Millisecond)
			}
		}()
		var got []time.Duration
		for range 3 {
			_, err := server.Read(make([]byte, 10))
			require.NoError(t, err)
			got = append(got, time.Since(start))
		}
		require.Equal(t, []time.Duration{50 * time.Millisecond, 57 * time.Millisecond, 64 * time.Millisecond}, got)
	})
}

func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := through(t, Options{RTT: 20 * time.Millisecond, Bandwidth: 1 << 20})
		start := time.Now()
		go func() {
			_, _ = client.Write(make([]byte, 2<<20))
			_ = client.Close()
		}()
		n, err := io.Copy(io.Discard, server)
		require.NoError(t, err)
		require.Equal(t, int64(2<<20), n)
		require.InDelta(t, 2.010, time.Since(start).Seconds(), 0.001)
	})
}

// What all connections carry together is the bandwidth, where that is shared:
// with one more at work each takes longer.
func TestSharedBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{RTT: 20 * time.Millisecond, Bandwidth: 1 << 20, Shared: true})
		defer p.Close()
		start := time.Now()
		var both sync.WaitGroup
		for range 2 {
			server, far := mempipe.Pipe()
			client, err := p.Wrap(far)
			require.NoError(t, err)
			go func() {
				_, _ = client.Write(make([]byte, 1<<20))
				_ = client.Close()
			}()
			both.Go(func() {
				n, err := io.Copy(io.Discard, server)
				require.NoError(t, err)
				require.Equal(t, int64(1<<20), n)
			})
		}
		both.Wait()
		require.InDelta(t, 2.010, time.Since(start).Seconds(), 0.001)
	})
}

func TestWindowMakesTheSenderWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := through(t, Options{RTT: 100 * time.Millisecond, Window: 1 << 20})
		start := time.Now()
		go func() {
			_, _ = client.Write(make([]byte, 4<<20))
			_ = client.Close()
		}()
		n, err := io.Copy(io.Discard, server)
		require.NoError(t, err)
		require.Equal(t, int64(4<<20), n)
		// About a window each 50 ms: what the pipe in front holds comes on top.
		require.Greater(t, time.Since(start), 140*time.Millisecond)
	})
}

func TestOctetsAreTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, p := through(t, Options{RTT: 20 * time.Millisecond})
		sent := make([]byte, 3<<20)
		for i := range sent {
			sent[i] = byte(i * 7 >> 3)
		}
		go func() {
			for part := range slices.Chunk(sent, 12_345) {
				_, _ = client.Write(part)
			}
			_ = client.Close()
		}()
		got, err := io.ReadAll(server)
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, got))
		require.Equal(t, int64(len(sent)), p.Stats().ToServer)
	})
}

func TestHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := through(t, Options{RTT: 100 * time.Millisecond})
		start := time.Now()
		_, err := client.Write([]byte("last words"))
		require.NoError(t, err)
		require.NoError(t, client.(interface{ CloseWrite() error }).CloseWrite())
		got, err := io.ReadAll(server)
		require.NoError(t, err)
		require.Equal(t, "last words", string(got))
		require.Equal(t, 50*time.Millisecond, time.Since(start))

		_, err = server.Write([]byte("an answer"))
		require.NoError(t, err)
		require.NoError(t, server.Close())
		got, err = io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, "an answer", string(got))
		require.Equal(t, 100*time.Millisecond, time.Since(start))
	})
}

func TestWhatWasSentBeforeCloseArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := through(t, Options{RTT: 100 * time.Millisecond})
		_, err := server.Write([]byte("nobody reads this"))
		require.NoError(t, err)
		_, err = client.Write([]byte("a1 LOGOUT\r\n"))
		require.NoError(t, err)
		require.NoError(t, client.Close())
		got, err := io.ReadAll(server)
		require.NoError(t, err)
		require.Equal(t, "a1 LOGOUT\r\n", string(got))
	})
}

func TestABreakTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := through(t, Options{RTT: 100 * time.Millisecond})
		start := time.Now()
		_, err := server.Write([]byte("cut he"))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, server.Reset())
		got, _ := io.ReadAll(client)
		require.Equal(t, "cut he", string(got))
		require.Equal(t, 50*time.Millisecond, time.Since(start))
		_, err = client.Write([]byte("x"))
		require.Error(t, err)
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, p := through(t, Options{RTT: time.Hour})
		_, err := client.Write([]byte("under way"))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, p.Close())
		_, err = client.Read(make([]byte, 1))
		require.Error(t, err)
		_, err = server.Read(make([]byte, 1))
		require.Error(t, err)
		_, err = p.Wrap(server)
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = p.Listen("127.0.0.1:1")
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestDialTakesARoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{RTT: 100 * time.Millisecond})
		defer p.Close()
		l := mempipe.Listen()
		defer l.Close()
		start := time.Now()
		client, err := p.Dial(l.Dial)(t.Context(), "tcp", "server:143")
		require.NoError(t, err)
		defer client.Close()
		require.Equal(t, 100*time.Millisecond, time.Since(start))
		require.Equal(t, "server:143", client.RemoteAddr().String())
		server, err := l.Accept()
		require.NoError(t, err)
		defer server.Close()

		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err = p.Dial(l.Dial)(ctx, "tcp", "server:143")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		sentinel := errors.New("no route")
		_, err = p.Dial(func(context.Context, string, string) (net.Conn, error) { return nil, sentinel })(t.Context(), "tcp", "x:1")
		require.ErrorIs(t, err, sentinel)
	})
}

// Over real sockets and in real time: the median is no more than a millisecond
// or two off, and nothing is ever early.
func TestListenInRealTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go echo(c)
		}
	}()
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		p := New(Options{RTT: rtt})
		addr, err := p.Listen(l.Addr().String())
		require.NoError(t, err)
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		var times []time.Duration
		for range 9 {
			start := time.Now()
			_, err := c.Write([]byte("ping\n"))
			require.NoError(t, err)
			_, err = io.ReadFull(c, make([]byte, 5))
			require.NoError(t, err)
			times = append(times, time.Since(start))
		}
		slices.Sort(times)
		require.GreaterOrEqual(t, times[0], rtt)
		// Other tests may have the processors, so the bound is a loose one.
		require.Less(t, times[0], rtt+10*time.Millisecond)
		t.Logf("rtt %v: best %v, median %v, worst %v", rtt, times[0], times[4], times[8])
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	}
}

// BenchmarkThroughput is what the proxy itself lets through.
func BenchmarkThroughput(b *testing.B) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run("rtt="+rtt.String(), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(b, err)
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
			p := New(Options{RTT: rtt})
			defer p.Close()
			addr, err := p.Listen(l.Addr().String())
			require.NoError(b, err)
			c, err := net.Dial("tcp", addr)
			require.NoError(b, err)
			block := make([]byte, 256<<10)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				if _, err := c.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, c.(*net.TCPConn).CloseWrite())
			_, _ = c.Read(make([]byte, 1))
			require.NoError(b, c.Close())
		})
	}
}
