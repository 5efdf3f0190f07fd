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
	w    *Writer
	msgs []*outgoing
	cmd  *command

	final  chan struct{} // closed when each message has its outcome
	attend chan struct{} // closed when a refusal has to be looked into

	// Protected by Writer.mu:
	aborted  bool            // cancelled by us, to be sent again
	ended    bool            // final is closed
	refusal  *mailhaul.Error // set before attend is closed
	complete bool            // whether the server may have had all octets then
	flagged  bool            // it is the flags that the server refuses
}

func (w *Writer) newUnit(msgs []*outgoing) *unit {
	return &unit{w: w, msgs: msgs, final: make(chan struct{}), attend: make(chan struct{})}
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
// there is nothing to take apart, the next batch is not completed: on servers
// that are known to let a MULTIAPPEND be cancelled it is sent all the same, but
// for its last two octets.
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
	err := w.withTurn(ctx, opAppend, func() error {
		st := w.c.stage(ctx)
		defer st.drop()
		for _, u := range r.units {
			if err := w.send(ctx, st, u); err != nil {
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
			if u.cmd == nil {
				u.conclude(mailhaul.NotStored, err)
			}
		}
	}
	return r, err
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

// send puts one unit on its way. An error means that the Writer goes no
// further; the unit has its outcome then, or was never begun.
func (w *Writer) send(ctx context.Context, st *stage, u *unit) error {
	before := w.divisible()
	if before != nil && !w.overlaps(u) {
		if err := w.resolve(ctx, st); err != nil {
			return err
		}
		before = nil
	}
	if err := w.stopped(); err != nil {
		return err
	}
	w.hold(u.msgs)
	defer w.letGo(u.msgs)
	w.enter(u)
	again, err := w.transmit(ctx, st, u, before)
	if err != nil || !again {
		return err
	}
	// What came before was refused: it is stored, as far as it can be, first.
	if err = w.resolve(ctx, st); err == nil {
		err = w.stopped()
	}
	if err != nil {
		u.conclude(mailhaul.NotStored, w.name(err))
		return err
	}
	_, err = w.transmit(ctx, st, u, nil)
	return err
}

// overlaps reports whether a unit may be sent, but for its end, while it is not
// clear what becomes of the one before.
func (w *Writer) overlaps(u *unit) bool {
	return w.way.multi && w.way.plus && w.c.quirks.cancels && u.msgs[0].size > 0 && u.msgs[0].Body.Buffered()
}

// transmit gives the APPEND of a unit. With before, a unit that may yet have to
// be taken apart, the command is completed only when that one has its outcome;
// where it gets none, this one is cancelled and has to be sent again.
func (w *Writer) transmit(ctx context.Context, st *stage, u, before *unit) (again bool, err error) {
	c := w.c
	cmd := c.command(opAppend, "APPEND ")
	cmd.finished = u.answered
	w.mu.Lock()
	u.cmd, u.aborted = cmd, false
	w.mu.Unlock()

	enc := &cmd.enc
	enc.String(w.box.Wire)
	for i, m := range u.msgs {
		w.header(enc, m)
		wait := w.way.waits(m.size) || w.newKeyword(m.Flags)
		enc.Raw(" {").Number(uint64(m.size))
		if !wait {
			enc.Raw("+")
		}
		enc.Raw("}\r\n")
		if i == 0 {
			err := enc.Err() // of the mailbox's name; nothing else can be wrong
			if err == nil {
				err = c.register(cmd, st.position(), false)
			}
			if err != nil {
				u.conclude(mailhaul.NotStored, w.name(err))
				return false, err
			}
		}
		if err := w.announce(ctx, st, cmd, enc, wait); err != nil {
			if err == error(errRefused) {
				return false, nil // u.answered has seen to it
			}
			return false, err
		}
		if err := st.body(m.Body.Reader(), m.size); err != nil {
			return false, w.unread(err)
		}
		if i == len(u.msgs)-1 {
			cmd.whole.Store(st.position())
		}
		enc.Reset()
	}
	if before != nil {
		if err := st.flush(); err != nil {
			return false, err
		}
		proceed, err := w.awaitUnit(ctx, before)
		if err != nil {
			return false, err
		}
		if !proceed {
			return w.cancel(ctx, st, u)
		}
	}
	// Some servers read on behind the literal for the command's end, and some
	// that are done without still want it.
	if err := st.text([]byte("\r\n")); err != nil {
		return false, err
	}
	st.complete(cmd)
	return false, nil
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

// awaitUnit waits for the answer to a unit and reports whether what follows it
// may be completed.
func (w *Writer) awaitUnit(ctx context.Context, u *unit) (proceed bool, err error) {
	select {
	case <-u.final:
		return w.stopped() == nil, nil
	case <-u.attend:
		return false, nil
	case <-w.c.dead:
		return false, w.c.reason()
	case <-ctx.Done():
		err := w.c.cancelled(ctx)
		w.c.fail(err)
		return false, err
	}
}

// cancel takes a unit back whose last literal was sent and whose line was not
// ended, by a literal of no octets: the server refuses the whole then (RFC 3502
// section 6.3.11).
func (w *Writer) cancel(ctx context.Context, st *stage, u *unit) (again bool, err error) {
	w.mu.Lock()
	u.aborted = true
	w.mu.Unlock()
	if err := st.text([]byte(" {0+}\r\n\r\n")); err != nil {
		return false, err
	}
	st.complete(u.cmd)
	if err := st.flush(); err != nil {
		return false, err
	}
	answer, err := w.c.wait(ctx, u.cmd)
	if err != nil {
		return false, err
	}
	return answer.Cond == wire.NO, nil
}
