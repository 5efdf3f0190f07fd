package pop3x_test

// What a server, or somebody on the way to it, must not be able to do.

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/mempipe"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// tlsRig is a rig whose server has a certificate for localhost that the client
// trusts.
func tlsRig(t *testing.T, opts pop3server.Options, security mailhaul.Security) *rig {
	t.Helper()
	cert, err := testserver.NewCertificate(testserver.CertificateOptions{})
	require.NoError(t, err)
	pair, err := cert.TLS()
	require.NoError(t, err)
	opts.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	r := newRig(t, opts)
	r.cfg.Server.Security = security
	r.cfg.Server.Host = "localhost"
	r.cfg.Server.TLS.Roots = cert.Roots
	return r
}

// unseen demands that the server was told no credential.
func (r *rig) unseen() {
	r.t.Helper()
	for _, verb := range []string{"USER", "PASS", "AUTH", "APOP"} {
		require.Zero(r.t, r.server.Commands(verb), "%s was sent", verb)
	}
}

func TestTLS(t *testing.T) {
	for _, security := range []mailhaul.Security{mailhaul.ImplicitTLS, mailhaul.StartTLS} {
		r := tlsRig(t, pop3server.Options{STLS: true}, security)
		r.drop.Add("", message(1, 1000))
		s, reader := r.mustReader()
		r.holds(reader)
		require.NoError(t, reader.Close())
		require.NoError(t, s.Close())
		require.LessOrEqual(t, s.Traffic().RoundTrips, int64(11))

		r.cfg.Server.TLS.Roots = nil // an authority that nobody knows
		r.server.ForgetCommands()
		require.Equal(t, mailhaul.Permanent, r.refused().Kind)
		r.unseen()
	}
}

func TestSTLSIsRequired(t *testing.T) {
	hook := func(o pop3server.Override) pop3server.Hooks {
		return pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
			if line == "STLS" {
				return &o
			}
			return nil
		}}
	}
	for name, tt := range map[string]struct {
		opts pop3server.Options
		kind mailhaul.Kind
	}{
		"not offered":       {pop3server.Options{}, mailhaul.Permanent},
		"refused":           {pop3server.Options{STLS: true, Hooks: hook(pop3server.Override{Reply: "-ERR no"})}, mailhaul.Permanent},
		"temporary refusal": {pop3server.Options{STLS: true, Hooks: hook(pop3server.Override{Reply: "-ERR [SYS/TEMP] no"})}, mailhaul.Permanent},
		"unknown answer":    {pop3server.Options{STLS: true, Hooks: hook(pop3server.Override{Reply: "* OK"})}, mailhaul.Corrupt},
		"a question":        {pop3server.Options{STLS: true, Hooks: hook(pop3server.Override{Reply: "+ "})}, mailhaul.Permanent},
		"hang":              {pop3server.Options{STLS: true, Hooks: hook(pop3server.Override{Hang: true})}, mailhaul.Transient},
		"hang after OK":     {pop3server.Options{STLS: true, Hooks: hook(pop3server.Override{Reply: "+OK", Hang: true})}, mailhaul.Transient},
		"octets behind":     {pop3server.Options{STLS: true, AfterSTLS: "+OK logged in\r\n"}, mailhaul.Corrupt},
		"one octet behind":  {pop3server.Options{STLS: true, AfterSTLS: "x"}, mailhaul.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			r := tlsRig(t, tt.opts, mailhaul.StartTLS)
			r.cfg.ProgressTimeout, r.cfg.DialTimeout = 200*time.Millisecond, 200*time.Millisecond
			require.Equal(t, tt.kind, r.refused().Kind)
			r.unseen()
		})
	}
}

// TestNothingBeforeTLSIsBelieved: what a server said in the clear is forgotten.
func TestNothingBeforeTLSIsBelieved(t *testing.T) {
	r := tlsRig(t, pop3server.Options{STLS: true}, mailhaul.StartTLS)
	_, reader := r.mustReader()
	require.NoError(t, reader.Close())
	require.Equal(t, "true STLS", r.trace[1])
	require.Contains(t, r.trace[3:], "true CAPA")
}

