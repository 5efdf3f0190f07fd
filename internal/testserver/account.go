// An account on a test server, ready for a client.

package testserver

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
)

// Account is one user's account, whatever server it is on.
type Account struct {
	// Kind names the server, such as "dovecot" or "imapserver".
	Kind string

	// Server is how to reach the account over IMAP, with implicit TLS.
	Server mailhaul.Server

	// POP3 is how to reach it over POP3, with implicit TLS; its Host is empty
	// where the server has no POP3.
	POP3 mailhaul.Server

	User     string
	Password string
}

// Account returns how to reach the n-th user of the server, counting from 1.
func (s *Server) Account(n int) Account {
	if n < 1 || n > len(s.Users) {
		panic(fmt.Sprintf("%s has no user %d", s.Kind(), n))
	}
	return s.AccountOf(s.Users[n-1])
}

// AccountOf returns how to reach the user's account.
func (s *Server) AccountOf(u User) Account {
	a := Account{Kind: s.Kind(), User: u.Name, Password: u.Password}
	if s.ports[IMAPS] != 0 {
		a.Server = s.Reach(u, IMAPS)
	}
	if s.ports[POP3S] != 0 {
		a.POP3 = s.Reach(u, POP3S)
	}
	return a
}

// Reach returns how to reach the user's account by a certain service: IMAPS
// and POP3S with implicit TLS, IMAP and POP3 with STARTTLS. Change Security to
// Plaintext in what it returns to go without.
func (s *Server) Reach(u User, service Service) mailhaul.Server {
	srv := mailhaul.Server{
		Host:        s.Host,
		Port:        s.ports[service],
		TLS:         mailhaul.TLS{Roots: s.Roots()},
		User:        u.Name,
		Credentials: Password(u.Password),
	}
	if service == POP3 || service == POP3S {
		srv.Protocol = mailhaul.POP3
	}
	if service == IMAP || service == POP3 {
		srv.Security = mailhaul.StartTLS
	}
	return srv
}

// Password returns credentials that are always the same.
func Password(password string) func(context.Context) (mailhaul.Secret, error) {
	return func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(password), nil }
}
