package mailhaul

import (
	"errors"
	"io"
	"time"
)

// Message is what a server says about a message, without its body. Which
// fields are filled depends on the [Fields] that were asked for.
type Message struct {
	UID          UID
	UIDL         UIDL      // POP3 sources and UIDLTellers only; where a POP3 server has none, a digest behind a blank
	Order        uint32    // place in the maildrop, from 1, where a UIDL is known
	Size         int64     // as the server lists it; a hint, never trusted
	InternalDate time.Time // the zero Time where the server sent none
	Flags        []Flag    // as the server sent them; see NormalizeFlags
	ModSeq       ModSeq

	// Header holds the header fields Message-ID, Date, Subject and From, as
	// the server sent them, where FieldHeader was asked for; or all of the
	// header, where FieldWholeHeader was.
	Header []byte
}

// Fields chooses what [Reader.Messages] asks for. UIDs always come.
type Fields uint8

const (
	FieldFlags Fields = 1 << iota
	FieldSize
	FieldDate
	FieldHeader

	// FieldWholeHeader asks for all of the header, where FieldHeader asks for
	// four fields of it. One of the two is enough; this one wins.
	FieldWholeHeader
)

// ErrBodyConsumed is returned by the reader of a streamed [Body] that was
// opened a second time.
var ErrBodyConsumed = errors.New("message body was read already")

// Body is the octets of one message, exactly as the server holds them.
type Body interface {
	// Size is the number of octets, measured on the wire.
	Size() int64

	// Reader returns a reader of all octets, from the first. A buffered body
	// can be read any number of times; a streamed one once, and until then its
	// connection delivers nothing else.
	Reader() io.Reader

	// Buffered reports whether the octets are at hand (in memory or in a
	// temporary file), so that Reader can be called again and cannot fail for
	// the sake of the network.
	Buffered() bool

	// Release gives the octets up; no reader of them may be used afterwards.
	// The rest of a streamed body that was not read is discarded. Release may
	// be called more than once.
	Release()
}

// Fetched is one message body that arrived.
type Fetched struct {
	UID  UID
	Body Body // the receiver's, until it calls Release

	// InternalDate is when the message arrived, where a listing could not
	// tell; the zero Time otherwise.
	InternalDate time.Time
}

// Outgoing is one message on its way into a mailbox.
type Outgoing struct {
	// Flags as the source has them; the Writer leaves out what the mailbox
	// cannot keep.
	Flags []Flag

	// InternalDate is the instant to store, with the zone it is to be written
	// in. The zero Time leaves the date to the server.
	InternalDate time.Time

	// Body belongs to the Writer from the call of Append on, which releases it
	// as soon as it is no longer needed.
	Body Body

	// UID and UIDL ask for an identity of the message's own, where the Target
	// can impose one. Zero values ask for none.
	UID   UID
	UIDL  UIDL
	Order uint32 // the message's place in the maildrop, from 1; 0 for none
}

// Delivery is what is known of a message that was handed to a Writer.
type Delivery uint8

const (
	// DeliveryUnknown: the message may or may not be in the mailbox. It is the
	// zero value, so that nothing forgotten passes for done.
	DeliveryUnknown Delivery = iota
	// Stored: the server said so.
	Stored
	// NotStored: the server refused the message, or never had all of it.
	NotStored
)

// Outcome is what became of one Outgoing.
type Outcome struct {
	Delivery Delivery

	// UID is where a stored message is; 0 where the server did not say (no
	// UIDPLUS, RFC 4315).
	UID UID

	// Dropped counts the flags that the mailbox cannot keep.
	Dropped int

	// Err says why a message was not stored, or why nothing is known of it.
	Err error
}

// FlagChange adds and removes flags of one message; flags named in neither
// list stay as they are.
type FlagChange struct {
	UID         UID
	Add, Remove []Flag
}
