// The conformance suite, on the Stores of this package.

package checkpoint_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

// TestMain fails when a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openBolt(t testing.TB, path string) *checkpoint.Bolt {
	t.Helper()
	b, err := checkpoint.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func TestBoltConforms(t *testing.T) {
	checkpointtest.TestStore(t,
		func(t *testing.T) checkpoint.Store { return openBolt(t, filepath.Join(t.TempDir(), "state.db")) },
		func(t *testing.T, closed checkpoint.Store) checkpoint.Store {
			return openBolt(t, closed.(*checkpoint.Bolt).Path())
		})
}

func TestMemoryConforms(t *testing.T) {
	checkpointtest.TestStore(t,
		func(*testing.T) checkpoint.Store { return checkpoint.NewMemory() },
		func(_ *testing.T, closed checkpoint.Store) checkpoint.Store {
			return closed.(*checkpoint.Memory).Clone()
		})
}

func TestWrappersConform(t *testing.T) {
	t.Run("Faulty", func(t *testing.T) {
		checkpointtest.TestStore(t, func(*testing.T) checkpoint.Store {
			return checkpointtest.NewFaulty(checkpoint.NewMemory(), nil)
		}, nil)
	})
	t.Run("History", func(t *testing.T) {
		checkpointtest.TestStore(t, func(*testing.T) checkpoint.Store {
			return checkpointtest.NewHistory(nil)
		}, nil)
	})
}
