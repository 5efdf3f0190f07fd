package pop3x

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
)

// inbox is the one mailbox of a POP3 account.
const inbox = "INBOX"

// Source is a POP3 account: a [mailhaul.Source] with one mailbox, INBOX. It is
// safe for concurrent use, with one Reader at a time: a second OpenReader waits
// until the first is closed. The session is kept for the next Reader, and it
// never retries anything.
type Source struct {
	cfg    Config
	meter  meter
	facts  facts
	number atomic.Int64  // of connections made
	slot   chan struct{} // holds a token while a Reader, or List, has the session
	gone   chan struct{} // closed by Close

	mu       sync.Mutex // protects what follows
	idle     *session   // between Readers
	timer    *time.Timer
	listed   *session // the session that the last List spoke of
	conns    map[*conn]struct{}
	closed   bool
	login    time.Time     // the last one
	delay    time.Duration // that the server asks for between two
	pause    time.Time     // no log-in before it
	warnings []string
	dates    [3]int
	closing  sync.WaitGroup // sessions that end because nobody uses them
}

var (
	_ mailhaul.Source = (*Source)(nil)
	_ mailhaul.Meter  = (*Source)(nil)
	_ mailhaul.Warner = (*Source)(nil)
	_ mailhaul.Reader = (*Reader)(nil)
)

// New returns a Source. It connects to nothing yet. An error names all
// mistakes in the configuration.
func New(cfg Config) (*Source, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Source{
		cfg: cfg.withDefaults(), slot: make(chan struct{}, 1), gone: make(chan struct{}), conns: make(map[*conn]struct{}),
	}, nil
}

// Account implements [mailhaul.Source].
func (s *Source) Account() mailhaul.Account { return s.cfg.Server.Account() }

// Traffic implements [mailhaul.Meter]. A connection's greeting counts as a
// round trip.
func (s *Source) Traffic() mailhaul.Traffic {
	return mailhaul.Traffic{
		RoundTrips:  s.meter.roundTrips.Load(),
		BytesIn:     s.meter.in.Load(),
		BytesOut:    s.meter.out.Load(),
		Commands:    s.meter.commands.Load(),
		Connections: s.meter.connections.Load(),
	}
}

// Dates counts, for the bodies that were fetched so far, what their dates were
// taken from.
func (s *Source) Dates() map[DateSource]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[DateSource]int)
	for from, n := range s.dates {
		if n > 0 {
			counts[DateSource(from)] = n
		}
	}
	return counts
}

// Warnings implements [mailhaul.Warner].
func (s *Source) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.warnings)
	if n := s.dates[DateHeader] + s.dates[DateNow]; n > 0 {
		out = append(out, fmt.Sprintf("POP3 tells no dates of arrival: %d messages got that of their top Received line, %d that of their Date field, %d the time of the fetch",
			s.dates[DateReceived], s.dates[DateHeader], s.dates[DateNow]))
	}
	return out
}

func (s *Source) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.warnings, text) {
		s.warnings = append(s.warnings, text)
		s.cfg.Logger.Warn(text, "server", s.cfg.Server.Addr())
	}
}

func (s *Source) dated(from DateSource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dates[from]++
}

// fact is something that was found out about the server, for all sessions.
type fact uint8

const (
	provedPipelining fact = 1 << iota
	noPipelining
	topEqual   // TOP returns what RETR does
	topDiffers // it does not, or there is none
	sizesExact // LIST tells sizes as they are
)

// facts is what the sessions of a Source have found out.
type facts struct{ bits atomic.Uint32 }

func (f *facts) get(x fact) bool { return f.bits.Load()&uint32(x) != 0 }
func (f *facts) set(x fact)      { f.bits.Or(uint32(x)) }

// List implements [mailhaul.Source]. It begins a session, so that wrong
// credentials show at once. Where the maildrop is in use by another program,
// or it is too early for a log-in, INBOX is listed without its Status: to wait
// is for whoever opens it.
func (s *Source) List(ctx context.Context) (*mailhaul.Listing, error) {
	m := mailhaul.Mailbox{Path: []string{inbox}, Name: inbox, Wire: inbox, Role: mailhaul.RoleInbox, Subscribed: true}
	listing := &mailhaul.Listing{Mailboxes: []mailhaul.Mailbox{m}}
	sess, err := s.take(ctx, true)
	if mailhaul.KindOf(err) == mailhaul.Throttled {
		return listing, nil
	}
	if err != nil {
		return nil, err
	}
	st := sess.state()
	listing.Mailboxes[0].Status = &st
	s.mu.Lock()
	s.listed = sess
	s.mu.Unlock()
	s.give(sess)
	return listing, nil
}

func (s *session) state() mailhaul.Status {
	return mailhaul.Status{Messages: uint32(len(s.list))}
}

