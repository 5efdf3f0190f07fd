// Deadlines of one end of a connection.

package mempipe

import (
	"sync"
	"time"
)

// deadline calls set(true) when its time has come and set(false) when it is
// moved into the future.
type deadline struct {
	set func(expired bool)

	mu         sync.Mutex // protects all below
	timer      *time.Timer
	generation int // of the timer that counts; an older one that fires late is ignored
	stopped    bool
}

func (d *deadline) reset(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.generation++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.stopped {
		return
	}
	var wait time.Duration
	if !t.IsZero() {
		if wait = time.Until(t); wait <= 0 {
			d.set(true)
			return
		}
	}
	d.set(false)
	if t.IsZero() {
		return
	}
	generation := d.generation
	d.timer = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.generation == generation {
			d.set(true)
		}
	})
}

// stop ends the timer for good.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.generation++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
