package imapx

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/saslx"
)

// logIn logs in by the best way that the server offers.
func (c *conn) logIn(ctx context.Context) error {
	c.setPhase(opLogin)
	if err := c.askCapability(ctx); err != nil {
		return err
	}
	srv := c.cfg.Server
	mechanism, err := saslx.Choose(c.capabilities().auth(), srv, srv.Security != mailhaul.Plaintext)
	if err != nil {
		return err
	}
	if mechanism == "" {
		switch {
		case c.can("LOGINDISABLED"):
			e := c.fault(opLogin, mailhaul.Permanent, mailhaul.ScopeServer,
				errors.New("the server allows no log-in with a password on this connection (LOGINDISABLED)"))
			e.Hint = "use TLS"
			return e
		case srv.AuthzID != "":
			e := c.fault(opLogin, mailhaul.Permanent, mailhaul.ScopeServer,
				errors.New("the server offers no way to log in that can act for another user"))
			e.Hint = "AuthzID needs AUTH=PLAIN or another mechanism that takes it"
			return e
		}
	}
	var secret mailhaul.Secret
	if srv.Credentials != nil {
		if secret, err = srv.Credentials(ctx); err != nil {
			if ctx.Err() != nil {
				return c.cancelled(ctx)
			}
			e := c.fault(opLogin, mailhaul.Auth, mailhaul.ScopeAccount, fmt.Errorf("the credentials could not be had: %w", err))
			return e
		}
	}
	c.hide(secret.Reveal())
	// What the server could do before it knew the user is not what it can now.
	before := c.capabilities()
	c.offered(nil)
	if mechanism == "" {
		err = c.login(ctx, srv.User, secret)
	} else {
		err = c.authenticate(ctx, mechanism, secret, before.has("SASL-IR"))
	}
	if err != nil {
		return err
	}
	c.setPhase("")
	return nil
}

// login gives the LOGIN command (RFC 9051 section 6.2.3).
func (c *conn) login(ctx context.Context, user string, secret mailhaul.Secret) error {
	cmd := c.command(opLogin, "LOGIN ")
	cmd.hidden = true
	cmd.wants = c.takeCapabilities
	cmd.enc.String(user).SP().Secret(secret.Reveal())
	st, err := c.run(ctx, cmd)
	if err == nil && st.Code == "CAPABILITY" {
		c.offered(parseCapabilities(st.Arg))
	}
	return err
}
