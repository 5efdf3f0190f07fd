package pop3x

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Config says which account a [Source] is for and how it treats the server.
// Only Server is needed.
type Config struct {
	// Server is how to reach the account and log in to it. Its Protocol is
	// POP3, or empty.
	Server mailhaul.Server

	// APOP logs in by APOP (RFC 1939 section 7), for a server that has nothing
	// better: it keeps the password off the wire, and by MD5 only. A server
	// that does not offer it is an error then.
	APOP bool

	// Seen gives each message the flag \Seen, since POP3 knows none. Default:
	// no flags, so that all mail arrives unread.
	Seen bool

	// RetrieveAlways fetches by RETR and never by TOP, which leaves mail
	// unread on the source. For a server whose TOP is slow.
	RetrieveAlways bool

	// AllowExpire0 accepts a server that announces EXPIRE 0 (RFC 2449 section
	// 6.7): it may delete what was fetched. Default: it is refused.
	AllowExpire0 bool

	// SessionTime and SessionBytes bound a session, after which it ends and
	// another begins no sooner than SessionPause later: as long as it lasts the
	// user's own program finds the maildrop locked. Default 10 minutes, 1 GiB
	// and 30 s.
	SessionTime  time.Duration
	SessionBytes int64
	SessionPause time.Duration

	// IdleTime is how long a session that nobody reads from is kept for the
	// next Reader. Default 20 s.
	IdleTime time.Duration

	// Window is how many octets may be asked for and not yet be there, where
	// the server takes commands ahead of its answers. Default 4 MiB: at a round
	// trip of 100 ms, 5,000 messages of 58 MB took 2.4 s longer than at none,
	// and with 1 MiB 5.7 s.
	Window int64

	// Throttle protects the server. It is told what is done and is asked for
	// leave before. A session that would have to wait for longer than 30 s ends,
	// so that its user gets at the maildrop, and another begins when there is
	// leave. Default: nobody is asked.
	Throttle Throttle

	// DialTimeout bounds connecting and each TLS handshake. Default 30 s.
	DialTimeout time.Duration

	// ProgressTimeout is how long the server may be silent while an answer is
	// outstanding, or take nothing of what is sent to it. It is no bound on how
	// long a message takes: as long as octets move at Limits.MinRate, it may.
	// Default 2 minutes.
	ProgressTimeout time.Duration

	// Limits bound what the server can make a connection cost.
	Limits Limits

	// Logger is told what a server does wrong, and what came of a connection.
	// Default: nobody.
	Logger *slog.Logger

	// Trace is called for each line that is sent or received, from several
	// goroutines, and must not block. Credentials are hidden and message
	// bodies are left out. Default: none.
	Trace func(TraceLine)
}

// TraceLine is one line of the protocol, for [Config].Trace.
type TraceLine struct {
	Connection int64  // counts the Source's connections from 1
	Sent       bool   // by us
	Text       string // without the line end
}

// Limits bound what a server can make a connection cost. A zero field takes
// its default; no field switches a bound off.
type Limits struct {
	// MaxLine is the number of octets of a status line or a line of a listing.
	// Default 4 KiB; RFC 2449 section 4 has 512.
	MaxLine int

	// MaxMessages is how many messages a maildrop may have. Default 5,000,000.
	MaxMessages int

	// MaxBody is the largest message that is taken. A larger one is passed
	// over and reported. Default 256 MiB.
	MaxBody int64

	// MaxBuffered is how much of one message is buffered in memory; what is
	// larger goes to a temporary file. Default 8 MiB.
	MaxBuffered int64

	// MinRate is the number of octets a second that the server must send on
	// average, over the ProgressTimeout, while an answer has begun and is not
	// complete. Default 64.
	MinRate int
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// withDefaults returns the configuration with its defaults filled in.
func (c Config) withDefaults() Config {
	c.Server.Protocol = mailhaul.POP3
	setDefault(&c.SessionTime, 10*time.Minute)
	setDefault(&c.SessionBytes, 1<<30)
	setDefault(&c.SessionPause, 30*time.Second)
	setDefault(&c.IdleTime, 20*time.Second)
	setDefault(&c.Window, 4<<20)
	setDefault(&c.DialTimeout, 30*time.Second)
	setDefault(&c.ProgressTimeout, 2*time.Minute)
	setDefault(&c.Limits.MaxLine, 4<<10)
	setDefault(&c.Limits.MaxMessages, 5_000_000)
	setDefault(&c.Limits.MaxBody, 256<<20)
	setDefault(&c.Limits.MaxBuffered, 8<<20)
	setDefault(&c.Limits.MinRate, 64)
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
	mistake(s.Protocol != "" && s.Protocol != mailhaul.POP3, "Server.Protocol is %q, not pop3", s.Protocol)
	mistake(s.Port < 0 || s.Port > 65535, "Server.Port %d is no port", s.Port)
	mistake(s.User == "" && s.Mechanism != "EXTERNAL" && s.Mechanism != "OAUTHBEARER", "Server.User is empty")
	mistake(c.APOP && (s.Mechanism != "" || s.AuthzID != ""), "APOP excludes Server.Mechanism and Server.AuthzID")
	mistake(c.SessionTime < 0 || c.SessionBytes < 0 || c.SessionPause < 0 || c.IdleTime < 0, "a bound of the session is negative")
	mistake(c.Window < 0, "Window is negative")
	mistake(c.DialTimeout < 0, "DialTimeout is negative")
	mistake(c.ProgressTimeout < 0, "ProgressTimeout is negative")
	mistake(l.MaxLine < 0 || l.MaxMessages < 0 || l.MaxBody < 0 || l.MaxBuffered < 0 || l.MinRate < 0, "a field of Limits is negative")
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("pop3x: bad configuration: %w", errors.Join(errs...))
}
