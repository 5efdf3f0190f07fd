// NOTIFY (RFC 5465), as far as a client needs it that wants to hear of all
// mailboxes: the filter "personal", told during IDLE and after commands.

package imapserver

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// notifications are what a session is still to be told of mailboxes that it
// has not selected.
type notifications struct {
	news chan struct{} // has room for one

	mu    sync.Mutex // protects what follows; taken after a User's and a Mailbox's
	boxes []*Mailbox // whose messages changed
	lines []string   // LIST responses
}

// notifyEvents are the events that the server knows.
var notifyEvents = []string{"MESSAGENEW", "MESSAGEEXPUNGE", "FLAGCHANGE", "MAILBOXNAME", "SUBSCRIPTIONCHANGE"}

func (s *Session) notify(p *parser) reply {
	p.space()
	if p.tryWord("NONE") {
		if !p.end() {
			return bad("Error in NOTIFY arguments.")
		}
		s.deaf()
		return ok("NOTIFY completed.")
	}
	p.word("SET")
	p.space()
	var unknown []string
	filter := ""
	group := func() {
		p.expect('(')
		filter = strings.ToUpper(p.atom())
		p.space()
		p.list(func() {
			if e := strings.ToUpper(p.atom()); p.err == nil && !slices.Contains(notifyEvents, e) {
				unknown = append(unknown, e)
			}
		})
		p.expect(')')
	}
	group()
	if !p.end() || filter != "PERSONAL" {
		return bad("Error in NOTIFY arguments.")
	}
	if len(unknown) > 0 {
		return no("[BADEVENT (" + strings.Join(notifyEvents, " ") + ")] Unsupported events: " + strings.Join(unknown, " "))
	}
	s.deaf()
	s.told = &notifications{news: make(chan struct{}, 1)}
	s.user.notifyMu.Lock()
	s.user.notified[s.told] = struct{}{}
	s.user.notifyMu.Unlock()
	return ok("NOTIFY completed.")
}

// deaf ends NOTIFY.
func (s *Session) deaf() {
	if s.told != nil {
		s.user.notifyMu.Lock()
		delete(s.user.notified, s.told)
		s.user.notifyMu.Unlock()
		s.told = nil
	}
}

// tell notes news for the sessions that want to hear of all mailboxes.
func (u *User) tell(b *Mailbox, lines ...string) {
	u.notifyMu.Lock()
	defer u.notifyMu.Unlock()
	for n := range u.notified {
		n.mu.Lock()
		if b != nil && !slices.Contains(n.boxes, b) {
			n.boxes = append(n.boxes, b)
		}
		n.lines = append(n.lines, lines...)
		n.mu.Unlock()
		select {
		case n.news <- struct{}{}:
		default:
		}
	}
}

// listLine is what NOTIFY says of a mailbox that was made, renamed or deleted.
func (u *User) listLine(attrs, wire, old string) string {
	line := "* LIST (" + attrs + ") " + u.server.delimiter() + " " + quote(wire)
	if old != "" {
		line += ` ("OLDNAME" (` + quote(old) + "))"
	}
	return line
}

// tellAll sends what NOTIFY has gathered.
func (s *Session) tellAll() {
	n := s.told
	n.mu.Lock()
	boxes, lines := n.boxes, n.lines
	n.boxes, n.lines = nil, nil
	n.mu.Unlock()
	for _, l := range lines {
		s.out.line(l)
	}
	for _, b := range boxes {
		if s.view != nil && s.view.box == b {
			continue // which is told of as a selected mailbox
		}
		wire := b.Wire()
		b.mu.RLock()
		st := []string{"MESSAGES", strconv.Itoa(len(b.messages)), "UIDNEXT", strconv.Itoa(int(b.uidNext)), "UIDVALIDITY", strconv.Itoa(int(b.uidValidity))}
		if s.condstore {
			st = append(st, "HIGHESTMODSEQ", strconv.FormatUint(b.modseq, 10))
		}
		gone := b.deleted
		b.mu.RUnlock()
		if !gone {
			s.out.line("* STATUS ", quote(wire), " (", strings.Join(st, " "), ")")
		}
	}
}
