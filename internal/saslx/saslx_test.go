package saslx

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"github.com/mailhaul/mailhaul"
)

const password = "tr0ub4dor&3"

func withPassword(context.Context) (mailhaul.Secret, error) {
	return mailhaul.NewSecret(password), nil
}

func account(change func(*mailhaul.Server)) mailhaul.Server {
	srv := mailhaul.Server{Host: "mail.example.org", User: "ada@example.org", Credentials: withPassword}
	if change != nil {
		change(&srv)
	}
	return srv
}

func TestChoose(t *testing.T) {
	certificate := func(s *mailhaul.Server) {
		s.TLS.Certificates = []tls.Certificate{{}}
		s.Credentials = nil
	}
	demand := func(m string) func(*mailhaul.Server) { return func(s *mailhaul.Server) { s.Mechanism = m } }
	actAs := func(m string) func(*mailhaul.Server) {
		return func(s *mailhaul.Server) { s.AuthzID, s.Mechanism = "bob", m }
	}
	plaintext := func(s *mailhaul.Server) { s.Security = mailhaul.Plaintext }
	tests := []struct {
		name      string
		offered   string
		change    func(*mailhaul.Server)
		clear     bool // no encryption
		want      string
		wantError string
	}{
		{"best", "PLAIN LOGIN XOAUTH2 OAUTHBEARER CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 EXTERNAL", nil, false, ScramSHA256, ""},
		{"any case", "login plain scram-sha-256", nil, false, ScramSHA256, ""},
		{"no SCRAM", "LOGIN CRAM-MD5 PLAIN", nil, false, Plain, ""},
		{"LOGIN only", "LOGIN", nil, false, Login, ""},
		{"PLUS alone is not understood", "SCRAM-SHA-256-PLUS", nil, false, "", ""},
		{"weak digests are not taken under TLS", "CRAM-MD5 DIGEST-MD5 NTLM", nil, false, "", ""},
		{"tokens are not guessed", "XOAUTH2 OAUTHBEARER", nil, false, "", ""},
		{"nothing offered", "", nil, false, "", ""},

		{"before STARTTLS", "PLAIN", func(s *mailhaul.Server) { s.Security = mailhaul.StartTLS }, true, "", "before TLS"},
		{"before TLS, demanded", "PLAIN", demand("PLAIN"), true, "", "before TLS"},
		{"before TLS, SCRAM", "SCRAM-SHA-256", nil, true, "", "before TLS"},
		{"in the clear by choice", "PLAIN LOGIN", plaintext, true, Plain, ""},
		{"in the clear, digest", "PLAIN LOGIN CRAM-MD5", plaintext, true, CramMD5, ""},
		{"in the clear, SCRAM", "PLAIN CRAM-MD5 SCRAM-SHA-256", plaintext, true, ScramSHA256, ""},

		{"demanded", "PLAIN SCRAM-SHA-256 LOGIN", demand("login"), false, Login, ""},
		{"demanded scram", "PLAIN SCRAM-SHA-256", demand("scram"), false, ScramSHA256, ""},
		{"demanded cram", "PLAIN CRAM-MD5", demand("Cram-MD5"), false, CramMD5, ""},
		{"demanded xoauth2", "PLAIN XOAUTH2", demand("xoauth2"), false, XOAuth2, ""},
		{"demanded oauthbearer", "OAUTHBEARER", demand("oauthbearer"), false, OAuthBearer, ""},
		{"demanded external", "PLAIN EXTERNAL", demand("external"), false, External, ""},
		{"demanded, not offered", "PLAIN LOGIN", demand("scram"), false, "", `does not offer SCRAM-SHA-256; it offers "PLAIN LOGIN"`},
		{"demanded, nothing offered", "", demand("plain"), false, "", "offers no mechanism"},
		{"demanded, unknown", "NTLM", demand("NTLM"), false, "", "not known"},
		{"demanded without a password", "PLAIN", func(s *mailhaul.Server) { s.Mechanism, s.Credentials = "PLAIN", nil }, false, "", "nothing to log in with"},

		{"certificate", "PLAIN EXTERNAL", certificate, false, External, ""},
		{"certificate beside a password", "PLAIN EXTERNAL", func(s *mailhaul.Server) { s.TLS.Certificates = []tls.Certificate{{}} }, false, Plain, ""},
		{"certificate not taken", "PLAIN", certificate, false, "", "EXTERNAL"},
		{"neither", "PLAIN EXTERNAL", func(s *mailhaul.Server) { s.Credentials = nil }, false, "", "nothing to log in with"},

		{"as another", "LOGIN PLAIN", actAs(""), false, Plain, ""},
		{"as another, SCRAM too", "SCRAM-SHA-256 PLAIN", actAs(""), false, Plain, ""},
		{"as another, SCRAM only", "SCRAM-SHA-256 LOGIN", actAs(""), false, ScramSHA256, ""},
		{"as another, SCRAM demanded", "SCRAM-SHA-256 PLAIN", actAs("scram"), false, ScramSHA256, ""},
		{"as another, in the clear", "SCRAM-SHA-256 PLAIN", func(s *mailhaul.Server) { plaintext(s); s.AuthzID = "bob" }, true, ScramSHA256, ""},
		{"as another, LOGIN only", "LOGIN", actAs(""), false, "", "acting as"},
		{"as another, LOGIN demanded", "LOGIN", actAs("login"), false, "", "cannot act as"},
		{"as another, XOAUTH2 demanded", "XOAUTH2", actAs("xoauth2"), false, "", "cannot act as"},
		{"as another, nothing offered", "", actAs(""), false, "", "acting as"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Choose(strings.Fields(tt.offered), account(tt.change), !tt.clear)
			assert.Equal(t, tt.want, got)
			if tt.wantError == "" {
				assert.NoError(t, err)
				return
			}
			requireFailure(t, err)
			assert.Contains(t, err.Error(), tt.wantError)
		})
	}
}

