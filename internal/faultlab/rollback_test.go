// An old checkpoint is restored: from a backup, by a file system, by hand.

package faultlab

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// promisedRollbacks is how many commits an ordinary run goes back to.
const promisedRollbacks = 1000

// TestCheckpointRolledBack migrates in several passes, and then goes back to
// the checkpoint as it was after each commit, the first of which is none at
// all. What is on the target is recognised: nothing is sent.
func TestCheckpointRolledBack(t *testing.T) {
	var tried atomic.Int64
	t.Run("personas", func(t *testing.T) {
		for _, p := range personas {
			if p.open != "" || strings.Contains(p.name, "keeps one") {
				continue // which twin was discarded was known to the checkpoint alone: it is sent, and discarded, once more
			}
			size := 12
			if p == plain || p.name == "no UIDPLUS" {
				size = 110
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { rollBack(t, p, size, &tried) })
			})
		}
	})
	if !filtered() {
		reached(t, "commits gone back to", &tried, share(promisedRollbacks))
	}
}

func rollBack(t *testing.T, p *persona, size int, tried *atomic.Int64) {
	w := newWorld(p)
	defer w.end()
	w.cfg.BatchMessages = 1
	history := checkpointtest.NewHistory(nil)
	pass := func() {
		t.Helper()
		l := w.live(t, nil, func(c *mailsync.Config) { c.Store = history })
		if l.err != nil {
			t.Fatal(l.err)
		}
		time.Sleep(2 * settleTime)
	}
	usual(w)
	fill(w.source, "Many", 0, size)
	pass()
	fill(w.source, "Many", size, 2*size)
	for uid := mailhaul.UID(1); uid <= 5; uid++ {
		reflag(w.source, uid, func(f []mailhaul.Flag) []mailhaul.Flag { return append(f, mailhaul.FlagAnswered) })
	}
	pass()
	w.forget("INBOX", 3)
	fill(w.source, "INBOX", 50, 53)
	pass()

	was, before := w.source.Clone(), snapshot(w.target)
	step := 1
	if share(10) < 10 {
		step = 10
	}
	for n := 0; n <= history.Commits(); n += step {
		c := w.clone()
		c.disk = history.At(n)
		l := c.live(t, nil)
		time.Sleep(2 * settleTime)
		if l.err != nil {
			t.Fatalf("gone back to commit %d: %v", n, l.err)
		}
		if sent := l.p.messages; sent > w.refusals() {
			t.Fatalf("gone back to commit %d: %d messages were sent", n, sent)
		}
		for _, d := range diff(before, snapshot(c.target)) {
			t.Fatalf("gone back to commit %d: the target changed: %s", n, d)
		}
		if d := c.differences(l.res, was); len(d) > 0 {
			t.Fatalf("gone back to commit %d:\n\t%s", n, strings.Join(d, "\n\t"))
		}
		c.end()
		tried.Add(1)
	}
}

// TestCheckpointOfAnotherLife restores a checkpoint of before a mailbox of the
// target was emptied by its user: nothing is lost, and what the user removed
// after that commit may be back.
func TestCheckpointOfAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(plain)
		history := checkpointtest.NewHistory(nil)
		w.cfg.BatchMessages = 3
		usual(w)
		live := func(store checkpoint.Store) life {
			l := w.live(t, nil, func(c *mailsync.Config) { c.Store = store })
			if l.err != nil {
				t.Fatal(l.err)
			}
			return l
		}
		live(history)
		w.remove("INBOX", 2, 4, 9)
		live(history)
		for n := range history.Commits() {
			c := w.clone()
			c.spec.back = true
			c.disk = history.At(n)
			l := c.live(t, nil)
			if l.err != nil {
				t.Fatal(l.err)
			}
			for _, d := range c.differences(l.res, w.source.Clone()) {
				t.Errorf("gone back to commit %d: %s", n, d)
			}
		}
	})
}
