// The directory that a server lives in.

package testserver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// maxRoot is how long the path of a root may be. Servers put Unix sockets
// below it, whose names end at 108 octets; Dovecot gives up at a root of 85.
const maxRoot = 60

// makeRoot makes an empty directory that every user of the machine can
// traverse: servers read their mail as some other user. t.TempDir will not do:
// its parent is closed to others, and its path has the test's name in it.
func makeRoot() (string, error) {
	var why error
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if err := traversable(parent); err != nil {
			why = err
			continue
		}
		dir, err := os.MkdirTemp(parent, "mhsrv")
		if err != nil {
			why = err
			continue
		}
		if len(dir) > maxRoot {
			os.Remove(dir)
			why = fmt.Errorf("the path of %s is too long for Unix sockets", dir)
			continue
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			os.Remove(dir)
			return "", err
		}
		return dir, nil
	}
	return "", fmt.Errorf("no place for a server's directory: %w", why)
}

// Dir makes an empty directory that other users can get at, unlike t.TempDir,
// and removes it when the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := makeRoot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// traversable returns an error where other users cannot pass through dir.
func traversable(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("%s is closed to other users", dir)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}
