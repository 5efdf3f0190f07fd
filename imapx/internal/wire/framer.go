package wire

// The framer finds where a response ends, and nothing else.

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
)

const (
	readBuffer = 64 << 10 // octets asked of the connection at a time
	growStep   = 64 << 10 // a literal's memory grows by this much as it arrives
	keepBuffer = 1 << 20  // a response buffer above this is not kept
	tailLen    = 32       // room for the announcement of a literal: ~{2^63+}CRLF
)

// BodyFunc takes the literal of a message body, the value of BODY[] in a FETCH
// response. head is the response up to the literal's announcement. It reads as
// much of body as it wants, which is no more than size octets; the framer
// discards the rest. The value that it returns stands for the literal in the
// parsed response ([Fetch].Body). An error ends the stream.
type BodyFunc func(head *Response, size int64, body io.Reader) (value any, err error)

// Framer cuts a stream of octets into responses. It is for one goroutine.
type Framer struct {
	r      *bufio.Reader
	limits Limits
	body   BodyFunc
	resp   Response
	lit    literalReader
	tail   [tailLen]byte // the end of a line that was too long to keep
}

// NewFramer returns a Framer that reads from r. Literals of message bodies go
// to body, or are discarded where it is nil.
func NewFramer(r io.Reader, limits Limits, body BodyFunc) *Framer {
	return &Framer{r: bufio.NewReaderSize(r, readBuffer), limits: limits, body: body}
}

// Buffered returns the number of octets that were read from the stream and
// belong to no response yet.
func (f *Framer) Buffered() int { return f.r.Buffered() }

// Rest returns those octets. They are good until Reset.
func (f *Framer) Rest() []byte {
	rest, _ := f.r.Peek(f.r.Buffered())
	return rest
}

// Reset makes the Framer read from another stream, as after STARTTLS. What was
// buffered is dropped.
func (f *Framer) Reset(r io.Reader) { f.r.Reset(r) }

// Response is one framed response, valid until the next is read.
type Response struct {
	text []byte // all lines without the last CRLF, inline literals in their places
	lits []literal

	// Err is not nil where the response cannot be parsed because parts of it
	// were dropped.
	Err error

	// Search holds the numbers of a SEARCH or ESEARCH response, which are
	// not in the text; nil for any other.
	Search *Search

	search Search
	size   int64
}

// literal is where a literal stands in a response's text.
type literal struct {
	at         int // the '{' of the announcement, or the '~' before it
	start, end int // the octets; empty for a body that was handed on
	size       int64
	value      any // what BodyFunc returned
	streamed   bool
}

// Text returns the lines of the response, for messages to people.
func (r *Response) Text() []byte { return r.text }

// Raw returns a copy of the response's octets as they came, without the last
// line end: each literal stands behind its announcement and a CRLF. Literals
// that were handed on are left out.
func (r *Response) Raw() []byte {
	raw := make([]byte, 0, len(r.text)+2*len(r.lits))
	from := 0
	for _, l := range r.lits {
		raw = append(append(raw, r.text[from:l.start]...), "\r\n"...)
		from = l.start
	}
	return append(raw, r.text[from:]...)
}

func (r *Response) reset() {
	if cap(r.text) > keepBuffer {
		r.text = nil
	}
	clear(r.lits) // values may be large
	r.text, r.lits = r.text[:0], r.lits[:0]
	r.Err, r.Search, r.size = nil, nil, 0
}

