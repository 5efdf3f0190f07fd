// The decisions of a pass, without any I/O: all combinations, and random
// histories of several passes held against a specification.

package sync

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	stdsync "sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// mask are flags as a number, which is what the specification thinks in.
type mask uint8

var (
	bitFlags = [...]mailhaul.Flag{mailhaul.FlagFlagged, mailhaul.FlagSeen, "work"}
	bitSets  = func() (all [8][]mailhaul.Flag) {
		for b := range all {
			for i, f := range bitFlags {
				if b&(1<<i) != 0 {
					all[b] = append(all[b], f)
				}
			}
		}
		return all
	}()
	everything = mailhaul.Status{Flags: append([]mailhaul.Flag{mailhaul.FlagDeleted}, bitFlags[:]...), AnyKeyword: true}
)

func bitsOf(flags []mailhaul.Flag) (b mask) {
	for _, f := range flags {
		for i, g := range bitFlags {
			if f == g {
				b |= 1 << i
			}
		}
	}
	return b
}

// merged is what becomes of the target's flags.
func merged(base, source, target mask) mask {
	add, remove := mergeFlags(bitSets[base], bitSets[source], bitSets[target])
	return target&^bitsOf(remove) | bitsOf(add)
}

// All eight combinations of every flag, alone and with all of the others.
func TestMergeFlagsAllCombinations(t *testing.T) {
	for base := range mask(8) {
		for source := range mask(8) {
			for target := range mask(8) {
				got := merged(base, source, target)
				for i := range bitFlags {
					b, s, d := base>>i&1, source>>i&1, target>>i&1
					want := d
					if s != b && d == b {
						want = s
					}
					require.Equal(t, want, got>>i&1, "flag %d of base %03b, source %03b, target %03b", i, base, source, target)
				}
			}
		}
	}
}

// What becomes of a copy, for each policy and each way it can be.
func TestFateOfAllCombinations(t *testing.T) {
	for _, policy := range []Deletes{DeletesKeep, DeletesFlag, DeletesRemove} {
		for _, adopted := range []bool{false, true} {
			for base := range mask(8) {
				for now := range mask(8) {
					got := fateOf(policy, checkpoint.Record{Base: bitSets[base], Adopted: adopted}, bitSets[now], everything)
					want := fateKeep
					switch {
					case policy == DeletesKeep:
					case adopted || base != now:
						want = fateRelease
					case policy == DeletesFlag:
						want = fateFlag
					default:
						want = fateRemove
					}
					require.Equal(t, want, got, "%s, adopted %v, %03b, %03b", policy, adopted, base, now)
				}
			}
		}
	}
	// A flag that the mailbox cannot store is not missed.
	rec := checkpoint.Record{Base: bitSets[7]}
	require.Equal(t, fateRemove, fateOf(DeletesRemove, rec, bitSets[3], mailhaul.Status{Flags: everything.Flags[:3]}))
	// One that the target's user set to have it deleted is his.
	require.Equal(t, fateRelease, fateOf(DeletesRemove, checkpoint.Record{}, []mailhaul.Flag{mailhaul.FlagDeleted}, everything))
}

func TestBraked(t *testing.T) {
	for _, tt := range []struct {
		gone, of int
		held     bool
	}{{50, 50, false}, {51, 51, true}, {51, 254, true}, {51, 255, false}, {0, 0, false}, {-3, 10, false}, {200_000, 1_000_000, false}, {200_001, 1_000_000, true}} {
		require.Equal(t, tt.held, braked(tt.gone, tt.of), "%d of %d", tt.gone, tt.of)
	}
}

var decisionHistories = flag.Int("sync.decisions", 1_200_000, "histories that TestDecisionHistories plays")

// life is one message of the source and its copy, through several passes. What
// a pass does with it is what compare and move do with their sets.
type life struct {
	policy         Deletes
	source, target mask
	onSource       bool
	onTarget       bool
	deleted        bool // the copy has \Deleted
	rec            checkpoint.Record
	known          bool

	// What the specification knows.
	appends  int
	foreign  bool // the message was on the target before
	theyDid  bool // the target's user removed the copy
	touched  mask // flags that the target's user has ever changed
	fresh    mask // those that he changed since the last pass, to other than the base
	sourceAt mask // the source's flags at the last pass
	wrong    string
}

func (l *life) fail(format string, args ...any) {
	if l.wrong == "" {
		l.wrong = fmt.Sprintf(format, args...)
	}
}

func (l *life) targetFlags() []mailhaul.Flag {
	if l.deleted {
		return append([]mailhaul.Flag{mailhaul.FlagDeleted}, bitSets[l.target]...)
	}
	return bitSets[l.target]
}

