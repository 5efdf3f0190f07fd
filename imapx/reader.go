package imapx

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// Reader is one connection with one mailbox open for reading. It implements
// [mailhaul.Reader], whose rules for goroutines hold.
type Reader struct {
	client *Client
	c      *conn
	box    mailhaul.Mailbox
	status mailhaul.Status

	mu     sync.Mutex   // protects the fields below
	queues []abandonner // of sequences that were not ranged over to their end
	closed bool
}

type abandonner interface{ abandon() }

// Status implements [mailhaul.Reader].
func (r *Reader) Status() mailhaul.Status { return r.status }

// UIDs implements [mailhaul.Reader].
func (r *Reader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	if r.isClosed() {
		return nil, r.closedError(opSearch)
	}
	set, err := r.c.uids(ctx)
	return set, r.c.named(opSearch, r.box.Name, err)
}

// Messages implements [mailhaul.Reader]. The listing may hold the connection up
// until it is consumed, but never when something else is asked for meanwhile.
func (r *Reader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		if len(set) == 0 {
			return
		}
		if r.isClosed() {
			yield(mailhaul.Message{}, r.closedError(opFetch))
			return
		}
		l, err := r.c.list(ctx, set, fields, since, r.status.HighestModSeq > 0)
		if err != nil {
			yield(mailhaul.Message{}, r.c.named(opFetch, r.box.Name, err))
			return
		}
		r.keep(l.q)
		defer r.forget(l.q)
		l.messageSeq(ctx, r.box.Name)(yield)
	}
}

// Fetch implements [mailhaul.Reader].
//
// A body of up to Limits.MaxBuffered octets is buffered in memory, a larger one
// in a temporary file. A body of more than Limits.MaxBody is not taken: the
// sequence yields an error with the message's UID in its place, and goes on.
//
// With stream, a body that comes before it is its turn (a server may answer two
// Fetches in an order of its own) is buffered all the same. A streamed body ends with an error, instead of io.EOF, where the server turns
// out to have sent another message than the one asked for.
func (r *Reader) Fetch(ctx context.Context, set mailhaul.UIDSet, stream bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	if len(set) == 0 {
		return func(func(mailhaul.Fetched, error) bool) {}, nil
	}
	if r.isClosed() {
		return nil, r.closedError(opFetch)
	}
	if ctx.Err() != nil {
		return nil, r.c.named(opFetch, r.box.Name, r.c.cancelled(ctx))
	}
	d, err := r.c.download(ctx, set, stream)
	if err != nil {
		return nil, r.c.named(opFetch, r.box.Name, err)
	}
	r.keep(d.q)
	return func(yield func(mailhaul.Fetched, error) bool) {
		defer r.forget(d.q)
		d.bodySeq(ctx, r.box.Name)(yield)
	}, nil
}

// keep notes a queue whose contents must be released with the Reader.
func (r *Reader) keep(q abandonner) {
	r.mu.Lock()
	closed := r.closed
	r.queues = append(r.queues, q)
	r.mu.Unlock()
	if closed {
		q.abandon()
	}
}

func (r *Reader) forget(q abandonner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queues = slices.DeleteFunc(r.queues, func(x abandonner) bool { return x == q })
}

func (r *Reader) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func (r *Reader) closedError(op string) error {
	return r.c.named(op, r.box.Name, r.c.fault(op, mailhaul.Permanent, mailhaul.ScopeConnection, mailhaul.ErrClosed))
}

// Close implements [mailhaul.Reader]. The connection goes back to the Client
// where nothing is in flight on it, and is ended otherwise.
func (r *Reader) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	queues := r.queues
	r.queues = nil
	r.mu.Unlock()
	for _, q := range queues {
		q.abandon()
	}
	r.client.pool.put(r.c)
	return nil
}
