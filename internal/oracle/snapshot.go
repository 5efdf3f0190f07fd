// Reading an account.

package oracle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// Account is what an account held when it was read.
type Account struct {
	Name      string    // whose it is, for people
	Mailboxes []Mailbox // sorted by path
}

// Mailbox is one folder.
type Mailbox struct {
	Path        []string // levels, without the prefix of the namespace
	Attrs       []string // as LIST gave them, sorted, without those on children and subscription
	Role        mailhaul.Role
	NoSelect    bool
	Subscribed  bool
	UIDValidity mailhaul.UIDValidity
	UIDNext     mailhaul.UID
	Messages    []Message // in UID order
}

// Name returns the path with slashes, for people.
func (m *Mailbox) Name() string { return strings.Join(m.Path, "/") }

// Message is one message, but for its octets.
type Message struct {
	UID   mailhaul.UID
	Sum   [sha256.Size]byte // of BODY[]
	Size  int64             // of BODY[], measured
	Flags []string          // sorted, in lower case, without \recent
	Date  time.Time         // INTERNALDATE
}

// Find returns the mailbox at path, or nil.
func (a *Account) Find(path ...string) *Mailbox {
	for i := range a.Mailboxes {
		if slices.Equal(a.Mailboxes[i].Path, path) {
			return &a.Mailboxes[i]
		}
	}
	return nil
}

// Count returns how many messages the account holds.
func (a *Account) Count() int {
	n := 0
	for i := range a.Mailboxes {
		n += len(a.Mailboxes[i].Messages)
	}
	return n
}

// Snapshot reads the account. It opens one connection, and another for a
// moment where the server lacks LIST-EXTENDED.
func Snapshot(ctx context.Context, srv mailhaul.Server) (*Account, error) {
	a := &Account{Name: srv.Account().String()}
	if err := a.read(ctx, srv); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("oracle: %s: %w", a.Name, err)
	}
	return a, nil
}

func (a *Account) read(ctx context.Context, srv mailhaul.Server) error {
	c, err := dial(ctx, srv)
	if err != nil {
		return err
	}
	defer c.Close()

	listed, err := a.list(ctx, c, srv)
	if err != nil {
		return err
	}
	for i := range a.Mailboxes {
		m := &a.Mailboxes[i]
		if m.NoSelect {
			continue
		}
		if err := m.read(c, listed[i]); err != nil {
			return fmt.Errorf("mailbox %s: %w", m.Name(), err)
		}
	}
	return c.Logout().Wait()
}

// dial connects and logs in. The connection closes itself when ctx ends, which
// is the only way to interrupt go-imap's client.
func dial(ctx context.Context, srv mailhaul.Server) (*imapclient.Client, error) {
	conn, err := wire.Dial(ctx, srv)
	if err != nil {
		return nil, err
	}
	var c *imapclient.Client
	if srv.Security == mailhaul.StartTLS {
		if c, err = imapclient.NewStartTLS(conn, &imapclient.Options{TLSConfig: wire.TLSConfig(srv)}); err != nil {
			conn.Close()
			return nil, err
		}
	} else {
		c = imapclient.New(conn, nil)
	}
	if err := logIn(ctx, c, srv); err != nil {
		c.Close()
		return nil, fmt.Errorf("log-in: %w", err)
	}
	return c, nil
}

func logIn(ctx context.Context, c *imapclient.Client, srv mailhaul.Server) error {
	if err := c.WaitGreeting(); err != nil {
		return err
	}
	password, err := wire.Password(ctx, srv)
	if err != nil {
		return err
	}
	if srv.AuthzID != "" {
		err = c.Authenticate(sasl.NewPlainClient(srv.AuthzID, srv.User, password))
	} else {
		err = c.Login(srv.User, password).Wait()
	}
	if err != nil {
		return err
	}
	// Until it is asked for them the client does not know them, and until then
	// it chooses the wrong literals.
	if c.Caps() == nil {
		return errors.New("the server does not tell its capabilities")
	}
	return nil
}