// pass is one pass over the message.
func (l *life) pass() {
	present := l.onTarget
	switch {
	case !l.known && l.onSource && present: // adopted
		l.rec, l.known = checkpoint.Record{Source: 1, Target: 1, Base: bitSets[l.source], Adopted: true}, true
	case !l.known && l.onSource:
		l.rec, l.known = checkpoint.Record{Source: 1, Target: 1, Base: bitSets[l.source]}, true
		l.onTarget, l.target, l.deleted = true, l.source, false
		if l.appends++; l.appends > 1 || l.theyDid {
			l.fail("brought back")
		}
	case l.known && l.rec.Placed() && !present:
		l.rec.State = checkpoint.Removed
	case l.known && l.rec.Placed() && !l.onSource:
		switch fateOf(l.policy, l.rec, l.targetFlags(), everything) {
		case fateRelease:
			l.rec.State = checkpoint.Removed
		case fateFlag:
			l.mayDelete()
			l.deleted, l.rec.State = true, checkpoint.Removed
		case fateRemove:
			l.mayDelete()
			l.onTarget, l.known = false, false
		}
	case l.known && l.rec.Placed():
		before := l.target
		l.target = merged(bitsOf(l.rec.Base), l.source, l.target)
		if lost := (before ^ l.target) & l.fresh; lost != 0 {
			l.fail("a change of the target's user is lost: %03b", lost)
		}
		if l.source == l.sourceAt && before != l.target && !l.rec.Adopted {
			l.fail("flags %03b become %03b though nothing has changed on the source", before, l.target)
		}
		l.rec.Base = bitSets[l.source]
		if apart := (l.source ^ l.target) &^ l.touched; apart != 0 && !l.foreign {
			l.fail("flags do not converge: %03b", apart)
		}
	}
	l.sourceAt, l.fresh = l.source, 0
}

// mayDelete holds that the copy is ours and not in use.
func (l *life) mayDelete() {
	switch {
	case l.policy == DeletesKeep:
		l.fail("deleted, and all is to be kept")
	case l.foreign:
		l.fail("the message was there before, and is deleted")
	case l.fresh != 0:
		l.fail("the copy is in use, and is deleted")
	}
}

// act lets one of the users do something.
func (l *life) act(r *rand.Rand) {
	f := mask(1) << r.IntN(len(bitFlags))
	switch n := r.IntN(12); {
	case n < 4 && l.onSource:
		l.source ^= f
	case n < 8 && l.onTarget:
		l.target ^= f
		l.touched |= f
		l.fresh &^= f
		if l.known && l.target&f != bitsOf(l.rec.Base)&f {
			l.fresh |= f
		}
	case n < 9 && l.onSource:
		l.onSource = false
	case n < 10 && l.onTarget:
		l.onTarget, l.theyDid = false, true
	case n < 11 && l.onTarget:
		l.deleted = !l.deleted
		if l.deleted {
			l.fresh |= 1 << 7
		} else {
			l.fresh &^= 1 << 7
		}
		l.touched |= 1 << 7
	}
}

func playDecisions(r *rand.Rand) *life {
	l := &life{
		policy: []Deletes{DeletesKeep, DeletesFlag, DeletesRemove}[r.IntN(3)],
		source: mask(r.IntN(8)), onSource: true,
	}
	if l.foreign = r.IntN(5) == 0; l.foreign {
		l.onTarget, l.target = true, mask(r.IntN(8))
	}
	for range 2 + r.IntN(4) {
		l.pass()
		for range r.IntN(4) {
			l.act(r)
		}
	}
	l.pass()
	ours := l.onTarget && !l.foreign && l.appends == 1
	if ours && !l.onSource && l.touched == 0 && l.policy == DeletesFlag && !l.deleted {
		l.fail("the copy is not flagged")
	}
	if ours && !l.onSource && l.touched == 0 && l.policy == DeletesRemove {
		l.fail("the copy is still there")
	}
	if l.onSource && !l.onTarget && !l.theyDid {
		l.fail("lost")
	}
	return l
}

func TestDecisionHistories(t *testing.T) {
	n := *decisionHistories
	if testing.Short() {
		n /= 10
	}
	if raceDetector {
		n /= 10
	}
	const perSeed = 10_000
	var next atomic.Int64
	var workers stdsync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for !t.Failed() {
				seed := next.Add(1) - 1
				if seed*perSeed >= int64(n) {
					return
				}
				r := rand.New(rand.NewPCG(uint64(seed), 3))
				for i := range perSeed {
					if l := playDecisions(r); l.wrong != "" {
						t.Errorf("history %d of seed %d: %s: %+v", i, seed, l.wrong, *l)
						return
					}
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d histories of 3 to 6 passes, seeds from 0 on", n)
}
