// The form in which messages are stored, and in which servers show them.

package maildir

import (
	"bufio"
	"bytes"
	"io"
)

// Dovecot shows a file with a CR put before each LF that has none, and 0x80 in
// the place of NUL, so that a file that holds a message as it is comes out as
// it is, as long as it holds no bare LF and no NUL.
//
// Courier puts a CR before every LF, whatever is there, and drops a CR that is
// the last octet of all. So a message is stored with the CR of each CRLF taken
// out, and comes out as it is, as long as it has no bare LF and does not end in
// CR.

// shownSize returns the size of a file in the form that the server shows.
func (f Flavor) shownSize(file io.Reader) (int64, error) { return io.Copy(io.Discard, f.shown(file)) }

// shown returns a reader of a file in the form that the server shows.
func (f Flavor) shown(file io.Reader) io.Reader {
	return &shownReader{in: bufio.NewReaderSize(file, 32<<10), courier: f == Courier}
}

type shownReader struct {
	in      *bufio.Reader
	courier bool
	cr      bool   // the last octet was a CR, which for Courier is still to come
	ready   []byte // of buf: what was not read yet
	buf     []byte
}

func (s *shownReader) Read(p []byte) (int, error) {
	for len(s.ready) == 0 {
		if _, err := s.in.Peek(1); err != nil {
			return 0, err
		}
		chunk, err := s.in.Peek(s.in.Buffered())
		if err != nil {
			return 0, err
		}
		if s.courier {
			s.buf, s.cr = appendCourier(s.buf[:0], chunk, s.cr)
		} else {
			s.buf, s.cr = appendDovecot(s.buf[:0], chunk, s.cr)
		}
		if _, err := s.in.Discard(len(chunk)); err != nil {
			return 0, err
		}
		s.ready = s.buf
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	return n, nil
}

func appendDovecot(buf, chunk []byte, cr bool) ([]byte, bool) {
	for _, c := range chunk {
		switch {
		case c == '\n' && !cr:
			buf = append(buf, '\r', '\n')
		case c == 0:
			buf = append(buf, 0x80)
		default:
			buf = append(buf, c)
		}
		cr = c == '\r'
	}
	return buf, cr
}

// appendCourier holds a CR back until it knows that it is not the last octet.
func appendCourier(buf, chunk []byte, held bool) ([]byte, bool) {
	for _, c := range chunk {
		if held {
			buf = append(buf, '\r')
			held = false
		}
		switch c {
		case '\r':
			held = true
		case '\n':
			buf = append(buf, '\r', '\n')
		default:
			buf = append(buf, c)
		}
	}
	return buf, held
}

// store copies a message into a file. It returns how many octets the file has,
// and how many the server will show.
func (f Flavor) store(file io.Writer, body io.Reader) (stored, shown int64, err error) {
	counted := &countingWriter{w: file}
	seen := &shownCounter{courier: f == Courier}
	to := io.MultiWriter(counted, seen)
	if f == Courier {
		s := &stripper{w: to}
		if _, err = io.Copy(s, body); err == nil {
			err = s.end()
		}
	} else {
		_, err = io.Copy(to, body)
	}
	return counted.n, seen.size(), err
}

// stripper takes the CR out of each CRLF.
type stripper struct {
	w    io.Writer
	held bool // a CR came last
	buf  []byte
}

func (s *stripper) Write(p []byte) (int, error) {
	s.buf = s.buf[:0]
	for rest := p; len(rest) > 0; {
		if s.held && rest[0] != '\n' {
			s.buf = append(s.buf, '\r')
		}
		s.held = false
		i := bytes.IndexByte(rest, '\r')
		if i < 0 {
			s.buf = append(s.buf, rest...)
			break
		}
		s.buf = append(s.buf, rest[:i]...)
		s.held = true
		rest = rest[i+1:]
	}
	if _, err := s.w.Write(s.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *stripper) end() error {
	if !s.held {
		return nil
	}
	s.held = false
	_, err := s.w.Write([]byte{'\r'})
	return err
}

// shownCounter counts what the server will show of a file that is written to
// it.
type shownCounter struct {
	courier bool
	n       int64
	cr      bool
}

func (c *shownCounter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			c.cr = rest[len(rest)-1] == '\r'
			break
		}
		if c.courier || !(i > 0 && rest[i-1] == '\r' || i == 0 && c.cr) {
			c.n++
		}
		c.cr = false
		rest = rest[i+1:]
	}
	return len(p), nil
}

func (c *shownCounter) size() int64 {
	if c.courier && c.cr {
		return c.n - 1
	}
	return c.n
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
