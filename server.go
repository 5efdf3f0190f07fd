package mailhaul

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
)

// Protocol is how an account is reached.
type Protocol string

const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
)

// Security is how a connection is protected. The zero value is the safest.
type Security uint8

const (
	// ImplicitTLS starts with a TLS handshake (RFC 8314).
	ImplicitTLS Security = iota
	// StartTLS starts in the clear and requires the upgrade: a server that
	// does not offer it is an error.
	StartTLS
	// Plaintext protects nothing. It is refused for anything but a loopback
	// address, unless Server.AllowPlaintext is set.
	Plaintext
)

// Server is how to reach an account and log in to it, over either protocol.
// Only Host and User are needed.
type Server struct {
	Protocol Protocol // default IMAP
	Host     string   // a name or an address; no brackets around IPv6
	Port     int      // default: the protocol's own for the Security chosen

	Security       Security
	AllowPlaintext bool // allow Plaintext beyond loopback
	TLS            TLS

	// User logs in. AuthzID, if set, is whose mailbox is opened: the user that
	// an administrator or master user acts for (RFC 4616).
	User    string
	AuthzID string

	// Mechanism demands one way to log in: "PLAIN", "LOGIN", "XOAUTH2",
	// "OAUTHBEARER", "SCRAM-SHA-256", "CRAM-MD5", "EXTERNAL". Empty takes the
	// best that the server offers and a password serves.
	Mechanism string

	// Credentials returns the password or the token. It is called for each
	// log-in, so that a token can be renewed, from several goroutines at once.
	// Nil serves EXTERNAL only.
	Credentials func(ctx context.Context) (Secret, error)

	// Dial opens the connection, through a proxy or a tunnel perhaps. Default:
	// a net.Dialer, IPv6 and IPv4.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// TLS is how a server proves who it is. The zero value asks for TLS 1.2 or
// later, a chain to a root of the system, and the host's name. There is no
// switch that turns the proof off.
type TLS struct {
	// Roots are trusted besides the system's.
	Roots *x509.CertPool

	// Pins are SHA-256 hashes of the server's public key (its
	// SubjectPublicKeyInfo). With a pin the key is the proof: chain, name and
	// dates are not looked at, and any other key is refused.
	Pins [][sha256.Size]byte

	// Certificates are shown to a server that asks for one.
	Certificates []tls.Certificate

	// MinVersion lowers the bar for an old server: tls.VersionTLS10 or
	// tls.VersionTLS11. Default tls.VersionTLS12.
	MinVersion uint16

	// ServerName is the name that the certificate must hold. Default: Host.
	ServerName string
}

// Account names whose mail is where. It is comparable and holds no secret.
type Account struct {
	Protocol Protocol
	Host     string
	Port     int
	User     string // AuthzID where one is set
}

// String returns user@host:port.
func (a Account) String() string {
	return fmt.Sprintf("%s at %s", a.User, net.JoinHostPort(a.Host, strconv.Itoa(a.Port)))
}

// Account returns whose mail the server is asked for.
func (s Server) Account() Account {
	s = s.withDefaults()
	user := s.AuthzID
	if user == "" {
		user = s.User
	}
	return Account{Protocol: s.Protocol, Host: s.Host, Port: s.Port, User: user}
}

// Addr returns host:port, with brackets around an IPv6 address.
func (s Server) Addr() string {
	s = s.withDefaults()
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

func (s Server) withDefaults() Server {
	if s.Protocol == "" {
		s.Protocol = IMAP
	}
	if s.Port == 0 {
		s.Port = defaultPort(s.Protocol, s.Security)
	}
	return s
}

func defaultPort(p Protocol, sec Security) int {
	switch {
	case p == POP3 && sec == ImplicitTLS:
		return 995
	case p == POP3:
		return 110
	case sec == ImplicitTLS:
		return 993
	}
	return 143
}
