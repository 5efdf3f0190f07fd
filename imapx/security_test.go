package imapx

// Servers that lie, attack or break the protocol, each modelled on a real
// vulnerability of another client. They are scripted: nothing of ours helps
// them to be well-behaved.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/mempipe"
)

const (
	theUser   = "ada@example.org"
	thePass   = `tr0ub"4dor\3`
	theServer = "localhost"
)

// certificate is a server's, for tests.
type certificate struct {
	tls   tls.Certificate
	roots *x509.CertPool
}

// newCertificate makes a self-signed certificate, altered by change. It is
// valid in a synctest bubble too, where it is the year 2000.
func newCertificate(change func(*x509.Certificate)) certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames: []string{theServer}, IsCA: true, BasicConstraintsValid: true,
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	c := certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, x509.NewCertPool()}
	c.roots.AddCert(leaf)
	return c
}

var goodCertificate = sync.OnceValue(func() certificate { return newCertificate(nil) })

// script is the server's end of one connection.
type script struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	tls  bool
	done chan struct{} // closed when the script is over

	mu    sync.Mutex
	clear bytes.Buffer // what came without TLS
}

func (s *script) Read(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	if !s.tls {
		s.mu.Lock()
		s.clear.Write(p[:n])
		s.mu.Unlock()
	}
	return n, err
}

// inClear returns what the client has sent without TLS.
func (s *script) inClear() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clear.String()
}

// send sends lines in one write; TAG stands for the tag.
func (s *script) send(tag string, lines ...string) {
	text := strings.ReplaceAll(strings.Join(lines, "\r\n")+"\r\n", "TAG", tag)
	_, _ = io.WriteString(s.conn, text)
}

// command reads a line and returns its tag and the rest, both empty when the
// client has gone. The tag of an empty line is "*".
func (s *script) command() (tag, rest string) {
	line, err := s.r.ReadString('\n')
	if err != nil {
		return "", ""
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "*", ""
	}
	tag, rest, _ = strings.Cut(line, " ")
	return tag, rest
}

// expect reads a command that begins with prefix, and returns its tag.
func (s *script) expect(prefix string) (tag string) {
	tag, rest := s.command()
	if !strings.HasPrefix(rest, prefix) {
		s.t.Errorf("the client sent %q, not %q", rest, prefix)
	}
	return tag
}

// startTLS does the server's side of the handshake.
func (s *script) startTLS(cert certificate) bool {
	conn := tls.Server(s.conn, &tls.Config{Certificates: []tls.Certificate{cert.tls}})
	s.conn = conn
	s.tls = true
	if conn.Handshake() != nil {
		return false
	}
	s.r.Reset(conn)
	return true
}

// logIn serves a client until it has logged in, with the given capabilities
// and whatever mechanism takes a password at once.
func (s *script) logIn(capabilities string) {
	for {
		tag, rest := s.command()
		verb, _, _ := strings.Cut(rest, " ")
		switch {
		case tag == "":
			return
		case verb == "CAPABILITY":
			s.send(tag, "* CAPABILITY IMAP4rev1 "+capabilities, "TAG OK done")
		case verb == "LOGIN" || verb == "AUTHENTICATE":
			s.send(tag, "TAG OK [CAPABILITY IMAP4rev1 "+capabilities+"] done")
			return
		default:
			s.send(tag, "TAG BAD what?")
		}
	}
}

// drain reads what the client sends until it has gone.
func (s *script) drain() { _, _ = io.Copy(io.Discard, s.r) }

// connect runs the script as a server and logs in to it. It must be called in
// a synctest bubble.
func connect(t *testing.T, cfg Config, play func(*script)) (*conn, *script, error) {
	t.Helper()
	client, server := mempipe.Pipe()
	s := &script{t: t, conn: server, done: make(chan struct{})}
	s.r = bufio.NewReader(s)
	go func() {
		defer close(s.done)
		defer server.Close()
		play(s)
	}()
	cfg.Server.Dial = func(context.Context, string, string) (net.Conn, error) { return client, nil }
	if cfg.Server.Host == "" {
		cfg.Server.Host = theServer
	}
	if cfg.Server.User == "" {
		cfg.Server.User = theUser
	}
	if cfg.Server.Credentials == nil {
		cfg.Server.Credentials = func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(thePass), nil }
	}
	cfg = cfg.withDefaults()
	m := new(meter)
	raw, nc, err := dial(t.Context(), &cfg, m)
	if err != nil {
		_ = client.Close()
		<-s.done
		return nil, s, err
	}
	c := newConn(&cfg, m, 1, raw, nc, nil)
	t.Cleanup(func() { c.Close(); <-s.done })
	return c, s, c.named(opGreeting, "", c.establish(t.Context(), nil)) // as Client does
}

// plain is a configuration without TLS, for what comes after the log-in.
func plain() Config {
	return Config{Server: mailhaul.Server{Security: mailhaul.Plaintext}}
}

func starttls() Config {
	return Config{Server: mailhaul.Server{Security: mailhaul.StartTLS, TLS: mailhaul.TLS{Roots: goodCertificate().roots}}}
}

func implicit() Config {
	return Config{Server: mailhaul.Server{TLS: mailhaul.TLS{Roots: goodCertificate().roots}}}
}

// logged is a connection that is logged in to a server that then plays on.
func logged(t *testing.T, cfg Config, play func(*script)) *conn {
	c, _ := loggedScript(t, cfg, play)
	return c
}

func loggedScript(t *testing.T, cfg Config, play func(*script)) (*conn, *script) {
	t.Helper()
	c, s, err := connect(t, cfg, func(s *script) {
		s.send("", "* OK hello")
		s.logIn("AUTH=PLAIN SASL-IR")
		play(s)
	})
	require.NoError(t, err)
	return c, s
}

// noop runs NOOP, as any command whose answer is of no interest.
func noop(ctx context.Context, c *conn) error {
	_, err := c.run(ctx, c.command(opNoop, "NOOP"))
	return c.named(opNoop, "", err)
}

// checkError asserts what holds for every error that a server causes, and
// returns it.
func checkError(t *testing.T, err error) *mailhaul.Error {
	t.Helper()
	require.Error(t, err)
	var e *mailhaul.Error
	require.ErrorAs(t, err, &e)
	assert.NotEmpty(t, e.Op)
	assert.Equal(t, theServer, strings.Split(e.Server, ":")[0])
	checkText(t, err.Error())
	assert.NotEqual(t, mailhaul.KindUnknown, e.Kind)
	return e
}

// checkText asserts that a text is fit for a log: short, printable, and
// without a secret.
func checkText(t *testing.T, text string) {
	t.Helper()
	assert.Less(t, len(text), 3000)
	for _, r := range text {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			t.Errorf("control character %U in %q", r, text)
			break
		}
	}
	noSecret(t, text)
}

// noSecret asserts that the password is not in the text, in whatever form it
// goes over the wire.
func noSecret(t *testing.T, text string) {
	t.Helper()
	for _, form := range []string{
		thePass,
		`tr0ub\"4dor\\3`, `tr0ub\\\"4dor\\\\3`, // in an IMAP string, and that in a Go one
		base64.StdEncoding.EncodeToString([]byte(thePass)),
		base64.StdEncoding.EncodeToString([]byte("\x00" + theUser + "\x00" + thePass)),
		base64.StdEncoding.EncodeToString([]byte("user=" + theUser + "\x01auth=Bearer " + thePass + "\x01\x01")),
	} {
		if strings.Contains(text, form) {
			t.Errorf("the password, as %q, is in %.300q", form, text)
		}
	}
}

