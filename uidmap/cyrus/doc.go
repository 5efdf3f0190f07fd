// Package cyrus gives messages on a Cyrus IMAP server the identity that they
// have on the source: UID, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ, and the POP3
// UIDLs that follow from them. Its [Target] decorates the Target that is the
// user's account, and speaks Cyrus's own replication protocol (SYNCAPPLY) in an
// administrator's ordinary IMAP session beside it.
//
//	user, err := imapx.New(imapx.Config{Server: …})
//	admin, err := imapx.New(imapx.Config{Server: …}) // as one of the server's admins
//	target, err := cyrus.New(user, cyrus.Config{
//		Admin: func(ctx context.Context) (cyrus.Session, error) { return admin.OpenRaw(ctx) },
//		Login: func(ctx context.Context) (cyrus.Session, error) { return user.OpenRaw(ctx) },
//	})
//
// # What the server needs
//
// Cyrus 3.0 or later, which announces X-REPLICATION, and the log-in of a user
// whom imapd.conf names in admins:
//
//	admins: cyrus
//	uidl_format: cyrus      # say the same in Config.UIDLFormat
//
// Nothing else: no port, no shell, no restart. On a frontend of a Murder, log in
// to the backend that has the mailbox.
//
// # What can be imposed
//
//   - Any UIDs that ascend and lie above those that the mailbox has given
//     already, with flags, keywords and INTERNALDATE.
//   - Any UIDVALIDITY on a mailbox that never had mail; a higher one on any.
//   - A higher UIDNEXT and HIGHESTMODSEQ, on Finish.
//   - UIDLs by one of Cyrus's formats: uidvalidity.uid, and with uidl_format
//     dovecot, courier and uidonly those of Dovecot's default, uidvalidity-uid
//     and uid. Cyrus keeps no others, so that [Target.Imposable] refuses exact
//     for them before anything is written.
//
// # What stays as it is
//
// A change of a mailbox sends back all that the server told of it a moment
// before: the ACL, the annotations with the special use among them, the options,
// the partition, the UNIQUEID, and whatever else a newer Cyrus tells. It holds
// no record of mail that is there, so that flags which the user sets and
// messages that he deletes stay so, and nothing is renumbered. It names the
// state that it was made for, and is refused where that has changed (SINCE_…,
// since Cyrus 3.2; Cyrus 3.0 refuses by UID and mod-sequence only): then the
// state is read again and the change is made once more.
//
// A lower UIDVALIDITY has Cyrus make the empty mailbox anew, twice within one
// round trip, since the second time gives it back its UNIQUEID: subscriptions
// and filters hang on that of the INBOX. Deliveries should be held at that
// moment; none is lost otherwise, but see [Target.Warnings].
//
// # How mail is written
//
// Messages are uploaded first, where nobody sees them, and then shown all
// together by one command for each Append. Whatever dies when, the mailbox has
// all of a batch or nothing. Since Cyrus knows messages by their SHA-1, which is
// sent ahead, a buffered body is read twice, and one that streams is kept in a
// temporary file (Config.TempDir).
//
// Mail that somebody delivers to the mailbox meanwhile takes a UID. A message
// that was to have it, or a lower one, is appended through the Target that is
// decorated, and its Outcome names the UID that it got.
//
// # Names
//
// The protocol goes by Cyrus's internal names, which are made of the user's name
// and the mailbox's, with altnamespace and without, with either hierarchy
// separator, and with users and folders that have dots in them. For a user with
// a domain, the names that he has with virtual domains, in the default domain
// and without are all asked for. Of what is found, the user is asked which is
// his (Config.Login), and nothing is written unless exactly one is.
// Folders below altprefix ("Alt Folders") and shared ones are not covered.
//
// # Warnings to the operator
//
// Replication does not look at quotas. It stores octets as they are: NULs and
// bare line feeds too, which an APPEND would be refused for.
//
// A Cyrus whose disk is full in the middle of a message takes the rest of it for
// commands of the administrator's (seen with 3.6; so in the sources of 3.0 to
// 3.10). The server is asked for the space that it has free, time and again, and
// is sent nothing unless 64 MiB stay free besides.
//
// To a user who is no administrator Cyrus answers BAD before it has read the
// command, and takes what follows for more commands; so that each session is
// proved by a command without messages first.
package cyrus
