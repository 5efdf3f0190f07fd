package dsync

// The lowest layer of an exchange: octets to and from a Dovecot, whatever is
// between, and no read or write that waits for ever.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// What a link's errors wrap.
var (
	errSilent = errors.New("it has stopped answering")
	errSlow   = errors.New("it sends too slowly")
	errStuck  = errors.New("it has stopped reading")
)

// pipe is a connection, or the standard input and output of a command.
type pipe interface {
	io.ReadWriter
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error

	// CloseWrite says that nothing more comes.
	CloseWrite() error

	// Interrupt ends reads and writes at once. It may be called by another
	// goroutine, and more than once.
	Interrupt()

	// Close ends the connection, or waits for the command to end, and kills it
	// where that takes too long.
	Close() error

	// Explain adds what the peer said elsewhere to an error of reading or
	// writing.
	Explain(error) error
}

// link is a pipe with a dead-man's handle: the peer must send something every
// timeout while it is waited for, at a minimum rate, and take something every
// timeout. Reading and writing are for one goroutine each.
type link struct {
	pipe
	timeout time.Duration

	// Of the goroutine that reads:
	patience time.Duration // in place of timeout, where it is not 0; negative: none
	spent    time.Duration // in Read since the last line was complete
	got      int64         // octets in that time
}

func (l *link) Read(p []byte) (int, error) {
	timeout := l.timeout
	if l.patience != 0 {
		timeout = l.patience
	}
	start := time.Now()
	if timeout > 0 {
		_ = l.SetReadDeadline(start.Add(timeout))
	} else {
		_ = l.SetReadDeadline(time.Time{})
	}
	n, err := l.pipe.Read(p)
	l.got += int64(n)
	l.spent += time.Since(start)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fmt.Errorf("%w for %v", errSilent, timeout)
	case err == nil && timeout > 0 && l.spent > timeout:
		if l.got*int64(time.Second) < int64(l.spent)*minRate {
			return n, fmt.Errorf("%w: %d octets in %v", errSlow, l.got, l.spent.Round(time.Second))
		}
		l.complete()
	}
	return n, err
}

// complete says that a line is complete: what comes slowly now is another.
func (l *link) complete() { l.spent, l.got = 0, 0 }

func (l *link) Write(p []byte) (int, error) {
	// In pieces, so that a large one need not go through in one timeout.
	const piece = 256 << 10
	total := 0
	for {
		n := min(piece, len(p))
		_ = l.SetWriteDeadline(time.Now().Add(l.timeout))
		m, err := l.pipe.Write(p[:n])
		total += m
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w for %v", errStuck, l.timeout)
		}
		if err != nil {
			return total, err
		}
		if p = p[n:]; len(p) == 0 {
			return total, nil
		}
	}
}
