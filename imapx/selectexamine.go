package imapx

import (
	"context"
	"errors"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// opened is what SELECT and EXAMINE say of a mailbox (RFC 9051 section 6.3.2).
type opened struct {
	status mailhaul.Status

	// known are the flags that the mailbox has now: storing one of them
	// defines nothing new.
	known []mailhaul.Flag
}

// open selects a mailbox, for writing or only for reading.
func (c *conn) open(ctx context.Context, m mailhaul.Mailbox, writable bool) (*opened, error) {
	withModSeq := c.can("CONDSTORE") || c.can("QRESYNC")
	o, err := c.selectExamine(ctx, m, writable, withModSeq)
	if withModSeq && condOf(err) == wire.BAD && mailhaul.KindOf(err) == mailhaul.Corrupt {
		o, err = c.selectExamine(ctx, m, writable, false)
	}
	return o, err
}

func (c *conn) selectExamine(ctx context.Context, m mailhaul.Mailbox, writable, withModSeq bool) (*opened, error) {
	op, name := opExamine, "EXAMINE "
	if writable {
		op, name = opSelect, "SELECT "
	}
	cmd := c.command(op, name)
	cmd.enc.String(m.Wire)
	if withModSeq {
		cmd.enc.Raw(" (CONDSTORE)")
	}
	o := &opened{}
	var permanent, hasPermanent = []mailhaul.Flag(nil), false
	code := func(st wire.Status) {
		switch st.Code {
		case "CLOSED": // all before was about the mailbox that was open
			*o, permanent, hasPermanent = opened{}, nil, false
		case "PERMANENTFLAGS":
			s := wire.ScanText(st.Arg, c.wire)
			if flags, ok := c.parser.Flags(&s); ok {
				permanent, hasPermanent = flags, true
			}
		case "UIDNEXT":
			o.status.UIDNext = mailhaul.UID(number(st.Arg, 32))
		case "UIDVALIDITY":
			o.status.UIDValidity = mailhaul.UIDValidity(number(st.Arg, 32))
		case "HIGHESTMODSEQ":
			o.status.HighestModSeq = mailhaul.ModSeq(number(st.Arg, 63))
		}
	}
	cmd.wants = func(event any) bool {
		switch e := event.(type) {
		case flagsEvent:
			o.known = e
		case existsEvent:
			o.status.Messages = uint32(e)
		case *wire.Status:
			if e.Cond != wire.OK {
				return false
			}
			code(*e)
		default:
			return false
		}
		return true
	}
	c.selected = "" // a SELECT that fails leaves none open
	c.mu.Lock()
	c.exists = 0
	c.mu.Unlock()
	st, err := c.run(ctx, cmd)
	if err != nil {
		return nil, err
	}
	c.selected = m.Wire
	if writable && st.Code == "READ-ONLY" {
		e := c.fault(op, mailhaul.Permanent, mailhaul.ScopeMailbox, errors.New("the server lets it be read only"))
		e.Code = st.Code
		e.Hint = "the user needs the right to write to it"
		return nil, e
	}
	if !hasPermanent {
		// All flags that the mailbox has can be stored then (RFC 9051 section
		// 7.1); that new ones can be made is nowhere said.
		permanent = o.known
	}
	for _, f := range permanent {
		if f == `\*` {
			o.status.AnyKeyword = true
		} else if f.System() || f.Keyword() {
			o.status.Flags = append(o.status.Flags, f)
		}
	}
	return o, nil
}

// number parses the number that a response code's argument begins with; 0
// where there is none that fits.
func number(arg string, bits int) uint64 {
	var n uint64
	for i := 0; i < len(arg) && arg[i] >= '0' && arg[i] <= '9'; i++ {
		if n >= 1<<59 {
			return 0
		}
		n = n*10 + uint64(arg[i]-'0')
	}
	if n >= 1<<bits {
		return 0
	}
	return n
}

// unselect leaves the mailbox without changing anything in it (RFC 9051
// section 6.4.2). It reports whether the server could be told.
func (c *conn) unselect(ctx context.Context) bool {
	if c.selected == "" {
		return true
	}
	if !c.can("UNSELECT") {
		return false
	}
	_, err := c.run(ctx, c.command(opUnselect, "UNSELECT"))
	if err == nil {
		c.selected = ""
	}
	return err == nil
}
