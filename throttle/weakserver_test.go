package throttle

// A weak server, simulated: a queue in front of c workers, with a user's
// commands and ours.

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const meanService = 0.040 // seconds

// weak is a simulated server. Its time is in seconds.
type weak struct {
	workers int
	load    float64                 // of the workers' time that the users take
	slow    func(t float64) float64 // how much longer everything takes; nil: no longer
	length  float64                 // of the run
	warm    float64                 // what comes before is not measured
	seed    uint64
}

// governor says how many commands may be at work.
type governor interface {
	active(t float64) (n int, until float64)
	sample(t float64, others int, latency float64)
}

type event struct {
	t    float64
	kind int // 0: a user's command arrives, 1: a command is done, 2: the governor may have another mind
	task task
}

type task struct {
	begun  float64
	ours   bool
	others int
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].t < e[j].t }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// outcome is what came of a run.
type outcome struct {
	p95    float64   // of the users' commands
	rate   float64   // of our commands, a second
	second []float64 // our commands, by second of the run
}

func (w weak) run(g governor) outcome {
	r := rand.New(rand.NewPCG(w.seed, 7))
	sigma := math.Sqrt(math.Log(2)) // the service times vary as much as they last
	service := func(t float64) float64 {
		s := meanService * math.Exp(r.NormFloat64()*sigma-sigma*sigma/2)
		if w.slow != nil {
			s *= w.slow(t)
		}
		return s
	}
	arrivals := w.load * float64(w.workers) / meanService
	var (
		agenda  events
		queue   []task
		waits   []float64
		busy    int
		inHand  int
		asked   = -1.0 // the next event of kind 2
		out     = outcome{second: make([]float64, int(w.length)+1)}
		counted int
	)
	begin := func(t float64, x task) {
		if busy < w.workers {
			busy++
			heap.Push(&agenda, event{t + service(t), 1, x})
			return
		}
		queue = append(queue, x)
	}
	fill := func(t float64) {
		if g == nil {
			return
		}
		n, until := g.active(t)
		for inHand < n {
			begin(t, task{t, true, inHand})
			inHand++
		}
		if asked <= t {
			asked = max(until, t+0.001)
			heap.Push(&agenda, event{t: asked, kind: 2})
		}
	}
	heap.Push(&agenda, event{t: r.ExpFloat64() / arrivals})
	heap.Push(&agenda, event{kind: 2})
	for agenda.Len() > 0 {
		e := heap.Pop(&agenda).(event)
		if e.t > w.length {
			break
		}
		switch e.kind {
		case 0:
			begin(e.t, task{begun: e.t})
			heap.Push(&agenda, event{t: e.t + r.ExpFloat64()/arrivals})
		case 1:
			busy--
			if len(queue) > 0 {
				x := queue[0]
				queue = queue[1:]
				begin(e.t, x)
			}
			switch {
			case e.task.ours:
				inHand--
				out.second[int(e.t)]++
				if e.t > w.warm {
					counted++
				}
				g.sample(e.t, e.task.others, e.t-e.task.begun)
			case e.task.begun > w.warm:
				waits = append(waits, e.t-e.task.begun)
			}
			fill(e.t)
		case 2:
			fill(e.t)
		}
	}
	slices.Sort(waits)
	out.p95 = waits[len(waits)*95/100]
	out.rate = float64(counted) / (w.length - w.warm)
	return out
}

// fixed is a limit that never changes; below one it is a duty cycle.
type fixed float64

func (f fixed) active(t float64) (int, float64) {
	whole, part := math.Modf(float64(f))
	at := math.Mod(t, 4)
	if at < part*4 {
		return int(whole) + 1, t - at + part*4
	}
	return int(whole), t - at + 4
}

func (fixed) sample(float64, int, float64) {}

// adaptive is the limiter of the package.
type adaptive struct {
	l      *limiter
	levels []float64 // by second
}

var simEpoch = time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC)

func at(t float64) time.Time { return simEpoch.Add(time.Duration(t * float64(time.Second))) }

func (a *adaptive) active(t float64) (int, float64) {
	a.l.adjust(at(t))
	for len(a.levels) <= int(t) {
		a.levels = append(a.levels, a.l.level)
	}
	n, until := a.l.active(at(t))
	return n, until.Sub(simEpoch).Seconds()
}

func (a *adaptive) sample(t float64, others int, latency float64) {
	a.l.sample(at(t), others, time.Duration(latency*float64(time.Second)))
}

// plain is what is usually done: one more each five seconds, half when the mean
// of the last twenty commands is twice the long-term average.
type plain struct {
	level       float64
	most        float64
	next, cut   float64
	short, long average
	levels      []float64
}

func (p *plain) active(t float64) (int, float64) {
	if t >= p.next {
		p.next = t + 5
		p.level = min(p.level+1, p.most)
	}
	for len(p.levels) <= int(t) {
		p.levels = append(p.levels, p.level)
	}
	return int(p.level), p.next
}

func (p *plain) sample(t float64, _ int, latency float64) {
	p.short.add(latency, 20)
	p.long.add(latency, 2000)
	if p.short.n > 20 && p.short.mean > 2*p.long.mean && t > p.cut+5 {
		p.cut, p.next = t, t+5
		p.level = max(1, p.level/2)
	}
}