// noCredential asserts that nothing of a log-in was sent without TLS.
func noCredential(t *testing.T, s *script) {
	t.Helper()
	sent := s.inClear()
	noSecret(t, sent)
	assert.NotContains(t, sent, "LOGIN")
	assert.NotContains(t, sent, "AUTHENTICATE")
	assert.NotContains(t, sent, "ada")
}

// Case 1 to 5: what may stand between a connection and its protection.
func TestStartTLSIsRequired(t *testing.T) {
	offer := func(s *script) (tag string) {
		s.send("", "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hello")
		return s.expect("STARTTLS")
	}
	tests := []struct {
		name string
		play func(*script)
		kind mailhaul.Kind
		says string
	}{
		{"not offered", func(s *script) {
			s.send("", "* OK hello")
			s.send(s.expect("CAPABILITY"), "* CAPABILITY IMAP4rev1 AUTH=PLAIN", "TAG OK done")
		}, mailhaul.Permanent, "does not offer STARTTLS"},
		{"not offered in the greeting", func(s *script) { s.send("", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello") },
			mailhaul.Permanent, "does not offer STARTTLS"},
		{"CAPABILITY refused", func(s *script) { s.send("", "* OK hello"); s.send(s.expect("CAPABILITY"), "TAG NO") }, 0, ""},
		{"no CAPABILITY in the answer", func(s *script) { s.send("", "* OK hello"); s.send(s.expect("CAPABILITY"), "TAG OK") }, mailhaul.Corrupt, ""},
		{"NO", func(s *script) { s.send(offer(s), "TAG NO not today") }, mailhaul.Permanent, "not today"},
		{"BAD", func(s *script) { s.send(offer(s), "TAG BAD what?") }, 0, "what?"},
		{"BYE", func(s *script) { s.send(offer(s), "* BYE too secure") }, 0, ""},
		{"end", func(s *script) { offer(s) }, mailhaul.Throttled, "closed"},
		{"unknown answer", func(s *script) { s.send(offer(s), "TAG YES begin"); s.drain() }, 0, ""},
		{"PREAUTH for an answer", func(s *script) { s.send(offer(s), "TAG PREAUTH begin"); s.drain() }, 0, ""},
		{"BYE with the tag", func(s *script) { s.send(offer(s), "TAG BYE begin"); s.drain() }, 0, ""},
		{"PREAUTH", func(s *script) { s.send("", "* PREAUTH [CAPABILITY IMAP4rev1] welcome"); s.drain() }, mailhaul.Permanent, "PREAUTH"},
		{"PREAUTH, then more", func(s *script) {
			s.send("", "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome", "* OK hello")
			s.drain()
		}, mailhaul.Permanent, "PREAUTH"},
		{"octets behind the OK", func(s *script) {
			s.send(offer(s), "TAG OK begin", "* CAPABILITY IMAP4rev1 AUTH=PLAIN")
			s.drain()
		}, mailhaul.Corrupt, "in the clear"},
		{"one octet behind the OK", func(s *script) {
			_, _ = io.WriteString(s.conn, offer(s)+" OK begin\r\n*")
			s.drain()
		}, mailhaul.Corrupt, "in the clear"},
		{"octets a moment later", func(s *script) {
			s.send(offer(s), "TAG OK begin")
			time.Sleep(time.Millisecond)
			s.send("", "* CAPABILITY IMAP4rev1 AUTH=PLAIN")
			s.drain()
		}, mailhaul.Permanent, "something else"},
		{"OK before the command", func(s *script) {
			s.send("", "* OK hello")
			tag := s.expect("CAPABILITY")
			next := tag[:len(tag)-1] + string(tag[len(tag)-1]+1)
			// Before the end of the first command, so that the second cannot be
			// under way already.
			s.send(tag, "* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN", next+" OK begin TLS", "TAG OK done")
			s.drain()
		}, mailhaul.Corrupt, "answered a command"},
		{"guessed tags", func(s *script) {
			s.send("", "* OK hello", "a1 OK", "A1 OK", "1 OK", "a001 OK", "A0001 OK", "aaaaaa1 OK")
			s.drain()
		}, mailhaul.Corrupt, "never given"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, s, err := connect(t, starttls(), tt.play)
				e := checkError(t, err)
				if tt.kind != 0 {
					assert.Equal(t, tt.kind, e.Kind, err.Error())
				}
				assert.NotEqual(t, mailhaul.Auth, e.Kind, "nothing was said of credentials")
				assert.Contains(t, err.Error(), tt.says)
				noCredential(t, s)
			})
		})
	}
}

// What a server says before TLS counts for nothing afterwards.
func TestCapabilitiesAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s, err := connect(t, starttls(), func(s *script) {
			s.send("", "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=LOGIN SASL-IR] hello")
			s.send(s.expect("STARTTLS"), "TAG OK begin")
			if !s.startTLS(goodCertificate()) {
				return
			}
			s.send(s.expect("CAPABILITY"), "* CAPABILITY IMAP4rev1 AUTH=PLAIN", "TAG OK done")
			tag := s.expect("AUTHENTICATE PLAIN")
			s.send("", "+ ")
			_, _ = s.r.ReadString('\n')
			s.send(tag, "TAG OK done")
			s.send(s.expect("CAPABILITY"), "* CAPABILITY IMAP4rev1 UIDPLUS", "TAG OK done")
			s.drain()
		})
		require.NoError(t, err)
		assert.True(t, c.can("UIDPLUS"))
		assert.False(t, c.can("STARTTLS"))
		noCredential(t, s)
	})
}

// Case 3: what is no greeting ends the connection.
func TestGreetings(t *testing.T) {
	for _, cfg := range []Config{starttls(), plain()} {
		for _, greeting := range []string{
			"", "hello", "+ go ahead", "+OK POP3 ready", "220 mail ESMTP", "HTTP/1.1 400 Bad Request", "SSH-2.0-OpenSSH_9.2", "* NO", "* BAD what", "* 1 EXISTS",
			"* CAPABILITY IMAP4rev1 AUTH=PLAIN", "a1 OK hello", "* OKAY hello", "*OK hello", "* BYE too many connections", "* SEARCH 1 2",
			"\x00\x00\x00", "\x1b[2J", strings.Repeat("x", 100_000), "* FLAGS {3}\r\nabc", "\x16\x03\x01\x02\x00\x01",
		} {
			synctest.Test(t, func(t *testing.T) {
				_, s, err := connect(t, cfg, func(s *script) {
					s.send("", greeting, "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hello")
					s.drain()
				})
				e := checkError(t, err)
				assert.NotEqual(t, mailhaul.Auth, e.Kind, "%q: %v", greeting, err)
				noCredential(t, s)
				assert.Empty(t, s.inClear(), "nothing is said to who knows no greeting: %q", greeting)
			})
		}
	}
}

