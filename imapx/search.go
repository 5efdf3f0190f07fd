package imapx

import (
	"context"
	"fmt"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// uids returns the UIDs of all messages in the selected mailbox. What SEARCH
// says is held against the number of messages, since there are servers whose
// index knows messages that are gone; where they disagree the messages
// themselves are asked.
//
// A server with a limit (RFC 9738) answers from the highest UID down, as far as
// it goes; it is asked for the rest until there is none.
func (c *conn) uids(ctx context.Context) (mailhaul.UIDSet, error) {
	found, err := c.piecewise(func(below mailhaul.UID) (mailhaul.UIDSet, wire.Status, error) {
		if below == 0 {
			return c.searchUIDs(ctx, "ALL")
		}
		return c.searchUIDs(ctx, fmt.Sprintf("UID 1:%d", below-1))
	}, opSearch)
	if err == nil && uint64(found.Len()) == uint64(c.messages()) {
		return found, nil
	}
	if err != nil && (condOf(err) == 0 || mailhaul.KindOf(err) == mailhaul.Throttled) {
		return nil, err
	}
	if c.messages() == 0 {
		return nil, nil // "1:*" is no set of an empty mailbox
	}
	return c.piecewise(func(below mailhaul.UID) (mailhaul.UIDSet, wire.Status, error) {
		if below == 0 {
			return c.fetchUIDs(ctx, "1:*")
		}
		return c.fetchUIDs(ctx, fmt.Sprintf("1:%d", below-1))
	}, opFetch)
}

// piecewise asks for UIDs below a bound, 0 for none, again and again while the
// server says that its answer ends at a UID above 1.
func (c *conn) piecewise(ask func(below mailhaul.UID) (mailhaul.UIDSet, wire.Status, error), op string) (mailhaul.UIDSet, error) {
	var all mailhaul.UIDSet
	for below := mailhaul.UID(0); ; {
		found, st, err := ask(below)
		if err != nil {
			return nil, err
		}
		all = found.Union(all)
		if st.Code != "MESSAGELIMIT" {
			return all, c.unmixed(op, st)
		}
		_, lowest, _ := strings.Cut(st.Arg, " ")
		next := mailhaul.UID(number(lowest, 32))
		if next == 1 {
			return all, nil
		}
		if next == 0 || len(found) == 0 || below != 0 && next >= below {
			return nil, c.unmixed(op, st)
		}
		below = next
	}
}

// searchUIDs gives UID SEARCH with the given key, with ESEARCH (RFC 4731)
// where it is to be had, which answers in ranges.
func (c *conn) searchUIDs(ctx context.Context, key string) (mailhaul.UIDSet, wire.Status, error) {
	name := "UID SEARCH "
	if c.can("ESEARCH") {
		name = "UID SEARCH RETURN (ALL) "
	}
	cmd := c.command(opSearch, name+key)
	var found wire.Ranges
	cmd.wants = func(event any) bool {
		s, ok := event.(*wire.Search)
		if ok {
			for _, r := range s.UIDs {
				found.Add(uint64(r.First), uint64(r.Last))
			}
		}
		return ok
	}
	st, err := c.run(ctx, cmd)
	if err != nil {
		return nil, st, err
	}
	return found.Set(), st, nil
}

// fetchUIDs asks each message of the set for its UID.
func (c *conn) fetchUIDs(ctx context.Context, set string) (mailhaul.UIDSet, wire.Status, error) {
	cmd := c.command(opFetch, "UID FETCH "+set+" (UID)")
	var found wire.Ranges
	cmd.wants = func(event any) bool {
		f, ok := event.(*wire.Fetch)
		if ok {
			found.Add(uint64(f.UID), uint64(f.UID))
		}
		return ok
	}
	st, err := c.run(ctx, cmd)
	if err != nil {
		return nil, st, err
	}
	return found.Set(), st, nil
}

// unmixed returns an error where the server's OK says that the answer is only
// a part, or asks for less.
func (c *conn) unmixed(op string, st wire.Status) error {
	if v := classify(op, st.Cond.String(), st.Code, st.Arg, st.Text); v.Kind != 0 {
		return c.refused(op, st)
	}
	return nil
}
