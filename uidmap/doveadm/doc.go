// Package doveadm gives mailboxes and messages the identity that they have on
// the source through Dovecot's administration over HTTP (2.2.25 and later):
// mailboxUpdate sets UIDVALIDITY and UIDNEXT, messages come by plain APPEND
// through the Target that is decorated, and get the UIDs that are next.
//
//	d, err := doveadm.New(doveadm.Config{
//		Target: target, // the user's account over IMAP
//		Server: mailhaul.Server{Host: "imap.example.org", Port: 8080},
//		Key:    key,
//	})
//
// # Configuration
//
// The server needs
//
//	doveadm_api_key = SECRET
//	service doveadm {
//	  inet_listener http {
//	    port = 8080
//	    ssl = yes
//	  }
//	}
//
// Without ssl = yes (Security: [mailhaul.Plaintext]) only a loopback address is
// talked to, the near end of an SSH tunnel for instance.
//
// # What it reaches
//
// [mailhaul.LevelExact]: any UIDVALIDITY, ascending UIDs, UIDNEXT and
// HIGHESTMODSEQ; UIDLs where the server makes those of the source from UID and
// UIDVALIDITY (Config.UIDLs), or with package xuidl among the decorated Targets.
// A mailbox that holds messages keeps its UIDVALIDITY, and no UID below its
// UIDNEXT can be had: Imposable says so before anything is written.
//
// # Gaps
//
// A call takes 10 to 20 ms and has to wait for the answers to all that was
// appended before, so that thousands of gaps cost more than the messages. With a
// filler.Imposer among the decorated Targets,
//
//	f, err := filler.New(filler.Config{Target: target, Max: 10_000})
//	d, err := doveadm.New(doveadm.Config{Target: f, …})
//
// gaps up to Config.FillUpTo are closed inside the batch, as long as fillers are
// left, and only wider ones by a call.
//
// # The order of things
//
// A session that has a mailbox selected while its UIDVALIDITY changes is cut
// behind its next APPEND, which is stored all the same; and on Maildir, UIDNEXT
// set together with the UIDVALIDITY comes out one too high. So the UIDVALIDITY
// is set first and by itself, on an empty mailbox, while no connection of the
// Target has it selected; then the mailbox is opened; then UIDNEXT is set, in
// calls of their own, ahead of each run of UIDs; and UIDNEXT and HIGHESTMODSEQ
// last, in Finish. Each UID that a message got is compared with the one that it
// was to have. Where somebody else has delivered, nothing that is there is
// renumbered; what follows gets the UIDs that it still can, and
// [Imposer.Warnings] says where identity ended. Where it is not known what
// became of a message, UIDNEXT is not raised: the Writer is dead then, and the
// next one goes on from what is there.
package doveadm
