package throttle

// What the loop makes of runs that its constants were not chosen on.

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"
)

var heldOut = flag.Int("throttle.seeds", 2, "runs of each simulated server that TestHeldOutSeeds makes")

// firstHeldOut is above all seeds that the constants were tuned on.
const firstHeldOut = 1000

// quantile returns the value below which a share of x lies.
func quantile(x []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(x))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// wander returns by how much the levels are off their median over all of the
// time, nine times out of ten and at most, and the share of the time in which it
// is by more than one connection.
func wander(levels []float64) (p90, most, beyond float64) {
	middle := quantile(levels, 0.5)
	off := make([]float64, len(levels))
	n := 0
	for i, l := range levels {
		off[i] = math.Abs(l - middle)
		if off[i] > 1 {
			n++
		}
	}
	return quantile(off, 0.9), slices.Max(off), float64(n) / float64(len(levels))
}

// TestHeldOutSeeds makes the runs of TestUsersOfAWeakServer and TestRecovery with
// other seeds. With -throttle.seeds=200 it shows the distribution that
// docs/throttling.md has.
func TestHeldOutSeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	best := map[string]float64{ // the best fixed limits of TestUsersOfAWeakServer
		"2 0.3": 0.75, "2 0.6": 0.25, "4 0.3": 2, "4 0.6": 1, "8 0.3": 7, "8 0.6": 3, "16 0.3": 15, "16 0.6": 8,
	}
	for _, c := range []int{2, 4, 8, 16} {
		for _, load := range []float64{0.3, 0.6} {
			t.Run(fmt.Sprintf("c=%d load=%.0f%%", c, 100*load), func(t *testing.T) {
				t.Parallel()
				var p95s, rates, backs, off, beyond []float64
				var base, bestRate float64
				for n := range *heldOut {
					w := weak{workers: c, load: load, length: 1800, warm: 300, seed: uint64(firstHeldOut + n)}
					if c >= 8 {
						w.length = 1000
					}
					base += w.run(nil).p95 / float64(*heldOut)
					bestRate += w.run(fixed(best[fmt.Sprint(c, " ", load)])).rate / float64(*heldOut)
					a := &adaptive{l: newLimiter(simEpoch, 2, 16, true)}
					o := w.run(a)
					p95s, rates = append(p95s, o.p95), append(rates, o.rate)
					_, most, share := wander(a.levels[600:])
					off, beyond = append(off, most), append(beyond, share)

					w.length = 1320
					w.slow = func(t float64) float64 {
						if t >= 900 && t < 1020 {
							return 0.9 / load
						}
						return 1
					}
					o = w.run(&adaptive{l: newLimiter(simEpoch, 2, 16, true)})
					backs = append(backs, average64(o.second[1080:1200])/average64(o.second[600:900]))
				}
				for i := range p95s {
					p95s[i] = 100 * (p95s[i]/base - 1)
					rates[i] = 100 * rates[i] / bestRate
					backs[i] *= 100
				}
				over, under := 0, 0
				for i := range p95s {
					if p95s[i] > 20 {
						over++
					}
					if rates[i] < 70 {
						under++
					}
				}
				t.Logf("| %d | %.0f %% | %+.0f %% (%+.0f … %+.0f) %d | %.0f %% (%.0f … %.0f) %d | %.0f %% (%.0f) | %.1f, %.1f; %.3f, %.3f |", c, 100*load,
					average64(p95s), quantile(p95s, 0.05), quantile(p95s, 0.95), over,
					average64(rates), quantile(rates, 0.05), quantile(rates, 0.95), under,
					average64(backs), quantile(backs, 0.05), quantile(off, 0.5), quantile(off, 0.95), quantile(beyond, 0.5), quantile(beyond, 0.95))
				mostP95, leastRate, leastBack := 20.0, 70.0, 90.0
				if *heldOut < 20 { // a few runs say no more than this
					mostP95, leastRate, leastBack = 30, 60, 60
				}
				if m := average64(p95s); m > mostP95 {
					t.Errorf("the users' 95th percentile is up by %.0f %%", m)
				}
				if m := average64(rates); m < leastRate {
					t.Errorf("%.0f %% of the best fixed limit's rate", m)
				}
				if m := average64(backs); m < leastBack {
					t.Errorf("%.0f %% of the rate is back after a minute", m)
				}
				if m := quantile(off, 0.5); m > 2 {
					t.Errorf("the limit goes %.1f away from its median", m)
				}
			})
		}
	}
}
