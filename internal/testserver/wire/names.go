// Mailbox names on the wire: modified UTF-7 (RFC 3501 section 5.1.3) and
// namespaces (RFC 2342).

package wire

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
)

var utf7Base64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// EncodeName returns a mailbox name in modified UTF-7.
func EncodeName(name string) string {
	var b strings.Builder
	var shifted []rune
	flush := func() {
		if len(shifted) == 0 {
			return
		}
		var octets []byte
		for _, u := range utf16.Encode(shifted) {
			octets = append(octets, byte(u>>8), byte(u))
		}
		b.WriteString("&" + utf7Base64.EncodeToString(octets) + "-")
		shifted = nil
	}
	for _, r := range name {
		switch {
		case r == '&':
			flush()
			b.WriteString("&-")
		case r >= 0x20 && r <= 0x7e:
			flush()
			b.WriteRune(r)
		default:
			shifted = append(shifted, r)
		}
	}
	flush()
	return b.String()
}

// DecodeName is the inverse of EncodeName.
func DecodeName(name string) (string, error) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(name, "&")
		b.WriteString(plain)
		if !found {
			return b.String(), nil
		}
		shifted, rest, found := strings.Cut(rest, "-")
		if !found {
			return "", errors.New("modified UTF-7 that does not end: " + name)
		}
		name = rest
		if shifted == "" {
			b.WriteByte('&')
			continue
		}
		octets, err := utf7Base64.DecodeString(shifted)
		if err != nil || len(octets)%2 != 0 {
			return "", errors.New("wrong modified UTF-7: &" + shifted + "-")
		}
		var units []uint16
		for i := 0; i < len(octets); i += 2 {
			units = append(units, uint16(octets[i])<<8|uint16(octets[i+1]))
		}
		b.WriteString(string(utf16.Decode(units)))
	}
}

// Naming asks how the server builds names: the prefix of the personal
// namespace and the separator of levels.
func (c *Conn) Naming() (prefix, separator string, err error) {
	if c.Has("NAMESPACE") {
		lines, err := c.Command("NAMESPACE")
		if err != nil {
			return "", "", err
		}
		for _, l := range lines {
			if rest, ok := strings.CutPrefix(string(l), "* NAMESPACE (("); ok {
				words, _ := Strings(rest, 2)
				if len(words) == 2 {
					return words[0], words[1], nil
				}
			}
		}
	}
	lines, err := c.Command(`LIST "" ""`)
	if err != nil {
		return "", "", err
	}
	for _, l := range lines {
		if _, rest, ok := strings.Cut(string(l), ") "); ok && strings.HasPrefix(string(l), "* LIST ") {
			if words, _ := Strings(rest, 1); len(words) == 1 {
				return "", words[0], nil
			}
		}
	}
	return "", "", errors.New("the server did not say how it separates the levels of names")
}

// Strings reads up to n strings from the beginning of s, quoted ones, literals
// and atoms (NIL is empty), and returns what follows.
func Strings(s string, n int) (words []string, rest string) {
	for len(words) < n {
		s = strings.TrimLeft(s, " ")
		switch {
		case s == "":
			return words, s
		case s[0] == '"':
			var b strings.Builder
			i := 1
			for ; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' && i+1 < len(s) {
					i++
				}
				b.WriteByte(s[i])
			}
			words = append(words, b.String())
			s = s[min(i+1, len(s)):]
		case s[0] == '{':
			head, tail, _ := strings.Cut(s, "\r\n")
			size, ok := literalAtEnd([]byte(head))
			if !ok || size > len(tail) {
				return words, s
			}
			words = append(words, tail[:size])
			s = tail[size:]
		default:
			i := strings.IndexAny(s, " )")
			if i < 0 {
				i = len(s)
			}
			word := s[:i]
			if strings.EqualFold(word, "NIL") {
				word = ""
			}
			words = append(words, word)
			s = s[i:]
		}
	}
	return words, s
}
