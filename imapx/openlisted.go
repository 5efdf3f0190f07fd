package imapx

import (
	"context"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

var _ mailhaul.ListedOpener = (*Client)(nil)

// maxListed is how many messages OpenListed holds. Whoever has more asks for
// them in parts.
const maxListed = 10_000

// OpenListed implements [mailhaul.ListedOpener]: FETCH goes right behind
// EXAMINE.
func (cl *Client) OpenListed(ctx context.Context, m mailhaul.Mailbox, fields mailhaul.Fields) (mailhaul.Reader, []mailhaul.Message, error) {
	c, err := cl.acquire(ctx, opExamine, m.Name, m.Wire)
	if err != nil {
		return nil, nil, err
	}
	o, msgs, err := c.openListed(ctx, m, fields)
	if err != nil {
		cl.giveBack(c, err)
		return nil, nil, c.named(opExamine, m.Name, err)
	}
	return &Reader{client: cl, c: c, box: m, status: o.status}, msgs, nil
}

func (c *conn) openListed(ctx context.Context, m mailhaul.Mailbox, fields mailhaul.Fields) (*opened, []mailhaul.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, c.cancelled(ctx)
	}
	withModSeq := c.can("CONDSTORE") || c.can("QRESYNC")
	l := c.newListing(mailhaul.UIDSet{{First: 1, Last: ^mailhaul.UID(0)}})
	l.all, l.early = true, true
	s := c.selecting(m, false, withModSeq)
	s.finished = func(st wire.Status, err error) { l.early = err != nil || st.Cond != wire.OK }
	if err := s.send(ctx); err != nil {
		return nil, nil, err
	}
	if err := l.send(ctx, fields, 0, withModSeq); err != nil {
		return nil, nil, err
	}
	var msgs []mailhaul.Message
	whole := true
	for msg, err := range l.messageSeq(ctx, m.Name) {
		if err != nil && condOf(err) == 0 {
			return nil, nil, err
		}
		if whole = whole && err == nil && len(msgs) < maxListed; whole {
			msgs = append(msgs, msg)
		}
	}
	o, err := s.result(ctx)
	if withModSeq && condOf(err) == wire.BAD && mailhaul.KindOf(err) == mailhaul.Corrupt {
		o, err = c.selectExamine(ctx, m, false, false) // the parameter is not known
		whole = false
	}
	if !whole || len(msgs) != int(c.messages()) {
		msgs = nil
	}
	return o, msgs, err
}
