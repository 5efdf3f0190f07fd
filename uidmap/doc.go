// Package uidmap recognises that a message on the target is a copy of one on
// the source: after a first run by another tool, after a checkpoint was lost,
// and when a connection died before the answer to an APPEND.
//
// It does no I/O. It looks at listings, says which bodies it needs to know
// more of, and decides by their digests:
//
//	m := uidmap.Match(source, target)
//	adopt(m.Pairs())                     // no body was read for these
//	s, t := m.Undecided()
//	adopt(m.Resolve(digests(s), digests(t)))
//
// What is in no pair then has to be copied, if it is on the source; on the
// target it is somebody else's.
//
// # Rules
//
// Nothing lost comes before nothing twice, and that before cost. A message
// that is taken for a copy wrongly is lost, so that what is not certain is
// read; one that is not recognised arrives twice.
//
// Only messages with the same [Key] are compared: the same Message-ID, Date,
// Subject and From, as far as servers leave these alone. Of the messages with
// one key,
//
//   - those with a Message-ID are decided by the listing if that gives each of
//     them on the source a copy of its own on the target: one of the same size
//     that no other message on either side has, or, where several messages have
//     it, as many of them on each side, whose INTERNALDATEs are all known, are
//     distinct, and are the same on both sides. Further messages on the target
//     do not matter;
//   - in all other cases, and always without a Message-ID, the bodies of all
//     of them are read. Messages with the same octets are paired, then those
//     with the same text behind the header ([BasisContent]; the octets differ,
//     and the report says so). Twins are paired in the order of their UIDs.
//     What is left over is in no pair.
//
// A key that only one side has needs no reading. An INTERNALDATE never
// prevents a pair, since many tools lose it; a size never does either, since
// servers and tools add header lines and some servers only guess.
//
// Each message is in one pair at most: of two twins on the source and one copy
// on the target, one twin is still to be copied.
//
// # Settling an APPEND
//
// Whether messages arrived whose APPEND was never answered is the same
// question: the source is the messages of the batch, as they were journalled,
// and the target what lies at or above the UIDNEXT that the mailbox had before
// (RFC 9051 section 2.3.1.1). Anything in a pair was stored. Since
// [Candidate.UID] is but a name, a batch from a source without UIDs numbers its
// messages from 1.
//
// # What is not promised
//
// A copy is not recognised if a server or tool changed more than is said here:
// replaced the Message-ID (Exchange and Domino do, at times), decoded or
// encoded words in Subject or From, cut a field short, or changed the text
// itself. Such a message is copied again.
//
// A pair by [BasisSize] or [BasisDate] rests on the listing. Two messages with
// the same Message-ID, Date, Subject, From and size, one on each side only, of
// which neither is a copy of the other, would be taken for one.
//
// Without a Message-ID, a copy with other octets is recognised only if it has a
// text and at least one of the other three fields.
//
// # For operators: which destination keeps what
//
// Packages below this one make a target keep the identity that mail has on the
// source, so that no mail program notices the move: each decorates a Target, or
// is one, and is a [mailhaul.Imposer]. What they need of the server is two or
// three lines.
//
//	package  destination           keeps                          needs
//	dsync    Dovecot 2.2 or later, UIDs, UIDVALIDITY, UIDNEXT,    doveadm_password, and service doveadm
//	         any store             HIGHESTMODSEQ; any UIDLs and   { inet_listener { port = 24245  ssl = yes } };
//	                               their order (1)                or a shell: doveadm dsync-server -u USER
//	doveadm  Dovecot 2.2.25 or     UIDs, UIDVALIDITY, UIDNEXT,    doveadm_api_key, and service doveadm
//	         later, any store      HIGHESTMODSEQ; UIDLs that      { inet_listener http { port = 8080  ssl = yes } };
//	                               pop3_uidl_format makes         pop3_uidl_format as on the source
//	cyrus    Cyrus 3.0 or later    UIDs, UIDVALIDITY, UIDNEXT,    admins: NAME, and that user's log-in;
//	                               HIGHESTMODSEQ; UIDLs that      uidl_format: cyrus, uidonly, dovecot
//	                               uidl_format makes              or courier, as on the source
//	maildir  the files of Dovecot  the same (2); any UIDLs (3)    root or the mail user on that machine;
//	         or Courier 5                                         nobody in the mailbox meanwhile
//	xuidl    Dovecot               any UIDLs; octets change       pop3_reuse_xuidl = yes, for as long as
//	                                                              programs are to see them
//	filler   any server with       UIDs, not the UIDVALIDITY      the user's log-in, and the caller's leave to
//	         UIDPLUS                                              burn UIDs
//
// (1) An sdbox shows stored UIDLs only of what came in one session into an empty
// mailbox. (2) Courier has no HIGHESTMODSEQ. (3) Courier: without quotes, plus
// signs, slashes and colons, and listed in the order of their names.
//
// doveadm over filler closes small gaps between UIDs inside a batch; doveadm
// over xuidl carries any UIDLs. Each package's documentation has its
// configuration whole; docs/identity.md says what was tested, with which mail
// programs.
package uidmap
