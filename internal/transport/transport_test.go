package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a CA made for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t, cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate for localhost and its addresses, altered by change.
func (a *authority) issue(change ...func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(12 * time.Hour),
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func pinOf(c tls.Certificate) [sha256.Size]byte { return sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo) }

// serve accepts connections on address until the test ends, and says hello
// on each once serve's handshake is through.
func serve(t *testing.T, address string, cfg *tls.Config) (host string, port int) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no listener on %s: %v", address, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if cfg != nil {
				c = tls.Server(c, cfg)
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(c, "hello\r\n")
			_, _ = c.Read(make([]byte, 1)) // until the client has closed
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	a := ln.Addr().(*net.TCPAddr)
	return a.IP.String(), a.Port
}

const wait = 5 * time.Second

func hello(t *testing.T, c net.Conn) {
	t.Helper()
	buf := make([]byte, 7)
	_ = c.SetDeadline(time.Now().Add(wait))
	_, err := io.ReadFull(c, buf)
	require.NoError(t, err)
	assert.Equal(t, "hello\r\n", string(buf))
	require.NoError(t, c.Close())
}

// failure asserts what every error of this package holds, and returns it.
func failure(t *testing.T, c net.Conn, err error, kind mailhaul.Kind) *mailhaul.Error {
	t.Helper()
	require.Nil(t, c)
	require.Error(t, err)
	var e *mailhaul.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "connect", e.Op)
	assert.NotEmpty(t, e.Server)
	assert.Equal(t, kind, e.Kind, err.Error())
	assert.NotContains(t, err.Error(), "\n")
	return e
}

func TestCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue()
	expired := ca.issue(func(c *x509.Certificate) {
		c.NotAfter = time.Date(2024, 3, 9, 1, 0, 0, 0, time.UTC)
		c.NotBefore = c.NotAfter.AddDate(-1, 0, 0)
	})
	future := ca.issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	elsewhere := ca.issue(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"mail.example.org"}, nil })
	clientOnly := ca.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })

	tests := []struct {
		name string
		cert tls.Certificate
		tls  mailhaul.TLS
		says []string // nil: accepted
	}{
		{"extra root", good, mailhaul.TLS{Roots: ca.pool()}, nil},
		{"system roots only", good, mailhaul.TLS{}, []string{"does not trust", "-from-ca", "-to-ca", "-from-pin"}},
		{"wrong CA", good, mailhaul.TLS{Roots: other.pool()}, []string{"does not trust", "-from-ca"}},
		{"wrong name", elsewhere, mailhaul.TLS{Roots: ca.pool()}, []string{`for "mail.example.org"`, `not for "127.0.0.1"`, "ServerName", "-to-pin"}},
		{"wrong name set right", elsewhere, mailhaul.TLS{Roots: ca.pool(), ServerName: "mail.example.org"}, nil},
		{"expired", expired, mailhaul.TLS{Roots: ca.pool()}, []string{"expired on 9 March 2024", "pin"}},
		{"not yet valid", future, mailhaul.TLS{Roots: ca.pool()}, []string{"only from", "clock"}},
		{"not for servers", clientOnly, mailhaul.TLS{Roots: ca.pool()}, []string{"not valid"}},
		{"pin", good, mailhaul.TLS{Pins: [][32]byte{{1}, pinOf(good)}}, nil},
		{"pin beats name and date", expired, mailhaul.TLS{Pins: [][32]byte{pinOf(expired)}, ServerName: "x.example"}, nil},
		{"wrong pin", good, mailhaul.TLS{Pins: [][32]byte{{1}}}, []string{"not the one that was pinned", "administrator"}},
		{"wrong pin, trusted chain", good, mailhaul.TLS{Roots: ca.pool(), Pins: [][32]byte{pinOf(expired)}}, []string{"pinned"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host, port := serve(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{tt.cert}})
			srv := mailhaul.Server{Host: host, Port: port, TLS: tt.tls}
			for range 2 { // twice: nothing that the first connection left is believed
				c, err := Dial(t.Context(), srv, wait)
				if tt.says == nil {
					require.NoError(t, err)
					hello(t, c)
					continue
				}
				e := failure(t, c, err, mailhaul.Permanent)
				assert.Equal(t, mailhaul.ScopeServer, e.Scope)
				for _, s := range tt.says {
					assert.Contains(t, err.Error(), s)
				}
			}
		})
	}
}

