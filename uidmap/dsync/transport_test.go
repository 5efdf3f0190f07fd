package dsync

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestTransports: TLS, STARTTLS and a command do what the plain port does.
func TestTransports(t *testing.T) {
	srv := testserver.Dovecot(t, testserver.DovecotOptions{Options: testserver.Options{Users: 4}})
	conf := filepath.Join(srv.Root, "dovecot.conf")
	for i, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"plain", func(*Config) {}},
		{"TLS", func(c *Config) {
			c.Server.Security, c.Server.Port, c.Server.TLS.Roots = mailhaul.ImplicitTLS, srv.Port(testserver.DoveadmS), srv.Roots()
		}},
		{"STARTTLS", func(c *Config) { c.Server.Security, c.Server.TLS.Roots = mailhaul.StartTLS, srv.Roots() }},
		{"command", func(c *Config) {
			c.Server, c.Command = mailhaul.Server{}, []string{"/usr/bin/doveadm", "-c", conf, "dsync-server", "-u", "{user}"}
			c.Store = "maildir"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rigOf(t, srv, i+1, c.change)
			box := r.box()
			want := mailhaul.Identity{UIDValidity: 42, UIDNext: 50, UIDLs: true, Messages: withUIDLs(messages(3, 5, 8, 13, 21))}
			can, err := r.Imposable(ctxOf(t), box, want)
			require.NoError(t, err)
			require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact, AnswersLate: true}, can)
			requireStored(t, want.Messages, r.impose(box, want))
			requireSeen(t, r, "INBOX", want.Messages)
			later := mailhaul.Identity{UIDValidity: 42, UIDNext: 60, UIDLs: true, Messages: withUIDLs(messages(50, 55))}
			can, err = r.Imposable(ctxOf(t), box, later)
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelExact, can.Level)
			requireStored(t, later.Messages, r.impose(box, later))
			require.Len(t, r.uidls(), 7)
			for _, m := range append(want.Messages, later.Messages...) {
				require.Contains(t, r.uidls(), string(m.UIDL))
			}
		})
	}
}

// TestRefused: what a wrong configuration comes to, with no secret in it.
func TestRefused(t *testing.T) {
	srv := testserver.Dovecot(t, testserver.DovecotOptions{Options: testserver.Options{Users: 1}})
	for _, c := range []struct {
		name   string
		change func(*Config)
		kind   mailhaul.Kind
		text   string
	}{
		{"wrong password", func(c *Config) { c.Server.Credentials = testserver.Password("s3cret-wrong") }, mailhaul.Auth, "doveadm_password"},
		{"no such user", func(c *Config) { c.User = "nobody" }, mailhaul.Permanent, "NOUSER"},
		{"IMAP port", func(c *Config) { c.Server.Port = srv.Port(testserver.IMAP) }, mailhaul.Permanent, "speaks something else"},
		{"no proof", func(c *Config) {
			c.Server.Security, c.Server.Port = mailhaul.ImplicitTLS, srv.Port(testserver.DoveadmS)
			c.Server.TLS.Roots = x509.NewCertPool()
		}, mailhaul.Permanent, "authority"},
		{"nobody there", func(c *Config) { c.Server.Port = 1 }, mailhaul.Transient, "refused"},
		{"no program", func(c *Config) { c.Server, c.Command = mailhaul.Server{}, []string{"/nonexistent/ssh"} }, mailhaul.Permanent, "argument list"},
		{"failing program", func(c *Config) {
			c.Server, c.Command = mailhaul.Server{}, []string{"/bin/sh", "-c", "echo Permission denied >&2; exit 255"}
		}, mailhaul.Transient, "Permission denied"},
		{"failing doveadm", func(c *Config) {
			c.Server, c.Command = mailhaul.Server{}, []string{"/usr/bin/doveadm", "-c", filepath.Join(srv.Root, "dovecot.conf"), "dsync-server", "-u", "nobody"}
		}, mailhaul.Transient, "User doesn't exist"},
		{"credentials that fail", func(c *Config) {
			c.Server.Credentials = func(context.Context) (mailhaul.Secret, error) {
				return mailhaul.Secret{}, errors.New("the vault is shut")
			}
		}, mailhaul.Auth, "vault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rigOf(t, srv, 1, c.change)
			box := r.box()
			want := mailhaul.Identity{UIDValidity: 5, UIDNext: 10, Messages: messages(3)}
			_, err := r.Imposable(ctxOf(t), box, want)
			require.Error(t, err)
			require.Equal(t, c.kind, mailhaul.KindOf(err), err)
			require.Contains(t, err.Error(), c.text)
			_, err2 := r.OpenImposing(ctxOf(t), box, want)
			require.Equal(t, c.kind, mailhaul.KindOf(err2), err2)
			for _, e := range []error{err, err2} {
				require.NotContains(t, e.Error(), "s3cret")
				require.NotContains(t, e.Error(), testserver.DoveadmPassword+`"`)
			}
		})
	}
}

// TestConfig: all mistakes are named.
func TestConfig(t *testing.T) {
	inner := &between{}
	_, err := New(inner, Config{User: "a;rm -rf", Command: []string{"ssh", "{user}"}, Store: "tape", DialTimeout: -1, ProgressTimeout: -1,
		Server: mailhaul.Server{Host: "h"}})
	for _, text := range []string{"both", "Port", "Credentials", "shell", "tape", "DialTimeout", "ProgressTimeout"} {
		require.ErrorContains(t, err, text)
	}
	_, err = New(inner, Config{User: "a"})
	require.ErrorContains(t, err, "neither")
	_, err = New(inner, Config{User: "a\tb", Command: []string{"x"}})
	require.ErrorContains(t, err, "control characters")
	_, err = New(nil, Config{})
	require.Error(t, err)
	for user, ok := range map[string]bool{"u1": true, "a.b+c@example.org": true, "müller": true, "-oProxyCommand=x": false, "a b": false, "$(x)": false, "a'b": false, "~root": false} {
		require.Equal(t, ok, harmless(user), user)
	}
}

// TestCommandIsReaped: whatever a command does, none is left.
func TestCommandIsReaped(t *testing.T) {
	srv := testserver.Dovecot(t, testserver.DovecotOptions{Options: testserver.Options{Users: 1}})
	mark := filepath.Join(t.TempDir(), "pid")
	for name, script := range map[string]string{
		"silent":  "echo $$ > " + mark + "; exec sleep 60",
		"endless": "echo $$ > " + mark + "; exec yes VERSION",
	} {
		t.Run(name, func(t *testing.T) {
			r := rigOf(t, srv, 1, func(c *Config) {
				c.Server, c.Command, c.ProgressTimeout = mailhaul.Server{}, []string{"/bin/sh", "-c", script}, 300*time.Millisecond
			})
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			p, err := r.Target.connect(ctx, "INBOX")
			require.NoError(t, err)
			require.Error(t, p.while(ctx, p.greeted))
			c := p.link.pipe.(*command)
			_ = c.process.Kill() // Close waits for a well-behaved one
			p.close()
			pid, err := os.ReadFile(mark)
			require.NoError(t, err)
			_, err = os.Stat("/proc/" + strings.TrimSpace(string(pid)))
			require.True(t, os.IsNotExist(err), "it has been waited for")
		})
	}
}