// Case 6, and hangs in every other state: each wait has its end.
func TestHangs(t *testing.T) {
	tests := []struct {
		name string
		cfg  func() Config
		play func(*script)
		max  time.Duration
	}{
		{"no greeting", plain, func(s *script) { s.drain() }, 3 * time.Minute},
		{"half a greeting", plain, func(s *script) { _, _ = io.WriteString(s.conn, "* O"); s.drain() }, 3 * time.Minute},
		{"no TLS", implicit, func(s *script) { s.drain() }, 31 * time.Second},
		{"no CAPABILITY", plain, func(s *script) { s.send("", "* OK hello"); s.drain() }, 3 * time.Minute},
		{"no answer to STARTTLS", starttls, func(s *script) { s.send("", "* OK [CAPABILITY STARTTLS] hello"); s.drain() }, 3 * time.Minute},
		{"after the OK to STARTTLS", starttls, func(s *script) {
			s.send("", "* OK [CAPABILITY IMAP4rev1 STARTTLS] hello")
			s.send(s.expect("STARTTLS"), "TAG OK begin")
			s.drain()
		}, 31 * time.Second},
		{"no answer to the log-in", plain, func(s *script) { s.send("", "* OK [CAPABILITY IMAP4rev1] hello"); s.drain() }, 3 * time.Minute},
		{"no challenge", plain, func(s *script) { s.send("", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello"); s.drain() }, 3 * time.Minute},
		{"no answer to an abandoned exchange", plain, func(s *script) {
			s.send("", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello")
			s.expect("AUTHENTICATE")
			s.send("", "+ bm9uc2Vuc2U=")
			s.drain()
		}, 3 * time.Minute},
		{"a server that does not read", plain, func(s *script) {
			s.send("", "* OK [CAPABILITY IMAP4rev1] hello")
			time.Sleep(time.Hour)
		}, 3 * time.Minute},
		{"an octet a second", plain, func(s *script) {
			s.send("", "* OK [CAPABILITY IMAP4rev1] hello")
			for range 10_000 {
				if _, err := io.WriteString(s.conn, "*"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, 5 * time.Minute},
		{"a greeting of an octet a second", plain, func(s *script) {
			for range 10_000 {
				if _, err := io.WriteString(s.conn, "*"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, 5 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, _, err := connect(t, tt.cfg(), tt.play)
				e := checkError(t, err)
				assert.NotEqual(t, mailhaul.Auth, e.Kind)
				assert.LessOrEqual(t, time.Since(start), tt.max)
			})
		})
	}
}

// Case 7, over implicit TLS and STARTTLS.
func TestCertificatesAreVerified(t *testing.T) {
	elsewhere := newCertificate(func(c *x509.Certificate) { c.DNSNames = []string{"mail.example.org"} })
	expired := newCertificate(func(c *x509.Certificate) { c.NotAfter = time.Date(1999, 12, 1, 0, 0, 0, 0, time.UTC) })
	for name, tt := range map[string]struct {
		cert  certificate
		roots *x509.CertPool
		says  string
	}{
		"good":        {goodCertificate(), goodCertificate().roots, ""},
		"unknown CA":  {goodCertificate(), nil, "not trust"},
		"another CA":  {goodCertificate(), elsewhere.roots, "not trust"},
		"wrong name":  {elsewhere, elsewhere.roots, "mail.example.org"},
		"expired":     {expired, expired.roots, "expired on 1 December 1999"},
		"no TLS here": {certificate{}, nil, "something else"},
	} {
		for _, sec := range []mailhaul.Security{mailhaul.ImplicitTLS, mailhaul.StartTLS} {
			t.Run(fmt.Sprintf("%s/%d", name, sec), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := Config{Server: mailhaul.Server{Security: sec, TLS: mailhaul.TLS{Roots: tt.roots}}}
					_, s, err := connect(t, cfg, func(s *script) {
						if sec == mailhaul.StartTLS {
							s.send("", "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hello")
							s.send(s.expect("STARTTLS"), "TAG OK begin")
						}
						if tt.cert.roots == nil {
							time.Sleep(time.Millisecond) // not behind the OK, which is another case
							s.send("", "* OK hello")
							s.drain()
							return
						}
						if !s.startTLS(tt.cert) {
							return
						}
						if sec == mailhaul.ImplicitTLS {
							s.send("", "* OK hello")
						}
						s.logIn("AUTH=PLAIN SASL-IR")
						s.drain()
					})
					noCredential(t, s)
					if tt.says == "" {
						require.NoError(t, err)
						return
					}
					e := checkError(t, err)
					assert.Equal(t, mailhaul.Permanent, e.Kind)
					assert.Equal(t, mailhaul.ScopeServer, e.Scope)
					assert.Contains(t, err.Error(), tt.says)
				})
			})
		}
	}
}

// A server that wants a client certificate says so, with TLS 1.3, only when
// the handshake is over.
func TestClientCertificateRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, err := connect(t, implicit(), func(s *script) {
			conn := tls.Server(s.conn, &tls.Config{Certificates: []tls.Certificate{goodCertificate().tls}, ClientAuth: tls.RequireAnyClientCert})
			_ = conn.Handshake()
			_ = conn.Close()
		})
		e := checkError(t, err)
		assert.Equal(t, mailhaul.Permanent, e.Kind, err.Error())
		assert.Contains(t, err.Error(), "client certificate")
	})
}

func TestLoginDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, err := connect(t, plain(), func(s *script) {
			s.send("", "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello")
			s.drain()
		})
		checkError(t, err)
		assert.Contains(t, err.Error(), "LOGINDISABLED")
		noCredential(t, s)
	})
}

// A log-in that is throttled is not a wrong password, and one that is refused
// shows nothing of it.
func TestLogInRefused(t *testing.T) {
	for line, kind := range map[string]mailhaul.Kind{
		"TAG NO [AUTHENTICATIONFAILED] no":     mailhaul.Auth,
		"TAG NO":                               mailhaul.Auth,
		"TAG NO [LIMIT] LOGIN Rate limit hit.": mailhaul.Throttled,
		"TAG NO [ALERT] Too many simultaneous connections. (Failure)":                                            mailhaul.Throttled,
		"* BYE IMAP4rev1 Server logging out\r\nTAG NO [LIMIT] Rate hit.":                                         mailhaul.Throttled,
		"* BYE IMAP4rev1 Server logging out":                                                                     mailhaul.Throttled,
		"TAG NO [UNAVAILABLE] later":                                                                             mailhaul.Transient,
		"TAG BAD Request is throttled. Suggested Backoff Time: 1000 milliseconds\r\n* BYE Connection closed. 14": mailhaul.Throttled,
	} {
		for _, caps := range []string{"", "AUTH=PLAIN", "AUTH=PLAIN SASL-IR", "AUTH=LOGIN"} {
			synctest.Test(t, func(t *testing.T) {
				_, _, err := connect(t, plain(), func(s *script) {
					s.send("", "* OK [CAPABILITY IMAP4rev1 "+caps+"] hello")
					tag, _ := s.command()
					s.send(tag, line)
				})
				e := checkError(t, err)
				assert.Equal(t, kind, e.Kind, "%s with %q: %v", line, caps, err)
			})
		}
	}
}

