// Package maildir writes mailboxes as the files of a mail server: a Maildir++
// tree with the lists by which Dovecot or Courier know their messages. It is
// for operators who have the disk of the destination. With it all that mail
// programs know messages by can be what it was: UIDs, UIDVALIDITY and UIDNEXT, a
// HIGHESTMODSEQ that is not lower (on Dovecot; Courier keeps no mod-sequences,
// which programs then do not ask for), and the unique-ids and the order of POP3.
//
//	target, err := maildir.Open(ctx, maildir.Config{Path: "/var/mail/ada/Maildir", Flavor: maildir.Dovecot})
//
// or, from maildir:///var/mail/ada/Maildir?server=dovecot, by [ParseURL]. A
// [Target] is a target of its own: nothing else reads or writes the account.
//
// # When to use it
//
// Where neither Dovecot's dsync nor its API can be reached, or the server is
// Courier, which has nothing of the kind. The tree is on this machine, and the
// process runs as the user whose mail it is, or as root, which gives new files
// to the owner of the tree.
//
// # What must be stopped
//
// Sessions and deliveries. While a mailbox is written, nobody may have it open:
// a session that finds another UIDVALIDITY, or UIDs that it did not see coming,
// is cut off, and what its client then does is the client's. Stop the server,
// or keep the user out, and hold the deliveries back: a message that arrives
// takes a UID, and what comes from the source with that UID has to take
// another. A server that runs but has nobody in the mailbox does no harm; one
// that has is refused, as far as it can be seen (see below).
//
// # What is written
//
//   - Dovecot (2.x): dovecot-uidlist in version 3, with the mailbox's GUID, UIDLs
//     (P) and the order of POP3 (O); dovecot-keywords; subscriptions;
//     maildirfolder; sizes in file names (S= and W=). Its index is left alone,
//     since Dovecot compares it with the files, but exchanged for an empty log
//     that only says with which mod-sequence to go on, where it would contradict
//     them: when an empty mailbox gets another UIDVALIDITY, and when
//     HIGHESTMODSEQ is to be raised. Seen with Dovecot 2.3.19.
//   - Courier (5; 4 as far as it has these files): courierimapuiddb;
//     courierimapkeywords; courierimapsubscribed; and for INBOX, where the
//     messages come with UIDLs, courierpop3dsizelist in version 2, which
//     Courier 5 reads, or in the version that is there. A UIDL of the form
//     UID17-1234 or UID17 is written there; any other becomes the name of the
//     message's file, so that it can hold no slash, colon, quote or plus sign.
//     POP3 lists by name: the order is kept for UIDLs of the first kind.
//
// Messages are stored as they are for Dovecot (the form of mail_save_crlf=yes),
// which then shows them as they are, except that it makes CRLF of a bare LF and
// 0x80 of NUL. Courier puts a CR before every LF, so that each CRLF is stored as
// LF; it shows a bare LF as CRLF, and loses a CR at the very end. The Reader
// shows what the server will show, so that what is read back is what clients
// will see.
//
// Keywords beyond the 26 that file names have letters for are left out and
// counted (Dovecot). The date of arrival is the file's time; its zone is lost.
//
// # What is kept
//
// Mail that is there keeps its UID, and a mailbox with mail its UIDVALIDITY,
// whatever was asked for. Messages without a UID get the next ones, as the
// server would give them, and those in new are moved to cur, as the server does
// when the mailbox is opened; opening a mailbox to read does the same. A list
// that makes no sense is refused and left as it is.
//
// # What a crash leaves
//
// A message is written to tmp, and made durable, before anything else. Under the
// server's own lock (dovecot-uidlist.lock; Courier's tmp/courier.lock) the list
// that is to come is written beside the one that is there, then messages get
// their names in cur, never in the place of another, then the new list takes
// the place of the old, all of it synced in this order. A Writer that died in
// between is found out when the mailbox is next opened here: messages that made
// it into cur get the UIDs that they were to have, the others are not there. If
// the server comes first, they get UIDs from it. Nothing is lost, and nothing is
// there twice, once the engine has compared.
//
// # What cannot be seen
//
// Who has a mailbox open is found out by /proc, on Linux, as root or as the mail
// user. A server on another machine that shares the disk, in a container that
// this process is not outside of, or with INDEX= or CONTROL= elsewhere, cannot
// be seen. Nothing is concluded from files that changed of late: the last pass
// changed them, too. With CONTROL= elsewhere the lists of UIDs are elsewhere, and
// this package is of no use. Dovecot's flags of messages that are in its index only
// (\Recent, keywords beyond 26) are not seen either.
package maildir