func TestOffersAreQuotedAndCut(t *testing.T) {
	_, err := Choose([]string{"X\r\nY", strings.Repeat("Z", 10_000)}, account(func(s *mailhaul.Server) { s.Mechanism = "PLAIN" }), true)
	requireFailure(t, err)
	assert.Less(t, len(err.Error()), 1000)
}

// requireFailure asserts what each error of this package holds, and holds not.
func requireFailure(t *testing.T, err error) *mailhaul.Error {
	t.Helper()
	var e *mailhaul.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "log in", e.Op)
	assert.Contains(t, e.Server, "mail.example.org:")
	assert.Equal(t, mailhaul.Permanent, e.Kind)
	assert.Equal(t, mailhaul.ScopeAccount, e.Scope)
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)} {
		assert.NotContains(t, text, password)
		assert.NotContains(t, text, base64.StdEncoding.EncodeToString([]byte(password)))
	}
	assert.NotContains(t, err.Error(), "\n")
	assert.NotContains(t, err.Error(), "\r")
	return e
}

// exchange plays a client against a server, as a protocol without initial
// responses does, and returns the first error of either.
func exchange(c sasl.Client, s sasl.Server) error {
	_, ir, err := c.Start()
	if err != nil {
		return err
	}
	challenge, done, err := s.Next(nil)
	for {
		if err != nil || done {
			return err
		}
		response := ir
		if ir = nil; response == nil {
			if response, err = c.Next(challenge); err != nil {
				return err
			}
		}
		challenge, done, err = s.Next(response)
	}
}

func client(t *testing.T, mechanism string, change func(*mailhaul.Server)) sasl.Client {
	t.Helper()
	c, err := Client(mechanism, account(change), mailhaul.NewSecret(password))
	require.NoError(t, err)
	name, _, err := c.Start()
	require.NoError(t, err)
	assert.Equal(t, mechanism, name)
	c, err = Client(strings.ToLower(mechanism), account(change), mailhaul.NewSecret(password))
	require.NoError(t, err)
	for _, format := range []string{"%v", "%s", "%+v", "%#v"} {
		if mechanism == Plain || mechanism == OAuthBearer || mechanism == ScramSHA256 {
			break // go-sasl's and scram's own structs; nobody prints them
		}
		assert.NotContains(t, fmt.Sprintf(format, c), password)
	}
	return c
}

func TestPlain(t *testing.T) {
	var got []string
	server := sasl.NewPlainServer(func(identity, user, pass string) error {
		got = []string{identity, user, pass}
		return nil
	})
	c := client(t, Plain, func(s *mailhaul.Server) { s.AuthzID = "bob" })
	require.NoError(t, exchange(c, server))
	assert.Equal(t, []string{"bob", "ada@example.org", password}, got)
	assert.NoError(t, Verify(c))
	_, err := c.Next([]byte("more"))
	assert.Error(t, err)
}

// script is a server that sends the given challenges and keeps the responses.
type script struct {
	challenges []string
	got        []string
}

func (s *script) Next(response []byte) ([]byte, bool, error) {
	if response != nil {
		s.got = append(s.got, string(response))
	}
	if len(s.challenges) == 0 {
		return nil, true, nil
	}
	next := s.challenges[0]
	s.challenges = s.challenges[1:]
	return []byte(next), false, nil
}

