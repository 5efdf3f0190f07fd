// The disk under the checkpoint is full.

package faultlab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// TestDiskIsFull migrates with the checkpoint on a tmpfs that is too small: the
// run ends with a sentence that says so. When there is room, the next one
// finishes the work, and nothing is twice there.
func TestDiskIsFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		if os.Geteuid() == 0 && os.Getenv("MAILHAUL_REQUIRE_SERVERS") == "1" {
			t.Fatalf("cannot mount a tmpfs: %v", err)
		}
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	path := filepath.Join(dir, "state.db")

	w := newWorld(plain)
	w.cfg.SettleTime, w.cfg.BatchMessages = time.Millisecond, 50
	keyword := mailhaul.Flag("$" + strings.Repeat("K", 60))
	for i := range 6000 {
		m := stored("INBOX", i)
		m.Flags = append(m.Flags, keyword)
		w.source.AddMessage("INBOX", m)
	}
	was := w.source.Clone()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() life {
		store, err := checkpoint.Open(path, nil)
		if err != nil {
			return life{err: err}
		}
		defer store.Close()
		l := w.live(t, nil, func(c *mailsync.Config) { c.Store = store })
		checkpointtest.Check(t, store)
		return l
	}
	for range 2 { // it stays full
		l := run()
		if !errors.Is(l.err, syscall.ENOSPC) || !strings.Contains(l.err.Error(), "disk is full; make room") {
			t.Fatalf("the disk is full, and the run says: %v", l.err)
		}
		if strings.Contains(l.err.Error(), "\n") {
			t.Errorf("more than one sentence: %v", l.err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	l := run()
	if l.err != nil {
		t.Fatalf("there is room again: %v", l.err)
	}
	for _, d := range diff(w.want("INBOX"), snapshotOf(w, "INBOX")) {
		t.Error(d)
	}
	if last := run(); last.err != nil || last.p.messages > 0 {
		t.Errorf("the pass after it sent %d messages, and ended with %v", last.p.messages, last.err)
	}
	for _, path := range was.Paths() {
		for i, m := range was.Snapshot(path) {
			if !sameStored(m, w.source.Snapshot(path)[i]) {
				t.Errorf("%s: the source was changed", path)
			}
		}
	}
}
