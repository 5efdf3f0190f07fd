// The items that FETCH can be asked for.

package imapserver

import (
	"slices"
	"strconv"
	"strings"
)

type itemKind uint8

const (
	itemUID itemKind = iota
	itemFlags
	itemDate
	itemSize
	itemModSeq
	itemEnvelope
	itemSection
)

// fetchItem is one item of FETCH.
type fetchItem struct {
	kind  itemKind
	label string // what a section is called in the response
	peek  bool
	section
	partial       bool
	offset, count int64
}

// withItem returns the items and kind, once.
func withItem(items []fetchItem, kind itemKind) []fetchItem {
	if slices.ContainsFunc(items, func(it fetchItem) bool { return it.kind == kind }) {
		return items
	}
	return append(items, fetchItem{kind: kind})
}

var macros = map[string][]itemKind{
	"FAST": {itemFlags, itemDate, itemSize},
	"ALL":  {itemFlags, itemDate, itemSize, itemEnvelope},
}

// fetchItems parses what is asked for.
func (s *Session) fetchItems(p *parser, uid bool) []fetchItem {
	var items []fetchItem
	if uid {
		items = append(items, fetchItem{kind: itemUID})
	}
	if p.peek() == '(' {
		p.list(func() { items = s.fetchItem(p, items) })
		return items
	}
	for name, kinds := range macros {
		if p.tryWord(name) {
			for _, k := range kinds {
				items = append(items, fetchItem{kind: k})
			}
			return items
		}
	}
	return s.fetchItem(p, items)
}

func (s *Session) fetchItem(p *parser, items []fetchItem) []fetchItem {
	name := strings.ToUpper(string(p.run(func(c byte) bool { return isAtom(c) && c != '[' })))
	simple := map[string]itemKind{"UID": itemUID, "FLAGS": itemFlags, "INTERNALDATE": itemDate, "RFC822.SIZE": itemSize, "ENVELOPE": itemEnvelope}
	if kind, found := simple[name]; found {
		return withItem(items, kind)
	}
	it := fetchItem{kind: itemSection, label: name}
	switch {
	case name == "MODSEQ" && s.server.has("CONDSTORE"):
		s.condstore = s.condstore || p.err == nil
		return withItem(items, itemModSeq)
	case name == "RFC822":
	case name == "RFC822.HEADER":
		it.what, it.peek = wholeHeader, true
	case name == "RFC822.TEXT":
		it.what = wholeText
	case (name == "BODY" || name == "BODY.PEEK") && p.peek() == '[':
		it.peek = name == "BODY.PEEK"
		p.section(&it)
	default:
		p.fail()
	}
	return append(items, it)
}

// section parses "[...]<offset.count>" and builds the label of the response.
func (p *parser) section(it *fetchItem) {
	var label strings.Builder
	label.WriteString("BODY[")
	p.expect('[')
	// Part numbers: there are no parts but the first.
	for p.err == nil && '0' <= p.peek() && p.peek() <= '9' {
		n := p.number()
		it.part = append(it.part, n)
		label.WriteString(strconv.FormatInt(n, 10))
		if p.try('.') {
			label.WriteByte('.')
		}
	}
	if p.peek() != ']' {
		word := strings.ToUpper(string(p.run(func(c byte) bool { return isAtom(c) })))
		label.WriteString(word)
		switch word {
		case "HEADER":
			it.what = wholeHeader
		case "TEXT":
			it.what = wholeText
		case "MIME":
			it.what = wholeHeader
		case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
			it.what = someFields
			if word == "HEADER.FIELDS.NOT" {
				it.what = otherFields
			}
			p.space()
			label.WriteString(" (")
			p.list(func() {
				if len(it.fields) > 0 {
					label.WriteByte(' ')
				}
				f := strings.ToUpper(p.astring())
				it.fields = append(it.fields, f)
				label.WriteString(f)
			})
			label.WriteByte(')')
		default:
			p.fail()
		}
	}
	p.expect(']')
	label.WriteByte(']')
	if p.try('<') {
		it.partial = true
		it.offset = p.number()
		p.expect('.')
		if it.count = p.number(); it.count == 0 {
			p.fail()
		}
		p.expect('>')
		label.WriteString("<" + strconv.FormatInt(it.offset, 10) + ">")
	}
	it.label = label.String()
}
