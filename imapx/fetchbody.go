package imapx

// FETCH of message bodies.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// fetchedItem is one step of a sequence of bodies: a body, or the error of one.
type fetchedItem struct {
	fetched mailhaul.Fetched
	err     error
}

// download is the FETCH behind Reader.Fetch.
type download struct {
	fetching
	stream bool
	q      *queue[fetchedItem]

	// Of the reading goroutine: bodies whose UID is not known yet, and UIDs
	// that came without a body, by sequence number.
	held map[uint32]mailhaul.Body
	uids map[uint32]mailhaul.UID
}

// maxHeld is how many bodies may wait for their UIDs.
const maxHeld = 16

// download asks for the bodies of the set. It returns without waiting.
func (c *conn) download(ctx context.Context, set mailhaul.UIDSet, stream bool) (*download, error) {
	d := &download{
		fetching: fetching{c: c, set: set},
		stream:   stream,
		held:     make(map[uint32]mailhaul.Body),
		uids:     make(map[uint32]mailhaul.UID),
	}
	d.q = newQueue(0, func(item fetchedItem) {
		if item.fetched.Body != nil {
			item.fetched.Body.Release()
		}
	})
	c.mu.Lock()
	c.downloads = append(c.downloads, d)
	c.mu.Unlock()
	return d, c.sendFetch(ctx, &d.fetching, " (UID BODY.PEEK[])", nil, d.wants, func(err error) {
		d.dropHeld()
		c.mu.Lock()
		c.downloads = slices.DeleteFunc(c.downloads, func(x *download) bool { return x == d })
		c.mu.Unlock()
		d.q.end(err)
	})
}

// notBuffered stands for a body that could not be taken.
type notBuffered struct{ err error }

// bodyArrival is the event of a body that is about to come off the wire. What
// the command makes of it is what it finds in the FETCH response afterwards.
type bodyArrival struct {
	seq  uint32
	uid  mailhaul.UID // 0: not known yet
	size int64
	r    io.Reader

	// What the command made of it.
	value any
	err   error // ends the connection
}

// body is the connection's wire.BodyFunc.
func (c *conn) body(head *wire.Response, size int64, r io.Reader) (any, error) {
	a := &bodyArrival{size: size, r: r}
	a.seq, a.uid = c.parser.PeekUID(head)
	c.dispatch(a)
	if a.value != nil {
		c.inflater.pardon()
	}
	return a.value, a.err
}

func (d *download) wants(event any) bool {
	switch e := event.(type) {
	case *bodyArrival:
		return d.receive(e)
	case *wire.Fetch:
		return d.take(e)
	case expungeEvent:
		// The sequence numbers are other messages' now. What was held is not
		// delivered, which costs another try.
		d.dropHeld()
	}
	return false
}

// receive takes a body off the wire.
func (d *download) receive(a *bodyArrival) bool {
	uid := a.uid
	if uid == 0 {
		uid = d.uids[a.seq]
	}
	// Two sets may have a message in common; each gets it once.
	single := len(d.set) == 1 && d.set[0].First == d.set[0].Last
	if uid == 0 && single {
		uid = d.set[0].First
	}
	if uid != 0 && (!d.set.Contains(uid) || d.arrived.seen(uid)) {
		return false
	}
	d.c.bodyOf = d
	d.c.mayTake()
	limits := &d.c.cfg.Limits
	switch {
	case a.size > limits.MaxBody:
		e := d.c.fault(opFetch, mailhaul.Permanent, mailhaul.ScopeMessage, fmt.Errorf("the message has %d octets", a.size))
		e.Hint = "Limits.MaxBody bounds what is taken"
		a.value = &notBuffered{e}
	case d.stream && uid != 0 && d.oldest():
		d.hand(a, uid)
	case a.size > limits.MaxBuffered:
		b, err := spoolBody(a.r, a.size)
		if disk, ok := errors.AsType[*spoolError](err); ok {
			e := d.c.fault(opFetch, mailhaul.Transient, mailhaul.ScopeMessage, disk)
			e.Hint = "see to the space in the folder for temporary files"
			a.value = &notBuffered{e}
		} else if err != nil {
			a.err = err
		} else {
			a.value = b
		}
	default:
		b, err := readBody(a.r, a.size)
		if err != nil {
			a.err = err
		} else {
			a.value = b
		}
	}
	return true
}

