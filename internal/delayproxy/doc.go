// Package delayproxy puts a network of a chosen length between a client and a
// server: what either sends arrives half a round trip later, in its order, and
// any amount of it may be under way at a time. Pipelining gains what it gains
// on a real network, and waiting costs what it costs there.
//
//	p := delayproxy.New(delayproxy.Options{RTT: 100 * time.Millisecond})
//	defer p.Close()
//	server.Dial = p.Dial(nil)                     // in the process, or
//	addr, err := p.Listen("127.0.0.1:143")        // for other programs
//
// Octets are stamped with the time at which they are due when they come in, and
// sent on when that time has come: nothing sleeps once per write, so what is
// sent together arrives together. On an idle machine they are late by well
// under a millisecond. A connection costs three or four goroutines and one copy
// of each octet.
//
// What it leaves out: there is no loss, no slow start, and setting up a
// connection takes one round trip only where Dial is used ([Options.RTT] for
// TCP's own handshake); a listening proxy accepts at once and delays from then
// on.
//
// The end of a stream travels like any octet; a half-closed connection works.
// A connection that breaks on one side breaks on the other when what came
// before has arrived.
//
// It blocks on nothing but conditions and time, so that it works inside a
// bubble of testing/synctest with connections of package mempipe.
package delayproxy
