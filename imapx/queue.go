package imapx

import (
	"context"
	"sync"
)

// gate is a queue that makes the reading goroutine wait while it is full. open
// lifts that: what the queue's consumer asks for elsewhere on the connection
// would never be answered otherwise.
type gate interface{ open() }

// queue carries values from a connection's reading goroutine to the consumer
// of a sequence. One side puts, the other takes all that there is at a time.
type queue[T any] struct {
	max   int           // a full queue makes put wait; 0: never
	drop  func(T)       // gets what nobody takes any more; may be nil
	ready chan struct{} // something was put, or the end
	room  chan struct{} // something was taken

	mu     sync.Mutex // protects the fields below
	items  []T
	opened bool // no bound any more
	gone   bool // the consumer takes no more
	ended  bool
	err    error
}

func newQueue[T any](max int, drop func(T)) *queue[T] {
	return &queue[T]{max: max, drop: drop, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put adds a value. While the queue is full it waits, until dead is closed.
func (q *queue[T]) put(v T, dead <-chan struct{}) {
	q.mu.Lock()
	if q.gone {
		q.mu.Unlock()
		if q.drop != nil {
			q.drop(v)
		}
		return
	}
	q.items = append(q.items, v)
	q.mu.Unlock()
	signal(q.ready)
	for q.full() {
		select {
		case <-q.room:
		case <-dead:
			return
		}
	}
}

func (q *queue[T]) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.max > 0 && len(q.items) >= q.max && !q.opened && !q.gone
}

// end says that nothing more will be put, and why. Only the first call counts.
func (q *queue[T]) end(err error) {
	q.mu.Lock()
	if !q.ended {
		q.ended, q.err = true, err
	}
	q.mu.Unlock()
	signal(q.ready)
}

// open implements gate.
func (q *queue[T]) open() {
	q.mu.Lock()
	q.opened = true
	q.mu.Unlock()
	signal(q.room)
}

// abandon says that nothing more will be taken.
func (q *queue[T]) abandon() {
	q.mu.Lock()
	q.gone = true
	items := q.items
	q.items = nil
	q.mu.Unlock()
	signal(q.room)
	if q.drop != nil {
		for _, v := range items {
			q.drop(v)
		}
	}
}

// take returns all that was put since the last call, or waits for something.
// It reuses spare, what an earlier call returned. At the end it returns
// nothing, and the error that end was called with.
func (q *queue[T]) take(ctx context.Context, spare []T) ([]T, error) {
	clear(spare)
	for {
		q.mu.Lock()
		items, ended, err := q.items, q.ended, q.err
		if len(items) > 0 {
			q.items = spare[:0]
			q.mu.Unlock()
			signal(q.room)
			return items, nil
		}
		q.mu.Unlock()
		if ended {
			return nil, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
