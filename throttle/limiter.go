package throttle

// How much of ours may be at work at a time: the loop that listens to a server.
// Everything here is arithmetic over a time that is passed in; the goroutines
// are in account.go.

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// The loop goes in cycles. A part of each is a pause for reference, in which no
// more than one command is at work, and a part is a look ahead, in which one
// more is at work than the limit says. The first tells what the server is like
// without us, the second what a user would meet beside us: a command that finds
// n of ours at work waits as long as a user's does.
const (
	cycle      = 5 * time.Second
	reference  = 0.08 // share of a cycle
	firstShare = 0.30 // the same, until there is a reference
	ahead      = 0.04

	memory    = 400 // samples that an average remembers
	shortTerm = 50  // the same, of the average that notices a struggle
	enough    = 20  // samples without which an average says nothing

	struggle = 2.5 // times the long-term average: the server struggles
	relieved = 1.5 // and below this it does no longer
	patience = 5 * time.Minute

	least = 1.0 / 16 // of one connection's time

	cleanWindow  = 30 * time.Second // without a signal, before one more is tried
	firstBackoff = 30 * time.Second
	lastBackoff  = 30 * time.Minute
)

// tolerance is by how much the mean wait of a user's command may rise, so that
// its 95th percentile rises by a fifth. A server that stands several of ours has
// several workers, and with more workers the same rise of the mean goes with a
// smaller one of the percentile: in simulations the mean may be up by a fifth
// where half a connection is what the server stands, by 0.3 at two, and by 0.4 at
// eight. What is aimed at is a little less.
func tolerance(level float64) float64 { return min(0.14+0.04*level, 0.36) }

// average is an exponential average that begins as an arithmetic one.
type average struct {
	n    int
	mean float64
}

func (a *average) add(x float64, memory int) {
	a.n++
	a.mean += (x - a.mean) / float64(min(a.n, memory))
}

// limiter is one loop. It is not safe for concurrent use.
type limiter struct {
	cap    float64 // the level never rises above it
	epoch  time.Time
	listen bool // for how many at work a user would notice
	watch  bool // for a server that struggles

	level   float64 // how many may be at work, on average
	ceiling float64 // what a refusal has left, and clean windows have added
	clean   time.Time
	steady  float64 // the level's average over a minute or so
	before  float64 // the level before the server began to struggle; 0: it does not

	seen  []average // latencies, by how many others of ours were at work
	older []average // what seen was one snapshot before old
	old   []average // what seen was when the last snapshot was taken
	snap  time.Time // of that
	ratio average   // of latencies to their averages, short-term
	heard time.Time // when ratio got its last sample
	since time.Time // when the struggle began
	step  time.Time // of the next adjustment
	cut   time.Time // of the last halving for latency

	strikes int // refusals in a row
	paused  time.Time
	reason  string // of the pause
}

func newLimiter(now time.Time, start, most float64, listen bool) *limiter {
	return &limiter{
		cap: most, level: min(start, most), ceiling: most, epoch: now, listen: listen, watch: true,
		step: now.Add(cycle), seen: make([]average, 1),
	}
}

// share is the part of a cycle that is spent on the reference.
func (l *limiter) share() float64 {
	if l.seen[0].n < 2*enough {
		return firstShare
	}
	return reference
}

// ceil is how many are at work at most, in the ordinary part of a cycle.
func (l *limiter) ceil() int { return int(math.Ceil(l.level - 0.05)) }

// ahead is the part of a cycle that is spent on looking ahead.
func (l *limiter) ahead() float64 {
	if !l.listen || l.ceil() >= int(l.cap) {
		return 0
	}
	return ahead * min(1, max(l.level, 0.25))
}

// active returns how many may be at work now, and until when that holds if
// nothing happens.
func (l *limiter) active(now time.Time) (n int, until time.Time) {
	if now.Before(l.paused) {
		return 0, l.paused
	}
	if math.IsInf(l.level, 1) {
		return math.MaxInt32, now.Add(time.Hour)
	}
	start := now.Add(-now.Sub(l.epoch) % cycle)
	at := float64(now.Sub(start)) / float64(cycle)
	edge := func(share float64) time.Time {
		return start.Add(time.Duration(math.Ceil(share * float64(cycle))))
	}
	whole, part := math.Floor(l.level), l.level-math.Floor(l.level)
	more := min(l.ceil()+1, int(l.cap))
	if !l.listen {
		more = max(1, l.ceil())
	}
	look := l.ahead()
	if l.level < 1 { // one at work, then two, then none, so that the one finds no leavings
		switch on := (1 - look) * part; {
		case at < on:
			return 1, edge(on)
		case at < on+look:
			return more, edge(on + look)
		}
		return 0, edge(1)
	}
	from := 0.0
	if l.listen && l.level > 1 {
		if from = l.share(); at < from {
			return 1, edge(from)
		}
	}
	if from += look; at < from {
		return more, edge(from)
	}
	if bound := from + (1-from)*part; at < bound {
		return int(whole) + 1, edge(bound)
	}
	return int(whole), edge(1)
}

// tainted reports whether a command that ran alone began while the server was
// still busy with what more of ours had left.
func (l *limiter) tainted(begun time.Time) bool {
	if l.level <= 1 || !l.listen {
		return false
	}
	settle := min(time.Duration(3*l.seen[0].mean*float64(time.Second)), time.Duration(l.share()*float64(cycle)/2))
	return begun.Sub(l.epoch)%cycle < settle
}

