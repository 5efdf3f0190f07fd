package uidmap

// This file makes a Key of a message's header fields, such that the ways in
// which servers are known to alter header fields do not change it.

import (
	"bytes"
	"crypto/sha256"
)

// Key is a digest of a message's Message-ID, Date, Subject and From, each
// normalised. Equal keys make two messages candidates for being copies of one
// another; they prove nothing. Keys are kept in checkpoints: what [KeyOf] makes
// of given octets never changes.
type Key [16]byte

// keyFields are the fields that make a Key, in the order in which they are
// hashed. The Message-ID is the first.
var keyFields = [...]string{"message-id", "date", "subject", "from"}

// emptyKey is the Key of a message that has none of the fields.
var emptyKey, _ = KeyOf(nil)

// KeyOf returns the Key of a message from its header fields, as a server sent
// them: the whole header or only those that are looked at, with or without the
// empty line at the end. hasID reports whether there is a Message-ID.
//
// Of each field the first occurrence counts. Its name is compared without
// regard to case; of its value all line ends, blanks and tabs are left out,
// and each run of control characters, octets above 0x7E and question marks
// counts as one question mark, since that is what Dovecot, Zimbra and Yahoo
// make of them in some of their answers but not in others. A field that is
// empty then counts as missing, as some servers leave it out; so does a
// Message-ID without a letter or a digit. Lines that are no header fields are
// passed over. Any octets at all are accepted.
func KeyOf(header []byte) (key Key, hasID bool) {
	var values [len(keyFields)][]byte
	for line := range foldedLines(header) {
		name, value, ok := cutField(line)
		if !ok {
			continue
		}
		for i, f := range keyFields {
			if values[i] == nil && bytes.EqualFold(name, []byte(f)) {
				values[i] = value
			}
		}
	}

	// Normalised values hold no control characters, so that the NUL behind
	// each keeps them apart.
	var room [512]byte
	text := room[:0]
	for i, v := range values {
		start := len(text)
		text = appendNormalised(text, v)
		if i == 0 {
			if hasID = bytes.ContainsFunc(text, isAlphanumeric); !hasID {
				text = text[:start]
			}
		}
		text = append(text, 0)
	}
	sum := sha256.Sum256(text)
	copy(key[:], sum[:])
	return key, hasID
}

// foldedLines yields the header's lines up to the first empty one, each with
// its continuation lines (RFC 5322 section 2.2.3) and the line ends within. A
// bare CR and a bare LF end a line as CR LF does, since servers repair both.
func foldedLines(header []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		start, at := 0, 0
		for at < len(header) {
			end, next := lineEnd(header, at)
			if end == at {
				break
			}
			folded := header[at] == ' ' || header[at] == '\t'
			if !folded && at > start {
				if !yield(header[start:at]) {
					return
				}
				start = at
			}
			at = next
		}
		if at > start {
			yield(header[start:at])
		}
	}
}

// lineEnd returns where the line that starts at i ends, and where the next one
// starts. Several CRs before a LF are one line end.
func lineEnd(b []byte, i int) (end, next int) {
	n := bytes.IndexAny(b[i:], "\r\n")
	if n < 0 {
		return len(b), len(b)
	}
	end = i + n
	next = end
	for next < len(b) && b[next] == '\r' {
		next++
	}
	if next < len(b) && b[next] == '\n' {
		return end, next + 1
	}
	if b[end] == '\r' {
		return end, end + 1
	}
	return end, next
}

// cutField splits a line at the colon. Blanks before the colon are allowed, as
// in RFC 5322 section 4.5; others within the name are not, so that the "From "
// line of an mbox is no field.
func cutField(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte{':'})
	if !ok {
		return nil, nil, false
	}
	name = bytes.TrimRight(name, " \t")
	for _, c := range name {
		if !isNameByte(c) {
			return nil, nil, false
		}
	}
	return name, value, len(name) > 0
}

// isNameByte reports whether c may stand in a field's name (RFC 5322 section
// 3.6.8, ftext).
func isNameByte(c byte) bool { return c > ' ' && c < 0x7f && c != ':' }

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// appendNormalised appends what is left of a value when everything is taken
// out that servers change.
func appendNormalised(out, value []byte) []byte {
	start := len(out)
	for _, c := range value {
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			continue
		case c < ' ' || c >= 0x7f || c == '?':
			if n := len(out); n > start && out[n-1] == '?' {
				continue
			}
			c = '?'
		}
		out = append(out, c)
	}
	return out
}
