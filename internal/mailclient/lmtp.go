// Where a program hands over its mail, which cannot do without a server: LMTP
// (RFC 2033) into a Maildir.

package mailclient

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// lmtp is a server that delivers whatever it is given.
type lmtp struct {
	listener net.Listener
	maildir  string
	running  sync.WaitGroup
	mu       sync.Mutex // protects count
	count    int
}

func newLMTP(maildir string) (*lmtp, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &lmtp{listener: l, maildir: maildir}
	s.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() {
				defer conn.Close()
				_ = s.serve(conn) // the program complains where it ended too soon
			})
		}
	})
	return s, nil
}

func (s *lmtp) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Close ends it. Programs that are connected have ended.
func (s *lmtp) Close() error {
	err := s.listener.Close()
	s.running.Wait()
	return err
}

func (s *lmtp) serve(conn net.Conn) error {
	say := func(lines ...string) error {
		_, err := conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
		return err
	}
	r := textproto.NewReader(bufio.NewReader(conn))
	err := say("220 localhost LMTP")
	for err == nil {
		var line string
		if line, err = r.ReadLine(); err != nil {
			return err
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "LHLO":
			err = say("250-localhost", "250-8BITMIME", "250-SMTPUTF8", "250 SIZE")
		case "DATA":
			if err = say("354 go on"); err != nil {
				return err
			}
			var message []byte
			if message, err = r.ReadDotBytes(); err != nil {
				return err
			}
			if err = s.deliver(message); err != nil {
				err = say("451 " + err.Error())
			} else {
				err = say("250 delivered")
			}
		case "QUIT":
			return say("221 bye")
		default:
			err = say("250 OK")
		}
	}
	return err
}

func (s *lmtp) deliver(message []byte) error {
	s.mu.Lock()
	s.count++
	name := fmt.Sprintf("%d.lmtp", s.count)
	s.mu.Unlock()
	return os.WriteFile(filepath.Join(s.maildir, "new", name), message, 0o600)
}