// Case 9: a size is a claim, and what is claimed is never allocated.
func TestLiteralBombs(t *testing.T) {
	sizes := []string{"2147483648", "4294967296", "1099511627776", "9223372036854775807", "9223372036854775808", "18446744073709551616", strings.Repeat("9", 300)}
	for _, head := range []string{
		"* LIST () \"/\" ", "* STATUS ", "* 1 FETCH (UID 1 BODY[HEADER] ", "* 1 FETCH (UID 1 BODY[] ", "* 1 FETCH (UID 1 BODY[] ~", "* 1 FETCH (FLAGS ", "* ID (\"name\" ",
		"* NAMESPACE ((", "* QUOTA ", "* X ", "* FLAGS (", "* 1 EXISTS ",
	} {
		for _, size := range sizes {
			synctest.Test(t, func(t *testing.T) {
				cfg := plain()
				cfg.Limits = Limits{MaxResponse: 1 << 20, MaxBody: 1 << 20}
				var sent int
				c, s := loggedScript(t, cfg, func(s *script) {
					s.expect("NOOP")
					s.send("", head+"{"+size+"}")
					chunk := strings.Repeat("x", 64<<10)
					for sent < 64<<20 {
						n, err := io.WriteString(s.conn, chunk)
						if sent += n; err != nil {
							return
						}
					}
				})
				before := allocated()
				err := noop(t.Context(), c)
				e := checkError(t, err)
				assert.Contains(t, []mailhaul.Kind{mailhaul.Corrupt, mailhaul.Transient}, e.Kind)
				c.Close()
				<-s.done
				assert.Less(t, allocated()-before, uint64(16<<20), "%s{%s}", head, size)
				assert.Less(t, sent, 32<<20, "%s{%.30s} is read on and on", head, size)
			})
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// survives runs a command against a server that sends text first, and expects
// that the connection lives on, within a time that is far above what linear
// work takes.
func survives(t *testing.T, name, text string) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		start := time.Now() // outside of the bubble: the real clock
		synctest.Test(t, func(t *testing.T) {
			c := logged(t, plain(), func(s *script) {
				for {
					tag, rest := s.command()
					if tag == "" {
						return
					}
					if strings.HasPrefix(rest, "NOOP") {
						_, _ = io.WriteString(s.conn, text)
					}
					s.send(tag, "TAG OK done")
				}
			})
			for range 2 {
				err := noop(t.Context(), c)
				require.NoError(t, err)
			}
		})
		assert.Less(t, time.Since(start), 20*time.Second)
	})
}

// Cases 8, 10 to 13 and 16: responses that cost themselves, and not much.
func TestOddResponses(t *testing.T) {
	n := 300_000
	if testing.Short() {
		n = 30_000
	}
	for _, head := range []string{"* 1 FETCH (UID 1 X-Y (", "* LIST (", "* ID (", "* X ", "* NAMESPACE ("} {
		survives(t, "many small literals in "+head, head+strings.Repeat("{0}\r\n ", n)+")\r\n")
		survives(t, "many literals of an octet in "+head, head+strings.Repeat("{1}\r\nx ", n)+")\r\n")
	}
	for _, head := range []string{"* 1 FETCH (UID 1 BODYSTRUCTURE ", "* 1 FETCH (UID 1 ENVELOPE ", "* LIST ", "* NAMESPACE ", "* ID ", "* THREAD ", "* QUOTA x ", "* STATUS x ", "* FLAGS ", "* ESEARCH "} {
		survives(t, "opened "+head, head+strings.Repeat("(", n)+"\r\n")
		survives(t, "opened and closed "+head, head+strings.Repeat("(", n)+strings.Repeat(")", n)+"\r\n")
		survives(t, "closed "+head, head+strings.Repeat(")", n)+"\r\n")
		survives(t, "pairs "+head, head+strings.Repeat("()", n)+"\r\n")
		survives(t, "quotes "+head, head+strings.Repeat(`"`, n)+"\r\n")
	}
	for _, line := range []string{
		"* ESEARCH (TAG \"x\") UID ALL 1:4294967295", "* ESEARCH ALL 1:4294967295,", "* ESEARCH UID ALL 4294967295:1,1:4294967295", "* SEARCH 4294967295 0 -1 99999999999999999999",
		"* VANISHED (EARLIER) 1:4294967295", "* VANISHED 1:4294967295,", "* OK [COPYUID 1 1:4294967295 1:4294967295] x", "* OK [COPYUID 1 1:4294967295] x", "* OK [COPYUID] x",
		"* OK [APPENDUID 1 1:4294967295] x", "* OK [APPENDUID 0 0] x", "* OK [APPENDUID 99999999999999999999 1,] x", "* OK [UIDNEXT 99999999999999999999] x",
		"* OK [HIGHESTMODSEQ 18446744073709551616] x", "* OK [PERMANENTFLAGS NIL] x", "* OK [PERMANENTFLAGS (] x", "* OK [UNFINISHED", "* NO", "* BAD", "* OK", "* OK []", "* OK [] [",
		"* 4294967295 EXISTS", "* 4294967296 EXISTS", "* -1 EXISTS", "* 0 EXPUNGE", "* 4294967295 EXPUNGE", "* 0 FETCH (UID 0)", "* 1 FETCH", "* 1 FETCH NIL", "* 1 FETCH ()",
		"* 1 FETCH (UID 4294967296)", "* 1 FETCH (UID -1 FLAGS)", "* 1 FETCH (RFC822.SIZE -1)", "* 1 FETCH (INTERNALDATE \"" + strings.Repeat("9", 5000) + "\")", "* 1 FETCH (INTERNALDATE NIL FLAGS NIL)",
		"* 1 FETCH (FLAGS (\\Seen \"x\" {3}\r\na\x00b))", "* 1 FETCH (BODY[] NIL)", "* 1 FETCH (BODY[] {3}\r\nabc)", "* 1 FETCH (BODY[] {3}\r\nabc UID 1", "* 1 FETCH (BODY[", "* 1 FETCH (MODSEQ (18446744073709551616))",
		"* LIST () NIL NIL", "* LIST (\\Noselect) \"/\" \"..\"", "* LIST () \"/\" \"\"", "* LIST () \"/\" \"/\"", "* LIST () \"/\" \"a\x00b\"", "* LIST () \"\" x", "* LIST () \"//\" x", "* LIST", "* LIST (",
		"* LIST () \"/\" \"&\"", "* LIST () \"/\" \"&AAAA-\"", "* LIST () \"/\" \"&2AA-\"", "* LIST () \"/\" \"\xff\xfe\"", "* LIST () \"/\" " + strings.Repeat("n", 60_000), "* LSUB x y",
		"* STATUS", "* STATUS x", "* STATUS x (MESSAGES -1 UIDNEXT 99999999999999999999", "* STATUS x (MESSAGES (((1)))", "* NAMESPACE", "* NAMESPACE NIL NIL NIL", "* ID NIL", "* ID (\"a\")", "* ID (\"a\" NIL)",
		"* CAPABILITY", "* ENABLED", "* QUOTAROOT", "* QUOTA", "*", "* ", "", "**", "* *", "\x00", "* \x00", "* OK \x00\x01\x1b[2J", "* \xff\xfe\xfd", "x", "+", "+ ", "+ unasked", "+" + strings.Repeat("x", 60_000),
		"* OK " + strings.Repeat("x", 10<<20), strings.Repeat("* ", 1<<20), strings.Repeat("x", 10<<20), "* BYEBYE", "* 1", "* 1 ", "* FETCH 1 (UID 1)", "* SEARCH {3}\r\n1 2", "* SEARCH (", "* ESEARCH ALL", "* ESEARCH UID ALL \"1\"",
		"* 1 FETCH (UID 1 UID 2 UID 3 FLAGS (a) FLAGS (b))", "* X {3}\r\n* 2 FETCH (UID 2)",
	} {
		survives(t, fmt.Sprintf("%.60q", line), line+"\r\n")
	}
	survives(t, "bare LF", "* OK hello\n* 3 EXISTS\n")
	survives(t, "line ends", strings.Repeat("\r\n", n)+strings.Repeat("\r", n)+"\n"+strings.Repeat("\n", n))
}