// The chain goes through an intermediate that the server sends along.
func TestIntermediate(t *testing.T) {
	root := newAuthority(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "intermediate"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, root.cert, key.Public(), root.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	leaf := (&authority{t, cert, key}).issue()
	leaf.Certificate = append(leaf.Certificate, der)
	host, port := serve(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{leaf}})
	c, err := Dial(t.Context(), mailhaul.Server{Host: host, Port: port, TLS: mailhaul.TLS{Roots: root.pool()}}, wait)
	require.NoError(t, err)
	hello(t, c)
}

func TestOldVersions(t *testing.T) {
	ca := newAuthority(t)
	rsaKeyExchange := []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	tests := []struct {
		name     string
		version  uint16
		suites   []uint16
		min      uint16
		accepted bool
	}{
		{"TLS 1.1, default", tls.VersionTLS11, nil, 0, false},
		{"TLS 1.0, default", tls.VersionTLS10, nil, 0, false},
		{"TLS 1.1 allowed", tls.VersionTLS11, nil, tls.VersionTLS11, true},
		{"TLS 1.0 allowed", tls.VersionTLS10, nil, tls.VersionTLS10, true},
		{"TLS 1.0, only 1.1 allowed", tls.VersionTLS10, nil, tls.VersionTLS11, false},
		{"TLS 1.3 demanded of 1.2", tls.VersionTLS12, nil, tls.VersionTLS13, false},
		{"TLS 1.2", tls.VersionTLS12, nil, 0, true},
		{"RSA key exchange, default", tls.VersionTLS12, rsaKeyExchange, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host, port := serve(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.issue()},
				MinVersion: tls.VersionTLS10, MaxVersion: tt.version, CipherSuites: tt.suites})
			srv := mailhaul.Server{Host: host, Port: port, TLS: mailhaul.TLS{Roots: ca.pool(), MinVersion: tt.min}}
			c, err := Dial(t.Context(), srv, wait)
			if tt.accepted {
				require.NoError(t, err)
				assert.Equal(t, tt.version, c.(*tls.Conn).ConnectionState().Version)
				hello(t, c)
				return
			}
			e := failure(t, c, err, mailhaul.Permanent)
			assert.Contains(t, e.Hint, "TLS.MinVersion")
			assert.Equal(t, mailhaul.ScopeServer, e.Scope)
		})
	}
}

// A server of the days of TLS 1.0 that knows only RSA key exchange is reached
// once it is opted for.
func TestOldCipherSuites(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issueRSA(t)
	for _, suite := range []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_RC4_128_SHA} {
		host, port := serve(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert},
			MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{suite}})
		srv := mailhaul.Server{Host: host, Port: port, TLS: mailhaul.TLS{Roots: ca.pool(), MinVersion: tls.VersionTLS10}}
		c, err := Dial(t.Context(), srv, wait)
		if suite == tls.TLS_RSA_WITH_RC4_128_SHA {
			failure(t, c, err, mailhaul.Permanent)
			continue
		}
		require.NoError(t, err, tls.CipherSuiteName(suite))
		hello(t, c)
	}
	// A newer server still gets the best of both.
	host, port := serve(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12})
	c, err := Dial(t.Context(), mailhaul.Server{Host: host, Port: port, TLS: mailhaul.TLS{Roots: ca.pool(), MinVersion: tls.VersionTLS10}}, wait)
	require.NoError(t, err)
	cs := c.(*tls.Conn).ConnectionState()
	assert.Equal(t, uint16(tls.VersionTLS12), cs.Version)
	assert.Contains(t, tls.CipherSuiteName(cs.CipherSuite), "ECDHE")
	hello(t, c)
}

func TestClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	host, port := serve(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.issue()},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()})
	srv := mailhaul.Server{Host: host, Port: port, TLS: mailhaul.TLS{Roots: ca.pool(), Certificates: []tls.Certificate{ca.issue()}}}
	c, err := Dial(t.Context(), srv, wait)
	require.NoError(t, err)
	hello(t, c)

	// With TLS 1.3 the refusal comes with the first read.
	srv.TLS.Certificates = nil
	c, err = Dial(t.Context(), srv, wait)
	require.NoError(t, err)
	_ = c.SetDeadline(time.Now().Add(wait))
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, c.Close())
	e := failure(t, nil, Classify(srv, err), mailhaul.Permanent)
	assert.Contains(t, e.Error(), "client certificate")
}

func TestHandshakeHangs(t *testing.T) {
	for _, sec := range []mailhaul.Security{mailhaul.ImplicitTLS, mailhaul.StartTLS} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			defer server.Close()
			go io.Copy(io.Discard, server) // takes all, answers nothing
			srv := mailhaul.Server{Host: "mail.example.org", Security: sec,
				Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
			start := time.Now()
			c, err := Dial(t.Context(), srv, 30*time.Second)
			if sec == mailhaul.StartTLS {
				require.NoError(t, err)
				assert.Zero(t, time.Since(start))
				c, err = Upgrade(t.Context(), c, srv, 30*time.Second)
			}
			e := failure(t, c, err, mailhaul.Transient)
			assert.Equal(t, mailhaul.ScopeServer, e.Scope)
			assert.Equal(t, 30*time.Second, time.Since(start))
			assert.Contains(t, err.Error(), "TLS handshake was not ready after 30s")
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = client.Write([]byte("x"))
			assert.Error(t, err, "the connection is closed")
		})
	}
}

func TestHandshakeDrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		go io.Copy(io.Discard, server)
		done := make(chan struct{})
		go func() { // a valid record header that never ends, one octet a second
			defer close(done)
			for _, b := range append([]byte{22, 3, 3, 0x40, 0}, make([]byte, 1000)...) {
				time.Sleep(time.Second)
				if _, err := server.Write([]byte{b}); err != nil {
					return
				}
			}
		}()
		srv := mailhaul.Server{Host: "mail.example.org",
			Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
		start := time.Now()
		c, err := Dial(t.Context(), srv, time.Minute)
		failure(t, c, err, mailhaul.Transient)
		assert.Equal(t, time.Minute, time.Since(start))
		<-done
		_ = server.Close()
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		go io.Copy(io.Discard, server)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		c, err := Dial(ctx, mailhaul.Server{Host: "mail.example.org",
			Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }}, time.Minute)
		e := failure(t, c, err, mailhaul.Transient)
		assert.Equal(t, mailhaul.ScopeConnection, e.Scope)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Contains(t, err.Error(), "abandoned")
	})
	synctest.Test(t, func(t *testing.T) { // while connecting
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := Dial(ctx, mailhaul.Server{Host: "mail.example.org",
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }}, time.Minute)
		failure(t, c, err, mailhaul.Transient)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	synctest.Test(t, func(t *testing.T) { // a Dial that does not look at its context
		client, server := net.Pipe()
		defer server.Close()
		c, err := Dial(t.Context(), mailhaul.Server{Host: "mail.example.org",
			Dial: func(context.Context, string, string) (net.Conn, error) { time.Sleep(time.Hour); return client, nil }}, time.Minute)
		failure(t, c, err, mailhaul.Transient)
		_, err = client.Write([]byte("x"))
		assert.ErrorIs(t, err, io.ErrClosedPipe)
	})
}

func TestIPv6(t *testing.T) {
	ca := newAuthority(t)
	host, port := serve(t, "[::1]:0", &tls.Config{Certificates: []tls.Certificate{ca.issue()}})
	c, err := Dial(t.Context(), mailhaul.Server{Host: host, Port: port, TLS: mailhaul.TLS{Roots: ca.pool()}}, wait)
	require.NoError(t, err)
	hello(t, c)
}

