package imapx

// Whether the server has to ask for a literal before it is sent (RFC 7888).

import (
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// way is how messages go to a server.
type way struct {
	multi bool // several in one command (RFC 3502)
	plus  bool // bodies are not waited for (RFC 7888, LITERAL+)
	small bool // bodies of up to 4096 octets are not waited for (LITERAL-)
}

// waits reports whether a body of the given size has to be asked for.
func (w way) waits(size int64) bool {
	return !w.plus && !(w.small && size <= 4096)
}

// way returns how messages go to the server of c.
//
// A body that is not waited for is dangerous: a server that answers BAD to the
// command's beginning may take the body for commands, and by then it has them.
// So this is done only where the server is known to answer BAD for nothing that
// is sent here, or where a probe has shown that it swallows the body all the
// same.
func (cl *Client) way(ctx context.Context, c *conn) (way, error) {
	w := way{multi: c.can("MULTIAPPEND") && !cl.facts.get(noMultiAppend)}
	plus := c.can("LITERAL+")
	if !plus && !c.can("LITERAL-") || cl.facts.get(literalsRun) {
		return w, nil
	}
	if !c.quirks.literals && !cl.facts.get(literalsSwallowed) {
		safe, err := c.probeLiterals(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			cl.facts.set(literalsRun) // a server that hangs up at the probe gets no other
			return w, err
		case err != nil:
			return w, err
		case !safe:
			cl.facts.set(literalsRun)
			return w, nil
		}
		cl.facts.set(literalsSwallowed)
	}
	w.plus, w.small = plus, true
	return w, nil
}

// probeLiterals finds out whether the server swallows a body that it was sent
// unasked, though it answers BAD to the command: an APPEND that cannot succeed
// (no such flag, date or mailbox) has a NOOP for its body. An answer to the
// NOOP's tag means that the body was taken for a command. A NO proves nothing:
// Dovecot looks for the mailbox first, and swallows the body then.
func (c *conn) probeLiterals(ctx context.Context) (safe bool, err error) {
	canary := c.command(opNoop, "NOOP")
	probe := c.command(opAppend, "APPEND ")
	fence := c.command(opNoop, "NOOP")
	body := canary.tag + " NOOP\r\n"
	probe.enc.String("mailhaul-probe-" + strconv.FormatUint(rand.Uint64(), 36)).
		Raw(` (\Mailhaul) "31-Foo-1999 25:61:61 +0000" {` + strconv.Itoa(len(body)) + "+}\r\n" + body)
	queued, _ := c.out.positions()
	if err := c.register(canary, queued, false); err != nil {
		return false, err
	}
	if err := c.send(ctx, probe); err != nil {
		return false, err
	}
	if err := c.send(ctx, fence); err != nil {
		return false, err
	}
	answer, err := c.wait(ctx, probe)
	if err != nil {
		return false, err
	}
	if _, err := c.wait(ctx, fence); err != nil {
		return false, err
	}
	return c.forget(canary) && answer.Cond == wire.BAD, nil
}

// forget takes a command back that was never sent as one. It reports whether
// it had not been answered.
func (c *conn) forget(cmd *command) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, there := c.table[cmd.tag]
	delete(c.table, cmd.tag)
	return there
}
