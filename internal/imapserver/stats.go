// Counting what the server did.

package imapserver

import (
	"net"
	"sync"
	"sync/atomic"
)

// Stats is what a server has done since it was made.
type Stats struct {
	Connections int64            // accepted so far
	Open        int64            // open now
	Commands    map[string]int64 // by upper-case name; "UID FETCH" is one
	Appended    int64            // messages that APPEND stored
	BytesIn     int64            // on the wire, below TLS and compression
	BytesOut    int64
}

// Total returns the number of all commands.
func (s Stats) Total() int64 {
	var n int64
	for _, k := range s.Commands {
		n += k
	}
	return n
}

type counters struct {
	connections, open, appended, in, out atomic.Int64

	mu       sync.Mutex // protects commands
	commands map[string]int64
}

func (c *counters) command(name string) {
	c.mu.Lock()
	c.commands[name]++
	c.mu.Unlock()
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	c := &s.counters
	st := Stats{
		Connections: c.connections.Load(),
		Open:        c.open.Load(),
		Commands:    make(map[string]int64),
		Appended:    c.appended.Load(),
		BytesIn:     c.in.Load(),
		BytesOut:    c.out.Load(),
	}
	c.mu.Lock()
	for k, v := range c.commands {
		st.Commands[k] = v
	}
	c.mu.Unlock()
	return st
}

// countingConn counts the octets on the wire.
type countingConn struct {
	net.Conn
	c *counters
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.c.in.Add(int64(n))
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.c.out.Add(int64(n))
	return n, err
}

// NetConn returns the connection below.
func (c countingConn) NetConn() net.Conn { return c.Conn }
