// Each call of the checkpoint's disk fails once.

package faultlab

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// errDisk is what the checkpoint package makes of a disk that fails.
var errDisk = &mailhaul.Error{Op: "write checkpoint", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeServer,
	Err: errors.New("the disk fails"), Hint: "put the file on a sound disk"}

// TestEachCallOfTheDiskFails lets the n-th call of the Store fail, for every n,
// before and after it took effect. The run ends with an error that names the
// disk, or was not concerned; the next one finishes the work.
func TestEachCallOfTheDiskFails(t *testing.T) {
	var tried atomic.Int64
	t.Run("scenarios", func(t *testing.T) {
		for _, sc := range scenarios {
			for _, p := range personas[:3] {
				if p != plain && !sc.core {
					continue
				}
				if p == plain && sc.with != nil {
					p = sc.with
				}
				t.Run(sc.name+", "+p.name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { failEachCall(t, &crashLab{t: t, sc: sc, p: p}, &tried) })
				})
			}
		}
	})
	if !filtered() {
		reached(t, "calls of the disk that failed", &tried, share(3000))
	}
}

func failEachCall(t *testing.T, l *crashLab, tried *atomic.Int64) {
	l.base = l.prepare()
	defer l.base.end()
	first := l.base.source.Clone()
	step := 1
	if share(10) < 10 {
		step = 10
	}
	for n := 1; ; n += step {
		reachedCall := false
		for _, late := range []bool{false, true} {
			w := l.base.clone()
			l.was = first
			faulty := checkpointtest.NewFaulty(w.disk, func(c checkpointtest.Call) checkpointtest.Fault {
				if c.N != n {
					return checkpointtest.Fault{}
				}
				reachedCall = true
				return checkpointtest.Fault{Err: errDisk, After: late}
			})
			broken := w.live(t, nil, func(c *mailsync.Config) { c.Store = faulty })
			if reachedCall {
				tried.Add(1)
				what := fmt.Sprintf("call %d failed (late=%v)", n, late)
				if broken.err != nil && !errors.Is(broken.err, errDisk) {
					t.Errorf("%s: the error does not name the disk: %v", what, broken.err)
				}
				if broken.err == nil && broken.res.Complete() {
					time.Sleep(2 * settleTime)
					if d := w.differences(broken.res, w.source.Clone()); len(d) > 0 {
						t.Errorf("%s: success was claimed, but\n\t%s", what, strings.Join(d, "\n\t"))
					}
				}
				if l.sc.meanwhile != nil {
					l.sc.meanwhile(w)
					l.was = w.source.Clone()
				}
				last := w.live(t, nil)
				if w.script != nil { // users worked meanwhile
					l.was = w.source.Clone()
				}
				l.judge(w, what, last)
			}
			w.end()
			if t.Failed() {
				return
			}
		}
		if !reachedCall {
			return
		}
	}
}
