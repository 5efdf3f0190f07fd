// What a Syncer is told: its Config, the defaults and the checks.

package sync

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// Config is what a Syncer is told. Source and Target are required; every
// other field's zero value works.
type Config struct {
	// Source is where the mail is, Target where it goes. The caller closes
	// them, after Run.
	Source mailhaul.Source
	Target mailhaul.Target

	// Store keeps what was done, so that a run can be repeated and resumed. A
	// Store may serve many Syncers at once. Nil keeps it in memory: a later
	// run then recognises what is on the target already, which takes longer.
	// The caller closes it, after Run.
	Store checkpoint.Store

	// Include and Exclude choose the mailboxes by patterns over the decoded
	// source path, whose levels are joined by "/": "*" stands for anything
	// within a level, "**" for anything. Without Include all are chosen;
	// Exclude wins.
	Include, Exclude []string

	// Rename gives a mailbox another path on the target. It is called for
	// each mailbox that is chosen and may return its argument. Nil renames
	// nothing.
	Rename func(path []string) []string

	// Shared takes in the mailboxes of other users and shared namespaces that
	// the source lists.
	Shared bool

	// Mailboxes is how many are moved side by side. Each takes one connection
	// of either side, so more than the endpoints have does not help. Default
	// 4.
	Mailboxes int

	// Identity demands that each mailbox be moved with at least this much of
	// what mail programs know messages by: LevelOrder, LevelUID or LevelExact.
	// More than LevelOrder takes a Target that is, or decorates, a
	// mailhaul.Imposer; where that cannot meet the demand for some mailbox, Run
	// returns an *IdentityError before anything is written. A mailbox that was
	// begun with that level goes on whatever happened since, and the Result
	// says where identity ended. LevelOrder asks for no more either: the
	// Imposer is not used. Default: the best that the Target allows, mailbox by
	// mailbox, which is LevelOrder with more than one of the Appenders.
	Identity mailhaul.Level

	// UIDLTarget is the target's account as its POP3 server shows it, by which
	// UIDLs are proved. Nil: they are not. The caller closes it, after Run.
	UIDLTarget mailhaul.Source

	// Appenders is how many connections append to one mailbox. Default 1: UIDs
	// on the target rise in the order of the source. More give that up, for
	// accounts whose mail is in one large mailbox and far away; the connections
	// come out of those that the Target has.
	Appenders int

	// BatchMessages and BatchBytes bound what is appended and journalled at
	// once. Default 100 messages and 2 MiB: beyond that, larger batches gain
	// little on servers measured so far and cost more when a connection is
	// lost.
	BatchMessages int
	BatchBytes    int64

	// StreamAbove is the size in octets above which a message is not held in
	// memory but passed on while it arrives. Default 8 MiB, and never more than
	// half of the Budget.
	StreamAbove int64

	// Budget bounds the memory that message bodies take. It may be shared by
	// any number of Syncers. Nil gives this Syncer 64 MiB of its own.
	Budget *Budget

	// SettleTime is how long after a lost connection the target may still
	// store a message that it had received whole: so long a message whose fate
	// is unknown is looked for before it is sent again. Default: what the
	// Target knows of its server, else 30 s.
	SettleTime time.Duration

	// Retries is how many times in a row a mailbox is tried again without a
	// message having been moved in between. Default 5; negative means none.
	Retries int

	// Deletes says what becomes of copies whose messages are gone from the
	// source. Default DeletesKeep: nothing. A POP3 source loses messages to each
	// client that takes them away.
	Deletes Deletes

	// Confirm is asked when the brake stops a mailbox: more than 50 messages,
	// and more than a fifth of it, are gone at once from the source (where Deletes
	// says to do something about that) or from the target. It is asked once a
	// run for each mailbox and side, by the goroutine that moves the mailbox.
	// Nil always says Hold.
	Confirm func(Held) Decision

	// OnFailure is called for each message and each mailbox that could not be
	// moved, as it is found. It is never called for a cancellation. The same
	// entries are in Result.Failed.
	OnFailure func(Failure)

	// Events is told how the run goes.
	Events Events

	// Logger is told what an operator may want to read later. Nil is silent.
	// No credential and no message content is ever logged.
	Logger *slog.Logger

	// What tests change: how many candidates of a side are held in memory, and
	// where others go; how many messages one Writer is told of.
	maxCandidates int
	maxSession    int
	createTemp    func() (spillFile, error)
}

