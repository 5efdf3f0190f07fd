// Who has a mailbox open.

package maildir

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// What can be seen, on Linux, as root or as the user whose mail it is, in the
// same PID namespace or above the server's:
//
//   - A session of Dovecot that has a mailbox selected, over IMAP or POP3,
//     keeps dovecot.index.log and dovecot-uidlist open; one that idles watches
//     them by inotify. It lets go of them some ten seconds after it was done
//     with the mailbox, and looks into every mailbox that is new to it, so that
//     a mailbox may be refused for a while although nobody reads it.
//   - A session of Courier is a process called imapd or courierpop3d that has
//     the tree as its working directory; it cannot be seen which mailbox imapd
//     has selected, so all count. POP3 shows INBOX only.
//
// What cannot be seen: a server on another machine that shares the disk, one in
// a container that this one does not contain, one that keeps its indexes and
// its control files elsewhere (INDEX=, CONTROL=), and any server on a system
// without /proc. There a Writer still never does what the lock forbids, but
// what a session remembers of the mailbox may be wrong afterwards.

// fileID is a file, whatever it is called.
type fileID struct{ dev, ino uint64 }

// openFiles are the files that a session of Dovecot keeps open.
var openFiles = []string{
	"dovecot-uidlist", "dovecot-uidlist.lock", "dovecot.index", "dovecot.index.log", "dovecot.index.log.2", "dovecot.index.cache", "dovecot-keywords",
}

// checkUnused returns an error if a process has the mailbox open.
func (f folder) checkUnused() error {
	who := f.user("/proc")
	if who == "" {
		return nil
	}
	e := f.fail("open", mailhaul.Transient, mailhaul.ScopeMailbox, fmt.Errorf("%s has it open", who))
	e.Hint = "stop the server, or end the session, and run it again"
	return e
}

// user returns the first process that has the mailbox open.
func (f folder) user(proc string) string {
	processes, err := os.ReadDir(proc)
	if err != nil {
		return ""
	}
	watched := make(map[fileID]bool)
	for _, name := range append([]string{".", "cur", "new"}, openFiles...) {
		if info, err := f.disk.root.Lstat(f.file(name)); err == nil {
			if id, ok := identityOf(info); ok {
				watched[id] = true
			}
		}
	}
	tree, err := f.disk.root.Stat(".")
	if err != nil {
		return ""
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join(proc, p.Name())
		text, _ := os.ReadFile(filepath.Join(dir, "comm"))
		comm := strings.TrimSpace(string(text))
		if f.usedBy(dir, comm, tree, watched) {
			return fmt.Sprintf("process %d (%s)", pid, comm)
		}
	}
	return ""
}

func (f folder) usedBy(dir, comm string, tree fs.FileInfo, watched map[fileID]bool) bool {
	if f.flavor == Courier {
		if !slices.Contains([]string{"imapd", "courierpop3d", "pop3d"}, comm) {
			return false // a shell, or the gamin that imapd leaves behind for half a minute
		}
		if comm != "imapd" && f.dir != "." {
			return false
		}
		if cwd, err := os.Stat(filepath.Join(dir, "cwd")); err == nil && os.SameFile(cwd, tree) {
			return true
		}
	}
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false // it has ended, or it is not ours to look at
	}
	for _, fd := range fds {
		link := filepath.Join(dir, "fd", fd.Name())
		to, err := os.Readlink(link)
		if err != nil {
			continue
		}
		if to == "anon_inode:inotify" {
			if watches(filepath.Join(dir, "fdinfo", fd.Name()), watched) {
				return true
			}
			continue
		}
		to = strings.TrimSuffix(to, " (deleted)")
		for _, name := range openFiles {
			if filepath.Base(to) != name {
				continue
			}
			if to == filepath.Join(f.path, f.dir, name) {
				return true
			}
			if info, err := os.Stat(link); err == nil {
				if id, ok := identityOf(info); ok && watched[id] {
					return true
				}
			}
		}
	}
	return false
}

// watches reports whether an inotify descriptor watches one of the files.
func watches(fdinfo string, files map[fileID]bool) bool {
	in, err := os.Open(fdinfo)
	if err != nil {
		return false
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var wd int
		var ino, dev uint64
		if n, _ := fmt.Sscanf(lines.Text(), "inotify wd:%x ino:%x sdev:%x", &wd, &ino, &dev); n != 3 {
			continue
		}
		for id := range files {
			if id.ino == ino && kernelDev(id.dev) == dev {
				return true
			}
		}
	}
	return false
}

// kernelDev turns the device number that stat gives into the one that the
// kernel shows.
func kernelDev(dev uint64) uint64 {
	major := dev>>8&0xfff | dev>>32&^0xfff
	minor := dev&0xff | dev>>12&^0xff
	return major<<20 | minor
}
