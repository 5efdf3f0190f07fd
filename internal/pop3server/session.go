// One connection: commands and their answers.

package pop3server

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

type session struct {
	server *Server
	number int
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	tls    bool
	utf8   bool

	line    string // the command at hand
	stamp   string // of APOP
	user    string // that USER named
	drop    *Maildrop
	list    []*Message
	deleted map[*Message]bool
	quit    bool
}

var errEnd = errors.New("the connection is to end")

func (s *session) use(c net.Conn) {
	s.conn, s.in, s.out = c, bufio.NewReader(c), bufio.NewWriterSize(c, 32<<10)
}

// finish gives the maildrop back; only QUIT has messages removed (RFC 1939
// section 6).
func (s *session) finish() {
	if s.drop != nil {
		if !s.quit {
			s.deleted = nil
		}
		s.drop.leave(s.deleted)
		s.drop = nil
	}
}

func (s *session) run() {
	greeting := "+OK ready"
	if s.server.opts.APOP {
		s.stamp = fmt.Sprintf("<%d.%d@mailhaul.test>", s.number, time.Now().UnixNano())
		greeting += " " + s.stamp
	}
	if s.respond([]byte(greeting+"\r\n")) != nil || s.out.Flush() != nil {
		return
	}
	for {
		if s.in.Buffered() == 0 && s.out.Flush() != nil {
			return
		}
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		if s.server.opts.BrokenPipelining {
			_, _ = s.in.Discard(s.in.Buffered())
		}
		if s.command(strings.TrimRight(line, "\r\n")) != nil {
			_ = s.out.Flush()
			return
		}
	}
}

// respond writes a response, after the hook has seen it.
func (s *session) respond(response []byte) error {
	if h := s.server.opts.Hooks.Response; h != nil {
		response = h(s.number, s.line, response)
	}
	_, err := s.out.Write(response)
	return err
}

func (s *session) ok(format string, args ...any) error {
	return s.respond(fmt.Appendf([]byte("+OK "), format+"\r\n", args...))
}

func (s *session) err(format string, args ...any) error {
	return s.respond(fmt.Appendf([]byte("-ERR "), format+"\r\n", args...))
}

func (s *session) command(line string) error {
	s.line = line
	verb, args, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	s.server.mu.Lock()
	s.server.commands[verb]++
	s.server.mu.Unlock()
	if h := s.server.opts.Hooks.Command; h != nil {
		if o := h(s.number, line); o != nil {
			return s.override(o)
		}
	}
	o := &s.server.opts
	switch verb {
	case "CAPA":
		return s.capa()
	case "QUIT":
		// The maildrop is free before the answer is there: who has it may begin
		// another session.
		s.quit = true
		s.finish()
		if err := s.ok("bye"); err != nil {
			return err
		}
		_ = s.out.Flush()
		return errEnd
	case "NOOP":
		return s.ok("")
	}
	if s.drop == nil {
		switch {
		case verb == "STLS" && o.STLS && o.TLSConfig != nil && !s.tls:
			return s.startTLS()
		case verb == "UTF8" && o.UTF8:
			s.utf8 = true
			return s.ok("UTF8 enabled")
		case verb == "USER" && !o.NoUser:
			s.user = args
			return s.ok("send PASS")
		case verb == "PASS" && s.user != "":
			return s.login(s.user, func(password string) bool { return password == args })
		case verb == "APOP" && o.APOP:
			name, digest, _ := strings.Cut(args, " ")
			return s.login(name, func(password string) bool {
				sum := md5.Sum([]byte(s.stamp + password))
				return hex.EncodeToString(sum[:]) == digest
			})
		case verb == "AUTH":
			return s.auth(strings.ToUpper(args))
		}
		return s.err("unknown command")
	}
	return s.transaction(verb, args)
}

func (s *session) override(o *Override) error {
	if o.Delay > 0 {
		select {
		case <-time.After(o.Delay):
		case <-s.server.done:
		}
	}
	if o.Reply != "" {
		if err := s.respond([]byte(o.Reply + "\r\n")); err != nil {
			return err
		}
	}
	switch {
	case o.Hang:
		_ = s.out.Flush()
		_, _ = io.Copy(io.Discard, s.in)
		return errEnd
	case o.Close:
		return errEnd
	}
	return nil
}

