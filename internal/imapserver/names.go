// Mailbox names: modified UTF-7 (RFC 3501 section 5.1.3) and the hierarchy.

package imapserver

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var b64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// encodeName returns the wire form of a UTF-8 name. Octets that are no UTF-8
// become U+FFFD.
func encodeName(name string) string {
	var b strings.Builder
	var run []byte // UTF-16 of what cannot stand for itself
	flush := func() {
		if run != nil {
			b.WriteByte('&')
			b.WriteString(b64.EncodeToString(run))
			b.WriteByte('-')
			run = nil
		}
	}
	for _, r := range name {
		switch {
		case r == '&':
			flush()
			b.WriteString("&-")
		case ' ' <= r && r <= '~':
			flush()
			b.WriteRune(r)
		default:
			for _, u := range utf16.AppendRune(nil, r) {
				run = append(run, byte(u>>8), byte(u))
			}
		}
	}
	flush()
	return b.String()
}

var errName = errors.New("mailbox name is not valid modified UTF-7")

// decodeName is the inverse of encodeName. It accepts only what encodeName
// makes, as RFC 3501 wants it.
func decodeName(wire string) (string, error) {
	var b strings.Builder
	for rest := wire; rest != ""; {
		i := strings.IndexByte(rest, '&')
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		run, after, ok := strings.Cut(rest[i+1:], "-")
		if !ok {
			return "", errName
		}
		rest = after
		if run == "" {
			b.WriteByte('&')
			continue
		}
		octets, err := b64.DecodeString(run)
		if err != nil || len(octets)%2 != 0 {
			return "", errName
		}
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		for _, r := range utf16.Decode(units) {
			b.WriteRune(r)
		}
	}
	name := b.String()
	if !utf8.ValidString(name) || encodeName(name) != wire {
		return "", errName
	}
	return name, nil
}

// foldInbox gives INBOX, as a name and as the first level of one, its
// canonical spelling.
func foldInbox(name, delimiter string) string {
	if len(name) < 5 || !strings.EqualFold(name[:5], "INBOX") {
		return name
	}
	if len(name) == 5 || delimiter != "" && strings.HasPrefix(name[5:], delimiter) {
		return "INBOX" + name[5:]
	}
	return name
}

// parentName returns the name one level up, or "".
func parentName(name, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	if i := strings.LastIndex(name, delimiter); i >= 0 {
		return name[:i]
	}
	return ""
}
