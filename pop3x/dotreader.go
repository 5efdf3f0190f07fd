package pop3x

// Message bodies on the wire: the end of a multi-line answer, and the dots.

import (
	"bufio"
	"errors"
)

// dotReader takes a multi-line answer apart (RFC 1939 section 3). Only CR LF .
// CR LF ends it, only a dot behind CR LF is unstuffed, and everything else is
// handed on as it is: a bare LF is no line end, whatever stands behind it.
type dotReader struct {
	in    *bufio.Reader
	start bool // at the beginning of a line
	cr    bool // the last octet was a CR
}

func newDotReader(in *bufio.Reader) *dotReader { return &dotReader{in: in, start: true} }

// next returns the next piece of the message, which is valid until the next
// read; nil at the end.
func (d *dotReader) next() ([]byte, error) {
	for {
		piece, err := d.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		n := len(piece)
		if d.start && piece[0] == '.' {
			if n == 3 && piece[1] == '\r' && piece[2] == '\n' {
				return nil, nil
			}
			piece = piece[1:]
		}
		// A line can be cut between its CR and its LF where the buffer ends.
		switch {
		case n >= 2 && err == nil:
			d.start = len(piece) >= 2 && piece[len(piece)-2] == '\r'
		case err == nil:
			d.start = d.cr
		default:
			d.start = false
		}
		d.cr = len(piece) > 0 && piece[len(piece)-1] == '\r'
		if len(piece) > 0 {
			return piece, nil
		}
	}
}
