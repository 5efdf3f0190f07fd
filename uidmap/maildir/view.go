// What is in a mailbox: the files, and the list of their UIDs.

package maildir

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// courierEpoch is what Courier takes off the time to make a UIDVALIDITY.
const courierEpoch = 1_000_000_000

// stored is a message in a mailbox.
type stored struct {
	uidEntry
	file string // its name below the mailbox: cur/… or new/…
}

// view is a mailbox at one moment.
type view struct {
	list     *uidList // nil where there is none yet
	stamp    stamp    // of the list
	messages []stored // ascending by UID
	unlisted []string // files that have no UID yet, in the order that a server would give them in
}

// stamp tells whether a file was changed or exchanged.
type stamp struct {
	id   fileID
	size int64
	time time.Time
}

func (f folder) listName() string {
	if f.flavor == Courier {
		return "courierimapuiddb"
	}
	return "dovecot-uidlist"
}

// pendingName is where a Writer keeps the list that is to come, while it puts
// the messages of it into the mailbox.
func (f folder) pendingName() string { return f.listName() + pendingSuffix }

const pendingSuffix = ".mailhaul"

func (f folder) stampOf(name string) stamp {
	info, err := f.disk.root.Lstat(f.file(name))
	if err != nil {
		return stamp{}
	}
	id, _ := identityOf(info)
	return stamp{id, info.Size(), info.ModTime()}
}

// readList reads a list of UIDs; nil where there is none. One that makes no
// sense is refused, and left as it is.
func (f folder) readList(name string) (*uidList, stamp, error) {
	was := f.stampOf(name)
	text, err := f.disk.read(f.file(name), maxListOctets)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stamp{}, nil
	}
	var l *uidList
	if err == nil {
		l, err = parseUIDList(text)
	} else if !errors.Is(err, errTooLarge) {
		return nil, stamp{}, err
	}
	if err != nil {
		e := f.fail("read the UIDs of", mailhaul.Corrupt, mailhaul.ScopeMailbox, fmt.Errorf("%s: %w", f.file(name), err))
		e.Hint = "let the server open the mailbox, which gives all messages new UIDs, or restore the file"
		return nil, stamp{}, e
	}
	return l, was, nil
}

// writeList puts a list in the place of the one that is there. The lock is
// held.
func (f folder) writeList(l *uidList) error {
	return f.disk.replace(f.file(f.listName()), f.tempName(), f.format(l))
}

func (f folder) format(l *uidList) []byte {
	if f.flavor == Courier {
		return l.formatCourier()
	}
	return l.formatDovecot()
}

// tempName returns a name in tmp that nothing else has. Its parts tell whether
// whoever made it is still there.
func (f folder) tempName() string {
	return f.file(fmt.Sprintf("tmp/%s%d.%s.%d.%s", leftover, f.pid, f.mark, f.serial.Add(1), fileHost(f.host)))
}

const leftover = "mailhaul."

