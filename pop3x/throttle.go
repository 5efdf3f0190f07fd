package pop3x

// Leave to do things, where somebody else protects the server.

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Throttle protects a server. Its methods are called from several goroutines;
// those with a context wait, and return an error only when that ends. An id is
// that of a connection. Package throttle's Account is one, which may be shared
// with whoever else uses the host.
type Throttle interface {
	// Connect waits for leave to open a connection and log in. recall may be
	// called, on any goroutine, when the connection is wanted back: its session
	// then ends with the message that is being read.
	Connect(ctx context.Context, recall func()) (id int64, err error)
	// Disconnect says that the connection has ended.
	Disconnect(id int64)
	// Command waits for leave to send a command. The connection is at work then,
	// until Idle.
	Command(ctx context.Context, id int64) error
	// Idle says that nothing is in flight on the connection.
	Idle(id int64)
	// Messages waits for leave to read n messages.
	Messages(ctx context.Context, n int) error
	// Read waits until n octets, which have come, may have come.
	Read(ctx context.Context, n int) error
	// Write waits for leave to send n octets.
	Write(ctx context.Context, n int) error
	// FirstByte says how long the server took to begin the answer to a RETR or
	// TOP, after it had nothing else to answer on the connection.
	FirstByte(id int64, latency time.Duration)
	// Refused says that the server asks for less. connections says that it is
	// their number, server that it is not about this account alone. wait is the
	// time that it named, 0 for none.
	Refused(id int64, connections, server bool, wait time.Duration, reason string)
	// Failed says that the server could not serve now: it refused or reset a
	// connection, or said that something is not available. server says that it
	// is not about this account alone.
	Failed(server bool, reason string)
	// Identified says what the server calls itself (RFC 2449 section 6.9).
	Identified(name string)
}

// patience is how long a session waits for leave to go on. As long as it lasts
// the user finds the maildrop locked; without one, a wait harms nobody.
const patience = 30 * time.Second

var errPaused = errors.New("the session was ended, so that its user gets at the maildrop: the server is to be left alone for longer")

// leash is what one connection has to do with a Throttle. A nil one asks
// nobody.
type leash struct {
	t    Throttle
	id   int64
	back atomic.Bool // the connection is wanted back

	// life ends with the connection. It is kept because what reads and writes
	// for a connection has no context of anybody's.
	life context.Context
	end  func()
	once sync.Once
}

// leave waits for leave to connect.
func (s *Source) leave(ctx context.Context) (*leash, error) {
	if s.cfg.Throttle == nil {
		return nil, nil
	}
	l := &leash{t: s.cfg.Throttle}
	l.life, l.end = context.WithCancel(context.Background())
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-s.gone:
			cancel()
		case <-waiting.Done():
		}
	})
	id, err := l.t.Connect(waiting, func() { l.back.Store(true) })
	if err != nil {
		l.end()
		if ctx.Err() != nil {
			return nil, (&conn{cfg: &s.cfg}).cancelled(ctx)
		}
		return nil, s.closedError()
	}
	l.id = id
	return l, nil
}

// wanted reports whether the connection is wanted back.
func (l *leash) wanted() bool { return l != nil && l.back.Load() }

// release says that the connection has ended.
func (l *leash) release() {
	if l == nil {
		return
	}
	l.once.Do(func() {
		l.end()
		l.t.Disconnect(l.id)
	})
}

// command waits for leave to send a command about so many messages. It returns
// errPaused where that takes too long; the end of the connection is for whoever
// uses that to notice.
func (l *leash) command(messages int) error {
	if l == nil {
		return nil
	}
	if messages > 0 && l.t.Messages(l.life, messages) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.life, patience)
	defer cancel()
	if l.t.Command(ctx, l.id) != nil && l.life.Err() == nil {
		return errPaused
	}
	return nil
}

// idle says that nothing is in flight.
func (l *leash) idle() {
	if l != nil {
		l.t.Idle(l.id)
	}
}

func (l *leash) read(n int, latency time.Duration) {
	if l == nil || n == 0 {
		return
	}
	if latency > 0 {
		l.t.FirstByte(l.id, latency)
	}
	_ = l.t.Read(l.life, n) // the connection has ended, if that is an error
}

func (l *leash) write(n int) {
	if l != nil {
		_ = l.t.Write(l.life, n)
	}
}

// heed tells the Throttle that the server asks for less. That another session
// has the maildrop, or that it is too early for one, is nothing that asking for
// less would help.
func (l *leash) heed(e *mailhaul.Error) {
	if l == nil || e.Hint == hintLock || e.Hint == hintDelay {
		return
	}
	if e.Kind == mailhaul.Transient && e.Hint == hintLater {
		l.t.Failed(e.Scope == mailhaul.ScopeServer, e.Err.Error())
		return
	}
	if e.Kind != mailhaul.Throttled {
		return
	}
	reason := "the server asks for less"
	if e.Err != nil {
		reason = e.Err.Error()
	}
	l.t.Refused(l.id, e.Hint == hintConns, e.Scope == mailhaul.ScopeServer, e.Wait, reason)
}

// failed tells the Throttle that there is no connection, where that is the
// server's doing and may pass.
func (l *leash) failed(ctx context.Context, err error) {
	if l != nil && ctx.Err() == nil && mailhaul.KindOf(err) == mailhaul.Transient {
		l.t.Failed(true, err.Error())
	}
}
