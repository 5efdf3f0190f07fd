package imapx

import (
	"context"

	"github.com/mailhaul/mailhaul"
)

var _ mailhaul.BulkCreator = (*Client)(nil)

// createAhead is how many mailboxes are asked for before the first answer is
// awaited.
const createAhead = 50

// CreateMany implements [mailhaul.BulkCreator]: CREATE and SUBSCRIBE of all
// mailboxes go behind each other, in one round trip for as many as the server
// is to remember at once.
func (cl *Client) CreateMany(ctx context.Context, wanted []mailhaul.NewMailbox) ([]mailhaul.Mailbox, error) {
	made := make([]mailhaul.Mailbox, len(wanted))
	err := cl.with(ctx, opCreate, "", func(c *conn) error {
		names, err := cl.askNames(ctx, c)
		if err != nil {
			return err
		}
		for first := 0; first < len(wanted); first += createAhead {
			last := min(first+createAhead, len(wanted))
			if err := c.createMany(ctx, names.naming, wanted[first:last], made[first:last]); err != nil {
				return err
			}
		}
		return nil
	})
	return made, err
}

// createMany fills in the mailboxes that were made without any trouble. A
// refusal is no error here: Create finds out what to make of it.
func (c *conn) createMany(ctx context.Context, naming mailhaul.Naming, wanted []mailhaul.NewMailbox, made []mailhaul.Mailbox) error {
	type asked struct {
		create, subscribe *command
		box               mailhaul.Mailbox
	}
	var all []*asked
	var at []int
	if c.leash == nil { // else leave is waited for in between
		c.out.hold()
		defer c.out.release()
	}
	for i, w := range wanted {
		a := &asked{box: mailhaul.Mailbox{Wire: w.Wire}}
		if w.Wire == "" {
			m, err := newMailbox(naming, w.Path, w.Role)
			if err != nil || m.IsInbox() {
				continue
			}
			a.box = m
			a.create = c.command(opCreate, "CREATE ")
			a.create.enc.String(m.Wire)
			if use := c.use(m.Role); use != "" {
				a.create.enc.Raw(use)
			} else {
				a.box.Role = mailhaul.RoleNone
			}
			if err := c.send(ctx, a.create); err != nil {
				return err
			}
		}
		if w.Subscribe {
			a.subscribe = c.command(opSubscribe, "SUBSCRIBE ")
			a.subscribe.enc.String(a.box.Wire)
			if err := c.send(ctx, a.subscribe); err != nil {
				return err
			}
		}
		all, at = append(all, a), append(at, i)
	}
	c.out.release()
	for k, a := range all {
		created := true
		if a.create != nil {
			_, err := c.result(ctx, a.create)
			if err != nil && condOf(err) == 0 {
				return err
			}
			created = err == nil
		}
		if a.subscribe != nil {
			_, err := c.result(ctx, a.subscribe)
			if err != nil && condOf(err) == 0 {
				return err
			}
			a.box.Subscribed = err == nil
		}
		if created {
			made[at[k]] = a.box
		}
	}
	return nil
}