// list fills in the mailboxes and returns their names on the server.
func (a *Account) list(ctx context.Context, c *imapclient.Client, srv mailhaul.Server) ([]string, error) {
	var prefix string
	var foreign []string
	if c.Caps().Has(imap.CapNamespace) {
		ns, err := c.Namespace().Wait()
		if err != nil {
			return nil, fmt.Errorf("NAMESPACE: %w", err)
		}
		if len(ns.Personal) > 0 {
			prefix = ns.Personal[0].Prefix
		}
		for _, d := range slices.Concat(ns.Other, ns.Shared) {
			if d.Prefix != "" {
				foreign = append(foreign, d.Prefix)
			}
		}
	}

	extended := c.Caps().Has(imap.CapListExtended)
	var options *imap.ListOptions
	if extended {
		options = &imap.ListOptions{ReturnSubscribed: true, ReturnSpecialUse: c.Caps().Has(imap.CapSpecialUse)}
	}
	entries, err := c.List("", "*", options).Collect()
	if err != nil {
		return nil, fmt.Errorf("LIST: %w", err)
	}
	var subscribed map[string]bool
	if !extended {
		if subscribed, err = lsub(ctx, srv); err != nil {
			return nil, fmt.Errorf("LSUB: %w", err)
		}
	}

	type entry struct {
		wire string
		box  Mailbox
	}
	var all []entry
	for _, e := range entries {
		if slices.ContainsFunc(foreign, func(p string) bool { return strings.HasPrefix(e.Mailbox+string(e.Delim), p) }) {
			continue
		}
		box := Mailbox{Path: pathOf(e.Mailbox, prefix, e.Delim), Subscribed: subscribed[e.Mailbox]}
		box.setAttrs(e.Attrs)
		if box.NoSelect && slices.ContainsFunc(e.Attrs, func(f imap.MailboxAttr) bool {
			return strings.EqualFold(string(f), string(imap.MailboxAttrNonExistent))
		}) && !box.Subscribed && box.Role == mailhaul.RoleNone && len(box.Attrs) == 1 {
			continue // the server says itself that there is no such mailbox
		}
		all = append(all, entry{e.Mailbox, box})
	}
	slices.SortFunc(all, func(x, y entry) int { return slices.Compare(x.box.Path, y.box.Path) })
	var names []string
	for i, e := range all {
		if i > 0 && slices.Equal(e.box.Path, all[i-1].box.Path) {
			return nil, fmt.Errorf("LIST names %q twice", e.wire)
		}
		a.Mailboxes = append(a.Mailboxes, e.box)
		names = append(names, e.wire)
	}
	return names, nil
}

// lsub asks for subscriptions where LIST cannot: go-imap's client dies of an
// LSUB response.
func lsub(ctx context.Context, srv mailhaul.Server) (map[string]bool, error) {
	c, err := wire.Open(ctx, srv)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	lines, err := c.Command(`LSUB "" "*"`)
	if err != nil {
		return nil, err
	}
	subscribed := make(map[string]bool)
	for _, l := range lines {
		attrs, rest, ok := strings.Cut(string(l), ") ")
		if !ok || !strings.HasPrefix(attrs, "* LSUB (") || strings.Contains(strings.ToLower(attrs), `\noselect`) {
			continue
		}
		words, _ := wire.Strings(rest, 2)
		if len(words) != 2 {
			return nil, fmt.Errorf("cannot read %q", l)
		}
		name, err := wire.DecodeName(words[1])
		if err != nil {
			return nil, err
		}
		subscribed[name] = true
	}
	return subscribed, nil
}

// pathOf splits a name into its levels.
func pathOf(name, prefix string, delim rune) []string {
	if strings.EqualFold(name, "INBOX") {
		return []string{"INBOX"}
	}
	if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
		name = name[len(prefix):]
	}
	if delim == 0 {
		return []string{name}
	}
	path := strings.Split(name, string(delim))
	if strings.EqualFold(path[0], "INBOX") {
		path[0] = "INBOX"
	}
	return path
}

var roles = []mailhaul.Role{
	mailhaul.RoleAll, mailhaul.RoleArchive, mailhaul.RoleDrafts, mailhaul.RoleFlagged,
	mailhaul.RoleJunk, mailhaul.RoleSent, mailhaul.RoleTrash,
}

