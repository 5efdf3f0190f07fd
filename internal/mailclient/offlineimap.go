// OfflineIMAP, which mirrors both ways.

package mailclient

import (
	"fmt"
	"path/filepath"

	"github.com/mailhaul/mailhaul"
)

// OfflineIMAP keeps what it has seen in a database for each folder.
var OfflineIMAP = Program{
	Name: "offlineimap", Package: "offlineimap3", Protocol: mailhaul.IMAP,
	configure: func(s setup) ([]string, error) {
		name, err := s.file("offlineimaprc",
			"[general]",
			"accounts = a",
			"metadata = "+filepath.Join(s.dir, "metadata"),
			"ui = basic",
			"fsync = false",
			"",
			"[Account a]",
			"localrepository = local",
			"remoterepository = remote",
			"",
			"[Repository local]",
			"type = Maildir",
			"localfolders = "+s.mail,
			"sync_deletes = yes",
			"",
			"[Repository remote]",
			"type = IMAP",
			"remotehost = "+s.host,
			fmt.Sprintf("remoteport = %d", s.port),
			"remoteuser = "+s.user,
			"remotepass = "+s.password,
			"ssl = no",
			"starttls = no",
			"auth_mechanisms = LOGIN",
			"maxconnections = 1",
			"sync_deletes = yes",
		)
		return []string{"-o", "-1", "-c", name}, err
	},
	harmless: []string{"with an OpenSSL exception"},
}
