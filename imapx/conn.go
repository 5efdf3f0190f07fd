package imapx

// A connection: its two goroutines, the table of the commands in flight, and
// the routing of what the server sends.

import (
	"crypto/rand"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// conn is one connection to a server, from its greeting on. Two goroutines
// belong to it: one reads, routes what comes and completes commands; one writes
// what is in the outbox. Whoever issues a command does so on a goroutine of his
// own, and gets the untagged responses that he wants on the one that reads.
//
// A conn ends once, by fail, for whatever reason; everything that waits on it
// ends with it. It is never revived.
type conn struct {
	cfg    *Config
	meter  *meter
	number int64 // for the trace
	addr   string
	user   string

	link   *link
	leash  *leash // nil: no Throttle
	out    *outbox
	facts  *facts // what is known to the Client
	framer *wire.Framer
	parser *wire.Parser
	wire   wire.Limits

	dead chan struct{} // closed by fail
	wg   sync.WaitGroup

	mu        sync.Mutex // protects the fields below; held for moments only
	err       error      // why the connection ended
	prefix    string     // of tags
	tags      uint64     // given out
	table     map[string]*command
	wanting   []*command  // those in the table that want untagged responses, oldest first
	bounded   []gate      // queues that make the reading goroutine wait
	downloads []*download // that have commands in flight, oldest first
	awaited   chan string
	bye       *wire.Status
	exists    uint32   // messages in the selected mailbox
	hidden    []string // credentials that may be on the wire now
	phaseName string   // opGreeting, opLogin, and then ""

	doubts   func() bool     // whether something has to be looked into here; nil: nothing has
	listener func(event any) // gets what no command wants; nil: nobody does

	untagged atomic.Int64 // responses since the last command's end

	greeting chan wire.Status // the first response, once

	// Of the goroutine that reads:
	inflater  *inflater // nil: what comes is not compressed
	greeted   bool
	fetch     wire.Fetch
	bodyOf    *download // who has taken the body of the response being read
	malformed int
	strays    int
	leaving   bool // BYE has come
	afterBye  int

	session // what is known since the log-in
}

// newConn takes over a network connection and starts to read from it.
func newConn(cfg *Config, m *meter, number int64, raw, nc net.Conn, leash *leash) *conn {
	c := &conn{
		cfg: cfg, meter: m, number: number,
		addr: cfg.Server.Addr(), user: cfg.Server.Account().User,
		facts:     new(facts),
		link:      newLink(raw, nc, cfg.ProgressTimeout, cfg.Limits.MinRate),
		leash:     leash,
		wire:      cfg.Limits.wire(),
		dead:      make(chan struct{}),
		greeting:  make(chan wire.Status, 1),
		prefix:    newTagPrefix(),
		table:     make(map[string]*command),
		phaseName: opGreeting,
	}
	c.link.throttle = leash
	c.parser = wire.NewParser(c.wire)
	c.framer = wire.NewFramer(c.link, c.wire, c.body)
	c.out = newOutbox(c.link)
	return c
}

// start starts the two goroutines.
func (c *conn) start() {
	c.wg.Go(c.read)
	c.wg.Go(func() {
		if err := c.out.run(c.dead); err != nil {
			// A server that hangs up may have said why: the reading goroutine
			// gets a moment to hear it.
			moment := time.NewTimer(time.Second)
			defer moment.Stop()
			select {
			case <-c.dead:
			case <-moment.C:
			}
			c.fail(c.lost(err))
		}
	})
}

// newTagPrefix returns the letters that begin all tags of a connection. They
// are random, so that no answer can be forged before the first command is
// seen.
func newTagPrefix() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b[:])
}

// fail ends the connection. Only the first call counts. The commands in flight
// are ended by the goroutine that reads, so that nothing of theirs is touched
// by two.
func (c *conn) fail(err error) {
	if c.leash.leaving() { // nothing was in flight but the LOGOUT
		err = c.fault("", mailhaul.Transient, mailhaul.ScopeConnection, errWanted)
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.mu.Unlock()

	close(c.dead)
	c.link.Close()
	c.leash.release()
	c.cfg.Logger.Debug("imap connection ended", slog.Int64("connection", c.number), slog.Any("reason", err))
}

// endAll ends the commands in flight when the connection has ended.
func (c *conn) endAll() {
	c.mu.Lock()
	err := c.err
	table := c.table
	c.table = make(map[string]*command)
	c.wanting = nil
	c.mu.Unlock()
	for _, cmd := range table {
		cmd.end(wire.Status{}, err)
	}
}

// Close ends the connection and returns when its goroutines have ended.
func (c *conn) Close() {
	c.fail(c.fault("", mailhaul.Transient, mailhaul.ScopeConnection, mailhaul.ErrClosed))
	c.wg.Wait()
}

// reason returns why the connection ended, or nil.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// healthy reports whether the connection can serve another operation.
func (c *conn) healthy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && c.bye == nil && len(c.table) == 0
}

