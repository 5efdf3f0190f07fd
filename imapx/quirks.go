package imapx

import (
	"strings"
	"time"
)

// quirks is what is known of a kind of server beyond what it announces.
type quirks struct {
	name string

	// literals: a body that is not waited for (LITERAL+, LITERAL-) is safe,
	// because this server answers BAD to an APPEND only for syntax that is
	// never sent here. See [Writer.Append].
	literals bool

	// keywords: nor does it answer BAD to a keyword that is an atom, whatever
	// it finds wrong with it, so that a keyword which is new to a mailbox need
	// not wait for the server.
	keywords bool

	// cancels: a literal of no octets cancels a MULTIAPPEND, as RFC 3502
	// section 6.3.11 wants it. A server that does not do that would store an
	// empty message instead.
	cancels bool

	// keeps8bit: 8-bit characters in a header are stored as they are.
	keeps8bit bool

	// settle is how long after a lost connection the server may still commit
	// what it had received; 0: not known.
	settle time.Duration
}

// knownServers are told by the name in their ID response or by their greeting,
// in lower case.
var knownServers = []struct {
	word   string
	quirks quirks
}{
	// Dovecot answers BAD for a system flag other than the five, for octets
	// that end an atom, and for a date that is none; and runs the body as
	// commands then. An APPEND is committed, or not, before it looks at the
	// connection again. A keyword that is too long, or one too many, is NO.
	{"dovecot", quirks{name: "Dovecot", literals: true, keywords: true, cancels: true, keeps8bit: true, settle: time.Second}},
	{"cyrus", quirks{name: "Cyrus", literals: true, cancels: true, settle: time.Second}},
}

// quirksOf returns what is known of the server that says this of itself.
func quirksOf(id identification, greeting string) quirks {
	said := strings.ToLower(id["name"])
	if said == "" {
		said = strings.ToLower(greeting)
	}
	for _, s := range knownServers {
		if strings.Contains(said, s.word) {
			return s.quirks
		}
	}
	return quirks{}
}
