package maildir

// A Writer that dies before any of its operations on the disk.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

var errDied = errors.New("died")

// deadPID is a process that cannot be: Linux counts to 1<<22.
const deadPID = 1<<22 + 1

// dying returns a hook that fails from the nth operation on, and the operations
// that it let pass.
func dying(n int) (hook func(op, name string) error, done *[]string) {
	done = &[]string{}
	return func(op, name string) error {
		if n > 0 && len(*done)+1 >= n {
			return errDied
		}
		*done = append(*done, op+" "+name)
		return nil
	}, done
}

// killLetters is what the Writer that dies is to write, killBefore what was
// there.
var (
	killBefore  = []letter{{uid: 5, uidl: "UID17-99", order: 2, flags: []mailhaul.Flag{"Old"}}, {uid: 6, uidl: "before", order: 1}}
	killLetters = []letter{
		{uid: 10, uidl: "UID18-99", order: 4, flags: []mailhaul.Flag{mailhaul.FlagSeen, "Old", "New"}},
		{uid: 20, uidl: "GmailId16a0", order: 3},
		{uid: 3000, uidl: "UID19-99", order: 5},
		{uid: 4000, uidl: "x", order: 6, flags: []mailhaul.Flag{"Newer"}},
	}
)

// died writes until it dies, and returns what it knew of each letter.
func died(cfg Config, letters []letter) []mailhaul.Outcome {
	outcomes := make([]mailhaul.Outcome, len(letters))
	ctx := context.Background()
	t, err := Open(ctx, cfg)
	if err != nil {
		return outcomes
	}
	defer t.Close()
	m := mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "."}
	w, err := t.OpenImposing(ctx, m, identity(1234, 5000, letters...))
	if err != nil {
		return outcomes
	}
	defer w.Close()
	for i, l := range letters { // a commit for every two
		r, err := w.Append(ctx, []mailhaul.Outgoing{l.outgoing()})
		if err != nil || i%2 == 1 {
			got, _ := r.Wait(ctx)
			outcomes[i] = got[0]
		}
	}
	_ = w.Finish(ctx)
	return outcomes
}

// fastDir returns a directory in memory, where there is one: a test that syncs
// thousands of times need not wait for a disk.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "maildir")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// startKill makes a tree with the mail of before.
func startKill(t *testing.T, cfg Config) *Target {
	target := open(t, cfg)
	inbox := mailboxOf(t, target, "INBOX")
	impose(t, target, inbox, identity(1234, 0, killBefore...), killBefore...)
	return target
}

// killLevel is what can be had for those of killLetters that are still to come:
// Courier's POP3 cannot list the messages that it names by number between those
// that have their UIDLs as names.
func killLevel(flavor Flavor, rest []letter) mailhaul.Level {
	numbered := 0
	for _, l := range rest {
		if strings.HasPrefix(string(l.uidl), "UID") {
			numbered++
		}
	}
	if flavor == Courier && numbered > 0 && numbered < len(rest) {
		return mailhaul.LevelUID
	}
	return mailhaul.LevelExact
}

func TestDiesBeforeEachOperation(t *testing.T) {
	for _, flavor := range both {
		t.Run(string(flavor), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			total, resumed, kept := 0, 0, 0
			step := 1
			if flavor == Courier || testing.Short() {
				step = 3 // what is not about Courier's own lists is the same
			}
			for n := 0; n == 0 || n <= total; n += step {
				cfg := Config{Path: filepath.Join(fastDir(t), "Maildir"), Flavor: flavor}
				target := startKill(t, cfg)
				hook, done := dying(n)
				dead := cfg
				dead.before, dead.pid = hook, deadPID
				outcomes := died(dead, killLetters)
				if n == 0 {
					total = len(*done)
					require.Greater(t, total, 30, "%v", *done)
				}
				where := fmt.Sprintf("dies after %v", (*done)[max(0, len(*done)-1):])

				inbox := mailboxOf(t, target, "INBOX")
				require.NoError(t, target.Recover(ctx, inbox, 7), where)
				got := readAll(t, target, inbox)
				have := make(map[string]mailhaul.UID)
				for _, m := range got.messages {
					require.Zero(t, have[got.bodies[m.UID]], "%s: twice", where)
					have[got.bodies[m.UID]] = m.UID
				}
				var rest []letter
				for i, l := range killLetters {
					uid, there := have[string(octetsOf(l))]
					if there {
						require.Equal(t, l.uid, uid, where)
						kept++
					} else {
						rest = append(rest, l)
					}
					switch outcomes[i].Delivery {
					case mailhaul.Stored:
						require.True(t, there, "%s: UID %d is lost", where, l.uid)
						require.Equal(t, l.uid, outcomes[i].UID)
					case mailhaul.NotStored:
						require.False(t, there, "%s: UID %d was not to be there", where, l.uid)
					}
				}
				if len(rest) < len(killLetters) && len(rest) > 0 {
					resumed++
				}
				// The next run makes it whole, with every UID.
				want := identity(1234, 5000, rest...)
				can, err := target.Imposable(ctx, inbox, want)
				require.NoError(t, err)
				require.Equal(t, killLevel(flavor, rest), can.Level, "%s: %s", where, can.Reason)
				impose(t, target, inbox, want, rest...)
				got = readAll(t, target, inbox)
				require.Equal(t, []mailhaul.UID{5, 6, 10, 20, 3000, 4000}, got.uids(), where)
				require.Equal(t, mailhaul.UID(5000), got.status.UIDNext, where)
				for i, l := range append(append([]letter{}, killBefore...), killLetters...) {
					require.Equal(t, string(octetsOf(l)), got.bodies[l.uid], where)
					require.ElementsMatch(t, l.flags, got.messages[i].Flags, where)
				}
				if flavor == Courier {
					require.Equal(t, []string{"before", "UID17-99", "UID18-99", "GmailId16a0", "UID19-99", "x"}, sortedUIDLs(t, target), where)
				} else {
					list, _, err := folder{target, ".", ""}.readList("dovecot-uidlist")
					require.NoError(t, err)
					for i, l := range append(append([]letter{}, killBefore...), killLetters...) {
						require.Equal(t, []string{"P" + string(l.uidl), fmt.Sprintf("O%d", l.order)}, list.entries[i].ext, where)
					}
				}
				require.Empty(t, tempFiles(t, target, "."), where)
				names, err := filepath.Glob(filepath.Join(target.path, "*mailhaul*"))
				require.NoError(t, err)
				require.Empty(t, names, where)
				_, err = os.Lstat(filepath.Join(target.path, folder{target, ".", ""}.lockName()))
				require.ErrorIs(t, err, os.ErrNotExist, where)
			}
			t.Logf("%d operations, %d resumed in the middle, %d messages kept", total, resumed, kept)
			require.Positive(t, resumed)
		})
	}
}

