// Commands about the session itself: CAPABILITY, NOOP, LOGOUT, ID, ENABLE,
// NAMESPACE, STARTTLS.

package imapserver

import (
	"crypto/tls"
	"maps"
	"slices"
	"strings"
)

func (s *Session) capability(p *parser) reply {
	if !p.end() {
		return bad("Error in CAPABILITY arguments.")
	}
	s.out.line("* CAPABILITY ", s.server.capabilities(s))
	return ok("Capability completed.")
}

func (s *Session) noop(p *parser) reply {
	if !p.end() {
		return bad("Error in NOOP arguments.")
	}
	return ok("NOOP completed.")
}

func (s *Session) check(p *parser) reply {
	if !p.end() {
		return bad("Error in CHECK arguments.")
	}
	return ok("Check completed.")
}

func (s *Session) logout(p *parser) reply {
	if !p.end() {
		return bad("Error in LOGOUT arguments.")
	}
	s.unselect()
	s.out.line("* BYE Logging out")
	s.loggedOut = true
	return ok("Logout completed.")
}

func (s *Session) id(p *parser) reply {
	p.space()
	if p.peek() == '(' {
		p.list(func() { p.astring(); p.space(); p.nstring() })
	} else {
		p.word("NIL")
	}
	if !p.end() {
		return bad("Error in ID arguments.")
	}
	values := "NIL"
	if id := s.server.opts.ID; id != nil {
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(id)) {
			parts = append(parts, quote(k), quote(id[k]))
		}
		values = "(" + strings.Join(parts, " ") + ")"
	}
	s.out.line("* ID ", values)
	return ok("ID completed.")
}

func (s *Session) enable(p *parser) reply {
	var enabled string
	for first := true; first || p.more(); first = false {
		p.space()
		if name := strings.ToUpper(p.atom()); name == "CONDSTORE" && s.server.has("CONDSTORE") && p.err == nil {
			s.condstore = true
			enabled = " CONDSTORE"
		}
	}
	if !p.end() {
		return bad("Error in ENABLE arguments.")
	}
	s.out.line("* ENABLED", enabled)
	return ok("Enabled.")
}

func (s *Session) namespace(p *parser) reply {
	if !p.end() {
		return bad("Error in NAMESPACE arguments.")
	}
	o := &s.server.opts
	s.out.line("* NAMESPACE ((", quote(o.Prefix), " ", s.server.delimiter(), ")) ", o.OtherNamespaces)
	return ok("Namespace completed.")
}

// delimiter returns the hierarchy delimiter as LIST and NAMESPACE write it.
func (s *Server) delimiter() string {
	if s.opts.Delimiter == "" {
		return "NIL"
	}
	return quote(s.opts.Delimiter)
}

func (s *Session) startTLS(p *parser) reply {
	o := &s.server.opts
	if !p.end() || !o.StartTLS || o.TLSConfig == nil {
		return bad("STARTTLS is not available.")
	}
	if s.tls {
		return bad("TLS is already active.")
	}
	s.respond(ok("Begin TLS negotiation now."))
	s.out.flush()
	if s.out.broken != nil {
		return reply{err: s.out.broken}
	}
	// What came before the handshake is not to be believed after it.
	_, _ = s.r.Discard(s.r.Buffered())
	t := tls.Server(s.raw, o.TLSConfig)
	if err := t.Handshake(); err != nil {
		return reply{err: err}
	}
	s.tls = true
	s.conn = t
	s.out.w.Reset(t)
	s.r.Reset(flushReader{t, &s.out})
	return reply{}
}
