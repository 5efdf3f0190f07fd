// Package pop3server is a POP3 server that lives in the process, for tests. It
// is byte-faithful: what [Maildrop.Add] put in is what RETR gives out,
// dot-stuffed as RFC 1939 has it, NULs, bare line feeds and all.
//
//	s := pop3server.New(pop3server.Options{})
//	defer s.Close()
//	d := s.AddUser("alice", "secret")
//	d.Add("", []byte("Subject: hi\r\n\r\nhi\r\n"))
//	addr, err := s.Listen() // or s.Dial, which needs no network
//
// [Options] choose what the server is like: what it announces and honours, and
// a number of the habits of real servers, good and bad. [Hooks] see each
// command and each response, and may change, delay, cut or swallow it.
//
// A session sees the maildrop as it was at the log-in, and holds it: a second
// log-in gets [IN-USE]. RETR marks a message as seen, as Dovecot does, and TOP
// does not. The server is safe for concurrent use and is not hardened for the
// open network.
package pop3server
