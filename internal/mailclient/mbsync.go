// mbsync (isync), which mirrors both ways.

package mailclient

import (
	"fmt"
	"path/filepath"

	"github.com/mailhaul/mailhaul"
)

// Mbsync carries everything both ways, deletions too: whatever it takes for a
// change here, it does there.
var Mbsync = Program{
	Name: "mbsync", Package: "isync", Protocol: mailhaul.IMAP,
	configure: func(s setup) ([]string, error) {
		name, err := s.file("mbsyncrc",
			"FSync no",
			"",
			"IMAPStore far",
			"Host "+s.host,
			fmt.Sprintf("Port %d", s.port),
			"User "+s.user,
			"Pass "+s.password,
			"SSLType None",
			"AuthMechs LOGIN",
			"DisableExtension COMPRESS=DEFLATE", // what passes is counted
			"",
			"MaildirStore near",
			"Path "+s.mail+"/",
			"Inbox "+filepath.Join(s.mail, "INBOX"),
			"SubFolders Verbatim",
			"",
			"Channel all",
			"Far :far:",
			"Near :near:",
			"Patterns *",
			"Sync All",
			"Create Both",
			"Remove Both",
			"Expunge Both",
			"SyncState "+s.dir+"/state-",
		)
		return []string{"-c", name, "-a", "-V"}, err
	},
	// The notification is of a Courier without FAM, which it is not needed for.
	harmless: []string{"Password is being sent in the clear", "Filesystem notification initialization error", "Maildir notice: no UIDVALIDITY, creating new"},
}
