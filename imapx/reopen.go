package imapx

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
)

// Reopen selects the mailbox again, on the same connection, when all that was
// appended is answered. A server that keeps what changed behind the session's
// back until the mailbox is closed (Dovecot's Maildir does, for each time that
// its list of UIDs is rewritten) gives that up then. Status stays what it was.
func (w *Writer) Reopen(ctx context.Context) error {
	return w.withTurn(ctx, opSelect, func() error {
		if err := w.resolve(ctx, nil); err != nil {
			return err
		}
		if err := w.stopped(); err != nil {
			return err
		}
		o, err := w.c.open(ctx, w.box, true)
		if err == nil && o.status.UIDValidity != w.status.UIDValidity {
			err = w.c.fault(opSelect, mailhaul.Conflict, mailhaul.ScopeMailbox,
				fmt.Errorf("its UIDVALIDITY was %d and is %d now", w.status.UIDValidity, o.status.UIDValidity))
		}
		if err != nil {
			w.halt(err)
		}
		return err
	})
}
