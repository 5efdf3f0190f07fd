// getmail.

package mailclient

import (
	"fmt"
	"path/filepath"

	"github.com/mailhaul/mailhaul"
)

// Getmail keeps a file of UIDLs for each user at each host and port.
var Getmail = Program{
	Name: "getmail", Package: "getmail6", Protocol: mailhaul.POP3,
	configure: func(s setup) ([]string, error) {
		dir, err := maildirOf(s)
		if err != nil {
			return nil, err
		}
		// All other destinations run a process for each message, and wait three
		// minutes for one that has ended before they look (6.18.11).
		sink, err := newLMTP(dir)
		if err != nil {
			return nil, err
		}
		s.t.Cleanup(func() {
			if err := sink.Close(); err != nil {
				s.t.Error(err)
			}
		})
		name, err := s.file("getmailrc",
			"[retriever]",
			"type = SimplePOP3Retriever",
			"server = "+s.host,
			fmt.Sprintf("port = %d", s.port),
			"username = "+s.user,
			"password = "+s.password,
			"",
			"[destination]",
			"type = MDA_lmtp",
			"host = 127.0.0.1",
			fmt.Sprintf("port = %d", sink.port()),
			"override = nobody",
			"",
			"[options]",
			"delete = false",
			"read_all = false",
			"delivered_to = false",
			"received = false",
			"verbose = 1",
		)
		return []string{"--rcfile", filepath.Base(name), "--getmaildir", s.dir}, err
	},
	harmless: []string{" skipped"}, // is how it says that a message was seen
}
