package imapx

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Config says which account a [Client] is for and how it treats the server.
// Only Server is needed.
type Config struct {
	// Server is how to reach the account and log in to it.
	Server mailhaul.Server

	// Connections is how many connections may be open at a time. Default 4,
	// which is what Courier, the strictest of the common servers, allows one
	// address.
	Connections int

	// Compress says when connections are compressed (RFC 4978). Default
	// CompressAuto: where the server is not on this machine. That is for lines
	// that are slower than servers compress: Dovecot sends 30 MB of mail a
	// second and connection then, of which 0.57 are on the wire. Where the line
	// takes more than 16 MB a second for each connection, say CompressNever.
	Compress CompressMode

	// DialTimeout bounds connecting and each TLS handshake. Default 30 s.
	DialTimeout time.Duration

	// ProgressTimeout is how long the server may be silent while an answer is
	// outstanding, or take nothing of what is sent to it. It is no bound on how
	// long a command or a message takes: as long as octets move at
	// Limits.MinRate, they may. Default 2 minutes.
	ProgressTimeout time.Duration

	// Limits bound what the server can make a connection cost.
	Limits Limits

	// Throttle is asked before the server is burdened, and told what the server
	// makes of it. Whatever sends a command may wait for leave then,
	// Reader.Fetch too. Default: none, which costs nothing.
	Throttle Throttle

	// Logger is told what a server does wrong, and what came of a connection.
	// Default: nobody.
	Logger *slog.Logger

	// Trace is called for each line that is sent or received, from several
	// goroutines at once, and must not block. Credentials are hidden and
	// message bodies are left out. Default: none.
	Trace func(TraceLine)
}

// TraceLine is one line of the protocol, for [Config].Trace.
type TraceLine struct {
	Connection int64  // counts the Client's connections from 1
	Sent       bool   // by us
	Text       string // without the line end
}

// withDefaults returns the configuration with its defaults filled in.
func (c Config) withDefaults() Config {
	setDefault(&c.Connections, 4)
	setDefault(&c.DialTimeout, 30*time.Second)
	setDefault(&c.ProgressTimeout, 2*time.Minute)
	c.Limits = c.Limits.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports all mistakes.
func (c Config) validate() error {
	var errs []error
	mistake := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	s, l := c.Server, c.Limits
	mistake(s.Host == "", "Server.Host is empty")
	mistake(s.Protocol != "" && s.Protocol != mailhaul.IMAP, "Server.Protocol is %q, not imap", s.Protocol)
	mistake(s.Port < 0 || s.Port > 65535, "Server.Port %d is no port", s.Port)
	mistake(s.User == "" && s.Mechanism != "EXTERNAL" && s.Mechanism != "OAUTHBEARER", "Server.User is empty")
	mistake(c.Connections < 0, "Connections is negative")
	mistake(c.Compress < CompressAuto || c.Compress > CompressNever, "Compress is %v", c.Compress)
	mistake(c.DialTimeout < 0, "DialTimeout is negative")
	mistake(c.ProgressTimeout < 0, "ProgressTimeout is negative")
	mistake(l.MaxLine < 0 || l.MaxNesting < 0 || l.MaxResponse < 0 || l.MaxBody < 0 || l.MaxBuffered < 0 ||
		l.MaxResponses < 0 || l.MaxMailboxes < 0 || l.MaxName < 0 || l.MaxCommand < 0 || l.MinRate < 0,
		"a field of Limits is negative")
	mistake(l.MaxCommand > 0 && l.MaxCommand < 100, "Limits.MaxCommand is below 100")
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("imapx: bad configuration: %w", errors.Join(errs...))
}
