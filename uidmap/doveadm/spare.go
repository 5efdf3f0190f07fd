package doveadm

// Connections made ahead. Dovecot 2.3 closes a connection behind each answer,
// and starts a process for the next: most of what a call takes. Made while
// messages are under way, it costs nothing.

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul/internal/transport"
)

const (
	maxSpares = 4

	// spareLife is short: a connection that the server has closed meanwhile
	// would fail the call. A call that comes later has time to connect.
	spareLife = 3 * time.Second
)

// spares are connections that wait for a call.
type spares struct {
	mu      sync.Mutex // protects the fields below
	idle    []*spare
	dialing int
	closed  bool
	ctx     context.Context // of the dialling, cancelled by close
	cancel  context.CancelFunc
	running sync.WaitGroup
}

type spare struct {
	conn  net.Conn
	timer *time.Timer
}

// prepare connects for the next call, without waiting for it. That it fails is
// for the call to find out.
func (a *api) prepare() {
	s := &a.spares
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle)+s.dialing >= maxSpares {
		return
	}
	if s.cancel == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	s.dialing++
	ctx := s.ctx
	s.running.Go(func() {
		conn, err := transport.Dial(ctx, a.server, dialTimeout)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dialing--
		if err != nil {
			return
		}
		if s.closed {
			_ = conn.Close()
			return
		}
		sp := &spare{conn: conn}
		sp.timer = time.AfterFunc(spareLife, func() { s.drop(sp) })
		s.idle = append(s.idle, sp)
	})
}

// drop closes a connection that nobody wanted in time.
func (s *spares) drop(sp *spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.idle {
		if x == sp {
			s.idle = append(s.idle[:i:i], s.idle[i+1:]...)
			_ = sp.conn.Close()
			return
		}
	}
}

// take returns a connection that was made ahead, the latest, or nil.
func (s *spares) take() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	sp := s.idle[n-1]
	s.idle = s.idle[:n-1]
	sp.timer.Stop()
	return sp.conn
}

// close closes what is there and waits for what is under way.
func (s *spares) close() {
	s.mu.Lock()
	s.closed = true
	for _, sp := range s.idle {
		sp.timer.Stop()
		_ = sp.conn.Close()
	}
	s.idle = nil
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.running.Wait()
}
