package imapx

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/emersion/go-sasl"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
	"github.com/mailhaul/mailhaul/internal/saslx"
)

// maxChallenges is more than any mechanism needs.
const maxChallenges = 16

// authenticate logs in by a SASL mechanism (RFC 9051 section 6.2.2). With
// initial, the initial response goes with the command (RFC 4959). After an
// error the connection is of no use.
func (c *conn) authenticate(ctx context.Context, mechanism string, secret mailhaul.Secret, initial bool) error {
	client, err := saslx.Client(mechanism, c.cfg.Server, secret)
	if err != nil {
		return err
	}
	_, response, err := client.Start()
	if err != nil {
		return err
	}
	cmd := c.command(opAuth, "AUTHENTICATE "+mechanism)
	cmd.hidden = true
	cmd.wants = c.takeCapabilities
	pending := response != nil
	if initial && pending {
		cmd.enc.SP().Raw(c.encodeResponse(response, "="))
		pending = false
	}
	awaited := c.await()
	if err := c.send(ctx, cmd); err != nil {
		return err
	}
	for range maxChallenges {
		text, err := c.proceed(ctx, cmd, awaited)
		if err == error(errRefused) {
			return c.authenticated(cmd, client)
		}
		if err != nil {
			return err
		}
		if pending {
			pending = false
		} else {
			challenge, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				err = c.violation("the server's challenge is not base64")
			} else {
				response, err = client.Next(challenge)
			}
			if err != nil {
				c.abort(ctx, cmd)
				return err
			}
		}
		awaited = c.await()
		c.say(c.encodeResponse(response, "") + "\r\n")
	}
	c.abort(ctx, cmd)
	return c.violation("the server does not come to an end with its challenges")
}

// encodeResponse returns a response in base64, and empty for one of no octets.
func (c *conn) encodeResponse(response []byte, empty string) string {
	if len(response) == 0 {
		return empty
	}
	text := base64.StdEncoding.EncodeToString(response)
	c.hide(text)
	return text
}

// say sends one line of an exchange.
func (c *conn) say(line string) {
	c.trace(true, []byte(hiddenText))
	c.out.put([]byte(line))
}

// abort cancels the exchange, so that the next line is not taken for a part of
// it.
func (c *conn) abort(ctx context.Context, cmd *command) {
	c.out.put([]byte("*\r\n"))
	_, _ = c.wait(ctx, cmd)
}

// authenticated judges the server's answer to the exchange.
func (c *conn) authenticated(cmd *command, client sasl.Client) error {
	st := cmd.status
	if st.Cond == wire.OK {
		if st.Code == "CAPABILITY" {
			c.offered(parseCapabilities(st.Arg))
		}
		return saslx.Verify(client)
	}
	e := c.refused(opAuth, st)
	if reason := saslx.Reason(client); reason != "" {
		e.Err = fmt.Errorf("%w, and before that %s", e.Err, reason)
	}
	return e
}
