package pop3x

// A session: one log-in, during which the maildrop does not change, and the
// pump that fetches what it holds.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// session is one log-in.
type session struct {
	*conn
	src       *Source
	caps      capabilities
	pipelined bool
	list      []entry
	own       bool // the unique-ids are ours: the server has none
	began     time.Time

	mu      sync.Mutex // protects what follows
	queue   []*item
	pending int // items whose answer has not come yet
	running bool
	idle    sync.WaitGroup // the pump, while it runs
	bytes   int64          // fetched in this session
}

// item is one message, or a part of it, that is to be fetched.
type item struct {
	number int
	lines  int64 // of TOP; retrieve for RETR
	listed int64
	got    func(b *body, err error) // called by the pump, once
}

// retrieve as item.lines stands for RETR, allLines for a TOP that returns the
// whole message.
const (
	retrieve = -1
	allLines = 2147483647
)

// command returns the line that asks for the item.
func (i *item) command() string {
	if i.lines == retrieve {
		return fmt.Sprintf("RETR %d", i.number)
	}
	return fmt.Sprintf("TOP %d %d", i.number, i.lines)
}

// expected is the number of octets that are to come.
func (i *item) expected() int64 {
	if i.lines == retrieve || i.lines == allLines {
		return max(i.listed, 0)
	}
	return 4 << 10 // a header
}

// open logs in and reads the listing.
func (s *Source) open(ctx context.Context) (*session, error) {
	if err := s.mayLogIn(); err != nil {
		return nil, err
	}
	leash, err := s.leave(ctx)
	if err != nil {
		return nil, err
	}
	raw, nc, err := dial(ctx, &s.cfg, &s.meter)
	if err != nil {
		leash.release()
		leash.failed(ctx, err)
		return nil, err
	}
	c := newConn(&s.cfg, &s.meter, s.number.Add(1), raw, nc, leash)
	sess := &session{conn: c, src: s, began: time.Now()}
	if !s.enter(c) {
		c.kill(mailhaul.ErrClosed)
		return nil, s.closedError()
	}
	if err := sess.start(ctx); err != nil {
		c.kill(err)
		s.forget(c)
		return nil, err
	}
	s.cfg.Logger.Debug("pop3 session has begun", "connection", c.number, "server", s.cfg.Server.Addr(), "messages", len(sess.list))
	return sess, nil
}

// start brings a session from its greeting to its listing.
func (s *session) start(ctx context.Context) (err error) {
	if s.caps, err = s.establish(ctx); err != nil {
		return err
	}
	s.src.loggedIn(s.caps)
	s.pipelined = s.caps.has("PIPELINING") && !s.src.facts.get(noPipelining)
	defer s.while(ctx)()
	if err := s.readAll(); err != nil {
		return err
	}
	s.leash.idle()
	return s.identify(ctx)
}

// readAll asks for the listing, all at once where that can be.
func (s *session) readAll() error {
	commands := []string{"STAT", "UIDL", "LIST"}
	again := s.caps != nil && (s.pipelined || len(s.caps["EXPIRE"]) > 0)
	if again { // what it says may be another user's until the log-in
		commands = append([]string{"CAPA"}, commands...)
	}
	if s.pipelined && !s.src.facts.get(provedPipelining) {
		// A server that throws away what comes ahead of its answer is not to
		// cost the whole timeout.
		timeout := s.link.timeout
		s.link.timeout = min(timeout, proofTime)
		defer func() { s.link.timeout = timeout }()
	}
	err := s.exchange(commands, again)
	switch {
	case err == nil && s.pipelined:
		s.src.facts.set(provedPipelining)
	case err != nil && s.pipelined && !s.src.facts.get(provedPipelining) &&
		lostConnection(err):
		s.src.facts.set(noPipelining)
		s.src.warn("the server announces PIPELINING and does not take commands ahead of its answers; messages are fetched one at a time")
		e := s.fault(opList, mailhaul.Transient, mailhaul.ScopeConnection, err)
		e.Hint = "connect again; commands are then sent one by one"
		return e
	}
	return err
}

