package uidmap

// This file digests whole messages: once as they are, once as far as servers
// and tools leave them alone.

import (
	"crypto/sha256"
	"hash"
)

// Digest says which message it is by its octets.
type Digest struct {
	// Exact is the SHA-256 of all octets.
	Exact [32]byte

	// Content is the SHA-256 of the text behind the header, in a form that
	// survives what servers and tools do to a message that they keep: lines
	// added to the header do not count, CR LF, a bare LF and a bare CR are the
	// same, so are NUL and 0x80 (which Dovecot stores in its place), and line
	// ends at the end of the text are left out.
	Content [32]byte

	// Size is the number of octets.
	Size int64
}

// emptyContent is the Content of a message without text.
var emptyContent = sha256.Sum256(nil)

// Digester computes the Digest of one message, as it streams by. It keeps a
// few kilobytes, whatever the message. It is for one goroutine.
type Digester struct {
	exact, content hash.Hash
	size           int64

	state   digestState
	name    [4]byte // the first octets of the first line
	nameLen int     // the length of what may be a field's name
	lineLen int     // octets in the current line of the header, at most 1
	afterCR bool    // a LF now belongs to the CR before it
	ends    int64   // line ends in the text that were not followed by text yet

	buf []byte // normalised text on its way into content
}

// digestState is where in the message the Digester is.
type digestState uint8

const (
	inFirstName  digestState = iota // the first line, in what may be a field's name
	inFirstBlank                    // the first line, in blanks behind such a name
	inHeader
	inText
)

// NewDigester returns a Digester for one message.
func NewDigester() *Digester {
	return &Digester{exact: sha256.New(), content: sha256.New(), buf: make([]byte, 0, 4096)}
}

// Reset makes the Digester ready for another message.
func (d *Digester) Reset() {
	d.exact.Reset()
	d.content.Reset()
	*d = Digester{exact: d.exact, content: d.content, buf: d.buf[:0]}
}

// Write takes the next octets of the message. It never fails.
func (d *Digester) Write(p []byte) (int, error) {
	d.exact.Write(p)
	d.size += int64(len(p))

	// Where the header is short of an end nothing but the state is kept, and a
	// message whose first line is no field is text from its first octet on: the
	// first line is digested as text until it turns out to be a field.
	rest := p
	for len(rest) > 0 && d.state != inText {
		d.headerByte(rest[0])
		rest = rest[1:]
	}
	d.text(rest)
	return len(p), nil
}

// Sum returns the Digest of what was written so far.
func (d *Digester) Sum() Digest {
	d.flush()
	s := Digest{Size: d.size}
	d.exact.Sum(s.Exact[:0])
	d.content.Sum(s.Content[:0])
	return s
}

// headerByte takes one octet that is not, or not known to be, behind the
// header.
func (d *Digester) headerByte(c byte) {
	if c == '\n' && d.afterCR {
		d.afterCR = false
		return
	}
	d.afterCR = c == '\r'
	lineEnd := c == '\r' || c == '\n'

	if d.state == inHeader {
		switch {
		case !lineEnd:
			d.lineLen = 1
		case d.lineLen > 0:
			d.lineLen = 0
		default:
			d.state = inText // behind the empty line; afterCR stays
		}
		return
	}

	switch {
	case lineEnd && d.nameLen == 0:
		d.state = inText // the header is empty
		return
	case c == ':' && d.nameLen > 0:
		d.startHeader()
		return
	case c == ' ' || c == '\t':
		if d.nameLen == 4 && string(d.name[:]) == "From" && d.state == inFirstName && c == ' ' {
			// As in an mbox, where such a line stands before the header.
			d.startHeader()
			return
		}
		if d.nameLen > 0 {
			d.state = inFirstBlank
			break
		}
		d.state = inText
	case d.state == inFirstName && isNameByte(c):
		if d.nameLen < len(d.name) {
			d.name[d.nameLen] = c
		}
		d.nameLen = min(d.nameLen+1, len(d.name)+1)
	default:
		d.state = inText // no field: there is no header
	}
	// What went before is in the text already.
	d.afterCR = false
	d.text([]byte{c})
}

// startHeader forgets the first line, which was taken for text.
func (d *Digester) startHeader() {
	d.state = inHeader
	d.lineLen = 1
	d.content.Reset()
	d.buf = d.buf[:0]
}

// text takes octets behind the header.
func (d *Digester) text(p []byte) {
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '\n':
			if !d.afterCR {
				d.ends++
			}
			d.afterCR = false
			i++
			continue
		case '\r':
			d.ends++
			d.afterCR = true
			i++
			continue
		case 0:
			d.endLines()
			d.put(0x80)
			i++
		default:
			d.endLines()
			from := i
			for i++; i < len(p) && p[i] != '\r' && p[i] != '\n' && p[i] != 0; i++ {
			}
			d.putAll(p[from:i])
		}
		d.afterCR = false
	}
}

// endLines writes the line ends that turned out not to be the text's last.
func (d *Digester) endLines() {
	for ; d.ends > 0; d.ends-- {
		d.put('\n')
	}
}

func (d *Digester) put(c byte) {
	if len(d.buf) == cap(d.buf) {
		d.flush()
	}
	d.buf = append(d.buf, c)
}

func (d *Digester) putAll(p []byte) {
	if len(d.buf)+len(p) > cap(d.buf) {
		d.flush()
		if len(p) >= cap(d.buf) {
			d.content.Write(p)
			return
		}
	}
	d.buf = append(d.buf, p...)
}

func (d *Digester) flush() {
	d.content.Write(d.buf)
	d.buf = d.buf[:0]
}
