package imapx

// APPEND: how a batch is sent. What becomes of it is in receipt.go.

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// outgoing is one message on its way.
type outgoing struct {
	mailhaul.Outgoing
	size    int64
	dropped int // flags

	// Protected by Writer.mu:
	outcome mailhaul.Outcome
	decided bool
	held    int // who may still read the body
}

// unit is the messages of one command.
type unit struct {
	w     *Writer
	final chan struct{} // closed when each message has its outcome

	// Protected by Writer.mu, and changed only by whoever has the turn:
	msgs   []*outgoing
	octets int64
	cmd    *command // nil: to be sent, or to be sent again

	// Protected by Writer.mu:
	after     *unit           // of the tail: what has to be stored before it may be ended
	busy      bool            // of the tail: somebody is adding to it
	cancelled bool            // by us
	ended     bool            // final is closed
	refusal   *mailhaul.Error // what the server said, where it has to be looked into
	complete  bool            // whether the server may have had all octets then
	before    tally           // what had been stored then
	flagged   bool            // it is the flags that the server refuses
}

func (w *Writer) newUnit(msgs []*outgoing) *unit {
	u := &unit{w: w, msgs: msgs, final: make(chan struct{})}
	for _, m := range msgs {
		u.octets += m.size
	}
	return u
}

// Append implements [mailhaul.Writer].
//
// The messages go by the best way that the server offers: all in one command
// (MULTIAPPEND) or a command each, and without waiting for the server to ask for
// each body (LITERAL+, LITERAL-) where that is known to be safe. An empty
// message, and one whose body is a stream, has a command of its own. Flags that
// the mailbox cannot keep are left out and counted; a message above the server's
// limit (APPENDLIMIT) is not sent.
//
// The messages that are stored are stored in the order given. When the server
// refuses a MULTIAPPEND, nothing of it is stored; it is then taken apart, so
// that a message which is to blame costs only itself. That is done by the next
// call that uses the Writer or waits for the Receipt. Until it is clear that
// there is nothing to take apart, what comes next is not completed: on servers
// that are known to let a MULTIAPPEND be cancelled it is sent all the same, as
// one command for all the batches that come meanwhile, but for its last two
// octets.
//
// A message whose keywords are refused is stored without them.
//
// A refusal that is not about a message (a full mailbox, a throttle, a mailbox
// that is gone) stops the Writer: what was not sent is NotStored with the same
// error. So does BAD, which ends the connection too.
func (w *Writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	r := &receipt{w: w, msgs: make([]*outgoing, len(batch))}
	for i, o := range batch {
		m := &outgoing{Outgoing: o, size: o.Body.Size()}
		m.Flags, m.dropped = w.storable(o.Flags)
		m.outcome.Dropped = m.dropped
		r.msgs[i] = m
	}
	r.units = w.units(r.msgs)
	// Leave is waited for before anything of the batch is on the wire, and
	// without the turn: what was sent before is seen to meanwhile.
	begun, err := w.mayBegin(ctx, len(batch))
	if err != nil {
		err = w.name(err)
		for _, u := range r.units {
			u.conclude(mailhaul.NotStored, err)
		}
		return r, err
	}
	defer begun()
	err = w.withTurn(ctx, opAppend, func() error {
		st := w.c.stage(ctx)
		defer st.drop()
		for i, u := range r.units {
			sent, err := w.send(ctx, st, u)
			r.units[i] = sent
			if err != nil {
				// What is complete goes all the same, if it still can.
				_ = st.flush()
				return err
			}
		}
		return st.drained()
	})
	if err != nil {
		// Units that were sent get their outcomes by themselves.
		for _, u := range r.units {
			if !w.sent(u) {
				u.conclude(mailhaul.NotStored, err)
			}
		}
	}
	return r, err
}

// mayBegin waits for leave to send a batch. Where the connection is wanted back,
// what was sent before is brought to its end first.
func (w *Writer) mayBegin(ctx context.Context, messages int) (begun func(), err error) {
	if w.c.leash.wanted() {
		if err := w.withTurn(ctx, opAppend, func() error { return w.resolve(ctx, nil) }); err != nil {
			return nil, err
		}
	}
	begun, err = w.c.mayBegin(ctx, opAppend, messages)
	if errors.Is(err, errWanted) {
		w.halt(err)
	}
	return begun, err
}

