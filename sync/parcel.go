// A batch under way from the source to the target.

package sync

import (
	"context"
	"errors"
	"time"

	"github.com/mailhaul/mailhaul"
)

// parcel is a batch that has been asked for. Its share of the budget is taken
// by then; whoever ends up with the parcel gives it back, through collect or
// abandon.
type parcel struct {
	*batch
	budget *Budget
	taken  int64
	bodies seq // nil for a streamed message, which is asked for by ask
	ask    func(context.Context) (seq, error)
	done   chan struct{} // closed once a streamed message is through
}

// item is one message with its body, ready to be appended.
type item struct {
	msg  mailhaul.Message
	body mailhaul.Body
}

// abandon gives back what the parcel holds without reading its bodies.
func (p *parcel) abandon() {
	p.budget.give(p.taken)
	p.taken = 0
}

// collect waits for the bodies and returns them in the order of the batch.
// Messages whose body did not come are missing from the items. With an error,
// the items that came all the same are returned too.
func (p *parcel) collect() (items []item, missing mailhaul.UIDSet, err error) {
	place := make(map[mailhaul.UID]int, len(p.msgs))
	for i, m := range p.msgs {
		place[m.UID] = i
	}
	bodies := make([]mailhaul.Body, len(p.msgs))
	dates := make(map[mailhaul.UID]time.Time)
	for f, ferr := range p.bodies {
		if ferr != nil {
			err = ferr
			break
		}
		i, wanted := place[f.UID]
		if !wanted || bodies[i] != nil {
			f.Body.Release() // an answer that nobody asked for, or one given twice
			continue
		}
		share := max(0, p.msgs[i].Size)
		p.taken -= share
		bodies[i] = &budgeted{Body: f.Body, give: func() { p.budget.give(share) }}
		if !f.InternalDate.IsZero() {
			dates[f.UID] = f.InternalDate
		}
	}
	for i, m := range p.msgs {
		if bodies[i] == nil {
			missing.Add(m.UID)
			continue
		}
		if m.InternalDate.IsZero() { // only the body tells (POP3)
			m.InternalDate = dates[m.UID]
		}
		items = append(items, item{m, bodies[i]})
	}
	p.abandon() // the shares of what is missing
	return items, missing, err
}

// deliver asks for the one message of the parcel and calls send with its body.
// It reports whether the message came.
func (p *parcel) deliver(ctx context.Context, send func(item) error) (came bool, err error) {
	defer close(p.done)
	seq, err := p.ask(ctx)
	if err != nil {
		return false, err
	}
	for f, err := range seq {
		if err != nil {
			return came, err
		}
		if came || f.UID != p.msgs[0].UID {
			f.Body.Release()
			continue
		}
		came = true
		m := p.msgs[0]
		if m.InternalDate.IsZero() {
			m.InternalDate = f.InternalDate
		}
		if err := send(item{m, f.Body}); err != nil {
			return true, err
		}
	}
	return came, nil
}

// release gives up the bodies of items that will not be sent.
func release(items []item) {
	for _, it := range items {
		it.body.Release()
	}
}

// messageOnly reports whether err concerns one message and leaves its
// connection usable.
func messageOnly(err error) bool {
	e, ok := errors.AsType[*mailhaul.Error](err)
	return ok && e.Scope == mailhaul.ScopeMessage
}
