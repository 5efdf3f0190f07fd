// EXPUNGE and UID EXPUNGE (RFC 4315).

package imapserver

func isDeleted(m *message) bool { return m.flags.system&bitDeleted != 0 }

func (s *Session) expunge(p *parser) reply {
	if !p.end() {
		return bad("Error in EXPUNGE arguments.")
	}
	if s.view.readOnly {
		return no("Mailbox is read-only.")
	}
	s.view.box.expunge(everything, isDeleted)
	return ok("Expunge completed.")
}

func (s *Session) uidExpunge(p *parser) reply {
	p.space()
	set := p.set()
	if !p.end() {
		return bad("Error in UID EXPUNGE arguments.")
	}
	if s.view.readOnly {
		return no("Mailbox is read-only.")
	}
	uids, _ := s.view.resolve(set, true)
	s.view.box.expunge(uids, isDeleted)
	return ok("Expunge completed.")
}
