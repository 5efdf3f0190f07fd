// What a Ledger remembers of a mailbox and of each message.

package checkpoint

import (
	"time"

	"github.com/mailhaul/mailhaul"
)

// MailboxState is what is remembered of a mailbox as a whole.
type MailboxState struct {
	// Target is the mailbox's Wire name on the target.
	Target string

	// SourceValidity and TargetValidity are the UIDVALIDITYs that the records
	// are true for.
	SourceValidity mailhaul.UIDValidity
	TargetValidity mailhaul.UIDValidity

	// Explained: every target UID below it is mapped by a record or known to
	// be someone else's.
	Explained mailhaul.UID

	// SourceStatus and TargetStatus are from the end of the last complete
	// pass. Flags and AnyKeyword are not kept.
	SourceStatus mailhaul.Status
	TargetStatus mailhaul.Status

	// Complete is set where the last pass ended with nothing left to do.
	Complete bool

	// Departed is set where messages with a copy on the target were found to be
	// gone from the source, and nothing was made of it yet.
	Departed bool

	// SourceID and TargetID are the mailboxes' MAILBOXIDs (RFC 8474), empty
	// where the server has none.
	SourceID, TargetID string

	// Imposed is the level of identity that the target was asked for, empty
	// where it was not asked for any. Proved is the level that was found when
	// both sides were read, empty where nothing has been read since something
	// was written.
	Imposed, Proved mailhaul.Level
}

// RecordState is what became of a message after it was moved.
type RecordState uint8

const (
	// Mapped: the message is on the target, at Record.Target.
	Mapped RecordState = iota
	// Removed: the copy is no longer ours to touch. The target's user removed
	// it, or made it his own before the source's user deleted the message. It is
	// never moved again.
	Removed
	// Elsewhere: the message was seen in a view (\All) and is moved with the
	// mailbox that holds it.
	Elsewhere
	// Unread: the message is on the target, at Record.Target, but holds octets
	// that some servers alter, and has not been read back yet.
	Unread

	recordStates // their number
)

// Record is what is remembered of one message of the source.
type Record struct {
	Source mailhaul.UID // never 0
	Target mailhaul.UID
	State  RecordState

	// Base is the flags that the source had at the last pass. It comes back
	// without duplicates, sorted without regard to case as by
	// mailhaul.NormalizeFlags, and nil where there are none. Records share
	// these slices: they are not to be changed.
	Base []mailhaul.Flag

	// Altered is set where the target's server is known to have changed the
	// message's octets.
	Altered bool

	// Adopted is set where the message was on the target already, as far as is
	// known: it may be the target user's own, and is never deleted for what
	// happens on the source. Records of a checkpoint of format 1 all have it.
	Adopted bool
}

// Placed reports whether the message is on the target, at Record.Target.
func (r Record) Placed() bool { return r.State == Mapped || r.State == Unread }

// Intent is a batch of messages that is about to be handed to the target, as
// it is journalled before the first octet is sent: should nobody live to see
// the answer, the next run knows where to look.
type Intent struct {
	ID        uint64               // given by Begin
	Validity  mailhaul.UIDValidity // of the target mailbox
	Watermark mailhaul.UID         // the target's UIDNEXT: what is stored lies at or above it
	Sources   mailhaul.UIDSet      // of the source; not to be changed
	At        time.Time            // to the nanosecond, in UTC

	// Stored is set where the server said that it stored the batch but not
	// under which UIDs.
	Stored bool
}