// lostConnection reports whether err is the end of a connection that nobody
// here wanted.
func lostConnection(err error) bool {
	e, ok := errors.AsType[*mailhaul.Error](err)
	return ok && e.Kind == mailhaul.Transient && e.Scope == mailhaul.ScopeConnection &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// proofTime is how long the first answers to commands that were sent together
// may take.
const proofTime = 20 * time.Second

// exchange sends the commands, together or one by one, and reads the answers.
func (s *session) exchange(commands []string, capaFirst bool) error {
	s.phase = opList
	sent := 0
	send := func() error { // the next command, or all
		for sent < len(commands) {
			if err := s.mayAsk(0); err != nil {
				return err
			}
			if err := s.say(commands[sent], commands[sent]); err != nil {
				return err
			}
			sent++
			if !s.pipelined {
				break
			}
		}
		return s.flush()
	}
	if capaFirst {
		if err := send(); err != nil {
			return err
		}
		caps, err := s.readCapabilities()
		if err != nil {
			return err
		}
		if caps != nil {
			if args := caps["EXPIRE"]; len(args) > 0 && args[0] == "0" && !s.cfg.AllowExpire0 {
				return s.failed(s.expires())
			}
			s.src.loggedIn(caps)
			if name := caps["IMPLEMENTATION"]; len(name) > 0 && s.leash != nil {
				s.leash.t.Identified(strings.Join(name, " "))
			}
		}
	}
	if err := send(); err != nil {
		return err
	}
	count, octets, err := s.readStat()
	if err != nil {
		return err
	}
	s.list = make([]entry, count)
	if err := send(); err != nil {
		return err
	}
	supported, err := s.readListing("UIDL", count, func(n int, value string) error {
		if err := checkUIDL(value); err != nil {
			return err
		}
		s.list[n-1].uidl = mailhaul.UIDL(value)
		return nil
	})
	if err != nil {
		return err
	}
	s.own = !supported
	if err := send(); err != nil {
		return err
	}
	var sum int64
	if _, err := s.readListing("LIST", count, func(n int, value string) (err error) {
		s.list[n-1].size, err = parseSize(value)
		sum += s.list[n-1].size
		return err
	}); err != nil {
		return err
	}
	if sum != octets {
		s.src.warn(fmt.Sprintf("the server counts %d octets in STAT and %d in LIST; sizes are measured", octets, sum))
	}
	return nil
}

// fetch queues items and sees to it that the pump runs.
func (s *session) fetch(items ...*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, items...)
	s.pending += len(items)
	if !s.running && len(s.queue) > 0 {
		s.running = true
		s.idle.Go(s.pump)
	}
}

// take returns the next item to ask for, or nil.
func (s *session) take() *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	i := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	return i
}

// rest ends the pump where nothing is left to do.
func (s *session) rest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		return false
	}
	s.running = false
	return true
}

// maxAhead is how many commands may be ahead of their answers: so few that
// they always fit into the buffers on the way, so that neither side ever waits
// for the other to read.
const maxAhead = 512

// pump asks for what is queued, as far ahead as the window allows, and reads
// the answers. It owns the connection while it runs.
func (s *session) pump() {
	var sent []*item
	var inFlight int64
	var held *item // taken, but not asked for yet
	for {
		var paused error
		s.phase = opFetch
		for {
			if held == nil {
				held = s.take()
			}
			if held == nil || len(sent) > 0 && (!s.pipelined || len(sent) >= maxAhead || inFlight+held.expected() > s.cfg.Window) {
				break
			}
			if s.leash != nil {
				paused = s.mayAsk(1)
			}
			if line := held.command(); paused != nil || s.say(line, line) != nil {
				break
			}
			inFlight += held.expected()
			sent = append(sent, held)
			held = nil
		}
		if err := s.flush(); err != nil {
			s.abandon(err, append(sent, held)...)
			return
		}
		if len(sent) == 0 {
			if paused != nil {
				s.abandon(paused, held)
				return
			}
			s.leash.idle()
			if s.rest() {
				return
			}
			continue
		}
		next := sent[0]
		if err := s.receive(next); err != nil {
			if errors.Is(err, errSilent) && len(sent) > 1 {
				s.src.facts.set(noPipelining) // it may be that; one at a time is certain
			}
			s.abandon(err, append(sent, held)...)
			return
		}
		sent = sent[1:]
		inFlight -= next.expected()
	}
}

