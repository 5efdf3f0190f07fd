package main

// What follows from mail that is gone from one side.

import (
	"errors"
	"slices"

	mailsync "github.com/mailhaul/mailhaul/sync"
)

// deletes are -deletes, -confirm-deletes and -refuse-deletes.
type deletes struct {
	policy           string
	confirm, refused []string // folders; "*" is all of them
}

func (d *deletes) check() error {
	switch mailsync.Deletes(d.policy) {
	case mailsync.DeletesKeep, mailsync.DeletesFlag, mailsync.DeletesRemove:
	default:
		return errors.New("-deletes is one of keep, flag and remove")
	}
	if slices.Contains(d.confirm, "") || slices.Contains(d.refused, "") {
		return errors.New(`-confirm-deletes and -refuse-deletes take a folder, as the report names it, or "*"`)
	}
	for _, name := range d.confirm {
		if slices.Contains(d.refused, name) {
			return errors.New("a folder is given to both -confirm-deletes and -refuse-deletes")
		}
	}
	return nil
}

// decide answers for a folder that was held. A folder that is named counts more
// than "*".
func (d *deletes) decide(h mailsync.Held) mailsync.Decision {
	for _, name := range []string{h.Mailbox, "*"} {
		switch {
		case slices.Contains(d.refused, name):
			return mailsync.Refuse
		case slices.Contains(d.confirm, name):
			return mailsync.Accept
		}
	}
	return mailsync.Hold
}
