// Package sync is the engine: it moves the mail of one account to another,
// pass by pass, until both hold the same. It shadows the standard package of
// that name, so import it as
//
//	import mailsync "github.com/mailhaul/mailhaul/sync"
//
// # Use
//
// Make the two endpoints (package imapx), open a checkpoint (package
// checkpoint), and run:
//
//	s, err := mailsync.New(mailsync.Config{Source: from, Target: to, Store: store})
//	...
//	result, err := s.Run(ctx)
//
// Run may be repeated at any time, after whatever ended the last one. A pass
// with nothing to do costs one listing of either side, where the servers'
// listings tell enough (LIST-STATUS, RFC 5819, with CONDSTORE, RFC 7162), and a
// few round trips a mailbox where they do not.
//
// To go on while the account is in use, use [Syncer.Follow]; to come to an end
// that can be shown to somebody, [Syncer.CutOver]:
//
//	result, err := s.Follow(ctx, mailsync.FollowOptions{UntilQuiet: 12 * time.Hour})
//	...
//	report, err := s.CutOver(ctx, mailsync.CutOverOptions{Earlier: result})
//	...
//	err = report.WriteHTML(file)
//
// # Guarantees
//
// Each is an invariant with a test that breaks if it does not hold.
//
//  1. Nothing lost. A message counts as moved only when the target has said so
//     and a record of it is durable. (TestDiesAtEveryCommit,
//     TestLostConnectionsLoseAndDoubleNothing)
//
//  2. Nothing twice, whatever dies when: before the first octet of a batch is
//     sent, the intent to send it is durable, and a batch whose answer nobody
//     heard is looked for on the target before any of it is sent again. No
//     header is added to anyone's mail for this. (the same tests, and
//     TestServersThatSayLittle for servers without UIDPLUS)
//
//  3. The checkpoint is a cache. It may be rolled back to any earlier commit, or
//     lost: what is on the target is then recognised by content. One thing
//     cannot be known after that: that the target's user deleted or moved a
//     copy. It comes back. (TestCheckpointRolledBack, TestLostCheckpointAdopts)
//
//  4. The source is read-only: mailboxes are opened through Source.OpenReader
//     and in no other way. [RemoveMoved] alone, which no Syncer calls, removes
//     from a POP3 account what is safely on the target. (TestWhatIsNotRemoved,
//     TestRemovalCutAnywhere)
//
//  5. The target's user wins. Flags merge three ways on what the source had at
//     the last pass; a message that the target's user removed is never brought
//     back as long as the checkpoint remembers it; copies follow the source's
//     deletions only if Config.Deletes says so, they are ours, and nobody uses
//     them. Where much vanishes at once the mailbox is held (Config.Confirm).
//     (TestSecondPassCarriesWhatChanged,
//     TestFlagOfTheTargetsUserSurvivesEveryPass)
//
//  6. Octets are the same, or the message is listed in Result.Altered: what
//     servers are known to alter in silence is read back.
//     (TestAlteredOctetsAreListed)
//
//  7. Bounded. Message bodies in memory stay within Config.Budget, whatever the
//     mailbox; what is to be recognised goes to a temporary file where both
//     sides hold more than 10,000 such messages; a cancelled Run returns within
//     2 s. (TestLargeMessagesAreStreamed, TestAdoptsTheSameFromDisk,
//     TestCancelReturnsAtOnce)
//
//  8. No secret in a log, an error or an event: the engine never sees one.
//
//  9. A clean end means proof: a mailbox is complete when the recorded set
//     equals what the source listed, less what vanished meanwhile; anything
//     else is in Result.Failed, message by message, with its reason.
//     (checkCounts, in every test)
//
//  10. A demand for identity (Config.Identity) is met, or refused before
//     anything is written, for mailboxes that are not begun; no level above
//     "order" is reported that was not proved by reading both sides.
//     (TestDemandIsRefusedBeforeAnythingIsWritten,
//     TestIdentityAfterDeathAtEveryCommit, TestProveFindsWhatDoesNotHold)
//
// # How it works
//
// A mailbox is moved by a loop of passes. A pass compares both sides with the
// ledger (compare.go): it notes what was removed, recognises what is on the
// target and not in the ledger (adopt.go, adopt_disk.go), decides about batches whose answer
// is missing, and finds changed flags. Then it carries out what is left
// (move.go): a fetching goroutine asks for batches ahead of one ordered
// appender (append.go), which journals, appends and notes the outcomes. What
// fails goes back to the next pass, and never to an earlier stage.
//
// A crash, a lost connection, a checkpoint that was rolled back and a first run
// over existing mail are all the same case to it: something is on the target
// that the ledger does not explain, and is matched with what is still to be
// moved.
//
// Deadlock is excluded by the order in which things are taken: a connection to
// the target, one to the source, octets of the budget.
//
// Where the Target is an Imposer (mailhaul.Imposer), messages keep their UIDs
// and mailboxes their UIDVALIDITYs (impose.go), and the end of a pass proves it
// (proof.go); [Prove] does so at any time.
//
// A POP3 source has no UIDs: its Readers number their messages and tell their
// UIDLs, and uidl.go gives each message a UID at first sight, which the ledger
// remembers. All else is the same for both.
//
// # What it does not do
//
// It deletes nothing on the source, nor on the target unless Config.Deletes says
// so, and never changes a message. Messages of
// a \Flagged mailbox are not moved, since other mailboxes hold them; of an \All
// mailbox only those that no other mailbox holds. Flags that only the target's
// user changed are not carried back to the source.
package sync
