// Where servers keep mail as files.

package testserver

import (
	"os"
	"path/filepath"
)

// MailUser is the user and the group that all mail belongs to.
const MailUser = mailUID

// Maildir returns where the user's Maildir is, on a Courier or on a Dovecot
// with that store. Its parent is there; the Maildir itself may not be, before
// the first log-in.
func (s *Server) Maildir(u User) string {
	s.t.Helper()
	home := filepath.Join(s.Root, "mail", u.Name)
	if s.Kind() == (courier{}).Name() {
		home = filepath.Join(s.Root, "home", u.Name)
	} else if s.Kind() != (dovecot{}).Name() {
		s.t.Fatalf("%s has no Maildir that is known", s.Kind())
	}
	if err := os.Mkdir(home, 0o700); err == nil {
		if err := os.Chown(home, mailUID, mailUID); err != nil {
			s.t.Fatal(err)
		}
	} else if !os.IsExist(err) {
		s.t.Fatal(err)
	}
	return filepath.Join(home, "Maildir")
}
