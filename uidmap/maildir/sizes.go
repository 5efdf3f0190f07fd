// Courier's UIDLs, as a Writer makes them.

package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/mailhaul/mailhaul"
)

const sizeListName = "courierpop3dsizelist"

// readSizes reads the list of what POP3 calls the messages of INBOX. Where there is
// none, it is a new one of version 2, which Courier reads whatever its own is.
func (f folder) readSizes(name string) (*sizeList, error) {
	text, err := f.disk.read(f.file(name), maxListOctets)
	if errors.Is(err, fs.ErrNotExist) {
		return &sizeList{version: 2, next: 1, validity: uint64(time.Now().Unix())}, nil
	}
	var l *sizeList
	if err == nil {
		l, err = parseSizeList(text)
	} else if !errors.Is(err, errTooLarge) {
		return nil, err
	}
	if err != nil {
		e := f.fail("read the UIDLs of", mailhaul.Corrupt, mailhaul.ScopeMailbox, fmt.Errorf("%s: %w", f.file(name), err))
		e.Hint = "let the server open the maildrop over POP3, which gives all messages new UIDLs, or restore the file"
		return nil, e
	}
	return l, nil
}

// pendSizes writes the list that is to come, if a message of the batch has a
// UIDL.
func (w *writer) pendSizes(batch []*staged) error {
	if w.want == nil || w.f.dir != "." {
		return nil
	}
	l, err := w.f.readSizes(sizeListName)
	if err != nil {
		return err
	}
	had := len(l.entries)
	for _, s := range batch {
		if s.out.UIDL == "" {
			continue
		}
		n, validity, reason := courierUIDL(s.out.UIDL)
		if reason != "" || n == 0 && s.entry.base != string(s.out.UIDL) {
			continue // it gets one from Courier
		}
		e := sizeEntry{name: s.name, size: uint64(s.shown), n: n, validity: validity}
		if l.version == 3 {
			e.utf8 = "0"
		}
		l.entries = append(l.entries, e)
		l.next = max(l.next, n+1)
	}
	if len(l.entries) == had {
		return nil
	}
	return w.f.disk.replace(sizeListName+pendingSuffix, w.f.tempName(), l.format())
}

// publishSizes merges the list that was to come into the one that is there.
// With files, it takes those messages only that are in the mailbox.
func (f folder) publishSizes(files map[string]string) error {
	pending := sizeListName + pendingSuffix
	if f.dir != "." || !f.disk.exists(pending) {
		return nil
	}
	p, err := f.readSizes(pending)
	if err != nil {
		return err
	}
	l, err := f.readSizes(sizeListName)
	if err != nil {
		return err
	}
	have := make(map[string]bool, len(l.entries))
	for _, e := range l.entries {
		have[e.base()] = true
	}
	added := false
	for _, e := range p.entries {
		if have[e.base()] || files != nil && files[e.base()] == "" {
			continue
		}
		if l.version == 3 && e.utf8 == "" {
			e.utf8 = "0"
		}
		l.entries = append(l.entries, e)
		l.next = max(l.next, e.n+1)
		added = true
	}
	if added {
		if err := f.disk.replace(sizeListName, f.tempName(), l.format()); err != nil {
			return err
		}
	}
	return f.disk.remove(pending)
}
