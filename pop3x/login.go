package pop3x

// From a new connection to one that is logged in.

import (
	"bufio"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/saslx"
	"github.com/mailhaul/mailhaul/internal/transport"
)

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
	if nc, err = transport.Dial(ctx, srv, cfg.DialTimeout); err != nil {
		return nil, nil, err
	}
	if raw == nil {
		nc = meteredConn{nc, m}
		raw = nc
	}
	m.connections.Add(1)
	return raw, nc, nil
}

// capabilities is what CAPA lists (RFC 2449): the arguments by the keyword in
// capitals. It is nil where the server does not know the command.
type capabilities map[string][]string

func (c capabilities) has(keyword string) bool {
	_, ok := c[keyword]
	return ok
}

// parseCapability reads one line of CAPA.
func (c capabilities) add(line string) {
	if words := strings.Fields(line); len(words) > 0 {
		keyword := strings.ToUpper(words[0])
		if keyword == "EXPIRENEVER" { // Mailutils leaves the blank out
			keyword, words = "EXPIRE", []string{"EXPIRE", "NEVER"}
		}
		c[keyword] = append(c[keyword], words[1:]...)
	}
}

// expireZero reports whether the server says that it deletes at once what was
// fetched (RFC 2449 section 6.7). With USER behind it, the number is true of
// some users only, until the log-in.
func (c capabilities) expireZero() bool {
	args := c["EXPIRE"]
	return len(args) > 0 && args[0] == "0" && (len(args) == 1 || !strings.EqualFold(args[1], "USER"))
}

