// A Store that remembers every state it was in.

package checkpointtest

import (
	"context"
	"iter"
	"sync"

	"github.com/mailhaul/mailhaul/checkpoint"
)

// History is a Store in memory that keeps the state after every Commit, for
// tests that restore an old checkpoint. A state costs a slice of its entries,
// not a copy of the values.
type History struct {
	mu     sync.Mutex // protects states, and makes Commits one at a time
	memory *checkpoint.Memory
	states []*checkpoint.Memory // the first is empty, or what NewHistory was given
}

// NewHistory returns a History that begins with what start holds, with nothing
// where it is nil. start itself is not used.
func NewHistory(start *checkpoint.Memory) *History {
	if start == nil {
		start = checkpoint.NewMemory()
	}
	return &History{memory: start.Clone(), states: []*checkpoint.Memory{start.Clone()}}
}

// Commits returns how many Commits succeeded.
func (h *History) Commits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.states) - 1
}

// At returns a Store of its own with what there was after the first n Commits;
// n is from 0 to Commits.
func (h *History) At(n int) *checkpoint.Memory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[n].Clone()
}

// Get implements checkpoint.Store.
func (h *History) Get(ctx context.Context, key []byte) ([]byte, error) {
	return h.memory.Get(ctx, key)
}

// Scan implements checkpoint.Store.
func (h *History) Scan(ctx context.Context, prefix, from []byte) iter.Seq2[checkpoint.KeyValue, error] {
	return h.memory.Scan(ctx, prefix, from)
}

// Commit implements checkpoint.Store.
func (h *History) Commit(ctx context.Context, ops []checkpoint.Op) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.memory.Commit(ctx, ops); err != nil {
		return err
	}
	h.states = append(h.states, h.memory.Clone())
	return nil
}

// Close implements checkpoint.Store. The states can still be had.
func (h *History) Close() error { return h.memory.Close() }
