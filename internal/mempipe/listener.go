// The listener that hands out connections.

package mempipe

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// backlog is how many dialled connections may wait for Accept.
const backlog = 128

// Listener hands out the far ends of connections that were dialled.
type Listener struct {
	// Buffer is the size of the buffers of later connections; DefaultBuffer
	// where it is not positive. Set it before the first Dial.
	Buffer int

	conns chan *Conn
	done  chan struct{}
	once  sync.Once
	count atomic.Int64
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a new listener.
func Listen() *Listener {
	return &Listener{conns: make(chan *Conn, backlog), done: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, l.opError("accept", net.ErrClosed)
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, l.opError("accept", net.ErrClosed)
	}
}

// Dial connects to the listener. It is made to be used as a dial function:
// network and address only name the connection. It waits while more
// connections than a backlog are waiting for Accept.
func (l *Listener) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.opError("dial", err)
	}
	n := l.count.Add(1)
	size := l.Buffer
	if size <= 0 {
		size = DefaultBuffer
	}
	if address == "" {
		address = "server"
	}
	near, far := pair(size, Addr(fmt.Sprintf("client:%d", n)), Addr(address))
	select {
	case <-l.done:
		return nil, l.opError("dial", syscall.ECONNREFUSED)
	default:
	}
	select {
	case l.conns <- far:
	case <-l.done:
		return nil, l.opError("dial", syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, l.opError("dial", ctx.Err())
	}
	select {
	case <-l.done:
		// Close may have emptied the queue before far came into it.
		l.drain()
	default:
	}
	return near, nil
}

// Close implements [net.Listener]. Connections that nobody accepted are reset;
// the others live on.
func (l *Listener) Close() error {
	err := l.opError("close", net.ErrClosed)
	l.once.Do(func() {
		close(l.done)
		l.drain()
		err = nil
	})
	return err
}

func (l *Listener) drain() {
	for {
		select {
		case c := <-l.conns:
			_ = c.Reset()
		default:
			return
		}
	}
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return Addr("listener") }

func (l *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Addr: l.Addr(), Err: err}
}
