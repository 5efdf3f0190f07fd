package imapx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// rawSession is a session with a server that plays on after the log-in.
func rawSession(t *testing.T, cfg Config, play func(*script)) *RawSession {
	return &RawSession{c: logged(t, cfg, play)}
}

func rawText(lines [][]byte) string { return string(bytes.Join(lines, []byte("|"))) }

// What the server says of things that IMAP does not know comes back octet for
// octet, literals too; what it says otherwise goes where it always does.
func TestRawAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := rawSession(t, plain(), func(s *script) {
			tag, rest := s.command()
			require.Equal(t, "XFOO {3+}", rest)
			s.command() // the literal
			s.command() // the end of the line
			s.send(tag, "* MAILBOX %(A b", "* 3 EXISTS", "* OK still here", "* THING {5+}", "a\r\nb\x00 {1}", "c tail", "TAG OK done")
			tag = s.expect("XBAR")
			s.send(tag, "TAG NO IMAP_SYNC_CHECKSUM Checksum Failure")
			tag = s.expect("XBAR")
			s.send(tag, "TAG BAD what?")
			tag = s.expect("XBAR")
			s.send(tag, "* LAST one", "TAG NO [CANNOT] no")
			s.drain()
		})
		ctx := t.Context()
		answer, err := s.Send(ctx, strings.NewReader("XFOO {3+}\r\na\r\n"))
		require.NoError(t, err)
		lines, err := answer(ctx)
		require.NoError(t, err)
		require.Equal(t, "MAILBOX %(A b|THING {5+}\r\na\r\nb\x00 {1}\r\nc tail", rawText(lines))
		lines, err = answer(ctx) // again
		require.NoError(t, err)
		require.Len(t, lines, 2)

		for _, tt := range []struct{ code, lines string }{{"IMAP_SYNC_CHECKSUM", ""}, {"", ""}, {"CANNOT", "LAST one"}} {
			answer, err := s.Send(ctx, strings.NewReader("XBAR"))
			require.NoError(t, err)
			lines, err := answer(ctx)
			e, ok := errors.AsType[*mailhaul.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, tt.code, e.Code)
			require.NotEqual(t, mailhaul.ScopeConnection, e.Scope)
			require.Equal(t, mailhaul.Permanent, e.Kind)
			require.Equal(t, tt.lines, rawText(lines))
		}
		require.True(t, s.c.healthy())
	})
}

// Commands may be sent ahead of answers, and each gets its own.
func TestRawPipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := rawSession(t, plain(), func(s *script) {
			one, two := s.expect("XONE"), s.expect("XTWO")
			s.send(one, "* A 1", "TAG OK done")
			s.send(two, "* A 2", "TAG OK done")
			s.drain()
		})
		ctx := t.Context()
		one, err := s.Send(ctx, strings.NewReader("XONE"))
		require.NoError(t, err)
		two, err := s.Send(ctx, strings.NewReader("XTWO"))
		require.NoError(t, err)
		lines, err := two(ctx)
		require.NoError(t, err)
		require.Equal(t, "A 2", rawText(lines))
		lines, err = one(ctx)
		require.NoError(t, err)
		require.Equal(t, "A 1", rawText(lines))
	})
}

// An answer is bounded, and half of one is none.
func TestRawLimits(t *testing.T) {
	for name, lines := range map[string][]string{
		"many":     strings.Split(strings.Repeat("* A 1234567890\n", 1000), "\n"),
		"one long": {"* A " + strings.Repeat("x", 5000), "* B"},
		"literal":  {"* A {6000}", strings.Repeat("x", 6000), "* B"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := plain()
				cfg.Limits.MaxBuffered, cfg.Limits.MaxLine = 5000, 4000
				s := rawSession(t, cfg, func(s *script) {
					s.send(s.expect("X"), append(lines, "TAG OK done")...)
					s.drain()
				})
				answer, err := s.Send(t.Context(), strings.NewReader("X"))
				require.NoError(t, err)
				got, err := answer(t.Context())
				require.Equal(t, mailhaul.Corrupt, mailhaul.KindOf(err), "%v", err)
				require.Empty(t, got)
			})
		})
	}
}

// A command that cannot be read to its end never ends on the wire.
func TestRawCommandFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []byte
		s := rawSession(t, plain(), func(s *script) { got, _ = io.ReadAll(s.r) })
		_, err := s.Send(t.Context(), io.MultiReader(strings.NewReader("X "), iotest.ErrReader(errors.New("the disk is gone"))))
		require.ErrorContains(t, err, "the disk is gone")
		require.Error(t, s.c.reason())
		synctest.Wait()
		require.NotContains(t, string(got), "\n")
		_, err = s.Send(t.Context(), strings.NewReader("X"))
		require.Error(t, err)
	})
}

// A silent server is given up, a context that ends ends the wait.
func TestRawWaits(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := rawSession(t, plain(), func(s *script) { s.drain() })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			answer, err := s.Send(ctx, strings.NewReader("X"))
			require.NoError(t, err)
			if cancelled {
				cancel()
			}
			_, err = answer(ctx)
			require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err))
			require.Equal(t, cancelled, errors.Is(err, context.Canceled), "%v", err)
			require.Error(t, s.c.reason())
		})
	}
}

// A session has a connection of the pool's, and gives it back.
func TestRawPool(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		ctx := t.Context()
		cl := openClient(t, Config{Server: srv, Connections: 1})
		for range 3 {
			s, err := cl.OpenRaw(ctx)
			require.NoError(t, err)
			require.True(t, s.Can("namespace"))
			require.False(t, s.Can("X-NOTHING"))
			answer, err := s.Send(ctx, strings.NewReader("NOOP"))
			require.NoError(t, err)
			_, err = answer(ctx)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.NoError(t, s.Close())
			_, err = s.Send(ctx, strings.NewReader("NOOP"))
			require.ErrorIs(t, err, mailhaul.ErrClosed)
		}
		require.EqualValues(t, 1, cl.Traffic().Connections)

		s, err := cl.OpenRaw(ctx)
		require.NoError(t, err)
		_, err = s.Send(ctx, strings.NewReader("IDLE")) // never answered
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = cl.List(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 2, cl.Traffic().Connections)
	})
}

// Cyrus tells an administrator what it tells nobody else.
func TestRawCyrus(t *testing.T) {
	srv := testserver.Cyrus(t, testserver.Options{})
	ctx := t.Context()
	user := openClient(t, Config{Server: srv.Account(1).Server})
	_, err := user.List(ctx)
	require.NoError(t, err)
	for _, admin := range []bool{true, false} {
		cl := user
		if admin {
			cl = openClient(t, Config{Server: srv.Reach(testserver.CyrusAdmin, testserver.IMAPS)})
		}
		s, err := cl.OpenRaw(ctx)
		require.NoError(t, err)
		answer, err := s.Send(ctx, strings.NewReader("SYNCGET MAILBOXES (user.u1)"))
		require.NoError(t, err)
		lines, err := answer(ctx)
		if admin {
			require.NoError(t, err)
			require.Len(t, lines, 1)
			require.True(t, bytes.HasPrefix(lines[0], []byte("MAILBOX %(UNIQUEID ")), "%s", lines[0])
		} else {
			require.Equal(t, mailhaul.Permanent, mailhaul.KindOf(err))
		}
		require.NoError(t, s.Close())
	}
}
