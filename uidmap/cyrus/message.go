package cyrus

// One message on its way: its hash, and where its octets are kept until it is
// stored.

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mailhaul/mailhaul"
)

// message is one message on its way.
type message struct {
	mailhaul.Outgoing // Body can be read any number of times
	sum               [sha1.Size]byte
	uploaded          bool // the server has been sent it
	decided           bool
	outcome           mailhaul.Outcome
}

func (m *message) decide(d mailhaul.Delivery, uid mailhaul.UID, err error) {
	if m.decided {
		return
	}
	m.decided = true
	m.outcome.Delivery, m.outcome.UID, m.outcome.Err = d, uid, err
	m.Body.Release()
}

// maxSize is the largest message that the protocol can announce.
const maxSize = 1<<32 - 1

// prepare reads the body once for its hash, which is what Cyrus knows messages
// by. A body that can be read only once is kept in a file.
func (m *message) prepare(dir string) error {
	size := m.Body.Size()
	hash := sha1.New()
	var w io.Writer = hash
	var spool *file
	if !m.Body.Buffered() {
		f, err := os.CreateTemp(dir, "mailhaul-")
		if err != nil {
			return fmt.Errorf("keep a large message for its hash: %w", err)
		}
		spool = &file{f: f, size: size}
		w = io.MultiWriter(hash, f)
	}
	// One octet more than there should be shows a body that is too long.
	n, err := io.Copy(w, io.LimitReader(m.Body.Reader(), size+1))
	if err == nil && n != size {
		err = fmt.Errorf("the message has other than the %d octets announced", size)
	}
	if spool != nil {
		m.Body.Release()
		if err != nil {
			spool.Release()
			return err
		}
		m.Body = spool
	}
	hash.Sum(m.sum[:0])
	return err
}

// file is a body in a temporary file. It implements [mailhaul.Body].
type file struct {
	f    *os.File
	size int64
}

func (f *file) Size() int64       { return f.size }
func (f *file) Reader() io.Reader { return io.NewSectionReader(f.f, 0, f.size) }
func (f *file) Buffered() bool    { return true }

// Release removes the file.
func (f *file) Release() {
	if f.f != nil {
		_ = f.f.Close()
		_ = os.Remove(f.f.Name())
		f.f = nil
	}
}

// lent is a body that somebody else may release, without effect.
type lent struct{ mailhaul.Body }

func (lent) Release() {}

// exactly reads the octets that were announced, and errs rather than yield
// fewer or more.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		return n, errors.New("the message ended early when it was read again")
	}
	if err == io.EOF {
		err = nil // the next call says so
	}
	return n, err
}