// harm estimates by which share the mean wait of a user's command is longer
// while n of ours are at work.
func (l *limiter) harm(n int) float64 {
	base := l.seen[0].mean
	if n <= 0 || base <= 0 {
		return 0
	}
	h, slope := 0.0, 0.0
	for i := 1; i <= n; i++ {
		if i < len(l.seen) && l.seen[i].n >= enough {
			next := max(h, l.seen[i].mean/base-1)
			slope, h = next-h, next
		} else {
			h += slope
		}
	}
	return h
}

// total estimates the harm of a level, with what is spent on looking ahead.
func (l *limiter) total() float64 {
	whole := int(l.level)
	part := l.level - float64(whole)
	h := (1-part)*l.harm(whole) + part*l.harm(whole+1)
	look := l.ahead()
	return (1-look)*h + look*l.harm(l.ceil()+1)
}

// sample takes in how long the server took to begin an answer while others
// commands of ours were at work.
func (l *limiter) sample(now time.Time, others int, latency time.Duration) {
	if !l.watch || latency < 0 {
		return
	}
	if !l.listen {
		others = 0
	}
	for others >= len(l.seen) {
		l.seen = append(l.seen, average{})
	}
	if others == 0 && l.tainted(now.Add(-latency)) {
		return
	}
	a := &l.seen[others]
	x := latency.Seconds()
	if a.n >= enough && a.mean > 0 {
		r := min(x/a.mean, 20) // one lost packet is no struggle
		// While little is at work samples are rare, and old ones say little.
		weight := min(0.5, now.Sub(l.heard).Seconds()/10)
		l.ratio.add(r, min(shortTerm, int(1/max(weight, 1e-3))))
		l.heard = now
		x = min(x, 20*a.mean)
	}
	// What is measured in a struggle must not become the measure, unless it
	// does not end.
	if l.before == 0 || now.Sub(l.since) > patience {
		a.add(x, memory)
	}
	if l.ratio.n >= shortTerm && l.ratio.mean > struggle {
		l.struggling(now)
	}
}

// struggling halves the level, no more than once in two cycles.
func (l *limiter) struggling(now time.Time) {
	if l.before == 0 {
		l.before, l.since = max(l.level, l.steady), now
		if l.older != nil { // what was measured while it began is left out
			l.seen = slices.Clone(l.older)
			l.older, l.old = nil, nil
		}
	}
	if now.Sub(l.cut) < 2*cycle {
		return
	}
	l.cut = now
	l.level = max(l.level/2, l.before/16, least)
}

// strained reports whether the server struggles.
func (l *limiter) strained() bool { return l.ratio.n >= shortTerm && l.ratio.mean > relieved }

// adjust moves the level, once a cycle. It reports whether it did.
func (l *limiter) adjust(now time.Time) bool {
	if now.Before(l.step) || now.Before(l.paused) {
		return false
	}
	l.step = now.Add(cycle)
	was := l.level
	if l.before == 0 && now.Sub(l.snap) >= cleanWindow {
		l.older, l.old, l.snap = l.old, slices.Clone(l.seen), now
	}
	if (l.ceiling < l.cap || l.strikes > 0) && now.Sub(l.clean) >= cleanWindow {
		l.ceiling = min(math.Floor(l.ceiling)+1, l.cap)
		l.clean = now
		l.strikes = max(0, l.strikes-1)
	}
	switch {
	case l.strained():
		if now.Sub(l.since) > patience { // this is what the server is like now
			l.before, l.ratio = 0, average{}
		}
	case l.before > 0:
		l.level *= 2
		if l.level >= l.before {
			l.level, l.before = l.before, 0
		}
	case !l.listen:
		l.level = l.ceiling
	case l.seen[0].n < enough:
	default:
		t := tolerance(l.level)
		e := max(-1, min(1, (t-l.total())/t))
		if e < 0 {
			l.level *= 1 + 0.2*e
		} else {
			l.level += min(0.1*e*l.level, 0.5)
		}
	}
	l.level = max(least, min(l.level, l.ceiling, l.cap))
	if l.before == 0 && !math.IsInf(l.level, 1) {
		if l.steady == 0 {
			l.steady = l.level
		}
		l.steady += (l.level - l.steady) * cycle.Seconds() / 60
	}
	return l.level != was
}

// refused takes in that the server asked for less: the level is halved, and
// nothing is sent until the pause ends. hint is the time that the server named,
// 0 for none. Refusals that come while a pause lasts are answers to what was
// sent before it: they may make it longer and cost nothing more.
func (l *limiter) refused(now time.Time, hint time.Duration, reason string) {
	if !now.Before(l.paused) {
		l.ceiling = max(least, min(l.level, l.ceiling)/2)
		l.level = l.ceiling
		l.before, l.steady = 0, 0
		l.strikes++
	}
	l.clean = now
	until := now.Add(hint)
	if hint <= 0 {
		until = now.Add(backoff(l.strikes))
	}
	if until.After(l.paused) {
		l.paused, l.reason = until, reason
		l.clean = until
	}
}

// backoff returns the pause after the n-th refusal in a row where the server
// names no time: it doubles, and all of it is left to chance but for a second,
// so that those who were refused together do not come back together.
func backoff(n int) time.Duration {
	d := lastBackoff
	if n < 8 {
		d = min(lastBackoff, firstBackoff<<max(n-1, 0))
	}
	return time.Second + rand.N(d)
}

// rests pauses without a cut.
func (l *limiter) rests(now time.Time, d time.Duration) {
	if until := now.Add(d); until.After(l.paused) {
		l.paused, l.reason = until, "the server refused a connection"
	}
}

// setCap changes what the level may rise to.
func (l *limiter) setCap(most float64) {
	if l.ceiling >= l.cap {
		l.ceiling = most
	}
	l.cap = most
	l.ceiling = min(l.ceiling, most)
	l.level = min(l.level, l.ceiling)
}
