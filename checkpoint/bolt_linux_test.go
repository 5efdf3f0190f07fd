// Tests of disks that are full or read-only, which need Linux and root.

package checkpoint_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

// mount mounts a tmpfs, or skips the test.
func mount(t *testing.T, flags uintptr, data string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, data); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDisk(t *testing.T) {
	path := filepath.Join(mount(t, 0, "size=256k"), "state.db")
	b := openBolt(t, path)
	m := openMailbox(t, b, "INBOX")
	var err error
	committed := mailhaul.UID(0)
	for u := mailhaul.UID(1); u < 1<<22 && err == nil; u += 7 {
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: u ^ 0x5555, Base: flags(mailhaul.Flag(strings.Repeat("x", 70)))}))
		if u%1000 == 0 {
			if err = m.Commit(ctx); err == nil {
				committed = u
			}
		}
	}
	require.Error(t, err)
	assert.EqualError(t, err, "write checkpoint "+path+": the disk is full; make room and run again: nothing is lost")
	assert.True(t, m.Dirty())
	checkpointtest.Check(t, b)
	require.Error(t, m.Commit(ctx), "it is still full")
	_, ok, err := m.Get(ctx, committed)
	assert.True(t, ok && err == nil)
	require.NoError(t, b.Close())

	b = openBolt(t, path)
	checkpointtest.Check(t, b)
	_, ok, err = openMailbox(t, b, "INBOX").Get(ctx, committed)
	assert.True(t, ok && err == nil)
	require.NoError(t, b.Close())

	// Not even an empty checkpoint fits.
	full := filepath.Join(mount(t, 0, "size=8k"), "state.db")
	_, err = checkpoint.Open(full, nil)
	assert.EqualError(t, err, "open checkpoint "+full+": the disk is full; make room and run again: nothing is lost")
}

func TestReadOnlyFileSystem(t *testing.T) {
	path := filepath.Join(mount(t, syscall.MS_RDONLY, ""), "state.db")
	_, err := checkpoint.Open(path, nil)
	assert.EqualError(t, err, "open checkpoint "+path+": the file system is read-only; use another -state file")
}
