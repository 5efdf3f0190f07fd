package imapx

import (
	"context"
	"io"
	"sync"
)

const (
	outBuffer = 32 << 10  // octets written at a time
	outQueue  = 256 << 10 // octets that may wait before a message body has to
)

// outBuffers holds the buffers that octets wait in for being written.
var outBuffers = sync.Pool{New: func() any { return &outChunk{} }}

type outChunk struct {
	n   int
	buf [outBuffer]byte
}

// outbox is what is still to be written to a connection, and the goroutine
// (run) that writes it. Putting commands in never waits, so that pipelining
// cannot lock up with a server that wants its answers taken first; only message
// bodies wait for room. Octets are counted from the first of the connection, so
// that a position says at any time whether what is before it has been written.
type outbox struct {
	w    io.Writer
	wake chan struct{} // there is something to write

	mu      sync.Mutex // protects the fields below
	deflate *deflater  // nil: what is written goes to w as it is
	queue   []*outChunk
	held    bool          // nothing is written before release
	queued  int64         // octets taken in
	started int64         // octets that a Write was begun for
	written int64         // octets that Write has returned for
	changed chan struct{} // closed when written has changed; nil: nobody waits
}

func newOutbox(w io.Writer) *outbox {
	return &outbox{w: w, wake: make(chan struct{}, 1)}
}

// run writes until dead is closed or a Write fails.
func (o *outbox) run(dead <-chan struct{}) error {
	for {
		c := o.next()
		if c == nil {
			select {
			case <-o.wake:
				continue
			case <-dead:
				return nil
			}
		}
		if err := o.write(c.buf[:c.n]); err != nil {
			return err
		}
		o.done(c)
	}
}

// write writes p, and sees to it that nothing is held back at the end of a
// burst.
func (o *outbox) write(p []byte) error {
	o.mu.Lock()
	deflate := o.deflate
	o.mu.Unlock()
	if deflate == nil {
		_, err := o.w.Write(p)
		return err
	}
	if _, err := deflate.Write(p); err != nil {
		return err
	}
	o.mu.Lock()
	more := len(o.queue) > 0
	o.mu.Unlock()
	if more {
		return nil
	}
	return deflate.Flush()
}

// through makes all that is put in from now on go through a deflater. Nothing
// may be waiting to be written.
func (o *outbox) through(d *deflater) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deflate = d
}

// next takes the oldest chunk.
func (o *outbox) next() *outChunk {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held || len(o.queue) == 0 {
		return nil
	}
	c := o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	o.started += int64(c.n)
	return c
}

func (o *outbox) done(c *outChunk) {
	o.mu.Lock()
	o.written += int64(c.n)
	changed := o.changed
	o.changed = nil
	o.mu.Unlock()
	if changed != nil {
		close(changed)
	}
	c.n = 0
	outBuffers.Put(c)
}

// put takes in a copy of p and returns its position: the number of octets
// before it. It never waits.
func (o *outbox) put(p []byte) (at int64) {
	o.mu.Lock()
	at = o.queued
	o.queued += int64(len(p))
	for len(p) > 0 {
		var c *outChunk
		if n := len(o.queue); n > 0 && o.queue[n-1].n < outBuffer {
			c = o.queue[n-1]
		} else {
			c = outBuffers.Get().(*outChunk)
			o.queue = append(o.queue, c)
		}
		n := copy(c.buf[c.n:], p)
		c.n += n
		p = p[n:]
	}
	o.mu.Unlock()
	o.kick()
	return at
}

// push takes in a filled chunk, which is the outbox's from then on.
func (o *outbox) push(c *outChunk) {
	o.mu.Lock()
	o.queued += int64(c.n)
	o.queue = append(o.queue, c)
	o.mu.Unlock()
	o.kick()
}

// hold keeps what is put in from being written until release, so that commands
// that belong together go out together, however fast the server is. It is for
// commands only: nothing may be waited for meanwhile.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = true
}

func (o *outbox) release() {
	o.mu.Lock()
	o.held = false
	o.mu.Unlock()
	o.kick()
}

func (o *outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// positions returns how many octets were taken in, and for how many a Write
// was begun.
func (o *outbox) positions() (queued, started int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued, o.started
}

// wait returns when no more than backlog octets wait to be written, or with
// ctx, or when dead is closed.
func (o *outbox) wait(ctx context.Context, backlog int64, dead <-chan struct{}) error {
	for {
		o.mu.Lock()
		if o.queued-o.written <= backlog {
			o.mu.Unlock()
			return nil
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-dead:
			return errDead
		}
	}
}
