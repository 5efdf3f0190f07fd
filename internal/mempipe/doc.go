// Package mempipe makes network connections that exist in memory only: pairs
// of [net.Conn] with a bounded buffer in each direction, like sockets, and a
// listener that hands them out.
//
// A connection blocks on a [sync.Cond] or on time, and on nothing else, so that
// it works inside a bubble of testing/synctest: a goroutine that waits in Read,
// Write, Accept or Dial is durably blocked, and deadlines follow the bubble's
// clock. As everything of a bubble, a connection is to be made in the bubble
// that uses it.
//
// Close sends what is buffered and then the end of the stream; CloseWrite ends
// one direction; Reset ends both at once, as RST does. After a Reset the peer
// may still read what had arrived and then gets ECONNRESET.
//
// There is no network in between: nothing is delayed, split or lost. Whoever
// wants faults wraps the connection.
package mempipe
