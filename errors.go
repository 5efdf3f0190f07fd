package mailhaul

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors that any layer may wrap.
var (
	// ErrUnsupported is returned when a server cannot do what was asked. It
	// is an answer, not a failure: nothing was sent.
	ErrUnsupported = errors.New("not supported by the server")

	// ErrUncertain is returned when a server was told to do something and
	// nobody heard whether it did.
	ErrUncertain = errors.New("not known whether it was done")

	// ErrClosed is returned by whatever is used after its Close.
	ErrClosed = errors.New("closed")
)

// Kind says what the receiver of an [Error] does next.
type Kind uint8

const (
	// KindUnknown: nothing is known; treated as Permanent.
	KindUnknown Kind = iota
	// Transient: try again, on a new connection where Scope is Server or
	// Account.
	Transient
	// Throttled: the server asks for less. Wait for Error.Wait, or back off.
	Throttled
	// Auth: the credentials are refused; another try with the same ones risks
	// a lock-out.
	Auth
	// Permanent: the same attempt will fail again.
	Permanent
	// Conflict: the server's state is not what it was taken for. List again.
	Conflict
	// Corrupt: what was read makes no sense: a protocol violation, or damaged
	// state.
	Corrupt
	// OverQuota: the account or the server is full. Stop writing to it.
	OverQuota
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{"unknown", "transient", "throttled", "auth", "permanent", "conflict", "corrupt", "over quota"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// Scope says of what an [Error] is true.
type Scope uint8

const (
	// ScopeConnection: of this connection; another may do.
	ScopeConnection Scope = iota
	// ScopeMessage: of this message; its neighbours are not affected.
	ScopeMessage
	// ScopeMailbox: of this mailbox.
	ScopeMailbox
	// ScopeAccount: of this account.
	ScopeAccount
	// ScopeServer: of every account on this server.
	ScopeServer
)

// Error is what every layer of mailhaul returns for a failure that a server,
// a network or a disk caused. Its text is one sentence for an operator and
// never holds a credential; text of a server is quoted and cut to 512 octets.
type Error struct {
	Op      string // what was being done, as in "append" or "log in"
	Server  string // host:port
	Account string // the user's name
	Mailbox string // decoded name
	UID     UID
	UIDL    UIDL
	Kind    Kind
	Scope   Scope
	Code    string        // response code of the server (RFC 5530), as in "OVERQUOTA"
	Wait    time.Duration // how long the server asked to be left alone; 0: it did not say
	Hint    string        // what to do next, where that is known
	Err     error
}

// Error returns one sentence: what failed, where, why, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Mailbox != "" {
		fmt.Fprintf(&b, " mailbox %q", e.Mailbox)
	}
	if e.UID != 0 {
		fmt.Fprintf(&b, " UID %d", e.UID)
	}
	if e.UIDL != "" {
		fmt.Fprintf(&b, " UIDL %q", string(e.UIDL))
	}
	if e.Account != "" {
		fmt.Fprintf(&b, " as %q", e.Account)
	}
	if e.Server != "" {
		fmt.Fprintf(&b, " at %s", e.Server)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Wait > 0 {
		fmt.Fprintf(&b, " (the server asks to wait %v)", e.Wait)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "; %s", e.Hint)
	}
	return b.String()
}

// Reason returns the cause and the hint only, for a list that names server,
// mailbox and message already.
func (e *Error) Reason() string {
	cause := e.Op
	if e.Err != nil {
		cause = e.Err.Error()
	}
	if e.Hint != "" {
		cause += "; " + e.Hint
	}
	return cause
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first [Error] in err's tree, or KindUnknown.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindUnknown
}
