package cyrus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// Writer writes a mailbox by SYNCAPPLY. It implements [mailhaul.Writer], whose
// rules for goroutines hold.
//
// A batch takes two steps. Its messages are uploaded, which shows nothing of
// them to anybody; then the mailbox is told of them, all at once. The second
// step of a batch is taken when the next one has been uploaded, or somebody
// waits for its Receipt, so that the server is never waited for while there is
// something to send.
type Writer struct {
	t      *Target
	box    mailhaul.Mailbox
	want   mailhaul.Identity
	status mailhaul.Status

	// turn is held, by having put something in, by whoever uses what follows.
	turn     chan struct{}
	sess     Session
	s        *state
	stale    bool            // s may no longer be true
	queue    []*batch        // not decided, oldest first
	top      mailhaul.UID    // the highest UID that was asked for
	staged   int64           // octets that the server holds ready
	files    int             // messages likewise
	allowed  int64           // octets that the server has room for
	careful  bool            // a keyword was refused
	accepted map[string]bool // keywords that the mailbox has, in lower case
	missed   bool            // something was not stored
	dead     error           // why nothing more is done
	closed   bool
}

func newWriter(t *Target, m mailhaul.Mailbox, sess Session, s *state, status mailhaul.Status, want mailhaul.Identity) *Writer {
	want.Messages = nil // what is to come says itself what it is called
	w := &Writer{
		t: t, box: m, sess: sess, s: s, status: status, want: want,
		turn: make(chan struct{}, 1), accepted: make(map[string]bool),
	}
	w.accept(status.Flags)
	return w
}

// Status implements [mailhaul.Writer].
func (w *Writer) Status() mailhaul.Status { return w.status }

// withTurn runs f, alone.
func (w *Writer) withTurn(ctx context.Context, op string, f func() error) error {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return w.t.fault(op, w.box, mailhaul.Transient, mailhaul.ScopeConnection, "", ctx.Err())
	}
	defer func() { <-w.turn }()
	if w.closed {
		return w.t.fault(op, w.box, mailhaul.Permanent, mailhaul.ScopeConnection, "", mailhaul.ErrClosed)
	}
	return f()
}

const (
	opAppend = "append to"
	opStore  = "store flags in"
)

// What the server holds ready is given up when it is this much.
const (
	maxStaged = 64 << 20
	maxFiles  = 2000
)

// batch is the messages of one Append.
type batch struct {
	msgs   []*message
	upload func(context.Context) ([][]byte, error) // waits for the first step; nil: done, or there is none
	apply  func(context.Context) ([][]byte, error) // waits for the second; nil: not begun, or done
	run    []*message                              // what the second step is about
	after  *state                                  // what there is when it has succeeded
	final  chan struct{}                           // closed when all is decided
}

func (b *batch) undecided() []*message {
	i := slices.IndexFunc(b.msgs, func(m *message) bool { return !m.decided })
	if i < 0 {
		return nil
	}
	return b.msgs[i:]
}

// Append implements [mailhaul.Writer].
//
// A message whose UID is not above all that the mailbox has given is appended
// through the Target that is decorated, in its place, and its Outcome says
// which UID it has. So is one that asks for no UID, and one without an octet,
// which Cyrus refuses. The octets are stored as
// they are, even those that Cyrus refuses in an APPEND, and quotas are not
// looked at, since replication overrides both. A date before 1970 or after 2105
// is stored as the nearest that Cyrus can keep.
func (w *Writer) Append(ctx context.Context, out []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	b := &batch{final: make(chan struct{})}
	for _, o := range out {
		m := &message{Outgoing: o}
		m.Flags, m.outcome.Dropped = w.storable(o.Flags)
		b.msgs = append(b.msgs, m)
	}
	err := w.withTurn(ctx, opAppend, func() error {
		if w.dead != nil {
			return w.dead
		}
		return w.add(ctx, b)
	})
	if err != nil {
		for _, m := range b.msgs { // nothing of it can have been stored
			m.decide(mailhaul.NotStored, 0, err)
		}
		select {
		case <-b.final:
		default:
			close(b.final)
		}
	}
	return &receipt{w, b}, err
}

