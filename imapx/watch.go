package imapx

// Hearing of changes: a connection of its own that listens, by the best way
// that the server offers.

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

const (
	// idleTime is how long one IDLE lasts. RFC 2177 has a server end it after
	// 30 minutes; less is for what stands between: it may forget a connection
	// that is silent, and that such a one is dead shows here at the latest.
	idleTime = 9 * time.Minute

	// noopTime is how often a server without IDLE is asked what is new. One
	// NOOP is a look at one mailbox.
	noopTime = 10 * time.Second

	// idleLeast is how long an IDLE has to last: a server that ends it at once
	// would be asked without a pause.
	idleLeast = time.Second
)

// Watch implements [mailhaul.Watcher]. With NOTIFY (RFC 5465) the server tells
// of all mailboxes, with IDLE (RFC 2177) of the first; one that has neither is
// asked about the first every 10 seconds, by NOOP.
//
// It takes one connection of Config.Connections for as long as it lasts. Where
// these are fewer than two there is none to spare. A Throttle may want the
// connection back, which ends it with an error that is Transient.
func (cl *Client) Watch(ctx context.Context, mailboxes []mailhaul.Mailbox, l mailhaul.Listener) error {
	if cl.cfg.Connections < 2 {
		return fmt.Errorf("watch %s: there is no connection to spare: %w", cl.cfg.Server.Addr(), mailhaul.ErrUnsupported)
	}
	if len(mailboxes) == 0 {
		return fmt.Errorf("watch %s: there is no mailbox: %w", cl.cfg.Server.Addr(), mailhaul.ErrUnsupported)
	}
	c, err := cl.pool.get(ctx, mailboxes[0].Wire)
	if err != nil {
		return cl.fault(opWatch, "", err)
	}
	w := &watch{c: c, facts: &cl.facts, boxes: make(map[string]mailhaul.Mailbox, len(mailboxes)), first: mailboxes[0], told: l, wanted: make(chan struct{})}
	for _, m := range mailboxes {
		w.boxes[key(m.Wire)] = m
	}
	wanted := sync.OnceFunc(func() { close(w.wanted) })
	c.leash.attach(func() {
		wanted()
		cl.pool.recall(c)
	})
	c.listen(w.hear)
	err = w.run(ctx)
	c.listen(nil)
	if ctx.Err() != nil {
		w.leave()
	}
	cl.pool.discard(c) // nothing else is to hear what was ordered here
	return c.named(opWatch, w.first.Name, err)
}

// watch is one connection that listens.
type watch struct {
	c      *conn
	facts  *facts
	boxes  map[string]mailhaul.Mailbox // by key
	first  mailhaul.Mailbox
	told   mailhaul.Listener
	wanted chan struct{} // closed when the connection is wanted back

	all    atomic.Bool // NOTIFY is in force, or is just being asked for
	idling bool        // an IDLE is under way

	mu  sync.Mutex // held while a function of told runs
	end bool       // Watch is about to return
}

// run listens until something ends it.
func (w *watch) run(ctx context.Context) error {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.end = true
	}()
	told := []mailhaul.Mailbox{w.first}
	all, err := w.order(ctx)
	if err != nil {
		return err
	}
	if all {
		told = told[:0]
		for _, m := range w.boxes {
			told = append(told, m)
		}
	} else if _, err := w.c.open(ctx, w.first, false); err != nil {
		return err
	}
	listening := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if told != nil && w.told.Listening != nil {
			w.told.Listening(told)
		}
		told = nil
	}
	idle := w.c.can("IDLE")
	for {
		if idle {
			idle, err = w.idle(ctx, listening)
		} else {
			listening()
			err = w.wait(ctx, noopTime, nil)
			if err == nil {
				err = w.c.noop(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

// wait waits for the time to pass, or for the end of a command that should not
// end by itself, or for what ends the watch.
func (w *watch) wait(ctx context.Context, d time.Duration, ended <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ended:
		return nil
	case <-w.wanted:
		return w.c.fault("", mailhaul.Transient, mailhaul.ScopeConnection, errWanted)
	case <-w.c.dead:
		return w.c.reason()
	case <-ctx.Done():
		return w.c.cancelled(ctx)
	}
}

// hear is called for each untagged response that no command wants, on the
// goroutine that reads.
func (w *watch) hear(event any) {
	switch e := event.(type) {
	case existsEvent, expungeEvent, *wire.Fetch:
		if !w.all.Load() {
			w.changed(w.first)
		}
	case *wire.MailboxStatus:
		if w.all.Load() {
			m, ok := w.boxes[key(e.Name)]
			if !ok { // a new one, or one that nobody wants to hear of
				m = mailhaul.Mailbox{Wire: key(e.Name)}
			}
			w.changed(m)
		}
	case *listEvent:
		if w.all.Load() {
			w.changed(mailhaul.Mailbox{})
		}
	case *wire.Status:
		if e.Code == "NOTIFICATIONOVERFLOW" { // RFC 5465 section 5.8: nothing more will be told
			w.c.fail(w.c.fault("", mailhaul.Transient, mailhaul.ScopeConnection, errOverflow))
		}
	}
}

func (w *watch) changed(m mailhaul.Mailbox) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.end && w.told.Changed != nil {
		w.told.Changed(m)
	}
}

// leave takes leave of the server, which is given half a second for it.
func (w *watch) leave() {
	if w.idling {
		w.done()
	}
	w.c.logout()
}
