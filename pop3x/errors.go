package pop3x

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mailhaul/mailhaul"
)

// What is being done, for errors and for the rules of classify.
const (
	opGreeting = "connect"
	opTLS      = "start TLS"
	opCapa     = "ask for the server's capabilities"
	opLogin    = "log in"
	opList     = "list messages of"
	opFetch    = "read"
	opQuit     = "log out"
)

// refusal is what a server said in place of success. Its text is quoted and
// cut.
type refusal struct{ status status }

func (r *refusal) Error() string {
	text := "the server answered -ERR"
	if r.status.code != "" {
		text += fmt.Sprintf(" [%s]", cut(r.status.code))
	}
	if r.status.text != "" {
		text += " " + quote(r.status.text)
	}
	return text
}

func cut(code string) string {
	q := quote(code)
	return q[1 : len(q)-1]
}

// fault is the error for something that happened, with where it happened
// filled in.
func (c *conn) fault(op string, kind mailhaul.Kind, scope mailhaul.Scope, err error) *mailhaul.Error {
	return faultOf(c.cfg, op, kind, scope, err)
}

func faultOf(cfg *Config, op string, kind mailhaul.Kind, scope mailhaul.Scope, err error) *mailhaul.Error {
	e := &mailhaul.Error{Op: op, Server: cfg.Server.Addr(), Account: cfg.Server.Account().User, Kind: kind, Scope: scope, Err: err}
	if op == opList {
		e.Mailbox = inbox
	}
	return e
}

// refused is the error for an answer that is no success.
func (c *conn) refused(st status) *mailhaul.Error {
	v := classify(c.phase, "-ERR", st.code, st.text)
	st.text, st.code = c.redact(st.text), c.redact(st.code) // some servers repeat what they were sent
	e := c.fault(c.phase, v.Kind, v.Scope, &refusal{st})
	e.Code, e.Wait, e.Hint = cut(st.code), v.Wait, v.Hint
	c.leash.heed(e)
	return e
}

// violation is the error for a server that breaks the protocol.
func (c *conn) violation(format string, args ...any) *mailhaul.Error {
	return c.fault(c.phase, mailhaul.Corrupt, mailhaul.ScopeConnection, fmt.Errorf(format, args...))
}

// lost is the error for a connection that failed under our hands.
func (c *conn) lost(err error) error {
	if e, ok := errors.AsType[*mailhaul.Error](err); ok {
		return e
	}
	e := c.fault(c.phase, mailhaul.Transient, mailhaul.ScopeConnection, err)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		v := classify(c.phase, "EOF", "", "")
		e.Kind, e.Scope, e.Wait, e.Hint = v.Kind, v.Scope, v.Wait, v.Hint
		e.Err = fmt.Errorf("the server closed the connection: %w", err)
		if c.phase == opGreeting {
			e.Err = fmt.Errorf("the server closed the connection without a greeting: %w", err)
		}
		c.leash.heed(e)
	case errors.Is(err, errSilent), errors.Is(err, errSlow), errors.Is(err, errStuck):
		e.Hint = "connect again; Config.ProgressTimeout bounds the wait"
	case errors.Is(err, errLongLine):
		e.Kind = mailhaul.Corrupt
		e.Hint = "Config.Limits bounds what a server may send"
	case errors.Is(err, net.ErrClosed):
		e.Err = mailhaul.ErrClosed
	}
	return e
}

// cancelled is the error for an operation whose context ended.
func (c *conn) cancelled(ctx context.Context) *mailhaul.Error {
	err := context.Cause(ctx)
	if !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return faultOf(c.cfg, opFetch, mailhaul.Transient, mailhaul.ScopeConnection, err)
}
