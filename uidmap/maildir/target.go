// The tree as an account.

package maildir

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Target is a Maildir++ tree on this machine. It implements [mailhaul.Target],
// [mailhaul.Imposer] and [mailhaul.Recoverer], and is safe for concurrent use.
type Target struct {
	cfg    Config
	path   string // without symbolic links
	flavor Flavor
	names  Names
	disk   disk
	host   string
	pid    int
	mark   string // tells this Target's files from those of others
	serial atomic.Uint64
	closed atomic.Bool
}

var (
	_ mailhaul.Target      = (*Target)(nil)
	_ mailhaul.Imposer     = (*Target)(nil)
	_ mailhaul.Recoverer   = (*Target)(nil)
	_ mailhaul.SettleTimer = (*Target)(nil)
)

// Account implements [mailhaul.Source]. The path of the tree, without symbolic
// links, stands for the user.
func (t *Target) Account() mailhaul.Account {
	return mailhaul.Account{Protocol: Protocol, Host: "localhost", User: t.path}
}

// Flavor returns the server whose files the tree has.
func (t *Target) Flavor() Flavor { return t.flavor }

// SettleTime implements [mailhaul.SettleTimer]: nothing is stored behind the
// back of a Writer.
func (t *Target) SettleTime() (time.Duration, bool) { return time.Millisecond, true }

// Close implements [mailhaul.Source].
func (t *Target) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	return t.disk.root.Close()
}

// folder is one mailbox: a directory of the tree.
type folder struct {
	*Target
	dir  string // "." for INBOX
	name string // for people
}

// folder returns the directory of a mailbox, which must exist.
func (t *Target) folder(ctx context.Context, op string, m mailhaul.Mailbox) (folder, error) {
	f := folder{t, m.Wire, m.Name}
	if err := ctx.Err(); err != nil {
		return f, err
	}
	if t.closed.Load() {
		return f, f.fail(op, mailhaul.Permanent, mailhaul.ScopeAccount, mailhaul.ErrClosed)
	}
	if _, ok := t.pathOf(m.Wire); !ok {
		return f, f.fail(op, mailhaul.Permanent, mailhaul.ScopeMailbox, errors.New("this is no mailbox of a Maildir"))
	}
	info, err := t.disk.root.Stat(f.file("cur"))
	if err == nil && !info.IsDir() {
		err = errors.New("its cur is not a directory")
	}
	if errors.Is(err, fs.ErrNotExist) {
		e := f.fail(op, mailhaul.Conflict, mailhaul.ScopeMailbox, errors.New("there is no such mailbox"))
		e.Code = "NONEXISTENT"
		return f, e
	}
	return f, f.wrap(op, err)
}

// file returns the name of a file of the mailbox.
func (f folder) file(name string) string {
	if f.dir == "." {
		return name
	}
	return f.dir + "/" + name
}

// fail returns an error about the mailbox.
func (f folder) fail(op string, kind mailhaul.Kind, scope mailhaul.Scope, err error) *mailhaul.Error {
	return &mailhaul.Error{Op: op, Server: "Maildir " + f.path, Mailbox: f.name, Kind: kind, Scope: scope, Err: err}
}

// wrap makes an error of the disk one that says what to do.
func (f folder) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known *mailhaul.Error
	if errors.As(err, &known) {
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC) || isQuota(err):
		return f.fail(op, mailhaul.OverQuota, mailhaul.ScopeAccount, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e := f.fail(op, mailhaul.Permanent, mailhaul.ScopeAccount, err)
		e.Hint = "run as the user whose mail it is, or as root"
		return e
	}
	return f.fail(op, mailhaul.Permanent, mailhaul.ScopeMailbox, err)
}

