package wire

import (
	"time"

	"github.com/mailhaul/mailhaul"
)

// Item is a set of FETCH data items.
type Item uint8

// The items that are kept. All others are skipped.
const (
	ItemUID Item = 1 << iota
	ItemFlags
	ItemSize
	ItemDate
	ItemModSeq
	ItemHeader
	ItemBody
)

// Fetch is one FETCH response (RFC 9051 section 7.5.2).
type Fetch struct {
	Seq   uint32
	Items Item // which of the following are there

	UID    mailhaul.UID
	Flags  []mailhaul.Flag
	Size   int64
	Date   time.Time // zero where the server sent one that is none
	ModSeq mailhaul.ModSeq
	Header []byte // part of the response's memory

	// Body is what the framer's BodyFunc returned. Where the body came as a
	// quoted string, it is nil and BodyText holds the octets, which are part
	// of the response's memory.
	Body     any
	BodyText []byte
}

// Parser parses responses that come often and remembers what they repeat. It
// is for one goroutine.
type Parser struct {
	limits Limits
	flags  map[string]mailhaul.Flag
	zone   *time.Location
	offset int
}

// NewParser returns a Parser.
func NewParser(limits Limits) *Parser {
	return &Parser{limits: limits, flags: make(map[string]mailhaul.Flag), zone: time.UTC}
}

// maxInterned bounds the flags that a Parser remembers.
const maxInterned = 1000

// flag returns the flag as a string that is shared by all of its like.
func (p *Parser) flag(b []byte) mailhaul.Flag {
	if f, ok := p.flags[string(b)]; ok {
		return f
	}
	f := mailhaul.Flag(b)
	if len(p.flags) < maxInterned {
		p.flags[string(f)] = f
	}
	return f
}

// PeekUID returns the UID in the part of a FETCH response that is there so
// far, or 0.
func (p *Parser) PeekUID(r *Response) (seq uint32, uid mailhaul.UID) {
	var f Fetch
	s := r.Scan(p.limits)
	head := s.Head()
	_ = p.Fetch(&s, head.Num, &f) // it is not complete yet
	return head.Num, f.UID
}

// Fetch parses a FETCH response, whose head was read, into f. With an error, f
// holds what could be read.
func (p *Parser) Fetch(s *Scanner, seq uint32, f *Fetch) error {
	*f = Fetch{Seq: seq}
	if !s.is('(') {
		return ErrSyntax
	}
	for !s.endOfList() {
		name, err := s.itemName()
		if err != nil {
			return err
		}
		if len(name) == 0 { // a stray parenthesis or string
			if err := s.skipStray(); err != nil {
				return err
			}
			continue
		}
		if err := p.item(s, name, f); err != nil {
			return err
		}
	}
	return nil
}

// item parses the value of one data item.
func (p *Parser) item(s *Scanner, name []byte, f *Fetch) error {
	switch {
	case equalFold(name, "FLAGS"):
		flags, ok, err := p.flagList(s)
		if ok {
			f.Flags = flags
			f.Items |= ItemFlags
		}
		return err
	case equalFold(name, "MODSEQ"):
		n, ok, err := s.modSeq()
		if ok {
			f.ModSeq = mailhaul.ModSeq(n)
			f.Items |= ItemModSeq
		}
		return err
	}
	if s.more() && s.text[s.pos] == '(' {
		return s.skip()
	}
	v, err := s.value()
	if err != nil {
		return err
	}
	switch {
	case equalFold(name, "UID"):
		if n, ok := v.number(32); ok && n > 0 {
			f.UID = mailhaul.UID(n)
			f.Items |= ItemUID
		}
	case equalFold(name, "RFC822.SIZE"):
		if n, ok := v.number(63); ok {
			f.Size = int64(n)
			f.Items |= ItemSize
		}
	case equalFold(name, "INTERNALDATE"):
		if v.kind != kindNone {
			f.Date, _ = p.date(v.text)
			f.Items |= ItemDate
		}
	case equalFold(name, "BODY[]"), equalFold(name, "BODY[]<0>"), equalFold(name, "BODY.PEEK[]"):
		switch v.kind {
		case kindBody:
			f.Body = v.body
			f.Items |= ItemBody
		case kindQuoted, kindLiteral:
			f.BodyText = v.text
			f.Items |= ItemBody
		}
	case isHeaderItem(name):
		switch v.kind {
		case kindQuoted, kindLiteral:
			f.Header = v.text
			f.Items |= ItemHeader
		case kindNil:
			f.Items |= ItemHeader
		}
	}
	return nil
}

func isHeaderItem(name []byte) bool {
	const prefix = "BODY[HEADER.FIELDS"
	return equalFold(name, "BODY[HEADER]") || len(name) > len(prefix) && equalFold(name[:len(prefix)], prefix) && name[len(prefix)] == ' '
}

