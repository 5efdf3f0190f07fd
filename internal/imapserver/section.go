// Cutting sections out of a message, without changing an octet.

package imapserver

import (
	"bytes"
	"slices"
	"strings"
)

type sectionKind uint8

const (
	wholeMessage sectionKind = iota
	wholeHeader
	wholeText
	someFields
	otherFields
)

// section is what stands between the brackets of BODY[].
type section struct {
	part   []int64
	what   sectionKind
	fields []string // upper case
}

// cut returns the octets of the section, and whether there is such a section.
func (it *fetchItem) cut(body []byte) ([]byte, bool) {
	var out []byte
	switch {
	case len(it.part) > 1 || len(it.part) == 1 && it.part[0] != 1:
		return nil, false // no MIME is parsed: a message is its only part
	case len(it.part) == 1 && it.what == wholeMessage, it.what == wholeText:
		out = body[headerEnd(body):]
	case it.what == wholeMessage:
		out = body
	case it.what == wholeHeader:
		out = body[:headerEnd(body)]
	default:
		out = pickFields(body[:headerEnd(body)], func(name string) bool {
			return slices.Contains(it.fields, name) == (it.what == someFields)
		})
	}
	if it.partial {
		out = out[min(it.offset, int64(len(out))):]
		out = out[:min(it.count, int64(len(out)))]
	}
	return out, true
}

// headerEnd returns the length of the header, the empty line included. Lines may
// end in CRLF or in a bare LF; a message without an empty line is all header.
func headerEnd(body []byte) int {
	for i := 0; i < len(body); {
		j := bytes.IndexByte(body[i:], '\n')
		if j < 0 {
			break
		}
		if j == 0 || j == 1 && body[i] == '\r' {
			return i + j + 1
		}
		i += j + 1
	}
	return len(body)
}

// eachField calls f for each field of a header: its upper-case name and all of its
// octets. Lines without a colon belong to no field.
func eachField(header []byte, f func(name string, raw []byte)) {
	for i := 0; i < len(header); {
		end := i
		for {
			j := bytes.IndexByte(header[end:], '\n')
			if j < 0 {
				end = len(header)
				break
			}
			end += j + 1
			if end == len(header) || header[end] != ' ' && header[end] != '\t' {
				break
			}
		}
		raw := header[i:end]
		if name, _, ok := bytes.Cut(raw, []byte(":")); ok && !bytes.ContainsAny(name, "\r\n") {
			f(strings.ToUpper(strings.TrimRight(string(name), " \t")), raw)
		}
		i = end
	}
}

// pickFields returns the fields that are wanted and the empty line that ends a
// header (RFC 9051 section 6.4.5.1).
func pickFields(header []byte, wanted func(name string) bool) []byte {
	var out []byte
	eachField(header, func(name string, raw []byte) {
		if wanted(name) {
			out = append(out, raw...)
			if raw[len(raw)-1] != '\n' {
				out = append(out, crlf...)
			}
		}
	})
	return append(out, crlf...)
}

// fieldValue returns the unfolded value of the first field of that upper-case
// name, and whether there is one.
func fieldValue(body []byte, name string) (string, bool) {
	value, found := "", false
	eachField(body[:headerEnd(body)], func(n string, raw []byte) {
		if n == name && !found {
			_, v, _ := strings.Cut(string(raw), ":")
			v = strings.NewReplacer("\r", "", "\n", "").Replace(v)
			value, found = strings.TrimSpace(v), true
		}
	})
	return value, found
}
