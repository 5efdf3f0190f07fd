package pop3x

// Message bodies: in memory, or in a temporary file where they are too large.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/mailhaul/mailhaul"
)

// errTooLarge is returned for a message above Limits.MaxBody.
var errTooLarge = errors.New("the message is larger than Limits.MaxBody")

// body is one message. It is measured on the wire, and always buffered: the
// size that a target must be told first is known only at a message's end.
type body struct {
	head     []byte   // all of it, or the beginning
	file     *os.File // the rest; nil where there is none
	size     int64
	remove   bool // the file still has its name
	released atomic.Bool
}

var _ mailhaul.Body = (*body)(nil)

func (b *body) Size() int64    { return b.size }
func (b *body) Buffered() bool { return true }

func (b *body) Reader() io.Reader {
	if b.file == nil {
		return bytes.NewReader(b.head)
	}
	return io.MultiReader(bytes.NewReader(b.head), io.NewSectionReader(b.file, 0, b.size-int64(len(b.head))))
}

func (b *body) Release() {
	if b.released.Swap(true) {
		return
	}
	if b.file != nil {
		_ = b.file.Close()
		if b.remove {
			_ = os.Remove(b.file.Name())
		}
	}
	b.head = nil
}

// spoolError is a failure of the local disk.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return fmt.Sprintf("a temporary file: %v", e.err) }
func (e *spoolError) Unwrap() error { return e.err }

// add takes the next octets of the body.
func (b *body) add(p []byte, l *Limits) error {
	b.size += int64(len(p))
	if b.size > l.MaxBody {
		return errTooLarge
	}
	if b.file == nil && b.size <= l.MaxBuffered {
		b.head = append(b.head, p...)
		return nil
	}
	if b.file == nil {
		f, err := os.CreateTemp("", "mailhaul-*")
		if err != nil {
			return &spoolError{err}
		}
		// Where the system allows it the file loses its name at once, so that
		// nothing is left of it whatever happens.
		b.file, b.remove = f, os.Remove(f.Name()) != nil
	}
	if _, err := b.file.Write(p); err != nil {
		return &spoolError{err}
	}
	return nil
}

// mostAhead bounds the memory that is taken on a server's word alone.
const mostAhead = 256 << 10

// readBody reads the octets behind a status line to the end of the answer. An
// error that is fatal ends the connection; another one is the message's own,
// and the rest of it has been passed over.
func (c *conn) readBody(listed int64) (b *body, fatal, own error) {
	l := &c.cfg.Limits
	b = &body{head: make([]byte, 0, max(0, min(listed, l.MaxBuffered, mostAhead))+256)}
	d := newDotReader(c.in)
	written := 0
	var buf []byte // what is to go to a file is gathered
	flush := func() {
		if own == nil && len(buf) > 0 {
			own = b.add(buf, l)
		}
		buf = buf[:0]
	}
	for {
		piece, err := d.next()
		if err != nil {
			b.Release()
			return nil, c.fail(err), nil
		}
		if piece == nil {
			break
		}
		switch {
		case own != nil:
		case b.file == nil:
			own = b.add(piece, l)
		default:
			buf = append(buf, piece...)
			if len(buf) >= readBuffer {
				flush()
			}
		}
		if written += len(piece); written > 1<<20 { // a large message takes its time
			written = 0
			c.link.complete()
		}
	}
	flush()
	c.link.complete()
	if own != nil {
		b.Release()
		return nil, nil, own
	}
	return b, nil, nil
}
