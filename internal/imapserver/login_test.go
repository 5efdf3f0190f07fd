// Log-in, TLS, compression, and what a user may not.

package imapserver_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// testTLS returns a server's configuration and the client's that trusts it.
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, ServerName: "test"}
}

func TestLogin(t *testing.T) {
	s, _ := start(t, imapserver.Options{MaxConnsPerUser: 1})
	x, _ := connect(t, s)
	x.refused("SELECT INBOX", "BAD")
	x.refused("LOGIN alice wrong", "NO [AUTHENTICATIONFAILED]")
	x.refused("LOGIN bob secret", "NO [AUTHENTICATIONFAILED]")
	x.refused("STARTTLS", "BAD")
	x.ok(`LOGIN "alice" "secret"`)
	x.refused("LOGIN alice secret", "BAD")
	y, _ := connect(t, s)
	y.refused("LOGIN alice secret", "NO [UNAVAILABLE]")
	assert.Equal(t, []string{"BYE Logging out"}, x.ok("LOGOUT"))
	x.closed()
	require.Eventually(t, func() bool { return s.Stats().Open == 1 }, 5*time.Second, time.Millisecond)
	y.ok("LOGIN alice secret")
}

func TestPreAuth(t *testing.T) {
	s, _ := start(t, imapserver.Options{PreAuth: "alice"})
	x, greeting := connect(t, s)
	assert.True(t, strings.HasPrefix(greeting, "* PREAUTH "))
	x.ok("SELECT INBOX")
}

// scramLogin plays the client's part of SCRAM-SHA-256 and returns the tagged
// response. (imapclient answers "=" to a challenge that wants an empty line.)
func scramLogin(t *testing.T, x *raw, password string, initial bool) string {
	t.Helper()
	c, err := scram.SHA256.NewClient("alice", password, "")
	require.NoError(t, err)
	conv := c.NewConversation()
	first, err := conv.Step("")
	require.NoError(t, err)
	b64 := base64.StdEncoding.EncodeToString([]byte(first))
	if initial {
		x.send("a AUTHENTICATE SCRAM-SHA-256 " + b64 + "\r\n")
	} else {
		x.send("a AUTHENTICATE SCRAM-SHA-256\r\n")
		assert.Equal(t, "+ ", x.line())
		x.send(b64 + "\r\n")
	}
	for {
		line := x.line()
		challenge, more := strings.CutPrefix(line, "+ ")
		if !more {
			return line
		}
		text, err := base64.StdEncoding.DecodeString(challenge)
		require.NoError(t, err)
		response, err := conv.Step(string(text))
		require.NoError(t, err)
		x.send(base64.StdEncoding.EncodeToString([]byte(response)) + "\r\n")
	}
}

func TestAuthenticate(t *testing.T) {
	all := []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"}
	for _, caps := range [][]string{nil, imapserver.Without("SASL-IR")} {
		s, _ := start(t, imapserver.Options{AuthMechs: all, Caps: caps})
		s.AddMaster("root", "toor")
		auth := func(c sasl.Client) error {
			conn := imapclient.New(dial(t, s), nil)
			defer func() { _ = conn.Close() }()
			return conn.Authenticate(c)
		}
		bearer := func(user, token string) sasl.Client {
			return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: user, Token: token})
		}
		require.NoError(t, auth(sasl.NewPlainClient("", "alice", "secret")))
		require.NoError(t, auth(sasl.NewPlainClient("alice", "root", "toor")))
		if caps == nil { // elsewhere imapclient takes "Username:" for a mistake
			require.NoError(t, auth(sasl.NewLoginClient("alice", "secret")))
		}
		require.NoError(t, auth(bearer("alice", "secret")))
		require.NoError(t, auth(sasl.NewExternalClient("alice")))
		x, _ := connect(t, s)
		assert.Contains(t, scramLogin(t, x, "wrong", caps == nil), "a NO [AUTHENTICATIONFAILED]")
		assert.Contains(t, scramLogin(t, x, "secret", caps == nil), "a OK ")
		require.Error(t, auth(sasl.NewPlainClient("", "alice", "wrong")))
		require.Error(t, auth(sasl.NewPlainClient("root", "alice", "secret")), "alice is no master")
		require.Error(t, auth(sasl.NewPlainClient("nobody", "root", "toor")))
		require.Error(t, auth(sasl.NewLoginClient("alice", "wrong")))
	}

	s, _ := start(t, imapserver.Options{AuthMechs: all})
	b64 := base64.StdEncoding.EncodeToString
	x, _ := connect(t, s)
	x.refused("AUTHENTICATE GSSAPI", "NO [CANNOT]")
	x.send("a AUTHENTICATE LOGIN\r\n")
	assert.Equal(t, "+ "+b64([]byte("Username:")), x.line())
	x.send(b64([]byte("alice")) + "\r\n")
	assert.Equal(t, "+ "+b64([]byte("Password:")), x.line())
	x.send("wrong base64\r\n")
	_, status := x.answer("a")
	assert.Contains(t, status, "BAD ")
	x.send("a AUTHENTICATE PLAIN\r\n")
	assert.Equal(t, "+ ", x.line())
	x.send("*\r\n")
	_, status = x.answer("a")
	assert.Contains(t, status, "BAD ")
	x.send("a AUTHENTICATE XOAUTH2 " + b64([]byte("user=alice\x01auth=Bearer wrong\x01\x01")) + "\r\n")
	assert.Contains(t, x.line(), "+ ")
	x.send("\r\n")
	_, status = x.answer("a")
	assert.Contains(t, status, "NO [AUTHENTICATIONFAILED]")
	x.ok("AUTHENTICATE XOAUTH2 " + b64([]byte("user=alice\x01auth=Bearer secret\x01\x01")))

	x, _ = connect(t, s)
	x.send("a AUTHENTICATE CRAM-MD5\r\n")
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(x.line(), "+ "))
	require.NoError(t, err)
	mac := hmac.New(md5.New, []byte("secret"))
	mac.Write(challenge)
	x.send(b64([]byte("alice "+hex.EncodeToString(mac.Sum(nil)))) + "\r\n")
	_, status = x.answer("a")
	assert.Contains(t, status, "OK ")
}