// units divides a batch into commands. Messages that are not even to be sent
// are decided here.
func (w *Writer) units(msgs []*outgoing) []*unit {
	var units []*unit
	var last *unit // may take more
	for _, m := range msgs {
		if w.limit > 0 && m.size > w.limit {
			w.refuse(m, w.tooBig(m.size))
			continue
		}
		alone := !w.way.multi || m.size == 0 || !m.Body.Buffered()
		if last == nil || alone {
			last = w.newUnit(nil)
			units = append(units, last)
		}
		last.msgs = append(last.msgs, m)
		last.octets += m.size
		if alone {
			last = nil
		}
	}
	return units
}

func (w *Writer) tooBig(size int64) error {
	e := w.c.fault(opAppend, mailhaul.Permanent, mailhaul.ScopeMessage,
		fmt.Errorf("the message has %d octets and the server takes no more than %d", size, w.limit))
	e.Mailbox, e.Code = w.box.Name, "TOOBIG"
	return e
}

// transmit gives the APPEND of a unit, but for the end of its line.
func (w *Writer) transmit(ctx context.Context, st *stage, u *unit) error {
	w.hold(u.msgs)
	defer w.letGo(u.msgs)
	cmd := w.c.command(opAppend, "APPEND ")
	cmd.finished = u.answered
	cmd.enc.String(w.box.Wire)
	err := cmd.enc.Err() // of the mailbox's name; nothing else can be wrong
	if err == nil {
		w.mu.Lock()
		u.cmd, u.cancelled, u.refusal = cmd, false, nil
		w.mu.Unlock()
		err = w.c.register(cmd, st.position(), false)
	}
	if err != nil {
		u.conclude(mailhaul.NotStored, w.name(err))
		return err
	}
	return w.messages(ctx, st, cmd, u.msgs)
}

// messages sends messages as part of a command that has begun.
func (w *Writer) messages(ctx context.Context, st *stage, cmd *command, msgs []*outgoing) error {
	enc := &cmd.enc
	for _, m := range msgs {
		w.header(enc, m)
		wait := w.way.waits(m.size) || w.newKeyword(m.Flags) && !w.c.quirks.keywords
		enc.Raw(" {").Number(uint64(m.size))
		if !wait {
			enc.Raw("+")
		}
		enc.Raw("}\r\n")
		if err := w.announce(ctx, st, cmd, enc, wait); err != nil {
			return err
		}
		if err := st.body(m.Body.Reader(), m.size); err != nil {
			return w.unread(err)
		}
		enc.Reset()
	}
	cmd.whole.Store(st.position())
	return nil
}

// header puts in what precedes a body: flags and date.
func (w *Writer) header(enc *wire.Encoder, m *outgoing) {
	if len(m.Flags) > 0 {
		enc.SP().Flags(m.Flags)
	}
	if !m.InternalDate.IsZero() {
		enc.SPDate(m.InternalDate)
	}
}

// announce sends the pieces before a body. Where the server has to ask for the
// body, it waits for that.
func (w *Writer) announce(ctx context.Context, st *stage, cmd *command, enc *wire.Encoder, wait bool) error {
	parts := enc.Parts()
	for i, part := range parts {
		if i < len(parts)-1 || wait { // the mailbox's name may be a literal too
			awaited := w.c.await()
			if err := w.put(st, cmd, part); err != nil {
				return err
			}
			if err := st.flush(); err != nil {
				return err
			}
			w.c.link.expect(1)
			_, err := w.c.proceed(ctx, cmd, awaited)
			w.c.link.expect(-1)
			if err != nil {
				return err
			}
			continue
		}
		if err := w.put(st, cmd, part); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) put(st *stage, cmd *command, part []byte) error {
	if w.c.cfg.Trace != nil {
		w.c.traceCommand(cmd, part, 0)
	}
	return st.text(part)
}

// newKeyword reports whether one of the flags is a keyword that the mailbox
// has not seen, and remembers it. Whatever a server finds wrong with a keyword,
// it finds wrong the first time, and then the body is still here.
func (w *Writer) newKeyword(flags []mailhaul.Flag) bool {
	found := false
	for _, f := range flags {
		if key := strings.ToLower(string(f)); !f.System() && !w.keywords[key] {
			w.keywords[key] = true
			found = true
		}
	}
	return found
}

// unread ends the connection over a body that could not be read: a part of it
// is on the wire, and cannot be taken back.
func (w *Writer) unread(err error) error {
	if !errors.Is(err, errBody) {
		return err // it is the connection that failed
	}
	e := w.c.fault(opAppend, mailhaul.Transient, mailhaul.ScopeConnection, err)
	if cause, ok := errors.AsType[*mailhaul.Error](err); ok {
		e.Kind = cause.Kind
	}
	w.c.fail(e)
	return e
}
