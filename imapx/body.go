package imapx

// Message bodies: in memory, in a temporary file, or still on the wire.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/mailhaul/mailhaul"
)

// bodyClasses are the sizes of the pieces that bodies in memory consist of. A
// small body is one piece that fits it; a large one grows by the largest.
var bodyClasses = [...]int{2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10}

var bodyPools [len(bodyClasses)]sync.Pool

// piece is a part of a body in memory.
type piece struct {
	buf   []byte
	class int
}

// newPiece returns a piece for n octets, or as many as a piece can have.
func newPiece(n int64) *piece {
	class := 0
	for class < len(bodyClasses)-1 && int64(bodyClasses[class]) < n {
		class++
	}
	if p, ok := bodyPools[class].Get().(*piece); ok {
		p.buf = p.buf[:0]
		return p
	}
	return &piece{buf: make([]byte, 0, bodyClasses[class]), class: class}
}

// memoryBody is a buffered body. Its memory comes from the pools and goes back
// there with Release.
type memoryBody struct {
	size     int64
	first    *piece   // almost always all there is
	more     []*piece //
	released atomic.Bool
}

// readBody reads a body of the given size into memory. Memory is taken as the
// octets arrive.
func readBody(r io.Reader, size int64) (*memoryBody, error) {
	b := &memoryBody{}
	for b.size < size {
		p := newPiece(size - b.size)
		want := int(min(int64(cap(p.buf)), size-b.size))
		n, err := io.ReadFull(r, p.buf[:want])
		p.buf = p.buf[:n]
		b.size += int64(n)
		if b.first == nil {
			b.first = p
		} else {
			b.more = append(b.more, p)
		}
		if err != nil {
			b.Release()
			return nil, err
		}
	}
	return b, nil
}

func (b *memoryBody) Size() int64    { return b.size }
func (b *memoryBody) Buffered() bool { return true }

func (b *memoryBody) Reader() io.Reader {
	switch {
	case b.first == nil:
		return bytes.NewReader(nil)
	case len(b.more) == 0:
		return bytes.NewReader(b.first.buf)
	}
	return &pieceReader{at: b.first.buf, more: b.more}
}

func (b *memoryBody) Release() {
	if b.released.Swap(true) {
		return
	}
	if b.first != nil {
		bodyPools[b.first.class].Put(b.first)
	}
	for _, p := range b.more {
		bodyPools[p.class].Put(p)
	}
	b.first, b.more = nil, nil
}

// pieceReader reads pieces one behind the other.
type pieceReader struct {
	at   []byte
	more []*piece
}

func (r *pieceReader) Read(p []byte) (int, error) {
	for len(r.at) == 0 {
		if len(r.more) == 0 {
			return 0, io.EOF
		}
		r.at, r.more = r.more[0].buf, r.more[1:]
	}
	n := copy(p, r.at)
	r.at = r.at[n:]
	return n, nil
}

// fileBody is a buffered body that was too large for memory.
type fileBody struct {
	size     int64
	file     *os.File
	remove   bool // the file still has its name
	released atomic.Bool
}

// spoolBody reads a body into a temporary file. An error that is not the
// reader's is a *spoolError.
func spoolBody(r io.Reader, size int64) (*fileBody, error) {
	f, err := os.CreateTemp("", "mailhaul-*")
	if err != nil {
		return nil, &spoolError{err}
	}
	b := &fileBody{size: size, file: f}
	// Where the system allows it the file loses its name at once, so that
	// nothing is left of it whatever happens.
	b.remove = os.Remove(f.Name()) != nil
	buf := outBuffers.Get().(*outChunk)
	defer outBuffers.Put(buf)
	for left := size; left > 0; {
		n, err := r.Read(buf.buf[:min(left, outBuffer)])
		left -= int64(n)
		if _, werr := f.Write(buf.buf[:n]); werr != nil {
			b.Release()
			return nil, &spoolError{werr}
		}
		if err != nil && left > 0 {
			b.Release()
			return nil, err
		}
	}
	return b, nil
}

// spoolError is a failure of the local disk.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return fmt.Sprintf("a temporary file: %v", e.err) }
func (e *spoolError) Unwrap() error { return e.err }

func (b *fileBody) Size() int64    { return b.size }
func (b *fileBody) Buffered() bool { return true }

func (b *fileBody) Reader() io.Reader { return io.NewSectionReader(b.file, 0, b.size) }

func (b *fileBody) Release() {
	if b.released.Swap(true) {
		return
	}
	_ = b.file.Close()
	if b.remove {
		_ = os.Remove(b.file.Name())
	}
}

// streamBody is a body that is still on the wire. While it is neither read to
// its end nor released, the connection's reading goroutine waits for it, and
// its consumer reads from the connection in that goroutine's place.
type streamBody struct {
	size int64
	uid  mailhaul.UID
	c    *conn

	opened   atomic.Bool
	r        io.Reader // the literal; the consumer's until handed back
	left     int64
	handed   bool
	err      error
	back     chan struct{} // closed when the connection has its reader back
	complete chan struct{} // closed when the rest of the response is known
	verdict  error         // what is wrong with it; valid when complete is closed
}

func newStreamBody(c *conn, uid mailhaul.UID, r io.Reader, size int64) *streamBody {
	return &streamBody{c: c, uid: uid, r: r, size: size, left: size, back: make(chan struct{}), complete: make(chan struct{})}
}

func (b *streamBody) Size() int64    { return b.size }
func (b *streamBody) Buffered() bool { return false }

// Reader returns the stream. It ends only when the whole response is there and
// turns out to belong to the message that was asked for: the UID may follow
// the body.
func (b *streamBody) Reader() io.Reader {
	if b.opened.Swap(true) {
		return failingReader{mailhaul.ErrBodyConsumed}
	}
	return (*streamReader)(b)
}

type streamReader streamBody

func (r *streamReader) Read(p []byte) (int, error) {
	b := (*streamBody)(r)
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.left > 0 && b.handed {
		b.err = errors.New("message body was released while it was read")
		return 0, b.err
	}
	if b.left > 0 {
		n, err := b.r.Read(p)
		b.left -= int64(n)
		if err != nil {
			b.c.spoiled(err)
			b.c.fail(b.c.lost(err))
			b.err = b.c.named(opFetch, "", b.c.reason())
			b.handBack()
			return n, b.err
		}
		if b.left == 0 {
			b.handBack()
		}
		return n, nil
	}
	b.handBack() // a body of no octets
	select {
	case <-b.complete:
		b.err = b.verdict
	case <-b.c.dead:
		// The end of the response may have come with the end of the connection.
		select {
		case <-b.complete:
			b.err = b.verdict
		default:
			b.err = b.c.named(opFetch, "", b.c.reason())
		}
	}
	if b.err == nil {
		b.err = io.EOF
	}
	return 0, b.err
}

// handBack gives the connection back to its reading goroutine.
func (b *streamBody) handBack() {
	if !b.handed {
		b.handed = true
		close(b.back)
	}
}

func (b *streamBody) Release() { b.handBack() }

// finish says that the response is complete, and what is wrong with it.
func (b *streamBody) finish(err error) {
	b.verdict = err
	close(b.complete)
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }
