// One direction of a connection: a bounded ring of octets.

package mempipe

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// buffer carries octets one way. Its writer and its reader are ends of
// different connections of the pair.
type buffer struct {
	limit int

	mu       sync.Mutex // protects all below; never held while waiting
	readable sync.Cond
	writable sync.Cond

	ring  []byte // grows up to limit; most connections never need that much
	start int
	size  int

	readClosed  bool  // the reading end was closed
	writeClosed bool  // the writing end was closed: EOF after what is buffered
	reset       error // set by Reset: ends both ends, the reader's after what is buffered

	readExpired  bool // the deadlines have passed
	writeExpired bool

	writing bool // a write is under way; others wait, so that each stays in one piece
}

func newBuffer(limit int) *buffer {
	b := &buffer{limit: limit}
	b.readable.L = &b.mu
	b.writable.L = &b.mu
	return b
}

func (b *buffer) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.readClosed:
			return 0, net.ErrClosed
		case b.readExpired:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case b.size > 0:
			return b.take(p), nil
		case b.reset != nil:
			return 0, b.reset
		case b.writeClosed:
			return 0, io.EOF
		}
		b.readable.Wait()
	}
}

func (b *buffer) write(p []byte) (written int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.writing {
		b.writable.Wait()
	}
	b.writing = true
	defer func() {
		b.writing = false
		b.writable.Broadcast()
	}()
	for {
		switch {
		case b.writeClosed:
			return written, net.ErrClosed
		case b.writeExpired:
			return written, os.ErrDeadlineExceeded
		case b.reset != nil:
			return written, b.reset
		case b.readClosed:
			return written, syscall.EPIPE
		}
		n := b.put(p)
		written += n
		p = p[n:]
		if len(p) == 0 {
			return written, nil
		}
		b.writable.Wait()
	}
}

// take moves octets out of the ring.
func (b *buffer) take(p []byte) int {
	n := 0
	for n < len(p) && b.size > 0 {
		k := copy(p[n:], b.ring[b.start:min(b.start+b.size, len(b.ring))])
		n += k
		b.size -= k
		b.start += k
		if b.start == len(b.ring) {
			b.start = 0
		}
	}
	if b.size == 0 {
		b.start = 0
	}
	b.writable.Broadcast()
	return n
}

// put moves as much of p into the ring as there is room for.
func (b *buffer) put(p []byte) int {
	p = p[:min(len(p), b.limit-b.size)]
	if len(p) == 0 {
		return 0
	}
	if need := b.size + len(p); need > len(b.ring) {
		b.grow(need)
	}
	n := 0
	for n < len(p) {
		end := (b.start + b.size) % len(b.ring)
		room := b.ring[end:min(len(b.ring), end+len(b.ring)-b.size)]
		k := copy(room, p[n:])
		n += k
		b.size += k
	}
	b.readable.Broadcast()
	return n
}

func (b *buffer) grow(need int) {
	ring := make([]byte, min(b.limit, max(need, 2*len(b.ring), 512)))
	k := copy(ring, b.ring[b.start:min(b.start+b.size, len(b.ring))])
	copy(ring[k:], b.ring[:b.size-k])
	b.ring, b.start = ring, 0
}

// change alters the state of the buffer and wakes everyone who may care.
func (b *buffer) change(f func()) {
	b.mu.Lock()
	f()
	b.readable.Broadcast()
	b.writable.Broadcast()
	b.mu.Unlock()
}

func (b *buffer) closeRead() {
	b.change(func() {
		b.readClosed = true
		b.ring, b.start, b.size = nil, 0, 0 // nobody will read it
	})
}

func (b *buffer) closeWrite() { b.change(func() { b.writeClosed = true }) }

func (b *buffer) fail(err error) {
	b.change(func() {
		if b.reset == nil {
			b.reset = err
		}
	})
}
