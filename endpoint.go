package mailhaul

import (
	"context"
	"iter"
	"time"
)

// Source is an account that mail is read from. Nothing that it does changes
// the account: mailboxes are opened read-only and no flag is set.
//
// A Source is safe for concurrent use. It never retries: an error is reported
// to the caller, who decides.
type Source interface {
	// Account says whose mail this is, and where.
	Account() Account

	// List returns the user's mailboxes.
	List(ctx context.Context) (*Listing, error)

	// OpenReader opens a mailbox read-only on a connection of its own. It
	// waits while the account's connections are all in use. The caller closes
	// the Reader.
	OpenReader(ctx context.Context, m Mailbox) (Reader, error)

	// Close logs out and closes every connection, those of open Readers too.
	Close() error
}

// Reader is one connection with one mailbox open for reading. It is for one
// goroutine at a time, except that the sequences of several Fetch calls may be
// read by another goroutine than the one that makes the calls. After an error
// whose scope is not a message it is dead: close it and open another.
type Reader interface {
	// Status returns the state of the mailbox when it was opened.
	Status() Status

	// UIDs returns the UIDs of all messages that are in the mailbox now.
	UIDs(ctx context.Context) (UIDSet, error)

	// Messages yields what the server says of the messages in the set, in
	// whatever order the server sends them. Messages that are gone are not
	// yielded. With a changedSince above 0 only those are yielded whose
	// metadata changed after it (RFC 7162 section 3.1.4.1); a Reader whose
	// mailbox has no mod-sequences yields all. After an error the sequence
	// ends.
	Messages(ctx context.Context, set UIDSet, fields Fields, changedSince ModSeq) iter.Seq2[Message, error]

	// Fetch asks for the bodies of the set and returns without waiting for
	// them, so that several Fetches can be under way; their sequences are to
	// be ranged over in the order of the calls, each once. Bodies come in
	// whatever order the server sends them; a message that is gone is not
	// yielded. With stream the set should hold one message, whose body is not
	// buffered; without it, all bodies are.
	//
	// The memory that buffered bodies take is theirs until Release: the caller
	// bounds it by asking for no more than it has room for.
	Fetch(ctx context.Context, set UIDSet, stream bool) (iter.Seq2[Fetched, error], error)

	// Close gives the connection back. Fetches that are still under way are
	// abandoned, and the connection with them.
	Close() error
}

// Target is an account that mail is written to, and read back from.
//
// A Target is safe for concurrent use and never retries.
type Target interface {
	Source

	// Create makes the mailbox at path, with its parents where the server
	// needs that, and returns it. A mailbox that exists already is no error.
	// The role is announced to servers that can be told
	// (CREATE-SPECIAL-USE, RFC 6154 section 3), and ignored by the others.
	Create(ctx context.Context, path []string, role Role) (Mailbox, error)

	// Subscribe adds the mailbox to the user's subscriptions.
	Subscribe(ctx context.Context, m Mailbox) error

	// OpenWriter opens a mailbox for writing on a connection of its own. It
	// waits while the account's connections are all in use. No Reader of the
	// same mailbox may be open. The caller closes the Writer.
	OpenWriter(ctx context.Context, m Mailbox) (Writer, error)
}

// Writer is one connection with one mailbox open for writing. It is for one
// goroutine at a time; a Receipt may be waited for by another. After an error
// of Append, Store or Finish it is dead: close it and open another.
type Writer interface {
	// Status returns the state of the mailbox when it was opened: its UIDNEXT
	// is the watermark at or above which everything lies that this Writer
	// stores.
	Status() Status

	// Append sends the messages, in order, and returns when the last octet is
	// with the transport. It may be called again before the answer is there:
	// messages are stored in the order in which they were given, over all
	// calls, whatever is refused in between. The bodies are the Writer's from then on, whatever
	// Append returns. An error means that the Writer is dead; what became of
	// each message is still the Receipt's to say, which is never nil.
	Append(ctx context.Context, batch []Outgoing) (Receipt, error)

	// Store changes flags of messages that are in the mailbox, silently (RFC
	// 9051 section 6.4.6, FLAGS.SILENT). Messages that are gone are no error.
	Store(ctx context.Context, changes []FlagChange) error

	// Finish waits until all that was sent is answered. Receipts are complete
	// afterwards.
	Finish(ctx context.Context) error

	// Close gives the connection back. What has not been answered by then is
	// DeliveryUnknown for ever.
	Close() error
}

// Expunger is implemented by a Writer that can remove single messages.
type Expunger interface {
	// UIDExpunge removes those messages of the set that have the flag \Deleted,
	// and no others (RFC 4315 section 2.1). It returns an error that wraps
	// ErrUnsupported where the server cannot do that, and has removed nothing
	// then.
	UIDExpunge(ctx context.Context, set UIDSet) error
}

// ConditionalStorer is implemented by a Writer that can leave messages alone
// that somebody else has changed meanwhile.
type ConditionalStorer interface {
	// StoreUnchanged changes flags as Store does, but not of messages that have
	// changed after the mod-sequence since (RFC 7162 section 3.1.3, UNCHANGEDSINCE).
	// It returns the UIDs of those. Where since is 0, or the mailbox has no
	// mod-sequences, it changes them all.
	StoreUnchanged(ctx context.Context, changes []FlagChange, since ModSeq) (modified UIDSet, err error)
}

