// The real program, real servers, kill -9.

package faultlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// promisedKills is how often an ordinary run kills the program, and
// promisedServerKills how often the target.
const (
	promisedKills       = 50
	promisedServerKills = 10
)

// killRig is the program, built, and an account to migrate.
type killRig struct {
	t              *testing.T
	program        string
	source, target *testserver.Server
	from           testserver.Account
	before         *oracle.Account
	messages       int
	ignore         func(flag string) bool // what a killed server does not keep; nil: nothing
}

func newKillRig(t *testing.T, store string) *killRig {
	r := &killRig{t: t, messages: 500}
	r.source = testserver.Dovecot(t, testserver.DovecotOptions{})
	r.target = testserver.Dovecot(t, testserver.DovecotOptions{Store: store})
	r.from = r.source.Account(1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, corpus.Load(ctx, r.from.Server, corpus.Generate(corpus.Spec{Seed: 11, Messages: r.messages, MaxSize: 3_000})))
	r.before = r.snapshot(r.from)

	r.program = filepath.Join(t.TempDir(), "migrate")
	build := exec.Command("go", "build", "-o", r.program, "github.com/mailhaul/mailhaul/examples/migrate")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	return r
}

func (r *killRig) snapshot(a testserver.Account) *oracle.Account {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	s, err := oracle.Snapshot(ctx, a.Server)
	require.NoError(r.t, err)
	return s
}

// command starts the program on a target account.
func (r *killRig) command(to testserver.Account, state string) *exec.Cmd {
	url := func(a testserver.Account) string {
		return fmt.Sprintf("imaps://%s:%s@%s", a.User, a.Password, a.Server.Addr())
	}
	cmd := exec.Command(r.program, "-json", "-from", url(r.from), "-to", url(to), "-state", state,
		"-from-ca", r.source.RootsFile(), "-to-ca", r.target.RootsFile())
	cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer)
	return cmd
}

// account makes an empty one on the target.
func (r *killRig) account(n int) testserver.Account {
	return r.target.AccountOf(r.target.AddUser(fmt.Sprintf("new%d", n), "pw"))
}

// report is what is read of the program's.
type report struct {
	Copied, Adopted, Skipped int
	Seconds                  float64
}

// finish makes a clean run and compares both accounts.
func (r *killRig) finish(to testserver.Account, state string) (report report) {
	r.t.Helper()
	cmd := r.command(to, state)
	require.NoError(r.t, cmd.Run(), "%v", cmd.Stderr)
	require.NoError(r.t, json.Unmarshal(cmd.Stdout.(*bytes.Buffer).Bytes(), &report))
	for _, d := range oracle.Compare(r.before, r.snapshot(to), oracle.CompareOptions{ExtraFolders: true, IgnoreFlag: r.ignore}) {
		r.t.Error(d)
	}
	store, err := checkpoint.Open(state, nil)
	require.NoError(r.t, err)
	checkpointtest.Check(r.t, store)
	require.NoError(r.t, store.Close())
	return report
}

// TestKilledAtRandom kills the program with SIGKILL, at random times, several
// times in each migration, and then lets it end: nothing is lost, nothing is
// twice.
func TestKilledAtRandom(t *testing.T) {
	r := newKillRig(t, "sdbox")
	rnd := random(t, 7)
	var kills, inTheMiddle atomic.Int64
	promised := share(promisedKills)

	// How long a run takes when nobody kills it.
	first := r.finish(r.account(1), filepath.Join(t.TempDir(), "state.db"))
	whole := time.Duration(first.Seconds*float64(time.Second)) + 100*time.Millisecond

	for n := 2; kills.Load() < int64(promised); n++ {
		to, state := r.account(n), filepath.Join(t.TempDir(), "state.db")
		for range 5 {
			cmd := r.command(to, state)
			require.NoError(t, cmd.Start())
			time.Sleep(time.Duration(rnd.Int64N(int64(whole))))
			require.NoError(t, cmd.Process.Kill())
			err := cmd.Wait()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == -1 {
				kills.Add(1)
			}
		}
		last := r.finish(to, state)
		t.Logf("migration %d: the last run took %.1f s and copied %d, of %d", n-1, last.Seconds, last.Copied, r.messages)
		if last.Copied > 0 && last.Adopted+last.Skipped > 0 {
			inTheMiddle.Add(1)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("a whole run takes %v; %d migrations were cut in the middle", whole.Round(time.Millisecond), inTheMiddle.Load())
	reached(t, "times killed", &kills, promised)
}

// TestTargetKilledAtRandom kills the target's Dovecot with SIGKILL and starts
// it again, while the program runs. The target keeps flags in the names of its
// files: Dovecot's other formats keep them in an index, which it makes anew,
// without flags, when it was killed at the wrong moment. The names of keywords
// are in a file that may be lost likewise, so these are not compared.
func TestTargetKilledAtRandom(t *testing.T) {
	r := newKillRig(t, "maildir")
	r.ignore = func(flag string) bool { return !strings.HasPrefix(flag, `\`) }
	rnd := random(t, 8)
	var kills atomic.Int64
	promised := share(promisedServerKills)
	for n := 1; kills.Load() < int64(promised); n++ {
		to, state := r.account(n), filepath.Join(t.TempDir(), "state.db")
		cmd := r.command(to, state)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for range 2 {
			time.Sleep(time.Duration(100+rnd.IntN(500)) * time.Millisecond)
			r.target.Kill()
			r.target.Restart()
			kills.Add(1)
		}
		select {
		case err := <-ended: // over it, or stopped by it: the next run goes on
			if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() != 3 && exit.ExitCode() != 1 {
				t.Errorf("exit status %d: %v", exit.ExitCode(), cmd.Stderr)
			}
		case <-time.After(4 * time.Minute): // the Dovecot after one that was killed was seen to hang for two: see docs/reliability.md
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("the program hangs: %v", cmd.Stderr)
		}
		r.finish(to, state)
		if t.Failed() {
			return
		}
	}
	reached(t, "times the target was killed", &kills, promised)
}
