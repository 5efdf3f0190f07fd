package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// ErrUnsafe is returned for a string that cannot be sent: with a CR, LF or NUL
// in it, it could end the command that it is part of, or be taken for
// something else.
var ErrUnsafe = errors.New("a string with CR, LF or NUL cannot be sent")

// Encoder builds the octets of one command. Its zero value is ready for use.
// What goes in as a string cannot end the command: the first that could is
// reported by Err, and then nothing may be sent.
type Encoder struct {
	buf  []byte
	cuts []int // where the server must ask for the octets that follow
	err  error
}

// Reset empties the Encoder for another command.
func (e *Encoder) Reset() { *e = Encoder{buf: e.buf[:0], cuts: e.cuts[:0]} }

// Err returns the first mistake.
func (e *Encoder) Err() error { return e.err }

// Len returns the number of octets so far.
func (e *Encoder) Len() int { return len(e.buf) }

// Bytes returns the octets so far. They are valid until the next change.
func (e *Encoder) Bytes() []byte { return e.buf }

// Parts returns the octets in the pieces that can be sent in one go: each but
// the last ends with the announcement of a literal, after which the server has
// to ask for the next.
func (e *Encoder) Parts() [][]byte {
	parts := make([][]byte, 0, len(e.cuts)+1)
	from := 0
	for _, cut := range e.cuts {
		parts = append(parts, e.buf[from:cut])
		from = cut
	}
	return append(parts, e.buf[from:])
}

// Raw appends text of our own that needs no quoting.
func (e *Encoder) Raw(text string) *Encoder {
	e.buf = append(e.buf, text...)
	return e
}

// SP appends a space.
func (e *Encoder) SP() *Encoder { return e.Raw(" ") }

// CRLF ends the command or the line.
func (e *Encoder) CRLF() *Encoder { return e.Raw("\r\n") }

// Number appends a number.
func (e *Encoder) Number(n uint64) *Encoder {
	e.buf = strconv.AppendUint(e.buf, n, 10)
	return e
}

// String appends text as a quoted string, or as a literal where it cannot be
// quoted (RFC 9051 section 4.3).
func (e *Encoder) String(text string) *Encoder {
	quotable := len(text) <= 1000
	for i := range len(text) {
		switch c := text[i]; {
		case c == 0 || c == '\r' || c == '\n':
			if e.err == nil {
				e.err = fmt.Errorf("%w: %s", ErrUnsafe, Quote(text))
			}
			return e
		case c >= 0x7f || c < ' ':
			quotable = false
		}
	}
	if !quotable {
		e.Raw("{").Number(uint64(len(text))).Raw("}\r\n")
		e.cuts = append(e.cuts, len(e.buf))
		return e.Raw(text)
	}
	e.buf = append(e.buf, '"')
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			e.buf = append(e.buf, '\\')
		}
		e.buf = append(e.buf, text[i])
	}
	e.buf = append(e.buf, '"')
	return e
}

// Secret is String for a text that must not be shown, not even in an error.
func (e *Encoder) Secret(text string) *Encoder {
	if strings.ContainsAny(text, "\x00\r\n") {
		if e.err == nil {
			e.err = ErrUnsafe
		}
		return e
	}
	return e.String(text)
}

// Set appends a set of UIDs. The empty set, for which IMAP has no form, is a
// mistake.
func (e *Encoder) Set(set mailhaul.UIDSet) *Encoder {
	if len(set) == 0 && e.err == nil {
		e.err = errors.New("an empty set of UIDs cannot be sent")
	}
	for i, r := range set {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = appendRange(e.buf, r)
	}
	return e
}

func appendRange(b []byte, r mailhaul.UIDRange) []byte {
	b = strconv.AppendUint(b, uint64(r.First), 10)
	if r.Last > r.First {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(r.Last), 10)
	}
	return b
}

// Flags appends a list of flags. A flag that is neither one of the five system
// flags nor a keyword that can be sent is a mistake.
func (e *Encoder) Flags(flags []mailhaul.Flag) *Encoder {
	e.buf = append(e.buf, '(')
	for i, f := range flags {
		if !f.System() && !f.Keyword() {
			if e.err == nil {
				e.err = fmt.Errorf("flag %s cannot be sent", Quote(string(f)))
			}
			return e
		}
		if i > 0 {
			e.buf = append(e.buf, ' ')
		}
		e.buf = append(e.buf, f...)
	}
	e.buf = append(e.buf, ')')
	return e
}

// SPDate appends a space and a date-time, in the zone that t has where IMAP can
// write it and in UTC where it cannot. Of a year that has no four digits it
// appends nothing.
func (e *Encoder) SPDate(t time.Time) *Encoder {
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600 {
		t = t.UTC()
	}
	if y := t.Year(); y < 1 || y > 9999 {
		return e
	}
	e.buf = t.AppendFormat(e.buf, ` "_2-Jan-2006 15:04:05 -0700"`)
	return e
}

// SplitSet cuts a set into pieces whose text is no longer than octets, and
// which span no more than n numbers each.
func SplitSet(set mailhaul.UIDSet, octets, n int) []mailhaul.UIDSet {
	var pieces []mailhaul.UIDSet
	var piece mailhaul.UIDSet
	length, count := 0, 0
	var scratch [24]byte
	for _, r := range set {
		for {
			take := r
			if width := int64(r.Last-r.First) + 1; width > int64(n) {
				take.Last = r.First + mailhaul.UID(n-1)
			}
			width := int(take.Last-take.First) + 1
			size := len(appendRange(scratch[:0], take)) + 1
			if len(piece) > 0 && (length+size > octets || count+width > n) {
				pieces = append(pieces, piece)
				piece, length, count = nil, 0, 0
			}
			piece = append(piece, take)
			length += size
			count += width
			if take.Last == r.Last {
				break
			}
			r.First = take.Last + 1
		}
	}
	if len(piece) > 0 {
		pieces = append(pieces, piece)
	}
	return pieces
}
