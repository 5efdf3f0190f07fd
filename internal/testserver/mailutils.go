// The POP3 server of GNU Mailutils 3.15, unpacked from Debian's packages.

package testserver

import (
	"fmt"
	"os"
	"path/filepath"
)

type mailutils struct{}

func (mailutils) Name() string { return "mailutils" }

func (mailutils) Packages() []string { return unpackedPackages("mailutils-pop3d") }

func (mailutils) Find() error { return findUnpacked("mailutils", "usr/sbin/pop3d") }

func (mailutils) Services() []Service { return []Service{POP3, POP3S} }

func (m mailutils) Configure(in *Instance) (Command, error) {
	dir, err := Unpacked("mailutils")
	if err != nil {
		return Command{}, err
	}
	tls := fmt.Sprintf("tls { ssl-certificate-file %s; ssl-key-file %s; }", in.CertFile, in.KeyFile)
	err = writeFiles(in, map[string]string{
		"lock/.keep": "",
		"pop3d.conf": fmt.Sprintf(`foreground yes;
mode daemon;
pidfile %[1]s/pop3d.pid;
logging { syslog no; print-severity yes; }
auth { authentication "generic:virtdomain"; authorization "virtdomain"; }
virtdomain { passwd-dir "%[1]s/vd"; }
mailbox { mailbox-type maildir; }
tls-file-checks { key-file none; cert-file none; }
tcp-wrappers { enable no; }
mandatory-locking { enable no; lock-directory %[1]s/lock; }
server %[2]s { tls-mode ondemand; %[4]s }
server %[3]s { tls-mode connection; %[4]s }
`, in.Root, in.Addr(POP3), in.Addr(POP3S), tls),
	})
	if err != nil {
		return Command{}, err
	}
	for i := range in.Users {
		if err := m.writeUsers(in, in.Users[:i+1]); err != nil {
			return Command{}, err
		}
	}
	if err := os.Chmod(filepath.Join(in.Root, "lock"), 0o1777); err != nil {
		return Command{}, err
	}
	here := filepath.Join(in.Root, "mailutils")
	if err := os.Mkdir(here, 0o755); err != nil {
		return Command{}, err
	}
	return inNamespace(in, fmt.Sprintf("mount --bind %s %s\nexport LD_LIBRARY_PATH=%s/usr/lib/x86_64-linux-gnu\nexec %s/usr/sbin/pop3d --config-file=%s/pop3d.conf\n",
		dir, here, here, here, in.Root))
}

func (m mailutils) AddUser(in *Instance, u User) error {
	users := []User{u}
	for _, v := range in.Users {
		if v.Name != u.Name {
			users = append(users, v)
		}
	}
	return m.writeUsers(in, users)
}

func (m mailutils) writeUsers(in *Instance, users []User) error {
	text := ""
	for _, u := range users {
		hash, err := cryptHash(u.Password)
		if err != nil {
			return err
		}
		if err := makeMaildir(m.inbox(in, u), mailUID); err != nil {
			return err
		}
		home := filepath.Dir(m.inbox(in, u))
		if err := os.Chown(home, mailUID, mailUID); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Dir(home), 0o755); err != nil {
			return err
		}
		text += fmt.Sprintf("%s:%s:%d:%d:%s:%s:/bin/sh\n", u.Name, hash, mailUID, mailUID, u.Name, home)
	}
	return writeFiles(in, map[string]string{"vd/" + MailutilsDomain: text})
}

func (mailutils) inbox(in *Instance, u User) string {
	return filepath.Join(in.Root, "home", u.Name, "INBOX")
}

func (m mailutils) deliver(in *Instance, u User, messages [][]byte) error {
	return intoMaildir(m.inbox(in, u), mailUID, messages)
}