func (s *session) capa() error {
	o := &s.server.opts
	if o.NoCapa {
		return s.err("unknown command")
	}
	lines := slices.Clone(o.Caps)
	if len(o.AuthMechs) > 0 {
		lines = append(lines, "SASL "+strings.Join(o.AuthMechs, " "))
	}
	if o.STLS && !s.tls {
		lines = append(lines, "STLS")
	}
	if o.UTF8 {
		lines = append(lines, "UTF8 USER")
	}
	if o.Expire != "" {
		lines = append(lines, "EXPIRE "+o.Expire)
	}
	if o.LoginDelay > 0 {
		lines = append(lines, fmt.Sprintf("LOGIN-DELAY %d", int(o.LoginDelay/time.Second)))
	}
	return s.respond([]byte("+OK\r\n" + strings.Join(append(lines, "."), "\r\n") + "\r\n"))
}

func (s *session) startTLS() error {
	if err := s.ok("go ahead"); err != nil {
		return err
	}
	if _, err := s.out.WriteString(s.server.opts.AfterSTLS); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	t := tls.Server(s.conn, s.server.opts.TLSConfig)
	if err := t.Handshake(); err != nil {
		return err
	}
	s.tls = true
	s.use(t)
	return nil
}

func (s *session) login(name string, right func(password string) bool) error {
	s.user = ""
	d := s.server.User(name)
	if d == nil || !right(d.password) {
		return s.err("[AUTH] wrong user or password")
	}
	list, refusal := d.enter(&s.server.opts)
	if refusal != "" {
		return s.err("%s", refusal)
	}
	s.drop, s.list, s.deleted = d, list, make(map[*Message]bool)
	return s.ok("logged in")
}

// auth speaks the server's side of AUTH (RFC 5034), without initial responses.
func (s *session) auth(mechanism string) error {
	if !slices.Contains(s.server.opts.AuthMechs, mechanism) {
		return s.err("no such mechanism")
	}
	ask := func(challenge string) (string, error) {
		if err := s.respond([]byte("+ " + base64.StdEncoding.EncodeToString([]byte(challenge)) + "\r\n")); err != nil {
			return "", err
		}
		if err := s.out.Flush(); err != nil {
			return "", err
		}
		line, err := s.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		octets, err := base64.StdEncoding.DecodeString(strings.TrimRight(line, "\r\n"))
		if err != nil {
			return "", errNotBase64
		}
		return string(octets), nil
	}
	name, right, err := s.exchange(mechanism, ask)
	if errors.Is(err, errNotBase64) {
		return s.err("authentication cancelled")
	}
	if err != nil {
		return err
	}
	return s.login(name, right)
}

var errNotBase64 = errors.New("not base64")

func (s *session) exchange(mechanism string, ask func(string) (string, error)) (name string, right func(string) bool, err error) {
	is := func(given string) func(string) bool { return func(password string) bool { return password == given } }
	switch mechanism {
	case "PLAIN":
		r, err := ask("")
		if err != nil {
			return "", nil, err
		}
		parts := strings.Split(r, "\x00")
		if len(parts) != 3 {
			return "", is(""), nil
		}
		return parts[1], is(parts[2]), nil
	case "LOGIN":
		name, err := ask("Username:")
		if err != nil {
			return "", nil, err
		}
		password, err := ask("Password:")
		return name, is(password), err
	case "CRAM-MD5":
		challenge := fmt.Sprintf("<%d@mailhaul.test>", time.Now().UnixNano())
		r, err := ask(challenge)
		name, digest, _ := strings.Cut(r, " ")
		return name, func(password string) bool {
			mac := hmac.New(md5.New, []byte(password))
			mac.Write([]byte(challenge))
			return hex.EncodeToString(mac.Sum(nil)) == digest
		}, err
	default: // XOAUTH2
		r, err := ask("")
		name, _, _ := strings.Cut(strings.TrimPrefix(r, "user="), "\x01")
		_, token, _ := strings.Cut(r, "\x01auth=Bearer ")
		token, _, _ = strings.Cut(token, "\x01")
		if d := s.server.User(name); err == nil && (d == nil || d.password != token) {
			if _, err = ask(`{"status":"401"}`); errors.Is(err, errNotBase64) {
				err = nil
			}
		}
		return name, is(token), err
	}
}

