package imapx

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// stage puts the octets of APPEND commands together in buffers that go to the
// outbox as they are filled, so that a body is copied once on its way to the
// transport, and small commands share a packet. Whoever has one is the only one
// who sends on the connection; what it holds back is flushed before anything is
// waited for.
type stage struct {
	c   *conn
	ctx context.Context
	out *outChunk
	due []*command // complete in out: their answers are awaited once it is sent
	one [1]byte
}

func (c *conn) stage(ctx context.Context) *stage {
	return &stage{c: c, ctx: ctx}
}

// position is the number of octets before the next one on the connection.
func (s *stage) position() int64 {
	queued, _ := s.c.out.positions()
	if s.out != nil {
		queued += int64(s.out.n)
	}
	return queued
}

// buffer returns a buffer with room in it.
func (s *stage) buffer() (*outChunk, error) {
	if s.out != nil && s.out.n == outBuffer {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	if s.out == nil {
		s.out = outBuffers.Get().(*outChunk)
	}
	return s.out, nil
}

// flush gives what is there to the outbox, waiting for room.
func (s *stage) flush() error {
	if s.out == nil {
		return nil
	}
	if err := s.c.out.wait(s.ctx, outQueue, s.c.dead); err != nil {
		return s.failed(err)
	}
	s.c.out.push(s.out)
	s.out = nil
	for _, cmd := range s.due {
		s.c.expect(cmd)
	}
	s.due = s.due[:0]
	return nil
}

// complete says that a command ends here.
func (s *stage) complete(cmd *command) { s.due = append(s.due, cmd) }

// drained waits until all octets are with the transport.
func (s *stage) drained() error {
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.c.out.wait(s.ctx, 0, s.c.dead); err != nil {
		return s.failed(err)
	}
	return nil
}

// failed ends the connection after a wait that was given up: part of a command
// is on the wire.
func (s *stage) failed(err error) error {
	if errors.Is(err, errDead) {
		return s.c.reason()
	}
	s.c.fail(s.c.cancelled(s.ctx))
	return s.c.reason()
}

// text puts p in.
func (s *stage) text(p []byte) error {
	for len(p) > 0 {
		b, err := s.buffer()
		if err != nil {
			return err
		}
		n := copy(b.buf[b.n:], p)
		b.n += n
		p = p[n:]
	}
	return nil
}

// errBody is wrapped by errors of a body's reader.
var errBody = errors.New("the message could not be read to its end")

// body puts the size octets of r in. The last of them leave only when r has
// said that it has no more: a stream whose end is an error is never complete
// on the wire.
func (s *stage) body(r io.Reader, size int64) error {
	for left := size; left > 0; {
		b, err := s.buffer()
		if err != nil {
			return err
		}
		n, err := r.Read(b.buf[b.n:min(outBuffer, int64(b.n)+left)])
		b.n += n
		left -= int64(n)
		switch {
		case err == io.EOF && left > 0:
			return fmt.Errorf("%w: it has %d octets less than announced", errBody, left)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errBody, err)
		}
	}
	switch _, err := io.ReadFull(r, s.one[:]); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: it has more octets than announced", errBody)
	default:
		return fmt.Errorf("%w: %w", errBody, err)
	}
}

// drop gives up what was not flushed.
func (s *stage) drop() {
	if s.out != nil {
		s.out.n = 0
		outBuffers.Put(s.out)
		s.out = nil
	}
}
