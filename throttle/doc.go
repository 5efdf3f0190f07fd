// Package throttle keeps a migration from harming the servers that it reads
// from and writes to.
//
// A [Throttle] is one side of any number of migrations: all accounts that are
// read from, or all that are written to. It hands out an [Account] for each,
// which gives leave to connect, to send a command, to read and to write, and
// listens to what the server makes of that. What it guarantees:
//
//   - No budget is exceeded, by all goroutines together: connections, log-ins,
//     commands, messages and octets a second, octets in any 24 hours. What is
//     under way when a day's budget ends is finished, and counts.
//   - After a server has asked for less nothing is sent to the account, or to
//     the host if it was said of the host, before the time that the server named
//     is over, or a back-off that doubles where it named none.
//   - A change of a [Schedule] takes effect on transfers under way, within a
//     second.
//   - A host of which nothing is known gets 2 connections to begin with and 4 at
//     most. How many are at work follows from how long the server takes to begin
//     its answers, down to a part of one connection's time.
//   - A number of connections that was refused once is not tried again, and one
//     less is used: that one is the user's.
//   - Waiting ends with the context. The only goroutines are those that ask for
//     a connection back, for as long as that takes.
//
// By default the limits are those that are known of the host ([ForHost]).
//
// It cannot know what other programs do at the same time, what a provider
// counts in another way, or how long a user behind another network waits. It
// never fails a call because of a limit: it waits.
package throttle
