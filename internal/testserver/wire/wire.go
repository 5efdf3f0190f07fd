// Package wire is the least of an IMAP client, for tests: it connects, logs in,
// writes octets and reads responses. It knows no response but by its octets.
//
// It is no part of the library and shares no code with it, so that what loads
// and compares accounts in tests is not what is being tested.
package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// maxLiteral bounds the literals that a Conn reads.
const maxLiteral = 256 << 20

// Dial connects to the server, through TLS where that comes first. The
// connection closes itself when ctx ends.
func Dial(ctx context.Context, srv mailhaul.Server) (net.Conn, error) {
	dial := srv.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", srv.Addr())
	if err != nil {
		return nil, err
	}
	bound := &boundConn{Conn: conn}
	bound.stop = context.AfterFunc(ctx, func() { conn.Close() })
	if srv.Security != mailhaul.ImplicitTLS {
		return bound, nil
	}
	secure := tls.Client(bound, TLSConfig(srv))
	if err := secure.HandshakeContext(ctx); err != nil {
		bound.Close()
		return nil, err
	}
	return secure, nil
}

// boundConn is a connection that a context closes.
type boundConn struct {
	net.Conn
	stop func() bool
}

func (c *boundConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// TLSConfig returns what the server's settings mean to crypto/tls, except that
// its Roots replace those of the system.
func TLSConfig(srv mailhaul.Server) *tls.Config {
	config := &tls.Config{
		ServerName:   srv.TLS.ServerName,
		RootCAs:      srv.TLS.Roots,
		Certificates: srv.TLS.Certificates,
		MinVersion:   srv.TLS.MinVersion,
	}
	if config.ServerName == "" {
		config.ServerName = srv.Host
	}
	if pins := srv.TLS.Pins; len(pins) > 0 {
		config.InsecureSkipVerify = true // the pin is the proof
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if !slices.Contains(pins, sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)) {
				return errors.New("the server's key is not the pinned one")
			}
			return nil
		}
	}
	return config
}

// Password returns the server's credential.
func Password(ctx context.Context, srv mailhaul.Server) (string, error) {
	if srv.Credentials == nil {
		return "", nil
	}
	secret, err := srv.Credentials(ctx)
	return secret.Reveal(), err
}

// Conn is a connection that has logged in. It is for one goroutine, except
// that one may write while another reads.
type Conn struct {
	W    *bufio.Writer
	conn net.Conn
	r    *bufio.Reader
	n    int
	caps string // as the server sent them, upper case, with a space around each
}

// Open connects, upgrades with STARTTLS where the server's settings say so,
// and logs in with AUTHENTICATE PLAIN or, without an AuthzID, with LOGIN.
func Open(ctx context.Context, srv mailhaul.Server) (*Conn, error) {
	conn, err := Dial(ctx, srv)
	if err != nil {
		return nil, err
	}
	c, err := logIn(ctx, conn, srv)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", srv.Account(), err)
	}
	return c, nil
}

func logIn(ctx context.Context, conn net.Conn, srv mailhaul.Server) (*Conn, error) {
	c := &Conn{}
	c.use(conn)
	if greeting, err := c.ReadResponse(); err != nil {
		return nil, err
	} else if !bytes.HasPrefix(bytes.ToUpper(greeting), []byte("* OK")) {
		return nil, fmt.Errorf("greeting %q", greeting)
	}
	if srv.Security == mailhaul.StartTLS {
		if _, err := c.Command("STARTTLS"); err != nil {
			return nil, err
		}
		secure := tls.Client(conn, TLSConfig(srv))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c.use(secure)
	}
	password, err := Password(ctx, srv)
	if err != nil {
		return nil, err
	}
	if srv.AuthzID != "" {
		blob := base64.StdEncoding.EncodeToString([]byte(srv.AuthzID + "\x00" + srv.User + "\x00" + password))
		tag := c.Send("AUTHENTICATE PLAIN")
		if err := c.Continue(tag); err != nil {
			return nil, err
		}
		c.W.WriteString(blob + "\r\n")
		if _, err := c.Wait(tag); err != nil {
			return nil, err
		}
	} else if _, err := c.Command("LOGIN " + Quote(srv.User) + " " + Quote(password)); err != nil {
		return nil, err
	}
	lines, err := c.Command("CAPABILITY")
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		if caps, ok := strings.CutPrefix(strings.ToUpper(string(l)), "* CAPABILITY "); ok {
			c.caps = " " + strings.TrimSpace(caps) + " "
		}
	}
	return c, nil
}

