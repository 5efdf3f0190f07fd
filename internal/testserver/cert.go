// A certificate for the test, and the authority that signed it.

package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// CertificateOptions says what a certificate claims.
type CertificateOptions struct {
	// Hosts are the DNS names and addresses that it is good for. Default:
	// localhost, 127.0.0.1 and ::1.
	Hosts []string

	// NotBefore and NotAfter are when it is good. Default: from an hour ago
	// for two days.
	NotBefore, NotAfter time.Time
}

// Certificate is a server's certificate with the authority that signed it.
type Certificate struct {
	// Roots holds the authority.
	Roots *x509.CertPool

	// RootPEM is the authority's certificate, for programs that want a file.
	RootPEM []byte

	// CertPEM and KeyPEM are the server's chain and key.
	CertPEM, KeyPEM []byte

	// Pin is the SHA-256 hash of the server's public key.
	Pin [sha256.Size]byte
}

// TLS returns the certificate in the form that crypto/tls wants.
func (c *Certificate) TLS() (tls.Certificate, error) {
	return tls.X509KeyPair(c.CertPEM, c.KeyPEM)
}

// NewCertificate makes an authority and a certificate signed by it.
func NewCertificate(opts CertificateOptions) (*Certificate, error) {
	if opts.Hosts == nil {
		opts.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	now := time.Now()
	if opts.NotBefore.IsZero() {
		opts.NotBefore = now.Add(-time.Hour)
	}
	if opts.NotAfter.IsZero() {
		opts.NotAfter = now.Add(48 * time.Hour)
	}

	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "mailhaul test authority"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(48 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: opts.Hosts[0]},
		NotBefore:    opts.NotBefore,
		NotAfter:     opts.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range opts.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, h)
		}
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	parsedRoot, err := x509.ParseCertificate(rootDER)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}

	c := &Certificate{
		Roots:   x509.NewCertPool(),
		RootPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}),
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		Pin:     sha256.Sum256(spki),
	}
	c.Roots.AddCert(parsedRoot)
	return c, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(fmt.Sprintf("no random numbers: %v", err))
	}
	return n
}

// defaultCertificate is shared by all servers of a test binary that ask for
// nothing special.
var defaultCertificate = sync.OnceValues(func() (*Certificate, error) {
	return NewCertificate(CertificateOptions{})
})
