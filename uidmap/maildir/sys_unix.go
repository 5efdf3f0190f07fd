//go:build unix

// What only Unix can tell.

package maildir

import (
	"errors"
	"io/fs"
	"syscall"
)

// openFlags keep a file that was exchanged for a FIFO or a symbolic link from
// doing harm.
const openFlags = syscall.O_NONBLOCK | syscall.O_NOFOLLOW

// ownerOf returns whose a file is.
func ownerOf(info fs.FileInfo) (Owner, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Owner{}, false
	}
	return Owner{UID: int(st.Uid), GID: int(st.Gid)}, true
}

// identityOf returns the device and the inode of a file.
func identityOf(info fs.FileInfo) (fileID, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{uint64(st.Dev), uint64(st.Ino)}, true
}

// alive reports whether there is such a process on this machine.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || !errors.Is(err, syscall.ESRCH)
}

func isInvalid(err error) bool { return errors.Is(err, syscall.EINVAL) }

func isQuota(err error) bool { return errors.Is(err, syscall.EDQUOT) }
