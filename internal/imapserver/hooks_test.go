// What hooks can do to a session.

package imapserver_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// onCommand returns a Response hook that acts on the tagged response of one
// command.
func onCommand(command string, a imapserver.Action) func(*imapserver.Session, string, string, []byte) imapserver.Action {
	return func(_ *imapserver.Session, cmd, tag string, response []byte) imapserver.Action {
		if cmd == command && bytes.HasPrefix(response, []byte(tag+" ")) {
			return a
		}
		return imapserver.Action{}
	}
}

func TestResponseHookSeesWholeResponses(t *testing.T) {
	var seen []string
	s, u := start(t, imapserver.Options{Hooks: imapserver.Hooks{
		Response: func(c *imapserver.Session, command, tag string, response []byte) imapserver.Action {
			seen = append(seen, command+"|"+tag+"|"+string(response))
			assert.Equal(t, 1, c.Number())
			return imapserver.Action{}
		},
	}})
	u.Mailbox("INBOX").Add(imapserver.Message{Body: []byte("a\r\nb")})
	x := login(t, s)
	x.ok("EXAMINE INBOX")
	seen = nil
	x.ok("FETCH 1 (UID BODY.PEEK[] RFC822.SIZE)")
	assert.Equal(t, []string{
		"FETCH|t3|* 1 FETCH (UID 1 BODY[] {4}\r\na\r\nb RFC822.SIZE 4)\r\n",
		"FETCH|t3|t3 OK Fetch completed.\r\n",
	}, seen)
	seen = nil
	x.send("a APPEND INBOX {1}\r\n")
	assert.Equal(t, "+ OK", x.line())
	assert.Equal(t, []string{"APPEND|a|+ OK\r\n"}, seen)
	x.send("x\r\n")
	x.answer("a")
	s.DropConnections()
	x.closed()
}

func TestResponseHookChanges(t *testing.T) {
	hook := func(_ *imapserver.Session, command, tag string, response []byte) imapserver.Action {
		switch {
		case command == "":
			return imapserver.Action{Replace: []byte("* OK hello\r\n")}
		case bytes.Contains(response, []byte("EXISTS")):
			return imapserver.Action{Drop: true}
		case command == "NOOP":
			return imapserver.Action{Replace: []byte(tag + " OK replaced\r\n"), Append: []byte("* 99 EXISTS\r\n")}
		}
		return imapserver.Action{}
	}
	s, _ := start(t, imapserver.Options{Hooks: imapserver.Hooks{Response: hook}})
	x, greeting := connect(t, s)
	assert.Equal(t, "* OK hello", greeting)
	x.ok("LOGIN alice secret")
	assert.NotContains(t, strings.Join(x.ok("SELECT INBOX"), "\n"), "EXISTS")
	_, status := x.do("NOOP")
	assert.Equal(t, "OK replaced", status)
	assert.Equal(t, "* 99 EXISTS", x.line())
}

func TestResponseHookEnds(t *testing.T) {
	tests := map[string]struct {
		action imapserver.Action
		want   string
		err    error
	}{
		"close before":  {imapserver.Action{End: imapserver.Close}, "", io.EOF},
		"close after":   {imapserver.Action{End: imapserver.Close, After: imapserver.All}, "n OK NOOP completed.\r\n", io.EOF},
		"cut":           {imapserver.Action{End: imapserver.Close, After: 4}, "n OK", io.EOF},
		"reset":         {imapserver.Action{End: imapserver.Reset, After: 4}, "n OK", syscall.ECONNRESET},
		"drop, close":   {imapserver.Action{Drop: true, End: imapserver.Close, After: imapserver.All}, "", io.EOF},
		"cut in append": {imapserver.Action{Replace: []byte("12"), Append: []byte("345"), End: imapserver.Close, After: 4}, "1234", io.EOF},
	}
	for name, tt := range tests {
		for _, tcp := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				s, _ := start(t, imapserver.Options{Hooks: imapserver.Hooks{Response: onCommand("NOOP", tt.action)}})
				var c net.Conn = dial(t, s)
				if tcp {
					addr, err := s.Listen()
					require.NoError(t, err)
					require.NoError(t, c.Close())
					c, err = net.Dial("tcp", addr)
					require.NoError(t, err)
				}
				defer func() { _ = c.Close() }()
				_, err := io.WriteString(c, "l LOGIN alice secret\r\n")
				require.NoError(t, err)
				var got []byte
				for !bytes.Contains(got, []byte("Logged in\r\n")) {
					b := make([]byte, 100)
					n, err := c.Read(b)
					require.NoError(t, err)
					got = append(got, b[:n]...)
				}
				_, err = io.WriteString(c, "n NOOP\r\n")
				require.NoError(t, err)
				got, err = io.ReadAll(c)
				if tt.err == io.EOF {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tt.err)
				}
				assert.Equal(t, tt.want, string(got))
			})
		}
	}
}

func TestDelayAndStallInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := start(t, imapserver.Options{Hooks: imapserver.Hooks{
			Response: onCommand("NOOP", imapserver.Action{Delay: time.Hour}),
			Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
				switch command {
				case "CHECK":
					return &imapserver.Override{End: imapserver.Hang}
				case "CAPABILITY":
					return &imapserver.Override{End: imapserver.Stall}
				}
				return nil
			},
		}})
		x := login(t, s)
		require.NoError(t, x.c.SetDeadline(time.Time{}))
		began := time.Now()
		x.ok("NOOP")
		assert.Equal(t, time.Hour, time.Since(began))

		x.ok("SELECT INBOX")
		x.send("h CHECK\r\nmore NOOP\r\n")
		require.NoError(t, x.c.SetReadDeadline(time.Now().Add(time.Hour)))
		_, err := x.r.ReadByte()
		require.ErrorContains(t, err, "timeout")
		require.NoError(t, x.c.Close())
		synctest.Wait()
		assert.Zero(t, s.Stats().Open, "hanging ends with the client")

		x = login(t, s)
		x.send("h CAPABILITY\r\n")
		require.NoError(t, x.c.SetWriteDeadline(time.Now().Add(time.Hour)))
		_, err = x.c.Write(make([]byte, 1<<20))
		require.ErrorContains(t, err, "timeout", "a stalled server does not read")
		require.NoError(t, s.Close())
	})
}

func TestCommandHook(t *testing.T) {
	var override *imapserver.Override
	var args string
	s, u := start(t, imapserver.Options{Hooks: imapserver.Hooks{
		Command: func(c *imapserver.Session, command, a string) *imapserver.Override {
			if command == "APPEND" || command == "UID FETCH" {
				assert.Equal(t, "alice", c.User())
				args = a
				return override
			}
			return nil
		},
	}})
	in := u.Mailbox("INBOX")
	x := login(t, s)

	override = &imapserver.Override{Reply: "NO [LIMIT] not now", Untagged: "* OK wait\r\n"}
	got, status := x.do("APPEND INBOX (\\Seen) {3+}\r\none {3+}\r\ntwo")
	assert.Equal(t, []string{"OK wait"}, got)
	assert.Equal(t, "NO [LIMIT] not now", status)
	assert.Equal(t, `INBOX (\Seen) {3+}`, args)
	assert.Zero(t, in.Len())
	x.send("s APPEND INBOX {3}\r\n")
	_, status = x.answer("s")
	assert.Equal(t, "NO [LIMIT] not now", status)

	// It commits, and says that it did not.
	override = &imapserver.Override{Execute: true, Reply: "NO [SERVERBUG] oops"}
	x.refused("APPEND INBOX {3+}\r\none", "NO [SERVERBUG]")
	assert.Equal(t, 1, in.Len())
	x.ok("SELECT INBOX")
	got, status = x.do("UID FETCH 1 RFC822.SIZE")
	assert.Equal(t, []string{"1 FETCH (UID 1 RFC822.SIZE 3)"}, got)
	assert.Equal(t, "NO [SERVERBUG] oops", status)

	override = &imapserver.Override{Execute: true, Reply: "NO later", Untagged: "* BYE so long\r\n", End: imapserver.Close}
	got, status = x.do("APPEND INBOX {3+}\r\ntwo")
	assert.Contains(t, got, "BYE so long")
	assert.Equal(t, "NO later", status)
	x.closed()
	assert.Equal(t, 2, in.Len())
}

