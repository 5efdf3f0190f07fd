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
	s := c.selecting(m, writable, withModSeq)
	if err := ctx.Err(); err != nil {
		return nil, c.cancelled(ctx)
	}
	if err := s.send(ctx); err != nil {
		return nil, err
	}
	return s.result(ctx)
}

// selecting is a SELECT or EXAMINE under way.
type selecting struct {
	*command
	c        *conn
	box      mailhaul.Mailbox
	writable bool

	// Of the goroutine that reads, until the command has ended:
	opened       opened
	permanent    []mailhaul.Flag
	hasPermanent bool
}

func (c *conn) selecting(m mailhaul.Mailbox, writable, withModSeq bool) *selecting {
	op, name := opExamine, "EXAMINE "
	if writable {
		op, name = opSelect, "SELECT "
	}
	s := &selecting{command: c.command(op, name), c: c, box: m, writable: writable}
	s.enc.String(m.Wire)
	if withModSeq {
		s.enc.Raw(" (CONDSTORE)")
	}
	s.wants = s.take
	return s
}

// take takes what the server says of the mailbox.
func (s *selecting) take(event any) bool {
	switch e := event.(type) {
	case flagsEvent:
		s.opened.known = e
	case existsEvent:
		s.opened.status.Messages = uint32(e)
	case *wire.Status:
		if e.Cond != wire.OK {
			return false
		}
		s.code(*e)
	default:
		return false
	}
	return true
}

func (s *selecting) code(st wire.Status) {
	status := &s.opened.status
	switch st.Code {
	case "CLOSED": // all before was about the mailbox that was open
		s.opened, s.permanent, s.hasPermanent = opened{}, nil, false
	case "PERMANENTFLAGS":
		text := wire.ScanText(st.Arg, s.c.wire)
		if flags, ok := s.c.parser.Flags(&text); ok {
			s.permanent, s.hasPermanent = flags, true
		}
	case "UIDNEXT":
		status.UIDNext = mailhaul.UID(number(st.Arg, 32))
	case "UIDVALIDITY":
		status.UIDValidity = mailhaul.UIDValidity(number(st.Arg, 32))
	case "HIGHESTMODSEQ":
		status.HighestModSeq = mailhaul.ModSeq(number(st.Arg, 63))
	}
}

// send sends the command. What the connection had open is not open any more,
// whatever the answer: a SELECT that fails leaves none open.
func (s *selecting) send(ctx context.Context) error {
	s.c.selected = ""
	s.c.mu.Lock()
	s.c.exists = 0
	s.c.mu.Unlock()
	if err := s.c.send(ctx, s.command); err != nil && err != error(errRefused) {
		return err
	}
	return nil
}

// result waits for the answer. A refusal is an error.
func (s *selecting) result(ctx context.Context) (*opened, error) {
	st, err := s.c.result(ctx, s.command)
	if err != nil {
		return nil, err
	}
	s.c.selected = s.box.Wire
	if s.writable && st.Code == "READ-ONLY" {
		e := s.c.fault(s.op, mailhaul.Permanent, mailhaul.ScopeMailbox, errors.New("the server lets it be read only"))
		e.Code = st.Code
		e.Hint = "the user needs the right to write to it"
		return nil, e
	}
	o := &s.opened
	if !s.hasPermanent {
		// All flags that the mailbox has can be stored then (RFC 9051 section
		// 7.1); that new ones can be made is nowhere said.
		s.permanent = o.known
	}
	for _, f := range s.permanent {
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