func TestLogin(t *testing.T) {
	for _, prompts := range [][]string{{"Username:", "Password:"}, {"User Name\x00", "Password\x00"}, {"", ""}} {
		s := &script{challenges: prompts}
		c := client(t, Login, nil)
		require.NoError(t, exchange(c, s))
		assert.Equal(t, []string{"ada@example.org", password}, s.got)
	}
	err := exchange(client(t, Login, nil), &script{challenges: []string{"a", "b", "a third\r\n" + strings.Repeat("x", 5000)}})
	requireFailure(t, err)
	assert.Less(t, len(err.Error()), 600)
}

// The example of RFC 2195 section 2.
func TestCramMD5(t *testing.T) {
	srv := mailhaul.Server{Host: "mail.example.org", User: "tim"}
	c, err := Client(CramMD5, srv, mailhaul.NewSecret("tanstaaftanstaaf"))
	require.NoError(t, err)
	s := &script{challenges: []string{"<1896.697170952@postoffice.reston.mci.net>"}}
	require.NoError(t, exchange(c, s))
	assert.Equal(t, []string{"tim b913a602c7eda7a495b4e6e7334d3890"}, s.got)

	requireFailure(t, exchange(client(t, CramMD5, nil), &script{challenges: []string{"<1@x>", "<2@x>"}}))
	requireFailure(t, exchange(client(t, CramMD5, nil), &script{challenges: []string{""}}))
}

func TestExternal(t *testing.T) {
	for _, identity := range []string{"", "bob"} {
		got := "none"
		c := client(t, External, func(s *mailhaul.Server) { s.AuthzID, s.Credentials = identity, nil })
		require.NoError(t, exchange(c, sasl.NewExternalServer(func(id string) error { got = id; return nil })))
		assert.Equal(t, identity, got)
	}
	_, err := Client(External, mailhaul.Server{Host: "h"}, mailhaul.Secret{})
	assert.NoError(t, err, "a certificate needs no name and no secret")
}

func TestOAuthBearer(t *testing.T) {
	var got sasl.OAuthBearerOptions
	server := sasl.NewOAuthBearerServer(func(o sasl.OAuthBearerOptions) *sasl.OAuthBearerError { got = o; return nil })
	c := client(t, OAuthBearer, nil)
	require.NoError(t, exchange(c, server))
	assert.Equal(t, sasl.OAuthBearerOptions{Username: "ada@example.org", Token: password, Host: "mail.example.org", Port: 993}, got)
	assert.NoError(t, Verify(c))
	assert.Empty(t, Reason(c))

	// A name with the octets that separate fields; the second user where one
	// is set.
	c = client(t, OAuthBearer, func(s *mailhaul.Server) { s.AuthzID = "a=b,c" })
	_, ir, err := c.Start()
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(ir), "n,a=a=3Db=2Cc,\x01"), "%q", ir)

	// Refused: the reason arrives, and the server hears the dummy response.
	c = client(t, OAuthBearer, nil)
	err = exchange(c, sasl.NewOAuthBearerServer(func(sasl.OAuthBearerOptions) *sasl.OAuthBearerError {
		return &sasl.OAuthBearerError{Status: "invalid_token", Scope: "mail"}
	}))
	assert.ErrorContains(t, err, "invalid_token")
	assert.Equal(t, `status "invalid_token", scope "mail"`, Reason(c))
	requireFailure(t, Verify(c))
	_, err = c.Next([]byte("again"))
	requireFailure(t, err)
}

func TestXOAuth2(t *testing.T) {
	c := client(t, XOAuth2, nil)
	s := &script{challenges: []string{""}}
	require.NoError(t, exchange(c, s))
	assert.Equal(t, []string{"user=ada@example.org\x01auth=Bearer " + password + "\x01\x01"}, s.got)
	assert.NoError(t, Verify(c))

	c = client(t, XOAuth2, nil)
	s = &script{challenges: []string{"", `{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}`}}
	require.NoError(t, exchange(c, s))
	assert.Equal(t, "", s.got[1], "the error is answered by an empty response")
	assert.Equal(t, `status "401", scope "https://mail.google.com/"`, Reason(c))
	requireFailure(t, Verify(c))

	c = client(t, XOAuth2, nil)
	hostile := "\x1b[2J\r\nA1 OK " + strings.Repeat("x", 5000)
	require.NoError(t, exchange(c, &script{challenges: []string{"", hostile}}))
	assert.Less(t, len(Reason(c)), 300)
	assert.NotContains(t, Reason(c), "\n")
	assert.NotContains(t, Reason(c), "\x1b")

	requireFailure(t, exchange(client(t, XOAuth2, nil), &script{challenges: []string{"", "{}", "{}"}}))
}

