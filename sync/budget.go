// The bound on the memory that message bodies take.

package sync

import (
	"context"
	"fmt"
	stdsync "sync"

	"golang.org/x/sync/semaphore"

	"github.com/mailhaul/mailhaul"
)

// Budget bounds the octets of message bodies that are in memory at once, over
// all Syncers that share it. It is safe for concurrent use.
//
// Octets are taken before a message is asked for, by the size that its server
// lists, in the order in which the messages will be appended, and given back
// when the Writer releases the body. A size that lied overdraws the budget: it
// never makes anything wait, so that no deadlock can come of it.
type Budget struct {
	size int64
	sem  *semaphore.Weighted
}

// NewBudget returns a budget of so many octets. It panics if size is not
// positive.
func NewBudget(size int64) *Budget {
	if size <= 0 {
		panic(fmt.Sprintf("sync: NewBudget: %d is not a positive size", size))
	}
	return &Budget{size: size, sem: semaphore.NewWeighted(size)}
}

// take waits for n octets, or for all of the budget where it is smaller than
// n, and returns how many were taken. Waiters are served in order.
func (b *Budget) take(ctx context.Context, n int64) (int64, error) {
	n = max(0, min(n, b.size))
	return n, b.sem.Acquire(ctx, n)
}

func (b *Budget) give(n int64) { b.sem.Release(n) }

// budgeted is a Body that gives its share of the budget back on Release.
type budgeted struct {
	mailhaul.Body
	once stdsync.Once
	give func()
}

func (b *budgeted) Release() {
	b.Body.Release()
	b.once.Do(b.give)
}
