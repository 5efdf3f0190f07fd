// Package mailhaul moves mailboxes from one mail server to another so that no
// mail client notices.
//
// This package is the vocabulary that the others share: what a [Source] and a
// [Target] are, what a [Mailbox], a [Message] and its [Body] are, and what an
// [Error] says. The work is done next door:
//
//   - package sync (import it as mailsync) plans, moves, commits and reports:
//     its Syncer is where a program starts;
//   - package imapx reaches IMAP servers and implements Source and Target;
//   - package checkpoint keeps what was done, so that a run can be repeated
//     at any time;
//   - package uidmap knows which message on one side is which on the other.
//
// # Guarantees
//
// A message counts as moved when the target has acknowledged it and a record
// of that is on the disk; whatever dies in between, nothing is lost and
// nothing arrives twice. The octets of a message are never changed on the way.
// The source is never written to. Package sync names each of these invariants
// and the test that holds it.
//
// # Writing an endpoint
//
// Source and Target are interfaces, so that mail can come from, or go to,
// something else than IMAP. An endpoint reports what happened and never
// retries; it wraps what went wrong in an Error whose Kind and Scope let the
// caller choose: wait, reconnect, skip the message, skip the mailbox, stop.
package mailhaul
