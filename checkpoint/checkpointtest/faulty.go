// A Store that fails on purpose.

package checkpointtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/mailhaul/mailhaul/checkpoint"
)

// ErrInjected is what a [Faulty] returns where the test did not name an error
// of its own.
var ErrInjected = errors.New("injected fault")

// ErrCrashed is what a [Faulty] returns for each call after Crash: the process
// that makes it is meant to be dead.
var ErrCrashed = errors.New("crashed on purpose")

// Op is a method of a Store.
type Op uint8

const (
	Get Op = iota
	Scan
	Commit
)

// String returns the method's name.
func (o Op) String() string {
	return [...]string{"Get", "Scan", "Commit"}[o]
}

// Call is one call of a Store. Close is not counted, and never fails.
type Call struct {
	Op     Op
	N      int             // among all calls, from 1
	Commit int             // among the Commits, from 1; of other calls the number of Commits so far
	Ops    []checkpoint.Op // of a Commit; not to be kept or changed
}

// Fault is what becomes of a [Call]. The zero Fault lets it pass.
type Fault struct {
	// Err fails the call, without it having had any effect.
	Err error
	// After lets the call take effect first: the disk has it, and nobody was
	// told.
	After bool
	// Crash fails each later call, with ErrCrashed, and this one too where Err
	// is nil.
	Crash bool
}

// Faulty is a Store in front of another. It is safe for concurrent use; calls
// are numbered as they come.
type Faulty struct {
	inner checkpoint.Store
	plan  func(Call) Fault

	mu      sync.Mutex // protects what follows
	calls   int
	commits int
	crashed bool
}

// NewFaulty returns a Store that asks plan about each call before it makes it.
// A nil plan lets everything pass. plan is called by one goroutine at a time.
func NewFaulty(inner checkpoint.Store, plan func(Call) Fault) *Faulty {
	return &Faulty{inner: inner, plan: plan}
}

// FailCall is a plan: the n-th call fails, counted from 1, and no other.
func FailCall(n int, err error) func(Call) Fault {
	return func(c Call) Fault {
		if c.N == n {
			return Fault{Err: orInjected(err)}
		}
		return Fault{}
	}
}

// FailCommit is a plan: the n-th Commit fails, counted from 1, after it took
// effect or without.
func FailCommit(n int, after bool, err error) func(Call) Fault {
	return func(c Call) Fault {
		if c.Op == Commit && c.Commit == n {
			return Fault{Err: orInjected(err), After: after}
		}
		return Fault{}
	}
}

// CrashAtCommit is a plan: the process dies in its n-th Commit, counted from 1.
// The Commit took effect where after is set. All later calls fail, so what the
// inner Store holds stays as it was at that moment.
func CrashAtCommit(n int, after bool) func(Call) Fault {
	return func(c Call) Fault {
		if c.Op == Commit && c.Commit == n {
			return Fault{After: after, Crash: true}
		}
		return Fault{}
	}
}

func orInjected(err error) error {
	if err == nil {
		return ErrInjected
	}
	return err
}

// Calls returns how many calls there were, Commits how many of them were
// Commits: first run a test without faults, then with one at each number.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Commits returns how many Commits there were.
func (f *Faulty) Commits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commits
}

// Crash lets the process die now.
func (f *Faulty) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
}

// Crashed reports whether the process has died.
func (f *Faulty) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.crashed
}

// Unwrap returns the Store behind.
func (f *Faulty) Unwrap() checkpoint.Store { return f.inner }

// begin counts a call and returns what is to become of it.
func (f *Faulty) begin(op Op, ops []checkpoint.Op) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return Fault{Err: ErrCrashed}
	}
	f.calls++
	if op == Commit {
		f.commits++
	}
	if f.plan == nil {
		return Fault{}
	}
	fault := f.plan(Call{Op: op, N: f.calls, Commit: f.commits, Ops: ops})
	if fault.Crash {
		f.crashed = true
		if fault.Err == nil {
			fault.Err = ErrCrashed
		}
	}
	if fault.Err != nil {
		fault.Err = fmt.Errorf("%v, call %d: %w", op, f.calls, fault.Err)
	}
	return fault
}

// Get implements checkpoint.Store.
func (f *Faulty) Get(ctx context.Context, key []byte) ([]byte, error) {
	if fault := f.begin(Get, nil); fault.Err != nil {
		return nil, fault.Err
	}
	return f.inner.Get(ctx, key)
}

// Scan implements checkpoint.Store. A fault with After comes behind the last
// entry, another one before the first; a crash ends the Scans under way.
func (f *Faulty) Scan(ctx context.Context, prefix, from []byte) iter.Seq2[checkpoint.KeyValue, error] {
	return func(yield func(checkpoint.KeyValue, error) bool) {
		fault := f.begin(Scan, nil)
		if fault.Err != nil && !fault.After {
			yield(checkpoint.KeyValue{}, fault.Err)
			return
		}
		for kv, err := range f.inner.Scan(ctx, prefix, from) {
			if err == nil && f.Crashed() && !fault.Crash {
				kv, err = checkpoint.KeyValue{}, ErrCrashed
			}
			if !yield(kv, err) || err != nil {
				return
			}
		}
		if fault.Err != nil {
			yield(checkpoint.KeyValue{}, fault.Err)
		}
	}
}

// Commit implements checkpoint.Store.
func (f *Faulty) Commit(ctx context.Context, ops []checkpoint.Op) error {
	fault := f.begin(Commit, ops)
	if fault.Err != nil && !fault.After {
		return fault.Err
	}
	if err := f.inner.Commit(ctx, ops); err != nil {
		return err
	}
	return fault.Err
}

// Close implements checkpoint.Store: it closes the Store behind.
func (f *Faulty) Close() error { return f.inner.Close() }
