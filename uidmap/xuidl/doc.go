// Package xuidl carries POP3's unique-ids in the messages: a header field
//
//	X-UIDL: GmailId16a0b2c3
//
// that a Dovecot serves as the message's UIDL, where it is told to. Any UIDL
// can be carried that is one (1 to 70 octets from 0x21 to 0x7E, RFC 1939
// section 7).
//
//	x, err := xuidl.New(target)
//	d, err := doveadm.New(doveadm.Config{Target: x, …}) // for UIDs and UIDVALIDITY too
//
// # Configuration
//
// The server needs
//
//	pop3_reuse_xuidl = yes
//
// for as long as programs are to see these UIDLs. While it is on, whoever sends
// mail to the user chooses its UIDL. On Maildir, and there only, the UIDLs can
// be made to last: with
//
//	pop3_reuse_xuidl = yes
//	pop3_save_uidl = yes
//
// one UIDL command by POP3 writes them into the list of UIDs, and both lines
// may go afterwards.
//
// # What it costs
//
// Octets change, and sizes with them. So nothing chooses this by itself: a
// caller makes an Imposer, and [Imposer.Warnings] says how many messages were
// changed. The field is put first, unfolded, and X-UIDL fields that the source's
// message has, folded ones too, are left out, since the first would win and a
// blank in one can damage the server's list. Nothing else is touched. A message
// whose UIDL is not known is stored as it is; so is one that begins with a blank
// or a tab, which would continue the field.
//
// Messages are altered as they stream by; of a header no more than 256 KB are
// looked at.
//
// # Comparing
//
// Readers of an Imposer give messages without X-UIDL fields, so that an engine
// that compares what it finds with the source recognises its own work after a
// crash, or after a checkpoint was lost. Listed sizes are the server's, and so
// larger than the source's: bodies are read where they would otherwise have
// decided. A message whose source has such fields of its own is recognised by
// its text, and listed as altered, which it is; [Clean] makes a Source without
// them.
package xuidl
