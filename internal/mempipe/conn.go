// The two ends of a connection.

package mempipe

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// DefaultBuffer is how many octets a direction holds before a Write waits.
const DefaultBuffer = 64 << 10

// Pipe returns the two ends of a new connection with a buffer of
// [DefaultBuffer] octets in each direction.
func Pipe() (a, b *Conn) { return PipeSize(DefaultBuffer) }

// PipeSize is like [Pipe] with buffers of the given size, at least one octet.
func PipeSize(octets int) (a, b *Conn) {
	octets = max(octets, 1)
	return pair(octets, Addr("pipe:a"), Addr("pipe:b"))
}

func pair(octets int, addrA, addrB net.Addr) (a, b *Conn) {
	ab, ba := newBuffer(octets), newBuffer(octets)
	return newConn(ba, ab, addrA, addrB), newConn(ab, ba, addrB, addrA)
}

// Conn is one end of a connection. It is safe for concurrent use.
type Conn struct {
	in, out       *buffer
	local, remote net.Addr
	readBy        deadline
	writeBy       deadline
	closed        atomic.Bool
}

var _ net.Conn = (*Conn)(nil)

func newConn(in, out *buffer, local, remote net.Addr) *Conn {
	c := &Conn{in: in, out: out, local: local, remote: remote}
	c.readBy.set = func(x bool) { in.change(func() { in.readExpired = x }) }
	c.writeBy.set = func(x bool) { out.change(func() { out.writeExpired = x }) }
	return c
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.opError("read", err)
}

// Write implements [net.Conn]. It returns when all octets are in the buffer,
// or when that cannot be any more.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.opError("write", err)
}

// Close ends the connection. The peer reads what is buffered and then EOF;
// what it writes fails. Close of a closed connection is an error.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return c.opError("close", net.ErrClosed)
	}
	c.readBy.stop()
	c.writeBy.stop()
	c.in.closeRead()
	c.out.closeWrite()
	return nil
}

// CloseWrite ends the stream to the peer; reading goes on.
func (c *Conn) CloseWrite() error {
	if c.closed.Load() {
		return c.opError("close", net.ErrClosed)
	}
	c.out.closeWrite()
	return nil
}

// Reset ends the connection as RST does: the peer's Writes fail with
// ECONNRESET at once, its Reads after what had arrived.
func (c *Conn) Reset() error {
	if c.closed.Swap(true) {
		return c.opError("close", net.ErrClosed)
	}
	c.readBy.stop()
	c.writeBy.stop()
	c.in.fail(syscall.ECONNRESET)
	c.out.fail(syscall.ECONNRESET)
	c.in.closeRead()
	c.out.closeWrite()
	return nil
}

// LocalAddr implements [net.Conn].
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.closed.Load() {
		return c.opError("set", net.ErrClosed)
	}
	c.readBy.reset(t)
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.closed.Load() {
		return c.opError("set", net.ErrClosed)
	}
	c.writeBy.reset(t)
	return nil
}

// opError dresses an error the way package net does. EOF stays bare.
func (c *Conn) opError(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// Addr is the address of an end: a name that means nothing.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the name.
func (a Addr) String() string { return string(a) }
