package transport

// What a failed connection means, in one sentence and a hint.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/mailhaul/mailhaul"
)

const op = "connect"

// sentence is an error with a text of our own, in place of its cause's.
type sentence struct {
	text string
	err  error
}

func (e *sentence) Error() string { return e.text }
func (e *sentence) Unwrap() error { return e.err }

func because(err error, format string, args ...any) error {
	return &sentence{fmt.Sprintf(format, args...), err}
}

// Hints that several causes share.
const (
	trustHint = "name the CA that signed it with -from-ca or -to-ca (TLS.Roots), or pin the server's key with -from-pin or -to-pin (TLS.Pins)"
	oldHint   = "TLS 1.0 and 1.1 are used only when TLS.MinVersion (-from-tls-min, -to-tls-min) allows them for this server"
)

// Classify turns an error of a connection to srv, met while connecting, in the
// handshake or in the first read after it (where TLS 1.3 reports a refused
// client certificate), into a *mailhaul.Error. An error that is one already is
// returned as it is, nil as nil.
func Classify(srv mailhaul.Server, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*mailhaul.Error](err); ok {
		return e
	}
	e := &mailhaul.Error{Op: op, Server: srv.Addr(), Kind: mailhaul.Transient, Scope: mailhaul.ScopeServer, Err: err}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		if errors.Is(err, context.Canceled) {
			e.Scope = mailhaul.ScopeConnection // it says nothing about the server
		} else {
			e.Hint = "check the server's name, the port and any firewall between"
		}
		return e
	}
	if classifyTLS(e, srv, err) || classifyNet(e, srv, err) {
		return e
	}
	if s := err.Error(); len(s) > 512 { // a caller's Dial may quote a peer
		e.Err = because(err, "%.512q", s)
	}
	return e
}

func classifyNet(e *mailhaul.Error, srv mailhaul.Server, err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			e.Kind = mailhaul.Permanent
			e.Err = because(err, "there is no host %q", srv.Host)
			e.Hint = "check the server's name"
			return true
		}
		e.Err = because(err, "the name of the host %q could not be looked up", srv.Host)
		e.Hint = "check the name service"
		return true
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		e.Kind = mailhaul.Permanent
		e.Hint = "check the server's name"
		return true
	}
	where := ""
	if o, ok := errors.AsType[*net.OpError](err); ok && o.Addr != nil && o.Op == "dial" {
		where = " by " + o.Addr.String()
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Err = because(err, "the connection was refused%s", where)
		e.Hint = "check that the server is up and listens on this port"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		e.Err = because(err, "the server closed the connection")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		e.Err = because(err, "the host cannot be reached from here")
		e.Hint = "check the network and the server's name"
	default:
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			e.Err = because(err, "the server does not answer")
			e.Hint = "check the server's name, the port and any firewall between"
			return true
		}
		return false
	}
	return true
}

func classifyTLS(e *mailhaul.Error, srv mailhaul.Server, err error) bool {
	fail := func(hint, format string, args ...any) bool {
		e.Kind, e.Hint, e.Err = mailhaul.Permanent, hint, because(err, format, args...)
		return true
	}
	name := srv.TLS.ServerName
	if name == "" {
		name = srv.Host
	}
	if p, ok := errors.AsType[*pinError](err); ok {
		return fail("compare it with the server's administrator, then change the pin", "%v", p)
	}
	if x, ok := errors.AsType[x509.HostnameError](err); ok {
		return fail("check the server's name, or set the name that the certificate holds (TLS.ServerName), or pin the server's key with -from-pin or -to-pin (TLS.Pins)",
			"the certificate is for %s, not for %q", certNames(x.Certificate), name)
	}
	if x, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if x.Reason == x509.Expired && x.Cert != nil {
			if time.Now().Before(x.Cert.NotBefore) {
				return fail("check this machine's clock", "the certificate is valid only from %s", day(x.Cert.NotBefore))
			}
			return fail("the server needs a new certificate; until then its key can be pinned with -from-pin or -to-pin (TLS.Pins)",
				"the certificate expired on %s", day(x.Cert.NotAfter))
		}
		return fail(trustHint, "the certificate is not valid: %.200s", x.Error())
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fail(trustHint, "the certificate is signed by an authority that this machine does not trust")
	}
	if _, ok := errors.AsType[x509.SystemRootsError](err); ok {
		return fail("install the system's root certificates, or "+trustHint, "this machine has no trusted root certificates")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fail(trustHint, "the certificate cannot be verified: %.200q", err.Error())
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		hint := "check the port; a port for STARTTLS is reached with imap:// or pop3:// (StartTLS)"
		if srv.Security == mailhaul.StartTLS {
			hint = ""
		}
		return fail(hint, "the server answers the TLS handshake with something else")
	}
	// crypto/tls has no types for what follows.
	text := err.Error()
	alert := strings.Contains(text, "remote error: tls: ")
	switch {
	case strings.Contains(text, "protocol version"), strings.Contains(text, "unsupported versions"):
		return fail(oldHint, "the server speaks no TLS version that is allowed here (%s or later)", tls.VersionName(minVersion(srv)))
	case alert && strings.Contains(text, "handshake failure"), alert && strings.Contains(text, "insufficient security"):
		return fail("it may be too old, in which case TLS.MinVersion (-from-tls-min, -to-tls-min) can allow more, or ask for a client certificate (TLS.Certificates)",
			"the server refused the TLS handshake")
	case alert && strings.Contains(text, "certificate"), alert && strings.Contains(text, "unknown certificate authority"), alert && strings.Contains(text, "access denied"):
		return fail("check the client certificate (TLS.Certificates)", "the server refused the client certificate, or the lack of one: %s", alertText(text))
	case alert && strings.Contains(text, "unrecognized name"):
		return fail("check the server's name", "the server does not know the name %q", name)
	case alert && strings.Contains(text, "internal error"):
		e.Err = because(err, "the server failed in the TLS handshake")
		return true
	case alert, strings.HasPrefix(text, "tls: "), strings.HasPrefix(text, "local error: tls: "), strings.HasPrefix(text, "x509: "):
		return fail("", "the TLS handshake failed: %.200q", text)
	}
	return false
}

func minVersion(srv mailhaul.Server) uint16 {
	if v := srv.TLS.MinVersion; v != 0 {
		return v
	}
	return tls.VersionTLS12
}

func alertText(text string) string {
	_, alert, _ := strings.Cut(text, "remote error: tls: ")
	return alert
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006") }

// certNames lists the names that a certificate holds, cut to a few.
func certNames(c *x509.Certificate) string {
	var names []string
	if c != nil {
		names = append(names, c.DNSNames...)
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
	}
	more := ""
	if len(names) > 3 {
		names, more = names[:3], " and others"
	}
	for i, n := range names {
		names[i] = fmt.Sprintf("%.100q", n)
	}
	if len(names) == 0 {
		return "no host name"
	}
	return strings.Join(names, ", ") + more
}
