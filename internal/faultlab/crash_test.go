// The process dies at each step that changes anything; it is started again,
// dies again, and is started again.

package faultlab

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// promisedPairs is how many deaths, each with its restart, an ordinary run
// tries at least.
const promisedPairs = 25000

// TestCrashAtEveryStep lets the process die at each step of each pass, before
// and after the step had its effect, and restarts it. Then it dies at steps of
// the restart too: at a sample of all pairs of moments.
func TestCrashAtEveryStep(t *testing.T) {
	var pairs, twice atomic.Int64
	t.Run("scenarios", func(t *testing.T) {
		for i, sc := range scenarios {
			for k, p := range personas {
				if p != plain && !sc.core {
					continue
				}
				name := sc.name
				if p == plain && sc.with != nil {
					p = sc.with
				}
				if p != plain {
					name += ", " + p.name
				}
				t.Run(name, func(t *testing.T) {
					if p.open != "" {
						t.Skip(p.open)
					}
					t.Parallel()
					rnd := rand.New(rand.NewPCG(*seed, uint64(1000*i+k)))
					synctest.Test(t, func(t *testing.T) {
						l := &crashLab{t: t, sc: sc, p: p, rnd: rnd, pairs: &pairs, twice: &twice}
						l.run()
					})
				})
			}
		}
	})
	t.Logf("seed %d (repeat with -faultlab.seed)", *seed)
	if filtered() {
		return
	}
	reached(t, "deaths with their restarts", &pairs, share(promisedPairs))
	t.Logf("%d of them died again in the restart", twice.Load())
}

// crashLab takes one scenario through all deaths.
type crashLab struct {
	t            *testing.T
	sc           *scenario
	p            *persona
	rnd          *rand.Rand
	pairs, twice *atomic.Int64

	broken func(*mailsync.Config) // makes the engine a broken one; nil: as it is
	found  func(faults string)    // is told what is wrong; nil: the test fails

	base   *world
	needed int              // messages that are sent when nobody dies
	was    *memmail.Account // the source, as it has to stay
}

// live runs a process of this laboratory's engine.
func (l *crashLab) live(w *world, plan *death) life {
	if l.broken != nil {
		return w.live(l.t, plan, l.broken)
	}
	return w.live(l.t, plan)
}

// fault says that something is wrong.
func (l *crashLab) fault(format string, args ...any) {
	l.t.Helper()
	if l.found != nil {
		l.found(fmt.Sprintf(format, args...))
		return
	}
	l.t.Errorf(format, args...)
}

func (l *crashLab) run() {
	l.base = l.prepare()
	defer l.base.end()
	l.was = l.base.source.Clone()

	w := l.base.clone()
	first := l.live(w, nil)
	l.needed = first.p.messages
	if w.script != nil { // users worked meanwhile
		l.was = w.source.Clone()
	}
	if n := w.left(); n > 0 && !w.target.NoUIDPlus && !w.spec.back && !w.persona.unsure {
		l.fault("without a death: %d copies are left whose messages are gone", n)
	}
	l.judge(w, "without a death", first)
	if l.t.Failed() {
		return
	}
	var deaths []death
	for i, k := range first.p.steps {
		for _, how := range k.manners() {
			deaths = append(deaths, death{i, how})
		}
	}
	if l.found == nil && share(10) < 10 {
		l.rnd.Shuffle(len(deaths), func(i, j int) { deaths[i], deaths[j] = deaths[j], deaths[i] })
		deaths = deaths[:(len(deaths)+9)/10]
	}
	restarts := make([]int, len(deaths)) // how many steps each restart has
	for i, d := range deaths {
		restarts[i] = l.die(d, nil)
		if l.t.Failed() {
			return
		}
	}
	if len(deaths) > 0 {
		l.again(deaths, restarts)
	}
}

// prepare makes the world in which the pass begins that is to die.
func (l *crashLab) prepare() *world {
	w := newWorld(l.p)
	if l.sc.configure != nil {
		l.sc.configure(&w.cfg)
	}
	l.sc.fill(w)
	if l.sc.change != nil {
		was := w.source.Clone()
		first := l.live(w, nil)
		if first.err != nil {
			l.t.Fatalf("the first pass: %v", first.err)
		}
		time.Sleep(2 * settleTime)
		if d := w.differences(first.res, was); len(d) > 0 {
			l.t.Fatalf("the first pass:\n\t%s", strings.Join(d, "\n\t"))
		}
		l.sc.change(w)
	}
	return w
}

