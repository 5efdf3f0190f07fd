package imapx

import (
	"context"

	"github.com/mailhaul/mailhaul"
)

// Refused is called when one message of several that were appended together
// turns out to be refused, before those behind it are stored. It returns what
// is to be stored in its place, nil for nothing, and done, which may be nil, to
// be told what became of that. It may run on the goroutine of whoever waits for
// a Receipt, and must not use the Writer. An error ends the Writer's work: what
// is behind the message is not stored.
type Refused = func(ctx context.Context, refused mailhaul.Outgoing) (instead *mailhaul.Outgoing, done func(mailhaul.Outcome), err error)

// WhenRefused sets what is called. It is to be called before the first Append.
// Only where Multi says so, and for messages whose bodies are buffered and not
// empty, can anything take a refused message's place: others travel alone, and
// what is behind them is on its way already.
func (w *Writer) WhenRefused(f Refused) { w.refused = f }

// replace stores what is to be in the place of a message, where it was refused.
// The caller has the turn, and nothing is under way.
func (w *Writer) replace(ctx context.Context, m *outgoing) error {
	w.mu.Lock()
	refused := m.decided && m.outcome.Delivery == mailhaul.NotStored
	w.mu.Unlock()
	if !refused || w.refused == nil {
		return nil
	}
	instead, done, err := w.refused(ctx, m.Outgoing)
	if err != nil {
		w.halt(w.name(err))
		return err
	}
	if instead == nil {
		return nil
	}
	n := &outgoing{Outgoing: *instead, size: instead.Body.Size()}
	n.Flags, n.dropped = w.storable(instead.Flags)
	u := w.newUnit([]*outgoing{n})
	if err = w.sendAlone(ctx, u); err == nil {
		if _, err = w.c.wait(ctx, u.cmd); err == nil {
			err = w.look(ctx, u)
		}
	}
	if err != nil {
		u.conclude(mailhaul.DeliveryUnknown, w.name(err))
	}
	<-u.final
	if done != nil {
		w.mu.Lock()
		outcome := n.outcome
		w.mu.Unlock()
		done(outcome)
	}
	if err == nil {
		err = w.stopped()
	}
	return err
}
