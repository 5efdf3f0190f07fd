// The wire between a program and its server, where what goes over it is
// counted.

package mailclient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// Traffic is what a program asked a server for.
type Traffic struct {
	Logins  int // connections
	Bodies  int // messages whose octets the server sent
	Headers int // messages of which it sent a part
	Appends int // messages that the program sent (APPEND)
	Deletes int // messages that it marked as deleted (STORE, DELE)
	Stores  int // messages whose flags it changed otherwise
}

// Tap is an address that leads to a server of one's choice. It understands
// enough of IMAP and POP3 in the clear to count what passes, and changes
// nothing.
type Tap struct {
	listener net.Listener
	protocol mailhaul.Protocol
	running  sync.WaitGroup // the loop that accepts

	mu      sync.Mutex // protects what follows
	idle    *sync.Cond
	server  string
	traffic Traffic
	open    map[net.Conn]bool // both ends of what is connected
	closed  bool
}

// newTap listens on a free loopback port.
func newTap(protocol mailhaul.Protocol) (*Tap, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Tap{listener: l, protocol: protocol, open: make(map[net.Conn]bool)}
	p.idle = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	return p, nil
}

// port is where it listens.
func (p *Tap) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// pointAt leads later connections to another server.
func (p *Tap) pointAt(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = addr
}

// take returns what has passed since it was asked last, when the last
// connection has ended: a program may be gone before its last command has been
// read here.
func (p *Tap) take() Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.open) > 0 {
		p.idle.Wait()
	}
	t := p.traffic
	p.traffic = Traffic{}
	return t
}

func (p *Tap) close() error {
	err := p.listener.Close()
	p.running.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	for len(p.open) > 0 {
		p.idle.Wait()
	}
	return err
}

func (p *Tap) accept() {
	for {
		program, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		addr := p.server
		p.mu.Unlock()
		server, err := net.Dial("tcp", addr)
		if err != nil {
			program.Close()
			continue
		}
		p.mu.Lock()
		p.traffic.Logins++
		p.open[program], p.open[server] = true, true
		if p.closed {
			program.Close()
			server.Close()
		}
		p.mu.Unlock()
		go p.serve(program, server)
	}
}

// serve passes on what both say, until either ends.
func (p *Tap) serve(program, server net.Conn) {
	var both sync.WaitGroup
	both.Go(func() {
		pass(server, program, p.literals(), p.command)
		server.Close()
	})
	both.Go(func() {
		pass(program, server, p.literals(), p.answer)
		program.Close()
	})
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, program)
	delete(p.open, server)
	p.idle.Broadcast()
}

// literals reports whether lines may announce octets that are not lines.
func (p *Tap) literals() bool { return p.protocol != mailhaul.POP3 }

func (p *Tap) count(f func(t *Traffic)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.traffic)
}

// command counts a line of the program's.
func (p *Tap) command(line []byte) {
	if p.protocol == mailhaul.POP3 {
		p.count(func(t *Traffic) { popCommand(t, line) })
		return
	}
	p.count(func(t *Traffic) { imapCommand(t, line) })
}

// answer counts a line of the server's.
func (p *Tap) answer(line []byte) {
	if p.protocol != mailhaul.POP3 {
		p.count(func(t *Traffic) { imapAnswer(t, line) })
	}
}

// maxLine is how much of a line is looked at.
const maxLine = 64 << 10

// pass copies from one to the other and shows each line that is not part of a
// literal to look.
func pass(to io.Writer, from io.Reader, literals bool, look func(line []byte)) {
	r := bufio.NewReaderSize(from, maxLine)
	w := bufio.NewWriterSize(to, maxLine)
	defer w.Flush() // whoever was to read it may be gone
	for {
		line, err := r.ReadSlice('\n')
		if err == nil {
			look(line)
		}
		if _, werr := w.Write(line); werr != nil || err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		if n := literalAtEnd(line); literals && n > 0 {
			if r.Buffered() == 0 && w.Flush() != nil {
				return
			}
			if _, err := io.CopyN(w, r, n); err != nil {
				return
			}
		}
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

// literalAtEnd returns the size of the literal that a line announces (RFC 9051
// section 4.3, RFC 7888), or 0.
func literalAtEnd(line []byte) int64 {
	line = bytes.TrimRight(line, "\r\n")
	i := bytes.LastIndexByte(line, '{')
	if i < 0 || !bytes.HasSuffix(line, []byte("}")) {
		return 0
	}
	digits := bytes.TrimRight(line[i+1:len(line)-1], "+-")
	n, err := strconv.ParseInt(string(digits), 10, 63)
	if err != nil {
		return 0
	}
	return n
}
