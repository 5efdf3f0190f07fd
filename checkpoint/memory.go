// Memory is the Store of runs that want no file, and of tests.

package checkpoint

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// maxKey and maxValue are what Bolt and Memory take.
const (
	maxKey   = 32 << 10
	maxValue = 1 << 30
)

// Memory is a [Store] that lasts as long as the process. Its entries are one
// sorted slice that is never changed but replaced, so that a Scan and a Clone
// are snapshots for nothing, and a Commit costs a copy of the slice (not of
// the values).
type Memory struct {
	mu      sync.Mutex // protects what follows
	entries []KeyValue // immutable
	closed  bool
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{} }

// Clone returns a Memory of its own with the same entries. It works on a
// closed Memory too, so that a test can play the next process.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{entries: m.entries}
}

func (m *Memory) snapshot(ctx context.Context) ([]KeyValue, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errMemoryClosed
	}
	return m.entries, nil
}

var errMemoryClosed = fmt.Errorf("checkpoint in memory: %w", mailhaul.ErrClosed)

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, key []byte) ([]byte, error) {
	entries, err := m.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(entries, key, compareKey)
	if !ok {
		return nil, ErrNotFound
	}
	return append([]byte{}, entries[i].Value...), nil
}

// Scan implements [Store].
func (m *Memory) Scan(ctx context.Context, prefix, from []byte) iter.Seq2[KeyValue, error] {
	return func(yield func(KeyValue, error) bool) {
		entries, err := m.snapshot(ctx)
		if err != nil {
			yield(KeyValue{}, err)
			return
		}
		if bytes.Compare(from, prefix) < 0 {
			from = prefix
		}
		i, _ := slices.BinarySearchFunc(entries, from, compareKey)
		key, value := []byte{}, []byte{} // copies: nobody may change the entries
		for ; i < len(entries) && bytes.HasPrefix(entries[i].Key, prefix); i++ {
			if _, err := m.snapshot(ctx); err != nil {
				yield(KeyValue{}, err)
				return
			}
			key = append(key[:0], entries[i].Key...)
			value = append(value[:0], entries[i].Value...)
			if !yield(KeyValue{key, value}, nil) {
				return
			}
		}
	}
}

// Commit implements [Store].
func (m *Memory) Commit(ctx context.Context, ops []Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := validate(ops); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errMemoryClosed
	}
	m.entries = apply(m.entries, ops)
	return nil
}

// Close implements [Store].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func compareKey(kv KeyValue, key []byte) int { return bytes.Compare(kv.Key, key) }

// apply returns the entries after the operations; neither argument is changed
// or kept.
func apply(entries []KeyValue, ops []Op) []KeyValue {
	// The last operation on a key counts.
	sorted := slices.Clone(ops)
	slices.SortStableFunc(sorted, func(a, b Op) int { return bytes.Compare(a.Key, b.Key) })
	out := make([]KeyValue, 0, len(entries)+len(sorted))
	for i, op := range sorted {
		if i+1 < len(sorted) && bytes.Equal(op.Key, sorted[i+1].Key) {
			continue
		}
		at, found := slices.BinarySearchFunc(entries, op.Key, compareKey)
		out = append(out, entries[:at]...)
		if op.Value != nil {
			out = append(out, KeyValue{bytes.Clone(op.Key), bytes.Clone(op.Value)})
		}
		if found {
			at++
		}
		entries = entries[at:]
	}
	return append(out, entries...)
}

// validate refuses what no Store takes.
func validate(ops []Op) error {
	for i, op := range ops {
		switch {
		case len(op.Key) == 0:
			return fmt.Errorf("%w %d of %d: the key is empty", ErrInvalidOp, i+1, len(ops))
		case len(op.Key) > maxKey:
			return fmt.Errorf("%w %d of %d: the key has %d octets, more than %d", ErrInvalidOp, i+1, len(ops), len(op.Key), maxKey)
		case len(op.Value) > maxValue:
			return fmt.Errorf("%w %d of %d: the value has %d octets, more than %d", ErrInvalidOp, i+1, len(ops), len(op.Value), maxValue)
		}
	}
	return nil
}