func TestCustomDial(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(func(c *x509.Certificate) { c.DNSNames = []string{"mail.example.org"} })
	host, port := serve(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	var asked string
	srv := mailhaul.Server{Host: "mail.example.org", TLS: mailhaul.TLS{Roots: ca.pool()},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			asked = network + " " + address
			return new(net.Dialer).DialContext(ctx, "tcp", mailhaul.Server{Host: host, Port: port}.Addr())
		}}
	c, err := Dial(t.Context(), srv, wait)
	require.NoError(t, err)
	hello(t, c)
	assert.Equal(t, "tcp mail.example.org:993", asked)

	srv.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New(strings.Repeat("proxy\r\n", 1000))
	}
	c, err = Dial(t.Context(), srv, wait)
	failure(t, c, err, mailhaul.Transient)
	assert.Less(t, len(err.Error()), 1000)
}

func TestUpgrade(t *testing.T) {
	ca := newAuthority(t)
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{ca.issue()}})
		_, err := io.WriteString(s, "hello\r\n")
		done <- err
		_, _ = s.Read(make([]byte, 1))
		_ = s.Close()
	}()
	srv := mailhaul.Server{Host: "localhost", Security: mailhaul.StartTLS, TLS: mailhaul.TLS{Roots: ca.pool()}}
	c, err := Upgrade(t.Context(), client, srv, wait)
	require.NoError(t, err)
	hello(t, c)
	require.NoError(t, <-done)

	// A connection that was asked for in the clear stays so, or is nothing.
	client, server = net.Pipe()
	defer server.Close()
	c, err = Upgrade(t.Context(), client, mailhaul.Server{Host: "localhost", Security: mailhaul.Plaintext}, wait)
	failure(t, c, err, mailhaul.Permanent)
}

func TestNotTLS(t *testing.T) {
	host, port := serve(t, "127.0.0.1:0", nil)
	c, err := Dial(t.Context(), mailhaul.Server{Host: host, Port: port}, wait)
	e := failure(t, c, err, mailhaul.Permanent)
	assert.Contains(t, e.Hint, "imap://")
}

// addressed is a connection that claims another peer.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

func TestPlaintext(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 143} }
	tests := []struct {
		name, host string
		remote     net.Addr // nil: not TCP
		allow      bool
		ok, dialed bool
	}{
		{"loopback name", "localhost", nil, false, true, true},
		{"loopback name, loopback address", "localhost", tcp("127.0.0.1"), false, true, true},
		{"loopback name that leads elsewhere", "localhost", tcp("192.0.2.1"), false, false, true},
		{"the same, allowed", "localhost", tcp("192.0.2.1"), true, true, true},
		{"sub-domain of localhost", "mail.LocalHost.", nil, false, true, true},
		{"loopback address", "127.9.9.9", nil, false, true, true},
		{"IPv6 loopback", "::1", tcp("::1"), false, true, true},
		{"mapped loopback", "::ffff:127.0.0.1", nil, false, true, true},
		{"mapped address", "::ffff:192.0.2.1", nil, false, false, false},
		{"name", "mail.example.org", nil, false, false, false},
		{"name behind a tunnel's near end", "mail.example.org", tcp("127.0.0.1"), false, false, false},
		{"name, allowed", "mail.example.org", nil, true, true, true},
		{"look-alike", "localhost.example.org", nil, false, false, false},
		{"another look-alike", "127.0.0.1.example.org", nil, false, false, false},
		{"unspecified", "0.0.0.0", nil, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, server := net.Pipe()
			defer server.Close()
			sent := make(chan int64, 1)
			go func() { n, _ := io.Copy(io.Discard, server); sent <- n }()
			dialed := false
			c, err := Dial(t.Context(), mailhaul.Server{Host: tt.host, Security: mailhaul.Plaintext, AllowPlaintext: tt.allow,
				Dial: func(context.Context, string, string) (net.Conn, error) {
					dialed = true
					if tt.remote != nil {
						return addressed{client, tt.remote}, nil
					}
					return client, nil
				}}, wait)
			assert.Equal(t, tt.dialed, dialed)
			if tt.ok {
				require.NoError(t, err)
			} else {
				e := failure(t, c, err, mailhaul.Permanent)
				assert.Contains(t, e.Hint, "-allow-plaintext")
			}
			_ = client.Close()
			assert.Zero(t, <-sent, "nothing is sent first")
		})
	}

	// With our own dialer it is the address reached that counts.
	host, port := serve(t, "127.0.0.1:0", nil)
	for _, h := range []string{host, "localhost"} {
		c, err := Dial(t.Context(), mailhaul.Server{Host: h, Port: port, Security: mailhaul.Plaintext}, wait)
		require.NoError(t, err)
		hello(t, c)
	}
	c, err := Dial(t.Context(), mailhaul.Server{Host: "192.0.2.1", Security: mailhaul.Plaintext}, wait)
	failure(t, c, err, mailhaul.Permanent)
}

