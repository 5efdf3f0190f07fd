package wire

import "errors"

// Limits bound what one response may cost. A zero field has no bound; package
// imapx fills them all.
type Limits struct {
	Line     int   // octets of one response outside its literals
	Nesting  int   // depth of parentheses
	Response int64 // octets of one response, without literals that are streamed
	Body     int64 // octets of one streamed literal that are delivered
}

// Errors that end the stream: what follows cannot be found any more, or is not
// worth reading.
var (
	// ErrResponseTooLarge is returned when a response is larger than
	// Limits.Response.
	ErrResponseTooLarge = errors.New("response is larger than the limit")

	// ErrLiteralTooLarge is returned when a literal is announced that no
	// mailbox holds.
	ErrLiteralTooLarge = errors.New("announced literal is larger than the limit")
)

// Errors that cost one response.
var (
	// ErrLineTooLong: the response has more than Limits.Line octets outside
	// its literals.
	ErrLineTooLong = errors.New("line is longer than the limit")

	// ErrNesting: parentheses are nested deeper than Limits.Nesting.
	ErrNesting = errors.New("parentheses are nested too deep")

	// ErrSyntax: the response is not what IMAP allows there.
	ErrSyntax = errors.New("malformed response")
)