// A response as long as a mailbox is large is taken; the set has few ranges
// even so.
func TestUIDSetBombs(t *testing.T) {
	for answer, want := range map[string]mailhaul.UIDSet{
		"* ESEARCH (TAG \"TAG\") UID ALL 1:4294967295":        {{First: 7, Last: 7}},
		"* ESEARCH (TAG \"TAG\") UID ALL 1:4294967295,1,2,,":  {{First: 7, Last: 7}},
		"* SEARCH" + strings.Repeat(" 4294967295", 1_000_000): {{First: 4294967295, Last: 4294967295}},
		"* SEARCH 7":             {{First: 7, Last: 7}},
		"* SEARCH 7\r\n* SEARCH": {{First: 7, Last: 7}},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := logged(t, plain(), func(s *script) {
				s.send(s.expect("EXAMINE"), "* 1 EXISTS", "TAG OK done")
				for {
					tag, rest := s.command()
					switch {
					case tag == "":
						return
					case strings.HasPrefix(rest, "UID SEARCH"):
						s.send(tag, answer, "TAG OK done")
					default:
						s.send(tag, "* 1 FETCH (UID 7)", "TAG OK done")
					}
				}
			})
			_, err := c.open(t.Context(), mailhaul.Mailbox{Wire: "INBOX"}, false)
			require.NoError(t, err)
			before := allocated()
			got, err := c.uids(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, got, "%.60s", answer)
			assert.Less(t, allocated()-before, uint64(256<<20))
		})
	}
}

// Numbers that a server sends in descending order cost a sort, not a square.
func TestSearchInAnyOrder(t *testing.T) {
	const count = 400_000
	var b strings.Builder
	b.WriteString("* SEARCH")
	for i := count; i > 0; i-- {
		fmt.Fprintf(&b, " %d", 2*i)
	}
	start := time.Now()
	synctest.Test(t, func(t *testing.T) {
		c := logged(t, plain(), func(s *script) {
			s.send(s.expect("EXAMINE"), fmt.Sprintf("* %d EXISTS", count), "TAG OK done")
			s.send(s.expect("UID SEARCH"), b.String(), "TAG OK done")
			s.drain()
		})
		_, err := c.open(t.Context(), mailhaul.Mailbox{Wire: "INBOX"}, false)
		require.NoError(t, err)
		got, err := c.uids(t.Context())
		require.NoError(t, err)
		assert.Equal(t, count, got.Len())
	})
	assert.Less(t, time.Since(start), 10*time.Second)
}

// Case 21: what never ends is ended.
func TestEndless(t *testing.T) {
	for name, tt := range map[string]struct {
		line string
		slow time.Duration // between two lines
	}{
		"untagged":           {line: "* 1 EXISTS\r\n"},
		"unknown":            {line: "* X\r\n"},
		"nothing":            {line: "\r\n"},
		"malformed":          {line: "x\r\n"},
		"continuations":      {line: "+ go on\r\n"},
		"SEARCH":             {line: "* SEARCH 1 2 3\r\n"},
		"bodies":             {line: "* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n"},
		"RECENT":             {line: "* 1 RECENT\r\n"},
		"ALERT":              {line: "* OK [ALERT] hear\r\n"},
		"BYE":                {line: "* BYE bye\r\n"},
		"BYE, slowly":        {line: "* BYE bye\r\n", slow: time.Second},
		"an endless line":    {line: strings.Repeat("x", 1000)},
		"an endless SEARCH":  {line: "* SEARCH" + strings.Repeat(" 1 3", 10_000)},
		"an endless BYE":     {line: "* BYE" + strings.Repeat("e", 10_000)},
		"a tag of nobody's":  {line: "a1 OK\r\n"},
		"an endless literal": {line: "* X {99999999999}\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			synctest.Test(t, func(t *testing.T) {
				cfg := plain()
				cfg.Limits = Limits{MaxResponses: 10_000, MaxResponse: 1 << 20}
				ended := false
				c, s := loggedScript(t, cfg, func(s *script) {
					s.expect("NOOP")
					for range 1_000_000 {
						if _, err := io.WriteString(s.conn, tt.line); err != nil {
							ended = true
							return
						}
						time.Sleep(tt.slow)
					}
				})
				err := noop(t.Context(), c)
				checkError(t, err)
				c.Close()
				<-s.done
				assert.True(t, ended, "the server could go on for as long as it wanted")
			})
			assert.Less(t, time.Since(start), 30*time.Second)
		})
	}
}

// A stream that ends in the middle of something is an error, not an end.
func TestCutShort(t *testing.T) {
	for _, text := range []string{"", "*", "* 1 FETCH (UID 1 BODY[] {100}\r\nabc", "* X {100}\r\nabc", "* X {100}", "* X {3}\r\nabc", "TA", "* SEARCH 1 2", "* SEARCH 1 2\r\n", "* OK x\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			c := logged(t, plain(), func(s *script) {
				s.expect("NOOP")
				_, _ = io.WriteString(s.conn, text)
			})
			err := noop(t.Context(), c)
			e := checkError(t, err)
			assert.Equal(t, mailhaul.Transient, e.Kind, "%q", text)
			assert.Equal(t, mailhaul.ScopeConnection, e.Scope)
		})
	}
}

// A literal and a line that come an octet a second.
func TestDrips(t *testing.T) {
	for _, head := range []string{"* X ", "* X {1000000}\r\n", "* 1 FETCH (UID 1 BODY[] {1000000}\r\n", "* SEARCH ", "* OK ", "+ "} {
		synctest.Test(t, func(t *testing.T) {
			c := logged(t, plain(), func(s *script) {
				s.expect("NOOP")
				_, err := io.WriteString(s.conn, head)
				for err == nil {
					time.Sleep(time.Second)
					_, err = io.WriteString(s.conn, "1")
				}
			})
			start := time.Now()
			err := noop(t.Context(), c)
			e := checkError(t, err)
			assert.Equal(t, mailhaul.Transient, e.Kind)
			assert.LessOrEqual(t, time.Since(start), 5*time.Minute, head)
		})
	}
}

// Case 15: no name of ours ends a command early.
func TestInjection(t *testing.T) {
	for _, bad := range []string{"a\r\nx1 DELETE INBOX", "a\nb", "a\rb", "a\x00b", "\r\n"} {
		t.Run(fmt.Sprintf("%q", bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var heard []string
				c, s := loggedScript(t, plain(), func(s *script) {
					for {
						tag, rest := s.command()
						if tag == "" {
							return
						}
						heard = append(heard, rest)
						s.send(tag, "TAG OK done")
					}
				})
				_, err := c.open(t.Context(), mailhaul.Mailbox{Wire: bad}, true)
				require.Error(t, err)
				err = noop(t.Context(), c)
				require.NoError(t, err, "the connection is none the worse")
				c.Close()
				<-s.done
				assert.Equal(t, []string{"NOOP"}, heard[len(heard)-1:])
				for _, h := range heard {
					assert.NotContains(t, h, "DELETE")
					assert.NotContains(t, h, "SELECT")
				}
			})
			for _, caps := range []string{"", "AUTH=PLAIN SASL-IR", "AUTH=LOGIN", "AUTH=SCRAM-SHA-256"} {
				synctest.Test(t, func(t *testing.T) {
					for _, cfg := range []mailhaul.Server{
						{Security: mailhaul.Plaintext, User: bad},
						{Security: mailhaul.Plaintext, AuthzID: bad},
						{Security: mailhaul.Plaintext, Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(bad + thePass), nil }},
					} {
						_, s, err := connect(t, Config{Server: cfg}, func(s *script) {
							s.send("", "* OK [CAPABILITY IMAP4rev1 "+caps+"] hello")
							s.drain()
						})
						require.Error(t, err)
						noSecret(t, err.Error())
						assert.NotContains(t, err.Error(), "\n")
						assert.Empty(t, s.inClear())
					}
				})
			}
		})
	}
}

