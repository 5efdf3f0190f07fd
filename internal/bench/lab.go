// A lab: servers in a process of their own, or in this one, and the wire to
// them.

package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/delayproxy"
	"github.com/mailhaul/mailhaul/internal/oracle"
)

// ErrMissing is wrapped by the error of Lab.Server where the server is not on
// this machine.
var ErrMissing = errors.New("not on this machine")

// labEnv, set, makes a program a lab.
const labEnv = "MAILHAUL_BENCH_LAB"

// IsLab reports whether this process was started by [StartLab] and is to call
// [ServeLab].
func IsLab() bool { return os.Getenv(labEnv) != "" }

// ServeLab serves whoever started this process until that ends. It returns
// the exit status.
func ServeLab() int {
	s := newService()
	defer s.close()
	serve(s, stdio{os.Stdin, os.Stdout})
	return 0
}

type stdio struct {
	io.ReadCloser
	io.WriteCloser
}

func (s stdio) Close() error { return errors.Join(s.ReadCloser.Close(), s.WriteCloser.Close()) }

func newService() *service { return &service{snapshots: make(map[User]*oracle.Account)} }

func serve(s *service, conn io.ReadWriteCloser) {
	server := rpc.NewServer()
	if err := server.RegisterName("Lab", s); err != nil {
		panic(err)
	}
	server.ServeConn(conn)
}

// Lab is servers, and networks before them. It is for one goroutine.
type Lab struct {
	client   *rpc.Client
	end      func() error
	networks map[network]ProxyReply
}

type network struct {
	addr string
	opts delayproxy.Options
}

// StartLab starts this program again as a lab.
func StartLab() (*Lab, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), labEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return newLab(stdio{out, in}, cmd.Wait), nil
}

// LocalLab has the servers in this process.
func LocalLab() *Lab {
	s := newService()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(s, far)
	}()
	return newLab(near, func() error {
		<-done
		s.close()
		return nil
	})
}

func newLab(conn io.ReadWriteCloser, end func() error) *Lab {
	return &Lab{client: rpc.NewClient(conn), end: end, networks: make(map[network]ProxyReply)}
}

// Close ends the servers.
func (l *Lab) Close() error { return errors.Join(l.client.Close(), l.end()) }

// Server starts a server and returns its number. The error wraps ErrMissing
// where the server is not on this machine.
func (l *Lab) Server(spec ServerSpec) (int, error) {
	var reply ServerReply
	if err := l.client.Call("Lab.Server", spec, &reply); err != nil {
		return 0, err
	}
	if reply.Missing != "" {
		return 0, fmt.Errorf("%w: %s", ErrMissing, reply.Missing)
	}
	return reply.Lab, nil
}

// User makes an account that holds nothing but an empty INBOX.
func (l *Lab) User(server int) (u User, err error) {
	err = l.client.Call("Lab.User", server, &u)
	return u, err
}

// Load puts mail into an account.
func (l *Lab) Load(u User, m Mail) (t Total, err error) {
	err = l.client.Call("Lab.Load", LoadArgs{u, m}, &t)
	return t, err
}

// Drop removes the mail of an account that nobody is logged in to.
func (l *Lab) Drop(u User) error { return l.client.Call("Lab.Drop", u, new(bool)) }

// Count says what an account holds, as it is read from the server.
func (l *Lab) Count(u User) (t Total, err error) {
	err = l.client.Call("Lab.Count", u, &t)
	return t, err
}

// Compare says how two accounts differ. The mail of from must not have changed
// since it was first compared.
func (l *Lab) Compare(from, to User) (differences []string, err error) {
	err = l.client.Call("Lab.Compare", CompareArgs{From: from, To: to}, &differences)
	return differences, err
}

// CompareSizes is Compare for a tool that adds so many octets to each message:
// folders, and the dates and sizes of their messages in any order.
func (l *Lab) CompareSizes(from, to User, added int) (differences []string, err error) {
	err = l.client.Call("Lab.Compare", CompareArgs{From: from, To: to, Added: added}, &differences)
	return differences, err
}

// CompareOctets says how the INBOXes of two accounts differ in what POP3
// carries: the octets of their messages, in order.
func (l *Lab) CompareOctets(from, to User) (differences []string, err error) {
	err = l.client.Call("Lab.Compare", CompareArgs{From: from, To: to, POP3: true}, &differences)
	return differences, err
}

// Network returns the account as it is reached over a network with that
// round-trip time. With none there is nothing in between.
func (l *Lab) Network(u User, rtt time.Duration) (User, error) {
	if rtt == 0 {
		return u, nil
	}
	p, err := l.proxy(u, rtt)
	if err != nil {
		return u, err
	}
	at, err := hostPort(p.Addr)
	if err != nil {
		return u, err
	}
	u.Host, u.Port = at.Host, at.Port
	return u, nil
}

// Traffic returns what went over the network of that round-trip time to the
// account's server so far. Without one it is nothing.
func (l *Lab) Traffic(u User, rtt time.Duration) (st delayproxy.Stats, err error) {
	if rtt == 0 {
		return st, nil
	}
	p, err := l.proxy(u, rtt)
	if err != nil {
		return st, err
	}
	err = l.client.Call("Lab.ProxyStats", p.Proxy, &st)
	return st, err
}

func (l *Lab) proxy(u User, rtt time.Duration) (ProxyReply, error) {
	n := network{u.Addr(), delayproxy.Options{RTT: rtt}}
	if p, ok := l.networks[n]; ok {
		return p, nil
	}
	var reply ProxyReply
	if err := l.client.Call("Lab.Proxy", ProxyArgs{n.addr, n.opts}, &reply); err != nil {
		return reply, err
	}
	l.networks[n] = reply
	return reply, nil
}

// hostPort splits an address.
func hostPort(addr string) (srv mailhaul.Server, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return srv, err
	}
	srv.Host = host
	srv.Port, err = strconv.Atoi(port)
	return srv, err
}
