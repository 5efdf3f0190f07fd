// STORE and UID STORE, conditional too (RFC 7162 section 3.1.3).

package imapserver

import (
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

func (s *Session) store(p *parser) reply    { return s.storeCommand(p, false) }
func (s *Session) uidStore(p *parser) reply { return s.storeCommand(p, true) }

func (s *Session) storeCommand(p *parser, uid bool) reply {
	p.space()
	set := p.set()
	p.space()
	unchangedSince := int64(-1)
	if p.peek() == '(' {
		p.list(func() {
			p.word("UNCHANGEDSINCE")
			p.space()
			unchangedSince = p.number()
		})
		if !s.server.has("CONDSTORE") {
			p.fail()
		}
		p.space()
	}
	sign := p.peek()
	if sign == '+' || sign == '-' {
		p.pos++
	}
	word := strings.ToUpper(p.atom())
	if word != "FLAGS" && word != "FLAGS.SILENT" {
		p.fail()
	}
	p.space()
	var flags []mailhaul.Flag
	if p.peek() == '(' {
		flags = p.flags()
	} else {
		flags = []mailhaul.Flag{p.flag()}
		for p.more() {
			p.space()
			flags = append(flags, p.flag())
		}
	}
	if !p.end() {
		return bad("Error in STORE arguments.")
	}
	v := s.view
	uids, valid := v.resolve(set, uid)
	if !valid {
		return bad("Error in STORE arguments: invalid message set.")
	}
	if v.readOnly {
		return no("Mailbox is read-only.")
	}
	if unchangedSince >= 0 {
		s.condstore = true
	}

	b := v.box
	flags = s.server.permanent.filter(flags)
	var touched, modified mailhaul.UIDSet
	var failed mailhaul.UIDSet // in the numbers of the command
	changed := b.store(uids, func(m *message) bool {
		if unchangedSince >= 0 && m.modseq > uint64(unchangedSince) {
			modified.Add(mailhaul.UID(m.uid))
			return false
		}
		touched.Add(mailhaul.UID(m.uid))
		return true
	}, func(l *flagList) *flagList {
		switch sign {
		case '+':
			return b.flags.intern(slices.Concat(l.flags, flags))
		case '-':
			return b.flags.intern(slices.DeleteFunc(slices.Clone(l.flags), func(f mailhaul.Flag) bool { return mailhaul.HasFlag(flags, f) }))
		}
		return b.flags.intern(flags)
	}, v)

	switch {
	case word == "FLAGS":
		s.tellFlags(touched, uid || s.condstore)
	case s.condstore:
		items := []fetchItem{{kind: itemUID}, {kind: itemModSeq}}
		v.each(changed, func(m *numbered) bool { s.fetchLine(m, items); return s.out.broken == nil })
	}
	if len(modified) == 0 {
		return ok("Store completed.")
	}
	failed = modified
	if !uid {
		failed = nil
		v.each(modified, func(m *numbered) bool { failed.Add(mailhaul.UID(m.seq)); return true })
	}
	return ok("[MODIFIED " + failed.String() + "] Conditional STORE failed.")
}
