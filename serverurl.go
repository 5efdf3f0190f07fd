package mailhaul

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// schemes maps the scheme of a URL to how the server is reached.
var schemes = map[string]struct {
	protocol Protocol
	security Security
}{
	"imaps":      {IMAP, ImplicitTLS},
	"imap":       {IMAP, StartTLS},
	"imap+plain": {IMAP, Plaintext},
	"pop3s":      {POP3, ImplicitTLS},
	"pop3":       {POP3, StartTLS},
	"pop3+plain": {POP3, Plaintext},
}

// urlMechanisms maps the values of the key "auth" to [Server.Mechanism].
var urlMechanisms = map[string]string{
	"plain":         "PLAIN",
	"login":         "LOGIN",
	"xoauth2":       "XOAUTH2",
	"oauthbearer":   "OAUTHBEARER",
	"scram":         "SCRAM-SHA-256",
	"scram-sha-256": "SCRAM-SHA-256",
	"cram-md5":      "CRAM-MD5",
	"external":      "EXTERNAL",
}

// ParseServerURL reads a server from a URL:
//
//	imaps://user:password@host[:993]     implicit TLS
//	imap://user:password@host[:143]      STARTTLS required
//	imap+plain://user:password@host      no TLS; see Server.AllowPlaintext
//	pop3s://…  pop3://…  pop3+plain://…  the same over POP3
//
// A user name may be an address, as in imaps://ada@example.org:secret@host:
// the host begins behind the last "@", and the password behind the first ":".
// All that has a meaning in URLs (% / ? # and, in a user name, the colon) is
// written in percent-encoding; "+" stands for itself. IPv6 addresses are in
// brackets. The password may be left out; where it is given it becomes
// Credentials. A user is needed unless auth is external.
//
// Two keys may follow the host: ?authzid=USER to act as another user, and
// auth=plain, login, xoauth2, oauthbearer, scram, cram-md5 or external to
// demand one way to log in. Anything else is an error.
//
// Errors say what is wrong and never quote the URL, since a misplaced
// character can make any part of it a part of the password.
func ParseServerURL(raw string) (Server, error) {
	srv, err := parseServerURL(raw)
	if err != nil {
		return Server{}, fmt.Errorf("server URL: %w", err)
	}
	return srv, nil
}

func parseServerURL(raw string) (Server, error) {
	var srv Server
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return srv, errors.New("it has the form imaps://user:password@host")
	}
	how, ok := schemes[strings.ToLower(scheme)]
	if !ok {
		return srv, errors.New("it begins with one of imaps, imap, imap+plain, pop3s, pop3 and pop3+plain, and ://")
	}
	srv.Protocol, srv.Security = how.protocol, how.security
	if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return srv, errors.New("blanks and control characters are written in percent-encoding (a blank is %20)")
	}
	if strings.Contains(rest, "#") {
		return srv, errors.New(`"#" in a user name or password is written %23`)
	}

	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	path, query, _ := strings.Cut(tail, "?")
	if path != "" && path != "/" {
		return srv, errors.New(`nothing follows the host but ?authzid= and &auth=; "/" in a user name or password is written %2F`)
	}
	at := strings.LastIndexByte(authority, '@')
	if at < 0 && strings.Contains(tail, "@") {
		return srv, errors.New(`"?" in a user name or password is written %3F`)
	}
	if err := srv.setHost(authority[at+1:]); err != nil {
		return srv, err
	}
	if err := srv.setQuery(query); err != nil {
		return srv, err
	}
	if at >= 0 {
		if err := srv.setUser(authority[:at]); err != nil {
			return srv, err
		}
	}
	if srv.User == "" && srv.Mechanism != "EXTERNAL" {
		return srv, errors.New("it names no user, as in imaps://user@host")
	}
	return srv, nil
}

// setHost reads host[:port].
func (s *Server) setHost(text string) error {
	host, port, ported := text, "", false
	if inner, ok := strings.CutPrefix(text, "["); ok {
		var behind string
		if host, behind, ok = strings.Cut(inner, "]"); !ok {
			return errors.New("the bracket before the host's address is not closed")
		}
		if behind != "" {
			if port, ported = strings.CutPrefix(behind, ":"); !ported {
				return errors.New("only a port follows the bracket behind the host's address")
			}
		}
		host = strings.Replace(host, "%25", "%", 1) // the zone, RFC 6874
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return errors.New("what stands in brackets is no IPv6 address")
		}
	} else {
		switch strings.Count(text, ":") {
		case 0:
		case 1:
			host, port, ported = strings.Cut(text, ":")
		default:
			return errors.New("an IPv6 address stands in brackets, as in imaps://user@[2001:db8::1]")
		}
		if host == "" {
			return errors.New("it names no host")
		}
		for i := range len(host) {
			c := host[i]
			letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c >= 0x80
			if !letter && c != '.' && c != '-' && c != '_' {
				return errors.New("the host holds a character that no name has; special characters in a user name or password are written in percent-encoding")
			}
		}
	}
	if ported {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return errors.New(`what stands behind the host's colon is no port; the user and password come before the host, with "@" between, and "/", "?" and "#" in them in percent-encoding`)
		}
		s.Port = int(n)
	}
	s.Host = host
	return nil
}

// setUser reads user[:password].
func (s *Server) setUser(text string) error {
	name, password, _ := strings.Cut(text, ":")
	var ok bool
	if s.User, ok = percentDecode(name); !ok {
		return errEscape
	}
	if password, ok = percentDecode(password); !ok {
		return errEscape
	}
	if hasControl(s.User) {
		return errors.New("the user name holds control characters")
	}
	if strings.ContainsAny(password, "\r\n\x00") {
		return errors.New("the password holds a line break or a NUL")
	}
	if password != "" {
		secret := NewSecret(password)
		s.Credentials = func(context.Context) (Secret, error) { return secret, nil }
	}
	return nil
}

// setQuery reads authzid=USER&auth=MECHANISM, in either order.
func (s *Server) setQuery(query string) error {
	if query == "" {
		return nil
	}
	var seen []string
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if key != "authzid" && key != "auth" {
			return errors.New(`only ?authzid= and &auth= may follow the host; "?" and "&" in a user name or password are written %3F and %26`)
		}
		if slices.Contains(seen, key) {
			return fmt.Errorf("%s= is there twice", key)
		}
		seen = append(seen, key)
		value, ok := percentDecode(value)
		if !ok {
			return errEscape
		}
		switch {
		case value == "":
			return fmt.Errorf("%s= has no value", key)
		case hasControl(value):
			return fmt.Errorf("%s= holds control characters", key)
		case key == "authzid":
			s.AuthzID = value
		default:
			if s.Mechanism, ok = urlMechanisms[strings.ToLower(value)]; !ok {
				return errors.New("auth= is one of plain, login, xoauth2, oauthbearer, scram, cram-md5 and external")
			}
		}
	}
	return nil
}

var errEscape = errors.New(`"%" in a user name or password is written %25`)

// percentDecode undoes percent-encoding (RFC 3986 section 2.1). Unlike
// net/url it has no error that quotes the text.
func percentDecode(text string) (string, bool) {
	if !strings.Contains(text, "%") {
		return text, true
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b = append(b, text[i])
			continue
		}
		if i+3 > len(text) {
			return "", false
		}
		n, err := strconv.ParseUint(text[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), true
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
