// What a run recognises does not depend on how much of it fits into memory.

package sync_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// temp gives the test a directory for temporary files, which must be empty in
// the end.
func temp(t *testing.T) {
	dir := t.TempDir()
	setTemp(t, dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func setTemp(t *testing.T, dir string) {
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // Windows
}

// muddle fills both accounts with messages that are hard to tell apart: twins,
// near twins, copies that were altered or lost their date, messages without a
// Message-ID or without any field, strangers.
func muddle(rng *rand.Rand, source, target *memmail.Account) {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	date := func() time.Time { return time.Date(2020, 1, 1, 0, 0, rng.IntN(4), 0, time.UTC) }
	var flags = [][]mailhaul.Flag{nil, {mailhaul.FlagSeen}, {"$Work", mailhaul.FlagSeen}, {mailhaul.FlagFlagged}}
	subjects := 2 + rng.IntN(60)
	one := func() memmail.Stored {
		n := rng.IntN(subjects)
		header := pick(fmt.Sprintf("Message-ID: <%d@x>\r\n", n), fmt.Sprintf("Message-ID: <%d@x>\r\n", n), "") +
			pick(fmt.Sprintf("Subject: %d\r\n", n), fmt.Sprintf("Subject: %d\r\n", n), "")
		return memmail.Stored{
			Body: []byte(header + "\r\n" + pick("", "text\r\n", "other\r\n", "longer text\r\n")), Flags: flags[rng.IntN(len(flags))], Date: date(),
		}
	}
	for range rng.IntN(150) {
		m := one()
		for range 1 + rng.IntN(5)/4 {
			source.AddMessage("INBOX", m)
		}
		for range rng.IntN(3) {
			theirs := m
			switch rng.IntN(6) {
			case 0:
				theirs.Date = date()
			case 1:
				theirs.Body = append([]byte("X-Added: by a tool\r\n"), m.Body...)
			case 2:
				theirs = one()
			}
			target.AddMessage("INBOX", theirs)
		}
	}
	source.AddMessage("INBOX", one())
	target.AddMessage("INBOX", one())
}

// outcome is what a run found out.
type outcome struct {
	result  mailsync.Result
	records []checkpoint.Record
}

func adoptHolding(t *testing.T, source, target *memmail.Account, held int) outcome {
	t.Helper()
	r := newRig(t)
	r.source, r.target = source.Clone(), target.Clone()
	if held > 0 {
		mailsync.HoldAtMost(&r.cfg, held)
	}
	res := r.run()
	require.Empty(t, res.Failed)
	o := outcome{result: *res, records: records(t, r)}
	o.result.Seconds, o.result.RoundTrips = 0, 0
	again := r.run()
	require.Zero(t, again.Copied+again.Adopted, "it had recognised everything")
	return o
}

func records(t *testing.T, r *rig) []checkpoint.Record {
	t.Helper()
	ctx := context.Background()
	l, err := checkpoint.OpenLedger(ctx, r.store, checkpoint.Pair{From: r.source.Account(), To: r.target.Account()})
	require.NoError(t, err)
	m, err := l.Mailbox(ctx, "INBOX")
	require.NoError(t, err)
	var all []checkpoint.Record
	for rec, err := range m.Records(ctx, 0) {
		require.NoError(t, err)
		all = append(all, rec)
	}
	return all
}

func TestAdoptsTheSameFromDisk(t *testing.T) {
	temp(t)
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			source, target := memmail.New("ann"), memmail.New("bob")
			muddle(rng, source, target)
			want := adoptHolding(t, source, target, 0)
			for _, held := range []int{1, 2, 7, 40} {
				require.Equal(t, want, adoptHolding(t, source, target, held), "%d held in memory", held)
			}
		})
	}
}

// filled is a rig whose target holds all that its source does, and a run that
// knows nothing of it and holds little in memory.
func filled(t *testing.T, n int) *rig {
	t.Helper()
	r := newRig(t)
	r.fill("INBOX", n)
	for range 3 {
		r.source.Add("INBOX", mail("twin", 1))
		r.source.Add("INBOX", "no header at all")
	}
	r.run()
	r.store = checkpoint.NewMemory()
	mailsync.HoldAtMost(&r.cfg, 10)
	return r
}

// fullDisk is a temporary file on a disk that is full after some octets, or
// that cannot be read.
type fullDisk struct {
	mailsync.TempFile
	room   *int
	unread bool
}

func (f fullDisk) WriteAt(p []byte, at int64) (int, error) {
	if *f.room -= len(p); *f.room < 0 {
		return 0, &os.PathError{Op: "write", Path: "temp", Err: syscall.ENOSPC}
	}
	return f.TempFile.WriteAt(p, at)
}

func (f fullDisk) ReadAt(p []byte, at int64) (int, error) {
	if f.unread {
		return 0, &os.PathError{Op: "read", Path: "temp", Err: syscall.EIO}
	}
	return f.TempFile.ReadAt(p, at)
}

// A disk that is full ends the mailbox, with one error that says so. Nothing is
// copied: it may be there already.
func TestNoRoomForTemporaryFiles(t *testing.T) {
	for room := 0; ; room += 3000 {
		done := false
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			temp(t)
			r := filled(t, 400)
			left := room
			mailsync.OnTempFile(&r.cfg, func(f mailsync.TempFile) mailsync.TempFile { return fullDisk{TempFile: f, room: &left} })
			res := failsOnce(t, r)
			if done = res == nil; !done {
				require.Contains(t, res.Failed[0].Reason, "a temporary file cannot be used")
				require.Contains(t, res.Failed[0].Reason, "TMPDIR")
				require.ErrorIs(t, res.Failed[0].Err, syscall.ENOSPC)
			}
		})
		if done {
			require.Positive(t, room)
			return
		}
	}
}

