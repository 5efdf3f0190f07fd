// The server: users, listeners, connections, and their end.

package imapserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mailhaul/mailhaul/internal/mempipe"
)

// Server is an IMAP server. Make one with [New].
type Server struct {
	opts      Options
	caps      map[string]bool // upper case
	commands  map[string]command
	permanent permanent
	done      chan struct{} // closed by Close
	counters  counters
	boxesMade atomic.Uint32
	readers   sync.Pool // of *bufio.Reader
	writers   sync.Pool // of *bufio.Writer

	mu        sync.Mutex // protects all below
	users     map[string]*User
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	closed    bool
	running   sync.WaitGroup
}

// New returns a server without users. It does nothing until it is told to
// listen or is dialled.
func New(opts Options) *Server {
	opts = opts.withDefaults()
	s := &Server{
		opts:      opts,
		caps:      make(map[string]bool),
		commands:  commandTable(),
		permanent: newPermanent(opts.PermanentFlags),
		done:      make(chan struct{}),
		users:     make(map[string]*User),
		conns:     make(map[net.Conn]struct{}),
	}
	s.counters.commands = make(map[string]int64)
	for _, c := range opts.Caps {
		s.caps[strings.ToUpper(c)] = true
	}
	return s
}

// AddUser adds a user with an INBOX, or returns the one of that name with the
// new password.
func (s *Server) AddUser(name, password string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[name]
	if u == nil {
		u = &User{server: s, name: name, boxes: make(map[string]*Mailbox), subscribed: make(map[string]bool), notified: make(map[*notifications]struct{})}
		u.createLocked("INBOX", nil)
		s.users[name] = u
	}
	u.password = password
	return u
}

// AddMaster adds a user who may act as any other: AUTHENTICATE PLAIN with an
// authorization identity.
func (s *Server) AddMaster(name, password string) *User {
	u := s.AddUser(name, password)
	s.mu.Lock()
	defer s.mu.Unlock()
	u.master = true
	return u
}

// User returns the user of that name, or nil.
func (s *Server) User(name string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[name]
}

// Listen accepts connections on a free port of the loopback interface until
// Close.
func (s *Server) Listen() (addr string, err error) { return s.listen(false) }

// ListenTLS is like [Server.Listen], with TLS from the first octet.
func (s *Server) ListenTLS() (addr string, err error) { return s.listen(true) }

func (s *Server) listen(implicitTLS bool) (string, error) {
	if implicitTLS && s.opts.TLSConfig == nil {
		return "", fmt.Errorf("imapserver: ListenTLS without Options.TLSConfig")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = l.Close()
		return "", net.ErrClosed
	}
	s.listeners = append(s.listeners, l)
	s.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				select {
				case <-s.done:
					return
				case <-time.After(10 * time.Millisecond): // out of descriptors, perhaps
					continue
				}
			}
			_ = s.start(c, implicitTLS)
		}
	})
	return l.Addr().String(), nil
}

// Dial connects in memory, for a client's dial function. The network and the
// host mean nothing; port 993 starts with TLS where Options.TLSConfig is set.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	near, far := mempipe.Pipe()
	_, port, _ := net.SplitHostPort(address)
	if err := s.start(far, port == "993" && s.opts.TLSConfig != nil); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: mempipe.Addr(address), Err: syscall.ECONNREFUSED}
	}
	return near, nil
}

// start serves a connection on a goroutine of its own.
func (s *Server) start(c net.Conn, implicitTLS bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return net.ErrClosed
	}
	s.conns[c] = struct{}{}
	n := int(s.counters.connections.Add(1))
	s.counters.open.Add(1)
	s.running.Go(func() {
		defer func() {
			_ = c.Close()
			s.counters.open.Add(-1)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
		s.serve(n, c, implicitTLS)
	})
	return nil
}

func (s *Server) serve(n int, c net.Conn, implicitTLS bool) {
	hooks := &s.opts.Hooks
	if hooks.Accept != nil {
		if err := hooks.Accept(n); err != nil {
			return
		}
	}
	if hooks.Wrap != nil {
		c = hooks.Wrap(n, c)
	}
	sess := &Session{server: s, number: n, raw: countingConn{c, &s.counters}}
	if implicitTLS {
		t := tls.Server(sess.raw, s.opts.TLSConfig)
		if err := t.Handshake(); err != nil {
			return
		}
		sess.tls = true
		sess.conn = t
	} else {
		sess.conn = sess.raw
	}
	defer sess.finish()
	sess.run()
}

// Close ends all listeners and connections and returns when the last goroutine
// has ended.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		for _, l := range s.listeners {
			_ = l.Close()
		}
		for c := range s.conns {
			_ = c.Close()
		}
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// DropConnections closes all connections, as a restart of the server would,
// and returns at once.
func (s *Server) DropConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// has reports whether a capability is switched on.
func (s *Server) has(capability string) bool { return s.caps[capability] }

// capabilities returns what CAPABILITY says on a connection.
func (s *Server) capabilities(sess *Session) string {
	out := []string{"IMAP4rev1"}
	for _, c := range s.opts.Caps {
		switch u := strings.ToUpper(c); {
		case u == "IMAP4REV1":
		case u == "APPENDLIMIT":
			if n := s.opts.AppendLimit; n > 0 {
				out = append(out, "APPENDLIMIT="+strconv.FormatInt(n, 10))
			}
		case u == "COMPRESS=DEFLATE" && (sess.compressed || sess.user == nil):
		default:
			out = append(out, c)
		}
	}
	if sess.user == nil {
		for _, m := range s.opts.AuthMechs {
			out = append(out, "AUTH="+m)
		}
		if s.opts.StartTLS && s.opts.TLSConfig != nil && !sess.tls {
			out = append(out, "STARTTLS")
		}
		if s.opts.LoginDisabled && !sess.tls {
			out = append(out, "LOGINDISABLED")
		}
	}
	return strings.Join(slices.Compact(out), " ")
}

func (s *Server) reader(r flushReader) *bufio.Reader {
	if br, ok := s.readers.Get().(*bufio.Reader); ok {
		br.Reset(r)
		return br
	}
	return bufio.NewReaderSize(r, 16<<10)
}
