package dsync

// A message's body on the wire: its octets, a second dot before each that
// begins a line, and a line with a dot behind all.

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"github.com/mailhaul/mailhaul"
)

// writeMail writes a message with its body, and notes in the entry what was
// written. An error of the body's, as against the writer's, is a *bodyError:
// the message is not complete then and must not become so.
func (x *exchange) writeMail(to io.Writer, e *entry, out mailhaul.Outgoing, now time.Time) error {
	e.date = out.InternalDate
	if e.date.IsZero() {
		e.date = now
	}
	r := record{"guid": x.guid(e.msg), "uid": u32(e.uid), "received_date": strconv.FormatInt(max(e.date.Unix(), 0), 10), "stream": ""}
	if x.task.want.UIDLs {
		if proper(e.msg.UIDL) {
			r["pop3_uidl"] = string(e.msg.UIDL)
		}
		if e.msg.Order > 0 {
			r["pop3_order"] = u32(e.msg.Order)
		}
	}
	if _, err := to.Write(appendLine(nil, itemMail, keysOf(itemMail), r)); err != nil {
		return err
	}
	d := dotWriter{out: to, last: '\n'}
	buf := x.copyBuffer()
	for body := out.Body.Reader(); ; {
		n, err := body.Read(buf)
		if _, werr := d.Write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return &bodyError{err}
		}
	}
	e.size = d.octets + d.bareLFs
	_, err := io.WriteString(to, "\r\n.\r\n")
	return err
}

// bodyError is an error of the reader of a body.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "the message could not be read: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// dotWriter doubles dots at the beginnings of lines, whichever way these end,
// and counts.
type dotWriter struct {
	out  io.Writer
	last byte // that was written

	octets  int64 // without the doubled dots
	bareLFs int64 // each of which IMAP shows with a CR
}

func (d *dotWriter) Write(p []byte) (int, error) {
	whole := len(p)
	d.octets += int64(whole)
	for len(p) > 0 {
		if d.last == '\n' && p[0] == '.' {
			if _, err := d.out.Write([]byte{'.'}); err != nil {
				return 0, err
			}
			d.last = '.'
		}
		// A line, or what there is of it.
		n := len(p)
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			n = i + 1
			if before := d.last; i > 0 && p[i-1] != '\r' || i == 0 && before != '\r' {
				d.bareLFs++
			}
		}
		if _, err := d.out.Write(p[:n]); err != nil {
			return 0, err
		}
		d.last = p[n-1]
		p = p[n:]
	}
	return whole, nil
}

// proper reports whether a UIDL is one (RFC 1939 section 7), and not a digest
// that stands in for one.
func proper(uidl mailhaul.UIDL) bool {
	if uidl == "" {
		return false
	}
	for i := range len(uidl) {
		if uidl[i] < 0x21 || uidl[i] > 0x7e {
			return false
		}
	}
	return true
}

// copyBuffer returns a buffer for bodies.
func (x *exchange) copyBuffer() []byte {
	if x.buf == nil {
		x.buf = make([]byte, 64<<10)
	}
	return x.buf
}
