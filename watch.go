package mailhaul

// Being told of changes, instead of asking for them.

import "context"

// Listener hears what a [Watcher] is told. Its functions must not block; they
// are called one at a time, on a goroutine of the Watcher's, and not after
// Watch has returned. Either may be nil.
type Listener struct {
	// Listening is called once the server tells of changes, with the mailboxes
	// that it tells of. What happened before then is not told: look once.
	Listening func(told []Mailbox)

	// Changed is called when messages have come or gone, or flags have
	// changed, in one of these mailboxes; what it was has to be found out. A
	// Mailbox without Wire stands for the list of mailboxes: one was made,
	// renamed or deleted. One with Wire alone is none of those that were asked
	// for, but the server tells of it: it may be new.
	Changed func(m Mailbox)
}

// Watcher is implemented by a [Source] whose server can tell of changes while
// they happen.
type Watcher interface {
	// Watch listens until ctx is done or the server tells no more, on a
	// connection of its own, which is one of those that the account may have:
	// it waits while all are in use. The first mailbox is the one that
	// matters most, for a server that tells of one only.
	//
	// The error is never nil: that of ctx, that of the connection, or one that
	// wraps [ErrUnsupported] where the server tells of nothing, or there is no
	// connection to spare.
	Watch(ctx context.Context, mailboxes []Mailbox, l Listener) error
}