// abandon tells everyone who waits for an answer that none comes.
func (s *session) abandon(err error, items ...*item) {
	s.kill(err)
	s.mu.Lock()
	items = append(items, s.queue...)
	s.queue, s.running = nil, false
	s.mu.Unlock()
	for _, i := range items {
		if i != nil {
			s.answer(i, nil, err)
		}
	}
}

// answer hands an item's answer to whoever asked for it.
func (s *session) answer(i *item, b *body, err error) {
	s.mu.Lock()
	s.pending--
	if b != nil {
		s.bytes += b.Size()
	}
	s.mu.Unlock()
	i.got(b, err)
}

// receive reads the answer to an item. An error is fatal.
func (s *session) receive(i *item) error {
	st, err := s.status()
	if err != nil {
		return err
	}
	if st.more {
		return s.failed(s.violation("the server asks for more in the middle of nothing"))
	}
	if !st.ok {
		e := s.refused(st)
		if e.Scope != mailhaul.ScopeMessage {
			return s.failed(e)
		}
		s.answer(i, nil, s.about(e, i.number))
		return nil
	}
	b, fatal, own := s.readBody(i.expected())
	if fatal != nil {
		return fatal
	}
	if own != nil {
		e := s.fault(opFetch, mailhaul.Permanent, mailhaul.ScopeMessage, own)
		if _, disk := errors.AsType[*spoolError](own); disk {
			e.Kind, e.Scope = mailhaul.Transient, mailhaul.ScopeConnection
			e.Hint = "make room in the folder for temporary files"
			return s.failed(e)
		}
		s.answer(i, nil, s.about(e, i.number))
		return nil
	}
	s.answer(i, b, nil)
	return nil
}

// about fills in which message an error is about.
func (s *session) about(e *mailhaul.Error, number int) *mailhaul.Error {
	e.Mailbox = inbox
	e.UID = mailhaul.UID(number)
	if !s.own {
		e.UIDL = s.list[number-1].uidl
	}
	return e
}

// busy reports whether any answer is awaited.
func (s *session) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending > 0
}

// spent reports whether the session has lasted long enough.
func (s *session) spent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.began) > s.cfg.SessionTime || s.bytes > s.cfg.SessionBytes || s.leash.wanted()
}

// quitTime bounds the good-bye.
const quitTime = 5 * time.Second

// logout ends the session in order, so that the server unlocks the maildrop
// at once. Nothing is lost where it fails: nothing was to be changed.
func (s *session) logout() {
	defer s.src.forget(s.conn)
	if s.dead() == nil {
		s.link.timeout = min(s.link.timeout, quitTime)
		if st, err := s.ask(opQuit, "QUIT"); err == nil && !st.ok {
			s.cfg.Logger.Warn("the server did not take QUIT", "server", s.cfg.Server.Addr(), "text", quote(st.text))
		}
	}
	s.kill(mailhaul.ErrClosed)
}

// all fetches items and waits for them.
func (s *session) all(ctx context.Context, items []*item, got func(i int, b *body, err error) error) error {
	type answer struct {
		i   int
		b   *body
		err error
	}
	answers := make(chan answer, len(items))
	for n, i := range items {
		i.got = func(b *body, err error) { answers <- answer{n, b, err} }
	}
	defer s.while(ctx)()
	s.fetch(items...)
	var failure error
	for range items {
		a := <-answers
		switch {
		case failure == nil && (a.err == nil || messageOnly(a.err)):
			if err := got(a.i, a.b, a.err); err != nil {
				failure = err
			}
		case a.b != nil:
			a.b.Release()
		default:
			failure = a.err
		}
	}
	return failure
}

func messageOnly(err error) bool {
	e, ok := errors.AsType[*mailhaul.Error](err)
	return ok && e.Scope == mailhaul.ScopeMessage
}
