package imapx

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// pool keeps the connections of one account, no more than it has slots. A
// connection is with one user at a time.
type pool struct {
	dial  func(ctx context.Context, p *pool) (*conn, error)
	slots chan struct{}
	gone  chan struct{} // closed by close
	first chan struct{} // closed when the first connection is there

	mu     sync.Mutex // protects the fields below
	idle   []*conn    // the last used last
	open   map[*conn]struct{}
	closed bool
	parked chan struct{}  // closed when a connection has become idle; nil: nobody waits
	ending sync.WaitGroup // of connections that were wanted back
}

func newPool(size int, dial func(context.Context, *pool) (*conn, error)) *pool {
	return &pool{dial: dial, slots: make(chan struct{}, size), gone: make(chan struct{}), first: make(chan struct{}), open: make(map[*conn]struct{})}
}

// get returns a connection, waiting for a slot. Among the idle ones it prefers
// the one that has the mailbox open.
func (p *pool) get(ctx context.Context, mailbox string) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.gone:
		return nil, mailhaul.ErrClosed
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.gone:
		return nil, mailhaul.ErrClosed
	}
	for {
		if c := p.takeIdle(mailbox); c != nil {
			return c, nil
		}
		c, err := p.dial(ctx, p)
		if err == errParked || errors.Is(err, errWanted) && ctx.Err() == nil {
			continue // what was wanted back so soon was never used
		}
		if err != nil {
			<-p.slots
			return nil, err
		}
		p.came()
		return c, nil
	}
}

// came notes that a connection is there.
func (p *pool) came() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.first:
	default:
		close(p.first)
	}
}

// errParked is returned by dial where a connection has become idle while leave
// was waited for to open another.
var errParked = errors.New("a connection has become idle")

// parking returns a channel that is closed when a connection becomes idle, or
// false where there is one already.
func (p *pool) parking() (<-chan struct{}, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.idle, (*conn).healthy) {
		return nil, false
	}
	if p.parked == nil {
		p.parked = make(chan struct{})
	}
	return p.parked, true
}

// takeIdle takes an idle connection that still lives, and drops those that do
// not.
func (p *pool) takeIdle(mailbox string) *conn {
	p.mu.Lock()
	var dead []*conn
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		if c.healthy() {
			return false
		}
		dead = append(dead, c)
		delete(p.open, c)
		return true
	})
	var c *conn
	if n := len(p.idle); n > 0 {
		at := n - 1
		if mailbox != "" {
			if i := slices.IndexFunc(p.idle, func(c *conn) bool { return c.selected == mailbox }); i >= 0 {
				at = i
			}
		}
		c = p.idle[at]
		p.idle = slices.Delete(p.idle, at, at+1)
	}
	p.mu.Unlock()
	for _, d := range dead {
		d.Close()
	}
	return c
}

// takeSelected takes the idle connections that have the mailbox open, besides
// the slots.
func (p *pool) takeSelected(mailbox string) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var taken []*conn
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		if c.selected != mailbox {
			return false
		}
		taken = append(taken, c)
		return true
	})
	return taken
}

// park makes a connection idle, or ends it.
func (p *pool) park(c *conn) {
	p.mu.Lock()
	keep := !p.closed && c.healthy() && !c.leash.wanted()
	if keep {
		p.idle = append(p.idle, c)
		if p.parked != nil {
			close(p.parked)
			p.parked = nil
		}
	} else {
		delete(p.open, c)
	}
	p.mu.Unlock()
	if !keep {
		c.Close()
	}
}

// put gives a connection back, with its slot. Where it has commands in flight
// it is ended.
func (p *pool) put(c *conn) {
	p.park(c)
	<-p.slots
}

// discard ends a connection and gives its slot back.
func (p *pool) discard(c *conn) {
	c.Close()
	p.put(c)
}

// recall ends a connection that is wanted back, if nothing is in flight on it.
// Otherwise it is called again when that is so. Whoever has the connection gets
// an error with his next command.
func (p *pool) recall(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.phase() != "" || !c.healthy() || c.unsettled() || !c.leash.part() {
		return
	}
	i := slices.Index(p.idle, c)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.ending.Go(func() {
		c.logout()
		c.fail(errWanted)
		if i >= 0 {
			c.Close()
			p.leave(c)
		}
	})
}

// enter makes a new connection known, so that close ends it too. It returns
// false when that has happened already.
func (p *pool) enter(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.open[c] = struct{}{}
	}
	return !p.closed
}

// leave makes a connection that did not come up unknown.
func (p *pool) leave(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// close ends all connections. Idle ones log out first.
func (p *pool) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.gone)
	idle := p.idle
	p.idle = nil
	all := make([]*conn, 0, len(p.open))
	for c := range p.open {
		all = append(all, c)
	}
	clear(p.open)
	p.mu.Unlock()

	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			if slices.Contains(idle, c) {
				c.logout()
			}
			c.Close()
		})
	}
	wg.Wait()
	p.ending.Wait()
}
