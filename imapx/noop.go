package imapx

import "context"

// noop lets the server say what is new in the selected mailbox.
func (c *conn) noop(ctx context.Context) error {
	_, err := c.run(ctx, c.command(opNoop, "NOOP"))
	return err
}
