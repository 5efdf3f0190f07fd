// A network that breaks once, at a chosen octet.

package faultlab

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/mailhaul/mailhaul/internal/mempipe"
)

// ending is how a connection ends.
type ending uint8

const (
	fin      ending = iota // in order, with what came before
	rst                    // abruptly, with what came before
	stall                  // this direction delivers nothing more; nobody is told
	halfOpen               // the server is gone, and the client is not told
	endings
)

func (e ending) String() string { return [...]string{"FIN", "RST", "stall", "half-open"}[e] }

// direction is that of the octets that are counted.
type direction uint8

const (
	toServer direction = iota
	toClient
)

func (d direction) String() string { return [...]string{"to the server", "to the client"}[d] }

// cut is where the network of one side breaks: as soon as that many octets have
// gone in that direction, over all connections.
type cut struct {
	dir direction
	at  int
	how ending
}

// network is one side's. It breaks once, or never.
type network struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex // protects what follows
	plan *cut
	gone [2]int // octets so far, by direction
	done bool   // it has broken
}

func (n *network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := n.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c, n: n}, nil
}

// allow counts octets that are about to go, and says how many of them may, and
// whether the network breaks then.
func (n *network) allow(dir direction, octets int) (allowed int, breaks bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.plan != nil && !n.done && n.plan.dir == dir && n.gone[dir]+octets >= n.plan.at {
		allowed = n.plan.at - n.gone[dir]
		n.gone[dir] += allowed
		n.done = true
		return allowed, true
	}
	n.gone[dir] += octets
	return octets, false
}

// left returns how many octets may be read before the network breaks.
func (n *network) left(most int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.plan == nil || n.done || n.plan.dir != toClient {
		return most
	}
	return min(most, n.plan.at-n.gone[toClient])
}

// wire is a connection of that network, as the client has it.
type wire struct {
	net.Conn
	n *network

	mu       sync.Mutex // protects what follows
	dead     error      // what every use returns
	mute     bool       // what is written gets lost
	deaf     *mempipe.Conn
	deadline time.Time
}

var errPipe = &net.OpError{Op: "write", Net: "pipe", Err: syscall.EPIPE}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	dead, mute := w.dead, w.mute
	w.mu.Unlock()
	if dead != nil {
		if errors.Is(dead, io.EOF) {
			dead = errPipe
		}
		return 0, dead
	}
	if mute {
		return len(p), nil
	}
	n, breaks := w.n.allow(toServer, len(p))
	sent, err := w.Conn.Write(p[:n])
	if err != nil || !breaks {
		return sent, err
	}
	err = w.breakOff(w.n.plan.how, toServer)
	if n == len(p) || err == nil {
		return len(p), nil
	}
	return n, err
}

func (w *wire) Read(p []byte) (int, error) {
	for {
		deaf, dead := w.state()
		if dead != nil {
			return 0, dead
		}
		if deaf != nil {
			return deaf.Read(p)
		}
		if len(p) == 0 {
			return w.Conn.Read(p)
		}
		most := w.n.left(len(p))
		n, err := 0, error(nil)
		if most > 0 {
			n, err = w.Conn.Read(p[:most])
		}
		if deaf, dead = w.state(); dead != nil || deaf != nil { // it broke meanwhile
			continue
		}
		if _, breaks := w.n.allow(toClient, n); breaks {
			_ = w.breakOff(w.n.plan.how, toClient)
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (w *wire) state() (deaf *mempipe.Conn, dead error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deaf, w.dead
}

// breakOff ends the connection. The error is what a Write says that is not done
// yet; nil if nobody notices.
func (w *wire) breakOff(how ending, dir direction) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	pipe, _ := w.Conn.(*mempipe.Conn)
	switch how {
	case fin:
		w.dead = io.EOF
		_ = pipe.Close()
		return errPipe
	case rst:
		w.dead = &net.OpError{Op: "read", Net: "pipe", Err: syscall.ECONNRESET}
		_ = pipe.Reset()
		return w.dead
	case stall:
		if dir == toServer {
			w.mute = true
		} else {
			w.goDeaf()
		}
	case halfOpen:
		w.mute = true
		w.goDeaf()
		_ = pipe.CloseWrite() // the server sees the end, and closes
	}
	return nil
}

// goDeaf lets every Read wait for something that does not come. mu is held.
func (w *wire) goDeaf() {
	w.deaf, _ = mempipe.PipeSize(1)
	_ = w.deaf.SetReadDeadline(w.deadline)
}

func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	w.deadline = t
	deaf := w.deaf
	w.mu.Unlock()
	if deaf != nil {
		_ = deaf.SetReadDeadline(t)
	}
	return w.Conn.SetReadDeadline(t)
}

func (w *wire) SetDeadline(t time.Time) error {
	_ = w.SetReadDeadline(t)
	return w.Conn.SetWriteDeadline(t)
}

func (w *wire) Close() error {
	w.mu.Lock()
	deaf := w.deaf
	w.mu.Unlock()
	if deaf != nil {
		_ = deaf.Close()
	}
	return w.Conn.Close()
}
