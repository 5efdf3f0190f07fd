// The lock that the server itself takes to change a mailbox's list of UIDs: a
// file that only one can make.

package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// staleLock is how long a lock whose holder cannot be asked stays good, for
// Dovecot and for Courier alike: neither it nor the list has changed for so
// long.
const staleLock = 2 * time.Minute

// lockName is the name of the lock. Both servers write "PID:HOST" into it.
// Courier takes it only with IMAP_USELOCKS=1.
func (f folder) lockName() string {
	if f.flavor == Courier {
		return f.file("tmp/courier.lock")
	}
	return f.file("dovecot-uidlist.lock")
}

// lock takes the lock of the mailbox, waiting for as long as Config says.
func (f folder) lock(ctx context.Context) (unlock func() error, err error) {
	return f.dotlock(ctx, f.lockName(), f.file(f.listName()))
}

// dotlock makes the lock file name, which protects the file of.
func (f folder) dotlock(ctx context.Context, name, of string) (unlock func() error, err error) {
	deadline := time.Now().Add(f.cfg.LockTimeout)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := f.makeLock(name)
		if err == nil {
			return func() error { return f.disk.remove(name) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		holder, stale, err := f.holder(name, of)
		if err != nil {
			return nil, err
		}
		if stale {
			if err := f.disk.remove(name); err != nil {
				return nil, err
			}
			// Another that found it stale may be about to remove it, too.
			pause = 50 * time.Millisecond
		} else if time.Now().After(deadline) {
			e := f.fail("lock", mailhaul.Transient, mailhaul.ScopeMailbox, fmt.Errorf("%s holds its lock %s", holder, name))
			e.Hint = "wait until it is done, or stop it; remove the lock only if no server runs"
			return nil, e
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// makeLock makes a lock file that holds its holder from the first moment on.
func (f folder) makeLock(name string) error {
	temp := f.tempName()
	if err := f.disk.write(temp, fmt.Appendf(nil, "%d:%s", f.pid, f.host)); err != nil {
		return err
	}
	return errors.Join(f.disk.place(temp, name), f.disk.remove(temp))
}

// holder says who holds a lock, and whether it has been left behind.
func (f folder) holder(name, of string) (who string, stale bool, err error) {
	text, err := f.disk.read(name, 512)
	info, serr := f.disk.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(serr, fs.ErrNotExist):
		return "", false, nil // released meanwhile
	case err != nil:
		return "", false, err
	case serr != nil:
		return "", false, serr
	}
	pid, host, whole := strings.Cut(strings.TrimSuffix(string(text), "\n"), ":")
	if n, err := strconv.Atoi(pid); whole && err == nil && n > 0 && host == f.host {
		return "process " + pid, !alive(n), nil
	}
	who = "a process of another machine (" + quote(string(text)) + ")"
	changed := info.ModTime()
	if info, err := f.disk.root.Stat(of); err == nil && info.ModTime().After(changed) {
		changed = info.ModTime()
	}
	return who, time.Since(changed) > staleLock, nil
}

// quote shows text of others, cut to a length that a message can hold.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strconv.Quote(s)
}
