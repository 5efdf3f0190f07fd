// APPEND, octet by octet: literals of all kinds, batches, refusals.

package imapserver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func bodies(b *imapserver.Mailbox) []string {
	var out []string
	for _, m := range b.Messages() {
		out = append(out, string(m.Body))
	}
	return out
}

func TestMultiAppend(t *testing.T) {
	s, u := start(t, imapserver.Options{UIDValidity: 77})
	x := login(t, s)
	_, status := x.do("APPEND INBOX (\\Seen) {3+}\r\none () \"01-Feb-2003 04:05:06 +0700\" {0+}\r\n {5+}\r\nthree")
	assert.Contains(t, status, "OK [APPENDUID 77 1:3] ")
	in := u.Mailbox("INBOX")
	assert.Equal(t, []string{"one", "", "three"}, bodies(in))
	m := in.Messages()
	assert.Equal(t, []mailhaul.Flag{`\Seen`}, m[0].Flags)
	assert.True(t, m[1].Date.Equal(time.Date(2003, 2, 1, 4, 5, 6, 0, time.FixedZone("", 7*3600))))
	assert.WithinDuration(t, time.Now(), m[2].Date, time.Minute)

	// With synchronizing literals each message is invited.
	x.send("m APPEND INBOX {3}\r\n")
	assert.Equal(t, "+ OK", x.line())
	x.send("two {4}\r\n")
	assert.Equal(t, "+ OK", x.line())
	x.send("more\r\n")
	_, status = x.answer("m")
	assert.Contains(t, status, "OK [APPENDUID 77 4:5] ")
}

func TestMultiAppendIsAtomic(t *testing.T) {
	s, u := start(t, imapserver.Options{
		Refuse: func(body []byte) error {
			if strings.Contains(string(body), "virus") {
				return errors.New("[CANNOT] Message has a virus.")
			}
			return nil
		},
		AppendLimit: 100, Quota: 150,
	})
	x := login(t, s)
	x.refused("APPEND INBOX {3+}\r\none {5+}\r\nvirus {5+}\r\nthree", "NO [CANNOT]")
	x.refused("APPEND INBOX {3+}\r\none {101+}\r\n"+strings.Repeat("x", 101), "NO [TOOBIG]")
	x.refused("APPEND INBOX {80+}\r\n"+strings.Repeat("x", 80)+" {80+}\r\n"+strings.Repeat("x", 80), "NO [OVERQUOTA]")
	x.refused("APPEND Missing {3+}\r\none {3+}\r\ntwo", "NO [TRYCREATE]")
	x.refused("APPEND INBOX {3+}\r\none (\\Recent) {3+}\r\ntwo", "BAD")
	x.refused("APPEND INBOX {3+}\r\none {3+}\r\ntwo trailing", "BAD")
	assert.Zero(t, u.Mailbox("INBOX").Len())
	assert.Zero(t, u.Used())
	x.ok("APPEND INBOX {80+}\r\n" + strings.Repeat("x", 80))
	assert.EqualValues(t, 80, u.Used())
	x.refused("APPEND INBOX {80+}\r\n"+strings.Repeat("x", 80), "NO [OVERQUOTA]")

	// A client that can still be stopped is not invited.
	for _, c := range []string{"Missing {3}", "INBOX {101}", "INBOX {80}"} {
		x.send("r APPEND " + c + "\r\n")
		assert.True(t, strings.HasPrefix(x.line(), "r NO ["), c)
	}
	x.ok("NOOP")
}

func TestBadAppends(t *testing.T) {
	bad := []string{
		`INBOX (\Recent) `, `INBOX (\Foo) `, "INBOX (gr\xfcn) ", `INBOX (a"b) `, `INBOX "yesterday" `,
		`INBOX "32-Jan-2020 00:00:00 +0000" `, `INBOX () `, `INBOX ~`,
	}
	for _, parse := range []bool{false, true} {
		t.Run(fmt.Sprint("parse=", parse), func(t *testing.T) {
			s, u := start(t, imapserver.Options{ParseBodyAfterBAD: parse})
			for i, args := range bad {
				victim := fmt.Sprint("victim", i)
				u.Create(victim)
				x := login(t, s)
				body := "evil DELETE " + victim + "\r\n"
				if args == `INBOX () ` {
					args += " " // two spaces
				}
				x.send(fmt.Sprintf("b APPEND %s{%d+}\r\n%s\r\nn NOOP\r\n", args, len(body), body))
				assert.True(t, strings.HasPrefix(x.line(), "b BAD "), args)
				if parse {
					assert.Equal(t, "evil OK Delete completed.", x.line())
					assert.Nil(t, u.Mailbox(victim), "the body is run as commands, as Dovecot does")
					assert.True(t, strings.HasPrefix(x.line(), "* BAD "), "the empty line after the literal")
				} else {
					assert.NotNil(t, u.Mailbox(victim))
				}
				assert.Equal(t, "n OK NOOP completed.", x.line())
			}
			assert.Zero(t, u.Mailbox("INBOX").Len())
		})
	}
}

