package imapx

// Commands that this package knows nothing of, for those who do: what an
// administrator's session can do besides IMAP.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// RawSession is one connection on which commands are given that this package
// knows nothing of. Everything about the connection is as elsewhere: TLS, the
// log-in, [Limits], the deadlines, the Throttle, and what becomes of a context
// that ends. It is for one goroutine at a time, except that an answer may be
// waited for by another. After an error that is no refusal it is dead: close it
// and open another.
type RawSession struct {
	client *Client
	c      *conn
	closed bool
}

// OpenRaw takes a connection from the Client, waiting while all are in use. The
// caller closes it.
func (cl *Client) OpenRaw(ctx context.Context) (*RawSession, error) {
	c, err := cl.pool.get(ctx, "")
	if err != nil {
		return nil, cl.fault(opRaw, "", err)
	}
	return &RawSession{client: cl, c: c}, nil
}

// Can reports whether the server has said, since the log-in, that it has the
// capability.
func (s *RawSession) Can(capability string) bool { return s.c.can(strings.ToUpper(capability)) }

// Send gives a command and returns when its last octet is with the transport.
// What command holds is sent as it is, behind a tag and before a line end:
// quoting is the caller's, and so is that no literal in it has to be asked for
// by the server. It streams. Further commands may be sent before the answer is
// there. An error of command itself ends the connection, since half a command
// cannot be taken back.
//
// The function that is returned waits for the answer, and may be called more
// than once. It returns the untagged responses that came while this was the
// oldest command without an answer, if they begin with a word that this package
// makes no use of: without "* " and the last line end, with literals as they
// were sent. Where they have more than Limits.MaxBuffered octets together, or
// one is longer than Limits allow, the answer is an error of kind Corrupt.
//
// A refusal is an error whose Code is the response code, or the word with an
// underscore in it that the text begins with, which is how Cyrus names what is
// wrong. Its scope is never the connection, which is as good as before.
func (s *RawSession) Send(ctx context.Context, command io.Reader) (answer func(context.Context) ([][]byte, error), err error) {
	if s.closed {
		return nil, s.c.fault(opRaw, mailhaul.Permanent, mailhaul.ScopeConnection, mailhaul.ErrClosed)
	}
	if ctx.Err() != nil {
		return nil, s.c.named(opRaw, "", s.c.cancelled(ctx))
	}
	cmd := s.c.command(opRaw, "")
	col := &rawCollector{limit: s.c.cfg.Limits.MaxBuffered}
	cmd.wants = col.wants
	if err := s.send(ctx, cmd, command); err != nil {
		return nil, s.c.named(opRaw, "", err)
	}
	return func(ctx context.Context) ([][]byte, error) { return s.answer(ctx, cmd, col) }, nil
}

func (s *RawSession) send(ctx context.Context, cmd *command, command io.Reader) error {
	begun, err := s.c.mayBegin(ctx, opRaw, 0)
	if err != nil {
		return err
	}
	defer begun()
	st := s.c.stage(ctx)
	defer st.drop()
	if err := s.c.register(cmd, st.position(), false); err != nil {
		return err
	}
	if s.c.cfg.Trace != nil {
		s.c.trace(true, []byte(cmd.tag+" …"))
	}
	if err := st.text(cmd.enc.Bytes()); err != nil {
		return err
	}
	if err := st.all(command); err != nil {
		if errors.Is(err, errBody) {
			e := s.c.fault(opRaw, mailhaul.Transient, mailhaul.ScopeConnection, err)
			if cause, ok := errors.AsType[*mailhaul.Error](err); ok {
				e.Kind = cause.Kind
			}
			s.c.fail(e)
			return e
		}
		return err // it is the connection that failed
	}
	if err := st.text([]byte("\r\n")); err != nil {
		return err
	}
	st.complete(cmd)
	return st.drained()
}

// all puts all octets of r in.
func (s *stage) all(r io.Reader) error {
	for {
		b, err := s.buffer()
		if err != nil {
			return err
		}
		n, err := r.Read(b.buf[b.n:])
		b.n += n
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errBody, err)
		}
	}
}

func (s *RawSession) answer(ctx context.Context, cmd *command, col *rawCollector) ([][]byte, error) {
	st, err := s.c.wait(ctx, cmd)
	if err != nil {
		return nil, s.c.named(opRaw, "", err)
	}
	if col.err != nil {
		e := s.c.violation("the answer cannot be used: %w", col.err)
		e.Hint = "Config.Limits bounds what a server may send"
		return nil, s.c.named(opRaw, "", e)
	}
	if st.Cond != wire.OK {
		e := s.c.refused(opRaw, st)
		if st.Cond == wire.BAD { // the command was the caller's
			e.Kind, e.Hint = mailhaul.Permanent, ""
		}
		if e.Code == "" {
			e.Code = wire.Cut(bareCode(st.Text))
		}
		if e.Scope == mailhaul.ScopeConnection {
			e.Scope = mailhaul.ScopeAccount
		}
		return col.responses, s.c.named(opRaw, "", e)
	}
	return col.responses, nil
}

// bareCode returns the first word of a text that is written like a response
// code, with an underscore in it so that it is no word of a language.
func bareCode(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if !strings.Contains(word, "_") || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return ""
	}
	return word
}

// Close gives the connection back. Where answers are outstanding it is ended.
func (s *RawSession) Close() error {
	if !s.closed {
		s.closed = true
		s.client.pool.put(s.c)
	}
	return nil
}

// rawEvent is an untagged response that nothing is made of here. With err it is
// one of which parts were dropped.
type rawEvent struct {
	resp *wire.Response
	err  error
}

// rawCollector gathers the responses to one command, on the goroutine that
// reads.
type rawCollector struct {
	limit     int64
	size      int64
	responses [][]byte
	err       error
}

func (r *rawCollector) wants(event any) bool {
	e, ok := event.(rawEvent)
	if !ok {
		return false
	}
	if r.err == nil {
		r.err = e.err
	}
	if r.err != nil {
		r.responses = nil
		return true
	}
	raw := e.resp.Raw()
	if r.size += int64(len(raw)) + 64; r.size > r.limit {
		r.responses, r.err = nil, fmt.Errorf("it has more than %d octets", r.limit)
		return true
	}
	r.responses = append(r.responses, raw[min(len(raw), len("* ")):])
	return true
}
