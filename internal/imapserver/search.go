// SEARCH and UID SEARCH: running a search and writing what it found.

package imapserver

import (
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

func (s *Session) search(p *parser) reply    { return s.searchCommand(p, false) }
func (s *Session) uidSearch(p *parser) reply { return s.searchCommand(p, true) }

// esearch is which results are wanted in an ESEARCH response (RFC 4731).
type esearch struct{ wanted, all, count, min, max bool }

func (s *Session) searchCommand(p *parser, uid bool) reply {
	var ret esearch
	p.space()
	if p.tryWord("RETURN") {
		ret.wanted = true
		p.space()
		p.list(func() {
			switch strings.ToUpper(p.atom()) {
			case "ALL":
				ret.all = true
			case "COUNT":
				ret.count = true
			case "MIN":
				ret.min = true
			case "MAX":
				ret.max = true
			default:
				p.fail()
			}
		})
		if ret == (esearch{wanted: true}) {
			ret.all = true
		}
		if !s.server.has("ESEARCH") {
			p.fail()
		}
		p.space()
	}
	charset := "UTF-8"
	if p.tryWord("CHARSET") {
		p.space()
		charset = strings.ToUpper(p.astring())
		p.space()
	}
	q := query{sess: s, p: p}
	match := q.all()
	if !p.end() {
		return bad("Error in SEARCH arguments.")
	}
	if charset != "UTF-8" && charset != "US-ASCII" {
		return no("[BADCHARSET (US-ASCII UTF-8)] Unknown charset")
	}
	if ret.wanted {
		s.answerESearch(&q, match, uid, ret)
	} else {
		s.answerSearch(&q, match, uid)
	}
	return ok("Search completed.")
}

// answerSearch writes the old response, number by number.
func (s *Session) answerSearch(q *query, match criterion, uid bool) {
	s.out.text("* SEARCH")
	var highest uint64
	s.view.each(everything, func(m *numbered) bool {
		if match(m) {
			n := m.seq
			if uid {
				n = m.uid
			}
			highest = max(highest, m.modseq)
			s.scratch = strconv.AppendUint(append(s.scratch[:0], ' '), uint64(n), 10)
			s.out.octets(s.scratch)
		}
		return s.out.broken == nil
	})
	if q.modseq && highest > 0 {
		s.out.text(" (MODSEQ " + strconv.FormatUint(highest, 10) + ")")
	}
	s.out.line()
}

func (s *Session) answerESearch(q *query, match criterion, uid bool, ret esearch) {
	var found mailhaul.UIDSet
	var highest uint64
	s.view.each(everything, func(m *numbered) bool {
		if match(m) {
			n := m.seq
			if uid {
				n = m.uid
			}
			found.Add(mailhaul.UID(n))
			highest = max(highest, m.modseq)
		}
		return true
	})
	number := func(name string, n uint64) { s.out.text(" " + name + " " + strconv.FormatUint(n, 10)) }
	s.out.text("* ESEARCH (TAG " + quote(s.tag) + ")")
	if uid {
		s.out.text(" UID")
	}
	if len(found) > 0 {
		if ret.min {
			number("MIN", uint64(found[0].First))
		}
		if ret.max {
			number("MAX", uint64(found[len(found)-1].Last))
		}
		if ret.all {
			s.out.text(" ALL " + found.String())
		}
	}
	if ret.count {
		number("COUNT", uint64(found.Len()))
	}
	if q.modseq && highest > 0 {
		number("MODSEQ", highest)
	}
	s.out.line()
}
