// One direction of a connection: octets on their way, with the time at which
// they are due.

package delayproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// chunkSize is how much is read at once. What is smaller than a quarter of it
// is kept in a slice of its own size.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// chunk is what came in one read.
type chunk struct {
	data   []byte
	pooled *[chunkSize]byte // where data is, nil where it has a slice of its own
	due    time.Time
	end    bool  // the stream ends here
	err    error // and why, if not in good order
}

// line carries octets one way. receive and deliver run on a goroutine each.
type line struct {
	to    net.Conn
	opts  Options
	count func(n int)
	wire  *shared // what the octets leave on, where there is a Bandwidth

	mu       sync.Mutex // protects what follows; never held while waiting
	arrived  sync.Cond  // there is a chunk
	room     sync.Cond  // there is room in the window, or nobody takes anything any more
	queue    []chunk
	underway int
	dead     bool // deliver has ended
}

// shared is what octets leave on one after the other.
type shared struct {
	mu     sync.Mutex // protects what follows
	freeAt time.Time  // when the last octet has left
}

func (s *shared) leave(now time.Time, takes time.Duration) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.freeAt.Before(now) {
		s.freeAt = now
	}
	s.freeAt = s.freeAt.Add(takes)
	return s.freeAt
}

func (p *Proxy) newLine(to net.Conn, wire *shared, count func(int)) *line {
	if !p.opts.Shared {
		wire = new(shared)
	}
	l := &line{to: to, opts: p.opts, count: count, wire: wire}
	l.arrived.L = &l.mu
	l.room.L = &l.mu
	return l
}

// receive reads until the stream ends.
func (l *line) receive(from net.Conn) {
	for {
		buf := chunks.Get().(*[chunkSize]byte)
		n, err := from.Read(buf[:])
		now := time.Now()
		if n > 0 {
			l.count(n)
			c := chunk{data: buf[:n], pooled: buf, due: l.dueAt(now, n)}
			if n < chunkSize/4 {
				c.data, c.pooled = append([]byte(nil), buf[:n]...), nil
				chunks.Put(buf)
			}
			if !l.put(c) {
				return
			}
		} else {
			chunks.Put(buf)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			l.put(chunk{due: l.dueAt(now, 0), end: true, err: err})
			return
		}
	}
}

// dueAt returns when n octets that came at a time are to be delivered.
func (l *line) dueAt(now time.Time, n int) time.Time {
	leaves := now
	if l.opts.Bandwidth > 0 {
		leaves = l.wire.leave(now, time.Duration(float64(n)/float64(l.opts.Bandwidth)*float64(time.Second)))
	}
	return leaves.Add(l.opts.RTT / 2)
}

// put queues a chunk when there is room for it. It reports false where nobody
// delivers any more.
func (l *line) put(c chunk) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.underway >= l.opts.Window && !l.dead && !c.end {
		l.room.Wait()
	}
	if l.dead {
		return false
	}
	l.queue = append(l.queue, c)
	l.underway += len(c.data)
	l.arrived.Signal()
	return true
}

// deliver writes what is due until the stream ends, and passes its end on. It
// reports true where the connection is broken.
func (l *line) deliver(stop <-chan struct{}) (broken bool) {
	defer l.end()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []chunk
	for {
		batch = l.take(batch[:0])
		for i := range batch {
			c := &batch[i]
			if wait := time.Until(c.due); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-stop:
					return true
				}
			}
			if c.end {
				if c.err != nil {
					return true
				}
				return !closeWrite(l.to)
			}
			_, err := l.to.Write(c.data)
			n := len(c.data)
			if c.pooled != nil {
				chunks.Put(c.pooled)
			}
			*c = chunk{}
			if err != nil {
				// Whoever was to have it is gone. What comes from there is
				// still to be delivered, its end among it.
				return false
			}
			l.took(n)
		}
	}
}

// take waits for chunks and returns all that there are.
func (l *line) take(into []chunk) []chunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 {
		l.arrived.Wait()
	}
	into = append(into, l.queue...)
	clear(l.queue)
	l.queue = l.queue[:0]
	return into
}

func (l *line) took(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underway -= n
	l.room.Signal()
}

// end makes receive stop.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	l.queue = nil
	l.room.Signal()
}

// closeWrite passes on that nothing more will come. It reports false where the
// connection cannot say that.
func closeWrite(c net.Conn) bool {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return false
	}
	_ = half.CloseWrite() // where it fails, the connection is closed already
	return true
}
