// Literals: asking for them, reading them, getting rid of them.

package imapserver

import (
	"errors"
	"io"
)

var errLiteralTooLarge = errors.New("imapserver: literal too large")

// literalHeader parses "{n}" or "{n+}", which ends the line. A form that the
// server did not announce is a mistake.
func (p *parser) literalHeader() (size int64, synchronizing bool) {
	if p.peek() != '{' {
		p.fail()
		return 0, false
	}
	start := p.pos
	p.pos++
	size = p.number()
	synchronizing = !p.try('+')
	p.expect('}')
	if !p.end() {
		p.pos = start
		return 0, false
	}
	s := p.sess.server
	if !synchronizing && !s.has("LITERAL+") && (!s.has("LITERAL-") || size > 4096) {
		p.fail()
	}
	return size, synchronizing
}

// invite tells the client to go on with a synchronizing literal.
func (p *parser) invite(synchronizing bool) {
	if synchronizing {
		p.sess.out.line("+ OK")
	}
}

// octets reads a literal and the line that follows it. Memory grows with what
// arrives, not with what was announced.
func (p *parser) octets(size int64) []byte {
	const eager = 64 << 10
	body := make([]byte, min(size, eager))
	r := p.sess.r
	n, err := io.ReadFull(r, body)
	for err == nil && int64(n) < size {
		grown := make([]byte, min(size, int64(4*len(body))))
		copy(grown, body)
		body = grown
		var k int
		k, err = io.ReadFull(r, body[n:])
		n += k
	}
	if err != nil {
		p.abort(err)
		return nil
	}
	p.nextLine()
	return body
}

// skip reads a literal and forgets it.
func (p *parser) skip(size int64) {
	if _, err := io.CopyN(io.Discard, p.sess.r, size); err != nil {
		p.abort(err)
		return
	}
	p.nextLine()
}

func (p *parser) nextLine() {
	line, err := p.sess.readLine()
	if err != nil {
		p.abort(err)
		return
	}
	p.line, p.pos = line, 0
}

// abort notes that the connection is of no use any more.
func (p *parser) abort(err error) {
	p.fatal = err
	p.fail()
	p.line, p.pos = nil, 0
}

// literalString parses a literal that is an argument other than a message.
func (p *parser) literalString() string {
	size, synchronizing := p.literalHeader()
	if p.err != nil {
		return ""
	}
	if size > int64(p.sess.server.opts.MaxLine) {
		p.fail()
		return ""
	}
	p.invite(synchronizing)
	return string(p.octets(size))
}

// recover gets in step again after BAD: what the client sends without having
// been asked is swallowed, or taken for commands where the options say so.
func (p *parser) recover() error {
	if p.fatal != nil {
		return p.fatal
	}
	if p.sess.server.opts.ParseBodyAfterBAD {
		return nil
	}
	return p.swallow()
}

// swallow reads the rest of the command: non-synchronizing literals and the
// lines that follow them.
func (p *parser) swallow() error {
	for p.fatal == nil {
		size, synchronizing, ok := trailingLiteral(p.line)
		if !ok || synchronizing {
			return nil
		}
		if size > p.sess.server.opts.MaxLiteral {
			p.sess.out.line("* BYE Literal too large.")
			return errLiteralTooLarge
		}
		p.skip(size)
	}
	return p.fatal
}
