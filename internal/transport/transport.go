// Package transport opens the connections that mail protocols run over, and
// proves whom they lead to.
//
// It guarantees that nothing is sent before the proof that
// [mailhaul.Server] asks for has succeeded: with implicit TLS the handshake is
// verified before [Dial] returns, with STARTTLS before [Upgrade] does, and a
// connection without TLS is given out only where it stays on this machine or
// the caller allowed it by name. Every step ends by its deadline or with its
// context. Errors are *[mailhaul.Error] with Op "connect", in one sentence that
// says what to do.
//
// It knows no protocol: that the server agreed to STARTTLS, and that no octet
// of its answers is left over from before, is the caller's to check.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Dial connects to the server, with srv.Dial or else a [net.Dialer], and does
// the TLS handshake where srv.Security is ImplicitTLS. Connection and
// handshake together take at most timeout; 0 leaves the bound to ctx. The
// connection has no deadline set and is the caller's to close.
func Dial(ctx context.Context, srv mailhaul.Server, timeout time.Duration) (net.Conn, error) {
	cfg, err := check(srv)
	if err != nil {
		return nil, err
	}
	ctx, cancel := bound(ctx, timeout)
	defer cancel()
	dial := srv.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", srv.Addr())
	if err != nil {
		return nil, Classify(srv, during(ctx, "the connection", timeout, err))
	}
	if err := ctx.Err(); err != nil { // a Dial that does not look at its context
		_ = conn.Close()
		return nil, Classify(srv, during(ctx, "the connection", timeout, err))
	}
	switch srv.Security {
	case mailhaul.ImplicitTLS:
		return handshake(ctx, conn, srv, cfg, timeout)
	case mailhaul.Plaintext:
		if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok && !srv.AllowPlaintext && !addr.IP.IsLoopback() {
			_ = conn.Close()
			return nil, refusePlaintext(srv, addr.IP.String())
		}
	}
	return conn, nil
}

// Upgrade does the TLS handshake on a connection whose server has agreed to
// STARTTLS or STLS, in at most timeout; 0 leaves the bound to ctx. The caller
// has made sure that nothing was read beyond that agreement (RFC 9051 section
// 6.2.1), and forgets afterwards all that the server said before. When it
// fails the connection is closed.
func Upgrade(ctx context.Context, conn net.Conn, srv mailhaul.Server, timeout time.Duration) (net.Conn, error) {
	cfg, err := check(srv)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	ctx, cancel := bound(ctx, timeout)
	defer cancel()
	return handshake(ctx, conn, srv, cfg, timeout)
}

// check refuses, before anything is opened, what can be seen to be wrong with
// the server's description, and returns the TLS configuration for it.
func check(srv mailhaul.Server) (*tls.Config, error) {
	server := srv.Addr()
	permanent := func(hint, format string, args ...any) error {
		return &mailhaul.Error{Op: op, Server: server, Kind: mailhaul.Permanent, Scope: mailhaul.ScopeServer,
			Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case srv.Host == "":
		return nil, permanent("", "no host is named")
	case strings.ContainsFunc(srv.Host, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		server = fmt.Sprintf("%.100q", server)
		return nil, permanent("", "the host name %.100q holds blanks or control characters", srv.Host)
	case srv.Port < 0 || srv.Port > 65535:
		return nil, permanent("", "%d is not a port", srv.Port)
	case srv.Security > mailhaul.Plaintext:
		return nil, permanent("", "unknown Security %d", srv.Security)
	}
	if srv.Security == mailhaul.Plaintext {
		// What a caller's Dial really connects to cannot be known (it may be
		// the near end of a tunnel), so the name must be a loopback one. With
		// our own dialer an address is refused here and a name once it is
		// resolved.
		if !srv.AllowPlaintext && !loopback(srv.Host) && (srv.Dial != nil || isAddr(srv.Host)) {
			return nil, refusePlaintext(srv, srv.Host)
		}
		return nil, nil
	}
	cfg, err := tlsConfig(srv)
	if err != nil {
		return nil, permanent("", "%w", err)
	}
	return cfg, nil
}

func refusePlaintext(srv mailhaul.Server, addr string) error {
	return &mailhaul.Error{Op: op, Server: srv.Addr(), Kind: mailhaul.Permanent, Scope: mailhaul.ScopeServer,
		Err:  fmt.Errorf("no connection without TLS is made to %s, which is not this machine", addr),
		Hint: "use TLS or STARTTLS, or allow it with -allow-plaintext (Server.AllowPlaintext)"}
}

// loopback reports whether a host, by its name alone, is this machine (RFC
// 6761 section 6.3).
func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// bound limits ctx to timeout, where there is one.
func bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, timeout, errTimeout)
}

// errTimeout marks the end of our own timeout, as against the caller's
// deadline.
var errTimeout = errors.New("timeout")

// during turns an error into one that names the caller's cancellation or our
// timeout where that was the cause, since network code often reports only that
// its connection was closed.
func during(ctx context.Context, what string, timeout time.Duration, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, errTimeout):
		return because(context.DeadlineExceeded, "%s was not ready after %v", what, timeout)
	case errors.Is(cause, context.Canceled):
		return because(ctx.Err(), "%s was abandoned", what)
	default:
		return because(ctx.Err(), "%s was not ready in time", what)
	}
}

func handshake(ctx context.Context, conn net.Conn, srv mailhaul.Server, cfg *tls.Config, timeout time.Duration) (net.Conn, error) {
	if cfg == nil { // Upgrade of a connection that was asked for as Plaintext
		_ = conn.Close()
		return nil, &mailhaul.Error{Op: op, Server: srv.Addr(), Kind: mailhaul.Permanent, Scope: mailhaul.ScopeServer,
			Err: errors.New("TLS was not asked for")}
	}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, Classify(srv, during(ctx, "the TLS handshake", timeout, err))
	}
	return tc, nil
}
