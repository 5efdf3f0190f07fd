package wire

import (
	"bytes"
	"strconv"
)

// Scanner walks over the tokens of a response. Its methods never go past the
// end; what they return is valid as long as the response is.
type Scanner struct {
	text    []byte
	lits    []literal
	pos     int
	nesting int // limit, 0: none
}

// Scan returns a Scanner at the beginning of the response.
func (r *Response) Scan(limits Limits) Scanner {
	return Scanner{text: r.text, lits: r.lits, nesting: limits.Nesting}
}

// more reports whether an octet is left, having skipped spaces. Servers put
// them where none belong.
func (s *Scanner) more() bool {
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
	return s.pos < len(s.text)
}

// is reports whether c is the next octet behind spaces, and takes it if it is.
func (s *Scanner) is(c byte) bool {
	if s.more() && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// rest returns what is left.
func (s *Scanner) rest() []byte {
	s.more()
	return s.text[s.pos:]
}

// Word takes the next octets up to a space, a parenthesis or a quote. It is
// empty where there are none.
func (s *Scanner) Word() []byte {
	if !s.more() {
		return nil
	}
	start, end := s.pos, s.stop()
	for s.pos < end {
		switch s.text[s.pos] {
		case ' ', '(', ')', '"':
			return s.text[start:s.pos]
		}
		s.pos++
	}
	return s.text[start:end]
}

// stop returns how far an atom that begins here may reach: to the next literal
// or the end.
func (s *Scanner) stop() int {
	for _, l := range s.lits {
		if l.at > s.pos {
			return l.at
		}
	}
	return len(s.text)
}

// kind is the form in which a string was sent.
type kind uint8

const (
	kindNone    kind = iota // nothing, or a list
	kindAtom                // without quotes; may be a number
	kindNil                 // NIL
	kindQuoted              //
	kindLiteral             // in the text
	kindBody                // a literal that was streamed
)

// value is one token that is no list.
type value struct {
	kind kind
	text []byte
	body any   // of kindBody
	size int64 // of kindBody
}

// literal takes the literal that is announced here, if any.
func (s *Scanner) literal() (value, bool) {
	for len(s.lits) > 0 && s.lits[0].at < s.pos {
		s.lits = s.lits[1:] // passed over
	}
	if len(s.lits) == 0 || s.lits[0].at != s.pos {
		return value{}, false
	}
	l := &s.lits[0]
	s.pos, s.lits = l.end, s.lits[1:]
	if l.streamed {
		return value{kind: kindBody, body: l.value, size: l.size}, true
	}
	return value{kind: kindLiteral, text: s.text[l.start:l.end]}, true
}

// value takes the next token that is no list. It takes nothing, and returns
// kindNone, at a parenthesis and at the end.
func (s *Scanner) value() (value, error) {
	if !s.more() {
		return value{}, nil
	}
	if v, ok := s.literal(); ok {
		return v, nil
	}
	switch s.text[s.pos] {
	case '"':
		text, err := s.quoted()
		return value{kind: kindQuoted, text: text}, err
	case '(', ')':
		return value{}, nil
	}
	word := s.Word()
	if equalFold(word, "NIL") {
		return value{kind: kindNil}, nil
	}
	return value{kind: kindAtom, text: word}, nil
}

// quoted takes a quoted string (RFC 9051 section 9). It does not mind octets
// that do not belong into one.
func (s *Scanner) quoted() ([]byte, error) {
	s.pos++
	start, escapes := s.pos, 0
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case '"':
			text := s.text[start:s.pos]
			s.pos++
			if escapes > 0 {
				text = unescape(text, escapes)
			}
			return text, nil
		case '\\':
			escapes++
			s.pos++
		}
		s.pos++
	}
	s.pos = len(s.text)
	return nil, ErrSyntax
}

func unescape(text []byte, escapes int) []byte {
	out := make([]byte, 0, len(text)-escapes)
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		out = append(out, text[i])
	}
	return out
}

// skip takes the next value, whatever it is. A list is walked over without
// recursion.
func (s *Scanner) skip() error {
	depth := 0
	for {
		v, err := s.value()
		switch {
		case err != nil:
			return err
		case v.kind != kindNone:
		case s.pos >= len(s.text):
			if depth > 0 {
				return ErrSyntax
			}
			return nil
		case s.text[s.pos] == '(':
			s.pos++
			if depth++; s.nesting > 0 && depth > s.nesting {
				return ErrNesting
			}
		case depth == 0: // the end of the list that we are in
			return nil
		default:
			s.pos++
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// endOfList reports whether the list ends here, and takes its end. The end of
// the response ends all lists.
func (s *Scanner) endOfList() bool {
	return !s.more() || s.is(')')
}

// number returns v as a number, and false where it is none that fits.
func (v value) number(bits int) (uint64, bool) {
	if v.kind != kindAtom && v.kind != kindQuoted {
		return 0, false
	}
	return parseUint(v.text, bits)
}

// parseUint parses a decimal number without allocating.
func parseUint(b []byte, bits int) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (1<<64-1-uint64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if bits < 64 && n >= 1<<bits {
		return 0, false
	}
	return n, true
}

// Kind is what a response is, told from its first words.
type Kind uint8

const (
	// Malformed: nothing that IMAP knows.
	Malformed Kind = iota
	// Continuation: "+ …".
	Continuation
	// Tagged: a status response with the tag of a command.
	Tagged
	// StatusLine: an untagged OK, NO, BAD, BYE or PREAUTH.
	StatusLine
	// Numbered: "* 12 WORD …".
	Numbered
	// Untagged: "* WORD …".
	Untagged
)

// Head is the beginning of a response.
type Head struct {
	Kind Kind
	Tag  []byte // of Tagged
	Num  uint32 // of Numbered
	Word []byte // of Numbered and Untagged, as it was sent
}

// Is reports whether the response's word is upper, in whatever case.
func (h Head) Is(upper string) bool { return equalFold(h.Word, upper) }

// Head takes the first words of a response.
func (s *Scanner) Head() Head {
	if len(s.text) > 0 && s.text[0] == '+' {
		s.pos = 1
		return Head{Kind: Continuation}
	}
	tag := s.Word()
	if len(tag) == 0 {
		return Head{}
	}
	if len(tag) != 1 || tag[0] != '*' {
		before := s.pos
		if _, ok := condOf(s.Word()); !ok {
			return Head{}
		}
		s.pos = before
		return Head{Kind: Tagged, Tag: tag}
	}
	before := s.pos
	word := s.Word()
	if _, ok := condOf(word); ok {
		s.pos = before
		return Head{Kind: StatusLine}
	}
	if n, ok := parseUint(word, 32); ok {
		return Head{Kind: Numbered, Num: uint32(n), Word: s.Word()}
	}
	if len(word) == 0 {
		return Head{}
	}
	return Head{Kind: Untagged, Word: word}
}

// ContinuationText returns the text of a continuation request: a challenge in
// base64, or words for people.
func (s *Scanner) ContinuationText() []byte { return bytes.TrimSpace(s.rest()) }

// Quote returns server text as it may be shown and logged: quoted, and cut to
// 512 octets.
func Quote[T ~string | ~[]byte](text T) string { return strconv.Quote(Cut(string(text))) }

// Cut cuts text to 512 octets.
func Cut(text string) string {
	if len(text) > 512 {
		return text[:512] + "…"
	}
	return text
}