// A name that looks like a literal's announcement is a name.
func TestLiteralLookAlikes(t *testing.T) {
	for _, name := range []string{"a{3+}", "a{3}", `a"b`, `a\`, "é", "{5+}", "~{3}", "(a)", "", "*", "%", "NIL"} {
		synctest.Test(t, func(t *testing.T) {
			var got string
			c, s := loggedScript(t, plain(), func(s *script) {
				tag, rest := s.command()
				got = strings.TrimPrefix(rest, "EXAMINE ")
				if strings.HasSuffix(got, "}") && !strings.HasPrefix(got, `"`) {
					s.send("", "+ go")
					line, _ := s.r.ReadString('\n')
					got = strings.TrimSuffix(line, "\r\n")
				} else {
					got = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(strings.Trim(got, `"`))
					if name == `a"b` || name == `a\` {
						got = name // Trim and Replacer are no parser
					}
				}
				s.send(tag, "TAG OK done")
				s.drain()
			})
			_, err := c.open(t.Context(), mailhaul.Mailbox{Wire: name}, false)
			require.NoError(t, err)
			c.Close()
			<-s.done
			assert.Equal(t, name, got)
		})
	}
}

// Case 17.
func TestScramBomb(t *testing.T) {
	for _, iterations := range []string{"1000001", "2147483647", "99999999999999999999"} {
		start := time.Now()
		synctest.Test(t, func(t *testing.T) {
			_, _, err := connect(t, plain(), func(s *script) {
				s.send("", "* OK [CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256 AUTH=PLAIN SASL-IR] hello")
				tag, rest := s.command()
				first, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "AUTHENTICATE SCRAM-SHA-256 "))
				assert.NoError(t, err)
				_, nonce, _ := strings.Cut(string(first), ",r=")
				s.send("", "+ "+base64.StdEncoding.EncodeToString([]byte("r="+nonce+"server,s=c2FsdA==,i="+iterations)))
				line, _ := s.r.ReadString('\n')
				assert.Equal(t, "*\r\n", line, "the exchange is cancelled")
				s.send(tag, "TAG BAD cancelled")
				s.drain()
			})
			checkError(t, err)
			assert.Contains(t, err.Error(), "iterations")
		})
		assert.Less(t, time.Since(start), 5*time.Second)
	}
}

// A server that reports success without its half of SCRAM's proof does not
// know the password.
func TestScramServerIsVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, err := connect(t, plain(), func(s *script) {
			s.send("", "* OK [CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256 SASL-IR] hello")
			s.send(s.expect("AUTHENTICATE"), "TAG OK welcome")
			s.drain()
		})
		checkError(t, err)
		assert.Contains(t, err.Error(), "did not prove")
	})
}

// Endless and odd challenges.
func TestOddChallenges(t *testing.T) {
	for _, challenge := range []string{"+ !!!", "+ " + strings.Repeat("A", 60_000), "+ ", "+", "+ bm9uc2Vuc2U=", "+ =", "* OK\r\n+ ", "x"} {
		for _, mechanism := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"} {
			for _, ir := range []string{"", " SASL-IR"} {
				synctest.Test(t, func(t *testing.T) {
					cfg := plain()
					cfg.Server.Mechanism = mechanism
					if mechanism == "XOAUTH2" || mechanism == "OAUTHBEARER" {
						cfg.Server.Credentials = func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("token"), nil }
					}
					_, _, err := connect(t, cfg, func(s *script) {
						s.send("", "* OK [CAPABILITY IMAP4rev1 AUTH="+mechanism+ir+"] hello")
						tag := s.expect("AUTHENTICATE")
						for range 50 {
							s.send("", challenge)
							line, err := s.r.ReadString('\n')
							if err != nil {
								return
							}
							if line == "*\r\n" {
								s.send(tag, "TAG BAD cancelled")
								s.drain()
								return
							}
						}
						t.Errorf("%s answers %.30q for ever", mechanism, challenge)
					})
					checkError(t, err)
				})
			}
		}
	}
}

// Case 18: what a server says reaches errors and logs quoted and cut.
func TestHostileText(t *testing.T) {
	hostile := "\x1b[2J\x1b]0;title\x07\r\x7f\xc2\x9b31m\xff 100% %s %n " + strings.Repeat("A", 60_000)
	for _, line := range []string{
		"TAG NO " + hostile, "TAG BAD " + hostile, "TAG NO [" + hostile + "] x", "* BYE " + hostile, "* BYE [" + hostile, "x" + hostile, "x" + hostile + "\r\n* BYE", "\x1bTAG OK " + hostile,
		"* 1 FETCH " + hostile + "\r\nTAG NO x", "* LIST " + hostile + "\r\nTAG NO x", hostile + "\r\nTAG NO x", hostile + " OK x",
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			cfg := plain()
			cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			c := logged(t, cfg, func(s *script) {
				tag, _ := s.command()
				s.send(tag, line)
			})
			_, err := c.open(t.Context(), mailhaul.Mailbox{Wire: "INBOX", Name: "INBOX"}, false)
			err = c.named(opExamine, "INBOX", err)
			checkError(t, err)
			c.Close()
			for entry := range strings.Lines(log.String()) {
				checkText(t, strings.TrimSuffix(entry, "\n"))
			}
		})
	}
}

// Nothing that is traced, logged or returned holds the password, even where
// the server repeats all that it hears.
func TestSecretsStayHidden(t *testing.T) {
	for _, mechanism := range []string{"", "PLAIN", "LOGIN", "XOAUTH2", "CRAM-MD5", "SCRAM-SHA-256", "OAUTHBEARER"} {
		for _, ir := range []string{"", " SASL-IR"} {
			for _, last := range []string{"TAG NO you sent ", "TAG BAD ", "* BYE ", "TAG OK ", "* ALERT ", "x "} {
				synctest.Test(t, func(t *testing.T) {
					var log bytes.Buffer
					var mu sync.Mutex
					var traced []string
					cfg := plain()
					cfg.Server.Mechanism = mechanism
					secret := thePass
					if mechanism == "" && ir != "" {
						secret += "\u00e9" // the LOGIN command needs a literal
						cfg.Server.Credentials = func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(secret), nil }
					}
					cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
					cfg.Trace = func(l TraceLine) {
						mu.Lock()
						defer mu.Unlock()
						traced = append(traced, l.Text)
					}
					c, _, err := connect(t, cfg, func(s *script) {
						s.send("", "* OK [CAPABILITY IMAP4rev1 AUTH="+mechanism+ir+"] hello")
						tag, rest := s.command()
						heard := []string{rest}
						for range 4 { // say everything that was heard, again and again
							s.send("", "* OK you said "+strings.Join(heard, " "))
							if strings.HasPrefix(rest, "LOGIN") && !strings.HasSuffix(rest, "}") {
								break
							}
							s.send("", "+ ")
							_ = s.conn.SetReadDeadline(time.Now().Add(time.Second))
							line, err := s.r.ReadString('\n')
							if err != nil || line == "*\r\n" {
								break
							}
							rest = strings.TrimRight(line, "\r\n")
							heard = append(heard, rest)
						}
						s.send(tag, last+strings.Join(heard, " ")+" "+secret)
					})
					if err != nil {
						noSecret(t, err.Error())
					}
					c.Close()
					noSecret(t, log.String())
					mu.Lock()
					defer mu.Unlock()
					assert.NotEmpty(t, traced)
					for _, line := range traced {
						noSecret(t, line)
					}
				})
			}
		}
	}
}

// hostileClient returns a Client of a server that plays the script on each of its
// connections, once the user has logged in.
func hostileClient(t *testing.T, capabilities string, play func(*script)) *Client {
	t.Helper()
	var scripts []*script
	cfg := plain()
	cfg.Server.Host, cfg.Server.User = theServer, theUser
	cfg.Server.Credentials = func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(thePass), nil }
	cfg.Server.Dial = func(context.Context, string, string) (net.Conn, error) {
		client, server := mempipe.Pipe()
		s := &script{t: t, conn: server, done: make(chan struct{})}
		s.r = bufio.NewReader(s)
		scripts = append(scripts, s) // the tests use one connection at a time
		go func() {
			defer close(s.done)
			defer server.Close()
			s.send("", "* OK hello")
			s.logIn(capabilities)
			play(s)
		}()
		return client, nil
	}
	cl, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, cl.Close())
		for _, s := range scripts {
			<-s.done
		}
	})
	return cl
}

// simple serves an empty mailbox to a client, but for the commands that
// override answers, which returns false where it does not care.
func (s *script) simple(override func(tag, rest string) bool) {
	for {
		tag, rest := s.command()
		switch verb, _, _ := strings.Cut(rest, " "); {
		case tag == "":
			return
		case tag == "*":
			s.send("", "* BAD empty command")
		case override(tag, rest):
		case verb == "SELECT" || verb == "EXAMINE":
			s.send(tag, "* 0 EXISTS", "* OK [UIDVALIDITY 1] x", "* OK [UIDNEXT 1] x", `* OK [PERMANENTFLAGS (\Seen \*)] x`, "TAG OK done")
		default:
			s.send(tag, "TAG OK done")
		}
	}
}

// text is a body of octets at hand.
type textBody string

func (b textBody) Size() int64       { return int64(len(b)) }
func (b textBody) Reader() io.Reader { return strings.NewReader(string(b)) }
func (b textBody) Buffered() bool    { return true }
func (b textBody) Release()          {}

// appendOne appends one message and returns what became of it.
func appendOne(t *testing.T, cl *Client, o mailhaul.Outgoing) mailhaul.Outcome {
	t.Helper()
	w, err := cl.OpenWriter(t.Context(), mailhaul.Mailbox{Wire: "INBOX", Name: "INBOX"})
	require.NoError(t, err)
	defer w.Close()
	r, err := w.Append(t.Context(), []mailhaul.Outgoing{o})
	if err != nil {
		checkError(t, err)
	}
	out, err := r.Wait(t.Context())
	if err != nil {
		checkError(t, err)
	}
	require.Len(t, out, 1)
	return out[0]
}

// Case 8: a UID that a server claims is believed only where it can be right.
func TestAppendUID(t *testing.T) {
	for code, uid := range map[string]mailhaul.UID{
		"APPENDUID 1 1": 1, "APPENDUID 1 7": 7,
		"APPENDUID 2 1": 0, "APPENDUID 1 0": 0, "APPENDUID 0 0": 0, "APPENDUID 1 1:2": 0, "APPENDUID 1 1,2": 0, "APPENDUID 1 1:4294967295": 0, "APPENDUID 1 *": 0,
		"APPENDUID 1 1,": 0, "APPENDUID 1": 0, "APPENDUID": 0, "APPENDUID 1 4294967296": 0, "APPENDUID 4294967297 1": 0, "APPENDUID 1 -1": 0, "APPENDUID x y": 0,
		"COPYUID 1 1 1": 0, "COPYUID 1 1:4294967295 1:4294967295": 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			cl := hostileClient(t, "UIDPLUS", func(s *script) {
				s.simple(func(tag, rest string) bool {
					switch {
					case strings.HasPrefix(rest, "NOOP"):
						s.send(tag, "* OK [APPENDUID 1 99] not asked for", "TAG OK [APPENDUID 1 98] nor here")
					case strings.HasPrefix(rest, "APPEND"):
						s.send("", "+ go", "* OK [APPENDUID 1 97] not this one")
						_, _ = io.ReadFull(s.r, make([]byte, len("hello\r\n")))
						s.send(tag, "TAG OK ["+code+"] done")
					default:
						return false
					}
					return true
				})
			})
			out := appendOne(t, cl, mailhaul.Outgoing{Body: textBody("hello")})
			assert.Equal(t, mailhaul.Stored, out.Delivery, code)
			assert.Equal(t, uid, out.UID, code)
		})
	}
}

// A server that reports a message as stored before it has it has not stored
// it.
func TestOKBeforeTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := hostileClient(t, "", func(s *script) {
			s.simple(func(tag, rest string) bool {
				if strings.HasPrefix(rest, "APPEND") {
					s.send(tag, "TAG OK [APPENDUID 1 1] done")
					return true
				}
				return false
			})
		})
		out := appendOne(t, cl, mailhaul.Outgoing{Body: textBody("hello")})
		assert.NotEqual(t, mailhaul.Stored, out.Delivery)
		assert.Error(t, out.Err)
	})
}

// A server that claims LITERAL+ and runs the bodies of what it refuses never
// gets a body that it could run, whatever is in the message (case 19).
func TestLiteralsAreProbed(t *testing.T) {
	const body = "x1 DELETE INBOX\r\n\r\nx2 DELETE INBOX\r\n"
	for _, caps := range []string{"LITERAL+", "LITERAL-", "LITERAL+ MULTIAPPEND", "LITERAL+ IMAP4rev2"} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var run []string
			refuse := true
			cl := hostileClient(t, caps, func(s *script) {
				s.simple(func(tag, rest string) bool {
					mu.Lock()
					run = append(run, rest)
					mu.Unlock()
					if !strings.HasPrefix(rest, "APPEND") {
						return false
					}
					if refuse {
						s.send(tag, "TAG BAD no such thing") // what follows is taken for commands
						return true
					}
					return false
				})
			})
			out := appendOne(t, cl, mailhaul.Outgoing{Body: textBody(body)})
			assert.Equal(t, mailhaul.NotStored, out.Delivery)
			mu.Lock()
			defer mu.Unlock()
			for _, command := range run {
				assert.NotContains(t, command, "DELETE", caps)
			}
		})
	}
}

// Case 15, in APPEND: a flag or a date cannot end the command.
func TestAppendInjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var header, body string
		const message = "From: x\r\n\r\n)\r\nx1 DELETE INBOX\r\n{9+}\r\n+ go\r\n.\r\n\rlone\nlines\x00\xff"
		cl := hostileClient(t, "", func(s *script) {
			s.simple(func(tag, rest string) bool {
				if !strings.HasPrefix(rest, "APPEND") {
					return !strings.HasPrefix(rest, "SELECT") && !strings.HasPrefix(rest, "NOOP") && !strings.HasPrefix(rest, "LOGOUT") && func() bool {
						t.Errorf("unexpected command %q", rest)
						return false
					}()
				}
				s.send("", "+ go")
				got := make([]byte, len(message)+2)
				_, _ = io.ReadFull(s.r, got)
				mu.Lock()
				header, body = rest, string(got)
				mu.Unlock()
				s.send(tag, "TAG OK done")
				return true
			})
		})
		out := appendOne(t, cl, mailhaul.Outgoing{
			Body:         textBody(message),
			InternalDate: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC),
			Flags: []mailhaul.Flag{`\Recent`, `\Foo`, "a b", "a\r\nb", "a)", "{3+}", "é", "a]", "", `"`, `\Seen`, "good", "%", "*", "\x00",
				"a\x7f", "a\\", "(", `\*`, "NIL"},
		})
		assert.Equal(t, mailhaul.Stored, out.Delivery)
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, fmt.Sprintf(`APPEND "INBOX" (\Seen good NIL) {%d}`, len(message)), header)
		assert.Equal(t, message+"\r\n", body, "the octets that arrive are the octets that leave")
	})
}