func (c *conn) lastBye() *wire.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bye
}

// phase returns the command that an end of the connection answers, as far as
// classify is concerned.
func (c *conn) phase() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phaseName
}

func (c *conn) setPhase(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phaseName = name
}

// messages returns how many messages the selected mailbox has now.
func (c *conn) messages() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exists
}

// read reads and routes responses until the connection ends.
func (c *conn) read() {
	defer c.endAll()
	for {
		resp, err := c.framer.Next()
		if err != nil {
			c.spoiled(err)
			c.fail(c.lost(err))
			return
		}
		c.link.complete()
		if c.cfg.Trace != nil {
			c.trace(false, resp.Text())
		}
		if err := c.handle(resp); err != nil {
			c.fail(err)
			return
		}
	}
}

// greet takes the first response of the connection (RFC 9051 section 7.1).
func (c *conn) greet(resp *wire.Response, s *wire.Scanner) error {
	if resp.Search != nil || resp.Err != nil || s.Head().Kind != wire.StatusLine {
		e := c.violation("the server does not greet as an IMAP server does: %s", wire.Quote(resp.Text()[:min(len(resp.Text()), 600)]))
		e.Scope = mailhaul.ScopeServer
		e.Hint = "check host, port and whether TLS is to be used from the start"
		return e
	}
	st := s.Status()
	if st.Cond != wire.OK && st.Cond != wire.PREAUTH {
		return c.refused(opGreeting, st)
	}
	c.greeted = true
	c.link.expect(-1)
	c.greeting <- st
	return nil
}

// maxAfterBye is how many responses are read after a BYE, and byeTime for how
// long.
const (
	maxAfterBye = 1000
	byeTime     = 10 * time.Second
)

// handle routes one response. An error ends the connection.
func (c *conn) handle(resp *wire.Response) error {
	s := resp.Scan(c.wire)
	if !c.greeted {
		return c.greet(resp, &s)
	}
	if resp.Search == nil && resp.Err == nil {
		head := s.Head()
		switch head.Kind {
		case wire.Tagged:
			return c.tagged(string(head.Tag), s.Status())
		case wire.Continuation:
			c.continuation(string(s.ContinuationText()))
		case wire.Malformed:
			c.complain(resp, wire.ErrSyntax)
		default:
			if err := c.route(resp, head, &s); err != nil {
				return err
			}
		}
	} else if resp.Err != nil {
		c.complain(resp, resp.Err)
		c.dispatch(rawEvent{resp, resp.Err})
	} else if resp.Search.Malformed {
		c.complain(resp, wire.ErrSyntax)
		c.dispatch(resp.Search)
	} else {
		c.dispatch(resp.Search)
	}
	if n := c.untagged.Add(1); n > int64(c.cfg.Limits.MaxResponses) {
		return c.violation("more than %d untagged responses without the end of a command", c.cfg.Limits.MaxResponses)
	}
	if c.leaving {
		if c.afterBye++; c.afterBye > maxAfterBye {
			return c.lost(nil)
		}
	}
	return nil
}

// What commands get to see besides pointers to what package wire parses.
type (
	capabilityEvent []string
	flagsEvent      []mailhaul.Flag
	existsEvent     uint32
	expungeEvent    uint32
	idEvent         map[string]string
	listEvent       struct {
		wire.List
		lsub bool
	}
	quotaRootEvent []string
	quotaEvent     []wire.QuotaResource
)

