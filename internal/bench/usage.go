// What a run costs this process.

package bench

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// Usage is what was used between Measure and Stop.
type Usage struct {
	CPU      time.Duration // of all threads, user and system; 0 where the system does not tell
	PeakHeap uint64        // octets of live objects and of garbage not yet collected
	PeakRSS  uint64        // resident memory; 0 where the system does not tell
	Allocs   uint64        // objects allocated on the heap
}

// Meter measures a Usage.
type Meter struct {
	cpu    time.Duration
	allocs uint64
	peak   uint64
	stop   chan struct{}
	done   sync.WaitGroup
}

const (
	heapObjects = "/memory/classes/heap/objects:bytes"
	heapAllocs  = "/gc/heap/allocs:objects"
)

func allocated() uint64 {
	sample := []metrics.Sample{{Name: heapAllocs}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Measure begins. The heap is collected first, so that what was there before
// does not count; what is still referred to does.
func Measure() *Meter {
	runtime.GC()
	resetPeakRSS()
	m := &Meter{cpu: cpuTime(), allocs: allocated(), stop: make(chan struct{})}
	m.done.Go(func() {
		sample := []metrics.Sample{{Name: heapObjects}}
		start := time.Now()
		tick := time.NewTimer(0)
		defer tick.Stop()
		for {
			metrics.Read(sample)
			m.peak = max(m.peak, sample[0].Value.Uint64())
			// Ever more seldom, so that a long run does not pay for being
			// watched.
			tick.Reset(max(time.Millisecond, time.Since(start)/100))
			select {
			case <-m.stop:
				return
			case <-tick.C:
			}
		}
	})
	return m
}

// Stop ends the measurement.
func (m *Meter) Stop() Usage {
	u := Usage{CPU: cpuTime() - m.cpu, Allocs: allocated() - m.allocs}
	close(m.stop)
	m.done.Wait()
	u.PeakHeap, u.PeakRSS = m.peak, peakRSS()
	return u
}
