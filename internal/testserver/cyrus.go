// Cyrus IMAP 3.6, unpacked from Debian's packages.

package testserver

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// CyrusOptions is what a Cyrus can be set to.
type CyrusOptions struct {
	Options

	// Settings are lines of imapd.conf, which replace those with the same key.
	Settings map[string]string

	// Disk is the size of the disk that mail is kept on, which is gone when the
	// server is killed. Default: that of the machine.
	Disk int64
}

// CyrusAdmin is the administrator of each Cyrus, who has no mailbox.
var CyrusAdmin = User{"cyrus", "cyrus"}

// CyrusWith starts a Cyrus that is set up otherwise.
func CyrusWith(t testing.TB, opts CyrusOptions) *Server {
	t.Helper()
	return Start(t, cyrus{settings: opts.Settings, disk: opts.Disk}, opts.Options)
}

type cyrus struct {
	settings map[string]string
	disk     int64
}

func (cyrus) Name() string { return "cyrus" }

func (cyrus) Packages() []string { return unpackedPackages("cyrus-imapd", "cyrus-pop3d", "sasl2-bin") }

func (cyrus) Find() error {
	return findUnpacked("cyrus", "usr/sbin/cyrmaster", "usr/sbin/saslpasswd2", "usr/lib/cyrus/bin/pop3d")
}

func (cyrus) Services() []Service { return []Service{IMAP, IMAPS, POP3, POP3S} }

// cyrusUser is whom Cyrus runs as: any user but root will do.
const cyrusUser = "games"

func cyrusLibraries(dir string) string {
	return fmt.Sprintf("LD_LIBRARY_PATH=%s/usr/lib/x86_64-linux-gnu:%s/usr/lib/cyrus", dir, dir)
}

func (c cyrus) Configure(in *Instance) (Command, error) {
	dir, err := Unpacked("cyrus")
	if err != nil {
		return Command{}, err
	}
	root := in.Root
	here := filepath.Join(root, "cyrus") // where the server sees itself
	for _, d := range []string{"cyrus", "spool", "sieve", "conf/db", "conf/socket", "conf/proc", "conf/lock", "conf/log"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return Command{}, err
		}
	}
	bin := here + "/usr/lib/cyrus/bin/"
	conf := root + "/imapd.conf"
	service := func(name, program string, s Service) string {
		return fmt.Sprintf("  %s cmd=\"%s%s -C %s\" listen=\"%s\" prefork=0 maxchild=20\n", name, bin, program, conf, in.Addr(s))
	}
	settings := fmt.Sprintf(`configdirectory: %[1]s/conf
partition-default: %[1]s/spool
cyrus_user: %[2]s
admins: cyrus
servername: localhost
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: %[1]s/sasldb2
sasl_mech_list: PLAIN LOGIN
virtdomains: off
altnamespace: yes
unixhierarchysep: yes
autocreate_quota: 0
autocreate_post: yes
popminpoll: 0
conversations: no
expunge_mode: immediate
delete_mode: immediate
sievedir: %[1]s/sieve
tls_server_cert: %[1]s/cert.pem
tls_server_key: %[1]s/key.pem
`, root, cyrusUser)
	err = writeFiles(in, map[string]string{
		"imapd.conf": c.change(settings),
		"cyrus.conf": fmt.Sprintf("START {\n  recover cmd=\"%sctl_cyrusdb -C %s -r\"\n}\nSERVICES {\n%s%s%s%s}\nEVENTS {\n}\n", bin, conf,
			service("imap", "imapd", IMAP), service("imaps", "imapd -s", IMAPS), service("pop3", "pop3d", POP3), service("pop3s", "pop3d -s", POP3S)),
	})
	if err != nil {
		return Command{}, err
	}
	for _, u := range append([]User{CyrusAdmin}, in.Users...) {
		if err := c.AddUser(in, u); err != nil {
			return Command{}, err
		}
	}
	if err := chownAll(root, cyrusUser); err != nil {
		return Command{}, err
	}
	disk := ""
	if c.disk > 0 {
		disk = fmt.Sprintf("mount -t tmpfs -o size=%d,mode=0755 tmpfs %s/spool\nchown %s %s/spool\n", c.disk, root, cyrusUser, root)
	}
	// The cache may lie below a folder that is closed to others.
	return inNamespace(in, disk+fmt.Sprintf("mount --bind %s %s\nexport %s\nexec %s/usr/sbin/cyrmaster -D -C %s -M %s/cyrus.conf -p %s/master.pid\n",
		dir, here, cyrusLibraries(here), here, conf, root, root))
}

// change returns the lines of imapd.conf with those that are set otherwise.
func (c cyrus) change(conf string) string {
	var b strings.Builder
	for line := range strings.Lines(conf) {
		key, _, _ := strings.Cut(line, ":")
		if _, set := c.settings[key]; !set {
			b.WriteString(line)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.settings)) {
		fmt.Fprintf(&b, "%s: %s\n", key, c.settings[key])
	}
	return b.String()
}

func (cyrus) AddUser(in *Instance, u User) error {
	dir, err := Unpacked("cyrus")
	if err != nil {
		return err
	}
	db := filepath.Join(in.Root, "sasldb2")
	if _, err := runTool(u.Password, []string{cyrusLibraries(dir)}, filepath.Join(dir, "usr/sbin/saslpasswd2"), "-p", "-c", "-f", db, "-u", "localhost", u.Name); err != nil {
		return err
	}
	return chownAll(db, cyrusUser)
}

// chownAll gives a file, and what is below it, to a user.
func chownAll(name, owner string) error {
	u, err := user.Lookup(owner)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return filepath.WalkDir(name, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, 0)
	})
}
