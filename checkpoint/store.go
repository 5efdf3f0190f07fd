// The contract between a Ledger and whatever keeps its octets.

package checkpoint

import (
	"context"
	"errors"
	"iter"
)

// Store keeps keys and values of any octets, ordered by key. It knows nothing
// of mail: all meaning is in the [Ledger] above it, checksums included, so
// that another database behind it is an afternoon's work. Run
// checkpointtest.TestStore on yours.
//
// A Store takes keys of 1 to 512 octets and values of 0 octets to 1 MiB at
// least. It is safe for concurrent use. An error of a Store changes nothing
// but what Commit says.
type Store interface {
	// Get returns the value of a key, the caller's own copy. It returns
	// ErrNotFound where there is none; an empty value is not nil.
	Get(ctx context.Context, key []byte) ([]byte, error)

	// Scan yields, in ascending order, the keys that have the prefix and are
	// not below from, with their values, as they all were at one moment
	// between the call and the first step. Commits are neither seen nor held
	// up by it, not even one that is made from within the loop. The octets are
	// valid until the next step. After an error the sequence ends.
	Scan(ctx context.Context, prefix, from []byte) iter.Seq2[KeyValue, error]

	// Commit applies the operations in their order, all or none, and returns
	// nil when they are durable. Concurrent callers share one sync of the
	// disk. After an error none has been applied, except where the disk failed
	// in the very last step and nobody can know; so operations are absolute,
	// and committing the same ones again is always right.
	//
	// When ctx ends while the operations wait for their turn, they are not
	// applied and Commit returns ctx.Err(); when their turn has come, Commit
	// returns what became of them.
	Commit(ctx context.Context, ops []Op) error

	// Close waits for the calls under way, ends the Scans, and closes.
	// Whatever is called afterwards returns an error that wraps
	// mailhaul.ErrClosed, except Close, which returns nil.
	Close() error
}

// KeyValue is one entry of a Store.
type KeyValue struct{ Key, Value []byte }

// Op is one operation of a [Store.Commit]: it sets Key to Value or, where
// Value is nil, removes Key, which need not be there. An empty Value that is
// not nil is a value; an empty Key is an error.
type Op struct{ Key, Value []byte }

var (
	// ErrNotFound is returned by Store.Get when there is no such key.
	ErrNotFound = errors.New("no such key")

	// ErrInvalidOp is returned by Store.Commit, before anything is applied,
	// when a key is empty or a key or value is larger than the Store takes. It
	// concerns that caller only.
	ErrInvalidOp = errors.New("invalid operation")
)
