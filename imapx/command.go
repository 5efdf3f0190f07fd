package imapx

// Commands: how they are given, and how their ends are waited for.

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// A command is one tagged command in flight.
type command struct {
	op  string
	tag string
	enc wire.Encoder

	// wants is called for each untagged response on the goroutine that reads,
	// and returns whether the response was for this command. What it wrote may
	// be read when done is closed. It must not block, unless it is meant to
	// hold the connection up.
	wants func(event any) bool

	// finished, if set, is called once with the command's end, before done is
	// closed.
	finished func(st wire.Status, err error)

	// upgrade, if set, is called on the goroutine that reads when the server
	// has answered OK.
	upgrade func() error

	gate   gate // the queue that the command fills, if it is bounded
	hidden bool // holds credentials

	at    int64         // position of the first octet
	due   bool          // conn.mu: the server's answer is awaited
	whole atomic.Int64  // position behind the last octet of the last literal; 0: not there yet
	done  chan struct{} // closed when the command has ended

	// Valid when done is closed:
	status wire.Status
	err    error // why there is no status
}

// end completes the command. It is called once.
func (cmd *command) end(st wire.Status, err error) {
	cmd.status, cmd.err = st, err
	if cmd.finished != nil {
		cmd.finished(st, err)
	}
	close(cmd.done)
}

// command returns a new command with its tag written.
func (c *conn) command(op, name string) *command {
	c.mu.Lock()
	c.tags++
	tag := c.prefix + strconv.FormatUint(c.tags, 10)
	c.mu.Unlock()
	cmd := &command{op: op, tag: tag, done: make(chan struct{})}
	cmd.enc.Raw(tag).SP().Raw(name)
	return cmd
}

// register enters a command into the table, at the position where its first
// octet will be. due says that the server will have all of it soon, so that its
// answer can be awaited; otherwise expect says that later.
func (c *conn) register(cmd *command, at int64, due bool) error {
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		return err
	}
	if len(c.table) == 0 {
		c.meter.roundTrips.Add(1)
		if c.leash != nil && prompt(cmd.op) {
			c.link.timed()
		}
	}
	cmd.at, cmd.due = at, due
	c.table[cmd.tag] = cmd
	if cmd.wants != nil {
		c.wanting = append(slices.Clip(c.wanting), cmd)
	}
	var others []gate
	for _, g := range c.bounded {
		if g != cmd.gate {
			others = append(others, g)
		}
	}
	c.mu.Unlock()
	for _, g := range others {
		g.open() // whoever waits for cmd may be the one who empties the queue
	}
	c.meter.commands.Add(1)
	if due {
		c.link.expect(1)
	}
	return nil
}

// expect says that the server has all of a command and its answer is awaited,
// unless that has come already.
func (c *conn) expect(cmd *command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table[cmd.tag] == cmd && !cmd.due {
		cmd.due = true
		c.link.expect(1)
	}
}

// send ends the command's line and sends it. It returns without waiting for
// anything but the server's leave to send what has to be a literal.
func (c *conn) send(ctx context.Context, cmd *command) error {
	cmd.enc.CRLF()
	if err := cmd.enc.Err(); err != nil {
		return err
	}
	parts := cmd.enc.Parts()
	begun, err := c.mayBegin(ctx, cmd.op, 0)
	if err != nil {
		return err
	}
	defer begun()
	queued, _ := c.out.positions()
	if err := c.register(cmd, queued, true); err != nil {
		return err
	}
	for i, part := range parts {
		var awaited chan string
		if i < len(parts)-1 {
			awaited = c.await()
		}
		if c.cfg.Trace != nil {
			c.traceCommand(cmd, part, i)
		}
		c.out.put(part)
		if awaited == nil {
			break
		}
		c.out.release()
		if _, err := c.proceed(ctx, cmd, awaited); err != nil {
			return err
		}
	}
	return nil
}

// await says that the next continuation request will be waited for. It is
// called before the octets that provoke it are sent.
func (c *conn) await() chan string {
	awaited := make(chan string, 1)
	c.mu.Lock()
	c.awaited = awaited
	if len(c.table) == 1 {
		c.meter.roundTrips.Add(1)
	}
	c.mu.Unlock()
	return awaited
}

// errRefused is returned where the server ended a command that waited for its
// leave to go on.
var errRefused = &refusal{wire.Status{Cond: wire.NO}}

// proceed waits for the continuation request. When the server ends the command
// instead, the error is errRefused.
func (c *conn) proceed(ctx context.Context, cmd *command, awaited chan string) (text string, err error) {
	select {
	case text = <-awaited:
		return text, nil
	case <-cmd.done:
	case <-c.dead:
	case <-ctx.Done():
	}
	select { // what the server has said counts, even where it has gone since
	case text = <-awaited:
		return text, nil
	default:
	}
	c.mu.Lock()
	if c.awaited == awaited {
		c.awaited = nil
	}
	c.mu.Unlock()
	if _, err := c.wait(ctx, cmd); err != nil {
		return "", err
	}
	return "", errRefused
}

// wait waits for the command's end. The end of ctx ends the connection: there
// is no other way to take a command back.
func (c *conn) wait(ctx context.Context, cmd *command) (wire.Status, error) {
	select {
	case <-cmd.done:
	case <-c.dead:
	case <-ctx.Done():
	}
	select { // an answer counts, even where the connection has ended since
	case <-cmd.done:
		return cmd.status, cmd.err
	default:
	}
	if err := c.reason(); err != nil {
		return wire.Status{}, err
	}
	err := c.cancelled(ctx)
	c.fail(err)
	return wire.Status{}, err
}

// run sends a command and waits for its end. A refusal is an error.
func (c *conn) run(ctx context.Context, cmd *command) (wire.Status, error) {
	if err := ctx.Err(); err != nil {
		return wire.Status{}, c.cancelled(ctx)
	}
	if err := c.send(ctx, cmd); err != nil && err != error(errRefused) {
		return wire.Status{}, err
	}
	return c.result(ctx, cmd)
}

// result waits for the end of a command that was sent. A refusal is an error.
func (c *conn) result(ctx context.Context, cmd *command) (wire.Status, error) {
	st, err := c.wait(ctx, cmd)
	if err != nil {
		return st, err
	}
	if st.Cond != wire.OK {
		return st, c.refused(cmd.op, st)
	}
	return st, nil
}