func TestLiteralCapabilities(t *testing.T) {
	big := "{4097+}\r\n" + strings.Repeat("x", 4097)
	small := "{4096+}\r\n" + strings.Repeat("x", 4096)
	tests := map[string]struct {
		caps       []string
		small, big string
	}{
		"LITERAL+": {nil, "OK", "OK"},
		"LITERAL-": {imapserver.With("LITERAL-"), "OK", "BAD"},
		"neither":  {imapserver.Without("LITERAL+"), "BAD", "BAD"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := start(t, imapserver.Options{Caps: tt.caps})
			x := login(t, s)
			x.refused("APPEND INBOX "+small, tt.small)
			x.refused("APPEND INBOX "+big, tt.big)
			x.ok("NOOP")
		})
	}
}

func TestWithoutMultiAppend(t *testing.T) {
	s, u := start(t, imapserver.Options{Caps: imapserver.Without("multiappend", "UIDPLUS")})
	x := login(t, s)
	x.refused("APPEND INBOX {3+}\r\none {3+}\r\ntwo", "BAD")
	_, status := x.do("APPEND INBOX {3+}\r\none")
	assert.Equal(t, "OK Append completed.", status)
	assert.Equal(t, []string{"one"}, bodies(u.Mailbox("INBOX")))
}

func TestArgumentLiterals(t *testing.T) {
	s, _ := start(t, imapserver.Options{})
	x, _ := connect(t, s)
	x.send("a LOGIN {5}\r\n")
	assert.Equal(t, "+ OK", x.line())
	x.send("alice {6}\r\n")
	assert.Equal(t, "+ OK", x.line())
	x.send("secret\r\n")
	_, status := x.answer("a")
	assert.Contains(t, status, "OK ")
	x.ok("STATUS {5+}\r\nInbox (MESSAGES)")
	x.refused("STATUS {70000+}\r\n"+strings.Repeat("x", 70000)+" (MESSAGES)", "BAD")
	x.refused("STATUS INBOX (FOO) {3+}\r\nabc", "BAD")
	x.ok("NOOP")
}

func TestLimits(t *testing.T) {
	s, _ := start(t, imapserver.Options{MaxLiteral: 1 << 20})
	x := login(t, s)
	x.send("a NOOP " + strings.Repeat("x", 70_000) + "\r\n")
	assert.Equal(t, "* BYE Command line too long.", x.line())
	x.closed()

	x = login(t, s)
	x.send("a APPEND INBOX {1048577}\r\n")
	assert.True(t, strings.HasPrefix(x.line(), "a NO [TOOBIG]"))
	x.send("a APPEND INBOX {99999999999+}\r\n")
	assert.Equal(t, "* BYE Literal too large.", x.line())
	x.closed()

	// What was announced and does not come costs nothing, and stores nothing.
	x = login(t, s)
	x.send("a APPEND INBOX {1048576+}\r\nhello")
	require.NoError(t, x.c.Close())
	require.NoError(t, s.Close())
	assert.Zero(t, s.User("alice").Mailbox("INBOX").Len())
}

func TestPermanentFlags(t *testing.T) {
	s, u := start(t, imapserver.Options{PermanentFlags: []string{`\Seen`, `\Deleted`, "ours"}})
	x := login(t, s)
	x.ok("APPEND INBOX (\\Seen \\Flagged ours theirs) {1+}\r\nx")
	assert.Equal(t, []mailhaul.Flag{`\Seen`, "ours"}, u.Mailbox("INBOX").Messages()[0].Flags)
	assert.Contains(t, x.ok("SELECT INBOX"), `OK [PERMANENTFLAGS (\Seen \Deleted ours)] Flags permitted.`)
	x.ok("STORE 1 FLAGS (\\Draft \\Deleted theirs)")
	assert.Equal(t, []mailhaul.Flag{`\Deleted`}, u.Mailbox("INBOX").Messages()[0].Flags)
}

func TestLateCommit(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprint("early=", early), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, u := start(t, imapserver.Options{LateCommit: 30 * time.Second, EarlyOK: early})
				x := login(t, s)
				require.NoError(t, x.c.SetDeadline(time.Time{}))
				began := time.Now()
				x.send("a APPEND INBOX {3+}\r\none\r\n")
				if early {
					assert.Equal(t, "a OK Append completed.", x.line())
					assert.Zero(t, time.Since(began))
				}
				// The connection dies; the message comes all the same.
				require.NoError(t, x.c.Close())
				time.Sleep(29 * time.Second)
				synctest.Wait()
				assert.Zero(t, u.Mailbox("INBOX").Len())
				time.Sleep(2 * time.Second)
				synctest.Wait()
				assert.Equal(t, []string{"one"}, bodies(u.Mailbox("INBOX")))
				require.NoError(t, s.Close())
			})
		})
	}
}