// scramServer adapts the library's server to go-sasl's interface. tamper, if
// set, changes what it sends.
type scramServer struct {
	conv   *scram.ServerConversation
	tamper func(step int, text string) string
	step   int
}

func newScramServer(t *testing.T, user, pass string, tamper func(int, string) string) *scramServer {
	t.Helper()
	stored, err := scram.SHA256.NewClient(user, pass, "")
	require.NoError(t, err)
	credentials, err := stored.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "NaCl", Iters: 4096})
	require.NoError(t, err)
	s, err := scram.SHA256.NewServer(func(u string) (scram.StoredCredentials, error) {
		if u != user {
			return scram.StoredCredentials{}, fmt.Errorf("no user %q", u)
		}
		return credentials, nil
	})
	require.NoError(t, err)
	return &scramServer{conv: s.NewConversation(), tamper: tamper}
}

func (s *scramServer) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	if s.step == 2 {
		if !s.conv.Valid() {
			return nil, true, fmt.Errorf("refused")
		}
		return nil, true, nil
	}
	s.step++
	text, err := s.conv.Step(string(response))
	if text == "" {
		return nil, true, err
	}
	if s.tamper != nil {
		text = s.tamper(s.step, text)
	}
	return []byte(text), false, nil
}

func TestScram(t *testing.T) {
	for _, user := range []string{"ada@example.org", "a=b,c"} {
		c := client(t, ScramSHA256, func(s *mailhaul.Server) { s.User = user })
		requireFailure(t, Verify(c))
		require.NoError(t, exchange(c, newScramServer(t, user, password, nil)))
		assert.NoError(t, Verify(c))
	}

	c := client(t, ScramSHA256, func(s *mailhaul.Server) { s.AuthzID = "bob" })
	server := newScramServer(t, "ada@example.org", password, nil)
	require.NoError(t, exchange(c, server))
	assert.Equal(t, "bob", server.conv.AuthzID())

	// A wrong password is the protocol's to report.
	c = client(t, ScramSHA256, nil)
	err := exchange(c, newScramServer(t, "ada@example.org", "another", nil))
	require.EqualError(t, err, "refused")
	assert.Equal(t, `"invalid-proof"`, Reason(c))
	requireFailure(t, Verify(c))
}

// The example of RFC 7677 section 3.
func TestScramVector(t *testing.T) {
	lib, err := scram.SHA256.NewClient("user", "pencil", "")
	require.NoError(t, err)
	c := &scramClient{conv: lib.WithNonceGenerator(func() string { return "rOprNGfwEbeRWgbNEkqO" }).NewConversation()}
	s := &script{challenges: []string{"",
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="}}
	require.NoError(t, exchange(c, s))
	assert.Equal(t, []string{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", ""}, s.got)
	assert.NoError(t, Verify(c))
}

func TestScramHostile(t *testing.T) {
	first := func(change func(text string) string) func(int, string) string {
		return func(step int, text string) string {
			if step == 1 {
				return change(text)
			}
			return text
		}
	}
	iterations := func(n string) func(int, string) string {
		return first(func(text string) string { return strings.Replace(text, "i=4096", "i="+n, 1) })
	}
	tests := []struct {
		name   string
		tamper func(int, string) string
		says   string
	}{
		{"bomb", iterations("1000001"), "1000001 SCRAM iterations"},
		{"2^31", iterations("2147483648"), "SCRAM iterations"},
		{"2^64", iterations("18446744073709551616"), "SCRAM iterations"},
		{"endless number", iterations(strings.Repeat("9", 10000)), "SCRAM iterations"},
		{"too few", iterations("1"), "too few"},
		{"negative", iterations("-1"), "too few"},
		{"no number", iterations("x"), "no SCRAM message"},
		{"bomb behind a decoy", first(func(s string) string { return strings.Replace(s, ",i=4096", ",i=999999999,i=4096", 1) }), "999999999 SCRAM"},
		{"other nonce", first(func(s string) string { return "r=x" + s[2:] }), "nonce"},
		{"extension", first(func(s string) string { return "m=x," + s }), "no SCRAM message"},
		{"empty", first(func(string) string { return "" }), "no SCRAM message"},
		{"line break", first(func(string) string { return "x\r\ny,z,i=5000" }), `\r\n`},
		{"wrong signature", func(step int, s string) string {
			if step == 2 {
				return "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
			}
			return s
		}, "did not prove"},
		{"no signature", func(step int, s string) string {
			if step == 2 {
				return "welcome"
			}
			return s
		}, "did not prove"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, ScramSHA256, nil)
			err := exchange(c, newScramServer(t, "ada@example.org", password, tt.tamper))
			requireFailure(t, err)
			assert.Contains(t, err.Error(), tt.says)
			requireFailure(t, Verify(c))
			assert.Less(t, len(err.Error()), 700)
		})
	}

	// Success reported before the proof, and a message behind the proof.
	c := client(t, ScramSHA256, nil)
	require.NoError(t, exchange(c, &script{challenges: []string{""}}))
	requireFailure(t, Verify(c))
	c = client(t, ScramSHA256, nil)
	require.NoError(t, exchange(c, newScramServer(t, "ada@example.org", password, nil)))
	_, err := c.Next([]byte("v=again"))
	requireFailure(t, err)
}

// A password that SASLprep does not know is used as it is.
func TestScramUnprepared(t *testing.T) {
	const emoji = "correct \U0001F434 battery"
	c, err := Client(ScramSHA256, account(nil), mailhaul.NewSecret(emoji))
	require.NoError(t, err)
	lib, err := scram.SHA256.NewClientUnprepped("ada@example.org", emoji, "")
	require.NoError(t, err)
	stored, err := lib.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "NaCl", Iters: 4096})
	require.NoError(t, err)
	s, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	require.NoError(t, err)
	require.NoError(t, exchange(c, &scramServer{conv: s.NewConversation()}))
	assert.NoError(t, Verify(c))
}