func (s *session) transaction(verb, args string) error {
	o := &s.server.opts
	switch verb {
	case "STAT":
		count, octets := 0, 0
		for _, m := range s.list {
			if !s.deleted[m] {
				count++
				octets += s.size(m)
			}
		}
		return s.ok("%d %d", count+o.LieCount, octets+o.LieOctets)
	case "LIST":
		return s.listing(args, func(m *Message) string { return strconv.Itoa(s.size(m)) })
	case "UIDL":
		if o.NoUIDL {
			return s.err("unknown command")
		}
		return s.listing(args, func(m *Message) string { return m.UIDL })
	case "RETR":
		m := s.message(args)
		if m == nil {
			return s.err("no such message")
		}
		s.drop.see(m)
		return s.body(s.shown(m))
	case "TOP":
		if o.NoTOP {
			return s.err("unknown command")
		}
		number, count, _ := strings.Cut(args, " ")
		m := s.message(number)
		n, err := strconv.ParseInt(count, 10, 64)
		if m == nil || err != nil || n < 0 {
			return s.err("no such message")
		}
		octets := top(s.shown(m), n)
		if o.TOP != nil {
			octets = o.TOP(octets)
		}
		return s.body(octets)
	case "DELE":
		m := s.message(args)
		if m == nil {
			return s.err("no such message")
		}
		s.deleted[m] = true
		return s.ok("deleted")
	case "RSET":
		clear(s.deleted)
		return s.ok("")
	}
	return s.err("unknown command")
}

func (s *session) size(m *Message) int {
	n := len(m.Body)
	if !bytes.HasSuffix(m.Body, []byte("\r\n")) && n > 0 {
		n += 2
	}
	if f := s.server.opts.ListSize; f != nil {
		n = f(n)
	}
	return n
}

func (s *session) message(number string) *Message {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(s.list) || s.deleted[s.list[n-1]] {
		return nil
	}
	return s.list[n-1]
}

// shown is what a client gets to see of a message: with UTF8 offered and not
// asked for, none with 8-bit header fields.
func (s *session) shown(m *Message) []byte {
	header, _, _ := bytes.Cut(m.Body, []byte("\r\n\r\n"))
	if s.server.opts.UTF8 && !s.utf8 && bytes.ContainsFunc(header, func(r rune) bool { return r >= 0x80 }) {
		return []byte("Subject: Cannot display Unicode content\r\n\r\n")
	}
	return m.Body
}

func (s *session) listing(number string, value func(*Message) string) error {
	if number != "" {
		m := s.message(number)
		if m == nil {
			return s.err("no such message")
		}
		return s.ok("%s %s", number, value(m))
	}
	b := []byte("+OK\r\n")
	for i, m := range s.list {
		if !s.deleted[m] {
			b = fmt.Appendf(b, "%d %s\r\n", i+1, value(m))
		}
	}
	return s.respond(append(b, ".\r\n"...))
}

func (s *session) body(octets []byte) error {
	return s.respond(append(append([]byte("+OK\r\n"), Stuff(octets, s.server.opts.StuffBareLF)...), ".\r\n"...))
}

// Stuff returns a message dot-stuffed and with a CRLF at its end, which POP3
// cannot do without. With bareLF a dot behind a bare LF is doubled too.
func Stuff(octets []byte, bareLF bool) []byte {
	b := make([]byte, 0, len(octets)+64)
	for i, c := range octets {
		crlf := i >= 2 && octets[i-1] == '\n' && octets[i-2] == '\r'
		if c == '.' && (i == 0 || crlf || bareLF && octets[i-1] == '\n') {
			b = append(b, '.')
		}
		b = append(b, c)
	}
	if len(b) > 0 && !bytes.HasSuffix(b, []byte("\r\n")) {
		b = append(b, "\r\n"...)
	}
	return b
}

// top returns the header, the empty line, and n lines of the body.
func top(octets []byte, n int64) []byte {
	at := bytes.Index(octets, []byte("\r\n\r\n"))
	if at < 0 {
		return octets
	}
	at += 4
	for ; n > 0 && at < len(octets); n-- {
		next := bytes.Index(octets[at:], []byte("\r\n"))
		if next < 0 {
			return octets
		}
		at += next + 2
	}
	return octets[:at]
}
