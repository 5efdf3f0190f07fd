// COPY and UID COPY.

package imapserver

import "strconv"

func (s *Session) copy(p *parser) reply    { return s.copyCommand(p, false) }
func (s *Session) uidCopy(p *parser) reply { return s.copyCommand(p, true) }

func (s *Session) copyCommand(p *parser, uid bool) reply {
	p.space()
	set := p.set()
	p.space()
	wire := p.mailbox()
	if !p.end() {
		return bad("Error in COPY arguments.")
	}
	uids, valid := s.view.resolve(set, uid)
	if !valid {
		return bad("Error in COPY arguments: invalid message set.")
	}
	to := s.user.lookup(wire)
	if to == nil || to.noSelect() {
		return no("[TRYCREATE] Mailbox doesn't exist: " + printable(wire))
	}
	// The source is read before the destination is locked: two sessions that
	// copy in opposite directions must not wait for each other.
	var batch []Message
	var from []uint32
	var octets int64
	s.view.each(uids, func(m *numbered) bool {
		c := m.public()
		c.UID = 0
		batch = append(batch, c)
		from = append(from, m.uid)
		octets += int64(len(m.body))
		return true
	})
	if len(batch) == 0 {
		return ok("No messages found.")
	}
	if !s.user.reserve(octets) {
		return no("[OVERQUOTA] Quota exceeded (mailbox for user is full)")
	}
	validity, stored, found := to.deliver(batch, make([]*Discard, len(batch)), nil)
	if !found {
		s.user.used.Add(-octets)
		return no("[TRYCREATE] Mailbox doesn't exist: " + printable(wire))
	}
	if !s.server.has("UIDPLUS") {
		return ok("Copy completed.")
	}
	b := append([]byte(nil), "[COPYUID "...)
	b = strconv.AppendUint(b, uint64(validity), 10)
	b = append(b, ' ')
	b = appendUIDs(b, from)
	b = append(b, ' ')
	b = appendUIDs(b, stored)
	b = append(b, "] Copy completed."...)
	return ok(string(b))
}
