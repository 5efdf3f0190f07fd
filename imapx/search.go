package imapx

import (
	"context"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// uids returns the UIDs of all messages in the selected mailbox. What SEARCH
// says is held against the number of messages, since there are servers whose
// index knows messages that are gone; where they disagree the messages
// themselves are asked.
func (c *conn) uids(ctx context.Context) (mailhaul.UIDSet, error) {
	found, err := c.searchUIDs(ctx, "ALL")
	if err == nil && uint64(found.Len()) == uint64(c.messages()) {
		return found, nil
	}
	if err != nil && (condOf(err) == 0 || mailhaul.KindOf(err) == mailhaul.Throttled) {
		return nil, err
	}
	if c.messages() == 0 {
		return nil, nil // "1:*" is no set of an empty mailbox
	}
	return c.fetchUIDs(ctx, "1:*")
}

// searchUIDs gives UID SEARCH with the given key, with ESEARCH (RFC 4731)
// where it is to be had, which answers in ranges.
func (c *conn) searchUIDs(ctx context.Context, key string) (mailhaul.UIDSet, error) {
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
		return nil, err
	}
	return found.Set(), c.unmixed(opSearch, st)
}

// fetchUIDs asks each message of the set for its UID.
func (c *conn) fetchUIDs(ctx context.Context, set string) (mailhaul.UIDSet, error) {
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
		return nil, err
	}
	return found.Set(), c.unmixed(opFetch, st)
}

// unmixed returns an error where the server's OK says that the answer is only
// a part, or asks for less.
func (c *conn) unmixed(op string, st wire.Status) error {
	if v := classify(op, st.Cond.String(), st.Code, st.Arg, st.Text); v.Kind != 0 {
		return c.refused(op, st)
	}
	return nil
}