func TestImplicitTLS(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	s, _ := start(t, imapserver.Options{TLSConfig: serverTLS})
	addr, err := s.ListenTLS()
	require.NoError(t, err)
	tcp, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	mem, err := s.Dial(context.Background(), "tcp", "test:993")
	require.NoError(t, err)
	for _, c := range []net.Conn{tcp, mem} {
		oracle(t, tls.Client(c, clientTLS))
	}
}

func TestStartTLS(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	s, _ := start(t, imapserver.Options{TLSConfig: serverTLS, StartTLS: true, LoginDisabled: true})
	x, greeting := connect(t, s)
	assert.Contains(t, greeting, " STARTTLS LOGINDISABLED]")
	x.refused("LOGIN alice secret", "NO [PRIVACYREQUIRED]")

	c, err := imapclient.NewStartTLS(dial(t, s), &imapclient.Options{TLSConfig: clientTLS})
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.Login("alice", "secret").Wait())
	caps, err := c.Capability().Wait()
	require.NoError(t, err)
	assert.NotContains(t, caps, "STARTTLS")

	// What was pipelined in clear is not executed.
	x.send("s STARTTLS\r\nevil LOGOUT\r\n")
	assert.Contains(t, x.line(), "s OK")
	tc := tls.Client(x.c, clientTLS)
	require.NoError(t, tc.Handshake())
	x.c = tc
	x.r.Reset(tc)
	x.ok("LOGIN alice secret")
}

func TestCompress(t *testing.T) {
	s, u := start(t, imapserver.Options{})
	body := bytes.Repeat([]byte("compress me "), 100_000)
	u.Mailbox("INBOX").Add(imapserver.Message{Body: body})
	x := login(t, s)
	x.ok("COMPRESS DEFLATE")
	w, err := flate.NewWriter(x.c, flate.DefaultCompression)
	require.NoError(t, err)
	x.r.Reset(flate.NewReader(x.c))
	x.c = flateConn{x.c, w}
	x.ok("SELECT INBOX")
	got := x.ok("FETCH 1 BODY.PEEK[]")
	assert.Len(t, got[0], len(body)+len("1 FETCH (BODY[] {1200000}\r\n)"))
	x.refused("COMPRESS DEFLATE", "NO [COMPRESSIONACTIVE]")
	for range 100 {
		x.ok("APPEND INBOX {5+}\r\nhello")
	}
	assert.Less(t, s.Stats().BytesOut, int64(100_000))
}

type flateConn struct {
	net.Conn
	w *flate.Writer
}

func (c flateConn) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err == nil {
		err = c.w.Flush()
	}
	return n, err
}

func TestQuota(t *testing.T) {
	s, u := start(t, imapserver.Options{Quota: 10 << 10, AppendLimit: 5000})
	fill(u.Mailbox("INBOX"), 10)
	x := login(t, s)
	assert.Contains(t, x.ok("CAPABILITY")[0], " APPENDLIMIT=5000")
	assert.Equal(t, []string{`QUOTAROOT "INBOX" "User quota"`, `QUOTA "User quota" (STORAGE 1 10)`}, x.ok("GETQUOTAROOT INBOX"))
	assert.Equal(t, []string{`QUOTA "User quota" (STORAGE 1 10)`}, x.ok(`GETQUOTA "User quota"`))
	assert.Equal(t, []string{`STATUS "INBOX" (APPENDLIMIT 5000)`}, x.ok("STATUS INBOX (APPENDLIMIT)"))
	for range 2 {
		x.ok("APPEND INBOX {5000+}\r\n" + strings.Repeat("x", 5000))
	}
	x.refused("APPEND INBOX {5000+}\r\n"+strings.Repeat("x", 5000), "NO [OVERQUOTA]")
	x.ok("SELECT INBOX")
	x.refused("COPY 11 INBOX", "NO [OVERQUOTA]")
	x.ok(`STORE 11 +FLAGS.SILENT (\Deleted)`)
	x.ok("EXPUNGE")
	x.ok("COPY 11 INBOX")
	assert.EqualValues(t, 10*6+1+10000, u.Used())
	u.Delete("INBOX")
	assert.Zero(t, u.Used())
}
