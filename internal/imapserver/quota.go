// GETQUOTAROOT and GETQUOTA (RFC 9208).

package imapserver

import "strconv"

const quotaRootName = `"User quota"`

func (s *Session) quotaRoot(p *parser) reply {
	p.space()
	wire := p.mailbox()
	if !p.end() {
		return bad("Error in GETQUOTAROOT arguments.")
	}
	if s.server.opts.Quota == 0 {
		s.out.line("* QUOTAROOT ", quote(wire))
		return ok("Getquotaroot completed.")
	}
	s.out.line("* QUOTAROOT ", quote(wire), " ", quotaRootName)
	s.quotaLine()
	return ok("Getquotaroot completed.")
}

func (s *Session) quota(p *parser) reply {
	p.space()
	root := p.astring()
	if !p.end() {
		return bad("Error in GETQUOTA arguments.")
	}
	if s.server.opts.Quota == 0 || quote(root) != quotaRootName {
		return no("[NONEXISTENT] No such quota root")
	}
	s.quotaLine()
	return ok("Getquota completed.")
}

// quotaLine sends the resource STORAGE, in units of 1024 octets.
func (s *Session) quotaLine() {
	used := (s.user.Used() + 1023) / 1024
	s.out.line("* QUOTA ", quotaRootName, " (STORAGE ", strconv.FormatInt(used, 10), " ",
		strconv.FormatInt(s.server.opts.Quota/1024, 10), ")")
}
