// Package filler gives messages the UIDs that they have on the source with
// nothing but the user's own log-in: UIDs rise by one with each message that is
// stored, and are not used again, so that a small message which is stored and
// removed burns one. Between two messages of the source whose UIDs are 17 and
// 20, two fillers are stored, with the flag \Deleted, in the same MULTIAPPEND,
// and then removed by UID EXPUNGE. Wide gaps are closed by copies of fillers.
//
//	f, err := filler.New(filler.Config{Target: target, Max: 10_000})
//
// # Configuration
//
// Nothing is to be configured on the server. It must have UIDPLUS (RFC 4315),
// as Dovecot, Cyrus and Courier do, and room for the fillers that are there at
// a time, a few megabytes at most.
//
// # What it is worth
//
// It reaches [mailhaul.LevelUID] and no more: a server chooses the UIDVALIDITY
// by itself, and IMAP programs look at that too, so that they download
// everything again. UIDs alone help where UIDLs are made of them, and they help
// another driver: one that imposes the UIDVALIDITY (package doveadm) closes
// small gaps by fillers, inside a batch, and so in a fraction of the time.
// Since it makes a server work for nothing, and what is expunged shows in its
// logs, replicas and backups, nothing chooses it by itself: a caller makes one,
// and says how many UIDs it may burn at most, in all mailboxes together and as
// long as the Imposer lives (Max). What a mailbox needs is kept for it once it
// has been asked about, so that one which does not fit is refused before
// anything is written.
//
// # Guarantees
//
// Each UID that the server says a message got is compared with the one
// expected. Where they differ, because somebody else has delivered in between,
// nothing more is burnt in that mailbox: what follows is stored under whatever
// UID comes, nothing that is there is renumbered or removed, and
// [Imposer.Warnings] says so.
//
// A message that the server refuses in the middle of a batch is replaced by a
// filler, so that those behind it keep their UIDs.
//
// Nothing but fillers is ever expunged. Those of a Writer that died, at
// whatever octet, are removed by [Imposer.Recover]: a message goes if it is at
// or above the watermark, has the flag \Deleted, and is to the last octet the
// filler of this mailbox (its name and UIDVALIDITY are in it) that its
// Message-ID says. Until then clients may show them struck out.
//
// # Limits
//
// While fillers are in it, a mailbox shows them to whoever looks; they have
// \Seen and \Deleted from the start. Where the server stores messages one by
// one (no MULTIAPPEND), each message waits for the answer to the one before.
// A Writer that is closed without Finish removes what it knows of for at most a
// second. Gaps of millions are not worth it.
package filler
