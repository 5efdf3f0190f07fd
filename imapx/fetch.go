package imapx

// FETCH, in its two uses: what messages are, and their bodies.

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

const (
	// headerItem and wholeHeaderItem are the header parts that are asked for,
	// one at a time, and the only FETCH items besides the body that are
	// strings of any length.
	headerItem      = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE SUBJECT FROM)]"
	wholeHeaderItem = "BODY.PEEK[HEADER]"

	// maxFetchSet is how many UIDs one FETCH spans, so that the number of its
	// responses stays below any limit.
	maxFetchSet = 1_000_000

	// queueLength is how many messages of a listing wait for their consumer
	// before the server has to.
	queueLength = 4096

	// maxRemembered is how many responses are kept that tell a part of
	// something.
	maxRemembered = 10_000
)

// arrivals remembers which UIDs have come, cheaply while they come in order.
type arrivals struct {
	inOrder mailhaul.UIDSet
	others  map[mailhaul.UID]struct{}
}

// first reports whether the UID comes for the first time.
func (a *arrivals) first(uid mailhaul.UID) bool {
	if n := len(a.inOrder); n == 0 || uid > a.inOrder[n-1].Last {
		a.inOrder.Add(uid)
		return true
	}
	if a.seen(uid) {
		return false
	}
	if a.others == nil {
		a.others = make(map[mailhaul.UID]struct{})
	}
	a.others[uid] = struct{}{}
	return true
}

func (a *arrivals) seen(uid mailhaul.UID) bool {
	_, seen := a.others[uid]
	return seen || a.inOrder.Contains(uid)
}

// fetching is what the FETCH commands of one sequence have in common: several
// where the set is too long for one.
type fetching struct {
	c       *conn
	set     mailhaul.UIDSet
	all     bool // the set is whatever the mailbox holds: 1:*
	arrived arrivals

	mu      sync.Mutex // protects the fields below
	pending int        // commands that have not ended
	err     error      // the first refusal
}

// ended notes the end of one command and reports whether it was the last, and
// with which error they all ended.
func (f *fetching) ended(st wire.Status, err error) (last bool, all error) {
	if err == nil {
		if st.Cond != wire.OK {
			err = f.c.refused(opFetch, st)
		} else {
			err = f.c.unmixed(opFetch, st)
		}
	}
	return f.less(1, err)
}

// less says that n commands have ended, or were never sent.
func (f *fetching) less(n int, err error) (last bool, all error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending -= n
	if f.err == nil {
		f.err = err
	}
	return f.pending == 0, f.err
}

// Messages.

// listing is the FETCH behind Reader.Messages.
type listing struct {
	fetching
	items   wire.Item // which make a message complete
	q       *queue[mailhaul.Message]
	partial map[uint32]*wire.Fetch // by sequence number: what came in several responses
	early   bool                   // the mailbox is not open yet: what comes is about another
}

// fetchItems returns the items to ask for, and which of them a message must
// have to be complete.
func fetchItems(fields mailhaul.Fields, modSeq bool) (text string, items wire.Item) {
	text, items = "UID", wire.ItemUID
	add := func(name string, item wire.Item) {
		text += " " + name
		items |= item
	}
	if fields&mailhaul.FieldFlags != 0 {
		add("FLAGS", wire.ItemFlags)
		if modSeq {
			add("MODSEQ", 0) // some do not send it though they were asked
		}
	}
	if fields&mailhaul.FieldSize != 0 {
		add("RFC822.SIZE", wire.ItemSize)
	}
	if fields&mailhaul.FieldDate != 0 {
		add("INTERNALDATE", wire.ItemDate)
	}
	switch {
	case fields&mailhaul.FieldWholeHeader != 0:
		add(wholeHeaderItem, wire.ItemHeader)
	case fields&mailhaul.FieldHeader != 0:
		add(headerItem, wire.ItemHeader)
	}
	return text, items
}

// list asks for the messages of the set. It returns without waiting.
func (c *conn) list(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq, modSeq bool) (*listing, error) {
	l := c.newListing(set)
	return l, l.send(ctx, fields, since, modSeq)
}

func (c *conn) newListing(set mailhaul.UIDSet) *listing {
	return &listing{fetching: fetching{c: c, set: set}, q: newQueue[mailhaul.Message](queueLength, nil)}
}

func (l *listing) send(ctx context.Context, fields mailhaul.Fields, since mailhaul.ModSeq, modSeq bool) error {
	c := l.c
	var text string
	text, l.items = fetchItems(fields, modSeq)
	tail := " (" + text + ")"
	if since > 0 && modSeq {
		tail += fmt.Sprintf(" (CHANGEDSINCE %d)", since)
	}
	return c.sendFetch(ctx, &l.fetching, tail, l.q, l.wants, func(err error) {
		l.flush()
		c.unbound(l.q)
		l.q.end(err)
	})
}

