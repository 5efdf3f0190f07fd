//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

// Letting go of the lock of a file whose mapping is lost.

package checkpoint

import (
	"os"
	"syscall"
)

// abandon closes a file that bbolt cannot close any more. The mapping keeps the
// file open in the kernel, and with it the lock, unless it is given up.
func abandon(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
