// A session: reading commands, dispatching them, answering.

package imapserver

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"strings"
)

// Session is one connection. Hooks are given it to tell connections apart; its
// methods are for them, during the call.
type Session struct {
	server *Server
	number int
	raw    net.Conn // the octets on the wire are counted here
	conn   net.Conn // raw, or TLS over it
	r      *bufio.Reader
	out    output

	tls        bool
	compressed bool
	condstore  bool // the client wants MODSEQ (RFC 7162 section 3.1)
	user       *User
	view       *view          // nil: nothing is selected
	told       *notifications // nil: NOTIFY is not in force

	command, tag string // under way
	long         []byte // a line that does not fit the reader's buffer
	scratch      []byte
	loggedOut    bool
}

// Number returns the connection's number, counted from 1.
func (s *Session) Number() int { return s.number }

// User returns the name of the user who is logged in, or "".
func (s *Session) User() string {
	if s.user == nil {
		return ""
	}
	return s.user.name
}

// Mailbox returns the decoded name of the mailbox that is selected, or "".
func (s *Session) Mailbox() string {
	if s.view == nil {
		return ""
	}
	return s.view.box.Name()
}

// Compressed reports whether COMPRESS is in force, TLS whether TLS is.
func (s *Session) Compressed() bool { return s.compressed }

// TLS reports whether the connection is protected.
func (s *Session) TLS() bool { return s.tls }

// reply is the tagged answer to a command, or the end of the connection.
type reply struct {
	status string // OK, NO, BAD; "" where err is set or nothing is to be said
	text   string
	err    error // the connection is broken
}

func ok(text string) reply  { return reply{status: "OK", text: text} }
func no(text string) reply  { return reply{status: "NO", text: text} }
func bad(text string) reply { return reply{status: "BAD", text: text} }

var errLineTooLong = errors.New("imapserver: command line too long")

// run serves the connection until it ends.
func (s *Session) run() {
	s.out = output{sess: s, hook: s.server.opts.Hooks.Response}
	if w, ok := s.server.writers.Get().(*bufio.Writer); ok {
		w.Reset(s.conn)
		s.out.w = w
	} else {
		s.out.w = bufio.NewWriterSize(s.conn, 32<<10)
	}
	s.r = s.server.reader(flushReader{s.conn, &s.out})

	if !s.greet() {
		return
	}
	for !s.loggedOut && s.out.broken == nil {
		line, err := s.readLine()
		if err != nil {
			if errors.Is(err, errLineTooLong) {
				s.out.line("* BYE Command line too long.")
			}
			break
		}
		if err := s.handle(line); err != nil {
			break
		}
	}
	s.out.flush()
	_ = s.conn.Close() // with TLS, says goodbye
}

// finish gives back what the session holds.
func (s *Session) finish() {
	s.unselect()
	if s.user != nil {
		s.deaf()
		s.user.sessions.Add(-1)
	}
	if s.r != nil {
		s.r.Reset(nil)
		s.server.readers.Put(s.r)
		s.out.w.Reset(nil)
		s.server.writers.Put(s.out.w)
	}
}

func (s *Session) greet() bool {
	opts := &s.server.opts
	status, text := "OK", "mailhaul test server ready."
	if opts.PreAuth != "" {
		u := s.server.User(opts.PreAuth)
		if u == nil || !s.admit(u) {
			s.out.line("* BYE No such user.")
			return false
		}
		status = "PREAUTH"
	}
	switch {
	case opts.Greeting != "":
		text = opts.Greeting
	case !opts.NoCapabilityCode:
		text = "[CAPABILITY " + s.server.capabilities(s) + "] " + text
	}
	s.out.line("* ", status, " ", text)
	return s.out.broken == nil
}