// itemName takes the name of a data item, with its section and partial, as in
// BODY[HEADER.FIELDS (DATE "From")]<0>.
func (s *Scanner) itemName() ([]byte, error) {
	if !s.more() {
		return nil, nil
	}
	start, end := s.pos, s.stop()
	for s.pos < end {
		switch s.text[s.pos] {
		case ' ', '(', ')', '"':
			return s.text[start:s.pos], nil
		case '[':
			if err := s.section(); err != nil {
				return nil, err
			}
			end = s.stop() // the section may have held a literal
			continue
		}
		s.pos++
	}
	return s.text[start:s.pos], nil
}

// section takes what stands in brackets.
func (s *Scanner) section() error {
	for s.pos++; s.pos < len(s.text); {
		if _, ok := s.literal(); ok {
			continue
		}
		switch s.text[s.pos] {
		case ']':
			s.pos++
			return nil
		case '"':
			if _, err := s.quoted(); err != nil {
				return err
			}
			continue
		}
		s.pos++
	}
	return ErrSyntax
}

// skipStray takes something that stands where the name of an item should.
func (s *Scanner) skipStray() error {
	before := s.pos
	if err := s.skip(); err != nil {
		return err
	}
	if s.pos == before {
		return ErrSyntax
	}
	return nil
}

// flagList takes a list of flags. ok is false where there is none. A flag may
// be a quoted string: a server was seen to do that.
func (p *Parser) flagList(s *Scanner) (flags []mailhaul.Flag, ok bool, err error) {
	if !s.is('(') {
		return nil, false, s.skip()
	}
	// One allocation of about the right size.
	n := 0
	for i := s.pos; i < len(s.text) && s.text[i] != ')'; i++ {
		if s.text[i] == ' ' {
			n++
		}
	}
	for !s.endOfList() {
		v, err := s.value()
		if err != nil {
			return nil, false, err
		}
		if v.kind == kindNone {
			if err := s.skipStray(); err != nil {
				return nil, false, err
			}
			continue
		}
		if len(v.text) > 0 {
			if flags == nil {
				flags = make([]mailhaul.Flag, 0, min(n, 64)+1)
			}
			flags = append(flags, p.flag(v.text))
		}
	}
	return flags, true, nil
}

// Flags parses a FLAGS response whose head was read, or the argument of
// PERMANENTFLAGS. ok is false where it is no list.
func (p *Parser) Flags(s *Scanner) (flags []mailhaul.Flag, ok bool) {
	flags, ok, err := p.flagList(s)
	return flags, ok && err == nil
}

// ScanText returns a Scanner over text without literals, such as the argument
// of a response code.
func ScanText(text string, limits Limits) Scanner {
	return Scanner{text: []byte(text), nesting: limits.Nesting}
}

// modSeq takes a number in parentheses (RFC 7162 section 7), or without.
func (s *Scanner) modSeq() (n uint64, ok bool, err error) {
	list := s.is('(')
	v, err := s.value()
	if err != nil {
		return 0, false, err
	}
	n, ok = v.number(63)
	if list && !s.endOfList() {
		return 0, false, ErrSyntax
	}
	return n, ok, nil
}

// date parses a date-time (RFC 9051 section 9), as in
// "17-Jul-1996 02:44:25 -0700".
func (p *Parser) date(b []byte) (time.Time, bool) {
	var field [6]int // day, year, hour, minute, second, zone
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	i := 0
	number := func(minDigits, maxDigits int) int {
		n, start := 0, i
		for i < len(b) && i-start < maxDigits && b[i] >= '0' && b[i] <= '9' {
			n = n*10 + int(b[i]-'0')
			i++
		}
		if i-start < minDigits {
			i = len(b) + 1
		}
		return n
	}
	sep := func(c byte) {
		if i >= len(b) || b[i] != c {
			i = len(b) + 1
			return
		}
		i++
	}
	field[0] = number(1, 2)
	sep('-')
	month := time.Month(0)
	if i+3 <= len(b) {
		month = monthOf(b[i : i+3])
		i += 3
	}
	sep('-')
	field[1] = number(4, 4)
	sep(' ')
	field[2] = number(2, 2)
	sep(':')
	field[3] = number(2, 2)
	sep(':')
	field[4] = number(2, 2)
	sep(' ')
	sign := 1
	if i < len(b) && (b[i] == '+' || b[i] == '-') {
		if b[i] == '-' {
			sign = -1
		}
		i++
	}
	field[5] = number(4, 4)
	if i != len(b) || month == 0 || field[0] == 0 || field[2] > 23 || field[3] > 59 || field[4] > 60 || field[5]%100 > 59 {
		return time.Time{}, false
	}
	offset := sign * (field[5]/100*3600 + field[5]%100*60)
	if p.zone == nil || offset != p.offset {
		p.zone, p.offset = time.UTC, offset
		if offset != 0 {
			p.zone = time.FixedZone("", offset)
		}
	}
	t := time.Date(field[1], month, field[0], field[2], field[3], field[4], 0, p.zone)
	if t.Day() != field[0] { // 31-Feb
		return time.Time{}, false
	}
	return t, true
}

func monthOf(b []byte) time.Month {
	const names = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"
	for m := range 12 {
		if equalFold(b, names[3*m:3*m+3]) {
			return time.Month(m + 1)
		}
	}
	return 0
}
