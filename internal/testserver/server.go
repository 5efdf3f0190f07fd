// A server that runs: started, killed, started again, stopped.

package testserver

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options is what all kinds of servers have in common.
type Options struct {
	// Users is how many accounts there are from the start: "u1" with the
	// password "pw1", and so on. Default 4.
	Users int

	// Certificate is shown to clients. Default: one that is good for
	// localhost, 127.0.0.1 and ::1, made once for the test binary.
	Certificate *Certificate
}

// Server is a server that runs, or ran. Its methods must be called from the
// goroutine of the test, except Addr, Port, Alive and Log.
type Server struct {
	Instance

	t    testing.TB
	kind Kind
	cert *Certificate
	cmd  Command

	mu      sync.Mutex // protects what follows
	claim   *portClaim
	process *process
	stopped bool
}

// startTries is how often a start is tried on other ports, where a program
// that knows nothing of our claims took one in the meantime.
const startTries = 5

// Start starts a server and arranges for its end when the test ends. It
// returns when all services answer.
func Start(t testing.TB, kind Kind, opts Options) *Server {
	t.Helper()
	require(t, kind)

	var err error
	for range startTries {
		var s *Server
		if s, err = start(t, kind, opts); err == nil {
			t.Cleanup(s.end)
			return s
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	t.Fatalf("cannot start %s: %v", kind.Name(), err)
	return nil
}

func start(t testing.TB, kind Kind, opts Options) (_ *Server, err error) {
	s := &Server{t: t, kind: kind, cert: opts.Certificate}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()

	if s.cert == nil {
		if s.cert, err = defaultCertificate(); err != nil {
			return nil, err
		}
	}
	if s.Root, err = makeRoot(); err != nil {
		return nil, err
	}
	s.CertFile = filepath.Join(s.Root, "cert.pem")
	s.KeyFile = filepath.Join(s.Root, "key.pem")
	if err := os.WriteFile(s.CertFile, s.cert.CertPEM, 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.KeyFile, s.cert.KeyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.RootsFile(), s.cert.RootPEM, 0o644); err != nil {
		return nil, err
	}

	s.Host = "127.0.0.1"
	hosts := []string{s.Host}
	if hasIPv6() {
		s.Host6 = "::1"
		hosts = append(hosts, s.Host6)
	}
	services := kind.Services()
	if s.claim, err = claimPorts(len(services), hosts...); err != nil {
		return nil, err
	}
	s.ports = make(map[Service]int, len(services))
	for i, service := range services {
		s.ports[service] = s.claim.first + i
	}

	users := opts.Users
	if users == 0 {
		users = 4
	}
	for i := 1; i <= users; i++ {
		s.Users = append(s.Users, User{fmt.Sprintf("u%d", i), fmt.Sprintf("pw%d", i)})
	}
	if s.cmd, err = kind.Configure(&s.Instance); err != nil {
		return nil, err
	}
	if s.cmd.StartTimeout == 0 {
		s.cmd.StartTimeout = 20 * time.Second
	}
	return s, s.run()
}

// errPortTaken is returned where somebody else listens on one of the ports.
var errPortTaken = errors.New("a port was taken by another program")

// run starts the process and waits until every service that speaks first has
// spoken.
func (s *Server) run() error {
	p, err := startProcess(s.cmd, s.Root, s.outputFile())
	if err != nil {
		return err
	}
	s.process = p
	deadline := time.Now().Add(s.cmd.StartTimeout)
	for _, service := range s.kind.Services() {
		if !service.greets() {
			continue
		}
		if err := awaitGreeting(s.Instance.Addr(service), p.done, deadline); err != nil {
			log := s.Log()
			if strings.Contains(log, "Address already in use") {
				err = fmt.Errorf("%w: %w", errPortTaken, err)
			}
			return fmt.Errorf("%s does not answer: %w\n%s", service, err, log)
		}
	}
	return nil
}

// awaitGreeting returns when the server at addr has sent a line. That it
// accepts a connection proves nothing: a master process accepts before its
// children can serve.
func awaitGreeting(addr string, ended <-chan struct{}, deadline time.Time) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := greeting(addr, deadline)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-ended:
			return errors.New("the program ended")
		case <-time.After(pause):
		}
	}
}

