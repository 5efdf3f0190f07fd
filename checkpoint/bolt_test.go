// Tests of files: what Open takes and what it says of the rest.

package checkpoint_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

// wantRefusal opens a path that is no checkpoint, demands the sentence, and
// that the file is as it was.
func wantRefusal(t *testing.T, path, sentence string) error {
	t.Helper()
	before, _ := os.ReadFile(path)
	b, err := checkpoint.Open(path, nil)
	if !assert.Error(t, err) {
		b.Close()
		return nil
	}
	assert.Equal(t, "open checkpoint "+path+": "+sentence, err.Error())
	var e *mailhaul.Error
	assert.ErrorAs(t, err, &e)
	after, _ := os.ReadFile(path)
	assert.True(t, bytes.Equal(before, after), "the file was changed")
	return err
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	const isNot = "it is not a checkpoint of mailhaul; use another -state file"
	for size, name := range map[int]string{1: "one", 100: "short", 4096: "page", 100_000: "long"} {
		require.ErrorIs(t, wantRefusal(t, file(name, strings.Repeat("x", size)), isNot), checkpoint.ErrNotCheckpoint)
		wantRefusal(t, file(name+" of zeros", strings.Repeat("\x00", size)), isNot)
	}
	wantRefusal(t, dir, "it is a directory; name a file in it")
	missing := wantRefusal(t, filepath.Join(dir, "no", "such", "x.db"), "its directory does not exist; create it, or use another -state file")
	assert.ErrorIs(t, missing, fs.ErrNotExist)
	_, err := checkpoint.Open("", nil)
	assert.EqualError(t, err, "open checkpoint: its name is empty; name a file")

	other := filepath.Join(dir, "other.db")
	db, err := bolt.Open(other, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }))
	require.NoError(t, db.Close())
	err = wantRefusal(t, other, "it is not a checkpoint of mailhaul but another program's database; use another -state file")
	assert.ErrorIs(t, err, checkpoint.ErrNotCheckpoint)

	newer := filepath.Join(dir, "newer.db")
	require.NoError(t, newerStore(t, openBolt(t, newer)).Close())
	err = wantRefusal(t, newer, "it was written by a newer mailhaul (format 7, this one reads up to 2); use that version or another -state file")
	assert.ErrorIs(t, err, checkpoint.ErrNewerFormat)

	entries, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	assert.Empty(t, entries, "nothing is left behind")
}

func TestOpenTakes(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	fresh := filepath.Join(dir, "fresh") // as bbolt makes it, and then the lights went out
	db, err := bolt.Open(fresh, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	for _, path := range []string{empty, fresh, filepath.Join(dir, "new"), filepath.Join(dir, "new")} {
		b := openBolt(t, path)
		checkpointtest.Check(t, b)
		require.NoError(t, b.Close())
	}
	if runtime.GOOS != "windows" {
		link := filepath.Join(dir, "link")
		require.NoError(t, os.Symlink(filepath.Join(dir, "behind"), link))
		require.NoError(t, openBolt(t, link).Close())
		assert.FileExists(t, filepath.Join(dir, "behind"))
	}
	t.Chdir(dir)
	require.NoError(t, openBolt(t, "here.db").Close())
}

// TestDisk: what a disk may say, and what the operator then reads.
func TestDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	require.NoError(t, openBolt(t, path).Close())
	for _, tt := range []struct {
		err      error
		sentence string
	}{
		{syscall.EACCES, "permission denied; make the file and its directory writable for this user, or use another -state file"},
		{syscall.EPERM, "permission denied; make the file and its directory writable for this user, or use another -state file"},
		{syscall.EROFS, "the file system is read-only; use another -state file"},
		{syscall.EIO, "the disk fails (input/output error); put the file on a sound disk; if it cannot be read there, delete the file: the next run recognises what is on the target already and goes on from there"},
		{syscall.ENOSPC, "the disk is full; make room and run again: nothing is lost"},
		{errors.New("something else"), "something else"},
	} {
		if runtime.GOOS == "windows" && errors.Is(tt.err, syscall.ENOSPC) {
			continue
		}
		undo := checkpoint.SetOpenFile(func(name string, _ int, _ os.FileMode) (*os.File, error) {
			return nil, &fs.PathError{Op: "open", Path: name, Err: tt.err}
		})
		err := wantRefusal(t, path, tt.sentence)
		undo()
		assert.ErrorIs(t, err, tt.err)
	}
}

func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	b := openBolt(t, path)
	start := time.Now()
	_, err := checkpoint.Open(path, &checkpoint.Options{LockTimeout: -1})
	require.ErrorIs(t, err, checkpoint.ErrInUse)
	assert.EqualError(t, err, "open checkpoint "+path+": it is in use by another process; wait for that one to end, or use another -state file")
	assert.Less(t, time.Since(start), 500*time.Millisecond)
	// Whoever waits long enough gets it.
	got := make(chan error, 1)
	go func() {
		b, err := checkpoint.Open(path, &checkpoint.Options{LockTimeout: time.Minute})
		if err == nil {
			err = b.Close()
		}
		got <- err
	}()
	require.NoError(t, b.Close())
	require.NoError(t, <-got)
}

