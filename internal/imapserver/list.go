// LIST with its extensions (RFC 5258, RFC 5819, RFC 6154), and LSUB.

package imapserver

import (
	"slices"
	"strings"
)

// listed is one name that LIST may show.
type listed struct {
	wire       string
	box        *Mailbox // nil: the name only has children, or is only subscribed
	attrs      []string
	subscribed bool
	children   bool
}

func (l *listed) attr(name string) bool {
	return slices.ContainsFunc(l.attrs, func(a string) bool { return strings.EqualFold(a, name) })
}

func (l *listed) selectable() bool {
	return l.box != nil && !l.attr(`\Noselect`) && !l.attr(`\NonExistent`)
}

// listing returns all names of the user in order: mailboxes, parents that are
// no mailboxes, and subscriptions.
func (u *User) listing() []*listed {
	delimiter := u.server.opts.Delimiter
	u.mu.RLock()
	names := make(map[string]*listed, len(u.boxes))
	for wire, b := range u.boxes {
		names[wire] = &listed{wire: wire, box: b, attrs: slices.Clone(b.attrs)}
	}
	for wire := range u.subscribed {
		if l := names[wire]; l != nil {
			l.subscribed = true
		} else {
			names[wire] = &listed{wire: wire, subscribed: true}
		}
	}
	for wire := range u.boxes {
		for up := parentName(wire, delimiter); up != ""; up = parentName(up, delimiter) {
			l := names[up]
			if l == nil {
				l = &listed{wire: up}
				names[up] = l
			}
			if l.children {
				break
			}
			l.children = true
		}
	}
	u.mu.RUnlock()
	all := make([]*listed, 0, len(names))
	for _, l := range names {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *listed) int { return compareNames(a.wire, b.wire) })
	return all
}

// listRequest is a parsed LIST.
type listRequest struct {
	extended         bool // any form of RFC 5258 was used
	selectSubscribed bool
	selectSpecial    bool
	recursive        bool
	patterns         []string
	returnSubscribed bool
	returnChildren   bool
	returnSpecial    bool
	status           []statusItem
}

func (s *Session) list(p *parser) reply {
	var q listRequest
	srv := s.server
	extended := func() {
		q.extended = true
		if !srv.has("LIST-EXTENDED") {
			p.fail()
		}
	}
	p.space()
	if p.peek() == '(' {
		extended()
		p.list(func() {
			switch option := strings.ToUpper(p.atom()); {
			case option == "SUBSCRIBED":
				q.selectSubscribed, q.returnSubscribed = true, true
			case option == "RECURSIVEMATCH":
				q.recursive = true
			case option == "REMOTE":
			case option == "SPECIAL-USE" && srv.has("SPECIAL-USE"):
				q.selectSpecial, q.returnSpecial = true, true
			default:
				p.fail()
			}
		})
		p.space()
	}
	reference := p.mailbox()
	p.space()
	if p.peek() == '(' {
		extended()
		p.list(func() { q.patterns = append(q.patterns, reference+p.pattern()) })
	} else {
		q.patterns = []string{reference + p.pattern()}
	}
	if p.more() {
		p.space()
		p.word("RETURN")
		p.space()
		extended()
		p.list(func() {
			switch option := strings.ToUpper(p.atom()); {
			case option == "SUBSCRIBED":
				q.returnSubscribed = true
			case option == "CHILDREN":
				q.returnChildren = true
			case option == "SPECIAL-USE" && srv.has("SPECIAL-USE"):
				q.returnSpecial = true
			case option == "STATUS" && srv.has("LIST-STATUS"):
				p.space()
				q.status = s.statusItems(p)
			default:
				p.fail()
			}
		})
	}
	if !p.end() || q.recursive && !q.selectSubscribed {
		return bad("Error in LIST arguments.")
	}
	if !q.extended && q.patterns[0] == reference {
		s.out.line(`* LIST (\Noselect) `, srv.delimiter(), ` ""`)
		return ok("List completed.")
	}
	if !q.extended {
		q.returnSpecial = true
		q.returnChildren = srv.has("CHILDREN")
	}
	s.answerList(&q)
	return ok("List completed.")
}

