package throttle

// What the loop makes of the simulated server.

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var plotTo = flag.String("throttle.plot", "", "write the plot of a run on a weak server to this file")

const seeds = 3

// mean runs the server with the governors that make returns, and returns the
// means over the seeds.
func (w weak) mean(runs int, make func() governor) (p95, rate float64) {
	for seed := range uint64(runs) {
		w.seed = seed + 1
		o := w.run(make())
		p95 += o.p95 / float64(runs)
		rate += o.rate / float64(runs)
	}
	return p95, rate
}

// TestUsersOfAWeakServer: the 95th percentile of the users' waits rises by no
// more than a fifth, while ours is at least seven tenths of the rate of the best
// fixed limit of which the same is true.
func TestUsersOfAWeakServer(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for _, c := range []int{2, 4, 8, 16} {
		for _, load := range []float64{0.3, 0.6} {
			t.Run(fmt.Sprintf("c=%d load=%.0f%%", c, 100*load), func(t *testing.T) {
				t.Parallel()
				w := weak{workers: c, load: load, length: 1800, warm: 300}
				if c >= 8 {
					w.length = 1000 // it has more to tell in a second
				}
				base, _ := w.mean(seeds, func() governor { return nil })

				var best, bestRate float64
				for _, k := range []float64{0.125, 0.25, 0.375, 0.5, 0.75, 1, 2, 3, 4, 6, 7, 8, 9, 14, 15} {
					p95, rate := w.mean(seeds, func() governor { return fixed(k) })
					if p95 > 1.2*base {
						break
					}
					best, bestRate = k, rate
				}
				unlimitedP95, unlimitedRate := w.mean(1, func() governor { return fixed(16) })
				plainP95, plainRate := w.mean(seeds, func() governor { return &plain{level: 2, most: 16} })
				var runs []*adaptive
				p95, rate := w.mean(seeds, func() governor {
					runs = append(runs, &adaptive{l: newLimiter(simEpoch, 2, 16, true)})
					return runs[len(runs)-1]
				})
				percent := func(p float64) float64 { return 100 * (p/base - 1) }
				var off, beyond float64 // of one level, the median of all of the time
				for _, a := range runs {
					_, most, share := wander(a.levels[600:])
					off, beyond = max(off, most), max(beyond, share)
				}
				t.Logf("| %d | %.0f %% | %g | %.0f/s | %+.0f %% | %.0f/s (%.0f %%) | %+.0f %% | %.0f/s | %+.0f %% | %.0f/s | %.1f, %.3f", c, 100*load, best, bestRate,
					percent(p95), rate, 100*rate/bestRate, percent(plainP95), plainRate, percent(unlimitedP95), unlimitedRate, off, beyond)
				if p95 > 1.2*base {
					t.Errorf("the users' 95th percentile is up by %.0f %%", percent(p95))
				}
				if rate < 0.7*bestRate {
					t.Errorf("%.1f commands a second, where a limit of %g allows %.1f", rate, best, bestRate)
				}
				// With many workers one connection is a small part of the limit,
				// and the users' waits hardly tell 13 of ours from 14: there it
				// wanders a little, over minutes.
				most, beyondMost := 1.25, 0.02
				if c >= 8 {
					most, beyondMost = 2, 0.2
				}
				if off > most || beyond > beyondMost {
					t.Errorf("the limit goes %.1f away from its median, and is more than one connection off %.1f %% of the time", off, 100*beyond)
				}
			})
		}
	}
}

// TestRecovery: for two minutes everything takes so much longer that the users
// alone take nine tenths of the server; a minute later we are back at 90 %.
func TestRecovery(t *testing.T) {
	for _, c := range []int{2, 4, 8, 16} {
		for _, load := range []float64{0.3, 0.6} {
			t.Run(fmt.Sprintf("c=%d load=%.0f%%", c, 100*load), func(t *testing.T) {
				var before, during, after float64
				for seed := range uint64(seeds) {
					w := weak{workers: c, load: load, length: 1320, warm: 300, seed: seed + 1, slow: func(t float64) float64 {
						if t >= 900 && t < 1020 {
							return 0.9 / load
						}
						return 1
					}}
					o := w.run(&adaptive{l: newLimiter(simEpoch, 2, 16, true)})
					before += average64(o.second[600:900])
					during += average64(o.second[960:1020])
					after += average64(o.second[1080:1200])
				}
				t.Logf("%.1f/s before, %.1f/s while the server struggled, %.1f/s from a minute after (%.0f %%)", before/seeds, during/seeds, after/seeds, 100*after/before)
				if after < 0.9*before {
					t.Errorf("only %.0f %% of the rate is back", 100*after/before)
				}
				if during > before/2 {
					t.Errorf("the server was not left alone: %.1f/s of %.1f/s", during/seeds, before/seeds)
				}
			})
		}
	}
}

func average64(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// TestPlot draws a run on a server with eight workers.
func TestPlot(t *testing.T) {
	if *plotTo == "" {
		t.Skip("no -throttle.plot")
	}
	w := weak{workers: 8, load: 0.6, length: 1320, warm: 300, seed: 1, slow: func(t float64) float64 {
		if t >= 600 && t < 720 {
			return 1.5
		}
		return 1
	}}
	a := &adaptive{l: newLimiter(simEpoch, 2, 16, true)}
	p := &plain{level: 2, most: 16}
	w.run(a)
	w.run(p)
	var b strings.Builder
	const wide, high, left, top = 900, 300, 60, 40
	x := func(s int) float64 { return left + float64(s)/1320*wide }
	y := func(l float64) float64 { return top + high - l/16*high }
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", wide+left+30, high+top+60)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><rect x="%.0f" y="%d" width="%.0f" height="%d" fill="#fde8d0"/>`+"\n", x(600), top, x(720)-x(600), high)
	fmt.Fprintf(&b, `<text x="%.0f" y="%d">the server is slow</text>`+"\n", x(600)-10, top-8)
	for l := 0; l <= 16; l += 4 {
		fmt.Fprintf(&b, `<path d="M%d %.0fh%d" stroke="#ddd"/><text x="%d" y="%.0f" text-anchor="end">%d</text>`+"\n", left, y(float64(l)), wide, left-8, y(float64(l))+4, l)
	}
	for s := 0; s <= 1320; s += 120 {
		fmt.Fprintf(&b, `<text x="%.0f" y="%d" text-anchor="middle">%d</text>`+"\n", x(s), high+top+20, s/60)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">minutes; 8 workers, users take 60 %% of them</text>`+"\n", left+wide/2, high+top+45)
	draw := func(levels []float64, color, name string, at int) {
		fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="1.5" d="`, color)
		for s := 0; s < len(levels); s += 5 {
			fmt.Fprintf(&b, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[s == 0], x(s), y(levels[s]))
		}
		fmt.Fprintf(&b, `"/><text x="%d" y="20" fill="%s">%s</text>`+"\n", at, color, name)
	}
	draw(p.levels, "#999999", "plain AIMD: commands at work", left)
	draw(a.levels, "#0055aa", "this package", left+230)
	b.WriteString("</svg>\n")
	if err := os.WriteFile(*plotTo, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
