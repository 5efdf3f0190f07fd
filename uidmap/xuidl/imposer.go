package xuidl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// Imposer writes each message's UIDL into its header. It implements
// [mailhaul.Imposer].
type Imposer struct {
	mailhaul.Target

	mu      sync.Mutex // protects the fields below
	written int        // messages stored with a field
	own     int        // of these, those that had fields of their own
	unable  int        // messages that cannot have one
}

var (
	_ mailhaul.Imposer = (*Imposer)(nil)
	_ mailhaul.Warner  = (*Imposer)(nil)
	_ mailhaul.Writer  = (*Writer)(nil)
)

// New returns an Imposer that decorates the Target.
func New(target mailhaul.Target) (*Imposer, error) {
	if target == nil {
		return nil, errors.New("xuidl: a Target is needed")
	}
	return &Imposer{Target: target}, nil
}

// Unwrap returns the Target that is decorated.
func (x *Imposer) Unwrap() mailhaul.Target { return x.Target }

// WritesUIDLs tells a driver that decorates this one that UIDLs are seen to.
func (x *Imposer) WritesUIDLs() bool { return true }

// Warnings implements [mailhaul.Warner]: the Target's, and in how many messages
// octets were changed.
func (x *Imposer) Warnings() []string {
	var all []string
	if w, ok := mailhaul.As[mailhaul.Warner](x.Target); ok {
		all = slices.Clone(w.Warnings())
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.written > 0 {
		all = append(all, fmt.Sprintf("X-UIDL: %d messages were stored with a header field that carries their UIDL, so that their octets and sizes are not the source's; "+
			"%d of them lost X-UIDL fields of their own", x.written, x.own))
	}
	if x.unable > 0 {
		all = append(all, fmt.Sprintf("X-UIDL: %d messages begin with a blank and cannot carry their UIDL; they were stored as they are", x.unable))
	}
	return all
}

// OpenReader implements [mailhaul.Source]: messages are read without their
// X-UIDL fields.
func (x *Imposer) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := x.Target.OpenReader(ctx, m)
	if err != nil {
		return nil, err
	}
	return &reader{r}, nil
}

// OpenListed implements [mailhaul.ListedOpener].
func (x *Imposer) OpenListed(ctx context.Context, m mailhaul.Mailbox, fields mailhaul.Fields) (mailhaul.Reader, []mailhaul.Message, error) {
	return openListed(ctx, x.Target, m, fields)
}

// OpenWriter implements [mailhaul.Target]: each message whose UIDL is given gets
// the field.
func (x *Imposer) OpenWriter(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Writer, error) {
	w, err := x.Target.OpenWriter(ctx, m)
	if err != nil {
		return nil, err
	}
	return &Writer{x: x, inner: w}, nil
}

// Imposable implements [mailhaul.Imposer]. UIDLs are its own affair; what else
// there is, is up to an Imposer that it decorates. Without one it reaches
// [mailhaul.LevelExact] where the source has nothing but UIDLs (POP3).
func (x *Imposer) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	reason := x.unfit(want)
	inner, ok := mailhaul.As[mailhaul.Imposer](x.Target)
	if ok {
		rest := want
		rest.UIDLs = false
		can, err := inner.Imposable(ctx, m, rest)
		if err == nil && can.Level == mailhaul.LevelExact && reason != "" {
			can.Level, can.Reason = mailhaul.LevelUID, reason
		}
		return can, err
	}
	switch {
	case want.UIDValidity != 0:
		reason = "X-UIDL carries UIDLs, but neither UIDs nor the UIDVALIDITY"
	case !want.UIDLs:
		reason = "there are no UIDLs to carry"
	case reason == "":
		return mailhaul.Imposable{Level: mailhaul.LevelExact}, nil
	}
	return mailhaul.Imposable{Level: mailhaul.LevelOrder, Reason: reason}, nil
}

// unfit says why some UIDL cannot be carried, or nothing.
func (x *Imposer) unfit(want mailhaul.Identity) string {
	if !want.UIDLs {
		return ""
	}
	for _, m := range want.Messages {
		if m.UIDL != "" && !uidmap.ValidUIDL(m.UIDL) {
			return fmt.Sprintf("the UIDL %.80q is none that a header can carry: 1 to 70 octets from 0x21 to 0x7E", string(m.UIDL))
		}
	}
	return ""
}

// OpenImposing implements [mailhaul.Imposer].
func (x *Imposer) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	inner, ok := mailhaul.As[mailhaul.Imposer](x.Target)
	if !ok {
		return x.OpenWriter(ctx, m)
	}
	want.UIDLs = false
	w, err := inner.OpenImposing(ctx, m, want)
	if err != nil {
		return nil, err
	}
	return &Writer{x: x, inner: w}, nil
}

func (x *Imposer) count(written, own int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.written += written
	x.own += own
}

// Writer puts the fields in. It implements [mailhaul.Writer].
type Writer struct {
	x     *Imposer
	inner mailhaul.Writer
}

// Unwrap returns the Writer that is decorated.
func (w *Writer) Unwrap() mailhaul.Writer { return w.inner }

// Status implements [mailhaul.Writer].
func (w *Writer) Status() mailhaul.Status { return w.inner.Status() }

// Store implements [mailhaul.Writer].
func (w *Writer) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	return w.inner.Store(ctx, changes)
}

// Finish implements [mailhaul.Writer].
func (w *Writer) Finish(ctx context.Context) error { return w.inner.Finish(ctx) }

// Close implements [mailhaul.Writer].
func (w *Writer) Close() error { return w.inner.Close() }

// Append implements [mailhaul.Writer]. A message without a UIDL, or with one
// that is none, is handed on as it is. Where the header of a stream cannot be
// read, nothing of the batch is sent.
func (w *Writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	r := &receipt{x: w.x, altered: make([]bool, len(batch)), own: make([]bool, len(batch))}
	out := slices.Clone(batch)
	for i, o := range batch {
		if !uidmap.ValidUIDL(o.UIDL) {
			continue
		}
		b, own, can, err := alter(o.Body, "X-UIDL: "+string(o.UIDL)+"\r\n")
		switch {
		case err != nil:
			for _, o := range out {
				o.Body.Release()
			}
			return refused{len(batch), err}, err
		case !can:
			w.x.mu.Lock()
			w.x.unable++
			w.x.mu.Unlock()
		default:
			r.altered[i], r.own[i] = true, own
		}
		out[i].Body = b
	}
	var err error
	r.Receipt, err = w.inner.Append(ctx, out)
	return r, err
}

// receipt counts what was stored with a field.
type receipt struct {
	mailhaul.Receipt
	x            *Imposer
	altered, own []bool
	once         sync.Once
}

// Wait implements [mailhaul.Receipt].
func (r *receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	outcomes, err := r.Receipt.Wait(ctx)
	if err == nil || ctx.Err() == nil {
		r.once.Do(func() {
			written, own := 0, 0
			for i, o := range outcomes {
				if o.Delivery == mailhaul.Stored && i < len(r.altered) && r.altered[i] {
					written++
					if r.own[i] {
						own++
					}
				}
			}
			r.x.count(written, own)
		})
	}
	return outcomes, err
}

// refused is the receipt of a batch that was not sent.
type refused struct {
	n   int
	err error
}

// Wait implements [mailhaul.Receipt].
func (r refused) Wait(context.Context) ([]mailhaul.Outcome, error) {
	outcomes := make([]mailhaul.Outcome, r.n)
	for i := range outcomes {
		outcomes[i] = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: r.err}
	}
	return outcomes, r.err
}
