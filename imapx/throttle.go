package imapx

// Leave to do things, where somebody else protects the server.

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Throttle protects a server. Its methods are called from many goroutines; those
// with a context wait, and return an error only when that ends. An id is that of
// a connection. It is one interface, and not several small ones, since whoever
// gives leave has to hear what came of it. Package throttle's Account is one.
type Throttle interface {
	// Connect waits for leave to open a connection and log in. recall may be
	// called, on any goroutine, when the connection is wanted back: no further
	// command is sent on it, and it is ended as soon as those that are in flight
	// have their answers.
	Connect(ctx context.Context, recall func()) (id int64, err error)
	// Disconnect says that the connection has ended.
	Disconnect(id int64)
	// Command waits for leave to send a command. The connection is at work then,
	// until Idle.
	Command(ctx context.Context, id int64) error
	// Idle says that nothing is in flight on the connection.
	Idle(id int64)
	// Messages waits for leave to read or write n messages.
	Messages(ctx context.Context, n int) error
	// Read waits until n octets, which have come, may have come.
	Read(ctx context.Context, n int) error
	// Write waits for leave to send n octets.
	Write(ctx context.Context, n int) error
	// FirstByte says how long the server took to begin the answer to a FETCH or
	// a NOOP, after it had nothing else to answer on the connection.
	FirstByte(id int64, latency time.Duration)
	// Refused says that the server asks for less. connections says that it is
	// their number, server that it is not about this account alone. wait is the
	// time that it named, 0 for none.
	Refused(id int64, connections, server bool, wait time.Duration, reason string)
	// Failed says that the server could not serve now: it refused or reset a
	// connection, or said that something is not available. server says that it
	// is not about this account alone.
	Failed(server bool, reason string)
	// Identified says what the server calls itself (RFC 2971).
	Identified(name string)
}

// errWanted is wrapped by the error of a connection that was given back before
// its user had done with it.
var errWanted = errors.New("the connection was given back, since the server allows fewer")

// leash is what one connection has to do with a Throttle.
type leash struct {
	t    Throttle
	id   int64
	free bool // t never makes anybody wait

	// life ends with the connection. It is kept because the goroutines of the
	// connection, which have no context of anybody's, wait for leave too.
	life context.Context
	end  func()

	mu       sync.Mutex  // protects the fields below
	sending  int         // commands that have leave and are not in the table yet
	called   bool        // the connection is wanted back
	ending   bool        // and is being ended
	refused  bool        // the server said that it was one too many
	callBack func()      // gives it back
	rested   *time.Timer // ends the connection when it has been idle for long
}

// leave waits for leave to connect. It returns nil where nobody is to be asked.
func (cl *Client) leave(ctx context.Context, p *pool) (*leash, error) {
	if cl.cfg.Throttle == nil {
		return nil, nil
	}
	parked, ok := p.parking()
	if !ok {
		return nil, errParked
	}
	l := &leash{t: cl.cfg.Throttle}
	if t, ok := l.t.(interface{ Unlimited() bool }); ok {
		l.free = t.Unlimited()
	}
	l.life, l.end = context.WithCancel(context.Background())
	waiting, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-p.gone:
			cancel(mailhaul.ErrClosed)
		case <-parked: // that will do as well
			cancel(errParked)
		case <-waiting.Done():
		}
	})
	id, err := l.t.Connect(waiting, l.recall)
	if err != nil {
		err = context.Cause(waiting)
	}
	cancel(nil)
	watch.Wait()
	if err != nil {
		l.end()
		return nil, err
	}
	l.id = id
	return l, nil
}

// recall is called when the connection is wanted back.
func (l *leash) recall() {
	l.mu.Lock()
	l.called = true
	back := l.callBack
	l.mu.Unlock()
	if back != nil {
		back()
	}
}

// attach says how the connection is given back.
func (l *leash) attach(back func()) {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.callBack = back
	called := l.called
	l.mu.Unlock()
	if called {
		back()
	}
}

// wanted reports whether the connection is wanted back.
func (l *leash) wanted() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.called
}

// restful is how long a connection with nothing in flight is kept. Where there is
// no leave for hours (a schedule says stop, or the server has named a time) it
// must not be held all that time: it is one that the server's users do without,
// and servers end it after half an hour at the latest (RFC 9051 section 5.4).
const restful = 10 * time.Minute

// rest starts or stops the time that the connection may be idle.
func (l *leash) rest(idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.life.Err() != nil:
	case l.rested == nil && idle:
		l.rested = time.AfterFunc(restful, l.recall)
	case l.rested != nil && idle:
		l.rested.Reset(restful)
	case l.rested != nil:
		l.rested.Stop()
	}
}

// part reports whether the connection is wanted back and nobody ends it yet.
// The caller does, if nothing is in flight.
func (l *leash) part() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.called || l.ending || l.sending > 0 {
		return false
	}
	l.ending = true
	return true
}

// leaving reports whether the connection is being given back.
func (l *leash) leaving() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ending
}

// send notes that a command is about to be sent. It returns false where the
// connection is wanted back, unless the command is to be sent anyway.
func (l *leash) send(anyway bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.called && !anyway {
		return false
	}
	l.sending++
	return true
}

// release says that the connection has ended.
func (l *leash) release() {
	if l != nil {
		l.end()
		l.mu.Lock()
		if l.rested != nil {
			l.rested.Stop()
		}
		l.mu.Unlock()
		l.t.Disconnect(l.id)
	}
}

