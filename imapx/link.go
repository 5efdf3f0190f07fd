package imapx

// The lowest layer of a connection: octets are counted, and no read or write
// waits for ever.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// meter counts what all connections of a Client do.
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

const (
	// Octets that were written may still be in a buffer of the system's when
	// Write returns. Each second that they need at this rate is granted on top
	// of the timeout, up to the size that such buffers grow to.
	drainRate = 16 << 10
	maxDrain  = 4 << 20
)

// link is a network connection with a dead-man's handle. While an answer is
// outstanding the server must send something every timeout, and what it has
// begun to send must come at a minimum rate; while something is written it
// must take something every timeout. A wait that is not the server's (a
// consumer who takes his time) does not count. Reading and writing are for one
// goroutine each.
type link struct {
	raw     net.Conn // below TLS; closing it always ends reads and writes
	timeout time.Duration
	rate    int64 // octets a second

	mu          sync.Mutex // protects the fields below
	conn        net.Conn
	outstanding int       // answers that are awaited
	unanswered  int64     // octets written since the last were read
	rested      bool      // nothing has been awaited for a while, since Read began
	until       time.Time // the end of the connection, once the server has said BYE
	held        int       // waits of our own that are going on: the server's time stands still

	// For the latency of the server. asked is since when the next octet has been
	// waited for, where that is worth measuring.
	measure bool // the next Write asks for what is worth it
	asked   time.Time

	throttle *leash // nil: none

	// Of the goroutine that reads:
	spent time.Duration // in Read since the last response was complete
	got   int64         // octets in that time
}

func newLink(raw, conn net.Conn, timeout time.Duration, rate int) *link {
	return &link{raw: raw, conn: conn, timeout: timeout, rate: int64(rate)}
}

// replace puts another connection in the place of the present one, after
// STARTTLS. Nothing may be reading or writing.
func (l *link) replace(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// expect says that n more answers are awaited, or fewer.
func (l *link) expect(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.outstanding
	l.outstanding += n
	switch {
	case before == 0 && l.outstanding > 0:
		l.arm()
	case before > 0 && l.outstanding == 0:
		l.rested = true
		_ = l.conn.SetReadDeadline(time.Time{})
	}
}

// hold stops the server's time while f runs, which waits for leave of our own.
func (l *link) hold(f func()) {
	l.mu.Lock()
	l.held++
	_ = l.conn.SetReadDeadline(time.Time{})
	l.mu.Unlock()
	f()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held--; l.outstanding > 0 {
		l.arm()
	}
}

// arm sets the deadline for the next octet. l.mu is held.
func (l *link) arm() {
	if l.held > 0 {
		return
	}
	grace := time.Duration(min(l.unanswered, maxDrain)) * time.Second / drainRate
	deadline := time.Now().Add(l.timeout + grace)
	if !l.until.IsZero() && l.until.Before(deadline) {
		deadline = l.until
	}
	_ = l.conn.SetReadDeadline(deadline)
}

func (l *link) Read(p []byte) (int, error) {
	l.mu.Lock()
	conn, waiting := l.conn, l.outstanding > 0
	l.rested = false
	if waiting {
		l.arm()
	}
	l.mu.Unlock()

	start := time.Now()
	n, err := conn.Read(p)
	var latency time.Duration
	l.mu.Lock()
	waiting = waiting && !l.rested
	if n > 0 {
		l.unanswered = 0
		if !l.asked.IsZero() {
			latency = time.Since(l.asked)
			l.asked = time.Time{}
		}
	}
	l.mu.Unlock()
	l.got += int64(n)
	if waiting { // an idle connection may be silent
		l.spent += time.Since(start)
	}
	if n > 0 && l.throttle != nil {
		l.throttle.read(n, latency)
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

// complete says that a response is complete: what is sent slowly is another
// one now. It is for the goroutine that reads.
func (l *link) complete() { l.spent, l.got = 0, 0 }

func (l *link) Write(p []byte) (int, error) {
	switch {
	case l.throttle == nil:
	case l.throttle.free:
		l.throttle.write(len(p))
	default:
		l.hold(func() { l.throttle.write(len(p)) })
	}
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()

	_ = conn.SetWriteDeadline(time.Now().Add(l.timeout))
	n, err := conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w for %v", errStuck, l.timeout)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unanswered += int64(n)
	if l.measure {
		l.measure, l.asked = false, time.Now()
	}
	if l.outstanding > 0 && err == nil {
		l.arm() // the server's turn begins when it has the octets
	}
	return n, err
}

// Close ends both directions at once.
func (l *link) Close() {
	// First below TLS: its own Close says good-bye, which can wait for a peer
	// that does not read.
	_ = l.raw.Close()
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	_ = conn.Close()
}

// limit bounds the rest of the connection's life, after the server's BYE.
func (l *link) limit(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Now().Add(d)
	l.outstanding++ // never answered: the deadline stays armed
	l.arm()
}
