package dsync

// A Dovecot at the other end, line by line.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mailhaul/mailhaul"
)

const (
	readBuffer  = 32 << 10
	writeBuffer = 128 << 10
)

// sentence is an error with a text of our own, in place of its cause's.
type sentence struct {
	text string
	err  error
}

func (e *sentence) Error() string { return e.text }
func (e *sentence) Unwrap() error { return e.err }

// errGaveUp is returned where the peer has said that it gives up. Its reasons
// are in its own log.
var errGaveUp = errors.New("the server gave up")

const hintLog = "the server's log says why"

// peer is one connection to a Dovecot. It is for one goroutine that reads and
// one that writes.
type peer struct {
	t    *Target
	box  string // the mailbox, for errors
	link *link
	in   *bufio.Reader
	out  *bufio.Writer

	keys   map[byte][]string // in which the peer sends its items
	buf    []byte            // of the line that is read
	closed bool
}

func (t *Target) newPeer(raw pipe) *peer {
	l := &link{pipe: raw, timeout: t.cfg.ProgressTimeout}
	return &peer{t: t, link: l, in: bufio.NewReaderSize(l, readBuffer), out: bufio.NewWriterSize(l, writeBuffer)}
}

// fault is an error of this peer's.
func (p *peer) fault(kind mailhaul.Kind, scope mailhaul.Scope, hint string, err error) *mailhaul.Error {
	e := p.t.fault(p.box, kind, scope, err)
	e.Hint = hint
	return e
}

func (p *peer) violation(format string, args ...any) error {
	return p.fault(mailhaul.Corrupt, mailhaul.ScopeConnection, "", fmt.Errorf(format, args...))
}

// lost makes an error of one of the connection's.
func (p *peer) lost(err error) error {
	if _, ok := errors.AsType[*mailhaul.Error](err); ok {
		return err
	}
	hint := "connect again"
	switch {
	case errors.Is(err, errSilent), errors.Is(err, errSlow), errors.Is(err, errStuck):
	case errors.Is(err, errGaveUp):
		hint = hintLog
	default:
		err = &sentence{"the connection was lost", err}
		hint = hintLog
	}
	return p.fault(mailhaul.Transient, mailhaul.ScopeConnection, hint, p.link.Explain(err))
}

// while runs f, and interrupts what it reads or writes when ctx ends.
func (p *peer) while(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return p.cancelled(ctx)
	}
	stop := context.AfterFunc(ctx, p.link.Interrupt)
	err := f()
	if !stop() && err != nil {
		return p.cancelled(ctx)
	}
	return err
}

// cancelled is the error for a context that has ended.
func (p *peer) cancelled(ctx context.Context) error {
	return p.fault(mailhaul.Transient, mailhaul.ScopeConnection, "", ctx.Err())
}

// leave ends an exchange that was only to tell us something, in words that the
// server understands.
func (p *peer) leave() {
	p.out.WriteString(string(itemDone) + "\n")
	_ = p.out.Flush()
	p.close()
}

func (p *peer) close() {
	if !p.closed {
		p.closed = true
		_ = p.link.Close()
	}
}

func (p *peer) flush() error {
	if err := p.out.Flush(); err != nil {
		return p.lost(err)
	}
	return nil
}

// line reads a line, without its end.
func (p *peer) line() (string, error) {
	p.buf = p.buf[:0]
	for {
		part, err := p.in.ReadSlice('\n')
		if len(p.buf)+len(part) > maxLine {
			return "", p.violation("a line is longer than %d octets", maxLine)
		}
		p.buf = append(p.buf, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", p.lost(err)
		}
		p.link.complete()
		text := string(p.buf[:len(p.buf)-1])
		if cap(p.buf) > readBuffer {
			p.buf = nil
		}
		return text, nil
	}
}

// send writes an item.
func (p *peer) send(item byte, r record) {
	p.out.Write(appendLine(p.out.AvailableBuffer(), item, keysOf(item), r))
}

// end ends a list.
func (p *peer) end() { p.out.WriteString(endOfList + "\n") }

