package imapx

import (
	"context"
	"errors"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/transport"
)

// startTLS turns the connection into one that is protected (RFC 9051 section
// 6.2.1), or fails: there is no going on without.
func (c *conn) startTLS(ctx context.Context) error {
	if err := c.askCapability(ctx); err != nil {
		return err
	}
	if !c.can("STARTTLS") {
		e := c.fault(opStartTLS, mailhaul.Permanent, mailhaul.ScopeServer, errors.New("the server does not offer STARTTLS"))
		e.Hint = "use implicit TLS (port 993); somebody between here and the server may have removed the offer"
		return e
	}
	cmd := c.command(opStartTLS, "STARTTLS")
	cmd.upgrade = func() error {
		// What came in the clear behind the OK was not sent by whom the
		// handshake will prove: whoever put it there wants it to be believed.
		if n := c.framer.Buffered(); n > 0 {
			e := c.violation("%d octets came in the clear behind the server's agreement to TLS", n)
			e.Op = verb(opStartTLS)
			e.Scope = mailhaul.ScopeServer
			e.Hint = "the connection is being tampered with, or the server is broken; use implicit TLS (port 993)"
			return e
		}
		_ = c.link.raw.SetDeadline(time.Time{})
		nc, err := transport.Upgrade(ctx, c.link.raw, c.cfg.Server, c.cfg.DialTimeout)
		if err != nil {
			return err
		}
		c.link.replace(nc)
		c.framer.Reset(c.link)
		c.offered(nil) // what was said before the proof counts for nothing
		return nil
	}
	_, err := c.run(ctx, cmd)
	if condOf(err) != 0 {
		e := err.(*mailhaul.Error)
		e.Hint = "use implicit TLS (port 993)"
	}
	return err
}