// sortedUIDLs returns the UIDLs of Courier's list, in the order of UIDs.
func sortedUIDLs(t *testing.T, target *Target) (uidls []string) {
	f := folder{target, ".", ""}
	sizes, err := f.readSizes(sizeListName)
	require.NoError(t, err)
	byBase := make(map[string]sizeEntry)
	for _, e := range sizes.entries {
		require.NotContains(t, byBase, e.base())
		byBase[e.base()] = e
	}
	list, _, err := f.readList(f.listName())
	require.NoError(t, err)
	for _, e := range list.entries {
		s, ok := byBase[e.base]
		switch {
		case !ok:
			uidls = append(uidls, "")
		case s.n == 0:
			uidls = append(uidls, e.base)
		default:
			uidls = append(uidls, fmt.Sprintf("UID%d-%d", s.n, s.validity))
		}
	}
	uidls[0], uidls[1] = uidls[1], uidls[0] // as the test lists them
	return uidls
}

// The server comes before the next run: nothing is lost, and nothing twice.
func TestServerOpensWhatADeadWriterLeft(t *testing.T) {
	t.Parallel()
	hook, done := dying(0)
	cfg := Config{Path: filepath.Join(t.TempDir(), "Maildir"), Flavor: Dovecot}
	startKill(t, cfg)
	cfg.before = hook
	died(cfg, killLetters)
	var points []int
	for i, op := range *done {
		if strings.HasPrefix(op, "link") || strings.HasPrefix(op, "rename") {
			points = append(points, i+1)
		}
	}
	require.Greater(t, len(points), 5)
	s := testserver.Dovecot(t, testserver.DovecotOptions{Options: testserver.Options{Users: len(points)}})
	for i, n := range points {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel() // Dovecot takes its time with the lock
			cfg := Config{Path: s.Maildir(s.Users[i]), Flavor: Dovecot, Owner: &Owner{testserver.MailUser, testserver.MailUser}}
			target := startKill(t, cfg)
			dead := cfg
			dead.before, _ = dying(n)
			dead.pid = deadPID
			died(dead, killLetters)
			where := fmt.Sprintf("dies before %s", (*done)[n-1])

			first := servedTo(t, s, i+1).Find("INBOX")
			require.Equal(t, mailhaul.UIDValidity(1234), first.UIDValidity, where)
			inbox := mailboxOf(t, target, "INBOX")
			require.NoError(t, target.Recover(context.Background(), inbox, 7), where)
			got := readAll(t, target, inbox)
			require.Len(t, got.messages, len(first.Messages), where)
			have := make(map[string]bool)
			for j, m := range got.messages {
				require.Equal(t, first.Messages[j].UID, m.UID, where)
				require.False(t, have[got.bodies[m.UID]], where)
				have[got.bodies[m.UID]] = true
			}
			var rest []letter
			for _, l := range killLetters {
				if !have[string(octetsOf(l))] {
					rest = append(rest, l)
				}
			}
			require.NoError(t, target.checkUnusedSoon(t))
			impose(t, target, inbox, identity(1234, 5000, rest...), rest...)
			require.Len(t, readAll(t, target, inbox).messages, 6, where)
			require.Len(t, servedTo(t, s, i+1).Find("INBOX").Messages, 6, where)
		})
	}
}