func (c *Conn) use(conn net.Conn) {
	c.conn = conn
	c.r = bufio.NewReaderSize(conn, 64<<10)
	c.W = bufio.NewWriterSize(conn, 64<<10)
}

// Has reports whether the server announced the capability after the log-in.
func (c *Conn) Has(capability string) bool {
	return strings.Contains(c.caps, " "+strings.ToUpper(capability)+" ")
}

// SetDeadline sets the connection's deadline.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// Close closes the connection without ado.
func (c *Conn) Close() error { return c.conn.Close() }

// Tag returns the tag of a new command.
func (c *Conn) Tag() string {
	c.n++
	return "w" + strconv.Itoa(c.n)
}

// Send buffers a command without waiting for the answer, and returns its tag.
func (c *Conn) Send(command string) (tag string) {
	tag = c.Tag()
	fmt.Fprintf(c.W, "%s %s\r\n", tag, command)
	return tag
}

// Command sends a command and returns the untagged responses that came before
// its OK.
func (c *Conn) Command(command string) ([][]byte, error) { return c.Wait(c.Send(command)) }

// Refused is the error of a command that was answered NO or BAD.
type Refused struct{ Answer string }

func (e *Refused) Error() string { return "the server answered: " + e.Answer }

// Wait flushes what was written and reads up to the answer to the tagged
// command, which becomes a *Refused where it is not OK.
func (c *Conn) Wait(tag string) ([][]byte, error) {
	if err := c.W.Flush(); err != nil {
		return nil, err
	}
	var untagged [][]byte
	for {
		line, err := c.ReadResponse()
		if err != nil {
			return untagged, err
		}
		rest, ok := strings.CutPrefix(string(line), tag+" ")
		if !ok {
			untagged = append(untagged, line)
			continue
		}
		if !strings.HasPrefix(strings.ToUpper(rest), "OK") {
			return untagged, &Refused{rest}
		}
		return untagged, nil
	}
}

// Continue flushes what was written and reads up to the server's leave to go
// on.
func (c *Conn) Continue(tag string) error {
	if err := c.W.Flush(); err != nil {
		return err
	}
	for {
		line, err := c.ReadResponse()
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(line, []byte("+")):
			return nil
		case bytes.HasPrefix(line, []byte(tag+" ")):
			return &Refused{string(line[len(tag)+1:])}
		}
	}
}

// ReadResponse returns one response with its literals, as it came, without the
// CRLF at its end.
func (c *Conn) ReadResponse() ([]byte, error) {
	var response []byte
	for {
		line, err := c.r.ReadBytes('\n')
		if err != nil {
			return response, err
		}
		response = append(response, line...)
		n, ok := literalAtEnd(line)
		if !ok {
			return bytes.TrimRight(response, "\r\n"), nil
		}
		if n > maxLiteral {
			return nil, fmt.Errorf("a literal of %d octets", n)
		}
		start := len(response)
		response = append(response, make([]byte, n)...)
		if _, err := io.ReadFull(c.r, response[start:]); err != nil {
			return response, err
		}
	}
}

// literalAtEnd returns the size of the literal that a line announces.
func literalAtEnd(line []byte) (int, bool) {
	line = bytes.TrimRight(line, "\r\n")
	if !bytes.HasSuffix(line, []byte("}")) {
		return 0, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(line[open+1 : len(line)-1]))
	return n, err == nil && n >= 0
}

// Quote returns s as a quoted string. What cannot be quoted is up to the
// caller, who should not be sending it.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
