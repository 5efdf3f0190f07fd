package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// adminPassword is such that no output holds it by chance.
const adminPassword = "Xyzzy-4-admin"

func TestIdentityUsage(t *testing.T) {
	const from, to = "imaps://ada:" + fromPassword + "@old.example.org", "imaps://ada:" + toPassword + "@new.example.org"
	dsync, http := "doveadms://:"+adminPassword+"@new.example.org", "doveadm+https://:"+adminPassword+"@new.example.org"
	cyrus := "cyrus+imaps://cyrus:" + adminPassword + "@new.example.org"
	r := &rig{t: t, env: map[string]string{}}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"-identity", from}, "-identity is one of order, uid, exact and best"},
		{[]string{"-identity", "none"}, "-identity is one of"},
		{[]string{"-identity", "exact"}, "-identity-admin or -identity-exec"},
		{[]string{"-identity", "exact", "-fillers", "5"}, "-identity-admin or -identity-exec"},
		{[]string{"-identity", "uid"}, "-fillers"},
		{[]string{"-identity", "order", "-fillers", "5"}, "-identity order keeps the order alone"},
		{[]string{"-identity", "order", "-identity-admin", dsync}, "-identity order keeps the order alone"},
		{[]string{"-fillers", "5"}, "give -identity uid, too"},
		{[]string{"-identity", "uid", "-fillers", "-5"}, "how many UIDs"},
		{[]string{"-fillers", http}, "-fillers does not take that value"},
		{[]string{"-fillers", "5", "-identity-admin", dsync}, "(dsync), which needs none"},
		{[]string{"-fillers", "5", "-identity-admin", cyrus}, "(Cyrus), which needs none"},
		{[]string{"-xuidl"}, "which IMAP does not tell"},
		{[]string{"-xuidl", "-identity-admin", dsync}, "which carries UIDLs itself"},
		{[]string{"-xuidl", "-identity-exec", `["x"]`}, "which carries UIDLs itself"},
		{[]string{"-xuidl", "-identity-admin", cyrus}, "UIDLs by a format"},
		{[]string{"-identity-admin", dsync, "-identity-exec", `["x"]`}, "choose one"},
		{[]string{"-identity-admin", ""}, "-identity-admin begins with one of"},
		{[]string{"-identity-admin", to}, "-identity-admin begins with one of"},
		{[]string{"-identity-admin", "doveadms://ada:" + adminPassword + "@new.example.org"}, "doveadms knows no users"},
		{[]string{"-identity-admin", "doveadms://new.example.org"}, "MAILHAUL_IDENTITY_ADMIN_PASSWORD"},
		{[]string{"-identity-admin", dsync + "?authzid=ada"}, "neither authzid nor auth"},
		{[]string{"-identity-admin", dsync + "/x"}, "nothing follows the host"},
		{[]string{"-identity-admin", strings.Replace(dsync, "doveadms", "doveadm", 1)}, "use doveadms, or allow it with -allow-plaintext"},
		{[]string{"-identity-admin", strings.Replace(http, "https", "http", 1)}, "use doveadm+https, or"},
		{[]string{"-identity-admin", strings.Replace(cyrus, "imaps", "imap+plain", 1)}, "use cyrus+imaps or cyrus+imap, or"},
		{[]string{"-identity-admin", "doveadm://:" + adminPassword + "@localhost", "-identity-admin-pin", strings.Repeat("ab", 32)}, "doveadm is without TLS"},
		{[]string{"-identity-admin-password-file", "x"}, "-identity-admin is missing"},
		{[]string{"-identity-exec", adminPassword}, "JSON array"},
		{[]string{"-identity-exec", `[]`}, "JSON array"},
		{[]string{"-identity-exec", `["ssh", 5]`}, "JSON array"},
		{[]string{"-identity-exec", ""}, "JSON array"},
		{[]string{"-identity-exec", `["x"]`, "-fillers", "5"}, "-identity-exec, which needs none"},
		{[]string{"-uidl-format", "%u"}, "does nothing without -identity-admin"},
		{[]string{"-uidl-format", "%g", "-identity-admin", http}, "pop3_uidl_format"},
		{[]string{"-uidl-format", "%u", "-identity-admin", cyrus}, "uidl_format, one of cyrus"},
		{[]string{"-uidl-format", "%u", "-identity-admin", dsync}, "does nothing without -identity-admin doveadm+https"},
		{[]string{"-uidl-to", to}, "-uidl-to takes a POP3 URL"},
		{[]string{"-uidl-to", "pop3+plain://ada:" + toPassword + "@new.example.org"}, "use pop3s or pop3, or"},
		{[]string{"-uidl-to", "pop3s://ada@new.example.org"}, "MAILHAUL_UIDL_TO_PASSWORD"},
		{[]string{"-uidl-to-ca", "x"}, "-uidl-to is missing"},
		{[]string{"-uidl-from", from}, "-uidl-from takes a POP3 URL"},
		{[]string{"-uidl-from", "pop3+plain://ada:" + fromPassword + "@old.example.org"}, "use pop3s or pop3, or"},
		{[]string{"-uidl-from", "pop3s://ada@old.example.org"}, "MAILHAUL_UIDL_FROM_PASSWORD"},
		{[]string{"-uidl-from-pin", "x"}, "-uidl-from is missing"},
		{[]string{"-uidl-from", "pop3s://ada:x@old.example.org", "-from", "pop3s://ada:x@old.example.org"}, "mail that comes over IMAP"},
		{[]string{"-uidl-from", "pop3s://ada:x@old.example.org", "-verify"}, "leave out what is said of identity"},
		{[]string{"-map-export", ""}, "-map-export is empty"},
		{[]string{"-map-export", "x", "-dry-run"}, "leave out -dry-run"},
		{[]string{"-map-export", "x", "-verify"}, "leave out -dry-run"},
		{[]string{"-identity-admin", dsync, "-verify"}, "leave out what is said of identity"},
	} {
		out := r.start(append([]string{"-from", from, "-to", to}, tt.args...)...).want(exitUsage).says(tt.says)
		require.Empty(t, out.stdout)
		require.Equal(t, 1, strings.Count(out.stderr, "\n"), "one sentence: %s", out.stderr)
		require.NotContains(t, out.stderr, adminPassword)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"-to", "maildir:var/mail/ada"}, "maildir:///path"},
		{[]string{"-to", "maildir://mail/ada"}, "maildir:///path"},
		{[]string{"-to", "maildir:///mail/ada?x=y"}, "only server="},
		{[]string{"-to", "maildir:///mail/ada", "-uidl-format", "%u"}, "written into its files"},
		{[]string{"-to", "maildir:///mail/ada", "-to-ca", "x"}, "nobody logs in"},
		{[]string{"-to", "maildir:///mail/ada", "-identity-admin", dsync}, "written into its files"},
	} {
		r.start(append([]string{"-from", from}, tt.args...)...).want(exitUsage).says(tt.says)
	}
}

