// Group commit: concurrent callers share a transaction, and its sync.
//
// Callers queue up. The one that gets hold of Bolt.writing takes the whole
// queue, its own operations among it, and writes it while the next queue forms
// behind it. So there is no goroutine and no delay: a lone caller writes at
// once, and the more callers there are, the more share a sync. bbolt's own
// Batch needs a goroutine and a timer, and runs what failed again alone.

package checkpoint

import (
	"context"

	bolt "go.etcd.io/bbolt"
)

// fillPercent is how full bbolt leaves the pages that it splits. New records
// have the highest keys of their mailbox, so that the pages behind are seldom
// written again; some room is left for those that are. By TestBytesPerMessage,
// bbolt's default of 0.5 takes 7.8 octets a message where 0.9 takes 4.3.
const fillPercent = 0.9

// request is one Commit in the queue.
type request struct {
	ops   []Op
	taken bool          // by a writer; protected by Bolt.mu
	done  chan struct{} // closed when err is there
	err   error
}

// Commit implements [Store].
func (b *Bolt) Commit(ctx context.Context, ops []Op) error {
	if err := validate(ops); err != nil {
		return err
	}
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.calls.Done()
	if len(ops) == 0 {
		return nil
	}
	r := &request{ops: ops, done: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, r)
	b.mu.Unlock()
	select {
	case b.writing <- struct{}{}:
		b.write()
		<-b.writing
		<-r.done // by this writer or the one before
		return r.err
	case <-r.done:
		return r.err
	case <-ctx.Done():
		if b.withdraw(r) {
			return ctx.Err()
		}
		<-r.done
		return r.err
	}
}

// withdraw takes a request out of the queue, unless a writer has taken it.
func (b *Bolt) withdraw(r *request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.taken {
		return false
	}
	for i := range b.queue {
		if b.queue[i] == r {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			break
		}
	}
	return true
}

// write takes the queue and makes it durable. The caller holds writing.
func (b *Bolt) write() {
	b.mu.Lock()
	batch := b.queue
	b.queue = nil
	for _, r := range batch {
		r.taken = true
	}
	broken := b.broken
	b.mu.Unlock()
	for len(batch) > 0 {
		var refused *request
		err := broken
		if err == nil {
			err = b.translate("write", guard(func() error {
				return b.db.Update(func(tx *bolt.Tx) (err error) {
					refused, err = b.apply(tx, batch)
					return err
				})
			}))
		}
		b.mu.Lock()
		b.pending = nil
		if err == nil {
			b.stats.Transactions++
			b.stats.Commits += int64(len(batch))
		}
		b.mu.Unlock()
		// What bbolt refuses of one caller is that caller's alone.
		var rest []*request
		for _, r := range batch {
			if refused != nil && r != refused {
				rest = append(rest, r)
				continue
			}
			r.err = err
			close(r.done)
		}
		batch = rest
	}
}

// apply puts the operations of all requests into a transaction. It returns the
// request that bbolt refused.
func (b *Bolt) apply(tx *bolt.Tx, batch []*request) (*request, error) {
	bucket := tx.Bucket(bucketName)
	bucket.FillPercent = fillPercent
	before := make(map[string][]byte)
	for _, r := range batch {
		for _, op := range r.ops {
			if _, seen := before[string(op.Key)]; !seen {
				before[string(op.Key)] = lookup(bucket, op.Key)
			}
			var err error
			if op.Value == nil {
				err = bucket.Delete(op.Key)
			} else {
				err = bucket.Put(op.Key, op.Value)
			}
			if err != nil {
				return r, err
			}
		}
	}
	b.remember(before)
	return nil, nil
}
