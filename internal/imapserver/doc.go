// Package imapserver is an IMAP4rev1 server that lives in the process, for
// tests, benchmarks and demonstrations. It is byte-faithful: a message is an
// opaque string of octets, and what APPEND or [Mailbox.Add] put in is what
// FETCH gives out, NULs, bare line feeds, missing headers and all.
//
//	s := imapserver.New(imapserver.Options{})
//	defer s.Close()
//	u := s.AddUser("alice", "secret")
//	u.Create("Sent", `\Sent`).Add(imapserver.Message{Body: []byte("Subject: hi\r\n\r\nhi\r\n")})
//	addr, err := s.Listen() // or s.Dial, which needs no network
//
// [Options] choose what the server is like: separator and prefix, the
// capabilities that it announces (one that is switched off answers BAD), its
// limits, and a number of the habits of real servers. [Hooks] see each
// connection, command, response and appended message, and may change, delay,
// refuse or cut it.
//
// Everything is kept in memory: about 70 octets for a message besides its body,
// which messages may share. The server is safe for concurrent use; no lock is
// held while it reads from or writes to a connection.
//
// Inside a bubble of testing/synctest, make the server in the bubble and use
// [Server.Dial].
//
// The server is not hardened for the open network, its passwords are kept in
// clear, and it parses no MIME: BODYSTRUCTURE is unknown to it.
package imapserver