// Receipt is the answer to one Append, which may come as late as the Writer's
// Finish.
type Receipt interface {
	// Wait returns one Outcome for each message of the batch, in its order. It
	// always returns that many: with an error, those of which nothing is known
	// are DeliveryUnknown.
	Wait(ctx context.Context) ([]Outcome, error)
}

// Warmer is implemented by a Source whose connections take time to be made.
type Warmer interface {
	// Warm opens connections, up to n that are open in all, as far as that can
	// be done without waiting for anybody to give one back. It waits for the
	// first that somebody else opens, so that a password that is refused is
	// refused once. It returns when they are there; what goes wrong shows when
	// they are needed.
	Warm(ctx context.Context, n int)
}

// ListedOpener is implemented by a Source that can open a mailbox and describe
// what is in it in one round trip.
type ListedOpener interface {
	// OpenListed is OpenReader, followed by Messages of all that the mailbox
	// holds. The messages are nil where they are not as many as the server says
	// that there are: ask the Reader then.
	OpenListed(ctx context.Context, m Mailbox, fields Fields) (Reader, []Message, error)
}

// Reserver is implemented by a Target that can say when a Writer has its
// connection, which is before the mailbox is open.
type Reserver interface {
	// Reserve takes a connection for a Writer of the mailbox, waiting for it as
	// OpenWriter does.
	Reserve(ctx context.Context, m Mailbox) (Reservation, error)
}

// Reservation is a connection that waits to become a Writer.
type Reservation interface {
	// Open opens the Writer. It has to be called, once: it is what gives the
	// connection back where there is an error.
	Open(ctx context.Context) (Writer, error)
}

// NewMailbox is a mailbox that is to be made.
type NewMailbox struct {
	Path      []string
	Role      Role
	Subscribe bool

	// Wire is the name of a mailbox that is there and only to be subscribed
	// to; empty otherwise.
	Wire string
}

// BulkCreator is implemented by a Target that can make many mailboxes at the
// cost of one.
type BulkCreator interface {
	// CreateMany makes the mailboxes that can be made without ado, parents
	// before children, subscribes to those that are there, and returns them in
	// the order asked for. Where it did not make one, for whatever reason, Wire
	// is empty, and Create is to be asked; a mailbox that could not be
	// subscribed to says so. Of one that is there only Wire and Subscribed are
	// filled in. The error is that of the connection.
	CreateMany(ctx context.Context, wanted []NewMailbox) ([]Mailbox, error)
}

// Quota is how much room an account has left (RFC 9208). A negative value
// means that there is no limit.
type Quota struct{ Bytes, Messages int64 }

// QuotaTeller is implemented by a Target that can ask for the room left.
type QuotaTeller interface {
	// Quota returns the room left. It returns an error that wraps
	// ErrUnsupported where the server does not tell.
	Quota(ctx context.Context) (Quota, error)
}

// AppendLimiter is implemented by a Target that knows how large a message its
// server accepts (RFC 7889).
type AppendLimiter interface {
	// AppendLimit returns the largest size in octets, 0 where the server
	// announced none.
	AppendLimit(ctx context.Context) (int64, error)
}

// SettleTimer is implemented by a Target that knows its server well enough to
// say how long after a lost connection the server may still commit what it
// had received.
type SettleTimer interface {
	// SettleTime returns that time, and false where the server is not known.
	SettleTime() (d time.Duration, known bool)
}

// EightBitKeeper is implemented by a Target that knows its server well enough to
// say that it stores 8-bit characters in the header of a message as they are.
// Not all do: RFC 5322 knows none, and Cyrus puts X in their place.
type EightBitKeeper interface {
	// KeepsEightBit reports that they are kept. False says nothing.
	KeepsEightBit() bool
}

// Meter is implemented by a Source that counts what it does.
type Meter interface {
	Traffic() Traffic
}

// Warner is implemented by a Source that finds out, while it is used, what an
// operator should know.
type Warner interface {
	// Warnings returns sentences, all there are so far.
	Warnings() []string
}

// Traffic is what the connections of one account have done so far.
type Traffic struct {
	// RoundTrips counts the times that a connection, with nothing else
	// outstanding, began to wait for the server. Commands that are pipelined
	// behind each other count once.
	RoundTrips  int64
	BytesIn     int64 // octets read, below TLS and compression
	BytesOut    int64 // octets written, likewise
	Commands    int64
	Connections int64 // opened so far
}

// As finds, in an endpoint and the endpoints that it decorates, the first that
// implements T. A decorator shows what it decorates by a method
// Unwrap() Source or Unwrap() Target. The same serves for Readers and Writers.
func As[T any](endpoint any) (T, bool) {
	for endpoint != nil {
		if t, ok := endpoint.(T); ok {
			return t, true
		}
		switch u := endpoint.(type) {
		case interface{ Unwrap() Source }:
			endpoint = u.Unwrap()
		case interface{ Unwrap() Target }:
			endpoint = u.Unwrap()
		case interface{ Unwrap() Reader }:
			endpoint = u.Unwrap()
		case interface{ Unwrap() Writer }:
			endpoint = u.Unwrap()
		default:
			endpoint = nil
		}
	}
	var zero T
	return zero, false
}
