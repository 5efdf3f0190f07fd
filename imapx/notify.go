package imapx

// NOTIFY (RFC 5465).

import (
	"context"
	"errors"

	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

var errOverflow = errors.New("the server has too much to tell and tells nothing more")

// order asks the server to tell of all the user's mailboxes, and reports
// whether it does. No mailbox is selected then: the server tells of each by a
// STATUS response.
func (w *watch) order(ctx context.Context) (all bool, err error) {
	c := w.c
	if !c.can("NOTIFY") || w.facts.get(noNotify) || !c.unselect(ctx) {
		return false, c.reason()
	}
	if c.can("ENABLE") && c.can("CONDSTORE") {
		// Dovecot tells of flags in mailboxes that are not selected only to
		// who wants to hear of mod-sequences.
		if _, err := c.run(ctx, c.command(opNotify, "ENABLE CONDSTORE")); err != nil && condOf(err) == 0 {
			return false, err
		}
	}
	w.all.Store(true) // it may begin to tell before it says OK
	cmd := c.command(opNotify, "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName))")
	_, err = c.run(ctx, cmd)
	if cond := condOf(err); cond == wire.NO || cond == wire.BAD {
		// It is hard to offer, and not all who announce it do all of it (NO
		// [BADEVENT]). IDLE remains.
		w.facts.set(noNotify)
		w.all.Store(false)
		return false, c.reason()
	}
	return err == nil, err
}