func (l *leash) read(n int, latency time.Duration) {
	if latency > 0 {
		l.t.FirstByte(l.id, latency)
	}
	_ = l.t.Read(l.life, n) // the connection has ended, if that is an error
}

func (l *leash) write(n int) { _ = l.t.Write(l.life, n) }

// yields is how long a command waits for those that are in flight on a
// connection that is wanted back. What holds them up may be waiting for whoever
// sends it, and then it is sent all the same.
const yields = 30 * time.Second

// brief is how long a LOGOUT waits for leave.
const brief = 10 * time.Millisecond

// mayBegin waits for leave to send a command, or one with messages in it. When
// that is in the table, or will never be, the caller calls begun. On a
// connection that is wanted back there is no leave: the error says so when
// nothing is in flight any more, and another connection does as well, when
// there is leave for one.
func (c *conn) mayBegin(ctx context.Context, op string, messages int) (begun func(), err error) {
	l := c.leash
	if l == nil || c.phase() != "" {
		return func() {}, nil // whoever may connect may log in
	}
	waiting, cancel := ctx, func() {}
	if !l.free {
		waiting, cancel = context.WithCancel(ctx)
		defer context.AfterFunc(l.life, cancel)()
	}
	defer cancel()
	if op == opLogout && !l.free { // which nobody needs: where there is no leave the connection is closed
		var end func()
		waiting, end = context.WithTimeout(waiting, brief)
		defer end()
	}
	for ask := true; ask; {
		patient := true
		if l.wanted() && op != opLogout && !c.unsettled() {
			err = c.part(waiting)
			patient = false
		}
		if err == nil && messages > 0 {
			err = l.t.Messages(waiting, messages)
			messages = 0
		}
		if err == nil {
			err = l.t.Command(waiting, l.id)
		}
		if err != nil {
			if dead := c.reason(); dead != nil {
				return nil, dead
			}
			return nil, c.cancelled(ctx)
		}
		// It may be wanted back by now.
		ask = !l.send(op == opLogout || !patient || c.unsettled())
	}
	l.rest(false)
	return func() {
		l.mu.Lock()
		l.sending--
		l.mu.Unlock()
		c.rest()
	}, nil
}

// part waits for the end of a connection that is wanted back. It returns nil
// where that does not come for long.
func (c *conn) part(ctx context.Context) error {
	c.mu.Lock()
	gates := slices.Clone(c.bounded)
	c.mu.Unlock()
	for _, g := range gates {
		g.open() // as for a command that is sent
	}
	c.rest()
	timer := time.NewTimer(yields)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.dead:
		return errWanted
	case <-timer.C:
		return nil
	}
}

// unsettled reports whether something has to be looked into on this connection,
// and on no other, though nothing may be in flight.
func (c *conn) unsettled() bool {
	c.mu.Lock()
	doubts := c.doubts
	c.mu.Unlock()
	return doubts != nil && doubts()
}

// doubt makes f say whether the connection is unsettled; nil: it is not.
func (c *conn) doubt(f func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubts = f
}

// rest tells the Throttle when nothing is in flight, and gives the connection
// back if it is wanted.
func (c *conn) rest() {
	l := c.leash
	if l == nil {
		return
	}
	c.mu.Lock()
	idle := len(c.table) == 0
	c.mu.Unlock()
	l.mu.Lock()
	idle = idle && l.sending == 0
	back := l.callBack
	if !l.called || l.ending {
		back = nil
	}
	l.mu.Unlock()
	if idle {
		l.t.Idle(l.id)
		l.rest(true)
		if back != nil {
			back()
		}
	}
}

// failed tells the Throttle that there is no connection, where that is the
// server's doing and may pass.
func (l *leash) failed(ctx context.Context, err error) {
	if l != nil && ctx.Err() == nil && mailhaul.KindOf(err) == mailhaul.Transient {
		l.t.Failed(true, err.Error())
	}
}

// mayTake waits for leave to take a message off the wire.
func (c *conn) mayTake() {
	if c.leash != nil {
		_ = c.leash.t.Messages(c.leash.life, 1)
	}
}

// heed tells the Throttle that the server asks for less.
func (c *conn) heed(e *mailhaul.Error) {
	if c.leash == nil {
		return
	}
	if e.Kind == mailhaul.Transient && (e.Code == "UNAVAILABLE" || e.Code == "SERVERBUG") {
		c.leash.t.Failed(e.Scope == mailhaul.ScopeServer, e.Err.Error())
		return
	}
	if e.Kind != mailhaul.Throttled {
		return
	}
	connections := strings.HasSuffix(e.Hint, hintConns)
	if connections { // which several errors may tell of
		c.leash.mu.Lock()
		known := c.leash.refused
		c.leash.refused = true
		c.leash.mu.Unlock()
		if known {
			return
		}
	}
	reason := "the server asks for less"
	if e.Err != nil {
		reason = e.Err.Error()
	}
	c.leash.t.Refused(c.leash.id, connections, e.Scope == mailhaul.ScopeServer, e.Wait, reason)
}

// prompt reports whether the answer to a command begins when the server comes
// to it, whatever the answer's size.
func prompt(op string) bool { return op == opFetch || op == opNoop }

// timed says that the latency of the answer to the next Write is worth
// measuring.
func (l *link) timed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.throttle != nil {
		l.measure = true
	}
}

// next says that the server has answered one command and has another one, sent
// before, to answer.
func (l *link) next() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.throttle != nil {
		l.asked = time.Now()
	}
}
