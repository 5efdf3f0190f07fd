package imapx

import (
	"context"
	"fmt"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
	"github.com/mailhaul/mailhaul/internal/mutf7"
)

// Create implements [mailhaul.Target].
func (cl *Client) Create(ctx context.Context, path []string, role mailhaul.Role) (mailhaul.Mailbox, error) {
	var m mailhaul.Mailbox
	err := cl.with(ctx, opCreate, strings.Join(path, "/"), func(c *conn) (err error) {
		names, err := cl.askNames(ctx, c)
		if err != nil {
			return err
		}
		m, err = c.createAll(ctx, names.naming, path, role)
		return err
	})
	return m, err
}

// askNames returns how the server builds names, and lists its mailboxes where
// that has to be guessed.
func (cl *Client) askNames(ctx context.Context, c *conn) (*namespaces, error) {
	if c.namespace == nil {
		c.namespace = cl.facts.names()
	}
	if c.namespace == nil {
		col := &collector{c: c}
		if err := col.plain(ctx); err != nil {
			return nil, err
		}
		cl.names(c, col.list)
	}
	return c.namespace, nil
}

// createAll creates a mailbox, and the mailboxes above it where the server
// does not do that by itself (RFC 9051 section 6.3.4 says that it should).
func (c *conn) createAll(ctx context.Context, naming mailhaul.Naming, path []string, role mailhaul.Role) (mailhaul.Mailbox, error) {
	m, err := newMailbox(naming, path, role)
	if err != nil {
		return m, c.named(opCreate, m.Name, err)
	}
	if m.IsInbox() {
		return m, nil // always there
	}
	err = c.create(ctx, &m)
	if condOf(err) == wire.NO && len(path) > 1 && mailhaul.KindOf(err) != mailhaul.Throttled && mailhaul.KindOf(err) != mailhaul.OverQuota {
		for n := 1; n < len(path); n++ {
			parent, perr := newMailbox(naming, path[:n], mailhaul.RoleNone)
			if perr != nil || parent.IsInbox() {
				continue
			}
			if perr := c.create(ctx, &parent); perr != nil && condOf(perr) == 0 {
				return m, perr
			}
		}
		err = c.create(ctx, &m)
	}
	return m, err
}

// newMailbox returns the mailbox that a path names.
func newMailbox(naming mailhaul.Naming, path []string, role mailhaul.Role) (mailhaul.Mailbox, error) {
	refuse := func(format string, args ...any) (mailhaul.Mailbox, error) {
		e := &mailhaul.Error{Op: verb(opCreate), Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Err: fmt.Errorf(format, args...)}
		e.Hint = "choose another name"
		return mailhaul.Mailbox{Name: strings.Join(path, naming.Delimiter)}, e
	}
	if len(path) == 0 {
		return refuse("a mailbox needs a name")
	}
	if len(path) > 1 && naming.Delimiter == "" {
		return refuse("the server has no hierarchy of mailboxes")
	}
	for _, level := range path {
		switch {
		case level == "":
			return refuse("a level of the name is empty")
		case strings.ContainsAny(level, "\x00\r\n"):
			return refuse("the name holds a control character")
		case naming.Delimiter != "" && strings.Contains(level, naming.Delimiter):
			return refuse("the name %q holds the server's separator %q", level, naming.Delimiter)
		}
	}
	m := mailhaul.Mailbox{Path: path, Name: naming.Join(path), Role: role}
	var ok bool
	if m.Wire, ok = mutf7.Encode(m.Name); !ok {
		return refuse("the name %q is not UTF-8", m.Name)
	}
	if m.IsInbox() {
		m.Role = mailhaul.RoleInbox
	}
	return m, nil
}

// create gives CREATE. A mailbox that exists is no error. The role stays with
// the mailbox only where the server could be told.
func (c *conn) create(ctx context.Context, m *mailhaul.Mailbox) error {
	use := c.use(m.Role)
	if use == "" {
		m.Role = mailhaul.RoleNone
	}
	cmd := c.command(opCreate, "CREATE ")
	cmd.enc.String(m.Wire).Raw(use)
	_, err := c.run(ctx, cmd)
	if condOf(err) != wire.NO {
		return err
	}
	switch e := err.(*mailhaul.Error); {
	case e.Code == "ALREADYEXISTS", c.listed(ctx, m.Wire):
		m.Role = mailhaul.RoleNone // not known
		return nil
	case use != "" && (e.Code == "USEATTR" || e.Kind == mailhaul.Permanent):
		// The mailbox counts, not what it is for (RFC 6154 section 5.2).
		m.Role = mailhaul.RoleNone
		return c.create(ctx, m)
	}
	return err
}

// use returns the argument of CREATE that tells the server what a mailbox is
// for (RFC 6154 section 3), or nothing where it cannot be told.
func (c *conn) use(role mailhaul.Role) string {
	switch role {
	case mailhaul.RoleAll, mailhaul.RoleArchive, mailhaul.RoleDrafts, mailhaul.RoleFlagged, mailhaul.RoleJunk, mailhaul.RoleSent, mailhaul.RoleTrash:
		if c.can("CREATE-SPECIAL-USE") {
			return " (USE (" + string(role) + "))"
		}
	}
	return ""
}

// listed asks whether the mailbox is there: not every server says so when it
// refuses to create it.
func (c *conn) listed(ctx context.Context, wireName string) bool {
	found := false
	cmd := c.command(opList, `LIST "" `)
	cmd.enc.String(wireName)
	cmd.wants = func(event any) bool {
		l, ok := event.(*listEvent)
		if ok && l.Name == wireName && !l.Has(`\nonexistent`) {
			found = true
		}
		return ok
	}
	_, err := c.run(ctx, cmd)
	return err == nil && found
}
