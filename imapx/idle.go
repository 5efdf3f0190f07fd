package imapx

// IDLE (RFC 2177).

import (
	"context"
	"errors"
	"time"

	"github.com/mailhaul/mailhaul"
)

var errIdleShort = errors.New("the server ends IDLE as soon as it has begun")

// idle lets the server tell what happens, for idleTime. began is called when
// the server has said that it will; more is false where it refuses.
func (w *watch) idle(ctx context.Context, began func()) (more bool, err error) {
	c := w.c
	cmd := c.command(opIdle, "IDLE")
	switch err := c.sendIdle(ctx, cmd); {
	case err == error(errRefused):
		return false, c.reason()
	case err != nil:
		return false, err
	}
	w.idling = true
	begun := time.Now()
	began()
	if err := w.wait(ctx, idleTime, cmd.done); err != nil {
		return false, err
	}
	select {
	case <-cmd.done: // by the server
		if cmd.err == nil && time.Since(begun) < idleLeast {
			return false, c.fault("", mailhaul.Corrupt, mailhaul.ScopeConnection, errIdleShort)
		}
	default:
		w.done()
		c.expect(cmd)
	}
	w.idling = false
	_, err = c.result(ctx, cmd)
	return true, err
}

// done ends an IDLE.
func (w *watch) done() {
	if w.c.cfg.Trace != nil {
		w.c.trace(true, []byte("DONE"))
	}
	w.c.out.put([]byte("DONE\r\n"))
}

// sendIdle sends IDLE and waits for the server's "+". No answer is outstanding
// afterwards, so that the server may be silent.
func (c *conn) sendIdle(ctx context.Context, cmd *command) error {
	cmd.enc.CRLF()
	begun, err := c.mayBegin(ctx, cmd.op, 0)
	if err != nil {
		return err
	}
	defer begun()
	queued, _ := c.out.positions()
	if err := c.register(cmd, queued, false); err != nil {
		return err
	}
	c.link.expect(1)
	defer c.link.expect(-1)
	line := cmd.enc.Parts()[0]
	awaited := c.await()
	if c.cfg.Trace != nil {
		c.traceCommand(cmd, line, 0)
	}
	c.out.put(line)
	if _, err := c.proceed(ctx, cmd, awaited); err != nil {
		return err
	}
	if c.leash != nil {
		c.leash.t.Idle(c.leash.id) // it waits for mail, and not for the server
	}
	return nil
}