// OpenReader implements [mailhaul.Source]. See [Reader] for what UIDs mean
// there.
func (s *Source) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	if m.Wire != inbox {
		e := faultOf(&s.cfg, "open", mailhaul.Conflict, mailhaul.ScopeMailbox, errors.New("a POP3 account has no mailbox but INBOX"))
		e.Mailbox = m.Name
		return nil, e
	}
	sess, err := s.take(ctx, false)
	if err != nil {
		return nil, err
	}
	return newReader(s, sess), nil
}

// take waits for the session, and begins one where there is none. With fresh,
// a session that an earlier List spoke of is not good enough.
func (s *Source) take(ctx context.Context, fresh bool) (*session, error) {
	select {
	case <-s.gone:
		return nil, s.closedError()
	default:
	}
	select {
	case s.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, (&conn{cfg: &s.cfg}).cancelled(ctx)
	case <-s.gone:
		return nil, s.closedError()
	}
	s.mu.Lock()
	sess, old := s.idle, s.listed
	s.idle = nil
	if s.timer != nil {
		s.timer.Stop()
	}
	early := s.early() > 0
	s.mu.Unlock()
	if sess != nil && (sess.dead() != nil || sess.spent() || fresh && sess == old && !early) {
		sess.logout()
		sess = nil
	}
	if sess != nil {
		return sess, nil
	}
	sess, err := s.open(ctx)
	if err != nil {
		<-s.slot
		return nil, err
	}
	return sess, nil
}

// give takes a session back, with nothing under way on it.
func (s *Source) give(sess *session) {
	defer func() { <-s.slot }()
	if sess.dead() != nil || sess.spent() {
		s.retire(sess)
		return
	}
	s.mu.Lock()
	keep := !s.closed
	if keep {
		s.idle = sess
		if s.timer == nil {
			s.timer = time.AfterFunc(s.cfg.IdleTime, s.expire)
		} else {
			s.timer.Reset(s.cfg.IdleTime)
		}
	}
	s.mu.Unlock()
	if !keep {
		sess.logout()
	}
}

// retire ends a session that has lasted long enough, and lets the user in
// before the next.
func (s *Source) retire(sess *session) {
	spent := sess.dead() == nil
	sess.logout()
	if spent {
		s.mu.Lock()
		s.pause = time.Now().Add(s.cfg.SessionPause)
		s.mu.Unlock()
	}
}

// Logout ends the session that is kept for the next Reader, if there is one, and
// returns when the server has unlocked the maildrop, or would not. That of an
// open Reader goes on.
func (s *Source) Logout() { s.expire() }

// expire ends a session that nobody has used for a while, so that the maildrop
// is not locked for longer than needed.
func (s *Source) expire() {
	s.mu.Lock()
	sess := s.idle
	s.idle = nil
	if sess != nil && !s.closed {
		s.closing.Add(1)
		defer s.closing.Done()
	}
	s.mu.Unlock()
	if sess != nil {
		sess.logout()
	}
}

// Close implements [mailhaul.Source]: it logs out, and ends the session of an
// open Reader too. It may be called more than once.
func (s *Source) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.gone)
	if s.timer != nil {
		s.timer.Stop()
	}
	idle := s.idle
	s.idle = nil
	var open []*conn
	for c := range s.conns {
		if idle == nil || c != idle.conn {
			open = append(open, c)
		}
	}
	s.mu.Unlock()
	for _, c := range open {
		c.kill(s.closedError())
	}
	if idle != nil {
		idle.logout()
	}
	s.closing.Wait()
	return nil
}

func (s *Source) closedError() error {
	return faultOf(&s.cfg, "open", mailhaul.Permanent, mailhaul.ScopeAccount, mailhaul.ErrClosed)
}

// enter makes a connection known, so that Close ends it. It returns false when
// that has happened already.
func (s *Source) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conns[c] = struct{}{}
	}
	return !s.closed
}

func (s *Source) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// early returns how long it is until the next log-in is allowed. s.mu is held.
func (s *Source) early() time.Duration {
	at := s.pause
	if !s.login.IsZero() && s.delay > 0 {
		if next := s.login.Add(s.delay); next.After(at) {
			at = next
		}
	}
	return time.Until(at)
}

// mayLogIn returns an error where it is too early for another session.
func (s *Source) mayLogIn() error {
	s.mu.Lock()
	wait := s.early()
	s.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	e := faultOf(&s.cfg, opLogin, mailhaul.Throttled, mailhaul.ScopeAccount, errTooEarly)
	e.Wait = wait
	return e
}

var errTooEarly = errors.New("it is too early for another session")

// loggedIn notes a log-in, and what the server said of the next.
func (s *Source) loggedIn(caps capabilities) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login = time.Now()
	s.delay = caps.loginDelay()
}
