// Parsing the arguments of commands (RFC 9051 section 9).

package imapserver

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// parser reads the arguments of one command. The first mistake is remembered
// in err and makes all that follows return zero values, so that it is looked at
// once. line is the current line; where a literal ended the last one, it is what
// follows the literal. Strings that are returned are copies.
type parser struct {
	sess  *Session
	line  []byte
	pos   int
	err   error // a mistake of the client
	fatal error // the connection is broken; err is set, too
}

var errSyntax = errors.New("syntax")

func (p *parser) fail() {
	if p.err == nil {
		p.err = errSyntax
	}
}

func (p *parser) rest() []byte { return p.line[p.pos:] }

func (p *parser) peek() byte {
	if p.err != nil || p.pos >= len(p.line) {
		return 0
	}
	return p.line[p.pos]
}

// more reports whether there is anything left.
func (p *parser) more() bool { return p.err == nil && p.pos < len(p.line) }

// end reports whether all went well and nothing is left.
func (p *parser) end() bool {
	if p.err == nil && p.pos != len(p.line) {
		p.fail()
	}
	return p.err == nil
}

// try consumes c if it is next.
func (p *parser) try(c byte) bool {
	if p.peek() != c || p.pos >= len(p.line) {
		return false
	}
	p.pos++
	return true
}

func (p *parser) expect(c byte) {
	if !p.try(c) {
		p.fail()
	}
}

func (p *parser) space() { p.expect(' ') }

// tryWord consumes a word, in any case, if it is next and ends there.
func (p *parser) tryWord(word string) bool {
	if p.err != nil || len(p.rest()) < len(word) || !strings.EqualFold(string(p.rest()[:len(word)]), word) {
		return false
	}
	if after := p.rest()[len(word):]; len(after) > 0 && isAtom(after[0]) {
		return false
	}
	p.pos += len(word)
	return true
}

func (p *parser) word(word string) {
	if !p.tryWord(word) {
		p.fail()
	}
}

// isAtom reports whether c is an ATOM-CHAR.
func isAtom(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`(){%*"\]`, c) < 0
}

func (p *parser) run(allowed func(byte) bool) []byte {
	if p.err != nil {
		return nil
	}
	start := p.pos
	for p.pos < len(p.line) && allowed(p.line[p.pos]) {
		p.pos++
	}
	if p.pos == start {
		p.fail()
	}
	return p.line[start:p.pos]
}

func (p *parser) tag() string {
	return string(p.run(func(c byte) bool { return isAtom(c) && c != '+' || c == ']' }))
}

func (p *parser) atom() string { return string(p.run(isAtom)) }

// number parses a number of at most 63 bits.
func (p *parser) number() int64 {
	n, err := strconv.ParseInt(string(p.run(func(c byte) bool { return '0' <= c && c <= '9' })), 10, 64)
	if err != nil {
		p.fail()
	}
	return n
}

func (p *parser) set() numSet {
	text := p.run(func(c byte) bool { return '0' <= c && c <= '9' || c == ':' || c == ',' || c == '*' })
	if p.err != nil {
		return nil
	}
	set, ok := parseNumSet(text)
	if !ok {
		p.fail()
	}
	return set
}

// quoted parses a quoted string. Octets beyond ASCII are let through, as real
// servers do.
func (p *parser) quoted() string {
	p.expect('"')
	var b []byte
	for p.err == nil {
		if p.pos >= len(p.line) {
			p.fail()
			break
		}
		c := p.line[p.pos]
		p.pos++
		switch c {
		case '"':
			return string(b)
		case '\\':
			if p.pos >= len(p.line) || p.line[p.pos] != '"' && p.line[p.pos] != '\\' {
				p.fail()
				break
			}
			b = append(b, p.line[p.pos])
			p.pos++
		default:
			b = append(b, c)
		}
	}
	return ""
}

// astring parses an atom, a quoted string or a literal.
func (p *parser) astring() string {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '{':
		return p.literalString()
	}
	return string(p.run(func(c byte) bool { return isAtom(c) || c == ']' || c >= 0x80 }))
}

// pattern parses the argument of LIST.
func (p *parser) pattern() string {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '{':
		return p.literalString()
	}
	return string(p.run(func(c byte) bool { return isAtom(c) || c == ']' || c == '%' || c == '*' || c >= 0x80 }))
}

// mailbox parses a mailbox name: its octets, with INBOX folded.
func (p *parser) mailbox() string {
	return foldInbox(p.astring(), p.sess.server.opts.Delimiter)
}

// list parses a parenthesized list, calling f for each element.
func (p *parser) list(f func()) {
	p.expect('(')
	if p.try(')') {
		return
	}
	for p.err == nil {
		f()
		if p.try(')') {
			return
		}
		p.space()
	}
}

// flags parses a flag list as STORE and APPEND take it. Only the five system
// flags and well-formed keywords pass.
func (p *parser) flags() []mailhaul.Flag {
	var flags []mailhaul.Flag
	p.list(func() { flags = append(flags, p.flag()) })
	return flags
}

func (p *parser) flag() mailhaul.Flag {
	prefix := ""
	if p.try('\\') {
		prefix = `\`
	}
	f := mailhaul.Flag(prefix + p.atom())
	if prefix != "" && !f.System() || prefix == "" && !f.Keyword() {
		p.fail()
	}
	return f
}

// dateTime parses the date of APPEND.
func (p *parser) dateTime() time.Time {
	text := p.quoted()
	if p.err != nil {
		return time.Time{}
	}
	t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", text)
	if err != nil {
		p.fail()
	}
	return t
}

// date parses the date of SEARCH.
func (p *parser) date() time.Time {
	text := p.astring()
	t, err := time.Parse("2-Jan-2006", text)
	if err != nil {
		p.fail()
	}
	return t
}

// appendString appends a string as RFC 9051 would have it written: quoted
// where that can be, as a literal elsewhere.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			b = append(b, '{')
			b = strconv.AppendInt(b, int64(len(s)), 10)
			b = append(b, "}\r\n"...)
			return append(b, s...)
		}
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func quote(s string) string { return string(appendString(nil, s)) }

// nstring parses a string or NIL.
func (p *parser) nstring() (string, bool) {
	if p.peek() != '"' && p.peek() != '{' {
		p.word("NIL")
		return "", false
	}
	return p.astring(), true
}

var crlf = []byte("\r\n")

// trailingLiteral returns the size of a literal announced at the end of a line.
func trailingLiteral(line []byte) (size int64, synchronizing, ok bool) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return 0, false, false
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return 0, false, false
	}
	digits := line[i+1 : len(line)-1]
	digits, nonSync := bytes.CutSuffix(digits, []byte("+"))
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || n < 0 || len(digits) == 0 || digits[0] == '+' {
		return 0, false, false
	}
	return n, !nonSync, true
}