func (s *Session) answerList(q *listRequest) {
	delimiter := s.server.opts.Delimiter
	all := s.user.listing()
	below := make(map[string]bool) // names with subscribed names below them
	if q.recursive {
		for _, l := range all {
			for up := parentName(l.wire, delimiter); l.subscribed && up != ""; up = parentName(up, delimiter) {
				below[up] = true
			}
		}
	}
	for _, l := range all {
		switch {
		case !q.selectSubscribed && l.box == nil && !l.children,
			q.selectSubscribed && !l.subscribed && !below[l.wire],
			q.selectSpecial && !slices.ContainsFunc(l.attrs, isSpecialUse),
			!slices.ContainsFunc(q.patterns, func(pattern string) bool { return matchPattern(pattern, l.wire, delimiter) }):
			continue
		}
		s.listLine("LIST", q.attributes(l, s.server), l.wire, below[l.wire])
		if q.status != nil && l.selectable() {
			s.statusLine(l.wire, l.box, q.status)
		}
		if s.out.broken != nil {
			return
		}
	}
}

// attributes returns what stands between LIST's parentheses.
func (q *listRequest) attributes(l *listed, srv *Server) []string {
	var out []string
	for _, a := range l.attrs {
		if !isSpecialUse(a) || q.returnSpecial && srv.has("SPECIAL-USE") {
			out = append(out, a)
		}
	}
	if l.box == nil {
		if q.extended {
			out = append(out, `\NonExistent`)
		} else {
			out = append(out, `\Noselect`)
		}
	}
	if q.returnChildren && l.children {
		out = append(out, `\HasChildren`)
	} else if q.returnChildren {
		out = append(out, `\HasNoChildren`)
	}
	if q.returnSubscribed && l.subscribed {
		out = append(out, `\Subscribed`)
	}
	return out
}

func (s *Session) listLine(word string, attrs []string, wire string, subscribedBelow bool) {
	b := append(s.scratch[:0], "* "...)
	b = append(b, word...)
	b = append(b, " ("...)
	b = append(b, strings.Join(attrs, " ")...)
	b = append(b, ") "...)
	b = append(b, s.server.delimiter()...)
	b = append(b, ' ')
	b = appendString(b, wire)
	if subscribedBelow {
		b = append(b, ` ("CHILDINFO" ("SUBSCRIBED"))`...)
	}
	b = append(b, "\r\n"...)
	s.out.octets(b)
	s.out.end()
	s.scratch = b
}

// specialUses are the attributes of RFC 6154.
var specialUses = []string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Junk`, `\Sent`, `\Trash`}

func isSpecialUse(attr string) bool {
	return slices.ContainsFunc(specialUses, func(s string) bool { return strings.EqualFold(s, attr) })
}

func (s *Session) lsub(p *parser) reply {
	p.space()
	pattern := p.mailbox()
	p.space()
	pattern += p.pattern()
	if !p.end() {
		return bad("Error in LSUB arguments.")
	}
	delimiter := s.server.opts.Delimiter
	shown := make(map[string]bool)
	for _, l := range s.user.listing() {
		if !l.subscribed {
			continue
		}
		if matchPattern(pattern, l.wire, delimiter) {
			if !shown[l.wire] {
				shown[l.wire] = true
				s.listLine("LSUB", nil, l.wire, false)
			}
			continue
		}
		// With %, a parent stands for subscribed names below it (RFC 3501
		// section 6.3.9).
		for up := parentName(l.wire, delimiter); up != ""; up = parentName(up, delimiter) {
			if !shown[up] && strings.HasSuffix(pattern, "%") && matchPattern(pattern, up, delimiter) && !s.user.subscribedWire(up) {
				shown[up] = true
				s.listLine("LSUB", []string{`\Noselect`}, up, false)
			}
		}
	}
	return ok("Lsub completed.")
}

func (u *User) subscribedWire(wire string) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.subscribed[wire]
}
