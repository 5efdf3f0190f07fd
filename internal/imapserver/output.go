// Writing responses, and letting Hooks.Response have a say in them.

package imapserver

import (
	"bufio"
	"compress/flate"
	"io"
	"net"
	"time"
)

// output gathers responses and writes them when there is nothing more to read.
// The session's goroutine owns it; during IDLE the one that pushes updates.
type output struct {
	sess   *Session
	w      *bufio.Writer
	flate  *flate.Writer // below w, with COMPRESS
	hook   func(c *Session, command, tag string, response []byte) Action
	group  []byte // the response being built, where there is a hook
	lent   bool   // to IDLE's pusher: the session's goroutine keeps its hands off
	dirty  bool   // something was written since the last flush
	broken error  // the first error; nothing is written any more
}

// text and octets add to the current response.
func (o *output) text(s string) {
	if o.hook != nil {
		o.group = append(o.group, s...)
	} else if o.broken == nil {
		o.dirty = true
		_, o.broken = o.w.WriteString(s)
	}
}

func (o *output) octets(b []byte) {
	if o.hook != nil {
		o.group = append(o.group, b...)
	} else if o.broken == nil {
		o.dirty = true
		_, o.broken = o.w.Write(b)
	}
}

// end ends the current response, whose CRLF has been added.
func (o *output) end() {
	if o.hook == nil {
		return
	}
	response := o.group
	o.group = o.group[:0]
	if o.broken != nil {
		return
	}
	o.obey(o.hook(o.sess, o.sess.command, o.sess.tag, response), response)
	if cap(o.group) > 1<<20 {
		o.group = nil // a large body passed
	}
}

// obey does what a hook said.
func (o *output) obey(a Action, response []byte) {
	if a.Delay > 0 {
		o.flush()
		if !o.sess.sleep(a.Delay) {
			o.fail(net.ErrClosed)
		}
	}
	if a.Replace != nil {
		response = a.Replace
	}
	if a.Drop {
		response = nil
	}
	if a.End == Keep {
		o.direct(response)
		o.direct(a.Append)
		return
	}
	n := max(a.After, 0)
	o.direct(response[:min(n, len(response))])
	n -= min(n, len(response))
	o.direct(a.Append[:min(n, len(a.Append))])
	o.flush()
	o.sess.end(a.End)
	o.fail(errHookClosed)
}

// direct writes past the hook.
func (o *output) direct(b []byte) {
	if o.broken == nil && len(b) > 0 {
		o.dirty = true
		_, o.broken = o.w.Write(b)
	}
}

func (o *output) fail(err error) {
	if o.broken == nil {
		o.broken = err
	}
}

// flush puts everything on the wire.
func (o *output) flush() {
	if o.broken == nil && o.dirty {
		o.dirty = false
		if o.broken = o.w.Flush(); o.broken == nil && o.flate != nil {
			o.broken = o.flate.Flush()
		}
	}
}

// line writes one response made of a single line.
func (o *output) line(parts ...string) {
	for _, p := range parts {
		o.text(p)
	}
	o.text("\r\n")
	o.end()
}

// flushReader reads from the connection, and flushes the output before it may
// have to wait: responses to pipelined commands leave together.
type flushReader struct {
	r   io.Reader
	out *output
}

func (f flushReader) Read(p []byte) (int, error) {
	if !f.out.lent {
		f.out.flush()
		if f.out.broken != nil {
			return 0, f.out.broken
		}
	}
	return f.r.Read(p)
}

// sleep waits; it returns false when the server is closed meanwhile.
func (s *Session) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.server.done:
		return false
	}
}

// end ends the connection in one of the ways of End.
func (s *Session) end(how End) {
	switch how {
	case Keep:
	case Close:
		_ = s.raw.Close()
	case Reset:
		reset(s.raw)
	case Hang:
		_, _ = io.Copy(io.Discard, s.conn)
		_ = s.raw.Close()
	case Stall:
		<-s.server.done
	}
}

// reset closes a connection with RST, where it or what it wraps knows how.
func reset(c net.Conn) {
	for inner := c; inner != nil; {
		switch x := inner.(type) {
		case interface{ Reset() error }:
			_ = x.Reset()
			return
		case *net.TCPConn:
			_ = x.SetLinger(0)
			_ = x.Close()
			return
		case interface{ NetConn() net.Conn }:
			inner = x.NetConn()
		default:
			inner = nil
		}
	}
	_ = c.Close()
}
