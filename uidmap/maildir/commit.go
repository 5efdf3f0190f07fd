package maildir

// A commit: files that are staged get their UIDs and names, and their place.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
)

// commit puts the staged messages into the mailbox; w.mu is held. With an error
// the Writer is dead, and each message says what became of it.
func (w *writer) commit(ctx context.Context) error {
	batch := w.staged
	if len(batch) == 0 {
		return nil
	}
	w.staged = nil
	err := w.usable(ctx)
	if err == nil {
		err = w.commitBatch(ctx, batch)
	}
	for _, s := range batch {
		if !s.done {
			s.outcome.Delivery, s.outcome.Err, s.done = mailhaul.NotStored, err, true
		}
	}
	w.drop(batch)
	if err != nil && w.dead == nil {
		w.dead = err
	}
	return err
}

func (w *writer) commitBatch(ctx context.Context, batch []*staged) error {
	unlock, err := w.f.lock(ctx)
	if err != nil {
		return w.f.wrap("append to", err)
	}
	err = w.commitLocked(ctx, batch)
	if err := errors.Join(err, unlock()); err != nil {
		return w.f.wrap("append to", err)
	}
	return nil
}

func (w *writer) commitLocked(ctx context.Context, batch []*staged) error {
	f := w.f
	if f.stampOf(f.listName()) != w.stamp || f.disk.exists(f.file(f.pendingName())) { // somebody else was here
		v, err := f.syncLocked()
		if err != nil {
			return err
		}
		w.list, w.stamp, w.taken = v.list, v.stamp, nil
	}
	if w.list.validity != w.status.UIDValidity {
		return f.fail("append to", mailhaul.Conflict, mailhaul.ScopeMailbox,
			fmt.Errorf("its UIDVALIDITY changed from %d to %d", w.status.UIDValidity, w.list.validity))
	}
	if err := w.nameKeywords(ctx, batch); err != nil {
		return err
	}
	list := w.list.clone()
	for _, s := range batch {
		if err := w.assign(list, s); err != nil {
			return err
		}
	}
	if err := f.disk.replace(f.file(f.pendingName()), f.tempName(), f.format(list)); err != nil {
		return err
	}
	err := w.place(batch, list)
	if err == nil {
		w.list, w.stamp = list, f.stampOf(f.listName())
		return nil
	}
	// Some are in the mailbox, and the server will give them UIDs. What can be
	// done for them is what a restart would do.
	ferr := f.finishPending()
	v, lerr := f.look()
	for _, s := range batch {
		s.done = true
		s.outcome.Err = err
		switch {
		case ferr != nil || lerr != nil:
			s.outcome.Delivery = mailhaul.DeliveryUnknown
		case slices.ContainsFunc(v.messages, func(m stored) bool { return m.base == s.entry.base && m.uid == s.entry.uid }):
			s.outcome.Delivery, s.outcome.UID, s.outcome.Err = mailhaul.Stored, s.entry.uid, nil
		case slices.ContainsFunc(v.unlisted, func(file string) bool { return baseOf(file[4:]) == s.entry.base }):
			s.outcome.Delivery = mailhaul.Stored // the UID is the server's to give
			s.outcome.Err = nil
		default:
			s.outcome.Delivery = mailhaul.NotStored
		}
	}
	return err
}

// nameKeywords makes the names of keywords known before any message has them.
func (w *writer) nameKeywords(ctx context.Context, batch []*staged) error {
	if w.f.flavor != Dovecot {
		return nil
	}
	all := make([][]mailhaul.Flag, len(batch))
	for i, s := range batch {
		all[i] = s.keywords
	}
	letters, dropped, err := w.f.letters(ctx, all)
	if err != nil {
		return err
	}
	for i, s := range batch {
		s.letters = append(s.letters, letters[i]...)
		s.outcome.Dropped += dropped[i]
	}
	return nil
}

// assign gives a message its UID and its name.
func (w *writer) assign(list *uidList, s *staged) error {
	uid := list.next
	if w.imposes && s.out.UID > uid {
		uid = s.out.UID
	}
	if uid > maxUID || uid < list.next {
		return w.f.fail("append to", mailhaul.Permanent, mailhaul.ScopeMailbox, errors.New("it has no UIDs left to give"))
	}
	s.entry = uidEntry{uid: uid}
	f := w.f
	now := time.Now()
	unique := fmt.Sprintf("M%dP%dQ%d%s.%s", now.Nanosecond()/1000, f.pid, f.serial.Add(1), f.mark, fileHost(f.host))
	switch {
	case f.flavor == Dovecot:
		s.entry.base = fmt.Sprintf("%d.%s,S=%d,W=%d", now.Unix(), unique, s.size, s.shown)
		if w.want != nil && s.out.UIDL != "" {
			s.entry.ext = append(s.entry.ext, "P"+string(s.out.UIDL))
		}
		if w.want != nil && s.out.Order != 0 {
			s.entry.ext = append(s.entry.ext, fmt.Sprintf("O%d", s.out.Order))
		}
	case w.namesFile(s):
		s.entry.base = string(s.out.UIDL)
	case w.want != nil && s.out.Order != 0:
		// Courier's POP3 lists by the number that names begin with. This one
		// is long past, and comes before what is delivered later.
		s.entry.base = fmt.Sprintf("%d.%s,S=%d", courierEpoch+int64(s.out.Order), unique, s.size)
	default:
		s.entry.base = fmt.Sprintf("%d.%s,S=%d", now.Unix(), unique, s.size)
	}
	s.name = nameWith(s.entry.base, s.letters)
	list.add(s.entry)
	return nil
}

// namesFile reports whether the message's UIDL is to be the name of its file.
func (w *writer) namesFile(s *staged) bool {
	if w.want == nil || s.out.UIDL == "" || w.f.flavor != Courier || w.f.dir != "." {
		return false
	}
	n, _, reason := courierUIDL(s.out.UIDL)
	if n != 0 || reason != "" {
		return false
	}
	if w.taken == nil {
		w.taken = make(map[string]bool, len(w.list.entries))
		for _, e := range w.list.entries {
			w.taken[e.base] = true
		}
	}
	base := string(s.out.UIDL)
	if w.taken[base] {
		return false
	}
	w.taken[base] = true
	return true
}

// place links the messages into cur and publishes the list, whose pending form
// is on the disk.
func (w *writer) place(batch []*staged, list *uidList) error {
	f := w.f
	if f.flavor == Courier {
		for _, s := range batch {
			if len(s.keywords) > 0 {
				if err := f.setCourierKeywords(s.entry.base, s.keywords); err != nil {
					return err
				}
			}
		}
		if err := w.pendSizes(batch); err != nil {
			return err
		}
	}
	for _, s := range batch {
		if err := f.disk.place(s.temp, f.file("cur/"+s.name)); err != nil {
			return err
		}
	}
	if err := f.disk.syncDir(f.file("cur")); err != nil {
		return err
	}
	if f.flavor == Courier {
		if err := f.publishSizes(nil); err != nil {
			return err
		}
	}
	if err := f.disk.rename(f.file(f.pendingName()), f.file(f.listName())); err != nil {
		return err
	}
	for _, s := range batch {
		s.outcome.Delivery, s.outcome.UID, s.done = mailhaul.Stored, s.entry.uid, true
	}
	// From here on they are there, whatever happens.
	return f.disk.syncDir(f.dir)
}
