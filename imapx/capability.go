package imapx

import (
	"context"
	"strconv"
	"strings"
)

// capabilities is what a server says that it can do (RFC 9051 section 7.2.2),
// in upper case. Nil means that it has not said yet.
type capabilities map[string]bool

func newCapabilities(words []string) capabilities {
	caps := make(capabilities, len(words))
	for _, w := range words {
		caps[w] = true
	}
	if caps["IMAP4REV2"] && !caps["IMAP4REV1"] {
		for _, w := range folded {
			caps[w] = true
		}
	}
	return caps
}

// folded is what a server that speaks IMAP4rev2 only can do without saying (RFC
// 9051 appendix E). One that speaks both says it.
var folded = [...]string{
	"NAMESPACE", "UNSELECT", "UIDPLUS", "ESEARCH", "SASL-IR", "LIST-EXTENDED", "LIST-STATUS", "LITERAL-", "SPECIAL-USE", "CHILDREN",
}

// parseCapabilities takes the argument of a CAPABILITY response code.
func parseCapabilities(arg string) capabilities {
	return newCapabilities(strings.Fields(strings.ToUpper(arg)))
}

// has reports whether the server has the capability.
func (c capabilities) has(name string) bool { return c[name] }

// auth returns the SASL mechanisms that are offered.
func (c capabilities) auth() []string {
	var mechanisms []string
	for name := range c {
		if m, ok := strings.CutPrefix(name, "AUTH="); ok {
			mechanisms = append(mechanisms, m)
		}
	}
	return mechanisms
}

// appendLimit returns the size that APPENDLIMIT names (RFC 7889), 0 for none,
// and whether each mailbox has a limit of its own.
func (c capabilities) appendLimit() (limit int64, perMailbox bool) {
	if c["APPENDLIMIT"] {
		return 0, true
	}
	for name := range c {
		if text, ok := strings.CutPrefix(name, "APPENDLIMIT="); ok {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
				return n, false
			}
		}
	}
	return 0, false
}

// messageLimit returns how many messages a command may be about (RFC 9738), 0
// where there is no limit.
func (c capabilities) messageLimit() int {
	for name := range c {
		if text, ok := strings.CutPrefix(name, "MESSAGELIMIT="); ok {
			if n, err := strconv.Atoi(text); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}

// atOnce returns how many messages a command may be about, most unless the
// server allows fewer.
func (c *conn) atOnce(most int) int {
	if n := c.capabilities().messageLimit(); n > 0 {
		return min(n, most)
	}
	return most
}

// capability returns a command that asks what the server can do. The answer is
// stored as it comes.
func (c *conn) capability() *command {
	cmd := c.command(opCapability, "CAPABILITY")
	cmd.wants = c.takeCapabilities
	return cmd
}

// takeCapabilities stores capabilities that the server volunteers.
func (c *conn) takeCapabilities(event any) bool {
	words, ok := event.(capabilityEvent)
	if ok {
		c.offered(newCapabilities(words))
	}
	return ok
}

// offered notes what the server says that it can do.
func (c *conn) offered(caps capabilities) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caps = caps
}

// can reports whether the server has said that it can do something.
func (c *conn) can(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caps.has(name)
}

func (c *conn) capabilities() capabilities {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caps
}

// askCapability asks what the server can do, unless it has said.
func (c *conn) askCapability(ctx context.Context) error {
	if c.capabilities() != nil {
		return nil
	}
	if _, err := c.run(ctx, c.capability()); err != nil {
		return err
	}
	if c.capabilities() == nil {
		return c.violation("the server does not say what it can do")
	}
	return nil
}
