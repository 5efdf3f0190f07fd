// What a Target is told, and how it is opened.

package maildir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/mutf7"
)

// Protocol is what the Account of a Target says.
const Protocol mailhaul.Protocol = "maildir"

// Flavor is the server whose files a tree has.
type Flavor string

const (
	// Auto takes what the files in the tree say; a tree that has none is
	// refused, since a wrong guess would cost all identities.
	Auto    Flavor = ""
	Dovecot Flavor = "dovecot" // Dovecot 2.x
	Courier Flavor = "courier" // Courier IMAP and POP3; what is said of names holds for 5
)

// Names is how the names of mailboxes are written on the disk.
type Names string

const (
	// AutoNames takes what the names in the tree say, and where they say
	// nothing, modified UTF-7 for Dovecot and UTF-8 for Courier.
	AutoNames    Names = ""
	ModifiedUTF7 Names = "mutf7" // Dovecot before 2.4, Courier before 5
	UTF8         Names = "utf8"  // Dovecot with mailbox_list_utf8 or UTF-8, Courier 5
)

// Owner is a user and a group.
type Owner struct{ UID, GID int }

// Config is what Open is told. Only Path is needed.
type Config struct {
	// Path is the Maildir itself: the directory that holds cur, new and tmp
	// for INBOX. It is made where it is missing, its parent is not.
	Path string

	// Flavor is the server that serves, or will serve, the tree. Default: the
	// one whose files are there.
	Flavor Flavor

	// Names is how mailboxes are called on the disk. Default: as those that
	// are there.
	Names Names

	// Owner is whose new files are. Default: whose the tree is, or, if it has
	// to be made, its parent. Only root can give files away.
	Owner *Owner

	// LockTimeout is how long another's lock is waited for. Default 30 s.
	LockTimeout time.Duration

	before func(op, name string) error // tests die here
	pid    int                         // what tests pretend to be
}

// ParseURL reads a Config from a URL:
//
//	maildir:///var/mail/ada/Maildir?server=dovecot
//
// The path is absolute; what has a meaning in URLs is written in
// percent-encoding. These keys may follow, and no others: server=dovecot or
// courier, names=mutf7 or utf8, owner=UID:GID in numbers.
func ParseURL(raw string) (Config, error) {
	var c Config
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "maildir" || u.Host != "" || u.User != nil || u.Fragment != "" || !strings.HasPrefix(u.Path, "/") || strings.ContainsRune(u.Path, 0) {
		return c, errors.New("maildir URL: it has the form maildir:///path?server=dovecot")
	}
	c.Path = u.Path
	keys, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return c, errors.New("maildir URL: what follows the path is not key=value&key=value")
	}
	for key, values := range keys {
		value := values[0]
		if len(values) > 1 {
			return c, fmt.Errorf("maildir URL: %s= is there twice", key)
		}
		switch key {
		case "server":
			c.Flavor = Flavor(value)
			if c.Flavor != Dovecot && c.Flavor != Courier {
				return c, errors.New("maildir URL: server= is dovecot or courier")
			}
		case "names":
			c.Names = Names(value)
			if c.Names != ModifiedUTF7 && c.Names != UTF8 {
				return c, errors.New("maildir URL: names= is mutf7 or utf8")
			}
		case "owner":
			user, group, _ := strings.Cut(value, ":")
			uid, err1 := strconv.ParseUint(user, 10, 31)
			gid, err2 := strconv.ParseUint(group, 10, 31)
			if err1 != nil || err2 != nil {
				return c, errors.New("maildir URL: owner= is UID:GID, in numbers")
			}
			c.Owner = &Owner{int(uid), int(gid)}
		default:
			return c, errors.New("maildir URL: only server=, names= and owner= follow the path")
		}
	}
	return c, nil
}

// Open opens a tree. The caller closes the Target. It is an error whose Kind is
// Permanent where the path holds something that is no Maildir, or where it does
// not say which server's it is.
func Open(ctx context.Context, cfg Config) (*Target, error) {
	t := &Target{cfg: cfg, flavor: cfg.Flavor, names: cfg.Names}
	if err := t.open(ctx); err != nil {
		if t.disk.root != nil {
			t.disk.root.Close()
		}
		var e *mailhaul.Error
		if errors.As(err, &e) {
			return nil, err
		}
		kind := mailhaul.Permanent
		return nil, &mailhaul.Error{Op: "open", Server: "Maildir " + cfg.Path, Kind: kind, Scope: mailhaul.ScopeServer, Err: err}
	}
	return t, nil
}