// readLine returns the next line without its line ending. It is valid until the
// next read.
func (s *Session) readLine() ([]byte, error) {
	line, err := s.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		s.long = s.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if s.long = append(s.long, line...); len(s.long) > s.server.opts.MaxLine {
				return nil, errLineTooLong
			}
			line, err = s.r.ReadSlice('\n')
		}
		s.long = append(s.long, line...)
		line = s.long
	}
	if err != nil {
		return nil, err
	}
	if len(line) > s.server.opts.MaxLine {
		return nil, errLineTooLong
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// handle executes the command that begins with line. An error ends the
// connection.
func (s *Session) handle(line []byte) error {
	p := &parser{sess: s, line: line}
	s.command, s.tag = "", ""
	tag := p.tag()
	if p.err != nil {
		s.out.line("* BAD Error in IMAP command received by server.")
		return p.recover()
	}
	s.tag = tag
	p.space()
	name := strings.ToUpper(p.atom())
	if name == "UID" && p.err == nil {
		p.space()
		name = "UID " + strings.ToUpper(p.atom())
	}
	cmd, known := s.server.commands[name]
	switch {
	case p.err != nil || !known || cmd.needs != "" && !s.server.has(cmd.needs):
		s.server.counters.command("?")
		s.respond(bad("Error in IMAP command received by server."))
		return p.recover()
	case cmd.state&s.state() == 0:
		s.server.counters.command(name)
		s.respond(bad("Command is not allowed in this state."))
		return p.recover()
	}
	s.command = name
	s.server.counters.command(name)
	if hook := s.server.opts.Hooks.Command; hook != nil {
		if o := hook(s, name, strings.TrimPrefix(string(p.rest()), " ")); o != nil {
			return s.override(p, cmd, o)
		}
	}
	r := s.execute(p, cmd)
	if r.err != nil {
		return r.err
	}
	s.respond(r)
	return s.after(p, r)
}

// execute runs a command and tells what happened to the mailbox meanwhile.
func (s *Session) execute(p *parser, cmd command) reply {
	if s.view != nil && s.view.orphaned() {
		s.out.line("* BYE Selected mailbox was deleted, have to disconnect.")
		return reply{err: net.ErrClosed}
	}
	r := cmd.run(s, p)
	if p.fatal != nil {
		return reply{err: p.fatal}
	}
	late := s.command == "APPEND" && s.server.opts.LateExists
	if r.status != "BAD" && r.err == nil && s.view != nil && !late {
		s.sync(!cmd.numbers)
	}
	if s.told != nil && r.status == "OK" && !cmd.numbers {
		s.tellAll()
	}
	return r
}

// after deals with what is left of a command's line.
func (s *Session) after(p *parser, r reply) error {
	if r.status == "BAD" {
		return p.recover()
	}
	return nil
}

// respond writes a tagged response.
func (s *Session) respond(r reply) {
	if r.status != "" {
		s.out.line(s.tag, " ", r.status, " ", r.text)
	}
}

// override does what a hook wants instead of the command.
func (s *Session) override(p *parser, cmd command, o *Override) error {
	if o.Delay > 0 {
		s.out.flush()
		if !s.sleep(o.Delay) {
			return net.ErrClosed
		}
	}
	r := reply{}
	if o.Execute {
		if r = s.execute(p, cmd); r.err != nil {
			return r.err
		}
	} else if o.End == Keep {
		// Whoever is refused with a synchronizing literal sends no more.
		if err := p.swallow(); err != nil {
			return err
		}
	}
	if o.Untagged != "" {
		s.out.text(o.Untagged)
		s.out.end()
	}
	if o.Reply != "" {
		s.out.line(s.tag, " ", o.Reply)
	} else {
		s.respond(r)
	}
	if o.End != Keep {
		s.out.flush()
		s.end(o.End)
		return errHookClosed
	}
	if o.Execute {
		return s.after(p, r)
	}
	return nil
}

// state returns the bit of the state that the session is in.
func (s *Session) state() states {
	switch {
	case s.user == nil:
		return notAuthenticated
	case s.view == nil:
		return authenticated
	}
	return selected
}

// unselect closes the mailbox.
func (s *Session) unselect() {
	if s.view != nil {
		s.view.close()
		s.view = nil
	}
}
