//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

// Letting go of the lock of a file whose mapping is lost.

package checkpoint

import "os"

// abandon closes a file that bbolt cannot close any more; the lock goes with
// it.
func abandon(f *os.File) { _ = f.Close() }
