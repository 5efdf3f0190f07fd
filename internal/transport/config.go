package transport

// The TLS configuration: how a server proves who it is.

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// tlsConfig translates mailhaul.TLS. No session is ever resumed, so that each
// connection carries a full proof.
func tlsConfig(srv mailhaul.Server) (*tls.Config, error) {
	name := srv.TLS.ServerName
	if name == "" {
		name, _, _ = strings.Cut(srv.Host, "%") // an IPv6 zone is in no certificate
	}
	cfg := &tls.Config{
		ServerName:   name,
		Certificates: srv.TLS.Certificates,
		MinVersion:   tls.VersionTLS12,
	}
	switch v := srv.TLS.MinVersion; v {
	case 0, tls.VersionTLS12:
	case tls.VersionTLS13:
		cfg.MinVersion = v
	case tls.VersionTLS10, tls.VersionTLS11:
		allowOld(cfg, v)
	default:
		return nil, fmt.Errorf("TLS.MinVersion 0x%04x is none of TLS 1.0, 1.1, 1.2 and 1.3", v)
	}
	switch {
	case len(srv.TLS.Pins) > 0:
		// VerifyConnection runs at the end of every handshake, whatever
		// InsecureSkipVerify says.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = verifyPin(srv.TLS.Pins)
	case srv.TLS.Roots != nil:
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = verifyChain(name, srv.TLS.Roots)
	}
	return cfg, nil
}

// allowOld opens the door to servers that end at TLS 1.0 or 1.1. Most of those
// know only RSA key exchange, and some nothing better than 3DES; crypto/tls
// offers neither unless told to. It puts them behind all better suites, so
// that a newer server still chooses one of those. RC4 stays out.
func allowOld(cfg *tls.Config, version uint16) {
	cfg.MinVersion = version
	for _, s := range tls.CipherSuites() {
		cfg.CipherSuites = append(cfg.CipherSuites, s.ID)
	}
	for _, s := range tls.InsecureCipherSuites() {
		if !strings.Contains(s.Name, "RC4") {
			cfg.CipherSuites = append(cfg.CipherSuites, s.ID)
		}
	}
	// Without the post-quantum share the first message fits into one packet,
	// which is all that some of these servers read.
	cfg.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
}

// pinError is returned when a server shows another key than a pinned one.
type pinError struct{ got [sha256.Size]byte }

func (e *pinError) Error() string {
	return fmt.Sprintf("the server's public key, SHA-256 %x, is not the one that was pinned", e.got)
}

// verifyPin accepts a leaf certificate by its key alone.
func verifyPin(pins [][sha256.Size]byte) func(tls.ConnectionState) error {
	pins = slices.Clone(pins)
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		got := sha256.Sum256(cs.PeerCertificates[0].RawSubjectPublicKeyInfo)
		for _, pin := range pins {
			if bytes.Equal(pin[:], got[:]) {
				return nil
			}
		}
		return &pinError{got}
	}
}

// verifyChain accepts a chain to a root of the system or to one of extra. The
// two are tried in turn, since pools cannot be joined and the system's may be
// a service of the platform.
func verifyChain(name string, extra *x509.CertPool) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		leaf := cs.PeerCertificates[0]
		opts := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool(), Roots: extra}
		for _, c := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		_, err := leaf.Verify(opts)
		if err == nil {
			return nil
		}
		opts.Roots = nil
		_, sysErr := leaf.Verify(opts)
		if sysErr == nil {
			return nil
		}
		// The error that says more: a chain that leads to a root but is
		// expired, rather than one that leads nowhere.
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
			if _, noRoots := errors.AsType[x509.SystemRootsError](sysErr); !noRoots {
				err = sysErr
			}
		}
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
}
