// Package mailclient lets real mail programs judge a move: the ones that people
// keep their mail with, each run as a process of its own, with its own
// configuration and its own memory of what it has seen.
//
//	program := mailclient.New(t, mailclient.Mbsync, mailclient.Login{User: "u1", Password: "pw1"})
//	program.PointAt(old.Addr(testserver.IMAP))
//	first := program.Run()            // downloads the account
//	program.PointAt(new.Addr(testserver.IMAP))
//	require.Empty(t, program.Run().Noticed()) // it saw no move
//
// A program always connects to the same address, where a [Tap] stands that
// leads to the server it was pointed at last. So its configuration stays as it
// is, down to the port, as it does where a name in the DNS is given another
// address; and what it does is counted on the wire.
//
// An [Effect] is seen from three sides, which must agree: what went over the
// wire, how the program's Maildir changed, and what it said. An exit status
// alone proves nothing: some of these programs download a folder a second time
// and call it a success. That each of them can fail is held by tests that give
// it another UIDVALIDITY, or other UIDLs.
//
// Programs that are not installed skip the test and name their Debian package,
// or fail it with MAILHAUL_REQUIRE_SERVERS=1, as servers do (package
// testserver).
package mailclient