// removeLeftovers removes what a Writer that has died left in tmp. It is known
// by its name, which holds a process that is no more.
func (f folder) removeLeftovers() error {
	for e, err := range f.disk.entries(f.file("tmp")) {
		if err != nil {
			return err
		}
		rest, ours := strings.CutPrefix(e.Name(), leftover)
		if !ours {
			continue
		}
		var pid int
		var mark, host string
		var serial uint64
		parts := strings.SplitN(rest, ".", 4)
		if len(parts) == 4 {
			mark, host = parts[1], parts[3]
			if _, err := fmt.Sscan(parts[0], &pid); err != nil {
				continue
			}
			if _, err := fmt.Sscan(parts[2], &serial); err != nil {
				continue
			}
		}
		if host != fileHost(f.host) || mark == f.mark || pid <= 0 || alive(pid) {
			continue
		}
		if err := f.disk.remove(f.file("tmp/" + e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// scan lists the files of the mailbox by the part of their names that stays.
func (f folder) scan() (map[string]string, error) {
	files := make(map[string]string)
	for _, dir := range []string{"new", "cur"} { // in cur there are those that moved meanwhile
		for e, err := range f.disk.entries(f.file(dir)) {
			if err != nil {
				return nil, err
			}
			name := e.Name()
			if name[0] == '.' || !e.Type().IsRegular() && !f.regular(dir+"/"+name) {
				continue
			}
			if base := baseOf(name); base != "" && len(base) <= 255 && !strings.ContainsAny(base, "\n\r") {
				files[base] = dir + "/" + name
			}
		}
	}
	return files, nil
}

// regular asks where the directory does not say.
func (f folder) regular(name string) bool {
	info, err := f.disk.root.Lstat(f.file(name))
	return err == nil && info.Mode().IsRegular()
}

// look reads the mailbox as it is.
func (f folder) look() (*view, error) {
	list, was, err := f.readList(f.listName())
	if err != nil {
		return nil, err
	}
	v := &view{list: list, stamp: was}
	files, err := f.scan()
	if err != nil {
		return nil, err
	}
	var entries []uidEntry
	if list != nil {
		entries = list.entries
	}
	// A file that gets other flags while the directory is read may be missed:
	// a message is gone if it is missed twice.
	if slices.ContainsFunc(entries, func(e uidEntry) bool { return files[e.base] == "" }) {
		again, err := f.scan()
		if err != nil {
			return nil, err
		}
		for base, file := range again {
			files[base] = file
		}
	}
	for _, e := range entries {
		if file := files[e.base]; file != "" {
			v.messages = append(v.messages, stored{e, file})
			delete(files, e.base)
		}
	}
	for _, file := range files {
		v.unlisted = append(v.unlisted, file)
	}
	// By the time that the name begins with, as servers do.
	slices.SortFunc(v.unlisted, func(a, b string) int {
		return cmp.Or(cmp.Compare(leadingNumber(a[4:]), leadingNumber(b[4:])), cmp.Compare(a[4:], b[4:]))
	})
	return v, nil
}

// current reports whether nothing has to be written before the mailbox can be
// used.
func (v *view) current() bool {
	return v.list != nil && len(v.unlisted) == 0 && !slices.ContainsFunc(v.messages, func(m stored) bool { return strings.HasPrefix(m.file, "new/") })
}

// sync reads the mailbox and gives UIDs to messages that have none, as the
// server does when a mailbox is opened.
func (f folder) sync(ctx context.Context) (*view, error) {
	v, err := f.look()
	if err != nil {
		return nil, err
	}
	if v.current() && !f.disk.exists(f.file(f.pendingName())) {
		return v, nil
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, err
	}
	v, err = f.syncLocked()
	return v, errors.Join(err, unlock())
}

// syncLocked is sync with the lock held.
func (f folder) syncLocked() (*view, error) {
	if err := f.finishPending(); err != nil {
		return nil, err
	}
	v, err := f.look()
	if err != nil || v.current() {
		return v, err
	}
	moved := false
	move := func(file string) (string, error) {
		base, isNew := strings.CutPrefix(file, "new/")
		if !isNew {
			return file, nil
		}
		to := "cur/" + base
		if !strings.Contains(base, ":") {
			to += ":2,"
		}
		moved = true
		if err := f.disk.place(f.file(file), f.file(to)); err != nil {
			return "", err
		}
		return to, f.disk.remove(f.file(file))
	}
	for i := range v.messages {
		if v.messages[i].file, err = move(v.messages[i].file); err != nil {
			return nil, err
		}
	}
	list := f.newList()
	if v.list != nil {
		list = v.list.clone()
	}
	for _, file := range v.unlisted {
		if list.next > maxUID {
			return nil, f.fail("open", mailhaul.Permanent, mailhaul.ScopeMailbox, errors.New("it has no UIDs left to give"))
		}
		if file, err = move(file); err != nil {
			return nil, err
		}
		e := uidEntry{uid: list.next, base: baseOf(file[4:])}
		list.add(e)
		v.messages = append(v.messages, stored{e, file})
	}
	v.unlisted = nil
	if moved {
		if err := f.disk.syncDir(f.file("cur")); err != nil {
			return nil, err
		}
	}
	if v.list == nil || len(list.entries) != len(v.list.entries) {
		if err := f.writeList(list); err != nil {
			return nil, err
		}
	}
	v.list, v.stamp = list, f.stampOf(f.listName())
	return v, nil
}

// newList returns the list of a mailbox that has never been opened.
func (f folder) newList() *uidList {
	now := time.Now().Unix()
	if f.flavor == Courier {
		now -= courierEpoch
	}
	l := &uidList{validity: mailhaul.UIDValidity(now), next: 1}
	l.setGUID(f.flavor)
	return l
}

// setGUID gives the mailbox a new GUID, by which Dovecot knows it.
func (l *uidList) setGUID(flavor Flavor) {
	var guid [16]byte
	if _, err := rand.Read(guid[:]); err != nil || flavor != Dovecot {
		return // Dovecot makes one
	}
	l.header = []string{"G" + hex.EncodeToString(guid[:])}
}

// finishPending does what is left of a Writer's work that was cut off: messages
// that it had put into the mailbox get the UIDs that they were to have, unless
// these were taken meanwhile. The lock is held.
func (f folder) finishPending() error {
	name := f.pendingName()
	if !f.disk.exists(f.file(name)) {
		return nil
	}
	pending, _, err := f.readList(name)
	if err == nil && pending != nil {
		err = f.publish(pending)
	}
	if err != nil && mailhaul.KindOf(err) != mailhaul.Corrupt {
		return err
	}
	if f.flavor == Courier && f.dir == "." {
		if err := f.disk.remove(sizeListName + pendingSuffix); err != nil {
			return err
		}
	}
	return f.disk.remove(f.file(name))
}

// publish merges a list that was to come into the one that is there: of its
// entries those whose files are in the mailbox.
func (f folder) publish(pending *uidList) error {
	list, _, err := f.readList(f.listName())
	if err != nil || list == nil || list.validity != pending.validity {
		return err
	}
	listed := make(map[string]bool, len(list.entries))
	for _, e := range list.entries {
		listed[e.base] = true
	}
	var files map[string]string
	merged := list.clone()
	for _, e := range pending.entries {
		if listed[e.base] || e.uid < list.next {
			continue
		}
		if files == nil {
			if files, err = f.scan(); err != nil {
				return err
			}
		}
		if files[e.base] != "" {
			merged.add(e)
		}
	}
	if len(merged.entries) == len(list.entries) {
		return nil
	}
	if err := f.disk.syncDir(f.file("cur")); err != nil {
		return err
	}
	if f.flavor == Courier {
		if err := f.publishSizes(files); err != nil {
			return err
		}
	}
	return f.writeList(merged)
}
