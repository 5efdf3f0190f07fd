// Bolt is the Store behind a file: go.etcd.io/bbolt, with one bucket.

package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mailhaul/mailhaul"
)

// Options are optional settings of [Open]; nil or the zero value will do.
type Options struct {
	// LockTimeout is how long Open waits for another process to let go of the
	// file. Default 1 s: enough for a predecessor that is just ending, and not
	// so long that a second start by mistake seems to hang. Negative: do not
	// wait.
	LockTimeout time.Duration
}

// Bolt is a [Store] in a file. It starts no goroutine, and keeps no read
// transaction open between two calls or two steps of a Scan, so that the file
// does not grow for the sake of a slow reader.
type Bolt struct {
	path string
	db   *bolt.DB
	file *os.File // the database's own

	// writing is held, by having sent to it, by whoever writes; see
	// bolt_commit.go.
	writing chan struct{}

	calls  sync.WaitGroup // those under way
	closed chan struct{}  // closed when Close is done

	mu      sync.Mutex // protects what follows; never held while the file is touched
	closing bool
	broken  error // why the file is not used any more
	queue   []*request
	scans   map[*scan]struct{}
	pending map[string][]byte // what the keys of the transaction under way held before; see bolt_scan.go
	stats   BoltStats
}

// BoltStats counts what a Bolt has done since Open.
type BoltStats struct {
	Commits      int64 // calls of Commit that returned nil and had something to do
	Transactions int64 // that they took; each is synced to the disk once
}

// bucketName is the one bucket's. A file without it is not a checkpoint.
var bucketName = []byte("mailhaul checkpoint")

// Path returns the name of the file as it was given to Open.
func (b *Bolt) Path() string { return b.path }

// Stats returns the counts so far.
func (b *Bolt) Stats() BoltStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// enter begins a call; calls.Done ends it.
func (b *Bolt) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closing:
		return fmt.Errorf("checkpoint %s: %w", b.path, mailhaul.ErrClosed)
	case b.broken != nil:
		return b.broken
	}
	b.calls.Add(1)
	return nil
}

// view runs fn in a read transaction.
func (b *Bolt) view(fn func(*bolt.Bucket) error) error {
	err := guard(func() error {
		return b.db.View(func(tx *bolt.Tx) error { return fn(tx.Bucket(bucketName)) })
	})
	return b.translate("read", err)
}

// Get implements [Store].
func (b *Bolt) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.calls.Done()
	var value []byte
	err := b.view(func(bucket *bolt.Bucket) error {
		// Bucket.Get does not tell an empty value from none.
		if k, v := bucket.Cursor().Seek(key); k != nil && bytes.Equal(k, key) {
			value = append([]byte{}, v...)
		}
		return nil
	})
	if err == nil && value == nil {
		err = ErrNotFound
	}
	return value, err
}

// Close implements [Store].
func (b *Bolt) Close() error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		<-b.closed
		return nil
	}
	b.closing = true
	b.mu.Unlock()
	defer close(b.closed)

	b.calls.Wait()
	if b.broken != nil {
		// bbolt may have died holding its own locks, so it is not asked; the
		// mapping is lost.
		abandon(b.file)
		return nil
	}
	return b.translate("close", guard(b.db.Close))
}

// Check proves that the database below is sound: that each page of the file is
// in use once or free. Commits wait meanwhile. The function [Check] calls it.
func (b *Bolt) Check(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.calls.Done()
	select {
	case b.writing <- struct{}{}:
		defer func() { <-b.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var found []error
	err := guard(func() error {
		return b.db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() { // to the end, or its goroutine would stay
				if len(found) < 10 {
					found = append(found, err)
				}
			}
			return nil
		})
	})
	if err == nil && len(found) > 0 {
		err = &pageError{errors.Join(found...)}
	}
	return b.translate("check", err)
}
