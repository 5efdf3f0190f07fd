package dsync

// The part of an exchange in which bodies are sent, and its end.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
)

// session is an exchange that bodies are put into.
type session struct {
	x        *exchange
	ending   chan ending
	stopping atomic.Bool // we have given up ourselves

	mu     sync.Mutex // protects reason
	reason error      // why nothing more can be done
}

// ending is how the server ended the exchange.
type ending struct {
	changed bool // it has given other UIDs than it was told
	whole   bool // it says that all is written
	err     error
}

func newSession(x *exchange) *session {
	s := &session{x: x, ending: make(chan ending, 1)}
	x.p.link.patience = -1 // the source may take its time
	go s.listen()
	return s
}

// listen waits for the server's last words, which come early where something
// goes wrong; writing ends then, too.
func (s *session) listen() {
	var e ending
	p := s.x.p
	state, err := p.one(itemState)
	if err == nil {
		e.changed = state.flag("changes_during_sync")
		var last record
		if last, err = p.one(itemFinish); err == nil {
			err = p.finished(last)
		}
	}
	e.err, e.whole = err, err == nil
	if err != nil && !s.stopping.Load() {
		s.fail(err)
		p.link.Interrupt() // whoever writes
	}
	s.ending <- e
}

// fail notes the first reason why nothing more can be done, and returns it.
func (s *session) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		s.reason = err
	}
	return s.reason
}

func (s *session) stopped() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// put sends a message. Those before it that were left out stay out. They must
// not be named by the way that the protocol has for it, a message without a
// body: an sdbox forgets another message with it, one that it has saved.
func (s *session) put(i int, out mailhaul.Outgoing) error {
	e := &s.x.entries[i]
	if e.requested { // or else it is there already, and is found
		if err := s.x.writeMail(s.x.p.out, e, out, time.Now()); err != nil {
			if _, ok := errors.AsType[*bodyError](err); ok {
				return err
			}
			return s.x.p.lost(err)
		}
	}
	e.sent = true
	return nil
}

// leftOut reports whether the server waits for something that does not come.
func (s *session) leftOut() bool {
	return slices.ContainsFunc(s.x.entries, func(e entry) bool { return e.requested && !e.sent })
}

// finish ends the exchange and returns what became of its messages.
func (s *session) finish(ctx context.Context) ([]mailhaul.Outcome, error) {
	x := s.x
	short := s.leftOut()
	if !short && len(x.entries) > 0 {
		// Dovecot gives a message that others have delivered meanwhile another
		// UID in the end, where it lies among ours. It is not told of the end
		// then.
		strangers, err := s.strangers(ctx)
		if err != nil {
			return nil, err
		}
		short = strangers
		if short {
			x.t.cfg.Logger.Info("mail was delivered while messages were imposed", "server", x.t.where, "mailbox", x.m.Name)
		}
	}
	var e ending
	err := x.p.while(ctx, func() error {
		if short {
			return s.stopShort(&e)
		}
		return s.end(&e)
	})
	if err != nil {
		return nil, err
	}
	x.p.close()
	return s.settle(ctx, e)
}

// end ends the exchange as it should.
func (s *session) end(e *ending) error {
	x := s.x
	x.p.end() // of messages
	x.p.send(itemState, record{
		"mailbox_guid": x.box.guid, "last_uidvalidity": u32(x.given),
		"last_common_uid": "0", "last_common_modseq": "0", "last_common_pvt_modseq": "0",
	})
	x.p.end() // of mailboxes
	if err := x.p.flush(); err != nil {
		return err
	}
	return s.await(e)
}

// await waits for the server's last words, for as long as it may take to write
// down what it has.
func (s *session) await(e *ending) error {
	patience := s.x.t.cfg.ProgressTimeout + time.Duration(len(s.x.entries))*50*time.Millisecond
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case *e = <-s.ending:
		s.ending <- *e
		return e.err
	case <-timer.C:
		return s.x.p.fault(mailhaul.Transient, mailhaul.ScopeConnection, "connect again", fmt.Errorf("%w for %v", errSilent, patience))
	}
}

// stopShort gives up in words that the server understands, and waits until it
// has ended: all that it has got is written down then.
func (s *session) stopShort(e *ending) error {
	x := s.x
	s.stopping.Store(true)
	x.p.out.WriteString(string(itemDone) + "\n")
	if err := x.p.flush(); err != nil {
		return err
	}
	if err := x.p.link.CloseWrite(); err != nil {
		return x.p.lost(err)
	}
	err := s.await(e)
	if errors.Is(err, errGaveUp) || errors.Is(err, io.ErrUnexpectedEOF) {
		return x.drain()
	}
	return err
}

// drain reads until the server has closed the connection.
func (x *exchange) drain() error {
	x.p.link.patience = 0
	n, err := io.Copy(io.Discard, io.LimitReader(x.p.in, maxRest))
	if err == nil && n >= maxRest {
		err = errors.New("it does not stop")
	}
	if err != nil {
		return x.p.lost(err)
	}
	return nil
}

// explain returns the reason for an error of writing: the server's own words,
// where it had any.
func (s *session) explain(err error) error {
	if e := s.stopped(); e != nil {
		return e
	}
	if errors.Is(err, errStuck) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case e := <-s.ending:
		s.ending <- e
		if e.err != nil {
			return e.err
		}
	case <-timer.C:
	}
	return err
}

// close ends the connection. With grace the server is told first, and given
// the time to write down what it has.
func (s *session) close(grace time.Duration) {
	if grace > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		var e ending
		_ = s.x.p.while(ctx, func() error { return s.stopShort(&e) })
		cancel()
	}
	s.x.p.link.Interrupt() // whoever reads
	s.x.p.close()
	<-s.ending
}
