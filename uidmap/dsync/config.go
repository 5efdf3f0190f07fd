package dsync

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// userArgument is the argument of a command that stands for the user.
const userArgument = "{user}"

// Config says how a Dovecot is reached that a [Target] is to be imposed on.
// Exactly one of Server and Command is needed.
type Config struct {
	// Server is a port that Dovecot's service doveadm listens on. Host and
	// Port are needed, and Credentials, which return its doveadm_password.
	// Security, TLS, AllowPlaintext and Dial are as for an account (StartTLS
	// needs Dovecot 2.3); User, AuthzID, Mechanism and Protocol are not looked
	// at.
	Server mailhaul.Server

	// Command is a program with its arguments that speaks with Dovecot on its
	// standard input and output, such as
	//
	//	["ssh", "-T", "vmail@host", "doveadm", "dsync-server", "-u", "{user}"]
	//
	// An argument that is "{user}", and nothing else, is replaced by User. No
	// shell of ours looks at it; but ssh hands its arguments to one at the far
	// end, so that a user whose name holds more than letters, digits and
	// "._-+@=/" is refused there: name him in the arguments yourself, quoted.
	Command []string

	// User is whose mail it is, as Dovecot's doveadm knows the name. Default:
	// the user of the account that is decorated.
	User string

	// Store is how Dovecot keeps the user's mail, where the caller knows it:
	// "maildir", "sdbox" or "mdbox". Default: it is asked for. A command cannot
	// be asked, so that behind one it is taken for sdbox, which can do less.
	Store string

	// DialTimeout bounds connecting and the TLS handshake. Default 30 s.
	DialTimeout time.Duration

	// ProgressTimeout is how long Dovecot may say nothing while it is waited
	// for, or take nothing of what is sent to it. To write what it was sent to
	// its disk it has another second for each twenty messages. Default 2
	// minutes.
	ProgressTimeout time.Duration

	// Logger is told what went otherwise than planned. Default: nobody.
	Logger *slog.Logger
}

func (c Config) withDefaults(inner mailhaul.Target) Config {
	c.Command = slices.Clone(c.Command)
	if c.User == "" && inner != nil {
		c.User = inner.Account().User
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 30 * time.Second
	}
	if c.ProgressTimeout == 0 {
		c.ProgressTimeout = 2 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports all mistakes of a configuration that has its defaults.
func (c Config) validate() error {
	var errs []error
	mistake := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	mistake(c.Server.Host == "" && len(c.Command) == 0, "neither Server nor Command is set")
	mistake(c.Server.Host != "" && len(c.Command) > 0, "both Server and Command are set")
	mistake(c.Server.Host != "" && (c.Server.Port <= 0 || c.Server.Port > 65535), "Server.Port %d is no port", c.Server.Port)
	mistake(c.Server.Host != "" && c.Server.Credentials == nil, "Server.Credentials is nil")
	mistake(len(c.Command) > 0 && c.Command[0] == "", "Command names no program")
	mistake(c.User == "", "User is empty")
	mistake(strings.ContainsAny(c.User, "\x00\t\r\n"), "User %.60q holds control characters", c.User)
	mistake(slices.Contains(c.Command, userArgument) && !harmless(c.User),
		"User %.60q holds characters that a shell at the far end could take for its own; put it into Command yourself, quoted", c.User)
	mistake(!slices.Contains([]string{"", storeMaildir, storeSdbox, storeMdbox}, c.Store), "Store is %.60q, none of maildir, sdbox and mdbox", c.Store)
	mistake(c.DialTimeout < 0, "DialTimeout is negative")
	mistake(c.ProgressTimeout < 0, "ProgressTimeout is negative")
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("dsync: bad configuration: %w", errors.Join(errs...))
}

// harmless reports whether a name means itself as an argument, even to a
// shell.
func harmless(name string) bool {
	if strings.HasPrefix(name, "-") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c < 0x80 && !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-+@=/", c) >= 0) {
			return false
		}
	}
	return true
}

// argv returns the command with the user filled in.
func (c *Config) argv() []string {
	argv := slices.Clone(c.Command)
	for i, a := range argv {
		if a == userArgument {
			argv[i] = c.User
		}
	}
	return argv
}

// where names the peer in errors.
func (c *Config) where() string {
	if len(c.Command) > 0 {
		return fmt.Sprintf("the command %.60q", c.Command[0])
	}
	return c.Server.Addr()
}
