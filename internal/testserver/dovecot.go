// Dovecot 2.3, as Debian packages it.

package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// DovecotOptions is how a Dovecot is set up. The zero value is a plain server
// with Maildir storage and "/" between the levels of names.
type DovecotOptions struct {
	Options

	// Store is the mailbox format: "maildir" (the default), "sdbox" or
	// "mdbox".
	Store string

	// Separator stands between the levels of mailbox names, Prefix before the
	// names of all mailboxes but INBOX. Default "/" and none; Courier's way is
	// "." and "INBOX.". Maildir keeps "." for itself: no name can hold one.
	Separator, Prefix string

	// SpecialUse makes Drafts, Sent, Junk, Trash and Archive from the start,
	// with their roles, subscribed. Without it no mailbox has a role, and the
	// server does not announce SPECIAL-USE.
	SpecialUse bool

	// MaxUserIPConnections limits the connections of one user from one
	// address. Default 100.
	MaxUserIPConnections int

	// QuotaBytes limits what each account may hold; 0 for no limit.
	QuotaBytes int64

	// MasterUser and MasterPassword are an account that may act for all
	// others: as the name "user*master", or as the authentication identity
	// with another authorization identity.
	MasterUser, MasterPassword string

	// Protocols are the protocols served. Default imap and pop3.
	Protocols []string

	// AuthMechanisms are what is offered besides the LOGIN command. Default
	// "plain login".
	AuthMechanisms string

	// Plugins are mail plugins to load besides zlib and what the options above
	// need.
	Plugins []string

	// Extra lines end the configuration, so that they win over all others.
	Extra []string
}

// Passwords of Dovecot's administration, for its protocol and its HTTP API.
const (
	DoveadmPassword = "dpw"
	DoveadmAPIKey   = "dkey"
)

// mailUID owns all mail; it needs no entry in /etc/passwd.
const mailUID = 5000

// Dovecot starts a Dovecot.
func Dovecot(t testing.TB, opts DovecotOptions) *Server {
	t.Helper()
	return Start(t, dovecot{opts}, opts.Options)
}

type dovecot struct{ opts DovecotOptions }

func (dovecot) Name() string { return "dovecot" }

func (d dovecot) Packages() []string {
	packages := []string{"dovecot-imapd"}
	if d.serves("pop3") {
		packages = append(packages, "dovecot-pop3d")
	}
	return packages
}

func (d dovecot) Find() error {
	files := []string{"/usr/sbin/dovecot", "/usr/lib/dovecot/imap"}
	if d.serves("pop3") {
		files = append(files, "/usr/lib/dovecot/pop3")
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return err
		}
	}
	return nil
}

func (d dovecot) protocols() []string {
	if d.opts.Protocols == nil {
		return []string{"imap", "pop3"}
	}
	return d.opts.Protocols
}

func (d dovecot) serves(protocol string) bool {
	for _, p := range d.protocols() {
		if p == protocol {
			return true
		}
	}
	return false
}

func (d dovecot) Services() []Service {
	var services []Service
	if d.serves("imap") {
		services = append(services, IMAP, IMAPS)
	}
	if d.serves("pop3") {
		services = append(services, POP3, POP3S)
	}
	return append(services, Doveadm, DoveadmS, DoveadmHTTP)
}

func (d dovecot) Configure(in *Instance) (Command, error) {
	conf, err := d.config(in)
	if err != nil {
		return Command{}, err
	}
	name := filepath.Join(in.Root, "dovecot.conf")
	if err := os.WriteFile(name, []byte(conf), 0o644); err != nil {
		return Command{}, err
	}
	if err := os.Mkdir(usersDir(in), 0o755); err != nil {
		return Command{}, err
	}
	for _, u := range in.Users {
		if err := d.writeUser(in, u); err != nil {
			return Command{}, err
		}
	}
	if d.opts.MasterUser != "" {
		line := passwdLine(User{d.opts.MasterUser, d.opts.MasterPassword})
		if err := os.WriteFile(filepath.Join(in.Root, "masters"), []byte(line), 0o644); err != nil {
			return Command{}, err
		}
	}
	mail := filepath.Join(in.Root, "mail")
	if err := os.Mkdir(mail, 0o755); err != nil {
		return Command{}, err
	}
	if err := os.Chown(mail, mailUID, mailUID); err != nil {
		return Command{}, err
	}
	return Command{Path: "/usr/sbin/dovecot", Args: []string{"-F", "-c", name}}, nil
}

func (d dovecot) AddUser(in *Instance, u User) error {
	if err := d.writeUser(in, u); err != nil {
		return err
	}
	// Dovecot looks at a file that it knows once a second.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := doveadm(in, "auth", "test", u.Name, u.Password)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
}

// usersDir holds a file for each user: a new one is seen at once.
func usersDir(in *Instance) string { return filepath.Join(in.Root, "users") }