func TestBadServer(t *testing.T) {
	for _, srv := range []mailhaul.Server{
		{},
		{Host: "a b"},
		{Host: "a\r\nb"},
		{Host: "a", Port: 65536},
		{Host: "a", Port: -1},
		{Host: "a", Security: 3},
		{Host: "a", TLS: mailhaul.TLS{MinVersion: 0x0300}},
		{Host: "a", TLS: mailhaul.TLS{MinVersion: 1}},
		{Host: "a", TLS: mailhaul.TLS{MinVersion: 0x0305}},
	} {
		srv.Dial = func(context.Context, string, string) (net.Conn, error) {
			t.Error("connected")
			return nil, io.EOF
		}
		c, err := Dial(t.Context(), srv, wait)
		failure(t, c, err, mailhaul.Permanent)
		client, server := net.Pipe()
		c, err = Upgrade(t.Context(), client, srv, wait)
		failure(t, c, err, mailhaul.Permanent)
		_ = server.Close()
	}
}

func TestNetworkErrors(t *testing.T) {
	// Refused: a port that was free a moment ago.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	require.NoError(t, ln.Close())
	c, err := Dial(t.Context(), mailhaul.Server{Host: "127.0.0.1", Port: port}, wait)
	e := failure(t, c, err, mailhaul.Transient)
	assert.Contains(t, e.Error(), "refused by 127.0.0.1")
	assert.Equal(t, mailhaul.ScopeServer, e.Scope)

	dialErr := func(err error) *mailhaul.Error {
		c, err := Dial(t.Context(), mailhaul.Server{Host: "mail.example.org",
			Dial: func(context.Context, string, string) (net.Conn, error) { return nil, err }}, wait)
		require.Nil(t, c)
		var e *mailhaul.Error
		require.ErrorAs(t, err, &e)
		return e
	}
	e = dialErr(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "mail.example.org", IsNotFound: true}})
	assert.Equal(t, mailhaul.Permanent, e.Kind)
	assert.Contains(t, e.Error(), "check the server's name")
	e = dialErr(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}})
	assert.Equal(t, mailhaul.Transient, e.Kind)
	e = dialErr(&net.OpError{Op: "dial", Err: timeoutError{}})
	assert.Equal(t, mailhaul.Transient, e.Kind)
	assert.Contains(t, e.Error(), "firewall")
	e = dialErr(io.EOF)
	assert.Equal(t, mailhaul.Transient, e.Kind)
	own := &mailhaul.Error{Op: "tunnel", Kind: mailhaul.Auth}
	assert.Same(t, own, dialErr(own), "a Dial's own error is kept")
	assert.NoError(t, Classify(mailhaul.Server{}, nil))
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// The server closes in the middle of the handshake.
func TestHandshakeCut(t *testing.T) {
	client, server := net.Pipe()
	go func() { _, _ = server.Read(make([]byte, 100)); _ = server.Close() }()
	c, err := Dial(t.Context(), mailhaul.Server{Host: "mail.example.org",
		Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }}, wait)
	e := failure(t, c, err, mailhaul.Transient)
	assert.Contains(t, e.Error(), "closed the connection")
}
