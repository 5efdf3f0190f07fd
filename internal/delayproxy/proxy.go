// The proxy: its connections, and their end.

package delayproxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul/internal/mempipe"
)

// Options describe the network. The zero value is one without length.
type Options struct {
	// RTT is the round-trip time: each direction takes half of it.
	RTT time.Duration

	// Bandwidth is how many octets a second each direction of a connection
	// carries; 0 is no bound.
	Bandwidth int64

	// Shared makes the Bandwidth that of all connections together: what one of
	// them carries holds the others up, so that the latency grows with the load,
	// as it does on a server that is weak.
	Shared bool

	// Window bounds the octets that are under way in each direction of a
	// connection: beyond it the sender waits. Default 32 MiB, which bounds
	// memory and is seldom met.
	Window int
}

// Stats is what went through a proxy so far.
type Stats struct {
	Connections int64
	ToServer    int64 // octets
	ToClient    int64 // octets

	// Turns counts, over all connections, how many times a client spoke after
	// the server had: the waits of a client that sends and then waits. One
	// that has more under way takes its turns without waiting for each.
	Turns int64
}

// Proxy is a network between clients and servers. It is safe for concurrent
// use.
type Proxy struct {
	opts Options
	stop chan struct{} // closed by Close

	up, down shared // where the Bandwidth is Shared

	conns, toServer, toClient, turns atomic.Int64

	mu      sync.Mutex // protects what follows
	closers map[interface{ Close() error }]struct{}
	closed  bool
	running sync.WaitGroup
}

// New returns a proxy. It does nothing until it is told to dial or to listen.
func New(opts Options) *Proxy {
	if opts.Window <= 0 {
		opts.Window = 32 << 20
	}
	return &Proxy{opts: opts, stop: make(chan struct{}), closers: make(map[interface{ Close() error }]struct{})}
}

// Stats returns the counts so far.
func (p *Proxy) Stats() Stats {
	return Stats{Connections: p.conns.Load(), ToServer: p.toServer.Load(), ToClient: p.toClient.Load(), Turns: p.turns.Load()}
}

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Dial returns a dial function whose connections go through the proxy. They
// are made by next, which is a net.Dialer's where it is nil; the client has
// them a round trip later.
func (p *Proxy) Dial(next DialFunc) DialFunc {
	if next == nil {
		next = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if err := p.sleep(ctx, p.opts.RTT); err != nil {
			_ = c.Close()
			return nil, &net.OpError{Op: "dial", Net: network, Addr: mempipe.Addr(address), Err: err}
		}
		wrapped, err := p.Wrap(c)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Addr: mempipe.Addr(address), Err: err}
		}
		return wrapped, nil
	}
}

func (p *Proxy) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stop:
		return net.ErrClosed
	}
}

// Wrap puts the network before a connection to a server, which is the proxy's
// from then on.
func (p *Proxy) Wrap(server net.Conn) (net.Conn, error) {
	near, far := mempipe.PipeSize(256 << 10)
	if !p.start(far, server) {
		return nil, net.ErrClosed
	}
	return addressed{near, server}, nil
}

// addressed is a connection in memory that shows the addresses of the one
// behind it.
type addressed struct {
	*mempipe.Conn
	server net.Conn
}

func (a addressed) LocalAddr() net.Addr  { return a.server.LocalAddr() }
func (a addressed) RemoteAddr() net.Addr { return a.server.RemoteAddr() }

// Listen accepts connections on a free port of the loopback interface and
// takes them to the server at the address, until Close. It returns where it
// listens.
func (p *Proxy) Listen(server string) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	if !p.enter(l) {
		_ = l.Close()
		return "", net.ErrClosed
	}
	p.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				select {
				case <-p.stop:
					return
				case <-time.After(10 * time.Millisecond): // out of descriptors, perhaps
					continue
				}
			}
			p.running.Go(func() {
				c, err := net.Dial("tcp", server)
				if err != nil {
					_ = client.Close()
					return
				}
				_ = p.start(client, c)
			})
		}
	})
	return l.Addr().String(), nil
}

// enter makes Close close c too. It reports false where that is over.
func (p *Proxy) enter(c interface{ Close() error }) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.closers[c] = struct{}{}
	return true
}

func (p *Proxy) leave(c interface{ Close() error }) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.closers, c)
}

// start carries octets between the two until both directions have ended, and
// closes both. Where the proxy is closed it closes them and reports false.
func (p *Proxy) start(client, server net.Conn) bool {
	link := &link{client: client, server: server}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = link.Close()
		return false
	}
	p.closers[link] = struct{}{}
	p.conns.Add(1)
	var clientSpoke atomic.Bool
	up := p.newLine(server, &p.up, func(n int) {
		p.toServer.Add(int64(n))
		if !clientSpoke.Swap(true) {
			p.turns.Add(1)
		}
	})
	down := p.newLine(client, &p.down, func(n int) {
		p.toClient.Add(int64(n))
		clientSpoke.Store(false)
	})
	p.running.Go(func() {
		var lines sync.WaitGroup
		lines.Go(func() { up.receive(client) })
		lines.Go(func() { down.receive(server) })
		lines.Go(func() {
			if up.deliver(p.stop) {
				_ = link.Close()
			}
		})
		if down.deliver(p.stop) {
			_ = link.Close()
		}
		lines.Wait()
		p.leave(link)
	})
	return true
}

// link is the two connections of which the proxy makes one.
type link struct{ client, server net.Conn }

func (l *link) Close() error {
	_ = l.client.Close()
	return l.server.Close()
}

// Close ends everything that goes through the proxy and returns when its
// goroutines have ended.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.stop)
		for c := range p.closers {
			_ = c.Close()
		}
	}
	p.mu.Unlock()
	p.running.Wait()
	return nil
}
