package xuidl

// The octets of a message with one X-UIDL field more, and others less, as they
// stream by.

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/mailhaul/mailhaul"
)

// maxHeader is how far fields are looked for. The first of several counts on
// the server, so that one of the source's own behind this does no harm.
const maxHeader = 256 << 10

// span is octets that are left out.
type span struct{ from, to int64 }

// scan finds the X-UIDL fields in a message's header, with their continuation
// lines (RFC 5322 section 2.2.3). It reads up to maxHeader octets, and no more
// than a buffer beyond the header. continued reports whether the message begins
// with a continuation line.
func scan(r io.Reader) (spans []span, continued bool, err error) {
	in := bufio.NewReaderSize(io.LimitReader(r, maxHeader), 4096)
	var at int64
	start, ours := true, false // at the start of a line; in one of the fields
	for {
		piece, err := in.ReadSlice('\n')
		if start && len(piece) > 0 {
			switch {
			case piece[0] == ' ' || piece[0] == '\t':
				if at == 0 {
					continued = true
				}
			case string(piece) == "\r\n" || string(piece) == "\n":
				return spans, continued, nil
			default:
				if ours = isField(piece); ours {
					spans = append(spans, span{at, at})
				}
			}
		}
		at += int64(len(piece))
		if ours {
			spans[len(spans)-1].to = at
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull): // a long line goes on
			start = false
		case err == io.EOF:
			if at == maxHeader && ours { // its end is not known
				spans = spans[:len(spans)-1]
			}
			return spans, continued, nil
		case err != nil:
			return nil, false, err
		default:
			start = true
		}
	}
}

// isField reports whether a line, or its beginning, is that of an X-UIDL field.
func isField(line []byte) bool {
	name, _, found := bytes.Cut(line, []byte{':'})
	return found && bytes.EqualFold(bytes.TrimRight(name, " \t"), []byte("X-UIDL"))
}

// body is a message with a field in front and spans left out.
type body struct {
	mailhaul.Body
	field  string // with its line end; empty for none
	spans  []span
	size   int64
	stream io.Reader // of a streamed body: all of it, from the first octet
}

// alter returns the message with the field, and without the X-UIDL fields that
// it has, and whether it has some. Where a message cannot have the field, since
// it begins with a continuation line, the field is left out and can is false.
func alter(b mailhaul.Body, field string) (_ mailhaul.Body, own, can bool, err error) {
	a := &body{Body: b, field: field}
	var continued bool
	if b.Buffered() {
		a.spans, continued, err = scan(b.Reader())
	} else {
		var seen bytes.Buffer
		r := b.Reader()
		a.spans, continued, err = scan(io.TeeReader(r, &seen))
		a.stream = io.MultiReader(&seen, r)
	}
	if err != nil {
		return b, false, false, err
	}
	if continued && field != "" {
		a.field, a.spans = "", nil
	}
	a.size = b.Size() + int64(len(a.field))
	for _, s := range a.spans {
		a.size -= s.to - s.from
	}
	return a, len(a.spans) > 0, !continued, nil
}

// Size implements [mailhaul.Body].
func (b *body) Size() int64 { return b.size }

// Reader implements [mailhaul.Body].
func (b *body) Reader() io.Reader {
	r := b.stream
	if r == nil {
		r = b.Body.Reader()
	} else {
		b.stream = spent{b.Body}
	}
	if len(b.spans) > 0 {
		r = &without{r: r, spans: b.spans}
	}
	if b.field == "" {
		return r
	}
	return io.MultiReader(bytes.NewReader([]byte(b.field)), r)
}

// spent is the reader of a streamed body that was opened a second time.
type spent struct{ b mailhaul.Body }

func (s spent) Read(p []byte) (int, error) { return s.b.Reader().Read(p) }

// without reads r but for the spans.
type without struct {
	r     io.Reader
	at    int64
	spans []span
}

func (w *without) Read(p []byte) (int, error) {
	for len(w.spans) > 0 && w.at == w.spans[0].from {
		n, err := io.CopyN(io.Discard, w.r, w.spans[0].to-w.at)
		w.at += n
		if err != nil {
			if err == io.EOF { // it was longer when it was looked at
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		w.spans = w.spans[1:]
	}
	if len(w.spans) > 0 {
		p = p[:min(int64(len(p)), w.spans[0].from-w.at)]
	}
	n, err := w.r.Read(p)
	w.at += int64(n)
	return n, err
}
