// popa3d 1.0 and solid-pop3d 0.15, unpacked from Debian's packages: servers of
// old, without CAPA, TLS or SASL. Courier's tcpd listens for them.

package testserver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// firstOldUID is the user id of the first account; each has one of its own.
const firstOldUID = 5001

// configureOld writes what both have in common, and the script that runs the
// program.
func configureOld(in *Instance, kind, mounts, program string) (Command, error) {
	old, err := Unpacked(kind)
	if err != nil {
		return Command{}, err
	}
	tcpd, err := Unpacked("courier")
	if err != nil {
		return Command{}, err
	}
	passwd := []string{"popa3d:x:990:990::/nonexistent:/usr/sbin/nologin", "spop3d:x:989:989::/nonexistent:/usr/sbin/nologin"}
	group := []string{"popa3d:x:990:", "spop3d:x:989:"}
	shadow := []string{"popa3d:*:19000:0:99999:7:::", "spop3d:*:19000:0:99999:7:::"}
	for i, u := range in.Users {
		uid := firstOldUID + i
		hash, err := cryptHash(u.Password)
		if err != nil {
			return Command{}, err
		}
		home := oldHome(in, u)
		if err := makeMaildir(filepath.Join(home, "Maildir"), uid); err != nil {
			return Command{}, err
		}
		if err := os.Chown(home, uid, uid); err != nil {
			return Command{}, err
		}
		passwd = append(passwd, fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh", u.Name, uid, uid, home))
		group = append(group, fmt.Sprintf("%s:x:%d:", u.Name, uid))
		shadow = append(shadow, fmt.Sprintf("%s:%s:19000:0:99999:7:::", u.Name, hash))
	}
	if err := os.Chmod(filepath.Join(in.Root, "home"), 0o755); err != nil {
		return Command{}, err
	}
	files := map[string]string{
		"ovvar/lib/popa3d/.keep": "", "ovvar/lib/solid-pop3d/bulletins/.keep": "", "mail/.keep": "",
		"ovetc/spop3d.conf": "<Global>\nMailDropName \"Maildir\"\nMailDropType maildir\nLogStatistics no\n</Global>\n",
	}
	for _, name := range []string{"popa3d", "solid-pop3d"} {
		files["ovetc/pam.d/"+name] = "auth required pam_unix.so nodelay\naccount required pam_unix.so\n"
	}
	for name, lines := range map[string][]string{"passwd": passwd, "group": group, "shadow": shadow} {
		if files["ovetc/"+name], err = hostFile("/etc/"+name, lines...); err != nil {
			return Command{}, err
		}
	}
	if err := writeFiles(in, files); err != nil {
		return Command{}, err
	}
	for _, name := range []string{"mail/.keep", "ovvar/lib/popa3d/.keep", "ovvar/lib/solid-pop3d/bulletins/.keep"} {
		if err := os.Remove(filepath.Join(in.Root, name)); err != nil {
			return Command{}, err
		}
	}
	if err := os.Chmod(filepath.Join(in.Root, "mail"), 0o777|os.ModeSticky); err != nil {
		return Command{}, err
	}
	return inNamespace(in, fmt.Sprintf(`R=%s
mount -t overlay none -o ro,lowerdir=$R/ovetc:/etc /etc
mount -t overlay none -o ro,lowerdir=%s/usr:%s/usr:/usr /usr
%sexec couriertcpd -address=%s -maxprocs=40 -maxperip=20 -nodnslookup -noidentlookup %d %s
`, in.Root, old, tcpd, mounts, in.Host, in.Port(POP3), program))
}

func oldHome(in *Instance, u User) string { return filepath.Join(in.Root, "home", u.Name) }

func oldUID(in *Instance, u User) int {
	return firstOldUID + slices.IndexFunc(in.Users, func(v User) bool { return v.Name == u.Name })
}

var errUsersAreFixed = fmt.Errorf("the users of this server are those that it was started with")

type popa3d struct{}

func (popa3d) Name() string        { return "popa3d" }
func (popa3d) Packages() []string  { return unpackedPackages("popa3d", "courier-base") }
func (popa3d) Services() []Service { return []Service{POP3} }

func (popa3d) Find() error {
	if err := findUnpacked("courier", "usr/sbin/couriertcpd"); err != nil {
		return err
	}
	return findUnpacked("popa3d", "usr/sbin/popa3d")
}

func (popa3d) Configure(in *Instance) (Command, error) {
	return configureOld(in, "popa3d", "mount -t overlay none -o ro,lowerdir=$R/ovvar:/var /var\nmount --bind $R/mail /var/mail\n", "/usr/sbin/popa3d")
}

func (popa3d) AddUser(*Instance, User) error { return errUsersAreFixed }

// deliver writes an mbox.
func (popa3d) deliver(in *Instance, u User, messages [][]byte) error {
	var b bytes.Buffer
	for _, m := range messages {
		b.WriteString("From ann@example.org Mon Jan  2 15:04:05 2006\n")
		for line := range bytes.Lines(bytes.ReplaceAll(m, []byte("\r\n"), []byte("\n"))) {
			if bytes.HasPrefix(line, []byte("From ")) {
				b.WriteByte('>')
			}
			b.Write(line)
		}
		b.WriteByte('\n')
	}
	name := filepath.Join(in.Root, "mail", u.Name)
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		return err
	}
	uid := oldUID(in, u)
	return os.Chown(name, uid, uid)
}

type solid struct{}

func (solid) Name() string        { return "solid" }
func (solid) Packages() []string  { return unpackedPackages("solid-pop3d", "courier-base") }
func (solid) Services() []Service { return []Service{POP3} }

func (solid) Find() error {
	if err := findUnpacked("courier", "usr/sbin/couriertcpd"); err != nil {
		return err
	}
	return findUnpacked("solid", "usr/sbin/solid-pop3d")
}

func (solid) Configure(in *Instance) (Command, error) {
	return configureOld(in, "solid", "mount -t overlay none -o ro,lowerdir=$R/ovvar:/var /var\n", fmt.Sprintf("/usr/sbin/solid-pop3d -f %s/ovetc/spop3d.conf", in.Root))
}

func (solid) AddUser(*Instance, User) error { return errUsersAreFixed }

func (solid) deliver(in *Instance, u User, messages [][]byte) error {
	return intoMaildir(filepath.Join(oldHome(in, u), "Maildir"), oldUID(in, u), messages)
}
