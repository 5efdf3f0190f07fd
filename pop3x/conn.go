package pop3x

// The protocol of lines: commands out, status lines and multi-line answers in.
// docs/adr/0005-pop3-session.md says why it is our own.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// readBuffer is the size of a connection's input buffer. Lines of a body may
// be longer.
const readBuffer = 64 << 10

// conn is one connection to the server. It is for one goroutine at a time,
// except kill.
type conn struct {
	cfg    *Config
	meter  *meter
	number int64
	link   *link
	leash  *leash // nil: no Throttle
	in     *bufio.Reader
	phase  string // what is being done, for an error

	out         []byte // commands that have not been written yet
	outstanding int    // answers that are awaited
	hidden      []string

	mu     sync.Mutex // protects the fields below
	reason error      // why the connection is dead; nil while it is not
}

func newConn(cfg *Config, m *meter, number int64, raw, nc net.Conn, leash *leash) *conn {
	l := &link{raw: raw, conn: nc, timeout: cfg.ProgressTimeout, rate: int64(cfg.Limits.MinRate), leash: leash}
	return &conn{cfg: cfg, meter: m, number: number, link: l, leash: leash, in: bufio.NewReaderSize(l, readBuffer), phase: opGreeting}
}

// kill ends the connection for the reason given, unless it is dead already. It
// may be called by any goroutine.
func (c *conn) kill(reason error) {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	c.mu.Unlock()
	c.link.close()
	c.leash.release()
}

// dead returns why the connection is dead, or nil.
func (c *conn) dead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// while makes the end of ctx the end of the connection, until stop is called.
func (c *conn) while(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.kill(c.cancelled(ctx)) })
}

// fail ends the connection with an error that a read or a write met, and
// returns what it means.
func (c *conn) fail(err error) error {
	c.kill(c.lost(err))
	return c.dead()
}

// errUnsafe is returned for an argument that would end its line.
var errUnsafe = errors.New("an argument holds a line break or another control character")

// say queues a line. What is shown of it in a trace is given apart.
func (c *conn) say(line, shown string) error {
	if err := c.dead(); err != nil {
		return err
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return c.fault(c.phase, mailhaul.Permanent, mailhaul.ScopeAccount, errUnsafe)
	}
	c.trace(true, shown)
	c.meter.commands.Add(1)
	c.out = append(append(c.out, line...), "\r\n"...)
	if c.outstanding == 0 {
		c.meter.roundTrips.Add(1)
		c.link.measure = c.leash != nil && c.phase == opFetch
	}
	c.outstanding++
	return nil
}

// mayAsk waits for leave to send a command about so many messages. What is
// queued is sent first.
func (c *conn) mayAsk(messages int) error {
	if c.leash == nil {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.leash.command(messages); err != nil {
		e := c.fault(c.phase, mailhaul.Throttled, mailhaul.ScopeAccount, err)
		e.Wait = time.Second // then leave to connect is waited for
		return e
	}
	return c.dead()
}

// flush writes what say has queued.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return c.dead()
	}
	_, err := c.link.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return c.fail(err)
	}
	return nil
}

// ask sends one command and reads the first line of the answer.
func (c *conn) ask(op, line string) (status, error) {
	c.phase = op
	if err := c.say(line, line); err != nil {
		return status{}, err
	}
	if err := c.flush(); err != nil {
		return status{}, err
	}
	return c.status()
}

// status is the first line of an answer.
type status struct {
	ok   bool
	more bool   // "+ ": the server goes on asking (RFC 5034)
	code string // in capitals, without brackets
	text string // behind the code
}

// status reads the first line of an answer.
func (c *conn) status() (status, error) {
	line, err := c.line()
	if err != nil {
		return status{}, err
	}
	c.trace(false, string(line))
	st, ok := parseStatus(string(line))
	if !ok {
		return st, c.failed(c.violation("the server's answer begins with neither +OK nor -ERR: %s", quote(c.redact(string(line)))))
	}
	c.answered()
	return st, nil
}

// answered says that an answer has come, or its first line.
func (c *conn) answered() {
	c.outstanding = max(0, c.outstanding-1)
	c.link.complete()
}

// failed ends the connection with an error of our own.
func (c *conn) failed(e *mailhaul.Error) error {
	c.kill(e)
	return c.dead()
}

// parseStatus reads a status line. Servers differ in the case of the words and
// in what stands behind them.
func parseStatus(line string) (st status, ok bool) {
	if line == "+" || strings.HasPrefix(line, "+ ") {
		return status{more: true, text: strings.TrimSpace(line[1:])}, true
	}
	for _, word := range []string{"+OK", "-ERR"} {
		if len(line) < len(word) || !strings.EqualFold(line[:len(word)], word) {
			continue
		}
		rest := line[len(word):]
		if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return st, false
		}
		st.ok, st.text = word == "+OK", strings.TrimSpace(rest)
		if code, text, found := strings.Cut(st.text, "]"); found && strings.HasPrefix(code, "[") { // RFC 2449 section 8
			st.code, st.text = strings.ToUpper(strings.TrimSpace(code[1:])), strings.TrimSpace(text)
		}
		return st, true
	}
	return st, false
}

// errLongLine is returned for a line above Limits.MaxLine.
var errLongLine = errors.New("a line of the server's is too long")

// line reads one line of an answer, without its end. It is valid until the
// next read.
func (c *conn) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	if err == nil && len(line) > c.cfg.Limits.MaxLine+2 || errors.Is(err, bufio.ErrBufferFull) {
		err = errLongLine
	}
	if err != nil {
		return nil, c.fail(err)
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// lines reads the lines behind a status line until the dot, which it undoes
// the stuffing of (RFC 1939 section 3).
func (c *conn) lines(max int, f func(line string) error) error {
	for n := 0; ; n++ {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) > 0 && line[0] == '.' {
			if line = line[1:]; len(line) == 0 {
				c.link.complete()
				return nil
			}
		}
		if n >= max {
			return c.failed(c.violation("the server's listing has more than %d lines", max))
		}
		if err := f(string(line)); err != nil {
			return err
		}
	}
}

const hiddenText = "[hidden]"

// hide keeps a credential out of traces and errors from now on.
func (c *conn) hide(secret string) {
	if len(secret) > 3 { // a shorter one would be found everywhere
		c.hidden = append(c.hidden, secret)
	}
}

// redact removes credentials from the words of a server that repeats them.
func (c *conn) redact(text string) string {
	for _, h := range c.hidden {
		text = strings.ReplaceAll(text, h, hiddenText)
	}
	return text
}

func (c *conn) trace(sent bool, text string) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(TraceLine{Connection: c.number, Sent: sent, Text: c.redact(text)})
	}
}

// maxQuote bounds the text of a server in an error.
const maxQuote = 512

func quote(text string) string {
	if len(text) > maxQuote {
		text = text[:maxQuote]
	}
	return fmt.Sprintf("%q", text)
}
