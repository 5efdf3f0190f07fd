package dsync

// Messages that are put aside until all others are stored, in a temporary file.

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/mailhaul/mailhaul"
)

type spool struct {
	file *os.File
	end  int64
	kept []kept
}

// kept is a message in the file.
type kept struct {
	at           int // its place in the Writer's identity
	out          mailhaul.Outgoing
	offset, size int64
}

func newSpool() (*spool, error) {
	f, err := os.CreateTemp("", "mailhaul-dsync-")
	if err != nil {
		return nil, fmt.Errorf("a temporary file: %w", err)
	}
	_ = os.Remove(f.Name()) // where a file may be removed while it is open
	return &spool{file: f}, nil
}

// add copies a message into the file.
func (s *spool) add(at int, out mailhaul.Outgoing) error {
	w := bufio.NewWriter(io.NewOffsetWriter(s.file, s.end))
	n, err := io.Copy(onlyWriter{w}, bodyReader{out.Body.Reader()})
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return err
	}
	out.Body = nil
	s.kept = append(s.kept, kept{at, out, s.end, n})
	s.end += n
	return nil
}

func (s *spool) places() []int {
	places := make([]int, len(s.kept))
	for i, k := range s.kept {
		places[i] = k.at
	}
	return places
}

// all yields the messages, in the order in which they came.
func (s *spool) all(mailhaul.Identity) iter.Seq2[int, mailhaul.Outgoing] {
	return func(yield func(int, mailhaul.Outgoing) bool) {
		for _, k := range s.kept {
			out := k.out
			out.Body = spooled{s.file, k.offset, k.size}
			if !yield(k.at, out) {
				return
			}
		}
	}
}

func (s *spool) close() {
	_ = s.file.Close()
	_ = os.Remove(s.file.Name())
}

// spooled is a body in the file.
type spooled struct {
	file         *os.File
	offset, size int64
}

func (b spooled) Size() int64       { return b.size }
func (b spooled) Reader() io.Reader { return io.NewSectionReader(b.file, b.offset, b.size) }
func (spooled) Buffered() bool      { return true }
func (spooled) Release()            {}

// bodyReader marks the errors of a body's reader.
type bodyReader struct{ r io.Reader }

func (b bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

// onlyWriter hides ReadFrom, which would hide a bodyError.
type onlyWriter struct{ io.Writer }
