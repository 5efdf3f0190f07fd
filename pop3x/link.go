package pop3x

// The lowest layer of a connection: octets are counted, and no read or write
// waits for ever.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// meter counts what all connections of a Source do.
type meter struct {
	roundTrips, in, out, commands, connections atomic.Int64
}

// meteredConn counts the octets that pass through it.
type meteredConn struct {
	net.Conn
	meter *meter
}

func (c meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.meter.in.Add(int64(n))
	return n, err
}

func (c meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.out.Add(int64(n))
	return n, err
}

// What a link's errors wrap.
var (
	errSilent = errors.New("the server has stopped answering")
	errSlow   = errors.New("the server sends too slowly")
	errStuck  = errors.New("the server has stopped reading")
)

// link is a network connection with a dead-man's handle. POP3 servers speak
// only when they are asked, so whoever reads awaits an answer: the server must
// send something every timeout, and what it sends must come at a minimum rate.
// It is for one goroutine at a time, except kill.
type link struct {
	raw     net.Conn // below TLS; closing it always ends reads and writes
	conn    net.Conn
	timeout time.Duration
	rate    int64 // octets a second
	leash   *leash

	measure bool      // how long the answer to what is written next takes to begin
	asked   time.Time // when that was written; zero: it is not measured

	spent time.Duration // in Read since the last answer was complete
	got   int64         // octets in that time
}

func (l *link) Read(p []byte) (int, error) {
	start := time.Now()
	_ = l.conn.SetReadDeadline(start.Add(l.timeout))
	n, err := l.conn.Read(p)
	l.got += int64(n)
	l.spent += time.Since(start)
	if l.leash != nil && n > 0 {
		var latency time.Duration
		if !l.asked.IsZero() {
			latency, l.asked = time.Since(l.asked), time.Time{}
		}
		l.leash.read(n, latency)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fmt.Errorf("%w for %v", errSilent, l.timeout)
	case err == nil && l.spent > l.timeout:
		if l.got < int64(l.spent/time.Second)*l.rate {
			return n, fmt.Errorf("%w: %d octets in %v", errSlow, l.got, l.spent.Round(time.Second))
		}
		l.complete()
	}
	return n, err
}

// complete says that an answer is complete: what is sent slowly is another one
// now.
func (l *link) complete() { l.spent, l.got = 0, 0 }

func (l *link) Write(p []byte) (int, error) {
	l.leash.write(len(p))
	if l.measure {
		l.measure, l.asked = false, time.Now()
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(l.timeout))
	n, err := l.conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w for %v", errStuck, l.timeout)
	}
	return n, err
}

// close ends both directions at once.
func (l *link) close() {
	// First below TLS: its own Close says good-bye, which can wait for a peer
	// that does not read.
	_ = l.raw.Close()
	_ = l.conn.Close()
}
