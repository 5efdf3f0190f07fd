// Putting a corpus into an account, fast.

package corpus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// Load makes the mailboxes in the account that the server's settings name, and
// stores their messages in order. A mailbox that is there already is added to.
// A message that the server refuses is an error.
func Load(ctx context.Context, srv mailhaul.Server, boxes []Mailbox) error {
	return Loader{}.Load(ctx, srv, boxes)
}

// Loader loads mailboxes otherwise than Load does.
type Loader struct {
	// Refused is told of each message that the server refuses, which is left
	// out. Default: the first one ends Load.
	Refused func(box Mailbox, i int, answer string)
}

// Batches of a MULTIAPPEND (RFC 3502), or of APPENDs sent without waiting.
const (
	batchMessages = 200
	batchOctets   = 2 << 20
)

// Load does what the function Load does.
func (l Loader) Load(ctx context.Context, srv mailhaul.Server, boxes []Mailbox) error {
	c, err := wire.Open(ctx, srv)
	if err != nil {
		return fmt.Errorf("corpus: %w", err)
	}
	defer c.Close()
	prefix, separator, err := c.Naming()
	if err != nil {
		return fmt.Errorf("corpus: %w", err)
	}
	for _, box := range boxes {
		name := wire.Quote(wire.EncodeName(nameOf(box.Path, prefix, separator)))
		if err := l.mailbox(c, box, name); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("corpus: mailbox %s: %w", box.Name(), err)
		}
	}
	_, err = c.Command("LOGOUT")
	return err
}

func nameOf(path []string, prefix, separator string) string {
	if path[0] == "INBOX" {
		return strings.Join(path, separator)
	}
	return prefix + strings.Join(path, separator)
}

func (l Loader) mailbox(c *wire.Conn, box Mailbox, name string) error {
	if len(box.Path) > 1 || box.Path[0] != "INBOX" {
		create := "CREATE " + name
		if box.Role != mailhaul.RoleNone && c.Has("CREATE-SPECIAL-USE") {
			create += " (USE (" + string(box.Role) + "))"
		}
		if _, err := c.Command(create); err != nil {
			if refused := (*wire.Refused)(nil); !errors.As(err, &refused) || !exists(refused.Answer) {
				return fmt.Errorf("CREATE: %w", err)
			}
		}
	}
	if box.Subscribed {
		if _, err := c.Command("SUBSCRIBE " + name); err != nil {
			return fmt.Errorf("SUBSCRIBE: %w", err)
		}
	}

	var batch []item
	octets := 0
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := l.batch(c, box, name, batch)
		batch, octets = batch[:0], 0
		return err
	}
	for i, m := range box.All() {
		it := item{i, m, m.Body()}
		batch = append(batch, it)
		if octets += len(it.body); octets >= batchOctets || len(batch) >= batchMessages {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

func exists(answer string) bool {
	answer = strings.ToLower(answer)
	return strings.Contains(answer, "exists")
}

// item is a message on its way.
type item struct {
	i    int
	m    Message
	body []byte
}

// head is what stands before the body in APPEND.
func (it item) head(plus string) string {
	var b strings.Builder
	b.WriteString(" (")
	for k, f := range it.m.Flags {
		if k > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(f))
	}
	b.WriteString(") ")
	b.WriteString(it.m.Date.Format(`"_2-Jan-2006 15:04:05 -0700"`))
	b.WriteString(" {" + strconv.Itoa(len(it.body)) + plus + "}\r\n")
	return b.String()
}

// batch stores the messages, all at once where the server can. It stores
// nothing where one is refused, so the messages are sent again then, each on
// its own.
func (l Loader) batch(c *wire.Conn, box Mailbox, name string, batch []item) error {
	switch {
	case len(batch) > 1 && c.Has("MULTIAPPEND") && c.Has("LITERAL+"):
		tag := c.Tag()
		c.W.WriteString(tag + " APPEND " + name)
		for _, it := range batch {
			c.W.WriteString(it.head("+"))
			c.W.Write(it.body)
		}
		c.W.WriteString("\r\n")
		_, err := c.Wait(tag)
		if refused := (*wire.Refused)(nil); !errors.As(err, &refused) {
			return err
		}
		for _, it := range batch {
			if err := l.one(c, box, name, it); err != nil {
				return err
			}
		}
		return nil
	case c.Has("LITERAL+"):
		tags := make([]string, len(batch))
		// The answers are few and short: they fit into the socket's buffers
		// while nobody reads them.
		for k, it := range batch {
			tags[k] = writeAppend(c, name, it)
		}
		for k, it := range batch {
			_, err := c.Wait(tags[k])
			if err := l.refused(box, it, err); err != nil {
				return err
			}
		}
		return nil
	}
	for _, it := range batch {
		if err := l.one(c, box, name, it); err != nil {
			return err
		}
	}
	return nil
}

func writeAppend(c *wire.Conn, name string, it item) (tag string) {
	tag = c.Tag()
	c.W.WriteString(tag + " APPEND " + name + it.head("+"))
	c.W.Write(it.body)
	c.W.WriteString("\r\n")
	return tag
}

// one stores one message and waits for the answer.
func (l Loader) one(c *wire.Conn, box Mailbox, name string, it item) error {
	var tag string
	if c.Has("LITERAL+") {
		tag = writeAppend(c, name, it)
	} else {
		tag = c.Tag()
		c.W.WriteString(tag + " APPEND " + name + it.head(""))
		if err := c.Continue(tag); err != nil {
			return l.refused(box, it, err)
		}
		c.W.Write(it.body)
		c.W.WriteString("\r\n")
	}
	_, err := c.Wait(tag)
	return l.refused(box, it, err)
}

func (l Loader) refused(box Mailbox, it item, err error) error {
	refused := (*wire.Refused)(nil)
	switch {
	case err == nil:
		return nil
	case l.Refused != nil && errors.As(err, &refused):
		l.Refused(box, it.i, refused.Answer)
		return nil
	}
	return fmt.Errorf("message %d %s: %w", it.i, it.m.Name, err)
}