// List implements [mailhaul.Source].
func (t *Target) List(ctx context.Context) (*mailhaul.Listing, error) {
	inbox := folder{t, ".", "INBOX"}
	if t.closed.Load() {
		return nil, inbox.fail("list", mailhaul.Permanent, mailhaul.ScopeAccount, mailhaul.ErrClosed)
	}
	subscribed, err := t.subscriptions()
	if err != nil {
		return nil, inbox.wrap("read the subscriptions of", err)
	}
	l := &mailhaul.Listing{Naming: t.naming()}
	add := func(dir string) {
		path, ok := t.pathOf(dir)
		if !ok {
			l.Warnings = append(l.Warnings, "the directory "+quote(dir)+" is no mailbox to any server, and was left out")
			return
		}
		m := t.mailbox(dir, path)
		m.Subscribed = slices.Contains(subscribed, t.subscriptionName(dir))
		l.Mailboxes = append(l.Mailboxes, m)
	}
	add(".")
	var dirs []string
	for e, err := range t.disk.entries(".") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, inbox.wrap("list", err)
		}
		if !isMaildirName(e.Name()) {
			continue
		}
		if info, err := t.disk.root.Stat(e.Name() + "/cur"); err == nil && info.IsDir() {
			dirs = append(dirs, e.Name())
		} else if err != nil && e.Type()&fs.ModeSymlink != 0 && !errors.Is(err, fs.ErrNotExist) {
			l.Warnings = append(l.Warnings, "the symbolic link "+quote(e.Name())+" leads out of the tree, and was not followed")
		}
	}
	slices.Sort(dirs)
	for _, d := range dirs {
		add(d)
	}
	return l, nil
}

// Create implements [mailhaul.Target]. A name that has no form on the disk is
// an error whose Kind is Permanent. Roles are not kept: servers take them from
// their configuration.
func (t *Target) Create(ctx context.Context, path []string, _ mailhaul.Role) (mailhaul.Mailbox, error) {
	f := folder{t, "", strings.Join(path, ".")}
	if err := ctx.Err(); err != nil {
		return mailhaul.Mailbox{}, err
	}
	dir, err := t.dirOf(path)
	if err != nil {
		return mailhaul.Mailbox{}, f.fail("create", mailhaul.Permanent, mailhaul.ScopeMailbox, err)
	}
	f.dir = dir
	path, _ = t.pathOf(dir)
	m := t.mailbox(dir, path)
	if dir == "." {
		return m, nil
	}
	if info, err := t.disk.root.Stat(f.file("cur")); err == nil && info.IsDir() {
		return m, nil
	}
	if err := t.disk.mkdir(dir); err != nil {
		return m, f.wrap("create", err)
	}
	for _, d := range []string{"tmp", "new"} {
		if err := t.disk.mkdir(f.file(d)); err != nil {
			return m, f.wrap("create", err)
		}
	}
	if err := t.disk.write(f.file("maildirfolder"), nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return m, f.wrap("create", err)
	}
	// cur comes last: it is what makes a directory a mailbox.
	if err := t.disk.mkdir(f.file("cur")); err != nil {
		return m, f.wrap("create", err)
	}
	if err := t.disk.syncDir(dir); err != nil {
		return m, f.wrap("create", err)
	}
	return m, f.wrap("create", t.disk.syncDir("."))
}

// OpenReader implements [mailhaul.Source]. As a server does when a mailbox is
// opened, it takes what was delivered since into the list of UIDs, and moves
// it from new to cur; nothing else is changed.
func (t *Target) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	f, err := t.folder(ctx, "open", m)
	if err != nil {
		return nil, err
	}
	v, err := f.sync(ctx)
	if err != nil {
		return nil, f.wrap("open", err)
	}
	return &reader{f: f, view: v}, nil
}

// OpenWriter implements [mailhaul.Target]. A mailbox that a process has open is
// refused with an error whose Kind is Transient, and whose text names it.
func (t *Target) OpenWriter(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Writer, error) {
	f, err := t.folder(ctx, "open", m)
	if err != nil {
		return nil, err
	}
	return f.openWriter(ctx, nil)
}

// Recover implements [mailhaul.Recoverer]: what a Writer that died was about to
// give a UID gets it, where it still can, and what it had not yet put into the
// mailbox is removed.
func (t *Target) Recover(ctx context.Context, m mailhaul.Mailbox, _ mailhaul.UID) error {
	f, err := t.folder(ctx, "recover", m)
	if err != nil {
		return err
	}
	if _, err := f.sync(ctx); err != nil {
		return f.wrap("recover", err)
	}
	return f.wrap("recover", f.removeLeftovers())
}
