// fetchmail.

package mailclient

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/mailhaul/mailhaul"
)

// Fetchmail keeps a list of UIDLs for each user at each host, and hands each
// message to a program.
var Fetchmail = Program{
	Name: "fetchmail", Package: "fetchmail", Protocol: mailhaul.POP3,
	configure: func(s setup) ([]string, error) {
		dir, err := maildirOf(s)
		if err != nil {
			return nil, err
		}
		deliver := filepath.Join(s.dir, "deliver")
		script := fmt.Sprintf("#!/bin/sh\nset -e\ncat >%[1]s/tmp/$$\nmv %[1]s/tmp/$$ %[1]s/new/$(date +%%s%%N).$$.localhost\n", dir)
		if err := os.WriteFile(deliver, []byte(script), 0o700); err != nil {
			return nil, err
		}
		name, err := s.file("fetchmailrc",
			"set no syslog",
			fmt.Sprintf("set idfile %q", filepath.Join(s.dir, "uidls")),
			fmt.Sprintf("poll %s service %d protocol pop3 uidl bad-header accept timeout 120", s.host, s.port),
			fmt.Sprintf(" user %q password %q is nobody here", s.user, s.password),
			fmt.Sprintf(" mda %q", deliver),
			" keep no rewrite no mimedecode sslproto ''",
		)
		return []string{"-f", name, "--pidfile", filepath.Join(s.dir, "pid"), "--nodetach", "--invisible"}, err
	},
	idle:     1,
	harmless: []string{"reading message"},
}
