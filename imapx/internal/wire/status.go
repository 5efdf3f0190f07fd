package wire

import (
	"bytes"
	"strings"
)

// Cond is the condition of a status response (RFC 9051 section 7.1).
type Cond uint8

// The conditions.
const (
	OK Cond = iota + 1
	NO
	BAD
	BYE
	PREAUTH
)

// String returns the condition as it stands on the wire.
func (c Cond) String() string {
	switch c {
	case OK:
		return "OK"
	case NO:
		return "NO"
	case BAD:
		return "BAD"
	case BYE:
		return "BYE"
	case PREAUTH:
		return "PREAUTH"
	}
	return "?"
}

func condOf(word []byte) (Cond, bool) {
	for c := OK; c <= PREAUTH; c++ {
		if equalFold(word, c.String()) {
			return c, true
		}
	}
	return 0, false
}

// Status is a status response. It holds no memory of the response.
type Status struct {
	Cond Cond
	Code string // response code in upper case (RFC 9051 section 7.1), "" for none
	Arg  string // what follows the code, without the bracket
	Text string // for people
}

// Status parses the status response at the scanner's place.
func (s *Scanner) Status() Status {
	cond, _ := condOf(s.Word())
	st := Status{Cond: cond}
	rest := s.rest()
	if len(rest) > 0 && rest[0] == '[' {
		if end := codeEnd(rest); end > 0 {
			code, arg, _ := bytes.Cut(rest[1:end], space)
			st.Code = strings.ToUpper(string(code))
			st.Arg = string(bytes.TrimSpace(arg))
			rest = rest[end+1:]
		}
	}
	st.Text = string(bytes.TrimSpace(rest))
	return st
}

// codeEnd returns the index of the bracket that ends a response code, or -1.
// Brackets inside quotes and parentheses do not count: a flag may hold one.
func codeEnd(text []byte) int {
	depth, quoted := 0, false
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ']' && depth <= 0:
			return i
		}
	}
	// The parentheses do not match: the first bracket it is, then.
	return bytes.IndexByte(text, ']')
}
