package saslx

// The clients of the mechanisms.

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/mailhaul/mailhaul"
)

// Client returns a client for one exchange by the mechanism, which [Choose]
// returned. The secret is looked at only by mechanisms that use one.
func Client(mechanism string, srv mailhaul.Server, secret mailhaul.Secret) (sasl.Client, error) {
	srv.Mechanism = mechanism
	mechanism, err := canonical(srv)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkName("user name", srv.User), checkName("authorization identity", srv.AuthzID)); err != nil {
		return nil, failure(srv, "", "%w", err)
	}
	if srv.AuthzID != "" && !takesAuthzID(mechanism) {
		return nil, failure(srv, "", "%s cannot act as another user (%q)", mechanism, srv.AuthzID)
	}
	token := mechanism == XOAuth2 || mechanism == OAuthBearer
	if mechanism != External {
		if srv.User == "" && mechanism != OAuthBearer {
			return nil, failure(srv, "", "no user is named")
		}
		if err := checkSecret(secret, token); err != nil {
			return nil, failure(srv, "", "%w", err)
		}
	}
	switch mechanism {
	case Plain:
		return sasl.NewPlainClient(srv.AuthzID, srv.User, secret.Reveal()), nil
	case Login:
		return &login{srv: srv, reveal: secret.Reveal}, nil
	case External:
		return sasl.NewExternalClient(srv.AuthzID), nil
	case CramMD5:
		return &cramMD5{srv: srv, reveal: secret.Reveal}, nil
	case OAuthBearer:
		return newBearer(srv, secret), nil
	case XOAuth2:
		return &xoauth2{refusal{srv: srv}, secret.Reveal}, nil
	default:
		return newScram(srv, secret)
	}
}

// Reason returns what the server said, inside an exchange that it then
// refused, about the cause; "" where it said nothing. The text is quoted and
// short.
func Reason(c sasl.Client) string {
	if r, ok := c.(interface{ reason() string }); ok {
		return r.reason()
	}
	return ""
}

// Verify is called after the server has reported success. It returns an error
// where the mechanism proves the server's identity too and the server has not
// given that proof.
func Verify(c sasl.Client) error {
	if v, ok := c.(interface{ verify() error }); ok {
		return v.verify()
	}
	return nil
}

func unexpected(srv mailhaul.Server, challenge []byte) error {
	return failure(srv, "", "unexpected challenge %s", quote(string(challenge)))
}

// login is the LOGIN mechanism (draft-murchison-sasl-login). Servers word its
// two prompts as they like and the draft says to ignore the words, which
// go-sasl's client does not.
type login struct {
	srv    mailhaul.Server
	reveal func() string // not a Secret: fmt prints unexported fields without asking their methods
	step   int
}

func (l *login) Start() (string, []byte, error) { return Login, nil, nil }

func (l *login) Next(challenge []byte) ([]byte, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte(l.srv.User), nil
	case 2:
		return []byte(l.reveal()), nil
	}
	return nil, unexpected(l.srv, challenge)
}

// cramMD5 is CRAM-MD5 (RFC 2195).
type cramMD5 struct {
	srv    mailhaul.Server
	reveal func() string
	done   bool
}

func (c *cramMD5) Start() (string, []byte, error) { return CramMD5, nil, nil }

func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	if c.done || len(challenge) == 0 {
		return nil, unexpected(c.srv, challenge)
	}
	c.done = true
	mac := hmac.New(md5.New, []byte(c.reveal()))
	mac.Write(challenge)
	return []byte(c.srv.User + " " + hex.EncodeToString(mac.Sum(nil))), nil
}

// refusal keeps the JSON object by which OAUTHBEARER and XOAUTH2 servers say
// what they dislike. The exchange goes on with a dummy response, and ends with
// the protocol's own refusal.
type refusal struct {
	srv  mailhaul.Server
	text string
}

func (r *refusal) set(challenge []byte) {
	var object struct{ Status, Scope string }
	switch err := json.Unmarshal(challenge, &object); {
	case err != nil || object.Status == "":
		r.text = quote(string(challenge))
	case object.Scope != "":
		r.text = "status " + quote(object.Status) + ", scope " + quote(object.Scope)
	default:
		r.text = "status " + quote(object.Status)
	}
}

func (r *refusal) reason() string { return r.text }

// verify refuses a success that follows the server's own refusal.
func (r *refusal) verify() error {
	if r.text != "" {
		return failure(r.srv, "", "the server reports success after it has refused the token: %s", r.text)
	}
	return nil
}

// xoauth2 is Google's and Microsoft's XOAUTH2, which has no RFC:
// https://developers.google.com/gmail/imap/xoauth2-protocol
type xoauth2 struct {
	refusal
	reveal func() string
}

func (x *xoauth2) Start() (string, []byte, error) {
	return XOAuth2, []byte("user=" + x.srv.User + "\x01auth=Bearer " + x.reveal() + "\x01\x01"), nil
}

func (x *xoauth2) Next(challenge []byte) ([]byte, error) {
	if x.text != "" {
		return nil, unexpected(x.srv, challenge)
	}
	x.set(challenge)
	return []byte{}, nil
}

// bearer is OAUTHBEARER (RFC 7628): go-sasl's, with the error exchange of
// section 3.2.3 in place of an aborted one.
type bearer struct {
	refusal
	sasl.Client
}

func newBearer(srv mailhaul.Server, secret mailhaul.Secret) *bearer {
	user := srv.AuthzID
	if user == "" {
		user = srv.User
	}
	user = strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user) // saslname, RFC 5801 section 4
	return &bearer{refusal{srv: srv}, sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{
		Username: user, Token: secret.Reveal(), Host: srv.Host, Port: srv.Account().Port})}
}

func (b *bearer) Next(challenge []byte) ([]byte, error) {
	if b.text != "" {
		return nil, unexpected(b.srv, challenge)
	}
	b.set(challenge)
	return []byte{1}, nil
}
