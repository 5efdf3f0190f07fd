// Where a test can interfere.

package imapserver

import (
	"errors"
	"math"
	"net"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Hooks let a test see and change what the server does. Each may be nil. They
// run on the goroutine of the connection concerned, several at once for
// several connections, and hold no lock; a hook that blocks delays
// [Server.Close].
type Hooks struct {
	// Accept is called for the n-th connection, counted from 1, before the
	// greeting. With an error the connection is closed without one.
	Accept func(n int) error

	// Wrap may put something between the server and the n-th connection, to
	// cut or stall it at a given octet. A wrapper that offers
	// NetConn() net.Conn lets Reset reach the connection below.
	Wrap func(n int, c net.Conn) net.Conn

	// Command is called for each well-formed command before it is executed,
	// with its upper-case name ("UID FETCH" is one) and the rest of its first
	// line, credentials included. Nil lets the command run.
	Command func(c *Session, command, args string) *Override

	// Response is called for each response before it is written: one line
	// with the literals in it and its CRLF. The greeting has no command; a
	// continuation request is a response of its own; IDLE's updates belong to
	// IDLE. The octets are valid during the call only.
	Response func(c *Session, command, tag string, response []byte) Action

	// Append is called for each message that APPEND brings, when all octets
	// are there. It may change the message: body, flags, date, or the UID,
	// which is otherwise 0 for the next one. An error refuses the message,
	// and with it the command; its text is the text of the NO. A *Discard
	// stores nothing and claims success. The slice of the body may be kept
	// and replaced, but not written to.
	Append func(user, mailbox string, m *Message) error
}

// All as [Action.After] stands for the whole response.
const All = math.MaxInt

// Action says what happens to one response. The zero value writes it.
type Action struct {
	Delay   time.Duration // wait before anything is written
	Drop    bool          // write nothing of the response
	Replace []byte        // if not nil, write this in its place
	Append  []byte        // write this after it

	// End ends the connection when After octets of what is to be written have
	// been: 0 before the first, All after the last.
	End   End
	After int
}

// End is a way in which a connection ends.
type End uint8

const (
	// Keep: it does not.
	Keep End = iota
	// Close ends it in order (FIN).
	Close
	// Reset ends it abruptly (RST).
	Reset
	// Hang answers nothing any more, but goes on reading until the client
	// closes.
	Hang
	// Stall neither writes nor reads any more, and keeps the connection open
	// until the server is closed.
	Stall
)

// Override replaces what the server would do with a command.
type Override struct {
	// Delay is waited first.
	Delay time.Duration

	// Execute runs the command, whose own tagged response is then replaced by
	// Reply. Without it nothing is done: arguments and non-synchronizing
	// literals are swallowed.
	Execute bool

	// Untagged is written before Reply: whole lines.
	Untagged string

	// Reply is the tagged response without its tag, as in
	// "NO [OVERQUOTA] Quota exceeded". Empty with Execute leaves the command's
	// own; empty without Execute writes none.
	Reply string

	// End ends the connection after that.
	End End
}

// Discard as the error of [Hooks.Append] stores nothing and claims success.
type Discard struct {
	// UID is what APPENDUID says; 0 consumes the next one.
	UID mailhaul.UID
}

// Error implements error.
func (*Discard) Error() string { return "message discarded" }

var errHookClosed = errors.New("imapserver: connection ended by a hook")