// writeUser makes or replaces the file of a user, in one step.
func (dovecot) writeUser(in *Instance, u User) error {
	name := filepath.Join(usersDir(in), u.Name)
	temp := filepath.Join(in.Root, "user.new")
	if err := os.WriteFile(temp, []byte(passwdLine(u)), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

// passwdLine is a user in the format of passdb passwd-file.
func passwdLine(u User) string { return u.Name + ":{PLAIN}" + u.Password + "\n" }

// config returns the whole configuration; nothing of /etc/dovecot is read.
func (d dovecot) config(in *Instance) (string, error) {
	o := d.opts
	separator := o.Separator
	if separator == "" {
		separator = "/"
	}
	store, ok := map[string]string{
		"":        "maildir:%h/Maildir",
		"maildir": "maildir:%h/Maildir",
		"sdbox":   "sdbox:%h/sdbox",
		"mdbox":   "mdbox:%h/mdbox",
	}[o.Store]
	if !ok {
		return "", fmt.Errorf("dovecot has no store %q", o.Store)
	}
	maxConns := o.MaxUserIPConnections
	if maxConns == 0 {
		maxConns = 100
	}
	mechanisms := o.AuthMechanisms
	if mechanisms == "" {
		mechanisms = "plain login"
	}
	plugins := append([]string{"zlib"}, o.Plugins...)
	imapPlugins := "imap_zlib"
	if o.QuotaBytes > 0 {
		plugins = append(plugins, "quota")
		imapPlugins += " imap_quota"
	}
	listen := in.Host
	if in.Host6 != "" {
		listen += ", " + in.Host6
	}

	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("base_dir = %s/run", in.Root)
	line("state_dir = %s/state", in.Root)
	line("instance_name = t%d", in.Port(Doveadm))
	line("log_path = %s", in.LogFile())
	line("protocols = %s", strings.Join(d.protocols(), " "))
	line("listen = %s", listen)
	line("ssl = yes")
	line("ssl_cert = <%s", in.CertFile)
	line("ssl_key = <%s", in.KeyFile)
	line("disable_plaintext_auth = no")
	line("auth_mechanisms = %s", mechanisms)
	// Wrong passwords are answered at once, however many there were.
	line("auth_failure_delay = 0")
	line("service anvil {\n unix_listener anvil-auth-penalty {\n  mode = 0\n }\n}")
	line("mail_uid = %d", mailUID)
	line("mail_gid = %d", mailUID)
	line("first_valid_uid = 1")
	line("mail_home = %s/mail/%%u", in.Root)
	line("mail_location = %s", store)
	// A SIGKILL does not lose what was written to files.
	line("mail_fsync = never")
	line("mail_max_userip_connections = %d", maxConns)
	line("mail_plugins = %s", strings.Join(plugins, " "))
	if d.serves("imap") {
		line("protocol imap {\n mail_plugins = $mail_plugins %s\n}", imapPlugins)
	}
	line("doveadm_password = %s", DoveadmPassword)
	line("doveadm_api_key = %s", DoveadmAPIKey)
	if o.MasterUser != "" {
		line("auth_master_user_separator = *")
		line("passdb {\n driver = passwd-file\n master = yes\n result_success = continue\n args = scheme=PLAIN username_format=%%u %s/masters\n}", in.Root)
	}
	line("passdb {\n driver = passwd-file\n args = scheme=PLAIN username_format=%%u %s/%%u\n}", usersDir(in))
	line("userdb {\n driver = static\n args = uid=%d gid=%d home=%s/mail/%%u\n}", mailUID, mailUID, in.Root)
	if d.serves("imap") {
		line("service imap-login {\n inet_listener imap {\n  port = %d\n }\n inet_listener imaps {\n  port = %d\n }\n}", in.Port(IMAP), in.Port(IMAPS))
	}
	if d.serves("pop3") {
		line("service pop3-login {\n inet_listener pop3 {\n  port = %d\n }\n inet_listener pop3s {\n  port = %d\n }\n}", in.Port(POP3), in.Port(POP3S))
	}
	line("service doveadm {\n inet_listener {\n  port = %d\n }\n inet_listener doveadms {\n  port = %d\n  ssl = yes\n }\n inet_listener http {\n  port = %d\n }\n}", in.Port(Doveadm), in.Port(DoveadmS), in.Port(DoveadmHTTP))
	line("namespace inbox {\n inbox = yes\n separator = %s\n prefix = %s", separator, o.Prefix)
	if o.SpecialUse {
		for _, name := range []string{"Drafts", "Sent", "Junk", "Trash", "Archive"} {
			line(" mailbox %s {\n  special_use = \\%s\n  auto = subscribe\n }", name, name)
		}
	}
	line("}")
	if o.QuotaBytes > 0 {
		line("plugin {\n quota = count:User quota\n quota_rule = *:bytes=%d\n quota_vsizes = yes\n quota_grace = 0\n}", o.QuotaBytes)
	}
	for _, extra := range o.Extra {
		line("%s", extra)
	}
	return b.String(), nil
}

// Doveadm runs Dovecot's administration program against a server started by
// [Dovecot] and returns what it printed.
func (s *Server) Doveadm(args ...string) (string, error) {
	if s.Kind() != (dovecot{}).Name() {
		return "", errors.New("doveadm is for Dovecot only")
	}
	return doveadm(&s.Instance, args...)
}

func doveadm(in *Instance, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conf := filepath.Join(in.Root, "dovecot.conf")
	out, err := exec.CommandContext(ctx, "/usr/bin/doveadm", append([]string{"-c", conf}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("doveadm %s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}
