// A client of raw lines for the tests: what is sent and what comes back are
// the octets themselves.

package imapserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a server with one user, alice, whose password is "secret".
func start(t testing.TB, opts imapserver.Options) (*imapserver.Server, *imapserver.User) {
	t.Helper()
	s := imapserver.New(opts)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, s.AddUser("alice", "secret")
}

// raw is a connection of raw lines.
type raw struct {
	t   testing.TB
	c   net.Conn
	r   *bufio.Reader
	tag int
}

// connect opens a connection and reads the greeting.
func connect(t testing.TB, s *imapserver.Server) (*raw, string) {
	t.Helper()
	c, err := s.Dial(context.Background(), "tcp", "test:143")
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	x := &raw{t: t, c: c, r: bufio.NewReaderSize(c, 1<<20)}
	return x, x.line()
}

// login opens a connection and logs in.
func login(t testing.TB, s *imapserver.Server) *raw {
	t.Helper()
	x, _ := connect(t, s)
	x.ok("LOGIN alice secret")
	return x
}

func (x *raw) send(text string) {
	x.t.Helper()
	_, err := io.WriteString(x.c, text)
	require.NoError(x.t, err)
}

// line reads one line, with the literals in it, without its CRLF.
func (x *raw) line() string {
	x.t.Helper()
	line, err := x.read()
	require.NoError(x.t, err)
	return line
}

func (x *raw) read() (string, error) {
	var b strings.Builder
	for {
		line, err := x.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		var n int
		i := strings.LastIndexByte(line, '{')
		if i < 0 || !strings.HasSuffix(line, "}\r\n") {
			return strings.TrimSuffix(b.String(), "\r\n"), nil
		}
		if _, err := fmt.Sscanf(line[i:], "{%d}", &n); err != nil {
			return strings.TrimSuffix(b.String(), "\r\n"), nil
		}
		if _, err := io.CopyN(&b, x.r, int64(n)); err != nil {
			return b.String(), err
		}
	}
}

// do sends a command and returns the untagged lines and the tagged one, both
// without "* " and the tag.
func (x *raw) do(command string) (untagged []string, status string) {
	x.t.Helper()
	x.tag++
	tag := fmt.Sprintf("t%d", x.tag)
	x.send(tag + " " + command + "\r\n")
	return x.answer(tag)
}

func (x *raw) answer(tag string) (untagged []string, status string) {
	x.t.Helper()
	for {
		line := x.line()
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			return untagged, rest
		}
		untagged = append(untagged, strings.TrimPrefix(line, "* "))
	}
}

// ok is do for a command that must succeed.
func (x *raw) ok(command string) []string {
	x.t.Helper()
	untagged, status := x.do(command)
	require.True(x.t, strings.HasPrefix(status, "OK"), "%s: %s", command, status)
	return untagged
}

// refused is do for a command that must get the status given: NO or BAD, with
// the code if one is given.
func (x *raw) refused(command, want string) {
	x.t.Helper()
	_, status := x.do(command)
	require.True(x.t, strings.HasPrefix(status, want+" "), "%s: %s, wanted %s", command, status, want)
}

// closed requires that the server has ended the connection.
func (x *raw) closed() {
	x.t.Helper()
	_, err := x.r.ReadByte()
	require.Error(x.t, err)
	nerr, timeout := err.(net.Error)
	require.False(x.t, timeout && nerr.Timeout(), "the connection is still open")
}