func TestIdentityOptions(t *testing.T) {
	const from, to = "imaps://ada:x@old.example.org", "imaps://ada:x@new.example.org"
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte(adminPassword+"\n"), 0o600))
	env := map[string]string{"MAILHAUL_IDENTITY_ADMIN_PASSWORD": adminPassword, "MAILHAUL_UIDL_TO_PASSWORD": toPassword}
	for _, tt := range []struct {
		args   []string
		driver string
		addr   string
		how    mailhaul.Security
	}{
		{[]string{"-identity-admin", "doveadm+https://:" + adminPassword + "@mx"}, driverHTTP, "mx:8443", mailhaul.ImplicitTLS},
		{[]string{"-identity-admin", "DOVEADM+HTTP://localhost:81"}, driverHTTP, "localhost:81", mailhaul.Plaintext},
		{[]string{"-identity-admin", "doveadms://mx", "-identity-admin-password-file", file}, driverDsync, "mx:24245", mailhaul.ImplicitTLS},
		{[]string{"-identity-admin", "doveadm://10.0.0.1", "-allow-plaintext"}, driverDsync, "10.0.0.1:24245", mailhaul.Plaintext},
		{[]string{"-identity-admin", "cyrus+imap://cyrus@mx"}, driverCyrus, "mx:143", mailhaul.StartTLS},
		{[]string{"-identity-admin", "cyrus+imaps://cyrus:" + adminPassword + "@[::1]:99"}, driverCyrus, "[::1]:99", mailhaul.ImplicitTLS},
	} {
		opt, err := parse(append([]string{"-from", from, "-to", to, "-uidl-to", "pop3s://ada@new.example.org"}, tt.args...), func(name string) string { return env[name] })
		require.NoError(t, err, tt.args)
		a := opt.identity.admin
		require.Equal(t, tt.driver, a.driver)
		require.Equal(t, tt.addr, a.server.Addr())
		require.Equal(t, tt.how, a.server.Security)
		secret, err := a.server.Credentials(t.Context())
		require.NoError(t, err)
		require.Equal(t, adminPassword, secret.Reveal())
		require.Equal(t, "best", opt.identity.demand)
		require.Equal(t, "new.example.org:995", opt.identity.uidlTo.Addr())
		require.NotContains(t, fmt.Sprintf("%+v", opt.identity), adminPassword)
	}
	opt, err := parse([]string{"-from", from, "-to", "maildir:///var/mail/ada/", "-identity", "exact"}, func(string) string { return "" })
	require.NoError(t, err)
	require.Equal(t, "/var/mail/ada/", opt.maildir.Path)
	opt, err = parse([]string{"-from", from, "-to", to, "-identity-exec", `["ssh", "-T", "mx", "doveadm dsync-server"]`}, func(string) string { return "" })
	require.NoError(t, err)
	require.Equal(t, []string{"ssh", "-T", "mx", "doveadm dsync-server"}, opt.identity.exec)
}