// Case 14: names that a server lists are listed or left out, and none of them
// becomes a part of another command.
func TestHostileNames(t *testing.T) {
	names := []string{`".."`, `""`, `"/"`, `"//"`, "\"a\x00b\"", "{4}\r\na\r\nb", "{1}\r\n\n", `"&"`, `"&AAAA-"`, `"&2AA-"`, "\"\xff\xfe\"", `"\""`, `"\\"`, `"a{3+}"`, `"INBOX"`, `"inbox"`,
		`"INBOX/"`, `"/INBOX"`, `"../../etc/passwd"`, `"` + strings.Repeat("n", 5000) + `"`, `"` + strings.Repeat("a/", 400) + `"`, `"*"`, `"%"`, `NIL`, `"&AA0ACg-x"`}
	for _, caps := range []string{"", "LIST-EXTENDED LIST-STATUS SPECIAL-USE"} {
		for _, prefix := range []string{"", "* NAMESPACE ((\"\" \"/\")) NIL NIL", "* NAMESPACE (({6}\r\na\r\nb/x \"/\")) NIL NIL", "* NAMESPACE ((\"a\" \"\r\")) NIL NIL", "* NAMESPACE ((\"\" \"ab\")) ((\"\" \"/\")) NIL"} {
			synctest.Test(t, func(t *testing.T) {
				namespace := ""
				if prefix != "" {
					namespace = " NAMESPACE"
				}
				cl := hostileClient(t, caps+namespace, func(s *script) {
					s.simple(func(tag, rest string) bool {
						verb, _, _ := strings.Cut(rest, " ")
						switch verb {
						case "NAMESPACE":
							s.send(tag, prefix, "TAG OK done")
						case "LIST", "LSUB":
							for _, n := range names {
								s.send("", "* "+verb+` () "/" `+n)
							}
							s.send(tag, "TAG OK done")
						case "STATUS", "CREATE":
							for strings.HasSuffix(rest, "}") {
								s.send("", "+ go")
								rest, _ = s.r.ReadString('\n')
								rest = strings.TrimRight(rest, "\r\n")
							}
							s.send(tag, "TAG NO")
						case "SELECT", "NOOP", "LOGOUT", "ID", "CAPABILITY":
							return false
						default:
							t.Errorf("unexpected command %q", rest)
							return false
						}
						return true
					})
				})
				l, err := cl.List(t.Context())
				require.NoError(t, err)
				seen := map[string]bool{}
				for _, m := range l.Mailboxes {
					assert.False(t, seen[m.Wire], "%q is listed twice", m.Wire)
					seen[m.Wire] = true
					assert.LessOrEqual(t, len(m.Wire), 1000)
				}
				for _, warning := range l.Warnings {
					checkText(t, warning)
				}
				for _, path := range [][]string{{"x"}, {"a\r\nb"}, {""}, {".."}, {"a", "", "b"}, {"a\x00"}, {strings.Repeat("x", 10_000)}, {"\xff"}, nil} {
					if _, err := cl.Create(t.Context(), path, mailhaul.RoleNone); err != nil {
						assert.NotContains(t, err.Error(), "\n")
					}
				}
			})
		}
	}
}