// setAttrs sorts out what LIST said of the mailbox.
func (m *Mailbox) setAttrs(attrs []imap.MailboxAttr) {
	for _, a := range attrs {
		is := func(b imap.MailboxAttr) bool { return strings.EqualFold(string(a), string(b)) }
		switch {
		case is(imap.MailboxAttrSubscribed):
			m.Subscribed = true
			continue
		case is(imap.MailboxAttrHasChildren), is(imap.MailboxAttrHasNoChildren), is(imap.MailboxAttrNoInferiors),
			is(imap.MailboxAttrMarked), is(imap.MailboxAttrUnmarked):
			continue
		case is(imap.MailboxAttrNoSelect), is(imap.MailboxAttrNonExistent):
			m.NoSelect = true
		}
		for _, r := range roles {
			if is(imap.MailboxAttr(r)) {
				m.Role = r
			}
		}
		m.Attrs = append(m.Attrs, string(a))
	}
	slices.Sort(m.Attrs)
	if len(m.Path) == 1 && m.Path[0] == "INBOX" {
		m.Role = mailhaul.RoleInbox
	}
}

// read fetches all messages of the mailbox.
func (m *Mailbox) read(c *imapclient.Client, name string) error {
	selected, err := c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return fmt.Errorf("EXAMINE: %w", err)
	}
	m.UIDValidity = mailhaul.UIDValidity(selected.UIDValidity)
	m.UIDNext = mailhaul.UID(selected.UIDNext)
	if selected.NumMessages == 0 {
		return nil
	}

	var all imap.SeqSet
	all.AddRange(1, selected.NumMessages)
	fetch := c.Fetch(all, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	})
	m.Messages = make([]Message, selected.NumMessages)
	got := make([]bool, selected.NumMessages)
	for msg := fetch.Next(); msg != nil; msg = fetch.Next() {
		if msg.SeqNum < 1 || msg.SeqNum > selected.NumMessages || got[msg.SeqNum-1] {
			fetch.Close()
			return fmt.Errorf("FETCH named message %d, which is not there or was named before", msg.SeqNum)
		}
		read, err := readMessage(msg)
		if err != nil {
			if errors.Is(err, errCut) {
				// The client reads on by itself now; to touch the rest of the
				// body would be a race with it.
				c.Close()
			} else {
				fetch.Close()
			}
			return fmt.Errorf("message %d: %w", msg.SeqNum, err)
		}
		got[msg.SeqNum-1] = true
		m.Messages[msg.SeqNum-1] = read
	}
	if err := fetch.Close(); err != nil {
		return fmt.Errorf("FETCH: %w", err)
	}
	if i := slices.Index(got, false); i >= 0 {
		return fmt.Errorf("FETCH of %d messages did not bring message %d", len(got), i+1)
	}
	for i := 1; i < len(m.Messages); i++ {
		if m.Messages[i].UID <= m.Messages[i-1].UID {
			return fmt.Errorf("UIDs do not rise: %d comes after %d", m.Messages[i].UID, m.Messages[i-1].UID)
		}
	}
	return nil
}

// errCut: the connection failed in the middle of a body.
var errCut = errors.New("its body was cut")

// readMessage takes in one FETCH response; each of the four items must be in
// it, once.
func readMessage(msg *imapclient.FetchMessageData) (Message, error) {
	var m Message
	var bodies, flags int
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			m.UID = mailhaul.UID(item.UID)
		case imapclient.FetchItemDataInternalDate:
			m.Date = item.Time
		case imapclient.FetchItemDataFlags:
			flags++
			for _, f := range item.Flags {
				if f := strings.ToLower(string(f)); f != `\recent` {
					m.Flags = append(m.Flags, f)
				}
			}
			slices.Sort(m.Flags)
			m.Flags = slices.Compact(m.Flags)
		case imapclient.FetchItemDataBodySection:
			bodies++
			if item.Literal == nil {
				return m, errors.New("its body is NIL")
			}
			h := sha256.New()
			n, err := io.Copy(h, item.Literal)
			if n != item.Literal.Size() {
				return m, fmt.Errorf("%w: %d octets of %d arrived: %v", errCut, n, item.Literal.Size(), err)
			}
			m.Size = n
			h.Sum(m.Sum[:0])
		}
	}
	if m.UID == 0 || m.Date.IsZero() || flags != 1 || bodies != 1 {
		return m, fmt.Errorf("the response has UID %d, date %v, flags %d times, body %d times", m.UID, m.Date, flags, bodies)
	}
	return m, nil
}
