package main

// One side: a URL, and the flags around it, become a server to log in to.

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// side is what the flags say of one account.
type side struct {
	name          string // of its flag: "from", "to", …
	url           string
	plain, secure string // the schemes without and with TLS, where they are not those of accounts
	passwordFile  string
	ca            string
	pins          []string
	tlsMin        string
}

// server turns the flags into what the library wants. Its errors never quote a
// value that may hold a password.
func (s side) server(env func(string) string, allowPlaintext bool) (srv mailhaul.Server, err error) {
	fail := func(format string, args ...any) (mailhaul.Server, error) {
		return mailhaul.Server{}, fmt.Errorf("-"+s.name+format, args...)
	}
	if s.url == "" {
		return fail(" is empty; it takes a URL such as imaps://user@host")
	}
	if srv, err = mailhaul.ParseServerURL(s.url); err != nil {
		return fail(": %w", err)
	}
	if srv.Protocol == mailhaul.POP3 && s.name == "to" {
		return fail(": nothing can be moved to a POP3 server, since POP3 only reads; give an IMAP URL")
	}
	if s.plain == "" {
		s.plain, s.secure = string(srv.Protocol)+"+plain", fmt.Sprintf("%[1]ss or %[1]s", srv.Protocol)
	}
	if srv.Security == mailhaul.Plaintext {
		if len(s.pins) > 0 || s.ca != "" || s.tlsMin != "" {
			return fail(": %[2]s is without TLS, so -%[1]s-ca, -%[1]s-pin and the like would do nothing; leave them out, or use %[3]s", s.name, s.plain, s.secure)
		}
		if !allowPlaintext && !loopback(srv.Host) {
			return fail(": %s is not this machine, and %s would send the password and all mail in the clear; use %s, or allow it with -allow-plaintext", srv.Host, s.plain, s.secure)
		}
		srv.AllowPlaintext = allowPlaintext
	}
	if srv.TLS, err = s.tls(); err != nil {
		return mailhaul.Server{}, err
	}
	switch env := env(s.variable()); {
	case s.passwordFile != "":
		if srv.Credentials, err = fromFile(s.passwordFile); err != nil {
			return fail("-password-file: %w", err)
		}
	case srv.Credentials != nil: // from the URL
	case env != "":
		secret := mailhaul.NewSecret(env)
		srv.Credentials = func(context.Context) (mailhaul.Secret, error) { return secret, nil }
	case srv.Mechanism != "EXTERNAL":
		return fail(": there is no password for %q; put it into a file and name that with -%s-password-file, or into %s", srv.User, s.name, s.variable())
	}
	return srv, nil
}

// variable is the part of the environment that may hold the password.
func (s side) variable() string {
	return "MAILHAUL_" + strings.ReplaceAll(strings.ToUpper(s.name), "-", "_") + "_PASSWORD"
}

// loopback reports whether a host is this machine by its name alone. That a
// name resolves to a loopback address is no reason to trust it: what resolves
// it may be elsewhere.
func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// fromFile returns credentials that are read from a file at each log-in, so
// that a token can be renewed. What is not a regular file, such as a pipe, can
// be read only once.
func fromFile(name string) (func(context.Context) (mailhaul.Secret, error), error) {
	secret, err := readSecret(name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return func(context.Context) (mailhaul.Secret, error) { return secret, nil }, nil
	}
	return func(context.Context) (mailhaul.Secret, error) { return readSecret(name) }, nil
}

// readSecret never names the file: somebody may have given the password itself.
func readSecret(name string) (secret mailhaul.Secret, err error) {
	const most = 64 << 10 // the longest tokens have a few KB
	b, err := readSome(name, most+1)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if err != nil {
		return secret, fmt.Errorf("the password file cannot be read: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case text == "":
		return secret, errors.New("the password file is empty")
	case len(text) > most:
		return secret, errors.New("the password file is too large to hold a password")
	case strings.ContainsAny(text, "\r\n\x00"):
		return secret, errors.New("the password file holds more than one line, and a password is one")
	}
	return mailhaul.NewSecret(text), nil
}

// readSome reads at most so many octets.
func readSome(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// tls is how the server has to prove who it is.
func (s side) tls() (t mailhaul.TLS, err error) {
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return t, fmt.Errorf("-%s-ca: %w", s.name, err)
		}
		t.Roots = x509.NewCertPool()
		if !t.Roots.AppendCertsFromPEM(pem) {
			return t, fmt.Errorf("-%s-ca: %s holds no certificate in PEM form", s.name, s.ca)
		}
	}
	for _, text := range s.pins {
		pin, err := parsePin(text)
		if err != nil {
			return t, fmt.Errorf("-%s-pin: %w", s.name, err)
		}
		t.Pins = append(t.Pins, pin)
	}
	versions := map[string]uint16{"": 0, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	version, ok := versions[s.tlsMin]
	if !ok {
		return t, fmt.Errorf("-%s-tls-min is one of 1.0, 1.1, 1.2 and 1.3", s.name)
	}
	t.MinVersion = version
	return t, nil
}

var errPin = errors.New("a pin is the SHA-256 hash of the server's public key, as 64 hexadecimal digits or as 44 characters of base64; -h says how to get it")

// parsePin reads a hash as openssl ("AB:CD:…" or "abcd…"), HPKP and curl
// ("sha256//…") write it.
func parsePin(text string) (pin [sha256.Size]byte, err error) {
	text = strings.TrimSpace(text)
	for _, prefix := range []string{"sha256:", "sha256//"} {
		if len(text) > len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
			text = text[len(prefix):]
			break
		}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil {
		text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		b, err = base64.RawStdEncoding.DecodeString(text)
	}
	if err != nil || len(b) != len(pin) {
		return pin, errPin
	}
	return [sha256.Size]byte(b), nil
}
