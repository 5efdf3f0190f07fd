// Test servers outside of a test.

package bench

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// outside is a testing.TB for what runs outside of a test: package testserver
// starts and ends its servers with one. It has only the methods that are
// needed for that.
type outside struct {
	testing.TB // nil

	mu       sync.Mutex // protects what follows
	cleanups []func()
	failed   bool
}

// stopped is what Fatalf and Skipf panic with.
type stopped struct {
	text    string
	skipped bool
}

func (*outside) Helper() {}

func (o *outside) Cleanup(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cleanups = append(o.cleanups, f)
}

func (o *outside) Failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

func (*outside) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (o *outside) Errorf(format string, args ...any) {
	o.mu.Lock()
	o.failed = true
	o.mu.Unlock()
	o.Logf(format, args...)
}

func (*outside) Fatalf(format string, args ...any) {
	panic(stopped{text: fmt.Sprintf(format, args...)})
}

func (*outside) Skipf(format string, args ...any) {
	panic(stopped{text: fmt.Sprintf(format, args...), skipped: true})
}

// try calls f and returns what Fatalf or Skipf said, if one was called.
func (o *outside) try(f func()) (said *stopped) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			said = &r
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// end does what was left to Cleanup, the last first.
func (o *outside) end() {
	for {
		o.mu.Lock()
		n := len(o.cleanups)
		if n == 0 {
			o.mu.Unlock()
			return
		}
		f := o.cleanups[n-1]
		o.cleanups = o.cleanups[:n-1]
		o.mu.Unlock()
		f()
	}
}