// failsOnce makes a run that gives INBOX up, and holds that nothing was copied
// and that a run without the hindrance, in the same Store, recognises the rest.
// It returns nil if the run went well.
func failsOnce(t *testing.T, r *rig) *mailsync.Result {
	t.Helper()
	res, err := r.syncer().Run(context.Background())
	require.NoError(t, err)
	require.Zero(t, res.Copied)
	r.same("INBOX")
	if len(res.Failed) == 0 {
		require.Equal(t, 406, res.Adopted)
		return nil
	}
	require.Len(t, res.Failed, 1)
	require.Equal(t, "INBOX", res.Failed[0].Mailbox)
	mailsync.OnTempFile(&r.cfg, func(f mailsync.TempFile) mailsync.TempFile { return f })
	again := r.run()
	require.Zero(t, again.Copied)
	require.Equal(t, 406, res.Adopted+again.Adopted)
	r.same("INBOX")
	return res
}

func TestTemporaryFileThatCannotBeRead(t *testing.T) {
	temp(t)
	r := filled(t, 400)
	room := 1 << 30
	mailsync.OnTempFile(&r.cfg, func(f mailsync.TempFile) mailsync.TempFile { return fullDisk{f, &room, true} })
	res := failsOnce(t, r)
	require.NotNil(t, res)
	require.ErrorIs(t, res.Failed[0].Err, syscall.EIO)
}

func TestNoDirectoryForTemporaryFiles(t *testing.T) {
	r := filled(t, 400)
	setTemp(t, t.TempDir()+"/missing")
	res, err := r.syncer().Run(context.Background())
	require.NoError(t, err)
	require.Len(t, res.Failed, 1)
	require.ErrorIs(t, res.Failed[0].Err, os.ErrNotExist)
	require.Zero(t, res.Copied+res.Adopted)
	r.same("INBOX")
}

// One side that is small needs no disk, however large the other is.
func TestSmallSideNeedsNoDisk(t *testing.T) {
	for _, small := range []string{"source", "target"} {
		t.Run(small, func(t *testing.T) {
			r := newRig(t)
			mailsync.HoldAtMost(&r.cfg, 10)
			setTemp(t, t.TempDir()+"/missing")
			r.fill("INBOX", 300)
			all := r.source.Snapshot("INBOX")
			if small == "target" {
				for _, m := range all[100:110] {
					r.target.AddMessage("INBOX", m)
				}
				res := r.run()
				require.Equal(t, 10, res.Adopted)
				require.Equal(t, 290, res.Copied)
				return
			}
			for i, m := range all {
				r.target.AddMessage("INBOX", m)
				if i < 100 || i >= 110 {
					r.source.Expunge("INBOX", m.UID)
				}
			}
			res := r.run()
			require.Equal(t, 10, res.Adopted)
			require.Zero(t, res.Copied)
		})
	}
}

// A run that dies while it records what it recognised has lost nothing, and
// nothing arrives twice.
func TestDiesWhileItRecordsFromDisk(t *testing.T) {
	temp(t)
	for dies := 1; ; dies++ {
		r := filled(t, 200)
		inner := r.store
		commits := 0
		r.store = commitHook{inner, func() error {
			if commits++; commits >= dies {
				return errors.New("dead")
			}
			return nil
		}}
		_, err := r.syncer().Run(context.Background())
		r.store = inner
		res := r.run()
		require.Zero(t, res.Copied)
		require.Equal(t, 206, res.Adopted+res.Skipped)
		r.same("INBOX")
		if err == nil {
			require.Greater(t, dies, 10, "it commits part by part")
			return
		}
	}
}

// commitHook is a Store whose Commit may fail.
type commitHook struct {
	checkpoint.Store
	before func() error
}

func (c commitHook) Commit(ctx context.Context, ops []checkpoint.Op) error {
	if err := c.before(); err != nil {
		return err
	}
	return c.Store.Commit(ctx, ops)
}

// What was recognised before a connection was lost is not looked for again.
func TestLostConnectionWhileBodiesAreRead(t *testing.T) {
	temp(t)
	r := newRig(t)
	for i := range 200 { // no Message-ID: bodies are read
		r.source.Add("INBOX", fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("x", i)))
	}
	r.run()
	r.store = checkpoint.NewMemory()
	mailsync.HoldAtMost(&r.cfg, 10)
	r.cfg.Retries = 1
	n := 0
	r.source.Hooks.Fetch = func(string, mailhaul.UID) (bool, error) {
		if n++; n%60 == 0 {
			return false, memmail.Lost("")
		}
		return false, nil
	}
	res := r.run()
	require.Equal(t, 200, res.Adopted)
	require.Zero(t, res.Copied)
	r.same("INBOX")
}

func TestUserEmptiesTheTarget(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 9000)
	r.run()
	for _, m := range r.target.Snapshot("INBOX")[10:] {
		r.target.Expunge("INBOX", m.UID)
	}
	res := r.run()
	require.Len(t, res.Held, 1, "nobody has confirmed it")
	require.Zero(t, res.Copied+res.RemovedOnTarget)
	r.cfg.Confirm = func(mailsync.Held) mailsync.Decision { return mailsync.Accept }
	res = r.run()
	require.Equal(t, 8990, res.RemovedOnTarget)
	require.Equal(t, 10, res.Skipped)
	require.Zero(t, r.run().Copied)
}
