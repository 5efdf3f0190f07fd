// The servers that a suite runs on.

package testserver

import (
	"testing"

	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// Setup is a way to set up a server.
type Setup struct {
	Name string

	// Start starts a server for the test and returns an account on it that
	// holds nothing but an empty INBOX. Each call makes a server of its own.
	Start func(t testing.TB) Account
}

// Setups returns the set-ups that a suite which holds for any server is run
// on. The real ones skip where their server is missing, so each needs a
// subtest of its own.
func Setups() []Setup {
	return []Setup{
		{"imapserver", func(t testing.TB) Account {
			return InProcess(t, imapserver.Options{}).Account(1)
		}},
		{"imapserver below INBOX", func(t testing.TB) Account {
			return InProcess(t, imapserver.Options{Delimiter: ".", Prefix: "INBOX."}).Account(1)
		}},
		{"imapserver of old", func(t testing.TB) Account {
			return InProcess(t, imapserver.Options{Caps: []string{"NAMESPACE", "CHILDREN", "IDLE"}}).Account(1)
		}},
		{"dovecot maildir", func(t testing.TB) Account {
			return Dovecot(t, DovecotOptions{}).Account(1)
		}},
		{"dovecot sdbox below INBOX", func(t testing.TB) Account {
			return Dovecot(t, DovecotOptions{Store: "sdbox", Separator: ".", Prefix: "INBOX."}).Account(1)
		}},
		{"dovecot mdbox with special uses", func(t testing.TB) Account {
			return Dovecot(t, DovecotOptions{Store: "mdbox", SpecialUse: true}).Account(1)
		}},
	}
}