// applyDefaults returns a copy of c whose zero fields are filled in.
func (c Config) applyDefaults() Config {
	if c.Store == nil {
		c.Store = checkpoint.NewMemory()
	}
	if c.Mailboxes == 0 {
		c.Mailboxes = 4
	}
	if c.Appenders == 0 {
		c.Appenders = 1
	}
	if c.BatchMessages == 0 {
		c.BatchMessages = 100
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 2 << 20
	}
	if c.Budget == nil {
		c.Budget = NewBudget(64 << 20)
	}
	if c.StreamAbove == 0 {
		c.StreamAbove = 8 << 20
	}
	c.StreamAbove = min(c.StreamAbove, c.Budget.size/2)
	c.BatchBytes = min(c.BatchBytes, c.Budget.size/2)
	switch {
	case c.Retries == 0:
		c.Retries = 5
	case c.Retries < 0:
		c.Retries = 0
	}
	if c.Deletes == "" {
		c.Deletes = DeletesKeep
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.maxCandidates == 0 {
		c.maxCandidates = maxCandidates
	}
	if c.maxSession == 0 {
		c.maxSession = maxSession
	}
	if c.createTemp == nil {
		c.createTemp = createTemp
	}
	return c
}

// settleTime returns SettleTime or its default, which a Target may not know
// before it has been connected to its server.
func (c Config) settleTime() time.Duration {
	if c.SettleTime > 0 {
		return c.SettleTime
	}
	if t, ok := mailhaul.As[mailhaul.SettleTimer](c.Target); ok {
		if d, known := t.SettleTime(); known {
			return d
		}
	}
	return 30 * time.Second
}

// validate reports every mistake in c at once.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("sync: Config."+format, args...))
	}
	if c.Source == nil {
		bad("Source is missing")
	}
	if c.Target == nil {
		bad("Target is missing")
	}
	if c.Source != nil && c.Target != nil && c.Source.Account() == c.Target.Account() {
		bad("Source and Target are the same account: %v", c.Source.Account())
	}
	if c.Mailboxes < 0 {
		bad("Mailboxes is %d; it cannot be negative", c.Mailboxes)
	}
	if c.Appenders < 0 {
		bad("Appenders is %d; it cannot be negative", c.Appenders)
	}
	switch c.Identity {
	case "", mailhaul.LevelOrder:
	case mailhaul.LevelUID, mailhaul.LevelExact:
		if c.Appenders > 1 {
			bad("Identity is %q, which takes one appender; Appenders is %d", c.Identity, c.Appenders)
		}
	default:
		bad("Identity is %q; it can be %q, %q, %q or empty", c.Identity, mailhaul.LevelOrder, mailhaul.LevelUID, mailhaul.LevelExact)
	}
	if c.BatchMessages < 0 {
		bad("BatchMessages is %d; it cannot be negative", c.BatchMessages)
	}
	if c.BatchBytes < 0 {
		bad("BatchBytes is %d; it cannot be negative", c.BatchBytes)
	}
	if c.StreamAbove < 0 {
		bad("StreamAbove is %d; it cannot be negative", c.StreamAbove)
	}
	switch c.Deletes {
	case "", DeletesKeep, DeletesFlag, DeletesRemove:
	default:
		bad("Deletes is %q; it can be keep, flag or remove", string(c.Deletes))
	}
	if c.SettleTime < 0 {
		bad("SettleTime is %v; it cannot be negative", c.SettleTime)
	}
	return errors.Join(errs...)
}
