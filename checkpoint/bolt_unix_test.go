//go:build !windows

// Tests of files that need a Unix.

package checkpoint_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/checkpoint"
)

func TestFileMode(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(dir, "behind"), filepath.Join(dir, "link")))
	for _, name := range []string{"state.db", "link"} {
		path := filepath.Join(dir, name)
		require.NoError(t, openBolt(t, path).Close())
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode(), name)
	}
}

func TestNotARegularFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := checkpoint.Open(path, nil)
	assert.EqualError(t, err, "open checkpoint "+path+": it is not a regular file; use another -state file")
}

func TestNoPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing is forbidden to root; TestDisk has the sentence")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	require.NoError(t, openBolt(t, path).Close())
	const sentence = "permission denied; make the file and its directory writable for this user, or use another -state file"
	for _, mode := range []os.FileMode{0o400, 0} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := checkpoint.Open(path, nil)
		assert.EqualError(t, err, "open checkpoint "+path+": "+sentence)
	}
	require.NoError(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	_, err := checkpoint.Open(filepath.Join(dir, "new.db"), nil)
	assert.ErrorContains(t, err, sentence)
}