// TestInUseByAnother holds the file in another process, kills that one, and
// opens it.
func TestInUseByAnother(t *testing.T) {
	if path := os.Getenv("CHECKPOINT_TEST_HOLD"); path != "" {
		b, err := checkpoint.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("held", b.Path())
		select {}
	}
	path := filepath.Join(t.TempDir(), "state.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestInUseByAnother$")
	cmd.Env = append(os.Environ(), "CHECKPOINT_TEST_HOLD="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	assert.NoError(t, err)
	assert.Contains(t, line, "held")
	_, err = checkpoint.Open(path, &checkpoint.Options{LockTimeout: -1})
	assert.ErrorIs(t, err, checkpoint.ErrInUse)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	checkpointtest.Check(t, openBolt(t, path))
}

// fill writes a checkpoint of a few hundred kilobytes.
func fill(t testing.TB, path string) {
	b := openBolt(t, path)
	for _, name := range []string{"INBOX", "Sent", "Archive"} {
		m := openMailbox(t, b, name)
		r := rand.New(rand.NewPCG(1, 1))
		for u := mailhaul.UID(1); u < 6000; u += mailhaul.UID(1 + r.IntN(3)) {
			require.NoError(t, m.Put(ctx, checkpoint.Record{Source: u, Target: mailhaul.UID(r.Uint32()), Base: flags(`\Seen`)[:r.IntN(2)]}))
			if r.IntN(600) == 0 {
				require.NoError(t, m.Commit(ctx))
			}
		}
		require.NoError(t, m.Commit(ctx))
	}
	require.NoError(t, b.Close())
}

// TestDamagedFile: a file that was cut short or overwritten anywhere is an
// error, or was not hurt where it counts; never a crash, never a wrong record.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	fill(t, whole)
	image, err := os.ReadFile(whole)
	require.NoError(t, err)
	readAll := func(path string) (map[string]string, error) {
		b, err := checkpoint.Open(path, nil)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		l, err := checkpoint.OpenLedger(ctx, b, pair("anna"))
		if err != nil {
			return nil, err
		}
		names, err := l.Mailboxes(ctx)
		if err != nil {
			return nil, err
		}
		out := make(map[string]string)
		for _, name := range names {
			m, err := l.Mailbox(ctx, name)
			if err != nil {
				return nil, err
			}
			if _, _, err := m.Sets(ctx); err != nil {
				return nil, err
			}
			for r, err := range m.Records(ctx, 0) {
				if err != nil {
					return nil, err
				}
				out[fmt.Sprintf("%s %d", name, r.Source)] = show(r)
			}
		}
		return out, nil
	}
	truth, err := readAll(whole)
	require.NoError(t, err)
	path := filepath.Join(dir, "damaged")
	refused, unhurt := 0, 0
	try := func(image []byte) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, image, 0o600))
		got, err := readAll(path)
		if err != nil {
			refused++
			var e *mailhaul.Error
			require.ErrorAs(t, err, &e)
			require.True(t, errors.Is(err, checkpoint.ErrDamaged) || errors.Is(err, checkpoint.ErrNotCheckpoint), "%v", err)
			require.Contains(t, err.Error(), path)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		unhurt++
		for k, v := range got {
			if truth[k] != v {
				t.Fatalf("a wrong record: %s is %s, want %s", k, v, truth[k])
			}
		}
	}
	r := rand.New(rand.NewPCG(4, 4))
	page := os.Getpagesize()
	step := max(page, len(image)/page/60*page)
	for size := 1; size < len(image); size += step {
		try(image[:size])
		try(image[:size-1+page/2])
	}
	for range 150 {
		bad := bytes.Clone(image)
		at := r.IntN(len(image) / page)
		switch r.IntN(3) {
		case 0: // a page of zeros
			clear(bad[at*page : (at+1)*page])
		case 1: // noise
			for i := range page {
				bad[at*page+i] = byte(r.Uint32())
			}
		case 2: // another page
			copy(bad[at*page:(at+1)*page], image[r.IntN(len(image)/page)*page:])
		}
		try(bad)
	}
	t.Logf("%d refused, %d unhurt", refused, unhurt)
	assert.Greater(t, refused, 50)
}

// TestCutWhileOpen takes the file's pages away while it is in use.
func TestCutWhileOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut there")
	}
	path := filepath.Join(t.TempDir(), "state.db")
	fill(t, path)
	b := openBolt(t, path)
	m := openMailbox(t, b, "INBOX")
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1<<32 - 1}))
	require.NoError(t, os.Truncate(path, 8192))
	_, _, err := m.Sets(ctx)
	wantDamage(t, err)
	wantDamage(t, m.Commit(ctx))
	require.NoError(t, b.Close())
	assert.ErrorIs(t, m.Commit(ctx), mailhaul.ErrClosed)
}

// TestGroupCommit: many callers share few syncs, and one that is refused fails
// alone.
func TestGroupCommit(t *testing.T) {
	b := openBolt(t, filepath.Join(t.TempDir(), "state.db"))
	const workers, each = 32, 30
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Appendf(nil, "%d-%d", w, i)
				if err := b.Commit(context.Background(), []checkpoint.Op{{Key: key, Value: key}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	stats := b.Stats()
	t.Logf("%d commits, %d transactions", stats.Commits, stats.Transactions)
	assert.EqualValues(t, workers*each, stats.Commits)
	assert.Less(t, stats.Transactions, stats.Commits/4)
}