// sendFetch sends as many FETCH commands as the set needs. end is called once,
// when the last of them has ended. gate is the queue that they fill, where that
// is bounded.
func (c *conn) sendFetch(ctx context.Context, f *fetching, tail string, g gate, wants func(any) bool, end func(error)) error {
	sets := []mailhaul.UIDSet{f.set}
	if !f.all {
		sets = wire.SplitSet(f.set, c.cfg.Limits.MaxCommand-len(tail)-32, c.atOnce(maxFetchSet))
	}
	f.pending = len(sets)
	if g != nil {
		c.bound(g)
	}
	for i, set := range sets {
		cmd := c.command(opFetch, "UID FETCH ")
		if f.all {
			cmd.enc.Raw("1:*")
		} else {
			cmd.enc.Set(set)
		}
		cmd.enc.Raw(tail)
		cmd.wants, cmd.gate = wants, g
		cmd.finished = func(st wire.Status, err error) {
			if last, all := f.ended(st, err); last {
				end(all)
			}
		}
		if err := c.send(ctx, cmd); err != nil {
			// The connection is gone; those that were sent end by themselves.
			if last, _ := f.less(len(sets)-i, err); last {
				end(err)
			}
			return err
		}
	}
	return nil
}

// bound makes a queue known that holds the reading goroutine up when full.
func (c *conn) bound(g gate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bounded = append(c.bounded, g)
}

func (c *conn) unbound(g gate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bounded = slices.DeleteFunc(c.bounded, func(x gate) bool { return x == g })
}

// wants takes the FETCH responses of the listing.
func (l *listing) wants(event any) bool {
	if l.early {
		return false
	}
	switch e := event.(type) {
	case *wire.Fetch:
		return l.take(e)
	case expungeEvent:
		// The sequence numbers behind it are other messages' now.
		l.flush()
	}
	return false
}

// take takes one response. What a server says of a message may come in several,
// in any order, and between them what it says unasked.
func (l *listing) take(f *wire.Fetch) bool {
	p := l.partial[f.Seq]
	if f.UID != 0 && !l.set.Contains(f.UID) {
		return false
	}
	if p == nil && f.Items&l.items == l.items {
		l.yield(f)
		return true
	}
	if f.UID == 0 && p == nil && f.Items&^(wire.ItemFlags|wire.ItemModSeq) == 0 {
		return false // news of a message that may be any
	}
	if f.UID != 0 && l.arrived.seen(f.UID) {
		return true // news of a message that is complete
	}
	if p == nil {
		if len(l.partial) >= maxRemembered {
			return true // no server that is right in its mind
		}
		p = &wire.Fetch{}
		if l.partial == nil {
			l.partial = make(map[uint32]*wire.Fetch)
		}
		l.partial[f.Seq] = p
	}
	merge(p, f)
	if p.Items&l.items == l.items {
		delete(l.partial, f.Seq)
		l.yield(p)
	}
	return true
}

// merge adds to p what f says.
func merge(p, f *wire.Fetch) {
	p.Seq = f.Seq
	p.Items |= f.Items
	if f.Items&wire.ItemUID != 0 {
		p.UID = f.UID
	}
	if f.Items&wire.ItemFlags != 0 {
		p.Flags = f.Flags
	}
	if f.Items&wire.ItemSize != 0 {
		p.Size = f.Size
	}
	if f.Items&wire.ItemDate != 0 {
		p.Date = f.Date
	}
	if f.Items&wire.ItemModSeq != 0 {
		p.ModSeq = f.ModSeq
	}
	if f.Items&wire.ItemHeader != 0 {
		p.Header = slices.Clone(f.Header)
	}
}

func (l *listing) yield(f *wire.Fetch) {
	if !l.arrived.first(f.UID) {
		return
	}
	l.q.put(mailhaul.Message{
		UID: f.UID, Size: f.Size, InternalDate: f.Date, Flags: f.Flags, ModSeq: f.ModSeq,
		Header: slices.Clone(f.Header),
	}, l.c.dead)
}

// flush yields what is not complete and will not be: a server that leaves an
// item out has the message all the same.
func (l *listing) flush() {
	for seq, p := range l.partial {
		delete(l.partial, seq)
		asked := p.Items & l.items &^ (wire.ItemUID | wire.ItemFlags)
		if p.UID != 0 && (asked != 0 || l.items&^(wire.ItemUID|wire.ItemFlags) == 0) {
			l.yield(p)
		}
	}
}

// items turns a queue into a sequence that ends with the error of its end.
// stop is called when the consumer wants no more.
func items[T any](ctx context.Context, c *conn, mailbox string, q *queue[T], yield func(T) bool, failed func(error)) {
	defer q.abandon()
	var batch []T
	for {
		var err error
		batch, err = q.take(ctx, batch)
		if len(batch) == 0 {
			if ctx.Err() != nil && err == ctx.Err() {
				cancelled := c.cancelled(ctx)
				c.fail(cancelled)
				err = cancelled
			}
			if err != nil {
				failed(c.named(opFetch, mailbox, err))
			}
			return
		}
		for i, v := range batch {
			if !yield(v) {
				if q.drop != nil {
					for _, left := range batch[i+1:] {
						q.drop(left)
					}
				}
				return
			}
		}
	}
}

// messageSeq is the sequence of a listing.
func (l *listing) messageSeq(ctx context.Context, mailbox string) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		items(ctx, l.c, mailbox, l.q,
			func(m mailhaul.Message) bool { return yield(m, nil) },
			func(err error) { yield(mailhaul.Message{}, err) })
	}
}