// loginDelay returns the time that must lie between two log-ins (RFC 2449
// section 6.5).
func (c capabilities) loginDelay() time.Duration {
	args := c["LOGIN-DELAY"]
	if len(args) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(args[0], 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// maxCapabilities is more than any server has.
const maxCapabilities = 1000

// readCapabilities reads the answer to CAPA, nil where it is a refusal.
func (c *conn) readCapabilities() (capabilities, error) {
	c.phase = opCapa
	st, err := c.status()
	if err != nil || !st.ok {
		return nil, err
	}
	caps := make(capabilities)
	return caps, c.lines(maxCapabilities, func(line string) error {
		c.trace(false, line)
		caps.add(line)
		return nil
	})
}

func (c *conn) capa() (capabilities, error) {
	c.phase = opCapa
	if err := c.say("CAPA", "CAPA"); err != nil {
		return nil, err
	}
	if err := c.flush(); err != nil {
		return nil, err
	}
	return c.readCapabilities()
}

// establish brings a new connection from its greeting to the end of its
// log-in, and returns what the server can do.
func (c *conn) establish(ctx context.Context) (capabilities, error) {
	defer c.while(ctx)()
	c.meter.roundTrips.Add(1)
	greeting, err := c.status()
	if err != nil {
		if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" {
			// With TLS 1.3 a refused client certificate shows only now.
			return nil, transport.Classify(c.cfg.Server, alert)
		}
		return nil, err
	}
	switch {
	case greeting.more:
		return nil, c.failed(c.violation("the server's greeting is no greeting"))
	case !greeting.ok:
		return nil, c.failed(c.refused(greeting))
	}
	if c.cfg.Server.Security == mailhaul.StartTLS {
		if err := c.startTLS(ctx); err != nil {
			return nil, err
		}
	}
	caps, err := c.capa()
	if err != nil {
		return nil, err
	}
	if caps.expireZero() && !c.cfg.AllowExpire0 {
		return nil, c.failed(c.expires())
	}
	if caps.has("UTF8") {
		if err := c.utf8(); err != nil {
			return nil, err
		}
	}
	return caps, c.logIn(ctx, caps, greeting.text)
}

// utf8 gives UTF8 (RFC 6856 section 2). Without it a server that knows it need
// not hand out messages with 8-bit header fields as they are: Courier puts a
// text of its own into their place, which says that the mail cannot be shown.
func (c *conn) utf8() error {
	st, err := c.ask(opCapa, "UTF8")
	if err != nil {
		return err
	}
	if !st.ok {
		e := c.refused(st)
		e.Kind, e.Scope = mailhaul.Permanent, mailhaul.ScopeServer
		e.Err = fmt.Errorf("the server offers UTF8 and refuses it, so it may alter messages: %w", e.Err)
		return c.failed(e)
	}
	return nil
}

// expires is the error for a server that deletes what was fetched.
func (c *conn) expires() *mailhaul.Error {
	e := c.fault(opLogin, mailhaul.Permanent, mailhaul.ScopeAccount,
		errors.New("the server announces that it deletes mail once it was fetched (EXPIRE 0)"))
	e.Hint = "the source would not be left as it is; allow that with -pop3-allow-expire-0 (Config.AllowExpire0)"
	return e
}

// startTLS gives STLS (RFC 2595 section 4). The server is not asked beforehand
// whether it offers it: nothing that it says before TLS is to be trusted.
func (c *conn) startTLS(ctx context.Context) error {
	st, err := c.ask(opTLS, "STLS")
	if err != nil {
		return err
	}
	if !st.ok {
		e := c.refused(st)
		e.Kind, e.Scope = mailhaul.Permanent, mailhaul.ScopeServer
		e.Err = fmt.Errorf("the server does not start TLS: %w", e.Err)
		return c.failed(e)
	}
	if n := c.in.Buffered(); n > 0 {
		e := c.violation("the server sent %d octets in the clear behind its agreement to start TLS", n)
		e.Hint = "the connection may be tampered with"
		return c.failed(e)
	}
	_ = c.link.conn.SetDeadline(time.Time{})
	tc, err := transport.Upgrade(ctx, c.link.conn, c.cfg.Server, c.cfg.DialTimeout)
	if err != nil {
		c.kill(err)
		return err
	}
	c.link.conn = tc
	c.in = bufio.NewReaderSize(c.link, readBuffer)
	return nil
}

// logIn logs in by the best way that the server offers.
func (c *conn) logIn(ctx context.Context, caps capabilities, greeting string) error {
	c.phase = opLogin
	srv := c.cfg.Server
	mechanism := ""
	if !c.cfg.APOP {
		var err error
		if mechanism, err = saslx.Choose(caps["SASL"], srv, srv.Security != mailhaul.Plaintext); err != nil {
			return err
		}
		if mechanism == "" && srv.AuthzID != "" {
			e := c.fault(opLogin, mailhaul.Permanent, mailhaul.ScopeServer,
				errors.New("the server offers no way to log in that can act for another user"))
			e.Hint = "AuthzID needs SASL PLAIN or another mechanism that takes it"
			return e
		}
	}
	var secret mailhaul.Secret
	if srv.Credentials != nil {
		var err error
		if secret, err = srv.Credentials(ctx); err != nil {
			e := c.fault(opLogin, mailhaul.Auth, mailhaul.ScopeAccount, err)
			e.Hint = "the credentials could not be had"
			return e
		}
	}
	c.hide(secret.Reveal())
	switch {
	case c.cfg.APOP:
		return c.apop(greeting, secret)
	case mechanism != "":
		return c.authenticate(mechanism, secret)
	}
	return c.userPass(secret)
}

// userPass gives USER and PASS (RFC 1939 section 7).
func (c *conn) userPass(secret mailhaul.Secret) error {
	if secret.Empty() {
		return c.fault(opLogin, mailhaul.Permanent, mailhaul.ScopeAccount, errors.New("the password is empty"))
	}
	st, err := c.ask(opLogin, "USER "+c.cfg.Server.User)
	if err == nil && st.ok {
		if err = c.say("PASS "+secret.Reveal(), "PASS "+hiddenText); err == nil {
			if err = c.flush(); err == nil {
				st, err = c.status()
			}
		}
	}
	if err != nil {
		return err
	}
	if !st.ok {
		return c.failed(c.refused(st))
	}
	return nil
}

// apop gives APOP (RFC 1939 section 7): the digest of the greeting's timestamp
// and the password.
func (c *conn) apop(greeting string, secret mailhaul.Secret) error {
	from, to := strings.IndexByte(greeting, '<'), strings.LastIndexByte(greeting, '>')
	if from < 0 || to < from || !strings.Contains(greeting[from:to], "@") {
		e := c.fault(opLogin, mailhaul.Permanent, mailhaul.ScopeServer, errors.New("the server does not offer APOP"))
		e.Hint = "leave Config.APOP out"
		return c.failed(e)
	}
	if secret.Empty() {
		return c.fault(opLogin, mailhaul.Permanent, mailhaul.ScopeAccount, errors.New("the password is empty"))
	}
	sum := md5.Sum([]byte(greeting[from:to+1] + secret.Reveal()))
	digest := hex.EncodeToString(sum[:])
	c.hide(digest)
	st, err := c.ask(opLogin, "APOP "+c.cfg.Server.User+" "+digest)
	if err != nil {
		return err
	}
	if !st.ok {
		return c.failed(c.refused(st))
	}
	return nil
}

// maxChallenges is more than any mechanism needs.
const maxChallenges = 16

// authenticate logs in by a SASL mechanism (RFC 5034). The initial response
// is sent when the server asks for it and not with the command: servers of the
// time of RFC 1734 refuse it there, and the refusal would look like that of a
// wrong password.
func (c *conn) authenticate(mechanism string, secret mailhaul.Secret) error {
	client, err := saslx.Client(mechanism, c.cfg.Server, secret)
	if err != nil {
		return err
	}
	_, response, err := client.Start()
	if err != nil {
		return err
	}
	pending := response != nil
	st, err := c.ask(opLogin, "AUTH "+mechanism)
	for range maxChallenges {
		if err != nil {
			return err
		}
		if !st.more {
			return c.authenticated(st, func() string { return saslx.Reason(client) }, func() error { return saslx.Verify(client) })
		}
		if pending {
			pending = false
		} else {
			challenge, cerr := base64.StdEncoding.DecodeString(st.text)
			if cerr != nil {
				return c.failed(c.violation("the server's challenge is not base64"))
			}
			if response, err = client.Next(challenge); err != nil {
				if c.say("*", "*") == nil && c.flush() == nil {
					_, _ = c.status()
				}
				return err
			}
		}
		text := base64.StdEncoding.EncodeToString(response)
		c.hide(text)
		if err = c.say(text, hiddenText); err == nil {
			if err = c.flush(); err == nil {
				st, err = c.status()
			}
		}
	}
	return c.failed(c.violation("the server does not come to an end with its challenges"))
}

// authenticated judges the server's answer to the exchange.
func (c *conn) authenticated(st status, reason func() string, verify func() error) error {
	if st.ok {
		if err := verify(); err != nil {
			c.kill(err)
			return err
		}
		return nil
	}
	e := c.refused(st)
	if why := reason(); why != "" {
		e.Err = fmt.Errorf("%w, and before that %s", e.Err, why)
	}
	return c.failed(e)
}
