// Flags, seeds and counts of the laboratory.

package faultlab

import (
	"flag"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

var (
	seed  = flag.Uint64("faultlab.seed", 20260101, "what samples are drawn with")
	large = flag.Bool("faultlab.large", false, "take all, or many more, where a sample is drawn otherwise")
)

func TestMain(m *testing.M) {
	// Each world is small and soon forgotten.
	debug.SetGCPercent(400)
	goleak.VerifyTestMain(m)
}

// share returns how many of n cases this kind of run takes: a tenth under the
// race detector and with -short.
func share(n int) int {
	if raceEnabled || testing.Short() {
		return (n + 9) / 10
	}
	return n
}

// random returns the generator of one test.
func random(t testing.TB, stream uint64) *rand.Rand {
	t.Logf("seed %d (repeat with -faultlab.seed)", *seed)
	return rand.New(rand.NewPCG(*seed, stream))
}

// filtered reports whether -run chose parts of a test, so that the counts of
// the whole are not to be expected.
func filtered() bool {
	f := flag.Lookup("test.run")
	return f != nil && strings.Contains(f.Value.String(), "/")
}

// reached fails the test where fewer cases were tried than promised.
func reached(t *testing.T, what string, got *atomic.Int64, promised int) {
	t.Helper()
	t.Logf("%d %s (promised: %d)", got.Load(), what, promised)
	if got.Load() < int64(promised) {
		t.Errorf("only %d %s, promised are %d", got.Load(), what, promised)
	}
}
