// Package dsync gives mailboxes of a Dovecot server the identity that they
// have elsewhere: any UIDs, UIDVALIDITY, UIDNEXT and HIGHESTMODSEQ, any POP3
// UIDLs and their order. It is a client of the stream that Dovecot's own dsync
// speaks with "doveadm dsync-server", and works with Dovecot 2.2 and later
// (tested with 2.3; the stream's version has been 3 throughout).
//
//	target, err := imapx.New(imapx.Config{Server: account})
//	...
//	imposer, err := dsync.New(target, dsync.Config{
//		Server: mailhaul.Server{Host: "mail.example.org", Port: 24245, Credentials: password},
//	})
//
// The [Target] decorates the user's account over IMAP, which reading, listing,
// making mailboxes and changing flags are left to. It implements
// [mailhaul.Imposer].
//
// # What the server needs
//
// Either a port of Dovecot's service doveadm and its password,
//
//	doveadm_password = …
//	service doveadm {
//	  inet_listener {
//	    port = 24245
//	    ssl = yes
//	  }
//	}
//
// or a shell on the server, or on whatever leads to it, that may run
//
//	doveadm dsync-server -u USER
//
// for [Config.Command]. Whoever has the password can read and change the mail
// of every user: without TLS the port belongs on a loopback address, which is
// the only one that it is used on unless [mailhaul.Server] AllowPlaintext is
// set.
//
// # What it guarantees
//
// Nothing that is in a mailbox is renumbered, changed or removed by it, and no
// other mailbox is looked at: it never uses the mode of dsync that deletes
// ("backup"), and tells the server that all that is there already is known to
// both sides. What users do meanwhile, flags that they set and messages that
// they delete, stays as they did it.
//
// Bodies are sent as they come, one after the other. A
// connection, or command, that breaks off leaves the messages that arrived
// whole, under their own UIDs; and the first of them, in the order of their UIDs, so that what is missing can
// follow. A server that is killed itself loses those of the exchange that is
// under way. What a peer can make an exchange cost is
// bounded: lines, lists, and the time in which it says or takes nothing.
// Credentials are in no error. A command is always waited for.
//
// # Mail of the target's own
//
// A message whose UID the target has given out itself gets another, above all
// that the source has given out, and its Outcome names it. It is kept in a
// temporary file until all others are stored, which could not have their UIDs
// otherwise.
//
// Where mail is delivered to the mailbox in the middle of an exchange, the
// exchange is broken off at its end, in place of being finished: Dovecot would
// give the delivered message another UID otherwise. Messages that lost their
// UIDs to it are recognised by their date and size; where several have both,
// their Outcome is DeliveryUnknown. Between the last look at the mailbox and
// the end of the exchange a few milliseconds remain in which mail that is
// delivered is renumbered, as it is by Dovecot's own dsync; the time is as long
// as it takes the server to write down its last hundred messages. For an sdbox
// with UIDLs it is all of them.
//
// # Limits
//
//   - UIDVALIDITY can be given to an empty mailbox only.
//   - A mailbox in sdbox format serves stored UIDLs only of those messages that
//     came in one session into the empty mailbox, so that
//     [Target.Imposable] asks for one session, and promises no more than UIDs
//     where there is mail already. (Dovecot sees to it by itself with maildir
//     and mdbox.) Where the server cannot be asked for the format, which is so
//     behind a command, it is taken for sdbox unless [Config.Store] says
//     otherwise. Only a look over POP3 proves what is served.
//   - Dovecot does not look at quotas in dsync: an account can become fuller
//     than it may be.
//   - Formats that keep no GUIDs (mbox) are refused.
//   - INTERNALDATE keeps its instant, not its zone; instants before 1970 become
//     1970.
//   - Dovecot breaks off an exchange in which nothing happens for ten minutes.
package dsync
