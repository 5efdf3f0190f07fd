// Package pop3x reads the mail of a POP3 account: a [mailhaul.Source] for the
// engine in package sync.
//
//	source, err := pop3x.New(pop3x.Config{Server: mailhaul.Server{
//		Protocol: mailhaul.POP3, Host: "pop.example.org", User: "ann", Credentials: annsPassword,
//	}})
//	...
//	defer source.Close()
//
// # Guarantees
//
//   - A message is handed on octet for octet as the server sends it. Only CR LF
//     . CR LF ends it, only a dot behind CR LF is unstuffed, a bare LF stays one,
//     and its size is what was read.
//   - A listing is believed only where STAT, UIDL and LIST agree message by
//     message. A line that makes no sense, one that is missing or there twice, is
//     an error and never "these mails are gone". Sizes may disagree: that is a
//     warning.
//   - The source is left as it is. Nothing is deleted; mail is fetched by TOP
//     where that returns what RETR does, which is tried on one to three of the
//     oldest messages, since RETR marks mail as read on some servers; otherwise
//     by RETR, with a warning. A server that deletes what was fetched (EXPIRE 0)
//     is refused unless Config.AllowExpire0 is set.
//   - No wait is for ever, and a context ends each of them. What a server can
//     make a connection cost is bounded by [Limits].
//   - No credential is sent before TLS has proved the server, unless
//     Server.Security is Plaintext; no argument can hold a line end; no error and
//     no trace holds a credential.
//   - Errors are *[mailhaul.Error]. A maildrop that another program holds, and a
//     log-in that comes too early (LOGIN-DELAY), are Throttled: wait and try
//     again. This package never retries.
//
// # Sessions
//
// One session at a time is open, and kept between Readers: while it lasts, the
// user's own program finds the maildrop locked. So it ends when nobody has used
// it for Config.IdleTime, and, after Config.SessionTime or SessionBytes, for a
// pause. A [Reader] outlives that: messages are found again by their UIDLs.
//
// Where the server offers PIPELINING, messages are asked for ahead, up to
// Config.Window octets; the first commands that are sent together prove that it
// works, and where it does not, messages are fetched one at a time.
//
// # What POP3 does not have
//
// Folders, flags and dates of arrival. Config.Seen gives all messages the flag
// \Seen; a date is taken from the top Received line, else the Date field, else
// the clock, and counted ([Source.Dates]). A message that does not end with a
// line end gets one from the server. Servers without unique-ids (UIDL) are read
// too: a digest of the header, with the size, takes their place.
//
// DELE is sent by [Source.Remove] alone, which nothing calls that was not asked
// to: mail is copied, not moved.
package pop3x
