package cyrus

// Cyrus's own list notation, in which replication speaks: atoms, strings, lists
// in parentheses, and key-value lists behind a percent sign.

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// kind is the form of a value.
type kind uint8

const (
	atom    kind = iota // as it is; NIL too
	quoted              // a string
	literal             // a string that may hold anything
	list                // ( … )
	kvlist              // %( key … )
)

// value is one value, with its key where it is part of a key-value list.
type value struct {
	kind  kind
	key   string
	text  string
	items []value
}

// get returns the member with the key.
func (v *value) get(key string) (value, bool) {
	for _, i := range v.items {
		if i.key == key {
			return i, true
		}
	}
	return value{}, false
}

// maxDepth is how deep lists may be nested; four levels are in use.
const maxDepth = 16

var errSyntax = errors.New("the server's answer is not what Cyrus's replication sends")

// parse reads one key and its value, as a response of SYNCGET holds them.
func parse(text []byte) (value, error) {
	p := parser{rest: string(text)}
	v, err := p.member(0)
	if err == nil && p.rest != "" {
		err = errSyntax
	}
	return v, err
}

type parser struct{ rest string }

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " ") }

// member reads a key and a value.
func (p *parser) member(depth int) (value, error) {
	key, err := p.string()
	if err != nil || key.text == "" {
		return value{}, errSyntax
	}
	p.space()
	v, err := p.value(depth)
	v.key = key.text
	return v, err
}

func (p *parser) value(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, errSyntax
	}
	switch {
	case strings.HasPrefix(p.rest, "%("):
		p.rest = p.rest[2:]
		return p.members(value{kind: kvlist}, func() (value, error) { return p.member(depth + 1) })
	case strings.HasPrefix(p.rest, "("):
		p.rest = p.rest[1:]
		return p.members(value{kind: list}, func() (value, error) { return p.value(depth + 1) })
	}
	return p.string()
}

func (p *parser) members(v value, one func() (value, error)) (value, error) {
	for {
		p.space()
		if strings.HasPrefix(p.rest, ")") {
			p.rest = p.rest[1:]
			return v, nil
		}
		before := len(p.rest)
		m, err := one()
		if err != nil {
			return v, err
		}
		if len(p.rest) == before {
			return v, errSyntax
		}
		v.items = append(v.items, m)
	}
}

// string reads an atom, a quoted string or a literal.
func (p *parser) string() (value, error) {
	switch {
	case p.rest == "":
		return value{}, errSyntax
	case p.rest[0] == '"':
		var b strings.Builder
		for i := 1; i < len(p.rest); i++ {
			switch c := p.rest[i]; {
			case c == '"':
				p.rest = p.rest[i+1:]
				return value{kind: quoted, text: b.String()}, nil
			case c == '\\' && i+1 < len(p.rest):
				i++
				b.WriteByte(p.rest[i])
			default:
				b.WriteByte(c)
			}
		}
		return value{}, errSyntax
	case p.rest[0] == '{':
		head, rest, ok := strings.Cut(p.rest[1:], "}\r\n")
		n, err := strconv.ParseUint(strings.TrimSuffix(head, "+"), 10, 31)
		if !ok || err != nil || n > uint64(len(rest)) {
			return value{}, errSyntax
		}
		p.rest = rest[n:]
		return value{kind: literal, text: rest[:n]}, nil
	}
	end := strings.IndexAny(p.rest, ` ()"`)
	if end < 0 {
		end = len(p.rest)
	}
	if end == 0 {
		return value{}, errSyntax
	}
	v := value{kind: atom, text: p.rest[:end]}
	p.rest = p.rest[end:]
	return v, nil
}

// appendValue writes a value, with its key where it has one.
func appendValue(b []byte, v value) []byte {
	if v.key != "" {
		b = append(append(b, v.key...), ' ')
	}
	switch v.kind {
	case atom:
		return append(b, v.text...)
	case list, kvlist:
		if v.kind == kvlist {
			b = append(b, '%')
		}
		b = append(b, '(')
		for i, m := range v.items {
			if i > 0 {
				b = append(b, ' ')
			}
			b = appendValue(b, m)
		}
		return append(b, ')')
	}
	return appendString(b, v.text, v.kind == literal)
}

// appendString writes a string that the server cannot take for anything else.
func appendString(b []byte, text string, asLiteral bool) []byte {
	for i := range len(text) {
		if c := text[i]; c == 0 || c == '\r' || c == '\n' || c >= 0x7f {
			asLiteral = true
		}
	}
	if asLiteral || len(text) > 1000 {
		b = fmt.Appendf(b, "{%d+}\r\n", len(text))
		return append(b, text...)
	}
	b = append(b, '"')
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, text[i])
	}
	return append(b, '"')
}