// Next reads one response. An error means that the stream is over or can no
// longer be followed; io.EOF that it ended between two responses.
func (f *Framer) Next() (*Response, error) {
	r := &f.resp
	r.reset()
	lines := 0 // octets outside literals
	for first := true; ; first = false {
		start := len(r.text)
		line, err := f.readLine(&lines, first)
		if err != nil {
			if err == io.EOF && !(first && r.size == 0) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if first && (r.Search != nil || isText(r.text)) {
			return r, nil // such a line has no literals, whatever it ends with
		}
		size, digits, ok := announcedLiteral(line)
		if !ok {
			return r, nil
		}
		if size < 0 {
			return nil, ErrLiteralTooLarge
		}
		at := start
		if r.Err == nil {
			at = len(r.text) - digits
		}
		if err := f.readLiteral(at, size); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// readLine appends one line to the response's text, without its line end, and
// returns the line, or the end of it where it was too long to be kept.
func (f *Framer) readLine(lines *int, first bool) ([]byte, error) {
	r := &f.resp
	start := len(r.text)
	var tail []byte
	for {
		part, err := f.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			r.size += int64(len(part))
			return nil, err
		}
		more := err == bufio.ErrBufferFull
		if r.size += int64(len(part)); f.limits.Response > 0 && r.size > f.limits.Response {
			return nil, ErrResponseTooLarge
		}
		if !more {
			part = trimLineEnd(part)
		}
		if first && r.Search == nil && len(r.text) == start {
			if s := searchKind(part); s != notSearch {
				r.Search = &r.search
				r.search.begin(s)
			}
		}
		switch *lines += len(part); {
		case r.Search != nil:
			r.search.feed(part)
			if !more {
				r.search.end()
			}
		case r.Err != nil || f.limits.Line > 0 && *lines > f.limits.Line:
			// Only the end of the line matters from here on: it may announce
			// a literal, and then the line does not end the response.
			if r.Err == nil {
				r.Err = ErrLineTooLong
				tail = append(f.tail[:0], r.text[max(start, len(r.text)-tailLen):]...)
			}
			tail = append(tail, part[max(0, len(part)-tailLen):]...)
			tail = append(f.tail[:0], tail[max(0, len(tail)-tailLen):]...)
		default:
			r.text = append(r.text, part...)
		}
		if !more {
			break
		}
	}
	if r.Err != nil {
		if n := len(tail); n > 0 && tail[n-1] == '\r' {
			tail = tail[:n-1]
		}
		return tail, nil
	}
	// A line that filled the buffer may have had its CR in the part before.
	if n := len(r.text); n > start && r.text[n-1] == '\r' {
		r.text = r.text[:n-1]
	}
	return r.text[start:], nil
}

func trimLineEnd(line []byte) []byte {
	line = line[:len(line)-1] // ends in LF
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// readLiteral reads the size octets that were announced at the end of the
// text, from the offset at on.
func (f *Framer) readLiteral(at int, size int64) error {
	r := &f.resp
	if r.Err == nil && isBody(r.text[:at]) {
		return f.streamLiteral(at, size)
	}
	if f.limits.Response > 0 && size > f.limits.Response-r.size {
		return ErrLiteralTooLarge
	}
	r.size += size
	if r.Err != nil {
		return f.discard(size)
	}
	lit := literal{at: at, start: len(r.text), size: size}
	for size > 0 {
		// The announced size is only a claim: memory grows with what arrives.
		step := int(min(size, growStep))
		n := len(r.text)
		r.text = append(r.text, make([]byte, step)...)
		m, err := io.ReadFull(f.r, r.text[n:])
		r.text = r.text[:n+m]
		if err != nil {
			return err
		}
		size -= int64(step)
	}
	lit.end = len(r.text)
	r.lits = append(r.lits, lit)
	return nil
}

// streamLiteral hands a message body on.
func (f *Framer) streamLiteral(at int, size int64) error {
	r := &f.resp
	// A body that is somewhat too large is passed over, so that it costs
	// itself only. One that would take for ever to pass over is an attack.
	if f.limits.Body > 0 && size/16 > f.limits.Body {
		return ErrLiteralTooLarge
	}
	lit := literal{at: at, start: len(r.text), end: len(r.text), size: size, streamed: true}
	f.lit = literalReader{r: f.r, left: size}
	if f.body != nil {
		var err error
		if lit.value, err = f.body(r, size, &f.lit); err != nil {
			return err
		}
	}
	r.lits = append(r.lits, lit)
	return f.discard(f.lit.left)
}

// discard reads and drops n octets.
func (f *Framer) discard(n int64) error {
	for n > 0 {
		m, err := f.r.Discard(int(min(n, 1<<20)))
		n -= int64(m)
		if err != nil {
			return err
		}
	}
	return nil
}

// literalReader reads the octets of one literal. Its end is io.EOF, that of
// the stream io.ErrUnexpectedEOF.
type literalReader struct {
	r    *bufio.Reader
	left int64
}

func (l *literalReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// announcedLiteral returns the size of the literal that the line announces at
// its end (RFC 9051 section 4.3: {n}, {n+}, and ~{n} of RFC 3516), and the
// number of octets that the announcement takes. The size is -1 where it is
// more than 63 bits hold.
func announcedLiteral(line []byte) (size int64, octets int, ok bool) {
	if n := len(line); n < 3 || line[n-1] != '}' {
		return 0, 0, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, 0, false
	}
	digits := line[open+1 : len(line)-1]
	if n := len(digits); n > 0 && digits[n-1] == '+' {
		digits = digits[:n-1]
	}
	if len(digits) == 0 {
		return 0, 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
	}
	if open > 0 && line[open-1] == '~' {
		open--
	}
	octets = len(line) - open
	if len(digits) > 19 {
		return -1, octets, true
	}
	size, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		size = -1
	}
	return size, octets, true
}

// isText reports whether the line ends in text for people, which may contain
// anything: a status response (RFC 9051 section 7.1) or a continuation request.
func isText(line []byte) bool {
	if len(line) > 0 && line[0] == '+' {
		return true
	}
	_, rest, _ := bytes.Cut(line, space)
	word, _, _ := bytes.Cut(rest, space)
	switch len(word) {
	case 2, 3, 7:
		_, ok := condOf(word)
		return ok
	}
	return false
}

// isBody reports whether a literal that follows head is the value of BODY[] in
// a FETCH response.
func isBody(head []byte) bool {
	n := len(head)
	if n == 0 || head[n-1] != ' ' {
		return false
	}
	head = head[:n-1]
	if bytes.HasSuffix(head, []byte("[]<0>")) {
		head = head[:len(head)-3]
	}
	if !bytes.HasSuffix(head, []byte("[]")) || !bytes.HasPrefix(head, []byte("* ")) {
		return false
	}
	i := 2
	for i < len(head) && (head[i] >= '0' && head[i] <= '9' || head[i] == ' ') {
		i++
	}
	return i > 2 && len(head) > i+6 && equalFold(head[i:i+5], "FETCH") && (head[i+5] == ' ' || head[i+5] == '(')
}

var space = []byte{' '}

// equalFold reports whether b is the ASCII word, without regard to case. It
// does not allocate.
func equalFold(b []byte, upper string) bool {
	if len(b) != len(upper) {
		return false
	}
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}