// storable returns the flags that the mailbox can keep, and how many it cannot.
func (w *Writer) storable(flags []mailhaul.Flag) (kept []mailhaul.Flag, dropped int) {
	kept, dropped = mailhaul.NormalizeFlags(flags)
	all := len(kept)
	kept = slices.DeleteFunc(kept, func(f mailhaul.Flag) bool {
		return !f.System() && !w.status.AnyKeyword && !mailhaul.HasFlag(w.status.Flags, f)
	})
	return kept, dropped + all - len(kept)
}

// add uploads a batch, and takes the second step of the one before.
func (w *Writer) add(ctx context.Context, b *batch) error {
	if w.staged > maxStaged || w.files > maxFiles {
		if err := w.settle(ctx, nil); err != nil {
			return err
		}
		done, err := restart(ctx, w.sess)
		if err == nil {
			_, err = done(ctx)
		}
		if err != nil {
			return w.fail(err)
		}
		w.staged, w.files = 0, 0
	}
	if err := w.upload(ctx, b); err != nil {
		return w.fail(err)
	}
	w.queue = append(w.queue, b)
	if n := len(w.queue); n > 1 {
		if err := w.begin(ctx, w.queue[n-2]); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(b.undecided(), func(m *message) bool { return !m.Body.Buffered() }) {
		return w.settle(ctx, nil) // what is behind it on its connection waits for it
	}
	return nil
}

// upload sends the octets of those messages of a batch whose UIDs can be had.
func (w *Writer) upload(ctx context.Context, b *batch) error {
	command := []io.Reader{strings.NewReader("SYNCAPPLY MESSAGE (")}
	top := max(w.top, w.s.lastUID)
	var octets int64
	files := 0
	for _, m := range b.msgs {
		if m.Body.Size() > maxSize {
			m.decide(mailhaul.NotStored, 0, w.t.fault(opAppend, w.box, mailhaul.Permanent, mailhaul.ScopeMessage, "",
				fmt.Errorf("the message has %d octets, more than Cyrus can hold", m.Body.Size())))
			continue
		}
		if m.UID <= top || m.Body.Size() == 0 { // UID 0 too; over an empty message Cyrus (3.6) dies
			continue
		}
		if err := m.prepare(w.t.cfg.TempDir); err != nil {
			return err
		}
		top = m.UID
		m.uploaded = true
		head := appendString([]byte("%{"), w.s.partition, false)
		head = fmt.Appendf(head, " %x %d}\r\n", m.sum, m.Body.Size())
		command = append(command, bytes.NewReader(head), &exactly{m.Body.Reader(), m.Body.Size()}, strings.NewReader(" "))
		octets += m.Body.Size()
		files++
	}
	if files == 0 {
		return nil
	}
	if err := w.room(ctx, octets); err != nil {
		return err
	}
	command = append(command, strings.NewReader(")"))
	answer, err := w.sess.Send(ctx, io.MultiReader(command...))
	if err != nil {
		return err
	}
	b.upload, w.top = answer, top
	w.staged += octets
	w.files += files
	return nil
}

// fail ends the Writer. What nothing is known of stays so; what the mailbox was
// never told of is not stored.
func (w *Writer) fail(err error) error {
	if w.dead == nil {
		w.dead = w.t.named(opAppend, w.box, err)
		if e, ok := errors.AsType[*mailhaul.Error](w.dead); ok && e.Scope == mailhaul.ScopeMessage {
			mine := *e
			mine.Scope = mailhaul.ScopeMailbox
			w.dead = &mine
		}
	}
	for _, b := range w.queue {
		for _, m := range b.msgs {
			d := mailhaul.NotStored
			if b.apply != nil && slices.Contains(b.run, m) {
				d = mailhaul.DeliveryUnknown
			}
			m.decide(d, 0, w.dead)
		}
		close(b.final)
	}
	w.queue, w.missed = nil, true
	return w.dead
}

// begin takes the second step of a batch, when what is before it is decided. It
// waits for the answer only where it has to look into it.
func (w *Writer) begin(ctx context.Context, b *batch) error {
	if b.apply != nil {
		return nil
	}
	if err := w.settle(ctx, b); err != nil {
		return err
	}
	return w.tell(ctx, b, false)
}

// settle decides all batches before the given one, or all.
func (w *Writer) settle(ctx context.Context, before *batch) error {
	for len(w.queue) > 0 && w.queue[0] != before {
		b := w.queue[0]
		if err := w.tell(ctx, b, true); err != nil {
			return err
		}
	}
	return nil
}

// Store implements [mailhaul.Writer], through the Target that is decorated.
func (w *Writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	return w.withTurn(ctx, opStore, func() error {
		if w.dead != nil {
			return w.dead
		}
		if err := w.settle(ctx, nil); err != nil {
			return err
		}
		w.stale = true
		in, err := w.t.Target.OpenWriter(ctx, w.box)
		if err != nil {
			return err
		}
		defer in.Close()
		if err := in.Store(ctx, changes); err != nil {
			return err
		}
		return in.Finish(ctx)
	})
}

// Finish implements [mailhaul.Writer]. UIDNEXT and HIGHESTMODSEQ are raised to
// what is wanted, unless a message was not stored that may come once more.
func (w *Writer) Finish(ctx context.Context) error {
	return w.withTurn(ctx, opAppend, func() error {
		if w.dead != nil {
			return w.dead
		}
		if err := w.settle(ctx, nil); err != nil {
			return err
		}
		if w.files == 0 {
			return w.raise(ctx)
		}
		// The session may serve for many mailboxes more.
		done, err := restart(ctx, w.sess)
		if err != nil {
			return w.fail(err)
		}
		w.staged, w.files = 0, 0
		if err := w.raise(ctx); err != nil {
			return err
		}
		if _, err := done(ctx); err != nil {
			return w.fail(err)
		}
		return nil
	})
}

func (w *Writer) raise(ctx context.Context) error {
	for range maxTries {
		if w.stale {
			s, err := reread(ctx, w.sess, w.s)
			if err != nil {
				return w.fail(err)
			}
			w.s, w.stale = s, false
		}
		c := w.s.same()
		c.modSeq = max(c.modSeq, w.want.HighestModSeq)
		if w.want.UIDNext > 0 && !w.missed {
			c.lastUID = max(c.lastUID, w.want.UIDNext-1)
		}
		if c == w.s.same() {
			return nil
		}
		_, err := do(ctx, w.sess, w.s.command(c, nil))
		switch {
		case err == nil:
			w.s = w.s.changed(c)
			return nil
		case !overtaken(err):
			return w.fail(err)
		}
		w.stale = true
	}
	return w.fail(errBusy)
}

// Close implements [mailhaul.Writer]. It waits for whoever uses the Writer, who
// ends with his context.
func (w *Writer) Close() error {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	if w.closed {
		return nil
	}
	w.closed = true
	if len(w.queue) > 0 {
		w.fail(w.t.fault(opAppend, w.box, mailhaul.Transient, mailhaul.ScopeConnection, "", mailhaul.ErrClosed))
	}
	return w.sess.Close()
}

// receipt implements [mailhaul.Receipt].
type receipt struct {
	w *Writer
	b *batch
}

// Wait implements [mailhaul.Receipt].
func (r *receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	var err error
	select {
	case <-r.b.final:
	default:
		err = r.w.wait(ctx, r.b)
	}
	outcomes := make([]mailhaul.Outcome, len(r.b.msgs))
	select {
	case <-r.b.final:
		for i, m := range r.b.msgs {
			outcomes[i] = m.outcome
			if m.outcome.Delivery != mailhaul.Stored && err == nil {
				if e, ok := errors.AsType[*mailhaul.Error](m.outcome.Err); !ok || e.Scope != mailhaul.ScopeMessage {
					err = m.outcome.Err
				}
			}
		}
	default:
		for i := range outcomes {
			outcomes[i].Err = err
		}
	}
	return outcomes, err
}

// wait decides a batch, and those before it.
func (w *Writer) wait(ctx context.Context, b *batch) error {
	// The turn may be with somebody who decides it.
	select {
	case <-b.final:
		return nil
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return w.t.fault(opAppend, w.box, mailhaul.Transient, mailhaul.ScopeConnection, "", ctx.Err())
	}
	defer func() { <-w.turn }()
	select {
	case <-b.final:
		return nil
	default:
	}
	for {
		select {
		case <-b.final:
			return nil
		default:
			if err := w.tell(ctx, w.queue[0], true); err != nil {
				return err
			}
		}
	}
}