// route parses an untagged response and hands it to the command that wants it.
// One that cannot be parsed costs itself only.
func (c *conn) route(resp *wire.Response, head wire.Head, s *wire.Scanner) error {
	var event any
	var err error
	switch {
	case head.Kind == wire.StatusLine:
		st := s.Status()
		if st.Cond == wire.BYE {
			c.goodBye(st)
		}
		event = &st
	case head.Kind == wire.Numbered:
		switch {
		case head.Is("FETCH"):
			err = c.parser.Fetch(s, head.Num, &c.fetch)
			if err == nil || c.fetch.Items != 0 {
				c.routeFetch()
			}
			if err != nil {
				c.complain(resp, err)
			}
			return nil
		case head.Is("EXISTS"):
			c.mu.Lock()
			c.exists = head.Num
			c.mu.Unlock()
			event = existsEvent(head.Num)
		case head.Is("EXPUNGE"):
			c.mu.Lock()
			c.exists = max(c.exists, 1) - 1
			c.mu.Unlock()
			event = expungeEvent(head.Num)
		default: // RECENT, and whatever comes
			return nil
		}
	case head.Is("CAPABILITY"):
		event = capabilityEvent(s.Words())
	case head.Is("FLAGS"):
		if flags, ok := c.parser.Flags(s); ok {
			event = flagsEvent(flags)
		}
	case head.Is("LIST"), head.Is("LSUB"), head.Is("XLIST"):
		var l listEvent
		l.List, err = s.List()
		l.lsub = head.Is("LSUB")
		event = &l
	case head.Is("STATUS"):
		var m wire.MailboxStatus
		m, err = s.MailboxStatus()
		event = &m
	case head.Is("NAMESPACE"):
		var ns wire.Namespace
		ns, err = s.Namespace()
		event = &ns
	case head.Is("ID"):
		var id map[string]string
		id, err = s.ID()
		event = idEvent(id)
	case head.Is("QUOTAROOT"):
		var roots []string
		roots, err = s.QuotaRoots()
		event = quotaRootEvent(roots)
	case head.Is("QUOTA"):
		var q []wire.QuotaResource
		_, q, err = s.Quota()
		event = quotaEvent(q)
	default: // ENABLED, VANISHED, METADATA, and whatever comes
		c.dispatch(rawEvent{resp, nil})
		return nil
	}
	if err != nil {
		c.complain(resp, err)
		return nil
	}
	if event != nil {
		c.dispatch(event)
	}
	return nil
}

// goodBye notes that the server is about to end the connection.
func (c *conn) goodBye(st wire.Status) {
	if c.leaving {
		return
	}
	c.leaving = true
	c.mu.Lock()
	c.bye = &st
	c.mu.Unlock()
	c.link.limit(byeTime)
}

// dispatch offers an event to the commands in flight, the oldest first, until
// one takes it.
func (c *conn) dispatch(event any) bool {
	c.mu.Lock()
	wanting, listener := c.wanting, c.listener
	c.mu.Unlock()
	for _, cmd := range wanting {
		if cmd.wants(event) {
			return true
		}
	}
	if listener != nil {
		listener(event)
	}
	return false
}

// listen makes f hear, on the goroutine that reads, of all that no command
// wants.
func (c *conn) listen(f func(event any)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listener = f
}

// routeFetch hands the FETCH response in c.fetch on.
func (c *conn) routeFetch() {
	if c.dispatch(&c.fetch) {
		return
	}
	if b, ok := c.fetch.Body.(mailhaul.Body); ok {
		b.Release()
	}
}

// continuation hands the server's "go ahead" to whoever waits for it.
func (c *conn) continuation(text string) {
	c.mu.Lock()
	awaited := c.awaited
	c.awaited = nil
	c.mu.Unlock()
	if awaited == nil {
		if c.strays++; c.strays == 1 {
			c.cfg.Logger.Warn("imap server asks for octets that nobody wants to send", slog.String("server", c.addr))
		}
		return
	}
	awaited <- text // has room for one
}

// tagged completes a command.
func (c *conn) tagged(tag string, st wire.Status) error {
	c.untagged.Store(0)
	c.inflater.pardon()
	_, started := c.out.positions()
	c.mu.Lock()
	cmd := c.table[tag]
	early := cmd != nil && started <= cmd.at
	due := cmd != nil && cmd.due
	if cmd != nil && !early {
		delete(c.table, tag)
		if cmd.wants != nil {
			if i := slices.Index(c.wanting, cmd); i >= 0 {
				c.wanting = slices.Concat(c.wanting[:i], c.wanting[i+1:]) // dispatch may be reading the old one
			}
		}
	}
	following := len(c.wanting) > 0 && prompt(c.wanting[0].op)
	c.mu.Unlock()
	switch {
	case cmd == nil:
		return c.violation("the server answered a command that was never given, with the tag %s", wire.Quote(tag))
	case early:
		return c.violation("the server answered a command before it was sent")
	}
	if cmd.upgrade != nil && st.Cond == wire.OK {
		if err := cmd.upgrade(); err != nil {
			c.fail(err)
			cmd.end(st, err)
			return err
		}
	}
	if due {
		c.link.expect(-1)
	}
	if c.leash != nil && following && c.framer.Buffered() == 0 {
		c.link.next()
	}
	cmd.end(st, nil)
	c.rest()
	return nil
}

// complain reports a response that could not be used. The first few are
// logged.
func (c *conn) complain(resp *wire.Response, err error) {
	if c.malformed++; c.malformed <= 10 {
		c.cfg.Logger.Warn("imap response passed over", slog.String("server", c.addr), slog.Any("reason", err),
			slog.String("response", wire.Quote(c.redact(string(resp.Text()[:min(len(resp.Text()), 600)])))))
	}
}
