// Accounts with a past: mail on a Dovecot's disk under UIDs and UIDLs of one's
// choice, which appending and expunging would take hours to come by.

package testserver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// Planted is a mailbox as it is to lie on a disk.
type Planted struct {
	corpus.Mailbox
	UIDValidity mailhaul.UIDValidity
	UIDNext     mailhaul.UID

	// Known is what each message of the mailbox is known by, ascending by UID.
	Known []Known
}

// Known is what mail programs know a message by. Without a UIDL the server
// makes one by its pop3_uidl_format. POP3 lists messages by their Order, and
// those without one behind all others, by their UIDs.
type Known struct {
	UID   mailhaul.UID
	UIDL  mailhaul.UIDL
	Order int
}

// Plant writes mailboxes into the empty account of a user who has never logged
// in, on a Dovecot with Maildirs and "/" between the levels of names.
func (s *Server) Plant(u User, boxes []Planted) {
	s.t.Helper()
	if d, ok := s.kind.(dovecot); !ok || d.opts.Store != "" && d.opts.Store != "maildir" {
		s.t.Fatal("mail can be planted into the Maildirs of a Dovecot only")
	}
	if err := plant(filepath.Join(s.Root, "mail", u.Name), boxes); err != nil {
		s.t.Fatalf("cannot plant mail for %s: %v", u.Name, err)
	}
}

func plant(home string, boxes []Planted) error {
	root := filepath.Join(home, "Maildir")
	var subscribed strings.Builder
	for n, box := range boxes {
		dir := root
		if box.Name() != "INBOX" {
			dir = filepath.Join(root, "."+wire.EncodeName(strings.Join(box.Path, ".")))
		}
		if err := plantMailbox(dir, n, box); err != nil {
			return fmt.Errorf("%s: %w", box.Name(), err)
		}
		if box.Subscribed {
			subscribed.WriteString(wire.EncodeName(strings.Join(box.Path, ".")) + "\n")
		}
	}
	if err := os.WriteFile(filepath.Join(root, "subscriptions"), []byte(subscribed.String()), 0o600); err != nil {
		return err
	}
	return filepath.WalkDir(home, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, mailUID, mailUID)
	})
}

// plantMailbox writes a Maildir with its dovecot-uidlist (version 3).
func plantMailbox(dir string, n int, box Planted) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	var uidlist strings.Builder
	fmt.Fprintf(&uidlist, "3 V%d N%d G%032x\n", box.UIDValidity, box.UIDNext, 0xface<<32|n+1)
	var keywords []string
	for i, m := range box.All() {
		k := box.Known[i]
		name := fmt.Sprintf("%d.M%dP%d.planted", m.Date.Unix(), i, n)
		fmt.Fprintf(&uidlist, "%d", k.UID)
		if k.UIDL != "" {
			fmt.Fprintf(&uidlist, " P%s", k.UIDL)
		}
		if k.Order != 0 {
			fmt.Fprintf(&uidlist, " O%d", k.Order)
		}
		fmt.Fprintf(&uidlist, " :%s\n", name)
		file := filepath.Join(dir, "cur", name+":2,"+maildirFlags(m.Flags, &keywords))
		if err := os.WriteFile(file, bytes.ReplaceAll(m.Body(), []byte("\r\n"), []byte("\n")), 0o600); err != nil {
			return err
		}
		if err := os.Chtimes(file, m.Date, m.Date); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "dovecot-uidlist"), []byte(uidlist.String()), 0o600); err != nil {
		return err
	}
	if len(keywords) == 0 {
		return nil
	}
	var list strings.Builder
	for i, k := range keywords {
		fmt.Fprintf(&list, "%d %s\n", i, k)
	}
	return os.WriteFile(filepath.Join(dir, "dovecot-keywords"), []byte(list.String()), 0o600)
}

// maildirFlags are the letters of flags, those of keywords being given out in
// the order in which they are met.
func maildirFlags(flags []mailhaul.Flag, keywords *[]string) string {
	var letters []byte
	for _, f := range flags {
		if i := slices.Index([]mailhaul.Flag{mailhaul.FlagDraft, mailhaul.FlagFlagged, mailhaul.FlagAnswered, mailhaul.FlagSeen, mailhaul.FlagDeleted}, f); i >= 0 {
			letters = append(letters, "DFRST"[i])
			continue
		}
		i := slices.Index(*keywords, string(f))
		if i < 0 {
			i = len(*keywords)
			*keywords = append(*keywords, string(f))
		}
		letters = append(letters, byte('a'+i)) // a mailbox of a corpus has a handful
	}
	slices.Sort(letters)
	return string(letters)
}