func TestNoCredentialInTheClear(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	r.cfg.Server.Host = "192.0.2.1"
	require.Equal(t, mailhaul.Permanent, r.refused().Kind)
	require.Zero(t, r.server.Connections())
}

// scripted serves each connection with what script does.
func (r *rig) scripted(script func(c net.Conn)) {
	r.cfg.Server.Dial = func(context.Context, string, string) (net.Conn, error) {
		near, far := mempipe.Pipe()
		go func() {
			defer far.Close()
			script(far)
		}()
		return near, nil
	}
}

func TestHostileServers(t *testing.T) {
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	for name, tt := range map[string]struct {
		script func(net.Conn)
		kind   mailhaul.Kind
	}{
		"no greeting":              {say(""), mailhaul.Transient},
		"an IMAP server":           {say("* OK hello\r\n"), mailhaul.Corrupt},
		"a refusal":                {say("-ERR go away\r\n"), mailhaul.Throttled},
		"a greeting without end":   {say("+OK " + strings.Repeat("x", 1<<20)), mailhaul.Corrupt},
		"escape sequences":         {say("-ERR \x1b[2J\x07\n"), mailhaul.Throttled},
		"CAPA without end":         {say("+OK\r\n+OK\r\n" + strings.Repeat("X-CAP\r\n", 100_000)), mailhaul.Corrupt},
		"answers before questions": {say("+OK\r\n+OK\r\nPIPELINING\r\n.\r\n+OK\r\n+OK\r\n+OK\r\n.\r\n+OK 4294967296 1\r\n"), mailhaul.Corrupt},
		"too many messages":        {say("+OK\r\n+OK\r\n.\r\n+OK\r\n+OK\r\n+OK 2000000000 1\r\n"), mailhaul.Corrupt},
		"one octet at a time": {func(c net.Conn) {
			for {
				if _, err := c.Write([]byte("+")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, mailhaul.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, pop3server.Options{})
			r.cfg.ProgressTimeout = 200 * time.Millisecond
			r.cfg.Limits.MinRate = 1 << 20
			r.scripted(tt.script)
			if name == "one octet at a time" {
				r.cfg.ProgressTimeout = time.Second
			}
			e := r.refused()
			require.Equal(t, tt.kind, e.Kind, "%v", e)
			require.NotContains(t, e.Error(), "\x1b")
			require.Less(t, len(e.Error()), 2000)
		})
	}
}

// TestBodiesAreBounded: an endless message costs its limit and is passed over,
// and one that never ends is ended by the rate.
func TestBodiesAreBounded(t *testing.T) {
	r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Response: func(_ int, line string, b []byte) []byte {
		if strings.HasPrefix(line, "RETR 1") {
			return fmt.Appendf(nil, "+OK\r\n%s\r\n.\r\n", strings.Repeat("x", 3<<20))
		}
		return b
	}}})
	r.cfg.RetrieveAlways = true
	r.cfg.Limits.MaxBody, r.cfg.Limits.MaxBuffered = 1<<20, 100_000
	r.drop.Add("", message(1, 100))
	r.drop.Add("", message(2, 100))
	_, reader := r.mustReader()
	got, err := fetchAll(reader, all(reader))
	require.ErrorContains(t, err, "MaxBody")
	require.Len(t, got, 1)
}

// TestMailThatLooksLikeProtocol passes for mail.
func TestMailThatLooksLikeProtocol(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	r.drop.Add("", []byte("+OK\r\n.\r\n-ERR [SYS/TEMP]\r\n.\r\nDELE 1\r\nQUIT\r\n..\r\n.\r\n\n.\r\n\r\n.\n.\r\n"))
	r.drop.Add("", message(2, 100))
	_, reader := r.mustReader()
	r.holds(reader)
	require.Zero(t, r.server.Commands("DELE"))
}
