// Scans that are snapshots without a transaction that stays open.
//
// A bbolt read transaction is a snapshot, but as long as it is open no page
// that it sees is used again, and a writer that must map a larger file waits
// for it: a loop that commits would wait for itself. So a Scan reads a window
// at a time, each in a transaction of its own, and every commit leaves to the
// Scans under way what the keys that it changes held before. A Scan that begins
// while a commit is being written cannot know which of the two states it will
// read, so it takes what that commit replaces too, and sees the state before it.

package checkpoint

import (
	"bytes"
	"context"
	"iter"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// A window holds up to maxWindow entries or windowBytes octets, whatever is
// reached first. The first one holds a single entry, since many Scans want no
// more.
const (
	maxWindow   = 64
	windowBytes = 256 << 10
)

// scan is one Scan under way.
type scan struct {
	prefix []byte

	// before holds what keys that were changed since had in them, nil for
	// nothing. Protected by Bolt.mu.
	before map[string][]byte
}

// Scan implements [Store].
func (b *Bolt) Scan(ctx context.Context, prefix, from []byte) iter.Seq2[KeyValue, error] {
	prefix, from = bytes.Clone(prefix), append([]byte{}, from...) // not nil, which is the end
	if bytes.Compare(from, prefix) < 0 {
		from = slices.Clone(prefix)
	}
	return func(yield func(KeyValue, error) bool) {
		s := &scan{prefix: prefix, before: make(map[string][]byte)}
		b.mu.Lock()
		s.note(b.pending)
		b.scans[s] = struct{}{}
		b.mu.Unlock()
		defer func() {
			b.mu.Lock()
			delete(b.scans, s)
			b.mu.Unlock()
		}()
		next := from
		for size := 1; next != nil; size = min(4*size, maxWindow) {
			var window []KeyValue
			var err error
			window, next, err = b.window(ctx, s, next, size)
			if err != nil {
				yield(KeyValue{}, err)
				return
			}
			for i, kv := range window {
				if i > 0 {
					if err := b.alive(ctx); err != nil {
						yield(KeyValue{}, err)
						return
					}
				}
				if !yield(kv, nil) {
					return
				}
			}
		}
	}
}

// alive returns an error when a Scan is to end.
func (b *Bolt) alive(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	b.calls.Done()
	return nil
}

// window reads the entries from a key on, as the scan is to see them, and the
// key from which to go on, nil at the end.
func (b *Bolt) window(ctx context.Context, s *scan, from []byte, size int) (window []KeyValue, next []byte, err error) {
	if err := b.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer b.calls.Done()
	err = b.view(func(bucket *bolt.Bucket) error {
		octets := 0
		cursor := bucket.Cursor()
		for k, v := cursor.Seek(from); k != nil && bytes.HasPrefix(k, s.prefix); k, v = cursor.Next() {
			if len(window) == size || octets > windowBytes {
				next = bytes.Clone(k)
				break
			}
			window = append(window, KeyValue{bytes.Clone(k), append([]byte{}, v...)})
			octets += len(k) + len(v)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	// Commits leave what they replace before it can be read, so that what has
	// been left by now covers all that the transaction can have seen.
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(s.before) == 0 {
		return window, next, nil
	}
	window = slices.DeleteFunc(window, func(kv KeyValue) bool {
		_, changed := s.before[string(kv.Key)]
		return changed
	})
	for key, value := range s.before {
		k := []byte(key)
		if value != nil && bytes.Compare(k, from) >= 0 && (next == nil || bytes.Compare(k, next) < 0) {
			window = append(window, KeyValue{k, value})
		}
	}
	slices.SortFunc(window, func(a, b KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return window, next, nil
}

// note keeps what keys of the scan's held before they were changed first.
func (s *scan) note(before map[string][]byte) {
	for key, value := range before {
		if _, known := s.before[key]; !known && bytes.HasPrefix([]byte(key), s.prefix) {
			s.before[key] = value
		}
	}
}

// remember is called by a writer when all is in its transaction and nothing of
// it can be read yet.
func (b *Bolt) remember(before map[string][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = before
	for s := range b.scans {
		s.note(before)
	}
}

// lookup returns a copy of what a key holds, nil for nothing.
func lookup(bucket *bolt.Bucket, key []byte) []byte {
	if k, v := bucket.Cursor().Seek(key); k != nil && bytes.Equal(k, key) {
		return append([]byte{}, v...)
	}
	return nil
}
