package imapx

// From a name to a connection that is logged in.

import (
	"context"
	"errors"
	"net"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
	"github.com/mailhaul/mailhaul/internal/transport"
)

// session is what a connection knows of the server and where it is. It belongs
// to whoever has the connection, except caps, which conn.mu protects.
type session struct {
	caps      capabilities
	id        identification
	namespace *namespaces // nil: not known
	quirks    quirks
	hello     string // text of the greeting

	// intro are commands in flight whose answers say more of the server, or
	// nothing any more; see introduced.
	intro     []*command
	presented bool // they have been answered

	selected string // wire name of the mailbox that is open, "" for none
}

// dial opens a network connection, whose octets are counted below TLS.
func dial(ctx context.Context, cfg *Config, m *meter) (raw, nc net.Conn, err error) {
	srv := cfg.Server
	if srv.Security == mailhaul.ImplicitTLS {
		inner := srv.Dial
		if inner == nil {
			inner = new(net.Dialer).DialContext
		}
		srv.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := inner(ctx, network, address)
			if err != nil {
				return nil, err
			}
			raw = meteredConn{conn, m}
			return raw, nil
		}
	}
	nc, err = transport.Dial(ctx, srv, cfg.DialTimeout)
	if err != nil {
		return nil, nil, err
	}
	if raw == nil {
		nc = meteredConn{nc, m}
		raw = nc
	}
	m.connections.Add(1)
	return raw, nc, nil
}

// establish brings a new connection from its greeting to the end of its
// log-in. known is what another connection has found out of the namespaces.
func (c *conn) establish(ctx context.Context, known *namespaces) error {
	c.meter.roundTrips.Add(1)
	c.link.expect(1)
	c.start()
	var greeting wire.Status
	select {
	case greeting = <-c.greeting:
	case <-c.dead:
		select {
		case greeting = <-c.greeting: // a refusal may follow at once, and say more
		default:
		}
		if greeting.Cond != 0 {
			break
		}
		err := c.reason()
		if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" {
			// With TLS 1.3 a refused client certificate shows only now.
			return transport.Classify(c.cfg.Server, alert)
		}
		return err
	case <-ctx.Done():
		err := c.cancelled(ctx)
		c.fail(err)
		return err
	}
	c.hello = greeting.Text
	if greeting.Code == "CAPABILITY" {
		c.offered(parseCapabilities(greeting.Arg))
	}
	if c.cfg.Server.Security == mailhaul.StartTLS {
		if greeting.Cond == wire.PREAUTH {
			// There is no STARTTLS in this state, so the session could only
			// go on in the clear.
			e := c.violation("the server says that the user is logged in already, before TLS could start (PREAUTH)")
			e.Kind, e.Scope = mailhaul.Permanent, mailhaul.ScopeServer
			e.Hint = "use implicit TLS (port 993); the connection may be tampered with"
			return e
		}
		if err := c.startTLS(ctx); err != nil {
			return c.named(opStartTLS, "", err)
		}
	}
	before := c.capabilities()
	if greeting.Cond != wire.PREAUTH {
		if err := c.logIn(ctx); err != nil {
			return c.named(opLogin, "", err)
		}
	} else {
		c.setPhase("")
	}
	if err := c.introduce(ctx, before, known); err != nil {
		return c.named(opCapability, "", err)
	}
	return nil
}

// introduce asks, in one round trip where that can be, what is still to be
// known after the log-in. What does not depend on the answers may be sent right
// behind; whatever does calls introduced first.
func (c *conn) introduce(ctx context.Context, before capabilities, known *namespaces) error {
	c.namespace = known
	var cmds []*command
	send := func(cmd *command) error {
		cmds = append(cmds, cmd)
		return c.send(ctx, cmd)
	}
	asked := c.capabilities() == nil
	if asked {
		if err := send(c.capability()); err != nil {
			return err
		}
	}
	identified := c.can("ID") || asked && before.has("ID")
	if identified {
		if err := send(c.idCommand()); err != nil {
			return err
		}
	}
	if asked {
		if _, err := c.result(ctx, cmds[0]); err != nil {
			return err
		}
		if c.capabilities() == nil {
			return c.violation("the server does not say what it can do")
		}
		cmds = cmds[1:]
		if !identified && c.can("ID") {
			if err := send(c.idCommand()); err != nil {
				return err
			}
		}
	}
	if known == nil && c.can("NAMESPACE") {
		if err := send(c.namespaceCommand()); err != nil {
			return err
		}
	}
	var compress *command
	if c.wantsCompression() { // the last, since nothing may follow it (RFC 4978 section 3)
		compress = c.compressCommand()
		if err := send(compress); err != nil {
			return err
		}
	}
	c.intro = cmds
	if compress == nil {
		return nil
	}
	st, err := c.wait(ctx, compress)
	if err == nil {
		c.compressed(st)
	}
	return err
}

// introduced waits for what the server says of itself, once.
func (c *conn) introduced(ctx context.Context) error {
	if c.presented {
		return nil
	}
	for _, cmd := range c.intro {
		// No answer is needed: a refusal is the server's affair.
		if _, err := c.wait(ctx, cmd); err != nil {
			return c.named(opCapability, "", err)
		}
	}
	c.intro, c.presented = nil, true
	c.quirks = quirksOf(c.id, c.hello)
	c.facts.learn(c)
	if c.leash != nil {
		c.leash.t.Identified(c.id["name"])
	}
	return nil
}
