package imapx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
	"github.com/mailhaul/mailhaul/internal/mutf7"
)

// maxWarnings bounds the sentences of a listing.
const maxWarnings = 100

// List implements [mailhaul.Source]. Where the server has LIST-EXTENDED and
// LIST-STATUS (RFC 5258, RFC 5819) it takes one round trip, else two: LIST and
// LSUB, and STATUS for each mailbox.
func (cl *Client) List(ctx context.Context) (*mailhaul.Listing, error) {
	c, err := cl.pool.get(ctx, "")
	if err != nil {
		return nil, cl.fault(opList, "", err)
	}
	var listing *mailhaul.Listing
	err = cl.use(c, opList, "", func(c *conn) (err error) {
		listing, err = cl.list(ctx, c)
		return err
	})
	return listing, err
}

func (cl *Client) list(ctx context.Context, c *conn) (*mailhaul.Listing, error) {
	// A server with one of these and without the other was seen to refuse
	// the whole.
	extended := c.can("LIST-EXTENDED") && !cl.facts.get(noExtendedList)
	col := &collector{c: c}
	var err error
	if extended {
		err = col.extended(ctx)
		if cond := condOf(err); cond == wire.BAD || cond == wire.NO && mailhaul.KindOf(err) == mailhaul.Permanent {
			cl.facts.set(noExtendedList)
			extended = false
			col = &collector{c: c}
		}
	}
	if !extended {
		err = col.plain(ctx)
	}
	if err != nil {
		return nil, err
	}
	// What the server says of itself was asked for before, and not waited for.
	if err := c.introduced(ctx); err != nil {
		return nil, err
	}
	names := cl.names(c, col.list)
	l := col.listing(names)
	if !extended || !c.can("LIST-STATUS") {
		err = col.statuses(ctx, l)
	}
	return l, err
}

// collector gathers what a listing takes, on the reading goroutine.
type collector struct {
	c      *conn
	list   []listEvent
	lsub   []listEvent
	status map[string]*mailhaul.Status // by wire name, INBOX in upper case
	tooBig bool
}

func (col *collector) wants(event any) bool {
	limits := &col.c.cfg.Limits
	switch e := event.(type) {
	case *listEvent:
		to := &col.list
		if e.lsub {
			to = &col.lsub
		}
		if len(*to) >= limits.MaxMailboxes {
			col.tooBig = true
		} else {
			if len(e.Name) > limits.MaxName {
				e.Name = e.Name[:limits.MaxName+1] // too long all the same
			}
			*to = append(*to, *e)
		}
	case *wire.MailboxStatus:
		if s := newStatus(e); s != nil && len(col.status) < limits.MaxMailboxes {
			if col.status == nil {
				col.status = make(map[string]*mailhaul.Status)
			}
			col.status[key(e.Name)] = s
		}
	default:
		return false
	}
	return true
}

// key returns a name under which a mailbox is known.
func key(wireName string) string {
	if strings.EqualFold(wireName, "INBOX") {
		return "INBOX"
	}
	return wireName
}

// extended lists everything with one command.
func (col *collector) extended(ctx context.Context) error {
	c := col.c
	options := []string{"SUBSCRIBED", "CHILDREN"}
	if c.can("SPECIAL-USE") {
		options = append(options, "SPECIAL-USE")
	}
	if c.can("LIST-STATUS") {
		options = append(options, "STATUS "+c.statusItems())
	}
	cmd := c.command(opList, `LIST "" "*" RETURN (`+strings.Join(options, " ")+`)`)
	cmd.wants = col.wants
	st, err := c.run(ctx, cmd)
	return col.check(opList, st, err)
}

// plain lists with the commands of RFC 3501.
func (col *collector) plain(ctx context.Context) error {
	c := col.c
	list := c.command(opList, `LIST "" "*"`)
	list.wants = col.wants
	lsub := c.command(opLsub, `LSUB "" "*"`)
	lsub.wants = col.wants
	if err := c.send(ctx, list); err != nil {
		return err
	}
	if err := c.send(ctx, lsub); err != nil {
		return err
	}
	st, err := c.result(ctx, list)
	if err := col.check(opList, st, err); err != nil {
		return err
	}
	// Who cannot tell subscriptions has none.
	if st, err = c.wait(ctx, lsub); err != nil || st.Cond != wire.OK {
		col.lsub = nil
		return err
	}
	return col.check(opLsub, st, nil)
}

// check judges the answer to a listing: half of one is none.
func (col *collector) check(op string, st wire.Status, err error) error {
	if err != nil {
		return err
	}
	if col.tooBig {
		e := col.c.fault(op, mailhaul.Corrupt, mailhaul.ScopeAccount,
			fmt.Errorf("the server lists more than %d mailboxes", col.c.cfg.Limits.MaxMailboxes))
		e.Hint = "Limits.MaxMailboxes bounds what is taken"
		return e
	}
	return col.c.unmixed(op, st)
}

// statusWindow is how many STATUS commands are under way at a time.
const statusWindow = 64

