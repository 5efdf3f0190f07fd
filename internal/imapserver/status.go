// STATUS, for itself and for LIST-STATUS.

package imapserver

import (
	"slices"
	"strconv"
	"strings"
)

// statusItem is one item of STATUS: its name and how it is found out, which
// happens with the mailbox's lock held.
type statusItem struct {
	name  string
	value func(b *Mailbox) uint64
}

func (s *Session) statusItems(p *parser) []statusItem {
	items := []statusItem{} // not nil: STATUS () is a mistake, but one of its own
	p.list(func() {
		item := statusItem{name: strings.ToUpper(p.atom())}
		switch {
		case item.name == "MESSAGES":
			item.value = func(b *Mailbox) uint64 { return uint64(len(b.messages)) }
		case item.name == "RECENT":
			item.value = func(b *Mailbox) uint64 { return uint64(len(b.messages) - b.lower(b.recentFrom)) }
		case item.name == "UIDNEXT":
			if s.server.opts.NoStatusUIDNext {
				return
			}
			item.value = func(b *Mailbox) uint64 { return uint64(b.uidNext) }
		case item.name == "UIDVALIDITY":
			item.value = func(b *Mailbox) uint64 { return uint64(b.uidValidity) }
		case item.name == "UNSEEN":
			item.value = func(b *Mailbox) uint64 { return b.countFlags(bitSeen, 0) }
		case item.name == "DELETED":
			item.value = func(b *Mailbox) uint64 { return b.countFlags(bitDeleted, bitDeleted) }
		case item.name == "HIGHESTMODSEQ" && s.server.has("CONDSTORE"):
			s.condstore = s.condstore || p.err == nil
			item.value = func(b *Mailbox) uint64 { return b.modseq }
		case item.name == "SIZE" && s.server.has("STATUS=SIZE"):
			item.value = func(b *Mailbox) uint64 { return uint64(b.octets) }
		case item.name == "APPENDLIMIT" && s.server.has("APPENDLIMIT"):
			limit := s.server.opts.AppendLimit
			item.value = func(*Mailbox) uint64 { return uint64(limit) }
		default:
			p.fail()
		}
		items = append(items, item)
	})
	if len(items) == 0 && !s.server.opts.NoStatusUIDNext {
		p.fail()
	}
	return items
}

// countFlags counts the messages whose system flags under mask are want.
func (b *Mailbox) countFlags(mask, want uint8) uint64 {
	var n uint64
	for i := range b.messages {
		if b.messages[i].flags.system&mask == want {
			n++
		}
	}
	return n
}

func (s *Session) status(p *parser) reply {
	p.space()
	wire := p.mailbox()
	p.space()
	items := s.statusItems(p)
	if !p.end() {
		return bad("Error in STATUS arguments.")
	}
	b := s.user.lookup(wire)
	if b == nil || b.noSelect() {
		return no("[NONEXISTENT] Mailbox doesn't exist: " + printable(wire))
	}
	s.statusLine(wire, b, items)
	return ok("Status completed.")
}

func (s *Session) statusLine(wire string, b *Mailbox, items []statusItem) {
	out := append(s.scratch[:0], "* STATUS "...)
	out = appendString(out, wire)
	out = append(out, " ("...)
	b.mu.RLock()
	for i, item := range items {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, item.name...)
		out = append(out, ' ')
		if item.name == "APPENDLIMIT" && item.value(b) == 0 {
			out = append(out, "NIL"...)
		} else {
			out = strconv.AppendUint(out, item.value(b), 10)
		}
	}
	b.mu.RUnlock()
	out = append(out, ")\r\n"...)
	s.out.octets(out)
	s.out.end()
	s.scratch = out
}

// printable makes a name fit for the text of a response.
func printable(name string) string {
	return string(slices.DeleteFunc([]byte(name), func(c byte) bool { return c < ' ' || c >= 0x7f }))
}
