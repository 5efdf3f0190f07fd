// Package checkpoint keeps what a migration has done, so that it can be
// repeated at any time: which message of the source is which on the target,
// with which flags; what was about to be sent when the lights went out; and how
// far each mailbox got.
//
// It has two layers. A [Store] keeps octets under octets: [Open] returns one in
// a file, [NewMemory] one that ends with the process, and another database is
// four methods and the suite in package checkpointtest. A [Ledger] above it
// knows about accounts, mailboxes and messages:
//
//	store, err := checkpoint.Open("mailhaul.db", nil)
//	...
//	ledger, err := checkpoint.OpenLedger(ctx, store, checkpoint.Pair{From: from, To: to})
//	inbox, err := ledger.Mailbox(ctx, "INBOX")
//
//	id := inbox.Begin(checkpoint.Intent{Validity: v, Watermark: next, Sources: batch})
//	err = inbox.Commit(ctx)  // before the first octet is sent
//	...
//	err = inbox.Put(ctx, records...)
//	inbox.End(id)
//	err = inbox.Commit(ctx)  // with the next batch's Begin
//
// # Guarantees
//
// Changes of a [MailboxLedger] are staged: all who read see them at once, and
// Commit makes them durable together, in one Store.Commit. When Commit returns
// nil they are on the disk. When it returns an error they are not, but for a
// disk that fails in its very last step; all is staged as before, and Commit
// may be called again. Nothing is ever half there, whoever dies when.
//
// Commits that come at the same time, of one mailbox or of many accounts, share
// one transaction and its sync. There is no delay for that and no goroutine:
// nothing outlives Close.
//
// Every value carries a CRC-32C over its key and itself, and every mailbox a
// sum over all of its records' values: a flipped bit, a value in the wrong
// place, a page that is lost or older than it should be is an error, never a
// wrong record. Such an error is a *mailhaul.Error whose Kind is Corrupt, and
// wraps [ErrDamaged]. It names the file and says to delete it, which is safe:
// the checkpoint is a cache of what is on the target, and the next run
// recognises that. One thing is lost with it: which messages the target's user
// has removed. That a value is missing, or an old one, is found out where all of
// them are read, by [MailboxLedger.Sets] and [Check]: call Sets before a mailbox
// is written to.
//
// A file has one process at a time, held by a lock of the system that ends with
// the process; the second one, or a second Open in the same one, is told so
// after Options.LockTimeout. The file is made with mode 0600. It holds account
// names, mailbox names, UIDs and flags, and never a credential or anything of a
// message. Open never changes a file that is not a checkpoint, nor one that a
// newer version wrote.
//
// All types are safe for concurrent use.
//
// # Size and speed
//
// With 100,000 messages (TestBytesPerMessage; pages of the database that are in
// use, free ones not counted): 0.6 octets a message where a mailbox was moved
// in order to an empty one; 4.3 in a mailbox with holes and all kinds of flags;
// 6.1 where of every 5,000 messages one is left; 25 where the target's order is
// random and each message has thirty keywords. A mailbox of less than 64
// messages that are far apart may cost 52 octets for each, and so may what is
// sparse in a mailbox that became dense later. The file has free pages besides,
// up to as many as are in use; it grows by at most 1 MiB at a time, and does not
// shrink.
//
// What depends on the disk is seldom the same twice: these are medians of ten
// runs on two cores and a disk that others used too, and single runs were up to
// 50 times slower. Batches of 100 messages, each with its commit: 590,000
// messages a second in a lived-in mailbox, and 1.6 million with a Store in
// memory, whose slowest run made 1.2 million. Read back: 10 million a second.
// How many commits share a transaction hardly varies: with 4 callers 2.5, with
// 16 8.4, with 64 32 (BenchmarkLedger, BenchmarkRead, BenchmarkGroupCommit).
//
// In memory, a MailboxLedger has what is staged and some 16 chunks of records;
// Sets returns ranges.
//
// # Format
//
// Version 2, which adds to version 1 which messages were adopted, messages that
// are gone from the source, and MAILBOXIDs; a file of version 1 is read, and
// becomes one of version 2 with the first commit. A file is a bbolt database with the bucket "mailhaul checkpoint".
// Numbers in keys are fixed and big-endian, in values varints; strings have
// their length before them; the last four octets of each value are its
// checksum, little-endian.
//
//	key                              value
//	'f'                              "mailhaul checkpoint\n", version
//	'a' account(8)                   protocol, host, port, user of the source and of the target
//	'm' account(8) mailbox(4)        head: name, state, keywords, intents, sum of the chunks, levels of identity
//	'm' account(8) mailbox(4) i(4)   chunk: records of the source UIDs from i*w to i*w+w-1
//	'n' section name                 note, of whoever wrote it
//	'u' account(8) mailbox(4)        head of the UIDLs of a POP3 source: their number, sum of the blocks
//	'u' account(8) mailbox(4) i(4)   block: size and UIDL of the source UIDs from 256*i+1 to 256*i+256
//
// The width w is 128, and up to 2^18 in a mailbox with few messages among many
// UIDs; the head says which.
// An account's number is the beginning of the SHA-256 of its value, a mailbox's
// one is counted. A chunk lists the combinations of flags in it, as bits over
// the mailbox's keywords, and then runs of records whose source and target UIDs
// rise by one. The files head.go and chunk.go have the details. A change that
// this version could not read gets a new number; 'f' keeps its form for ever.
//
// # What it does not do
//
// It knows nothing of the servers: whether a UIDVALIDITY still holds, or what
// became of an [Intent], is for the engine to find out. It does not notice that
// the file was replaced by an older copy of itself; the engine does, by
// MailboxState.Explained. Two Ledgers of the same Pair on one Store at a time
// are a mistake that it does not prevent. On a network file system without
// locks, nor does it keep two machines from one file.
package checkpoint
