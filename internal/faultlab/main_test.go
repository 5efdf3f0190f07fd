// Flags, seeds and counts of the laboratory.

package faultlab

import (
	"flag"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

var (
	seed  = flag.Uint64("faultlab.seed", 20260101, "what samples are drawn with")
	large = flag.Bool("faultlab.large", false, "take all, or many more, where a sample is drawn otherwise")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// filtered reports whether the run was narrowed down by -run, so that counts
// of a whole test are not to be expected.
func filtered() bool {
	f := flag.Lookup("test.run")
	return f != nil && f.Value.String() != "" && os.Getenv("FAULTLAB_COUNT") == ""
}

// reached fails the test where fewer cases were tried than promised.
func reached(t *testing.T, what string, got *atomic.Int64, promised int) {
	t.Helper()
	t.Logf("%d %s (promised: %d)", got.Load(), what, promised)
	if got.Load() < int64(promised) {
		t.Errorf("only %d %s, promised are %d", got.Load(), what, promised)
	}
}
