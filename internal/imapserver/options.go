// What a server is told when it is made.

package imapserver

import (
	"cmp"
	"crypto/tls"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Options describe a server. The zero value is a friendly modern one.
type Options struct {
	// Delimiter separates hierarchy levels; default "/". "NIL" makes the
	// server flat.
	Delimiter string

	// Prefix is what the personal namespace puts before each name but INBOX,
	// as in "INBOX." (with the Delimiter "."). CREATE elsewhere is refused.
	Prefix string

	// OtherNamespaces is what NAMESPACE says of other users' and of shared
	// mailboxes, in the octets of the protocol; default "NIL NIL".
	OtherNamespaces string

	// Caps are the capabilities that are announced and honoured; nil stands
	// for DefaultCaps. The syntax of one that is missing gets BAD. Names that
	// the server does not know are announced and do nothing.
	Caps []string

	// NoCapabilityCode keeps the capabilities out of the greeting and of the
	// answer to a log-in, so that a client has to ask.
	NoCapabilityCode bool

	// TLSConfig serves ListenTLS, Dial to port 993 and, with StartTLS,
	// STARTTLS.
	TLSConfig *tls.Config
	StartTLS  bool

	// LoginDisabled announces LOGINDISABLED and refuses LOGIN while the
	// connection is not protected by TLS.
	LoginDisabled bool

	// AuthMechs are the mechanisms of AUTHENTICATE; nil stands for PLAIN and
	// LOGIN. Known besides: SCRAM-SHA-256, CRAM-MD5, XOAUTH2 and OAUTHBEARER
	// (whose token is the user's password), EXTERNAL (any client certificate,
	// or none: the authorization identity is taken for granted).
	AuthMechs []string

	// PreAuth greets with PREAUTH: the connection is this user's at once.
	PreAuth string

	// Greeting replaces the text of the greeting, after "* OK ".
	Greeting string

	// Quota bounds the octets that each user may store; 0 is no bound. What
	// goes beyond it gets NO [OVERQUOTA]. Mailbox.Add knows no bound.
	Quota int64

	// AppendLimit bounds the octets of one message (RFC 7889); 0 is no bound
	// but MaxLiteral.
	AppendLimit int64

	// MaxConnsPerUser refuses further log-ins; 0 is no bound.
	MaxConnsPerUser int

	// ID is the answer to ID; nil answers NIL.
	ID map[string]string

	// PermanentFlags is what may be stored; nil stands for the five system
	// flags and any keyword (\*). Other flags are left out in silence.
	PermanentFlags []string

	// UIDValidity is the first that is given away; 0 chooses at random.
	UIDValidity mailhaul.UIDValidity

	// Refuse, if set, is asked about each body that APPEND brings. Its error
	// is the text of the NO, response code included if it has one.
	Refuse func(body []byte) error

	// RefuseName, if set, is asked about each (decoded) name that CREATE and
	// RENAME bring.
	RefuseName func(name string) error

	// ParseBodyAfterBAD does what Dovecot does when it answers BAD to a
	// command with a non-synchronizing literal: the octets of the literal are
	// taken for the next commands. Otherwise they are swallowed.
	ParseBodyAfterBAD bool

	// NoUIDNext leaves UIDNEXT out of SELECT and EXAMINE, NoStatusUIDNext out
	// of STATUS.
	NoUIDNext       bool
	NoStatusUIDNext bool

	// LateExists keeps what APPEND stored from the session that has the mailbox
	// selected until its next command, as Courier does.
	LateExists bool

	// LateCommit is how long APPEND takes to store what it received, whatever
	// becomes of the connection meanwhile. The answer comes afterwards; with
	// EarlyOK it comes at once, and without APPENDUID.
	LateCommit time.Duration
	EarlyOK    bool

	// MaxLine bounds a command line without its literals, default 64 KiB;
	// MaxLiteral bounds a literal, default 512 MiB.
	MaxLine    int
	MaxLiteral int64

	Hooks Hooks
}

// DefaultCaps are the capabilities of a server whose Options name none. AUTH=,
// STARTTLS and LOGINDISABLED come from other options.
var DefaultCaps = []string{
	"SASL-IR", "ID", "ENABLE", "IDLE", "NAMESPACE", "UNSELECT", "UIDPLUS",
	"CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE",
	"LITERAL+", "MULTIAPPEND", "CONDSTORE", "ESEARCH", "QUOTA", "APPENDLIMIT",
	"STATUS=SIZE", "COMPRESS=DEFLATE",
}

// Without returns [DefaultCaps] less the given ones.
func Without(caps ...string) []string {
	return slices.DeleteFunc(slices.Clone(DefaultCaps), func(c string) bool {
		return slices.ContainsFunc(caps, func(x string) bool { return strings.EqualFold(x, c) })
	})
}

// With returns [DefaultCaps] and the given ones. LITERAL- replaces LITERAL+.
func With(caps ...string) []string {
	base := slices.Clone(DefaultCaps)
	if slices.Contains(caps, "LITERAL-") {
		base = Without("LITERAL+")
	}
	return append(base, caps...)
}

func (o Options) withDefaults() Options {
	o.Delimiter = cmp.Or(o.Delimiter, "/")
	if o.Delimiter == "NIL" {
		o.Delimiter = ""
	}
	o.OtherNamespaces = cmp.Or(o.OtherNamespaces, "NIL NIL")
	o.MaxLine = cmp.Or(o.MaxLine, 64<<10)
	o.MaxLiteral = cmp.Or(o.MaxLiteral, 512<<20)
	if o.Caps == nil {
		o.Caps = DefaultCaps
	}
	if o.AuthMechs == nil {
		o.AuthMechs = []string{"PLAIN", "LOGIN"}
	}
	if o.PermanentFlags == nil {
		o.PermanentFlags = []string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`, `\*`}
	}
	if o.UIDValidity == 0 {
		// Always nine digits, so that lengths on the wire do not vary.
		o.UIDValidity = mailhaul.UIDValidity(200_000_000 + rand.Uint32N(700_000_000))
	}
	return o
}
