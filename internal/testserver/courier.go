// Courier IMAP 5 and POP3, unpacked from Debian's packages.

package testserver

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type courier struct{}

func (courier) Name() string { return "courier" }

func (courier) Packages() []string {
	return unpackedPackages("courier-imap", "courier-pop", "courier-authdaemon")
}

func (courier) Find() error {
	return findUnpacked("courier", "usr/sbin/couriertcpd", "usr/bin/couriertls", "usr/lib/courier/courier/courierpop3d", "usr/lib/courier/courier-authlib/makedatprog")
}

func (courier) Services() []Service { return []Service{IMAP, IMAPS, POP3, POP3S} }

const courierIMAP = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"

func (c courier) Configure(in *Instance) (Command, error) {
	dir, err := Unpacked("courier")
	if err != nil {
		return Command{}, err
	}
	var both []byte
	for _, name := range []string{in.KeyFile, in.CertFile} {
		text, err := os.ReadFile(name)
		if err != nil {
			return Command{}, err
		}
		both = append(both, text...)
	}
	// couriertls runs as this user, and says nothing but "error" without it.
	passwd, err := hostFile("/etc/passwd", "courier:x:990:990::/nonexistent:/usr/sbin/nologin")
	if err != nil {
		return Command{}, err
	}
	group, err := hostFile("/etc/group", "courier:x:990:")
	if err != nil {
		return Command{}, err
	}
	env := []string{
		"MAXPERIP=40", fmt.Sprintf("IMAP_CAPABILITY=%q", courierIMAP), fmt.Sprintf("IMAP_CAPABILITY_TLS=%q", courierIMAP+" AUTH=PLAIN"),
		"IMAP_KEYWORDS=1", "IMAP_ACL=1", "IMAP_IDLE_TIMEOUT=60", "IMAP_USELOCKS=0", "IMAP_UMASK=022", "IMAP_ENHANCEDIDLE=0",
		"IMAP_TRASHFOLDERNAME=Trash", "IMAP_MOVE_EXPUNGE_TO_TRASH=0", `POP3AUTH=""`, `POP3AUTH_TLS="LOGIN PLAIN"`,
		"COURIERTLS=/usr/bin/couriertls", fmt.Sprintf("TLS_CERTFILE=%s/both.pem", in.Root),
		"TLS_TRUSTCERTS=/etc/ssl/certs/ca-certificates.crt", "TLS_VERIFYPEER=NONE", "MAILDIRPATH=Maildir",
	}
	err = writeFiles(in, map[string]string{
		"both.pem":     string(both),
		"ovetc/passwd": passwd, "ovetc/group": group, "ovetc/courier/.keep": "",
		"etc/authdaemonrc": "authmodulelist=\"authuserdb\"\nauthmodulelistorig=\"authuserdb\"\ndaemons=2\nauthdaemonvar=/run/courier/authdaemon\nDEBUG_LOGIN=0\nDEFAULTOPTIONS=\"\"\nLOGGEROPTS=\"\"\n",
		"courier.env":      strings.Join(env, "\n") + "\n",
	})
	if err != nil {
		return Command{}, err
	}
	if err := c.writeUsers(in, in.Users); err != nil {
		return Command{}, err
	}
	tcpd := func(service Service, before, login string) string {
		return fmt.Sprintf("%s couriertcpd -address=%s -maxprocs=40 -nodnslookup -noidentlookup -maxperip=$MAXPERIP %d %s Maildir &\n", before, in.Host, in.Port(service), login)
	}
	return inNamespace(in, fmt.Sprintf(`R=%s
mount -t overlay none -o ro,lowerdir=$R/ovetc:/etc /etc
mount --bind $R/etc /etc/courier
mount -t overlay none -o ro,lowerdir=%s/usr:/usr /usr
mount -t tmpfs none /run
mkdir -p /run/courier/authdaemon
cd $R
exec </dev/null
env -i PATH=/usr/sbin:/usr/bin /usr/lib/courier/courier-authlib/authdaemond &
n=0; while [ ! -S /run/courier/authdaemon/socket ] && [ $n -lt 500 ]; do sleep 0.005; n=$((n+1)); done
set -a
PATH=/usr/sbin:/usr/bin
. $R/courier.env
L=/usr/lib/courier/courier
`, in.Root, dir)+
		tcpd(IMAP, "IMAP_STARTTLS=YES", "$L/imaplogin /usr/bin/imapd")+
		tcpd(IMAPS, "IMAP_TLS=1", "$COURIERTLS -server -tcpd $L/imaplogin /usr/bin/imapd")+
		tcpd(POP3, "POP3_STARTTLS=YES", "$L/courierpop3login $L/courierpop3d")+
		tcpd(POP3S, "POP3_TLS=1", "$COURIERTLS -server -tcpd $L/courierpop3login $L/courierpop3d")+
		"wait\n")
}

func (c courier) AddUser(in *Instance, u User) error {
	users := []User{u}
	for _, v := range in.Users {
		if v.Name != u.Name {
			users = append(users, v)
		}
	}
	return c.writeUsers(in, users)
}

func (courier) deliver(in *Instance, u User, messages [][]byte) error {
	return intoMaildir(filepath.Join(in.Root, "home", u.Name, "Maildir"), mailUID, messages)
}

// writeUsers makes the two databases of users.
func (courier) writeUsers(in *Instance, users []User) error {
	dir, err := Unpacked("courier")
	if err != nil {
		return err
	}
	var db, shadow strings.Builder
	for _, u := range users {
		home := filepath.Join(in.Root, "home", u.Name)
		if err := makeMaildir(filepath.Join(home, "Maildir"), mailUID); err != nil {
			return err
		}
		if err := os.Chown(home, mailUID, mailUID); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(in.Root, "home"), 0o755); err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(u.Password))
		fmt.Fprintf(&db, "%s\tuid=%d|gid=%d|home=%s|mail=%s/Maildir\n", u.Name, mailUID, mailUID, home, home)
		fmt.Fprintf(&shadow, "%s\tsystempw={SHA256}%s\n", u.Name, base64.StdEncoding.EncodeToString(sum[:]))
	}
	env := []string{fmt.Sprintf("LD_LIBRARY_PATH=%s/usr/lib/x86_64-linux-gnu:%s/usr/lib", dir, dir)}
	for name, text := range map[string]string{"userdb": db.String(), "userdbshadow": shadow.String()} {
		file := filepath.Join(in.Root, "etc", name)
		if _, err := runTool(text+".\n", env, filepath.Join(dir, "usr/lib/courier/courier-authlib/makedatprog"), "-", file+".tmp", file+".dat"); err != nil {
			return err
		}
	}
	return nil
}
