// The real program, real servers, kill -9.

package faultlab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	promisedServerKills = 51
)

// killRig is the program, built, and an account to migrate.
type killRig struct {
	t              *testing.T
	program        string
	source, target *testserver.Server
	from           testserver.Account
	before         *oracle.Account
	messages       int
}

func newKillRig(t *testing.T, store string) *killRig {
	r := &killRig{t: t, messages: 500}
	r.source = testserver.Dovecot(t, testserver.DovecotOptions{})
	// Nobody is to wait for two minutes for a lock of the dead.
	locks := []string{"mail_max_lock_timeout = 5 secs"}
	r.target = testserver.Dovecot(t, testserver.DovecotOptions{Store: store, Extra: locks})
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

// madeUp are keywords of a Maildir for letters in the names of its files whose
// meaning a killed Dovecot has not written down.
var madeUp = regexp.MustCompile(`^unknown-[0-9]+$`)

// nameKeywords gives such keywords their names again: a Dovecot that is killed
// may forget the names of keywords that it had stored and shown before, which
// no client can tell from their removal. Each that a message lacks must be
// there under a name made up.
func (r *killRig) nameKeywords(after *oracle.Account) {
	named := 0
	for i := range after.Mailboxes {
		box := &after.Mailboxes[i]
		from := r.before.Find(box.Path...)
		if from == nil {
			continue
		}
		flags := make(map[[sha256.Size]byte][]string)
		for _, m := range from.Messages {
			flags[m.Sum] = m.Flags
		}
		for k := range box.Messages {
			m := &box.Messages[k]
			unnamed := 0
			for _, f := range m.Flags {
				if madeUp.MatchString(f) {
					unnamed++
				}
			}
			for _, f := range flags[m.Sum] {
				if unnamed > 0 && !strings.HasPrefix(f, `\`) && !slices.Contains(m.Flags, f) {
					m.Flags = append(m.Flags, f)
					unnamed--
					named++
				}
			}
			slices.Sort(m.Flags)
		}
	}
	if named > 0 {
		r.t.Logf("%d keywords whose names the target has forgotten", named)
	}
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
	after := r.snapshot(to)
	r.nameKeywords(after)
	for _, d := range oracle.Compare(r.before, after, oracle.CompareOptions{ExtraFolders: true, IgnoreFlag: madeUp.MatchString}) {
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
// it again, several times under each run of the program, in each of its mailbox
// formats. Then the program makes two passes more: all messages are there once,
// with all flags. Dovecot may lose the flags of a batch that was in flight, and
// the names of its keywords; they are set again.
func TestTargetKilledAtRandom(t *testing.T) {
	var kills atomic.Int64
	promised := share(promisedServerKills)
	stores := []string{"maildir", "sdbox", "mdbox"}
	t.Run("stores", func(t *testing.T) {
		for i, store := range stores {
			t.Run(store, func(t *testing.T) {
				t.Parallel()
				r := newKillRig(t, store)
				rnd := random(t, uint64(100+i))
				first := r.finish(r.account(1), filepath.Join(t.TempDir(), "state.db"))
				whole := time.Duration(first.Seconds*float64(time.Second)) + 100*time.Millisecond
				mine := 0
				for n := 2; mine < (promised+len(stores)-1)/len(stores) && !t.Failed(); n++ {
					mine += r.killTarget(r.account(n), rnd, whole)
				}
				kills.Add(int64(mine))
			})
		}
	})
	if !filtered() {
		reached(t, "times the target was killed", &kills, promised)
	}
}

// killTarget makes one migration during which the target is killed, and
// returns how often that was.
func (r *killRig) killTarget(to testserver.Account, rnd *rand.Rand, whole time.Duration) (kills int) {
	state := filepath.Join(r.t.TempDir(), "state.db")
	cmd := r.command(to, state)
	require.NoError(r.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	begun := time.Now()
	var err error
	running := true
	for running && kills < 4 {
		select {
		case err = <-ended:
			running = false
		case <-time.After(time.Duration(rnd.Int64N(int64(whole) / 2))):
			r.target.Kill()
			locks := r.breakLocks()
			r.target.Restart()
			kills++
			if len(locks) > 0 {
				r.t.Logf("removed %v", locks)
			}
		}
	}
	if running {
		select {
		case err = <-ended:
		case <-time.After(4 * time.Minute):
			_ = cmd.Process.Kill()
			<-ended
			r.t.Errorf("the program hangs: %v", cmd.Stderr)
		}
	}
	// Over it, or stopped by it: the next run goes on.
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() != 3 && exit.ExitCode() != 1 {
		r.t.Errorf("exit status %d: %v", exit.ExitCode(), cmd.Stderr)
	}
	under := time.Since(begun)
	again := r.command(to, state)
	require.NoError(r.t, again.Run(), "%v", again.Stderr)
	r.finish(to, state)
	r.t.Logf("killed %d times in %.1f s; two passes more took %.1f s", kills, under.Seconds(), (time.Since(begun) - under).Seconds())
	return kills
}

// breakLocks removes the lock files that the killed target has left, as an
// operator would who knows that nobody holds them: the next Dovecot would wait
// for up to two minutes for each.
func (r *killRig) breakLocks() (broken []string) {
	err := filepath.WalkDir(filepath.Join(r.target.Root, "mail"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".lock") {
			return err
		}
		broken = append(broken, d.Name())
		return os.Remove(path)
	})
	require.NoError(r.t, err)
	return broken
}