func TestInjection(t *testing.T) {
	for _, bad := range []string{"ada\r\nA1 NOOP", "ada\x00root", "ada\x01auth=Bearer x", "ada\x7f", "ada\tb"} {
		for _, m := range known {
			_, err := Client(m, account(func(s *mailhaul.Server) { s.User = bad }), mailhaul.NewSecret(password))
			e := requireFailure(t, err)
			assert.Empty(t, e.Account)
			assert.Contains(t, err.Error(), "user name holds control characters")
			_, err = Client(m, account(func(s *mailhaul.Server) { s.AuthzID = bad }), mailhaul.NewSecret(password))
			requireFailure(t, err)
		}
	}
	for _, bad := range []string{"", password + "\n", password + "\r\nx", password + "\x00"} {
		for _, m := range known {
			_, err := Client(m, account(nil), mailhaul.NewSecret(bad))
			if m == External {
				require.NoError(t, err)
				continue
			}
			requireFailure(t, err)
		}
	}
	for _, bad := range []string{"to ken", "token\x01host=x", "tok\u00e9n"} {
		for _, m := range []string{XOAuth2, OAuthBearer} {
			_, err := Client(m, account(nil), mailhaul.NewSecret(bad))
			requireFailure(t, err)
		}
	}
	for _, m := range []string{"NTLM", "", "ANONYMOUS", "GSSAPI"} {
		_, err := Client(m, account(nil), mailhaul.NewSecret(password))
		requireFailure(t, err)
	}
	_, err := Client(Plain, account(func(s *mailhaul.Server) { s.User = "" }), mailhaul.NewSecret(password))
	requireFailure(t, err)
	_, err = Client(Login, account(func(s *mailhaul.Server) { s.AuthzID = "bob" }), mailhaul.NewSecret(password))
	requireFailure(t, err)
}

// What is logged of a client by accident holds no secret.
func TestNotLogged(t *testing.T) {
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, nil))
	for _, m := range []string{Login, CramMD5, XOAuth2} {
		log.Info("client", "client", client(t, m, nil))
	}
	assert.NotContains(t, b.String(), password)
}

func FuzzNext(f *testing.F) {
	f.Add("r=x,s=eA==,i=4096", "v=eA==")
	f.Add("{\"status\":\"401\"}", "")
	f.Add("r=x,s=eA==,i=99999999999999999999", "e=other-error")
	f.Fuzz(func(t *testing.T, one, two string) {
		for _, m := range known {
			c, err := Client(m, account(nil), mailhaul.NewSecret(password))
			if err != nil {
				t.Fatal(err)
			}
			_, _, _ = c.Start()
			for _, challenge := range []string{one, two, one} {
				if _, err := c.Next([]byte(challenge)); err != nil && strings.Contains(err.Error(), password) {
					t.Fatalf("%s shows the secret: %v", m, err)
				}
			}
		}
	})
}
