package mailhaul

import "context"

// Level says how much of what mail programs know messages by survives a move.
type Level string

// The levels, each of which includes those before it.
const (
	// LevelNone: UIDs on the target do not rise in the order of the source.
	LevelNone Level = "none"
	// LevelOrder: they do.
	LevelOrder Level = "order"
	// LevelUID: each message has its UID. IMAP programs look at the
	// UIDVALIDITY too, so that they download everything again all the same.
	LevelUID Level = "uid"
	// LevelExact: the mailbox has every identity that it has on the source:
	// UIDs, UIDVALIDITY, UIDLs, a UIDNEXT that is not lower, nor a
	// HIGHESTMODSEQ where the target keeps mod-sequences, and its name but for
	// the prefix and separator of the server.
	LevelExact Level = "exact"
)

// Identity is what mail programs know a mailbox and its messages by, as it is
// to be on the target.
type Identity struct {
	// UIDValidity is the mailbox's, 0 where the source has none (POP3).
	UIDValidity UIDValidity

	// UIDNext and HighestModSeq are what the target's are not to be lower
	// than in the end; 0 where the source has none. No message of the source
	// that is still to come has a UID below UIDNext.
	UIDNext       UID
	HighestModSeq ModSeq

	// Count is how many messages the source mailbox holds, those that have been
	// written before too; 0 where that is not known.
	Count int

	// UIDLs is set where the messages' UIDLs are part of it.
	UIDLs bool

	// Messages are those that are still to be written, ascending by UID, with
	// their flags, date and size, and their UIDL and Order where UIDLs is set.
	// Where an Imposer is asked what it can do, they are only known if UIDLs is
	// set.
	Messages []Message
}

// Imposable is what a Target can be told of an [Identity].
type Imposable struct {
	// Level is the highest that can be reached, and Reason says in one
	// sentence, for the operator, why it is no higher; empty at LevelExact.
	Level  Level
	Reason string

	// OneSession is set where all messages have to be written by one Writer.
	OneSession bool

	// AnswersLate is set where the Writer answers in Finish only: nothing may
	// wait for a Receipt before.
	AnswersLate bool
}

// Imposer is implemented by a Target that can give mailboxes and messages the
// identity that they have on the source. It decorates another Target, which it
// leaves reading to. It is safe for concurrent use and never retries.
type Imposer interface {
	Target

	// Imposable says how much of want the server lets itself be told for the
	// mailbox as it is now, and writes nothing. The mailbox's Wire is empty,
	// and its Path set, where it does not exist yet. The error is that of a
	// connection, or of a log-in that was refused.
	Imposable(ctx context.Context, m Mailbox, want Identity) (Imposable, error)

	// OpenImposing is OpenWriter for messages that are to have the identity
	// want. No connection may have the mailbox open, or selected. It holds one
	// connection of the decorated Target at a time, and its Writer no more than
	// one: with all of them held by those who wait for another, nobody would
	// go on. The Writer's
	// Status is the mailbox's with the UIDVALIDITY that it has been given.
	//
	// Messages are appended in the order of want.Messages, which says what
	// Outgoing.UID and Outgoing.UIDL will be; some may be left out. Whatever
	// can no longer be imposed, because mail of the target's own has taken the
	// UID, is not: the message is stored under the UID that its Outcome names,
	// and nothing that is there is renumbered or removed. The Writer's Finish
	// raises UIDNEXT and HIGHESTMODSEQ to want's where that can be done.
	OpenImposing(ctx context.Context, m Mailbox, want Identity) (Writer, error)
}

// Recoverer is implemented by an Imposer that may leave something of its own
// in a mailbox when it dies.
type Recoverer interface {
	// Recover removes what a Writer that died has left at or above the UID
	// from, and nothing else. It is called before the mailbox is compared. No
	// connection may have the mailbox open.
	Recover(ctx context.Context, m Mailbox, from UID) error
}

// Unselecter is implemented by a Target whose idle connections keep mailboxes
// selected, which gets in the way of what changes a mailbox behind their back.
type Unselecter interface {
	// Unselect makes sure that no idle connection has the mailbox selected.
	Unselect(ctx context.Context, m Mailbox) error
}

// UIDLTeller is implemented by a Source whose messages have UIDLs in some
// mailboxes although it is no POP3 account, such as one that was read over
// both protocols.
type UIDLTeller interface {
	// TellsUIDLs reports whether Readers of the mailbox say what UIDL and
	// Order its messages have. It asks no server.
	TellsUIDLs(m Mailbox) bool
}