// FuzzServer plays whatever octets at a client that is reading a mailbox: it
// neither panics nor hangs, and what it says of it is fit for a log.
func FuzzServer(f *testing.F) {
	seeds := []string{
		"* 1 FETCH (UID 7 BODY[] {3}\r\nabc)\r\nTAG OK done\r\n", "* 1 FETCH (BODY[] {3}\r\nabc UID 7)\r\n* 1 FETCH (FLAGS (\\Seen))\r\n", "* 1 FETCH (UID 7)\r\n* 1 FETCH (BODY[] \"x\")\r\n",
		"* SEARCH 7\r\n* ESEARCH UID ALL 1:4294967295\r\n", "* LIST () \"/\" {3}\r\na\"b\r\n* LSUB () NIL NIL\r\n", "* STATUS x (MESSAGES 1)\r\n+ go\r\n* BYE [ALERT] x\r\n",
		"* 1 FETCH (UID 7 FLAGS (a b) INTERNALDATE \" 1-Jan-2000 00:00:00 +0000\" RFC822.SIZE 3 MODSEQ (5))\r\n", "* 1 EXPUNGE\r\n* VANISHED 7\r\n* 3 EXISTS\r\n", "x OK [THROTTLED]\r\n",
		"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n* QUOTA x (STORAGE 1 2)\r\n* ID (\"a\" NIL)\r\n", "{5}\r\nhello\r\n\x00\xff\r\n((((((\r\n",
	}
	require.NotEmpty(f, seeds)
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		synctest.Test(t, func(t *testing.T) {
			cl := hostileClient(t, "ESEARCH LIST-EXTENDED LIST-STATUS NAMESPACE", func(s *script) {
				played := false
				s.simple(func(tag, rest string) bool {
					verb, _, _ := strings.Cut(rest, " ")
					switch verb {
					case "EXAMINE":
						s.send(tag, "* 1 EXISTS", "* OK [UIDVALIDITY 1] x", "TAG OK done")
					case "UID", "LIST", "LSUB", "STATUS":
						_, _ = io.WriteString(s.conn, strings.ReplaceAll(text, "TAG", tag))
						if played {
							s.send(tag, "TAG OK done")
						}
						played = !played
					default:
						return false
					}
					return true
				})
			})
			check := func(err error) {
				if err != nil {
					checkError(t, err)
				}
			}
			_, err := cl.List(t.Context())
			check(err)
			r, err := cl.OpenReader(t.Context(), mailhaul.Mailbox{Wire: "INBOX", Name: "INBOX"})
			check(err)
			if err != nil {
				return
			}
			defer r.Close()
			_, err = r.UIDs(t.Context())
			check(err)
			for m, err := range r.Messages(t.Context(), mailhaul.UIDSetOf(7), mailhaul.FieldFlags|mailhaul.FieldSize|mailhaul.FieldDate, 0) {
				check(err)
				if err == nil && m.UID != 7 {
					t.Errorf("UID %d was not asked for", m.UID)
				}
			}
			for _, stream := range []bool{false, true} {
				bodies, err := r.Fetch(t.Context(), mailhaul.UIDSetOf(7), stream)
				check(err)
				if err != nil {
					continue
				}
				for b, err := range bodies {
					check(err)
					if err != nil {
						continue
					}
					if b.UID != 7 {
						t.Errorf("UID %d was not asked for", b.UID)
					}
					n, err := io.Copy(io.Discard, b.Body.Reader())
					if err == nil && n != b.Body.Size() {
						t.Errorf("%d octets in a body of %d", n, b.Body.Size())
					}
					b.Body.Release()
				}
			}
		})
	})
}
