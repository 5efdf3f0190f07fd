// Package saslx chooses how to log in, and speaks the client's side of it.
//
// It guarantees that no credential is offered on a connection that anyone
// could read, unless the caller chose such a connection by name; that no
// control character reaches the wire inside a user name; and that no error
// holds the credential. Its errors are *[mailhaul.Error] with Op "log in".
//
// [Choose] picks a mechanism from those that the server offers, [Client] makes
// the client for it. The caller carries the octets: it answers the server's
// first challenge with the initial response where that could not be sent with
// the command, cancels the exchange with "*" when Next returns an error, and
// asks [Reason] after a refusal and [Verify] after a success.
package saslx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// The mechanisms.
const (
	ScramSHA256 = "SCRAM-SHA-256"
	OAuthBearer = "OAUTHBEARER"
	XOAuth2     = "XOAUTH2"
	CramMD5     = "CRAM-MD5"
	Plain       = "PLAIN"
	Login       = "LOGIN"
	External    = "EXTERNAL"
)

var known = []string{ScramSHA256, OAuthBearer, XOAuth2, CramMD5, Plain, Login, External}

// Choose returns the mechanism to log in with on a connection that is
// encrypted or not, out of those that the server offers: the one that
// srv.Mechanism demands, or else the first of SCRAM-SHA-256, CRAM-MD5 (only
// where nothing hides a password), PLAIN and LOGIN. Who acts for another user
// does so by PLAIN before SCRAM-SHA-256 under TLS. EXTERNAL is chosen where there
// is a client certificate and no password. Mechanisms for tokens are
// never chosen unless demanded, since a token looks like any password.
//
// It returns "" where nothing fits and nothing was demanded: the protocol's own
// command (IMAP LOGIN, POP3 USER) can be used then, if the server allows it.
func Choose(offered []string, srv mailhaul.Server, encrypted bool) (string, error) {
	if !encrypted && srv.Security != mailhaul.Plaintext {
		return "", failure(srv, "", "no credential is sent before TLS has started")
	}
	offers := func(mechanism string) bool {
		return slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, mechanism) })
	}
	if srv.Mechanism != "" {
		return demanded(offered, srv, offers)
	}
	if srv.Credentials == nil {
		switch {
		case len(srv.TLS.Certificates) == 0:
			return "", failure(srv, "give a password or a client certificate", "there is nothing to log in with")
		case !offers(External):
			return "", failure(srv, "give a password", "the server does not take a client certificate for a log-in (EXTERNAL); it offers %s", list(offered))
		}
		return External, nil
	}
	order := []string{ScramSHA256, Plain, Login}
	switch {
	case !encrypted:
		order = []string{ScramSHA256, CramMD5, Plain, Login}
	case srv.AuthzID != "":
		// Dovecot 2.3.19 offers SCRAM and answers AUTHORIZATIONFAILED to a
		// master user who comes by it; by PLAIN it lets him in.
		order = []string{Plain, ScramSHA256}
	}
	for _, m := range order {
		if offers(m) && (srv.AuthzID == "" || takesAuthzID(m)) {
			return m, nil
		}
	}
	if srv.AuthzID != "" {
		return "", failure(srv, "see whether the server takes both users in one name, as in user*master",
			"acting as %q needs %s or %s, and the server offers %s", srv.AuthzID, ScramSHA256, Plain, list(offered))
	}
	return "", nil
}

// demanded checks that the mechanism that the caller insists on can be used.
func demanded(offered []string, srv mailhaul.Server, offers func(string) bool) (string, error) {
	m, err := canonical(srv)
	if err != nil {
		return "", err
	}
	switch {
	case !offers(m):
		return "", failure(srv, "choose one of these with ?auth= (Server.Mechanism), or none",
			"the server does not offer %s; it offers %s", m, list(offered))
	case srv.AuthzID != "" && !takesAuthzID(m):
		return "", failure(srv, "", "%s cannot act as another user (%q)", m, srv.AuthzID)
	case m != External && srv.Credentials == nil:
		return "", failure(srv, "give a password or a token", "there is nothing to log in with by %s", m)
	}
	return m, nil
}

// canonical returns the name of the mechanism that srv demands.
func canonical(srv mailhaul.Server) (string, error) {
	m := strings.ToUpper(srv.Mechanism)
	if m == "SCRAM" {
		m = ScramSHA256
	}
	if !slices.Contains(known, m) {
		return "", failure(srv, "choose one of "+strings.Join(known, ", "), "the mechanism %.40q is not known here", srv.Mechanism)
	}
	return m, nil
}

// takesAuthzID reports whether the mechanism can carry a second user, whom the
// first one acts for.
func takesAuthzID(mechanism string) bool {
	switch mechanism {
	case Plain, ScramSHA256, OAuthBearer, External:
		return true
	}
	return false
}

// list names what a server offers, for an error.
func list(offered []string) string {
	if len(offered) == 0 {
		return "no mechanism"
	}
	return quote(strings.Join(offered, " "))
}

// quote makes text of a server fit for an error.
func quote(text string) string { return fmt.Sprintf("%.200q", text) }

// failure returns an error that another try would meet again.
func failure(srv mailhaul.Server, hint, format string, args ...any) error {
	return &mailhaul.Error{Op: "log in", Server: srv.Addr(), Account: user(srv), Kind: mailhaul.Permanent,
		Scope: mailhaul.ScopeAccount, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// user returns the name for an error, unless it could spoil a line of a log.
func user(srv mailhaul.Server) string {
	if checkName("", srv.User) != nil {
		return ""
	}
	return srv.User
}

// checkName refuses what could end a line or a field of a mechanism.
func checkName(what, name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("the %s holds control characters", what)
	}
	return nil
}

// checkSecret refuses what no password or token is meant to hold. A line break
// is mostly that of the file it was read from.
func checkSecret(secret mailhaul.Secret, token bool) error {
	s := secret.Reveal()
	switch {
	case s == "":
		// Some servers take an empty password for an anonymous log-in, and
		// report success.
		return errors.New("the password or token is empty")
	case strings.ContainsAny(s, "\r\n"):
		return errors.New("the password or token holds a line break")
	case strings.ContainsRune(s, 0):
		return errors.New("the password or token holds a NUL")
	case token && strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("the token holds blanks, control characters or other than ASCII")
	}
	return nil
}
