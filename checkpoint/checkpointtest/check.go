// The consistency check for the end of a test.

package checkpointtest

import (
	"context"
	"testing"

	"github.com/mailhaul/mailhaul/checkpoint"
)

// Check fails the test when checkpoint.Check finds anything in the Store.
func Check(t testing.TB, s checkpoint.Store) {
	t.Helper()
	if err := checkpoint.Check(context.Background(), s); err != nil {
		t.Errorf("the checkpoint is not sound: %v", err)
	}
}