func (t *Target) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch t.flavor {
	case Auto, Dovecot, Courier:
	default:
		return fmt.Errorf("there is no flavor %q", t.flavor)
	}
	if t.cfg.LockTimeout == 0 {
		t.cfg.LockTimeout = 30 * time.Second
	}
	t.disk.before = t.cfg.before
	if t.pid = t.cfg.pid; t.pid == 0 {
		t.pid = os.Getpid()
	}
	t.host = hostName()
	var mark [6]byte
	if _, err := rand.Read(mark[:]); err != nil {
		return err
	}
	t.mark = hex.EncodeToString(mark[:])
	if err := t.openRoot(); err != nil {
		return err
	}
	if err := t.detect(); err != nil {
		return err
	}
	// cur comes last: it is what makes a directory a mailbox.
	for _, d := range []string{"tmp", "new", "cur"} {
		if err := t.disk.mkdir(d); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) openRoot() error {
	dir, err := filepath.Abs(t.cfg.Path)
	if err != nil {
		return err
	}
	info, err := os.Stat(dir)
	made := false
	if errors.Is(err, fs.ErrNotExist) {
		if info, err = os.Stat(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, 0o700)
			made = true
		}
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("it is not a directory")
	}
	if t.path, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	if t.disk.root, err = os.OpenRoot(t.path); err != nil {
		return err
	}
	t.disk.dirMode = 0o700
	if !made {
		t.disk.dirMode = info.Mode().Perm() | 0o700
	}
	t.disk.fileMode = t.disk.dirMode & 0o666
	owner, known := ownerOf(info)
	if t.cfg.Owner != nil {
		owner, known = *t.cfg.Owner, true
	}
	if known && (owner.UID != os.Geteuid() || owner.GID != os.Getegid()) {
		if os.Geteuid() != 0 && owner.UID != os.Geteuid() {
			return fmt.Errorf("its files belong to user %d, and this is user %d; run as that user, or as root", owner.UID, os.Geteuid())
		}
		t.disk.owner = &owner
		if made {
			return t.disk.root.Lchown(".", owner.UID, owner.GID)
		}
	}
	return nil
}

// The files by which a server is known.
var marks = map[Flavor][]string{
	Dovecot: {"dovecot-uidlist", "dovecot-uidvalidity", "dovecot.index.log", "dovecot.list.index.log", "dovecot.mailbox.log", "dovecot-keywords"},
	Courier: {"courierimapuiddb", "courierpop3dsizelist", "courierimapsubscribed", "courierimaphieracl", "courierimapkeywords"},
}

// detect finds out whose tree it is, and how names are written.
func (t *Target) detect() error {
	dirs := []string{"."}
	utf, mutf, other := false, false, false
	for e, err := range t.disk.entries(".") {
		if err != nil {
			return err
		}
		name := e.Name()
		if isMaildirName(name) && e.IsDir() && t.disk.exists(name+"/cur") {
			if len(dirs) < 1000 {
				dirs = append(dirs, name)
			}
			decoded, ok := mutf7.Decode(name)
			utf = utf || decoded == name && !isASCII(name) && utf8.ValidString(name)
			mutf = mutf || ok && decoded != name
		}
		other = true
	}
	if other && !t.disk.exists("cur") && !t.disk.exists("new") && len(dirs) == 1 {
		return errors.New("it holds files, and is no Maildir: it has no cur")
	}
	if t.flavor == Auto {
		found := make(map[Flavor]bool)
		for _, dir := range dirs {
			for flavor, names := range marks {
				for _, n := range names {
					found[flavor] = found[flavor] || t.disk.exists(dir+"/"+n)
				}
			}
		}
		switch {
		case found[Dovecot] && found[Courier]:
			return errors.New("it holds files of both Dovecot and Courier; say which one serves it (server=dovecot or server=courier)")
		case found[Dovecot]:
			t.flavor = Dovecot
		case found[Courier]:
			t.flavor = Courier
		default:
			return errors.New("no server has been here yet; say which one will serve it (server=dovecot or server=courier)")
		}
	}
	if t.names == AutoNames {
		switch {
		case utf && mutf:
			return errors.New("some names of mailboxes are in UTF-8 and some in modified UTF-7; say which the server reads (names=utf8 or names=mutf7)")
		case utf || !mutf && t.flavor == Courier:
			t.names = UTF8
		default:
			t.names = ModifiedUTF7
		}
	}
	return nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// hostName returns the machine's name as it may stand in the name of a file.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	return name
}

// fileHost is hostName without what has a meaning in file names of a Maildir.
func fileHost(host string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, host)
}
