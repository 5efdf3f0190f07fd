// mpop.

package mailclient

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/mailhaul/mailhaul"
)

// maildirOf makes an empty Maildir, which these programs do not do themselves.
func maildirOf(s setup) (string, error) {
	dir := filepath.Join(s.mail, "INBOX")
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// Mpop keeps a file of UIDLs for each user at each host.
var Mpop = Program{
	Name: "mpop", Package: "mpop", Protocol: mailhaul.POP3,
	configure: func(s setup) ([]string, error) {
		dir, err := maildirOf(s)
		if err != nil {
			return nil, err
		}
		name, err := s.file("mpoprc",
			"account a",
			"host "+s.host,
			fmt.Sprintf("port %d", s.port),
			"user "+s.user,
			"password "+s.password,
			"auth user",
			"tls off",
			"keep on",
			"received_header off",
			"uidls_file "+filepath.Join(s.dir, "uidls"),
			"delivery maildir "+dir,
		)
		return []string{"-C", name, "-q", "a"}, err
	},
}
