// Package testserver starts real mail servers for tests: private ones, in a
// temporary directory, on free loopback ports, gone when the test ends.
//
//	srv := testserver.Dovecot(t, testserver.DovecotOptions{Store: "sdbox"})
//	account := srv.Account(1) // how to reach u1, ready for a client
//
// [InProcess] gives the same kind of [Account] on the server of
// internal/imapserver, so that one suite runs on both.
//
// # Guarantees
//
//   - Any number of instances run side by side, in one test binary and in
//     several: ports are claimed machine-wide before they are used (see
//     claimPorts), and nothing is shared but the installed program.
//   - When the test ends, so does every process of the server, by SIGKILL of
//     its process group, and its directory is removed. When the test binary
//     dies, the kernel kills the server.
//   - When a test fails, the server's log is shown with it.
//   - A server that is not on this machine skips the test and says which
//     package to install. With MAILHAUL_REQUIRE_SERVERS=1 it fails the test
//     instead, so that a skip cannot pass for a success in CI.
//
// Servers run on Linux, as root, since each of them changes its user; anywhere
// else they count as not on this machine.
//
// A goroutine for each server lives until the server stops. A test that looks
// for leaked goroutines does so in a t.Cleanup registered before the server is
// started, which runs after the server's own.
//
// # Where servers come from
//
// Dovecot is used as Debian installs it. Other servers' packages conflict with
// it, so they are not installed but unpacked into a cache folder, [CacheDir]:
// $MAILHAUL_SERVER_CACHE where that is set, else "mailhaul" below
// [os.UserCacheDir]. Below it lies one folder for each server, named like its
// [Kind], which holds what `dpkg -x` makes of its packages with /lib merged
// into /usr/lib; it is unpacked under another name and renamed when it is
// complete, so that a folder that exists is whole. unpack.sh does that, and
// [Unpacked] finds it.
//
// # Adding a server
//
// A [Kind] is all that a server is to this package: its name, its packages,
// its services and how to configure and run it. Ports, directories,
// certificates, the start, the wait for greetings and the end are done by
// [Start] for all of them alike.
package testserver
