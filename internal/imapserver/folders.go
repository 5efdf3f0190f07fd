// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.

package imapserver

import (
	"slices"
	"strings"
)

func (s *Session) create(p *parser) reply {
	p.space()
	wire := p.mailbox()
	var attrs []string
	if p.more() {
		p.space()
		p.list(func() {
			p.word("USE")
			p.space()
			p.list(func() { p.expect('\\'); attrs = append(attrs, `\`+p.atom()) })
		})
		if !s.server.has("CREATE-SPECIAL-USE") {
			p.fail()
		}
	}
	if !p.end() {
		return bad("Error in CREATE arguments.")
	}
	for i, a := range attrs {
		j := slices.IndexFunc(specialUses, func(x string) bool { return strings.EqualFold(x, a) })
		if j < 0 {
			return no("[USEATTR] Special use is not supported: " + a)
		}
		attrs[i] = specialUses[j]
	}
	if d := s.server.opts.Delimiter; d != "" {
		wire = strings.TrimSuffix(wire, d) // "children will follow"
	}
	if r := s.checkName(wire); r.status != "" {
		return r
	}
	u := s.user
	u.mu.Lock()
	defer u.mu.Unlock()
	if b := u.boxes[wire]; b != nil {
		if !b.hasAttr(`\Noselect`) {
			return no("[ALREADYEXISTS] Mailbox already exists")
		}
		b.attrs = nil
	}
	u.createLocked(wire, attrs)
	return ok("Create completed.")
}

// checkName says whether a mailbox may bear a new name.
func (s *Session) checkName(wire string) reply {
	o := &s.server.opts
	name, err := decodeName(wire)
	if err != nil {
		return no("[CANNOT] Mailbox name is not valid mUTF-7")
	}
	if name == "" || o.Delimiter != "" && slices.Contains(strings.Split(name, o.Delimiter), "") {
		return no("[CANNOT] Invalid mailbox name: it has an empty level")
	}
	if name != "INBOX" && !strings.HasPrefix(name, o.Prefix) {
		return no("[CANNOT] Client tried to access nonexistent namespace. (Mailbox name should probably be prefixed with: " + o.Prefix + ")")
	}
	if o.RefuseName != nil {
		if err := o.RefuseName(name); err != nil {
			return no(err.Error())
		}
	}
	return reply{}
}

func (s *Session) delete(p *parser) reply {
	p.space()
	wire := p.mailbox()
	if !p.end() {
		return bad("Error in DELETE arguments.")
	}
	if wire == "INBOX" {
		return no("[CANNOT] INBOX can't be deleted.")
	}
	if s.view != nil && s.view.box == s.user.lookup(wire) {
		s.unselect()
	}
	if !s.user.remove(wire) {
		return no("[NONEXISTENT] Mailbox doesn't exist: " + printable(wire))
	}
	return ok("Delete completed.")
}

func (s *Session) rename(p *parser) reply {
	p.space()
	from := p.mailbox()
	p.space()
	to := p.mailbox()
	if !p.end() {
		return bad("Error in RENAME arguments.")
	}
	if r := s.checkName(to); r.status != "" {
		return r
	}
	if s.user.lookup(to) != nil {
		return no("[ALREADYEXISTS] Target mailbox already exists")
	}
	if from == "INBOX" {
		return s.renameInbox(to)
	}
	if !s.user.rename(from, to) {
		return no("[NONEXISTENT] Mailbox doesn't exist: " + printable(from))
	}
	return ok("Rename completed.")
}

// renameInbox moves the messages of INBOX, which itself stays (RFC 9051 section
// 6.3.6).
func (s *Session) renameInbox(to string) reply {
	inbox := s.user.lookup("INBOX")
	target := s.user.CreateWire(to)
	batch := inbox.Messages()
	for i := range batch {
		batch[i].UID = 0
		s.user.used.Add(int64(len(batch[i].Body)))
	}
	target.deliver(batch, make([]*Discard, len(batch)), nil)
	inbox.Clear()
	return ok("Rename completed.")
}

func (s *Session) subscribe(p *parser) reply   { return s.subscription(p, true) }
func (s *Session) unsubscribe(p *parser) reply { return s.subscription(p, false) }

func (s *Session) subscription(p *parser, yes bool) reply {
	p.space()
	wire := p.mailbox()
	if !p.end() {
		return bad("Error in SUBSCRIBE arguments.")
	}
	s.user.subscribe(wire, yes)
	return ok("Subscription changed.")
}
