package imapx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// errDead stands for the error that ended the connection, where only the fact
// is known.
var errDead = errors.New("the connection has ended")

// Commands, as classify and the errors name them.
const (
	opGreeting   = "greeting"
	opConnect    = "connect"
	opStartTLS   = "starttls"
	opCapability = "capability"
	opLogin      = "login"
	opAuth       = "authenticate"
	opCompress   = "compress"
	opID         = "id"
	opNamespace  = "namespace"
	opList       = "list"
	opLsub       = "lsub"
	opStatus     = "status"
	opSelect     = "select"
	opExamine    = "examine"
	opUnselect   = "unselect"
	opSearch     = "search"
	opFetch      = "fetch"
	opCreate     = "create"
	opSubscribe  = "subscribe"
	opAppend     = "append"
	opStore      = "store"
	opCopy       = "copy"
	opExpunge    = "expunge"
	opQuota      = "quota"
	opNoop       = "noop"
	opIdle       = "idle"
	opNotify     = "notify"
	opWatch      = "watch"
	opLogout     = "logout"
	opRaw        = "raw"
)

// verbs are the commands in words that an operator knows.
var verbs = map[string]string{
	opGreeting:   "connect",
	opStartTLS:   "start TLS",
	opCapability: "ask for the server's capabilities",
	opLogin:      "log in",
	opAuth:       "log in",
	opCompress:   "start compression",
	opID:         "exchange identification",
	opNamespace:  "ask for namespaces",
	opList:       "list mailboxes",
	opLsub:       "list subscriptions",
	opStatus:     "ask for the state of",
	opSelect:     "open",
	opExamine:    "open",
	opSearch:     "list messages of",
	opFetch:      "read",
	opAppend:     "append to",
	opStore:      "store flags in",
	opCopy:       "copy messages of",
	opExpunge:    "expunge",
	opSubscribe:  "subscribe to",
	opQuota:      "ask for the quota",
	opIdle:       "watch",
	opNotify:     "watch",
	opLogout:     "log out",
	opRaw:        "administer",
}

func verb(op string) string {
	if v, ok := verbs[op]; ok {
		return v
	}
	return op
}

// refusal is what a server said in place of success. Its text is quoted and
// cut.
type refusal struct{ status wire.Status }

func (r *refusal) Error() string {
	var b strings.Builder
	b.WriteString("the server answered ")
	b.WriteString(r.status.Cond.String())
	if r.status.Code != "" {
		// Codes are atoms, but who knows what a server sends.
		fmt.Fprintf(&b, " [%s]", strings.Trim(wire.Quote(r.status.Code), `"`))
	}
	if r.status.Text != "" {
		b.WriteString(" ")
		b.WriteString(wire.Quote(r.status.Text))
	}
	return b.String()
}

// condOf returns the condition of a refusal that err holds, or 0.
func condOf(err error) wire.Cond {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status.Cond
	}
	return 0
}

// fault is the error for something that happened to op, with where it
// happened filled in.
func (c *conn) fault(op string, kind mailhaul.Kind, scope mailhaul.Scope, err error) *mailhaul.Error {
	return &mailhaul.Error{
		Op: verb(op), Server: c.addr, Account: c.user,
		Kind: kind, Scope: scope, Err: err,
	}
}

// refused is the error for a status response that is no success.
func (c *conn) refused(op string, st wire.Status) *mailhaul.Error {
	v := classify(op, st.Cond.String(), st.Code, st.Arg, st.Text)
	st.Text, st.Code = c.redact(st.Text), c.redact(st.Code) // some servers repeat what they were sent
	e := c.fault(op, v.Kind, v.Scope, &refusal{st})
	e.Code, e.Wait, e.Hint = wire.Cut(st.Code), v.Wait, v.Hint
	c.heed(e)
	return e
}

// violation is the error for a server that breaks the protocol.
func (c *conn) violation(format string, args ...any) *mailhaul.Error {
	return c.fault("", mailhaul.Corrupt, mailhaul.ScopeConnection, fmt.Errorf(format, args...))
}

// named returns err, which ended or met op, with the operation and the mailbox
// that it met. The error that ended a connection meets all that were under
// way, so it is copied.
func (c *conn) named(op, mailbox string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*mailhaul.Error](err)
	if !ok {
		kind := mailhaul.Transient
		if errors.Is(err, wire.ErrUnsafe) {
			kind = mailhaul.Permanent
		}
		e = c.fault(op, kind, mailhaul.ScopeConnection, err)
	}
	named := *e
	if named.Op == "" {
		named.Op = verb(op)
	}
	if named.Mailbox == "" {
		named.Mailbox = mailbox
	}
	if named.Server == "" {
		named.Server = c.addr
	}
	if named.Account == "" {
		named.Account = c.user
	}
	return &named
}

// lost is the error for a connection that failed under our hands.
func (c *conn) lost(err error) *mailhaul.Error {
	if e, ok := errors.AsType[*mailhaul.Error](err); ok {
		return e
	}
	if bye := c.lastBye(); bye != nil {
		e := c.refused(c.phase(), *bye)
		e.Op = ""
		return e
	}
	e := c.fault("", mailhaul.Transient, mailhaul.ScopeConnection, err)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		v := classify(c.phase(), "EOF", "", "", "")
		e.Kind, e.Scope, e.Wait, e.Hint = v.Kind, v.Scope, v.Wait, v.Hint
		e.Err = fmt.Errorf("the server closed the connection: %w", err)
		if c.phase() == opGreeting {
			e.Err = fmt.Errorf("the server closed the connection without a greeting: %w", err)
			e.Hint = "the server may limit connections: " + e.Hint
		}
		c.heed(e)
	case errors.Is(err, errSilent), errors.Is(err, errSlow), errors.Is(err, errStuck):
		e.Hint = "connect again; Config.ProgressTimeout bounds the wait"
	case errors.Is(err, wire.ErrResponseTooLarge), errors.Is(err, wire.ErrLiteralTooLarge):
		e.Kind = mailhaul.Corrupt
		e.Hint = "Config.Limits bounds what a server may send"
	case errors.Is(err, errInflate), errors.Is(err, errBomb):
		e.Kind = mailhaul.Corrupt
		e.Hint = "Config.Compress switches compression off"
	case errors.Is(err, net.ErrClosed):
		e.Err = errDead
	}
	return e
}

// cancelled is the error for an operation whose context ended.
func (c *conn) cancelled(ctx context.Context) *mailhaul.Error {
	err := context.Cause(ctx)
	if !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return c.fault("", mailhaul.Transient, mailhaul.ScopeConnection, err)
}