// oldest reports whether all downloads that were asked for before have come to
// their end. A server may answer them in another order (Dovecot does, while its
// output is blocked), but they are consumed in this one: a body that comes too
// early cannot be a stream.
func (d *download) oldest() bool {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	return len(d.c.downloads) > 0 && d.c.downloads[0] == d
}

// hand hands a body to the consumer as it comes, and waits until he has had it.
func (d *download) hand(a *bodyArrival, uid mailhaul.UID) {
	d.arrived.first(uid)
	b := newStreamBody(d.c, uid, a.r, a.size)
	a.value = b
	d.q.put(fetchedItem{fetched: mailhaul.Fetched{UID: uid, Body: b}}, d.c.dead)
	select {
	case <-b.back:
	case <-d.c.dead:
		a.err = errDead // the consumer may still be reading
	}
}

// take takes a complete FETCH response.
func (d *download) take(f *wire.Fetch) bool {
	if f.Body != nil && d.c.bodyOf != d {
		return false
	}
	if b, ok := f.Body.(*streamBody); ok {
		var err error
		if f.UID != 0 && f.UID != b.uid {
			err = d.c.named(opFetch, "", d.c.violation("the server sent UID %d where UID %d was asked for", f.UID, b.uid))
		}
		b.finish(err)
		return true
	}
	uid := f.UID
	if uid == 0 {
		uid = d.uids[f.Seq]
	}
	if uid != 0 && (!d.set.Contains(uid) || d.arrived.seen(uid)) {
		if f.Body == nil {
			return false
		}
		// The UID behind the body is not one that is missing.
		if b, ok := f.Body.(mailhaul.Body); ok {
			b.Release()
		}
		return true
	}
	if failed, ok := f.Body.(*notBuffered); ok {
		d.fail(uid, failed.err)
		return true
	}
	body, _ := f.Body.(mailhaul.Body)
	if f.Items&wire.ItemBody != 0 && f.Body == nil && f.BodyText != nil {
		m, _ := readBody(bytes.NewReader(f.BodyText), int64(len(f.BodyText)))
		body = m
	}
	switch {
	case body == nil && uid == 0:
		return false
	case body == nil:
		if b := d.held[f.Seq]; b != nil {
			delete(d.held, f.Seq)
			d.deliver(uid, b)
		} else if len(d.uids) < maxRemembered {
			d.uids[f.Seq] = uid
		}
	case uid == 0:
		if b := d.held[f.Seq]; b != nil {
			b.Release()
		} else if len(d.held) >= maxHeld {
			body.Release()
			return true
		}
		d.held[f.Seq] = body
	default:
		d.deliver(uid, body)
	}
	return true
}

func (d *download) deliver(uid mailhaul.UID, b mailhaul.Body) {
	if !d.arrived.first(uid) {
		b.Release()
		return
	}
	d.q.put(fetchedItem{fetched: mailhaul.Fetched{UID: uid, Body: b}}, d.c.dead)
}

// fail yields the error of one message.
func (d *download) fail(uid mailhaul.UID, err error) {
	if e, ok := errors.AsType[*mailhaul.Error](err); ok {
		e.UID = uid
	}
	if uid != 0 && !d.arrived.first(uid) {
		return
	}
	d.q.put(fetchedItem{fetched: mailhaul.Fetched{UID: uid}, err: err}, d.c.dead)
}

func (d *download) dropHeld() {
	for seq, b := range d.held {
		delete(d.held, seq)
		b.Release()
	}
	clear(d.uids)
}

// bodySeq is the sequence of a download.
func (d *download) bodySeq(ctx context.Context, mailbox string) iter.Seq2[mailhaul.Fetched, error] {
	return func(yield func(mailhaul.Fetched, error) bool) {
		items(ctx, d.c, mailbox, d.q,
			func(f fetchedItem) bool { return yield(f.fetched, d.c.named(opFetch, mailbox, f.err)) },
			func(err error) { yield(mailhaul.Fetched{}, err) })
	}
}
