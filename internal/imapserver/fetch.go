// FETCH and UID FETCH: writing the responses.

package imapserver

import (
	"strconv"

	"github.com/mailhaul/mailhaul"
)

func (s *Session) fetch(p *parser) reply    { return s.fetchCommand(p, false) }
func (s *Session) uidFetch(p *parser) reply { return s.fetchCommand(p, true) }

func (s *Session) fetchCommand(p *parser, uid bool) reply {
	p.space()
	set := p.set()
	p.space()
	items := s.fetchItems(p, uid)
	changedSince := int64(-1)
	if p.more() {
		p.space()
		p.list(func() {
			p.word("CHANGEDSINCE")
			p.space()
			changedSince = p.number()
		})
		if !s.server.has("CONDSTORE") {
			p.fail()
		}
	}
	if !p.end() {
		return bad("Error in FETCH arguments.")
	}
	if changedSince >= 0 {
		s.condstore = true
		items = withItem(items, itemModSeq)
	}
	uids, valid := s.view.resolve(set, uid)
	if !valid {
		return bad("Error in FETCH arguments: invalid message set.")
	}
	if marked := s.markSeen(uids, items); len(marked) > 0 {
		items = withItem(items, itemFlags)
	}
	s.view.each(uids, func(m *numbered) bool {
		if changedSince < 0 || m.modseq > uint64(changedSince) {
			s.fetchLine(m, items)
		}
		return s.out.broken == nil
	})
	return ok("Fetch completed.")
}

// markSeen sets \Seen where a body is asked for without PEEK.
func (s *Session) markSeen(uids mailhaul.UIDSet, items []fetchItem) mailhaul.UIDSet {
	marks := false
	for _, it := range items {
		marks = marks || it.kind == itemSection && !it.peek
	}
	if !marks || s.view.readOnly || !s.server.permanent.allows(mailhaul.FlagSeen) {
		return nil
	}
	b := s.view.box
	return b.store(uids,
		func(m *message) bool { return m.flags.system&bitSeen == 0 },
		func(l *flagList) *flagList {
			return b.flags.intern(append([]mailhaul.Flag{mailhaul.FlagSeen}, l.flags...))
		}, s.view)
}

// fetchLine writes one FETCH response. It allocates nothing for the items that
// do not look into the body.
func (s *Session) fetchLine(m *numbered, items []fetchItem) {
	b := append(s.scratch[:0], "* "...)
	b = strconv.AppendUint(b, uint64(m.seq), 10)
	b = append(b, " FETCH ("...)
	for i := range items {
		if i > 0 {
			b = append(b, ' ')
		}
		it := &items[i]
		switch it.kind {
		case itemUID:
			b = append(b, "UID "...)
			b = strconv.AppendUint(b, uint64(m.uid), 10)
		case itemFlags:
			b = append(b, "FLAGS ("...)
			b = append(b, m.flags.wire...)
			if m.recent {
				if m.flags.wire != "" {
					b = append(b, ' ')
				}
				b = append(b, `\Recent`...)
			}
			b = append(b, ')')
		case itemDate:
			b = append(b, "INTERNALDATE "...)
			b = m.appendDate(b)
		case itemSize:
			b = append(b, "RFC822.SIZE "...)
			b = strconv.AppendInt(b, int64(len(m.body)), 10)
		case itemModSeq:
			b = append(b, "MODSEQ ("...)
			b = strconv.AppendUint(b, m.modseq, 10)
			b = append(b, ')')
		case itemEnvelope:
			b = append(b, "ENVELOPE "...)
			b = appendEnvelope(b, m.body)
		case itemSection:
			b = append(b, it.label...)
			octets, exists := it.cut(m.body)
			if !exists {
				b = append(b, " NIL"...)
				break
			}
			b = append(b, " {"...)
			b = strconv.AppendInt(b, int64(len(octets)), 10)
			b = append(b, "}\r\n"...)
			s.out.octets(b)
			s.out.octets(octets)
			b = b[:0]
		}
	}
	b = append(b, ")\r\n"...)
	s.out.octets(b)
	s.out.end()
	s.scratch = b
}
