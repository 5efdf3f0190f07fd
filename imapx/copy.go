package imapx

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// UIDCopy copies the messages of the set to the end of the mailbox to (RFC
// 9051 section 6.4.7), which may be the one that is open, after all that was
// appended before. It returns the UIDs of the copies, ascending, and nil where
// the server does not tell them (no UIDPLUS, RFC 4315). Messages that are gone
// are not copied, and no error. On an error it is not known whether there are
// copies; the server's refusal alone (the connection lives on) means that there
// are none.
func (w *Writer) UIDCopy(ctx context.Context, set mailhaul.UIDSet, to mailhaul.Mailbox) (copies mailhaul.UIDSet, err error) {
	if len(set) == 0 {
		return nil, nil
	}
	err = w.withTurn(ctx, opCopy, func() error {
		// Dovecot does not find what an APPEND in front of it, unanswered,
		// stores, and Courier not before it has shown it.
		if err := w.resolve(ctx, nil); err != nil {
			return err
		}
		if err := w.c.noop(ctx); err != nil {
			return err
		}
		if err := w.stopped(); err != nil {
			return err
		}
		told := true
		for _, part := range wire.SplitSet(set, w.c.cfg.Limits.MaxCommand-512, maxFetchSet) {
			cmd := w.c.command(opCopy, "UID COPY ")
			cmd.enc.Set(part).SP().String(to.Wire)
			st, err := w.c.run(ctx, cmd)
			if err != nil {
				return err
			}
			code, ok := wire.ParseCopyUID(st.Arg, part.Len())
			if st.Code != "COPYUID" || !ok {
				told = false
				continue
			}
			copies = copies.Union(code.To)
		}
		if !told {
			copies = nil
		}
		return w.c.noop(ctx) // so that the copies can be named from now on
	})
	return copies, err
}

// Multi reports whether messages go several in one command (MULTIAPPEND, RFC
// 3502), so that a message which is refused holds up those behind it. One by
// one they may be on their way by then, and take its UID.
func (w *Writer) Multi() bool { return w.way.multi && !w.client.facts.get(noMultiAppend) }

// Capable reports whether the server announces the capability, in capital
// letters, to a user who has logged in.
func (cl *Client) Capable(ctx context.Context, capability string) (bool, error) {
	var can bool
	err := cl.with(ctx, opCapability, "", func(c *conn) error {
		can = c.can(capability)
		return nil
	})
	return can, err
}

// MailboxStatus asks for the state of a mailbox without opening it (STATUS, RFC
// 9051 section 6.3.11): some servers tell UIDNEXT here only. The error wraps
// [mailhaul.ErrUnsupported] where the answer is of no use.
func (cl *Client) MailboxStatus(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Status, error) {
	var found *mailhaul.Status
	err := cl.with(ctx, opStatus, m.Name, func(c *conn) error {
		// Of a mailbox that is selected the answer may be what this session has
		// seen of it so far.
		if c.selected == m.Wire && !c.unselect(ctx) {
			if err := c.noop(ctx); err != nil {
				return err
			}
		}
		cmd := c.statusCommand(m.Wire, c.statusItems(), func(s *wire.MailboxStatus) { found = newStatus(s) })
		if _, err := c.run(ctx, cmd); err != nil {
			return err
		}
		if found == nil {
			return fmt.Errorf("the state of mailbox %q: %w", m.Name, mailhaul.ErrUnsupported)
		}
		return nil
	})
	if err != nil {
		return mailhaul.Status{}, err
	}
	return *found, nil
}
