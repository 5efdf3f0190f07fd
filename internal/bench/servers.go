// The servers of a lab, and what is done to the accounts on them.

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/corpus/inprocess"
	"github.com/mailhaul/mailhaul/internal/delayproxy"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// ServerSpec is a server to start.
type ServerSpec struct {
	Kind  string // "imapserver" or "dovecot"
	Store string // of Dovecot: "maildir" (the default), "sdbox" or "mdbox"

	// NoSync keeps Dovecot from syncing files to the disk. Otherwise it does
	// what it does by default.
	NoSync bool
}

// User is an account on a server of the lab, reached without a network in
// between. It is a value.
type User struct {
	Lab      int // the server's number in the lab
	Host     string
	Port     int
	POP3Port int
	Name     string
	Password string
}

// Addr returns host:port.
func (u User) Addr() string { return u.Server().Addr() }

// Server returns how to reach the account, in the clear.
func (u User) Server() mailhaul.Server {
	secret := mailhaul.NewSecret(u.Password)
	return mailhaul.Server{
		Host: u.Host, Port: u.Port, User: u.Name, Security: mailhaul.Plaintext,
		Credentials: func(context.Context) (mailhaul.Secret, error) { return secret, nil },
	}
}

// POP3 returns the account as it is reached over POP3: the INBOX that was
// loaded.
func (u User) POP3() User {
	u.Port = u.POP3Port
	return u
}

// host is one server that runs.
type host struct {
	spec    ServerSpec
	outside *outside
	dovecot *testserver.Server

	imap     *imapserver.Server
	pop3     *pop3server.Server // beside imap, with mail of its own
	addr     string
	pop3Addr string

	users int
}

// service is what a lab does, in the form that net/rpc asks for. Calls come
// one at a time.
type service struct {
	mu        sync.Mutex // protects all
	hosts     []*host
	proxies   []*delayproxy.Proxy
	snapshots map[User]*oracle.Account
}

// ServerReply says which number the server has, or why there is none.
type ServerReply struct {
	Lab     int
	Missing string
}

// Server starts a server.
func (s *service) Server(spec ServerSpec, reply *ServerReply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &host{spec: spec, outside: &outside{}}
	switch spec.Kind {
	case "imapserver":
		h.imap = imapserver.New(imapserver.Options{})
		h.outside.Cleanup(func() { _ = h.imap.Close() })
		var err error
		if h.addr, err = h.imap.Listen(); err != nil {
			return err
		}
		h.pop3 = pop3server.New(pop3server.Options{})
		h.outside.Cleanup(func() { _ = h.pop3.Close() })
		if h.pop3Addr, err = h.pop3.Listen(); err != nil {
			return err
		}
	case "dovecot":
		opts := testserver.DovecotOptions{Store: spec.Store, Protocols: []string{"imap", "pop3"}}
		if !spec.NoSync {
			opts.Extra = []string{"mail_fsync = optimized"}
		}
		opts.Users = 1
		said := h.outside.try(func() { h.dovecot = testserver.Dovecot(h.outside, opts) })
		if said != nil && said.skipped {
			reply.Missing = said.text
			return nil
		} else if said != nil {
			return fmt.Errorf("%s", said.text)
		}
		h.addr, h.pop3Addr = h.dovecot.Addr(testserver.IMAP), h.dovecot.Addr(testserver.POP3)
	default:
		return fmt.Errorf("bench: there is no server of kind %q", spec.Kind)
	}
	s.hosts = append(s.hosts, h)
	reply.Lab = len(s.hosts) - 1
	return nil
}

// User makes an account with nothing but an empty INBOX.
func (s *service) User(lab int, reply *User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[lab]
	h.users++
	name, password := fmt.Sprintf("bench%d", h.users), fmt.Sprintf("secret%d", h.users)
	if h.imap != nil {
		h.imap.AddUser(name, password)
		h.pop3.AddUser(name, password)
	} else if said := h.outside.try(func() { h.dovecot.AddUser(name, password) }); said != nil {
		return fmt.Errorf("%s", said.text)
	}
	srv, err := hostPort(h.addr)
	if err != nil {
		return err
	}
	pop3, err := hostPort(h.pop3Addr)
	if err != nil {
		return err
	}
	*reply = User{Lab: lab, Host: srv.Host, Port: srv.Port, POP3Port: pop3.Port, Name: name, Password: password}
	return nil
}

