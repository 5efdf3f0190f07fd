package imapx

import "github.com/mailhaul/mailhaul/imapx/internal/wire"

// Limits bound what a server can make a connection cost. A zero field takes
// its default; no field switches a bound off.
type Limits struct {
	// MaxLine is the number of octets that one response may have outside its
	// literals. A longer one is passed over and counted. Lists of numbers
	// (SEARCH) are read as a stream and are not bound by it. Default 64 KiB.
	MaxLine int

	// MaxNesting is how deep parentheses may be nested. Default 64.
	MaxNesting int

	// MaxResponse is the number of octets of one response, without message
	// bodies; a larger one ends the connection. Default 64 MiB.
	MaxResponse int64

	// MaxBody is the largest message that is taken. A larger one is passed
	// over and reported. Default 256 MiB.
	MaxBody int64

	// MaxBuffered is how much of one message is buffered in memory; what is
	// larger goes to a temporary file. Default 8 MiB.
	MaxBuffered int64

	// MaxResponses is the number of untagged responses that may come between
	// the ends of two commands. Default 5,000,000.
	MaxResponses int

	// MaxMailboxes is the number of mailboxes that a listing may have.
	// Default 100,000.
	MaxMailboxes int

	// MaxName is the length of a mailbox name in octets; mailboxes with longer
	// names are left out of a listing, with a warning. Default 1,000.
	MaxName int

	// MaxCommand is about how long a command line gets before a set of UIDs
	// is cut into several commands. Default 8,000, which RFC 2683 section
	// 3.2.1.5 asks all servers to accept.
	MaxCommand int

	// MinRate is the number of octets a second that the server must send on
	// average, over the ProgressTimeout, while a response has begun and is
	// not complete. Default 64.
	MinRate int
}

// withDefaults returns the limits with their defaults filled in.
func (l Limits) withDefaults() Limits {
	setDefault(&l.MaxLine, 64<<10)
	setDefault(&l.MaxNesting, 64)
	setDefault(&l.MaxResponse, 64<<20)
	setDefault(&l.MaxBody, 256<<20)
	setDefault(&l.MaxBuffered, 8<<20)
	setDefault(&l.MaxResponses, 5_000_000)
	setDefault(&l.MaxMailboxes, 100_000)
	setDefault(&l.MaxName, 1000)
	setDefault(&l.MaxCommand, 8000)
	setDefault(&l.MinRate, 64)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (l Limits) wire() wire.Limits {
	return wire.Limits{Line: l.MaxLine, Nesting: l.MaxNesting, Response: l.MaxResponse, Body: l.MaxBody}
}
