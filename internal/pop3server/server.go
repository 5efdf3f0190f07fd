// The server: its users, its listeners, its connections.

package pop3server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mailhaul/mailhaul/internal/mempipe"
)

// Options describe a server. The zero value is a friendly modern one.
type Options struct {
	// Caps is what CAPA lists, one line each; nil stands for DefaultCaps. SASL,
	// STLS, EXPIRE and LOGIN-DELAY come from other options. NoCapa refuses the
	// command.
	Caps   []string
	NoCapa bool

	// TLSConfig serves ListenTLS, Dial to port 995 and, with STLS, STLS.
	TLSConfig *tls.Config
	STLS      bool

	// AfterSTLS is sent in one packet with the answer to STLS.
	AfterSTLS string

	// AuthMechs are the mechanisms of AUTH: PLAIN, LOGIN, CRAM-MD5, XOAUTH2.
	// Nil stands for PLAIN and LOGIN.
	AuthMechs []string

	// UTF8 announces and takes the command (RFC 6856). A client that does not
	// give it sees nothing of messages with 8-bit header fields.
	UTF8 bool

	// APOP puts a timestamp into the greeting and takes APOP. NoUser refuses
	// USER.
	APOP   bool
	NoUser bool

	// LoginDelay is announced, and enforced between two log-ins of a user;
	// the server may round down to seconds when it announces it.
	LoginDelay time.Duration

	// Expire is announced as it is, as in "0" or "NEVER".
	Expire string

	// NoUIDL and NoTOP refuse the command.
	NoUIDL, NoTOP bool

	// NoPipelining does not announce it. BrokenPipelining announces it and
	// throws away what the client has sent ahead of an answer.
	NoPipelining, BrokenPipelining bool

	// StuffBareLF stuffs dots behind a bare LF too, as some servers do.
	StuffBareLF bool

	// LieCount and LieOctets are added to what STAT says.
	LieCount, LieOctets int

	// ListSize changes the size that LIST and STAT give for a message.
	ListSize func(size int) int

	// TOP changes what TOP returns.
	TOP func(octets []byte) []byte

	// Unlocked lets several sessions of a user in.
	Unlocked bool

	Hooks Hooks
}

// DefaultCaps is what CAPA lists where Options name nothing else.
var DefaultCaps = []string{"TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE", "USER", "IMPLEMENTATION mailhaul"}

// Hooks let a test see and change what the server does. Each may be nil. They
// run on the goroutine of the connection and hold no lock.
type Hooks struct {
	// Wrap may put something between the server and the n-th connection,
	// counted from 1.
	Wrap func(n int, c net.Conn) net.Conn

	// Command is called for each command line before it is carried out.
	Command func(n int, line string) *Override

	// Response may change a whole response before it is written.
	Response func(n int, line string, response []byte) []byte
}

// Override replaces what the server would do with a command.
type Override struct {
	Delay time.Duration // waited first
	Reply string        // written with CRLF behind it, in place of the answer; empty answers nothing
	Close bool          // close the connection after that
	Hang  bool          // answer nothing any more, ever
}

// Server is a POP3 server.
type Server struct {
	opts Options

	mu        sync.Mutex // protects what follows
	users     map[string]*Maildrop
	conns     map[net.Conn]struct{}
	listeners []net.Listener
	closed    bool
	accepted  int
	commands  map[string]int

	done    chan struct{}
	running sync.WaitGroup
}

// New returns a server without users.
func New(opts Options) *Server {
	if opts.Caps == nil {
		opts.Caps = slices.Clone(DefaultCaps)
	}
	without := func(name string) {
		opts.Caps = slices.DeleteFunc(slices.Clone(opts.Caps), func(c string) bool { return strings.EqualFold(c, name) })
	}
	if opts.NoUIDL {
		without("UIDL")
	}
	if opts.NoTOP {
		without("TOP")
	}
	if opts.NoPipelining {
		without("PIPELINING")
	}
	if opts.NoUser {
		without("USER")
	}
	if opts.AuthMechs == nil {
		opts.AuthMechs = []string{"PLAIN", "LOGIN"}
	}
	return &Server{
		opts: opts, users: make(map[string]*Maildrop), conns: make(map[net.Conn]struct{}),
		commands: make(map[string]int), done: make(chan struct{}),
	}
}

// AddUser makes a user with an empty maildrop.
func (s *Server) AddUser(name, password string) *Maildrop {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &Maildrop{password: password}
	s.users[name] = d
	return d
}

// User returns a user's maildrop, or nil.
func (s *Server) User(name string) *Maildrop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[name]
}

// Commands returns how many commands of a name the server has seen.
func (s *Server) Commands(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands[name]
}

// ForgetCommands starts the count of Commands anew.
func (s *Server) ForgetCommands() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.commands)
}

// Connections returns how many connections there were.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Listen accepts connections on a free port of the loopback interface until
// Close.
func (s *Server) Listen() (addr string, err error) { return s.listen(false) }

// ListenTLS is like [Server.Listen], with TLS from the first octet.
func (s *Server) ListenTLS() (addr string, err error) { return s.listen(true) }

func (s *Server) listen(implicitTLS bool) (string, error) {
	if implicitTLS && s.opts.TLSConfig == nil {
		return "", fmt.Errorf("pop3server: ListenTLS without Options.TLSConfig")
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
				return
			}
			_ = s.start(c, implicitTLS)
		}
	})
	return l.Addr().String(), nil
}

// Dial connects in memory, for a client's dial function. The network and the
// host mean nothing; port 995 starts with TLS where Options.TLSConfig is set.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	near, far := mempipe.Pipe()
	_, port, _ := net.SplitHostPort(address)
	if err := s.start(far, port == "995" && s.opts.TLSConfig != nil); err != nil {
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
	s.accepted++
	n := s.accepted
	s.running.Go(func() {
		defer func() {
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
		inner := c
		if s.opts.Hooks.Wrap != nil {
			inner = s.opts.Hooks.Wrap(n, c)
		}
		sess := &session{server: s, number: n}
		if implicitTLS {
			t := tls.Server(inner, s.opts.TLSConfig)
			if t.Handshake() != nil {
				return
			}
			inner, sess.tls = t, true
		}
		sess.use(inner)
		defer sess.finish()
		sess.run()
	})
	return nil
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