func TestAppendHook(t *testing.T) {
	s, u := start(t, imapserver.Options{UIDValidity: 9, Hooks: imapserver.Hooks{
		Append: func(user, mailbox string, m *imapserver.Message) error {
			assert.Equal(t, "alice/INBOX", user+"/"+mailbox)
			switch string(m.Body) {
			case "alter":
				m.Body = []byte("altered")
				m.Flags = append(m.Flags, `\Flagged`)
				m.Date = time.Unix(0, 0)
			case "refuse":
				return errors.New("[CANNOT] no")
			case "twin":
				return &imapserver.Discard{UID: 1}
			case "lost":
				return &imapserver.Discard{}
			case "there":
				m.UID = 1000
			}
			return nil
		},
	}})
	in := u.Mailbox("INBOX")
	x := login(t, s)
	x.ok("APPEND INBOX {5+}\r\nalter")
	m := in.Messages()[0]
	assert.Equal(t, "altered", string(m.Body))
	assert.Equal(t, []mailhaul.Flag{`\Flagged`}, m.Flags)
	assert.Equal(t, int64(0), m.Date.Unix())
	x.refused("APPEND INBOX {2+}\r\nok {6+}\r\nrefuse", "NO [CANNOT]")
	_, status := x.do("APPEND INBOX {4+}\r\ntwin {4+}\r\nlost {2+}\r\nok")
	assert.Contains(t, status, "[APPENDUID 9 1:3]")
	assert.Equal(t, []string{"altered", "ok"}, bodies(in))
	assert.EqualValues(t, 9, u.Used())
	_, status = x.do("APPEND INBOX {5+}\r\nthere")
	assert.Contains(t, status, "[APPENDUID 9 1000]")
	x.refused("APPEND INBOX {5+}\r\nthere", "NO")
}

func TestAcceptAndWrapHooks(t *testing.T) {
	s, _ := start(t, imapserver.Options{Hooks: imapserver.Hooks{
		Accept: func(n int) error {
			if n == 1 {
				return errors.New("busy")
			}
			return nil
		},
		Wrap: func(n int, c net.Conn) net.Conn {
			if n == 2 {
				return &shortConn{Conn: c, left: 8}
			}
			return c
		},
	}})
	for _, want := range []string{"", "* OK [CA"} {
		got, err := io.ReadAll(dial(t, s))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	login(t, s).ok("NOOP")
	assert.EqualValues(t, 3, s.Stats().Connections)
}

// shortConn is cut after some octets.
type shortConn struct {
	net.Conn
	left int
}

func (c *shortConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		_ = c.Close()
	}
	return n, err
}

func TestPersonalities(t *testing.T) {
	s, _ := start(t, imapserver.Options{
		NoUIDNext: true, NoStatusUIDNext: true, NoCapabilityCode: true, Greeting: "Dovecot ready.",
		ID: map[string]string{"name": "Dovecot", "version": "2.3"},
	})
	x, greeting := connect(t, s)
	assert.Equal(t, "* OK Dovecot ready.", greeting)
	_, status := x.do("LOGIN alice secret")
	assert.Equal(t, "OK Logged in", status)
	assert.NotContains(t, strings.Join(x.ok("SELECT INBOX"), "\n"), "UIDNEXT")
	assert.Equal(t, []string{`STATUS "INBOX" (MESSAGES 0)`}, x.ok("STATUS INBOX (UIDNEXT MESSAGES)"))
	assert.Equal(t, []string{`STATUS "INBOX" ()`}, x.ok("STATUS INBOX (UIDNEXT)"))
	assert.Equal(t, []string{`ID ("name" "Dovecot" "version" "2.3")`}, x.ok(`ID ("name" "mailhaul" "os" NIL)`))
}
