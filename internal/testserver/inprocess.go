// The in-process server, as an Account like any other.

package testserver

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/corpus/inprocess"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// InProcessServer is a server of internal/imapserver that ends with the test.
type InProcessServer struct {
	*imapserver.Server
	opts imapserver.Options
	host string
}

var inProcessServers atomic.Uint32

// InProcess makes an in-process server. Its accounts are reached through
// memory: in the clear, or with implicit TLS where the options have a
// TLSConfig that is good for "localhost".
func InProcess(t testing.TB, opts imapserver.Options) *InProcessServer {
	t.Helper()
	n := inProcessServers.Add(1)
	s := &InProcessServer{
		Server: imapserver.New(opts),
		opts:   opts,
		// Each has an address of its own, so that a checkpoint does not take
		// one server's accounts for another's.
		host: fmt.Sprintf("127.1.%d.%d", n>>8&0xff, n&0xff),
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("cannot close the in-process server: %v", err)
		}
	})
	return s
}

// Kind returns "imapserver".
func (s *InProcessServer) Kind() string { return "imapserver" }

// Account returns how to reach the user "u" and n, whose password is "pw" and
// n, and makes the user where there is none yet.
func (s *InProcessServer) Account(n int) Account {
	u := User{fmt.Sprintf("u%d", n), fmt.Sprintf("pw%d", n)}
	if s.User(u.Name) == nil {
		s.AddUser(u.Name, u.Password)
	}
	a := Account{
		Kind: s.Kind(), User: u.Name, Password: u.Password,
		Server: mailhaul.Server{
			Host: s.host, User: u.Name, Credentials: Password(u.Password),
			Security: mailhaul.Plaintext, Dial: s.Dial,
		},
	}
	if s.opts.TLSConfig != nil {
		a.Server.Security = mailhaul.ImplicitTLS
		a.Server.TLS.ServerName = "localhost"
	}
	return a
}

// Load puts a corpus into the account of user n without a protocol in between.
func (s *InProcessServer) Load(n int, boxes []corpus.Mailbox) {
	a := s.Account(n)
	inprocess.Load(s.User(a.User), s.opts, boxes)
}