// LoadArgs is mail and where it goes.
type LoadArgs struct {
	User User
	Mail Mail
}

// Load puts mail into an account.
func (s *service) Load(args LoadArgs, reply *Total) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	boxes, err := args.Mail.Boxes()
	if err != nil {
		return err
	}
	h := s.hosts[args.User.Lab]
	boxes, total := counted(boxes)
	if h.imap != nil {
		inprocess.Load(h.imap.User(args.User.Name), imapserver.Options{}, boxes)
		for _, m := range h.imap.User(args.User.Name).Mailbox("INBOX").Messages() {
			h.pop3.User(args.User.Name).Add("", m.Body)
		}
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		if err := corpus.Load(ctx, args.User.Server(), boxes); err != nil {
			return err
		}
	}
	*reply = *total
	return nil
}

// Drop removes the mail of an account that nobody is logged in to.
func (s *service) Drop(u User, _ *bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.snapshots, u)
	h := s.hosts[u.Lab]
	if h.imap != nil {
		user := h.imap.User(u.Name)
		for _, box := range user.Mailboxes() {
			user.Delete(box.Name())
		}
		return nil
	}
	return os.RemoveAll(filepath.Join(h.dovecot.Root, "mail", u.Name))
}

// Count says what an account holds.
func (s *service) Count(u User, reply *Total) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	account, err := oracle.Snapshot(ctx, u.Server())
	if err != nil {
		return err
	}
	for _, box := range account.Mailboxes {
		reply.Folders++
		for _, m := range box.Messages {
			reply.Messages++
			reply.Octets += m.Size
		}
	}
	return nil
}

// CompareArgs are two accounts that are to hold the same.
type CompareArgs struct {
	From, To User
	Added    int  // octets that each copy has more; then content and flags are not compared
	POP3     bool // what POP3 carries is compared: the octets of INBOX, in order
}

// Compare says how the accounts differ: not at all, if a migration went well.
func (s *service) Compare(args CompareArgs, reply *[]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.hosts[args.From.Lab], s.hosts[args.To.Lab]
	if from.imap != nil && to.imap != nil && args.Added == 0 && !args.POP3 {
		*reply = compareUsers(from.imap.User(args.From.Name), to.imap.User(args.To.Name))
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	// The source does not change, so it is read once.
	src := s.snapshots[args.From]
	if src == nil {
		var err error
		if src, err = oracle.Snapshot(ctx, args.From.Server()); err != nil {
			return err
		}
		s.snapshots[args.From] = src
	}
	dst, err := oracle.Snapshot(ctx, args.To.Server())
	if err != nil {
		return err
	}
	if args.POP3 {
		*reply = compareOctets(src, dst)
		return nil
	}
	if args.Added > 0 {
		*reply = compareSizes(src, dst, int64(args.Added))
	} else {
		*reply = oracle.Compare(src, dst, oracle.CompareOptions{})
	}
	return nil
}

// ProxyArgs are a network and the server behind it.
type ProxyArgs struct {
	Addr    string
	Options delayproxy.Options
}

// ProxyReply is where the network begins.
type ProxyReply struct {
	Proxy int
	Addr  string
}

// Proxy puts a network before a server.
func (s *service) Proxy(args ProxyArgs, reply *ProxyReply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := delayproxy.New(args.Options)
	addr, err := p.Listen(args.Addr)
	if err != nil {
		return err
	}
	s.proxies = append(s.proxies, p)
	*reply = ProxyReply{Proxy: len(s.proxies) - 1, Addr: addr}
	return nil
}

// ProxyStats says what went through a network.
func (s *service) ProxyStats(proxy int, reply *delayproxy.Stats) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*reply = s.proxies[proxy].Stats()
	return nil
}

func (s *service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.proxies {
		_ = p.Close()
	}
	for _, h := range s.hosts {
		h.outside.end()
	}
}
