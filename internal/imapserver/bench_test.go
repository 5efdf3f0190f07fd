// How fast the server is, so that it is known not to be what a benchmark of the
// library measures; and how little a message costs.

package imapserver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

const million = 1_000_000

// filled returns a server whose INBOX has n messages that share a body.
func filled(t testing.TB, n int) (*imapserver.Server, *imapserver.Mailbox) {
	s, u := start(t, imapserver.Options{})
	body := []byte("Subject: x\r\n\r\nshared\r\n")
	in := u.Mailbox("INBOX")
	date := time.Unix(1_600_000_000, 0)
	combinations := [][]mailhaul.Flag{nil, {`\Seen`}, {`\Seen`, `\Answered`}, {`\Flagged`, "$Forwarded"}}
	for i := range n {
		in.Add(imapserver.Message{Body: body, Date: date, Flags: combinations[i%len(combinations)]})
	}
	return s, in
}

// drain sends a command and reads up to its tagged response.
func drain(t testing.TB, c net.Conn, r *bufio.Reader, command string) (lines int) {
	if _, err := io.WriteString(c, "t "+command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line[0] == 't' && line[1] == ' ' {
			if !bytes.HasPrefix(line, []byte("t OK")) {
				t.Fatalf("%s: %s", command, line)
			}
			return lines
		}
		lines++
	}
}

func TestMillionMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s, in := filled(t, million)
	after := heap()
	t.Logf("%d octets a message", (after-before)/million)
	require.Less(t, (after-before)/million, uint64(200))

	x := login(t, s)
	x.ok("SELECT INBOX")
	x.ok("SELECT INBOX")
	require.Equal(t, million, drain(t, x.c, x.r, "UID FETCH 1:* (UID FLAGS)"))
	require.NoError(t, x.c.SetDeadline(time.Now().Add(time.Minute)))
	// With holes, numbers and UIDs drift apart; nothing becomes quadratic.
	x.ok(`STORE 1:500000 +FLAGS.SILENT (\Deleted)`)
	y := login(t, s)
	y.ok("SELECT INBOX")
	require.NoError(t, y.c.SetDeadline(time.Now().Add(time.Minute)))
	require.Equal(t, million/2, drain(t, x.c, x.r, "EXPUNGE"))
	require.Equal(t, million/2, drain(t, y.c, y.r, "FETCH 1:* UID"))
	require.Equal(t, million/2, drain(t, y.c, y.r, "NOOP"))
	require.Equal(t, []string{"500000 FETCH (UID 1000000)"}, y.ok("FETCH * UID"))
	require.Equal(t, million/2, in.Len())
	require.Less(t, heap()-before, uint64(200*million))
}

func session(b *testing.B, s *imapserver.Server, tcp bool) (net.Conn, *bufio.Reader) {
	var c net.Conn
	var err error
	if tcp {
		addr, lerr := s.Listen()
		require.NoError(b, lerr)
		c, err = net.Dial("tcp", addr)
	} else {
		c, err = s.Dial(b.Context(), "tcp", "test:143")
	}
	require.NoError(b, err)
	b.Cleanup(func() { _ = c.Close() })
	r := bufio.NewReaderSize(c, 1<<16)
	_, err = r.ReadSlice('\n')
	require.NoError(b, err)
	drain(b, c, r, "LOGIN alice secret")
	return c, r
}

func BenchmarkFetchMetadata(b *testing.B) {
	s, _ := filled(b, 100_000)
	c, r := session(b, s, false)
	drain(b, c, r, "SELECT INBOX")
	drain(b, c, r, "SELECT INBOX") // nothing is \Recent any more
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n += drain(b, c, r, "UID FETCH 1:* (UID FLAGS)")
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
}

func BenchmarkFetchBodies(b *testing.B) {
	for _, tcp := range []bool{false, true} {
		for _, size := range []int{200, 10_000} {
			b.Run(fmt.Sprintf("tcp=%v/size=%d", tcp, size), func(b *testing.B) {
				s, u := start(b, imapserver.Options{})
				body := bytes.Repeat([]byte("x"), size-2)
				body = append(body, "\r\n"...)
				const count = 1000
				for range count {
					u.Mailbox("INBOX").Add(imapserver.Message{Body: body})
				}
				c, r := session(b, s, tcp)
				drain(b, c, r, "EXAMINE INBOX")
				b.SetBytes(int64(count * size))
				b.ReportAllocs()
				n := 0
				buf := make([]byte, 1<<16)
				for b.Loop() {
					// Counted by octets: the answer has always the same length.
					_, err := io.WriteString(c, "t UID FETCH 1:* (BODY.PEEK[])\r\n")
					require.NoError(b, err)
					for tail := []byte(nil); !bytes.HasSuffix(tail, []byte("t OK Fetch completed.\r\n")); {
						k, err := r.Read(buf)
						if err != nil {
							b.Fatal(err)
						}
						tail = append(tail[max(0, len(tail)-32):], buf[max(0, k-64):k]...)
					}
					n += count
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	const size = 2000
	body := bytes.Repeat([]byte("x"), size)
	single := fmt.Appendf(nil, "t APPEND INBOX (\\Seen) \"01-Jan-2020 00:00:00 +0000\" {%d+}\r\n%s\r\n", size, body)
	multi := []byte("t APPEND INBOX")
	for range 100 {
		multi = fmt.Appendf(multi, " (\\Seen) \"01-Jan-2020 00:00:00 +0000\" {%d+}\r\n%s", size, body)
	}
	multi = append(multi, "\r\n"...)
	for _, tt := range []struct {
		name     string
		commands []byte // for 100 messages
		answers  int
	}{
		{"pipelined", bytes.Repeat(single, 100), 100},
		{"multi", multi, 1},
	} {
		for _, tcp := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/tcp=%v", tt.name, tcp), func(b *testing.B) {
				s, u := start(b, imapserver.Options{})
				c, r := session(b, s, tcp)
				b.SetBytes(100 * size)
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					if _, err := c.Write(tt.commands); err != nil {
						b.Fatal(err)
					}
					for range tt.answers {
						line, err := r.ReadSlice('\n')
						if err != nil || !bytes.HasPrefix(line, []byte("t OK")) {
							b.Fatal(string(line), err)
						}
					}
					n += 100
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
				require.Equal(b, n, u.Mailbox("INBOX").Len())
			})
		}
	}
}
