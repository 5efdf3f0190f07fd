// Package mutf7 is modified UTF-7, the form of mailbox names in IMAP4rev1 (RFC
// 3501 section 5.1.3) and in the directories of a Maildir.
package mutf7

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var alphabet = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding)

// Encode returns the modified UTF-7 of a name. ok is false where the name
// is not UTF-8, and so has none.
func Encode(name string) (wire string, ok bool) {
	if !utf8.ValidString(name) {
		return "", false
	}
	if !strings.ContainsFunc(name, func(r rune) bool { return r == '&' || !direct(r) }) {
		return name, true
	}
	var b strings.Builder
	var shifted []rune
	flush := func() {
		if len(shifted) == 0 {
			return
		}
		units := utf16.Encode(shifted)
		octets := make([]byte, 0, 2*len(units))
		for _, u := range units {
			octets = append(octets, byte(u>>8), byte(u))
		}
		b.WriteByte('&')
		b.WriteString(alphabet.EncodeToString(octets))
		b.WriteByte('-')
		shifted = shifted[:0]
	}
	for _, r := range name {
		if !direct(r) {
			shifted = append(shifted, r)
			continue
		}
		flush()
		b.WriteRune(r)
		if r == '&' {
			b.WriteByte('-')
		}
	}
	flush()
	return b.String(), true
}

// direct reports whether r stands for itself.
func direct(r rune) bool { return r >= 0x20 && r <= 0x7e }

// Decode returns the name that the octets of a mailbox name stand for, and
// false where they stand for none: then the name is the octets themselves. A
// name that would not encode to the same octets again has not been decoded
// either, so that two mailboxes never get one name. Names that come as UTF-8,
// which RFC 9051 allows, are what they are.
func Decode(wire string) (name string, ok bool) {
	ascii := true
	for i := range len(wire) {
		if wire[i] >= 0x80 {
			ascii = false
			break
		}
	}
	if !ascii {
		return wire, utf8.ValidString(wire)
	}
	if strings.IndexByte(wire, '&') < 0 {
		return wire, true
	}
	var b strings.Builder
	for rest := wire; rest != ""; {
		i := strings.IndexByte(rest, '&')
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		shifted, tail, found := strings.Cut(rest[i+1:], "-")
		if !found {
			return wire, false
		}
		rest = tail
		if shifted == "" {
			b.WriteByte('&')
			continue
		}
		octets, err := alphabet.DecodeString(shifted)
		if err != nil || len(octets)%2 != 0 {
			return wire, false
		}
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		for _, r := range utf16.Decode(units) {
			b.WriteRune(r)
		}
	}
	name = b.String()
	if again, ok := Encode(name); !ok || again != wire {
		return wire, false
	}
	return name, true
}
