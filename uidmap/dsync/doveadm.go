package dsync

// Dovecot's administration protocol, as far as it leads to dsync-server. Minor
// version 0 of it is understood by all servers since 2.2, and has no log lines
// between the answers.

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/transport"
)

// connection is a pipe over the network.
type connection struct{ net.Conn }

func (c connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c connection) Interrupt() {
	// Below TLS first: its own Close says good-bye, which can wait for a peer
	// that does not read.
	if t, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		_ = t.NetConn().Close()
	}
	_ = c.Conn.Close()
}

func (c connection) Close() error {
	c.Interrupt()
	return nil
}

func (connection) Explain(err error) error { return err }

const (
	doveadmVersion = "VERSION\tdoveadm-server\t1\t0\n"
	hintPassword   = "check it against the server's doveadm_password"
	hintPort       = "check that the port is an inet_listener of Dovecot's service doveadm, without http"
)

// refusal is an answer of the server's that is no.
type refusal struct{ code string }

func (r *refusal) Error() string {
	if r.code == "" {
		return "the server refused"
	}
	return fmt.Sprintf("the server refused: %.100q", r.code)
}

// logIn opens a connection to the port and proves that we may use it.
func (t *Target) logIn(ctx context.Context) (*peer, error) {
	srv := t.cfg.Server
	nc, err := transport.Dial(ctx, srv, t.cfg.DialTimeout)
	if err != nil {
		return nil, err
	}
	p := t.newPeer(connection{nc})
	err = p.while(ctx, func() error {
		fmt.Fprint(p.out, doveadmVersion)
		answer, err := p.answer()
		if err != nil {
			return err
		}
		if answer == "+" { // it trusts whoever can connect
			return nil
		}
		if answer != "-" {
			return p.fault(mailhaul.Permanent, mailhaul.ScopeServer, hintPort, fmt.Errorf("it speaks something else: %.60q", answer))
		}
		if srv.Security == mailhaul.StartTLS {
			fmt.Fprint(p.out, "STARTTLS\n")
			if err := p.flush(); err != nil {
				return err
			}
			if p.in.Buffered() > 0 {
				return p.fault(mailhaul.Corrupt, mailhaul.ScopeServer, "", errors.New("the server said something before the TLS handshake that it should not"))
			}
			secured, err := transport.Upgrade(ctx, nc, srv, t.cfg.DialTimeout)
			if err != nil {
				return err
			}
			p.link.pipe = connection{secured}
			p.in, p.out = bufio.NewReaderSize(p.link, readBuffer), bufio.NewWriterSize(p.link, writeBuffer)
		}
		secret, err := srv.Credentials(ctx)
		if err != nil {
			return p.fault(mailhaul.Auth, mailhaul.ScopeServer, "", fmt.Errorf("the credentials could not be had: %w", err))
		}
		p.out.WriteString("PLAIN\t" + base64.StdEncoding.EncodeToString([]byte("\x00doveadm\x00"+secret.Reveal())) + "\n")
		switch answer, err = p.answer(); {
		case err != nil:
			return err
		case answer == "-":
			return p.fault(mailhaul.Auth, mailhaul.ScopeServer, hintPassword, errors.New("the server refused the doveadm password"))
		case answer != "+": // which may be the password, sent back
			return p.fault(mailhaul.Permanent, mailhaul.ScopeServer, hintPort, errors.New("it answered the password with neither yes nor no"))
		}
		return nil
	})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// answer sends what is to be sent and reads one line.
func (p *peer) answer() (string, error) {
	if err := p.flush(); err != nil {
		return "", err
	}
	return p.line()
}

// run gives a command for the user. Where it starts with its success, as
// dsync-server does, output is empty.
func (p *peer) run(user string, args ...string) (output string, err error) {
	b := appendEscaped([]byte{'\t'}, user)
	for _, a := range args {
		b = appendEscaped(append(b, '\t'), a)
	}
	p.out.Write(append(b, '\n'))
	output, err = p.answer()
	if err != nil {
		return "", err
	}
	status, err := p.line()
	if err != nil {
		return "", err
	}
	if code, no := strings.CutPrefix(status, "-"); no {
		return "", &refusal{code}
	}
	if status != "+" {
		return "", p.fault(mailhaul.Corrupt, mailhaul.ScopeServer, hintPort, fmt.Errorf("the answer %.60q makes no sense", status))
	}
	return output, nil
}

// askStore asks how the server keeps the user's mail. It returns nothing
// where the server does not say.
func (t *Target) askStore(ctx context.Context) (string, error) {
	p, err := t.logIn(ctx)
	if err != nil {
		return "", err
	}
	defer p.close()
	var text string
	err = p.while(ctx, func() error {
		text, err = p.run(t.cfg.User, "user", "-f", "mail", t.cfg.User)
		return err
	})
	if _, refused := errors.AsType[*refusal](err); refused {
		return "", nil
	}
	if err != nil {
		// A server that does not know the command ends the connection.
		if ctx.Err() == nil && mailhaul.KindOf(err) == mailhaul.Transient {
			return "", nil
		}
		return "", err
	}
	var answer map[string]struct{ Mail string }
	if json.Unmarshal([]byte(text), &answer) != nil {
		return "", nil
	}
	for _, a := range answer {
		store, _, _ := strings.Cut(a.Mail, ":")
		switch store {
		case storeMaildir, storeSdbox, storeMdbox:
			return store, nil
		case "dbox": // the old name
			return storeSdbox, nil
		}
	}
	return "", nil
}
