// Notes: what else a program wants remembered in the same file.

package checkpoint

import (
	"context"
	"errors"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// maxNoteKey is how long the key of a note may be, so that any Store takes it.
const maxNoteKey = 1024

// Notes keeps small values beside the ledgers of a Store, such as what package
// throttle wants to know after a restart: it is one of that package's kinds of
// storage. What a note means is its writer's affair. It is safe for concurrent
// use; there is nothing to close.
type Notes struct {
	store   Store
	section string
}

// NewNotes returns the notes of a section, which keeps them apart from those of
// other writers to the same Store. It writes nothing.
func NewNotes(s Store, section string) *Notes { return &Notes{s, section} }

// Load returns what was saved under the key, or nil. The error is the Store's,
// or that the note is damaged.
func (n *Notes) Load(ctx context.Context, key string) ([]byte, error) {
	k := n.key(key)
	value, err := n.store.Get(ctx, k)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, _, err := unseal(k, value)
	if err != nil {
		return nil, damaged(n.store, "a note", err)
	}
	return slices.Clone(body), nil
}

// Save replaces what is saved under the key, durably.
func (n *Notes) Save(ctx context.Context, key string, value []byte) error {
	k := n.key(key)
	if len(k) > maxNoteKey {
		return fault("write to "+location(n.store), mailhaul.Permanent, errors.New("the key of a note is too long"), "")
	}
	version, err := readFormat(ctx, n.store)
	if err != nil {
		return err
	}
	var ops []Op
	if version == 0 {
		ops = append(ops, formatOp())
	}
	sealed, _ := seal(k, slices.Clone(value))
	return n.store.Commit(ctx, append(ops, Op{k, sealed}))
}

func (n *Notes) key(key string) []byte {
	return append(appendString([]byte{kindNote}, n.section), key...)
}