// announce begins the exchange: which version we speak, and in which order we
// send values.
func (p *peer) announce(settings record) {
	p.out.WriteString("VERSION\tdsync\t3\t5\n")
	for _, o := range ours {
		p.out.WriteByte(o.item)
		p.out.WriteString(strings.Join(o.keys, "\t"))
		p.out.WriteByte('\n')
	}
	p.end()
	p.send(itemHandshake, settings)
}

const hintVersion = "dsync needs Dovecot 2.2 or later, whose dsync speaks version 3"

// greeted reads the peer's side of that.
func (p *peer) greeted() error {
	first, err := p.line()
	if err != nil {
		return err
	}
	fields := strings.Split(first, "\t")
	if len(fields) < 3 || fields[0] != "VERSION" || fields[1] != "dsync" {
		return p.fault(mailhaul.Permanent, mailhaul.ScopeServer, hintVersion, fmt.Errorf("it speaks something else than dsync: %.60q", first))
	}
	if fields[2] != "3" {
		return p.fault(mailhaul.Permanent, mailhaul.ScopeServer, hintVersion, fmt.Errorf("it speaks version %.20q of dsync", fields[2]))
	}
	p.keys = make(map[byte][]string)
	for range maxHeaders {
		line, err := p.line()
		if err != nil {
			return err
		}
		if line == endOfList {
			_, err := p.one(itemHandshake)
			return err
		}
		if line == "" {
			return p.violation("%w: it is empty", errBadLine)
		}
		if p.keys[line[0]], err = parseKeys(line[1:]); err != nil {
			return p.violation("%w", err)
		}
	}
	return p.violation("the announcement has no end")
}

// next reads an item of the wanted kind, or the end of a list of such.
func (p *peer) next(want byte) (r record, end bool, err error) {
	line, err := p.line()
	if err != nil {
		return nil, false, err
	}
	if line == endOfList {
		return nil, true, nil
	}
	if line == "" {
		return nil, false, p.violation("%w: it is empty", errBadLine)
	}
	switch item := line[0]; {
	case item == itemDone && want != itemDone:
		return nil, false, p.lost(errGaveUp)
	case item == itemFinish && want != itemFinish:
		r, err := parseValues(line[1:], p.keys[item])
		if err != nil {
			return nil, false, p.violation("%w", err)
		}
		if err := p.finished(r); err != nil {
			return nil, false, err
		}
		return nil, false, p.violation("it ended too early")
	case item != want:
		return nil, false, p.violation("it sent %q where %q was due", item, want)
	}
	if r, err = parseValues(line[1:], p.keys[want]); err != nil {
		return nil, false, p.violation("%w", err)
	}
	return r, false, nil
}

// one reads an item that is no list.
func (p *peer) one(want byte) (record, error) {
	r, end, err := p.next(want)
	if err == nil && end {
		err = p.violation("a list ended where %q was due", want)
	}
	return r, err
}

// mailErrors are the kinds of the numbers that Dovecot names its errors by.
// Those above 2 have stood still since 2.2.33; before that, and in between, a
// wrong word costs a repetition.
var mailErrors = map[string]struct {
	kind  mailhaul.Kind
	scope mailhaul.Scope
	text  string
}{
	"5": {mailhaul.Permanent, mailhaul.ScopeMailbox, "the user may not write to the mailbox"},
	"6": {mailhaul.OverQuota, mailhaul.ScopeAccount, "the user's quota is used up"},
	"7": {mailhaul.Conflict, mailhaul.ScopeMailbox, "the mailbox is gone"},
}

// finished makes an error of the last word, where it is one.
func (p *peer) finished(r record) error {
	text, failed := r["error"]
	if !failed || text == "" {
		return nil
	}
	kind, scope := mailhaul.Transient, mailhaul.ScopeConnection
	if m, ok := mailErrors[r["mail_error"]]; ok {
		kind, scope, text = m.kind, m.scope, m.text
	}
	return p.fault(kind, scope, hintLog, fmt.Errorf("the server could not finish: %.200q", text))
}
