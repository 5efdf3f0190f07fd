package imapx

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// Writer is one connection with one mailbox open for writing. It implements
// [mailhaul.Writer], whose rules for goroutines hold.
type Writer struct {
	client *Client
	c      *conn
	box    mailhaul.Mailbox
	status mailhaul.Status
	limit  int64 // the largest message, 0: not known
	way    way

	// turn is held, by having put something in, by whoever gives commands: a
	// call of the Writer's, or a Receipt that has a refusal to look into.
	turn chan struct{}

	// Of whoever has the turn:
	keywords map[string]bool // that the mailbox has already, in lower case
	refused  Refused         // nil: nothing takes a refused message's place

	mu       sync.Mutex // protects the fields below
	open     []*unit    // begun and without an outcome, oldest first
	tail     *unit      // the youngest of them, where its line is not ended
	refusals int
	trouble  chan struct{} // closed while somebody has to look into something
	alarmed  bool          // trouble is closed
	stop     error         // why nothing more is appended
	stored   tally
	closed   bool
}

func newWriter(cl *Client, c *conn, m mailhaul.Mailbox, o *opened, w way, limit int64) *Writer {
	wr := &Writer{
		client: cl, c: c, box: m, status: o.status, limit: limit, way: w,
		turn:     make(chan struct{}, 1),
		keywords: make(map[string]bool),
		trouble:  make(chan struct{}),
		stored:   tally{watermark: o.status.UIDNext},
	}
	for _, f := range slices.Concat(o.known, o.status.Flags) {
		wr.keywords[strings.ToLower(string(f))] = true
	}
	c.doubt(wr.undecided)
	if wr.stored.watermark == 0 { // Courier: everything counts
		wr.stored = tally{watermark: 1, nameless: int(o.status.Messages)}
	}
	return wr
}

// Status implements [mailhaul.Writer].
func (w *Writer) Status() mailhaul.Status { return w.status }

// storable returns the flags that the mailbox can keep, and how many it
// cannot.
func (w *Writer) storable(flags []mailhaul.Flag) (kept []mailhaul.Flag, dropped int) {
	kept, dropped = mailhaul.NormalizeFlags(flags)
	all := len(kept)
	if w.client.facts.get(noKeywords) {
		kept = systemFlags(kept)
	}
	kept = slices.DeleteFunc(kept, func(f mailhaul.Flag) bool {
		return !mailhaul.HasFlag(w.status.Flags, f) && (f.System() || !w.status.AnyKeyword)
	})
	return kept, dropped + all - len(kept)
}

// systemFlags returns the flags that are no keywords.
func systemFlags(flags []mailhaul.Flag) []mailhaul.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f mailhaul.Flag) bool { return !f.System() })
}

// take takes the turn.
func (w *Writer) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return w.c.cancelled(ctx)
	}
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return w.c.cancelled(ctx)
	case <-w.c.dead:
		return w.c.reason()
	}
}

func (w *Writer) pass() {
	<-w.turn
	if w.c.leash.wanted() {
		w.c.rest() // what has just been looked into may have been the last
	}
}

// undecided reports whether there are messages without an outcome.
func (w *Writer) undecided() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open) > 0
}

// withTurn runs f, which gives commands, and names its error. Nothing but
// APPEND may be given while a tail is open.
func (w *Writer) withTurn(ctx context.Context, op string, f func() error) error {
	err := w.take(ctx)
	if err == nil {
		if err = w.closedError(); err == nil && op != opAppend && w.hasTail() {
			err = w.resolve(ctx, nil)
		}
		if err == nil {
			err = f()
		}
		w.pass()
	}
	return w.c.named(op, w.box.Name, err)
}

// stopped returns why the Writer does nothing more, or nil.
func (w *Writer) stopped() error {
	if err := w.closedError(); err != nil {
		return err
	}
	w.mu.Lock()
	stop := w.stop
	w.mu.Unlock()
	if stop != nil {
		return stop
	}
	return w.c.reason()
}

// closedError returns an error where the Writer was closed: the connection may
// be another's by now.
func (w *Writer) closedError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return w.c.fault("", mailhaul.Permanent, mailhaul.ScopeConnection, mailhaul.ErrClosed)
	}
	return nil
}

// halt says why nothing more is to be appended. The first reason counts.
func (w *Writer) halt(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop == nil {
		w.stop = err
	}
}

// Finish implements [mailhaul.Writer].
func (w *Writer) Finish(ctx context.Context) error {
	err := w.withTurn(ctx, opAppend, func() error {
		if err := w.resolve(ctx, nil); err != nil {
			return err
		}
		return w.stopped()
	})
	if errors.Is(err, errWanted) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.stop == nil && len(w.open) == 0 {
			return nil // given back when all was done
		}
	}
	return err
}

// Close implements [mailhaul.Writer]. The connection goes back to the Client
// where nothing is in flight on it, and is ended otherwise.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	open := slices.Clone(w.open)
	w.mu.Unlock()
	busy := true
	select {
	case w.turn <- struct{}{}: // nobody gives commands any more
		busy = false
		defer w.pass()
	default: // somebody does, and gets an error now
	}
	if busy || len(open) > 0 {
		w.c.fail(w.c.fault("", mailhaul.Transient, mailhaul.ScopeConnection, mailhaul.ErrClosed))
	}
	w.c.doubt(nil)
	w.client.pool.put(w.c)
	for _, u := range open {
		u.conclude(mailhaul.DeliveryUnknown, w.c.named(opAppend, w.box.Name, w.c.reason()))
	}
	return nil
}
