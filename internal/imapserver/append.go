// APPEND and MULTIAPPEND (RFC 3502).

package imapserver

import (
	"errors"
	"strconv"
	"time"
)

// appending is one APPEND under way.
type appending struct {
	sess    *Session
	wire    string
	box     *Mailbox
	batch   []Message
	discard []*Discard
	octets  int64
	refusal reply // set as soon as the command cannot succeed
}

func (s *Session) append(p *parser) reply {
	p.space()
	a := appending{sess: s, wire: p.mailbox()}
	if p.err == nil {
		if a.box = s.user.lookup(a.wire); a.box == nil || a.box.noSelect() {
			a.refusal = no("[TRYCREATE] Mailbox doesn't exist: " + printable(a.wire))
		}
	}
	for first := true; first || p.more(); first = false {
		if !first && !s.server.has("MULTIAPPEND") {
			p.fail()
		}
		if done := a.message(p); done {
			return a.refusal
		}
	}
	if !p.end() {
		return bad("Error in APPEND arguments.")
	}
	if a.refusal.status != "" {
		return a.refusal
	}
	return a.commit()
}

// message reads one message. It reports whether the command ends here because
// the client was not invited to send a literal.
func (a *appending) message(p *parser) (done bool) {
	var m Message
	p.space()
	if p.peek() == '(' {
		m.Flags = p.flags()
		p.space()
	}
	if p.peek() == '"' {
		m.Date = p.dateTime()
		p.space()
	}
	size, synchronizing := p.literalHeader()
	if p.err != nil {
		return false
	}
	a.weigh(size)
	if a.refusal.status != "" {
		if synchronizing {
			p.pos = len(p.line)
			return true
		}
		if size > a.sess.server.opts.MaxLiteral {
			a.sess.out.line("* BYE Literal too large.")
			p.abort(errLiteralTooLarge)
			return false
		}
		p.skip(size)
		return false
	}
	p.invite(synchronizing)
	m.Body = p.octets(size)
	if p.fatal == nil {
		a.accept(m)
	}
	return false
}

func (a *appending) refuse(text string) {
	if a.refusal.status == "" {
		a.refusal = no(text)
	}
}

// weigh refuses by size, before a single octet has come.
func (a *appending) weigh(size int64) {
	o := &a.sess.server.opts
	u := a.sess.user
	if o.AppendLimit > 0 && size > o.AppendLimit || size > o.MaxLiteral {
		a.refuse("[TOOBIG] Message is too large.")
	}
	a.octets += size
	if o.Quota > 0 && u.used.Load()+a.octets > o.Quota {
		a.refuse("[OVERQUOTA] Quota exceeded (mailbox for user is full)")
	}
}

// accept takes a message whose octets have come, or refuses it for its content.
func (a *appending) accept(m Message) {
	s := a.sess
	if refuse := s.server.opts.Refuse; refuse != nil {
		if err := refuse(m.Body); err != nil {
			a.refuse(err.Error())
			return
		}
	}
	var discard *Discard
	if hook := s.server.opts.Hooks.Append; hook != nil {
		before := len(m.Body)
		if err := hook(s.user.name, a.box.Name(), &m); err != nil && !errors.As(err, &discard) {
			a.refuse(err.Error())
			return
		}
		a.octets += int64(len(m.Body) - before)
	}
	if discard != nil {
		a.octets -= int64(len(m.Body))
	}
	m.Flags = s.server.permanent.filter(m.Flags)
	if m.Date.IsZero() {
		m.Date = time.Now()
	}
	a.batch = append(a.batch, m)
	a.discard = append(a.discard, discard)
}

// commit stores all of the messages, or none.
func (a *appending) commit() reply {
	s := a.sess
	o := &s.server.opts
	if o.LateCommit > 0 && o.EarlyOK {
		s.server.running.Go(func() {
			if s.sleep(o.LateCommit) {
				a.store()
			}
		})
		return ok("Append completed.")
	}
	if !s.sleep(o.LateCommit) {
		return reply{} // the server is being closed
	}
	return a.store()
}

func (a *appending) store() reply {
	s := a.sess
	u := a.box.user
	if !u.reserve(a.octets) {
		return no("[OVERQUOTA] Quota exceeded (mailbox for user is full)")
	}
	validity, uids, stored := a.box.deliver(a.batch, a.discard, nil)
	if !stored {
		u.used.Add(-a.octets)
		return no("[TRYCREATE] Mailbox doesn't exist: " + printable(a.wire))
	}
	s.server.counters.appended.Add(int64(len(uids)))
	if !s.server.has("UIDPLUS") {
		return ok("Append completed.")
	}
	b := append([]byte(nil), "[APPENDUID "...)
	b = strconv.AppendUint(b, uint64(validity), 10)
	b = append(b, ' ')
	b = appendUIDs(b, uids)
	b = append(b, "] Append completed."...)
	return ok(string(b))
}

// appendUIDs appends UIDs in their order, with runs as ranges.
func appendUIDs(b []byte, uids []uint32) []byte {
	for i := 0; i < len(uids); {
		j := i + 1
		for j < len(uids) && uids[j] == uids[j-1]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(uids[i]), 10)
		if j > i+1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(uids[j-1]), 10)
		}
		i = j
	}
	return b
}
