// LOGIN, AUTHENTICATE and what follows a log-in.

package imapserver

import (
	"encoding/base64"
	"slices"
	"strings"
)

const failed = "[AUTHENTICATIONFAILED] Authentication failed."

func (s *Session) login(p *parser) reply {
	p.space()
	name := p.astring()
	p.space()
	password := p.astring()
	if !p.end() {
		return bad("Error in LOGIN arguments.")
	}
	if s.server.opts.LoginDisabled && !s.tls {
		return no("[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.")
	}
	u := s.server.User(name)
	if u == nil || !u.checkPassword(password) {
		return no(failed)
	}
	return s.welcome(u)
}

func (u *User) checkPassword(password string) bool {
	u.server.mu.Lock()
	defer u.server.mu.Unlock()
	return u.password == password
}

// admit makes the session the user's, within the limit on connections.
func (s *Session) admit(u *User) bool {
	limit := s.server.opts.MaxConnsPerUser
	if n := u.sessions.Add(1); limit > 0 && n > int64(limit) {
		u.sessions.Add(-1)
		return false
	}
	s.user = u
	return true
}

func (s *Session) welcome(u *User) reply {
	if !s.admit(u) {
		return no("[UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections)")
	}
	if s.server.opts.NoCapabilityCode {
		return ok("Logged in")
	}
	return ok("[CAPABILITY " + s.server.capabilities(s) + "] Logged in")
}

func (s *Session) authenticate(p *parser) reply {
	p.space()
	name := strings.ToUpper(p.atom())
	var initial []byte
	haveInitial := false
	if p.more() {
		p.space()
		text := string(p.rest())
		p.pos = len(p.line)
		if !s.server.has("SASL-IR") {
			return bad("SASL-IR is not supported.")
		}
		haveInitial = true
		if text != "=" {
			var err error
			if initial, err = base64.StdEncoding.DecodeString(text); err != nil {
				return bad("Invalid base64 in initial response.")
			}
		}
	}
	if p.err != nil {
		return bad("Error in AUTHENTICATE arguments.")
	}
	if !slices.ContainsFunc(s.server.opts.AuthMechs, func(m string) bool { return strings.EqualFold(m, name) }) {
		return no("[CANNOT] Unsupported authentication mechanism.")
	}
	mech := s.server.mechanism(name)
	if mech.next == nil {
		return no("[CANNOT] Unsupported authentication mechanism.")
	}
	return s.converse(mech, initial, haveInitial)
}

// converse plays the server's part of a SASL exchange.
func (s *Session) converse(mech mechanism, response []byte, have bool) reply {
	if !have {
		if mech.clientFirst {
			var r reply
			if response, r = s.challenge(nil); r != (reply{}) {
				return r
			}
		}
	}
	for {
		challenge, u, err := mech.next(response)
		switch {
		case err != nil:
			return no(failed)
		case u != nil:
			return s.welcome(u)
		}
		var r reply
		if response, r = s.challenge(challenge); r != (reply{}) {
			return r
		}
	}
}

// challenge sends one and returns the response to it.
func (s *Session) challenge(c []byte) ([]byte, reply) {
	s.out.line("+ ", base64.StdEncoding.EncodeToString(c))
	line, err := s.readLine()
	if err != nil {
		return nil, reply{err: err}
	}
	if string(line) == "*" {
		return nil, bad("Authentication aborted by client.")
	}
	response, err := base64.StdEncoding.DecodeString(string(line))
	if err != nil {
		return nil, bad("Invalid base64 in response.")
	}
	return response, reply{}
}
