package imapx

import (
	"context"

	"github.com/mailhaul/mailhaul"
)

// Subscribe implements [mailhaul.Target].
func (cl *Client) Subscribe(ctx context.Context, m mailhaul.Mailbox) error {
	return cl.with(ctx, opSubscribe, m.Name, func(c *conn) error {
		cmd := c.command(opSubscribe, "SUBSCRIBE ")
		cmd.enc.String(m.Wire)
		_, err := c.run(ctx, cmd)
		return err
	})
}
