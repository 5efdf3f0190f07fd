// SELECT, EXAMINE and the ways out: CLOSE, UNSELECT.

package imapserver

import (
	"strconv"
	"strings"
)

func (s *Session) selectBox(p *parser) reply { return s.open(p, false) }
func (s *Session) examine(p *parser) reply   { return s.open(p, true) }

func (s *Session) open(p *parser, readOnly bool) reply {
	p.space()
	wire := p.mailbox()
	if p.more() {
		p.space()
		p.list(func() {
			if strings.ToUpper(p.atom()) != "CONDSTORE" || !s.server.has("CONDSTORE") {
				p.fail()
			} else if p.err == nil {
				s.condstore = true
			}
		})
	}
	if !p.end() {
		return bad("Error in SELECT arguments.")
	}
	s.unselect() // even if what follows fails (RFC 9051 section 6.3.2)
	b := s.user.lookup(wire)
	if b == nil || b.noSelect() {
		return no("[NONEXISTENT] Mailbox doesn't exist: " + printable(wire))
	}
	v, found := b.open(readOnly)
	if !found {
		return no("[NONEXISTENT] Mailbox doesn't exist: " + printable(wire))
	}
	s.view = v
	s.describe(v)
	if readOnly {
		return ok("[READ-ONLY] Examine completed.")
	}
	return ok("[READ-WRITE] Select completed.")
}

// describe sends what SELECT says of the mailbox.
func (s *Session) describe(v *view) {
	b := v.box
	b.mu.RLock()
	flags := make([]string, 0, 5+len(b.flags.keywords))
	for _, f := range systemFlags {
		flags = append(flags, string(f.flag))
	}
	keywords := make([]string, 0, len(b.flags.keywords))
	for _, k := range b.flags.keywords {
		keywords = append(keywords, string(k))
	}
	exists, recent := v.count(), v.countRecent()
	unseen := 0
	for i := range b.messages[:v.known()] {
		if b.messages[i].flags.system&bitSeen == 0 {
			unseen = v.number(i)
			break
		}
	}
	validity, next, modseq := b.uidValidity, b.uidNext, b.modseq
	b.mu.RUnlock()

	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	s.out.line("* FLAGS (", strings.Join(append(flags, keywords...), " "), ")")
	if v.readOnly {
		s.out.line("* OK [PERMANENTFLAGS ()] Read-only mailbox.")
	} else {
		permanent := s.server.permanent.wire
		if s.server.permanent.anything && len(keywords) > 0 {
			permanent = strings.Join(keywords, " ") + " " + permanent
		}
		s.out.line("* OK [PERMANENTFLAGS (", permanent, ")] Flags permitted.")
	}
	s.out.line("* ", strconv.Itoa(exists), " EXISTS")
	s.out.line("* ", strconv.Itoa(recent), " RECENT")
	if unseen > 0 {
		s.out.line("* OK [UNSEEN ", strconv.Itoa(unseen), "] First unseen.")
	}
	s.out.line("* OK [UIDVALIDITY ", number(uint64(validity)), "] UIDs valid")
	if !s.server.opts.NoUIDNext {
		s.out.line("* OK [UIDNEXT ", number(uint64(next)), "] Predicted next UID")
	}
	if s.server.has("CONDSTORE") {
		s.out.line("* OK [HIGHESTMODSEQ ", number(modseq), "] Highest")
	}
}

func (s *Session) closeBox(p *parser) reply {
	if !p.end() {
		return bad("Error in CLOSE arguments.")
	}
	v := s.view
	s.unselect()
	if !v.readOnly {
		v.box.expunge(everything, isDeleted)
	}
	return ok("Close completed.")
}

func (s *Session) unselectBox(p *parser) reply {
	if !p.end() {
		return bad("Error in UNSELECT arguments.")
	}
	s.unselect()
	return ok("Unselect completed.")
}