// die lives through one death, and a second one where it is planned, and the
// restart. It returns how many steps the restart had.
func (l *crashLab) die(d death, again *death) int {
	w := l.base.clone()
	defer w.end()
	was := l.was
	what := fmt.Sprintf("died %v step %d", d.how, d.step)
	first := l.live(w, &d)
	what += " (" + first.p.name(d.step) + ")"
	if l.sc.meanwhile != nil {
		l.sc.meanwhile(w)
		was = w.source.Clone()
	}
	sent := first.p.messages
	if again != nil {
		second := l.live(w, again)
		what += fmt.Sprintf(", and again %v step %d (%s)", again.how, again.step, second.p.name(again.step))
		sent += second.p.messages
		l.twice.Add(1)
	}
	last := l.live(w, nil)
	l.pairs.Add(1)
	l.was, was = was, l.was
	l.judge(w, what, last)
	l.was = was
	// What was in flight is what was handed over at a death and did not arrive.
	sent += last.p.messages
	if again := sent - l.needed; again > w.lost-l.base.lost && l.sc.meanwhile == nil && l.p == plain {
		l.fault("%s: %d messages were sent again, and %d were in flight", what, again, w.lost-l.base.lost)
	}
	return len(last.p.steps)
}

// again dies twice: at a sample of the pairs of moments, or at all of them.
func (l *crashLab) again(deaths []death, restarts []int) {
	n := share(samplePairs)
	if *large {
		for i, d := range deaths {
			for step := range restarts[i] {
				for _, how := range []manner{before, after, half, late} {
					l.die(d, &death{step, how})
					if l.t.Failed() {
						return
					}
				}
			}
		}
		return
	}
	for range n {
		i := l.rnd.IntN(len(deaths))
		if restarts[i] == 0 {
			continue
		}
		l.die(deaths[i], &death{l.rnd.IntN(restarts[i]), manner(l.rnd.IntN(4))})
		if l.t.Failed() {
			return
		}
	}
}

// samplePairs is how many second deaths each scenario tries.
const samplePairs = 40

// judge looks at what the last run left behind, when all that the server may
// still store has been stored, and lets another run find nothing to do.
func (l *crashLab) judge(w *world, what string, last life) {
	l.t.Helper()
	if last.err != nil {
		l.fault("%s: the run that had to end well: %v", what, last.err)
		return
	}
	time.Sleep(2 * settleTime)
	var faults []string
	faults = append(faults, w.differences(last.res, l.was)...)
	images := snapshot(w.target)
	idle := l.live(w, nil)
	switch {
	case idle.err != nil:
		faults = append(faults, fmt.Sprintf("the pass after it: %v", idle.err))
	case idle.p.messages > w.refusals():
		faults = append(faults, fmt.Sprintf("the pass after it sent %d messages", idle.p.messages))
	case !slices.Equal(images, snapshot(w.target)):
		faults = append(faults, "the pass after it changed the target")
	}
	time.Sleep(2 * settleTime)
	for _, f := range w.differences(idle.res, l.was) {
		faults = append(faults, "after another pass: "+f)
	}
	if len(faults) > 0 {
		l.fault("%s:\n\t%s", what, strings.Join(faults, "\n\t"))
	}
	if w.played < len(w.script) {
		l.fault("%s: Follow made %d passes of %d", what, w.played, len(w.script))
	}
	if w.source.Open() != 0 || w.target.Open() != 0 {
		l.fault("%s: %d and %d connections are left open", what, w.source.Open(), w.target.Open())
	}
}

// snapshot returns all messages of an account without their UIDs: a renumbered
// mailbox is the same.
func snapshot(a *memmail.Account) []string {
	var lines []string
	for _, path := range a.Paths() {
		for _, m := range a.Snapshot(path) {
			lines = append(lines, path+" "+line(m.Body, m.Flags, m.Date))
		}
	}
	slices.Sort(lines)
	return lines
}

// snapshotOf returns the messages of a mailbox of the target as want does.
func snapshotOf(w *world, path string) []string {
	var lines []string
	for _, m := range w.target.Snapshot(path) {
		lines = append(lines, w.line(m.Body, m.Flags, m.Date))
	}
	slices.Sort(lines)
	return lines
}
