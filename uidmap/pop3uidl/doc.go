// Package pop3uidl lets an account that is reachable over both IMAP and POP3
// keep its UIDLs: the mail is read over IMAP, and what POP3 programs know it by
// over POP3.
//
//	imap, err := imapx.New(imapx.Config{Server: account})
//	pop, err := pop3x.New(pop3x.Config{Server: sameAccount})
//	...
//	source, err := pop3uidl.New(pop3uidl.Config{
//		IMAP: imap, POP3: pop, Memory: checkpoint.NewNotes(store, "uidls"),
//	})
//	...
//	defer source.Close()
//
// The [Source] decorates the IMAP account: it tells the UIDL of each message in
// INBOX, and its place in the maildrop, beside whatever IMAP tells
// ([mailhaul.UIDLTeller]). A target that can be told identities gives them to
// the copies.
//
// # How it works
//
// When INBOX is opened and holds messages that were not seen before, POP3 is
// asked for its listing, and the session ended. Then IMAP lists INBOX, and
// [uidmap.UIDLMatcher] says which message is which. Where it needs headers,
// they are read over IMAP and, in another session, by TOP. The two protocols
// never have the mailbox open at the same time, as far as this package opens
// it: some servers lock it.
//
// What was found is remembered, where there is a Memory: later runs ask POP3
// only when there is new mail, and read headers of new mail only.
//
// # What it guarantees
//
//   - The source is left as it is. Message bodies are not fetched over POP3,
//     which marks mail as read on some servers, unless Config.Bodies allows it.
//   - A UIDL once told of a UID stays its UIDL, as long as both servers list the
//     message and the Memory is kept.
//   - Nothing is guessed: [Report] says on what evidence each pair rests, and
//     lists what is in none. A message without a UIDL is moved without.
//   - That a message cannot be read over POP3 is never an error, nor is a
//     session that breaks off while headers are read. That POP3 cannot be
//     listed at all is one: mail that has been moved without its UIDL does not
//     get it later. Such an error has the kind that says whether to try again.
package pop3uidl
