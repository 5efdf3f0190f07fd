// The ceilings: the least that a program can do to read a folder, or to fill
// one, as fast as its server takes it. They share no code with imapx.

package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// rawConn is a connection that has logged in.
type rawConn struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

// openRaw connects, logs in, and sends the commands without waiting in
// between. Their answers are awaited.
func openRaw(ctx context.Context, srv mailhaul.Server, commands ...string) (*rawConn, error) {
	conn, err := wire.Dial(ctx, srv)
	if err != nil {
		return nil, err
	}
	c := &rawConn{conn: conn, r: bufio.NewReaderSize(conn, 256<<10), w: bufio.NewWriterSize(conn, 256<<10)}
	password, err := wire.Password(ctx, srv)
	if err == nil {
		_, err = c.r.ReadSlice('\n') // the greeting
	}
	for _, cmd := range append([]string{"LOGIN " + wire.Quote(srv.User) + " " + wire.Quote(password)}, commands...) {
		fmt.Fprintf(c.w, "x %s\r\n", cmd)
	}
	if err == nil {
		err = c.w.Flush()
	}
	for range 1 + len(commands) {
		if err == nil {
			_, _, err = c.answer("x ")
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// answer reads up to the next tagged response, which must be OK, and counts
// the literals before it and their octets.
func (c *rawConn) answer(tag string) (literals int, octets int64, err error) {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return literals, octets, err
		}
		if rest, ok := bytes.CutPrefix(line, []byte(tag)); ok {
			if !bytes.HasPrefix(rest, []byte("OK")) {
				return literals, octets, fmt.Errorf("the server answered: %s", bytes.TrimSpace(rest))
			}
			return literals, octets, nil
		}
		n := literal(line)
		if n < 0 {
			continue
		}
		literals++
		octets += int64(n)
		if _, err := c.r.Discard(n); err != nil {
			return literals, octets, err
		}
	}
}

// literal returns the size of the literal that a line announces, or -1.
func literal(line []byte) int {
	line = bytes.TrimRight(line, "\r\n")
	open := bytes.LastIndexByte(line, '{')
	if open < 0 || line[len(line)-1] != '}' {
		return -1
	}
	n := 0
	for _, d := range line[open+1 : len(line)-1] {
		if d < '0' || d > '9' {
			return -1
		}
		n = 10*n + int(d-'0')
	}
	return n
}

// RawRead reads all messages of INBOX on so many connections, each its share,
// and returns how many there were. The number is what the mailbox is known to
// hold.
func RawRead(ctx context.Context, srv mailhaul.Server, messages, connections int) (Total, error) {
	var mu sync.Mutex
	total := Total{Folders: 1}
	err := parallel(connections, func(k int) error {
		c, err := openRaw(ctx, srv, "EXAMINE INBOX")
		if err != nil {
			return err
		}
		defer c.conn.Close()
		from, to := 1+messages*k/connections, messages*(k+1)/connections
		if from > to {
			return nil
		}
		fmt.Fprintf(c.w, "f FETCH %d:%d (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n", from, to)
		if err := c.w.Flush(); err != nil {
			return err
		}
		n, octets, err := c.answer("f ")
		mu.Lock()
		defer mu.Unlock()
		total.Messages += n
		total.Octets += octets
		return err
	})
	return total, err
}

// RawMail is mail in the form in which it is appended: literals with their
// heads.
type RawMail struct {
	Total
	batches [][]byte // what stands after the name of the mailbox
}

// batchOctets bounds a batch besides the number of its messages.
const batchOctets = 2 << 20

// NewRawMail prepares the messages of all folders of m, in batches of so many.
func NewRawMail(m Mail, batch int) (*RawMail, error) {
	boxes, err := m.Boxes()
	if err != nil {
		return nil, err
	}
	raw := &RawMail{Total: Total{Folders: 1}}
	var b []byte
	n := 0
	flush := func() {
		if n > 0 {
			raw.batches = append(raw.batches, append(b, "\r\n"...))
		}
		b, n = nil, 0
	}
	for _, box := range boxes {
		for _, msg := range box.All() {
			body := msg.Body()
			if n >= batch || n > 0 && len(b)+len(body) > batchOctets {
				flush()
			}
			b = append(b, " ("...)
			for i, f := range msg.Flags {
				if i > 0 {
					b = append(b, ' ')
				}
				b = append(b, f...)
			}
			b = append(b, ") "...)
			b = msg.Date.AppendFormat(b, `"_2-Jan-2006 15:04:05 -0700"`)
			b = append(b, " {"...)
			b = strconv.AppendInt(b, int64(len(body)), 10)
			b = append(b, "+}\r\n"...)
			b = append(b, body...)
			n++
			raw.Messages++
			raw.Octets += int64(len(body))
		}
	}
	flush()
	return raw, nil
}

// RawWrite appends the mail on so many connections, each a share to a mailbox
// of its own: INBOX and Raw1, Raw2 and so on. Nothing is waited for but the
// last answer. Batches of one message are single APPENDs.
func RawWrite(ctx context.Context, srv mailhaul.Server, mail *RawMail, connections int) error {
	return parallel(connections, func(k int) error {
		box := "INBOX"
		var commands []string
		if k > 0 {
			box = "Raw" + strconv.Itoa(k)
			commands = []string{"CREATE " + box}
		}
		c, err := openRaw(ctx, srv, commands...)
		if err != nil {
			return err
		}
		defer c.conn.Close()
		share := mail.batches[len(mail.batches)*k/connections : len(mail.batches)*(k+1)/connections]
		return parallel(2, func(side int) error {
			if side == 0 {
				for _, b := range share {
					_, _ = io.WriteString(c.w, "a APPEND "+box)
					_, _ = c.w.Write(b)
				}
				return c.w.Flush()
			}
			for range share {
				if _, _, err := c.answer("a "); err != nil {
					c.conn.Close() // nobody reads what the writer writes on
					return err
				}
			}
			return nil
		})
	})
}

// parallel calls f with 0 to n-1, each on a goroutine, and returns the first
// error.
func parallel(n int, f func(k int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() { errs[k] = f(k) })
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