func greeting(addr string, deadline time.Time) error {
	conn, err := net.DialTimeout("tcp", addr, time.Until(deadline))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	_, err = bufio.NewReader(conn).ReadSlice('\n')
	return err
}

// Kind returns the server's name, such as "dovecot".
func (s *Server) Kind() string { return s.kind.Name() }

// Roots holds the authority that signed the server's certificate.
func (s *Server) Roots() *x509.CertPool { return s.cert.Roots }

// RootsFile is a PEM file with the same authority.
func (s *Server) RootsFile() string { return filepath.Join(s.Root, "ca.pem") }

// Certificate is what the server shows to its clients.
func (s *Server) Certificate() *Certificate { return s.cert }

// AddUser makes an account, or changes the password of one.
func (s *Server) AddUser(name, password string) User {
	s.t.Helper()
	u := User{name, password}
	if err := s.kind.AddUser(&s.Instance, u); err != nil {
		s.t.Fatalf("cannot add user %s to %s: %v", name, s.Kind(), err)
	}
	s.Users = slices.DeleteFunc(s.Users, func(v User) bool { return v.Name == name })
	s.Users = append(s.Users, u)
	return u
}

// Kill ends every process of the server with SIGKILL, as a power cut would.
// Data and ports stay: Restart goes on from there.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.kill(); err != nil {
		s.t.Fatalf("cannot kill %s: %v", s.Kind(), err)
	}
}

// Restart kills the server where it runs and starts it again, on the same
// ports and data.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.kill(); err != nil {
		s.t.Fatalf("cannot kill %s: %v", s.Kind(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		s.t.Fatalf("%s was stopped for good", s.Kind())
	}
	if err := s.run(); err != nil {
		s.t.Fatalf("cannot start %s again: %v", s.Kind(), err)
	}
}

// Stop ends the server for good and removes its directory. The end of the test
// does it too.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Errorf("cannot stop %s: %v", s.Kind(), err)
	}
}

// Alive reports whether the server's main process runs.
func (s *Server) Alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return false
	}
	select {
	case <-s.process.done:
		return false
	default:
		return true
	}
}

// end is what the end of the test does.
func (s *Server) end() {
	if s.t.Failed() {
		if log := s.Log(); log != "" {
			s.t.Logf("log of %s:\n%s", s.Kind(), log)
		}
	}
	s.Stop()
}

func (s *Server) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.killLocked()
}

func (s *Server) killLocked() error {
	if s.process == nil {
		return nil
	}
	err := s.process.kill()
	s.process = nil
	return err
}

func (s *Server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	err := s.killLocked()
	if s.claim != nil {
		err = errors.Join(err, s.claim.Close())
	}
	if s.Root != "" {
		err = errors.Join(err, os.RemoveAll(s.Root))
	}
	return err
}

// outputFile is where standard output and standard error go.
func (s *Server) outputFile() string { return filepath.Join(s.Root, "output") }

// LogFile is where a Kind makes its server log to, so that Log finds it.
func (in *Instance) LogFile() string { return filepath.Join(in.Root, "log") }

// maxLog is how much of each file Log returns.
const maxLog = 16 << 10

// Log returns the end of what the server logged and printed.
func (s *Server) Log() string {
	var b strings.Builder
	for _, name := range []string{s.outputFile(), s.LogFile()} {
		text, err := os.ReadFile(name)
		if err != nil || len(text) == 0 {
			continue
		}
		if len(text) > maxLog {
			text = text[len(text)-maxLog:]
			b.WriteString("…")
		}
		b.Write(text)
	}
	return b.String()
}