// statuses asks for the state of each mailbox. One that cannot be told is left
// without.
func (col *collector) statuses(ctx context.Context, l *mailhaul.Listing) error {
	c := col.c
	type pending struct {
		cmd *command
		m   *mailhaul.Mailbox
	}
	var window []pending
	await := func() error {
		p := window[0]
		window = window[1:]
		st, err := c.wait(ctx, p.cmd)
		if err != nil {
			return err
		}
		if st.Cond == wire.OK {
			return nil
		}
		if e := c.refused(opStatus, st); e.Kind == mailhaul.Throttled || e.Scope == mailhaul.ScopeConnection {
			return e
		}
		return nil
	}
	for i := range l.Mailboxes {
		m := &l.Mailboxes[i]
		if m.NoSelect || m.Shared || m.Status != nil {
			continue
		}
		cmd := c.statusCommand(m.Wire, c.statusItems(), func(s *wire.MailboxStatus) { m.Status = newStatus(s) })
		if err := c.send(ctx, cmd); err != nil && !errors.Is(err, errRefused) {
			return err
		}
		if window = append(window, pending{cmd, m}); len(window) >= statusWindow {
			if err := await(); err != nil {
				return err
			}
		}
	}
	for len(window) > 0 {
		if err := await(); err != nil {
			return err
		}
	}
	return nil
}

// names returns how this server builds names, which NAMESPACE told or the list
// lets guess.
func (cl *Client) names(c *conn, list []listEvent) *namespaces {
	if c.namespace == nil {
		c.namespace = guessNamespaces(list)
	}
	cl.facts.setNames(c.namespace)
	return c.namespace
}

// specialUse are the attributes that say what a mailbox is for (RFC 6154
// section 2), in lower case.
var specialUse = map[string]mailhaul.Role{
	`\all`: mailhaul.RoleAll, `\allmail`: mailhaul.RoleAll, `\archive`: mailhaul.RoleArchive,
	`\drafts`: mailhaul.RoleDrafts, `\flagged`: mailhaul.RoleFlagged, `\starred`: mailhaul.RoleFlagged,
	`\junk`: mailhaul.RoleJunk, `\spam`: mailhaul.RoleJunk, `\sent`: mailhaul.RoleSent, `\trash`: mailhaul.RoleTrash,
}

// listing makes mailboxes of what was listed.
func (col *collector) listing(names *namespaces) *mailhaul.Listing {
	l := &mailhaul.Listing{Naming: names.naming}
	warn := func(format string, args ...any) {
		if len(l.Warnings) < maxWarnings {
			l.Warnings = append(l.Warnings, fmt.Sprintf(format, args...))
		}
	}
	subscribed := make(map[string]bool)
	for _, s := range col.lsub {
		// \Noselect in LSUB means that only a child is subscribed (RFC 3501
		// section 6.3.9).
		if !s.Has(`\noselect`) {
			subscribed[key(s.Name)] = true
		}
	}
	at := make(map[string]int)
	for _, e := range col.list {
		switch {
		case e.Name == "":
			continue // the root, or nonsense
		case len(e.Name) > col.c.cfg.Limits.MaxName:
			warn("a mailbox is left out since its name has more than %d octets: %.60q…", col.c.cfg.Limits.MaxName, e.Name)
			continue
		case strings.ContainsAny(e.Name, "\x00\r\n"):
			warn("mailbox %q is left out since its name cannot be sent", e.Name)
			continue
		}
		m := col.mailbox(e, names)
		m.Subscribed = m.Subscribed || subscribed[key(e.Name)]
		m.Status = col.status[key(e.Name)]
		if i, twice := at[key(e.Name)]; twice {
			merge := &l.Mailboxes[i]
			merge.Subscribed = merge.Subscribed || m.Subscribed
			merge.NoSelect = merge.NoSelect && m.NoSelect
			if merge.Role == mailhaul.RoleNone {
				merge.Role = m.Role
			}
			continue
		}
		at[key(e.Name)] = len(l.Mailboxes)
		l.Mailboxes = append(l.Mailboxes, m)
	}
	return l
}

func (col *collector) mailbox(e listEvent, names *namespaces) mailhaul.Mailbox {
	name, _ := mutf7.Decode(e.Name)
	naming := names.naming
	m := mailhaul.Mailbox{
		Name:       name,
		Wire:       e.Name,
		NoSelect:   e.Has(`\noselect`) || e.Has(`\nonexistent`),
		Subscribed: e.Has(`\subscribed`),
		Shared:     names.shared(name),
	}
	// A server where all lies below INBOX may show the hierarchy of another
	// namespace with another separator.
	if e.Delimiter != "" && e.Delimiter != naming.Delimiter && m.Shared {
		naming.Delimiter = e.Delimiter
	}
	m.Path = naming.Split(name)
	if m.IsInbox() {
		m.Role = mailhaul.RoleInbox
		return m
	}
	i := slices.IndexFunc(e.Attrs, func(a string) bool { return specialUse[a] != "" })
	if i >= 0 {
		m.Role = specialUse[e.Attrs[i]]
	}
	return m
}
