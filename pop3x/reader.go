package pop3x

import (
	"bytes"
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Reader is a session with the maildrop open: a [mailhaul.Reader].
//
// POP3 has no UIDs. The UIDs of a Reader are the message numbers that its
// first session had, from 1, and mean nothing beyond it: its Status has the
// UIDVALIDITY 0. What names a message for ever is the UIDL that Messages
// yields, which costs nothing to ask for; the engine makes lasting UIDs of it.
// Where the server has no unique-ids, a blank and a digest take their place,
// which no UIDL begins with.
type Reader struct {
	src  *Source
	list []entry // as it was in the first session
	now  []int   // the numbers of those in the present session; 0: gone
	own  bool

	mu     sync.Mutex // protects what follows
	sess   *session
	closed bool
	open   map[*download]struct{}
}

func newReader(src *Source, sess *session) *Reader {
	r := &Reader{src: src, sess: sess, list: sess.list, own: sess.own, now: make([]int, len(sess.list)), open: make(map[*download]struct{})}
	for i := range r.now {
		r.now[i] = i + 1
	}
	return r
}

// Status implements [mailhaul.Reader].
func (r *Reader) Status() mailhaul.Status { return mailhaul.Status{Messages: uint32(len(r.list))} }

// UIDs implements [mailhaul.Reader]: the numbers of all messages.
func (r *Reader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	if len(r.list) == 0 {
		return nil, ctx.Err()
	}
	return mailhaul.UIDSet{{First: 1, Last: mailhaul.UID(len(r.list))}}, ctx.Err()
}

// numbers yields the numbers in the set, as of the first session and of the
// present one, without those that are gone.
func (r *Reader) numbers(set mailhaul.UIDSet) iter.Seq2[int, int] {
	return func(yield func(first, now int) bool) {
		for _, rng := range set {
			for uid := max(rng.First, 1); uid <= rng.Last && int64(uid) <= int64(len(r.list)); uid++ {
				if n := r.now[uid-1]; n != 0 && !yield(int(uid), n) {
					return
				}
			}
		}
	}
}

// headersAtOnce bounds the memory that headers take on their way.
const headersAtOnce = 500

// Messages implements [mailhaul.Reader]. UIDL and size are known from the
// session's listing; only FieldHeader and FieldWholeHeader ask the server, by
// TOP, and bring the date with them where FieldDate is asked for too. There is no date otherwise:
// that of a body comes with it (Fetched.InternalDate).
func (r *Reader) Messages(ctx context.Context, set mailhaul.UIDSet, f mailhaul.Fields, _ mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(mailhaul.Message{}, (&conn{cfg: &r.src.cfg}).cancelled(ctx))
			return
		}
		if f&(mailhaul.FieldHeader|mailhaul.FieldWholeHeader) == 0 {
			for first := range r.numbers(set) {
				if !yield(r.message(first, f), nil) {
					return
				}
			}
			return
		}
		for chunk := range set.Intersect(mailhaul.UIDSet{{First: 1, Last: mailhaul.UID(max(len(r.list), 1))}}).Chunks(headersAtOnce) {
			msgs, err := r.described(ctx, chunk, f)
			for _, m := range msgs {
				if !yield(m, nil) {
					return
				}
			}
			if err != nil {
				yield(mailhaul.Message{}, err)
				return
			}
		}
	}
}

// message is what the listing says of a message.
func (r *Reader) message(first int, f mailhaul.Fields) mailhaul.Message {
	e := r.list[first-1]
	m := mailhaul.Message{UID: mailhaul.UID(first), UIDL: e.uidl}
	if f&mailhaul.FieldSize != 0 {
		m.Size = e.size
	}
	if f&mailhaul.FieldFlags != 0 && r.src.cfg.Seen {
		m.Flags = []mailhaul.Flag{mailhaul.FlagSeen}
	}
	return m
}

// described returns messages with their headers.
func (r *Reader) described(ctx context.Context, set mailhaul.UIDSet, f mailhaul.Fields) ([]mailhaul.Message, error) {
	sess, err := r.session()
	if err != nil {
		return nil, err
	}
	var msgs []mailhaul.Message
	var numbers []int
	for first, now := range r.numbers(set) {
		msgs = append(msgs, r.message(first, f))
		numbers = append(numbers, now)
	}
	at := time.Now()
	err = sess.headers(ctx, numbers, func(i int, header []byte) {
		if f&mailhaul.FieldWholeHeader != 0 {
			msgs[i].Header = bytes.Clone(header)
		} else {
			msgs[i].Header = keyFields(header)
		}
		if f&mailhaul.FieldDate != 0 {
			if t, from := DateOf(header, at); from != DateNow {
				msgs[i].InternalDate = t
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return msgs, nil
}

// download is the answer to one Fetch.
type download struct {
	n       int
	answers chan answer
	stop    func() bool
	left    atomic.Int64
}

type answer struct {
	uid mailhaul.UID
	b   *body
	err error
}

func (d *download) got(uid mailhaul.UID, b *body, err error) {
	d.answers <- answer{uid, b, err} // there is room for all
	if d.left.Add(-1) == 0 {
		d.stop()
	}
}

// drop releases what was not read.
func (d *download) drop() {
	d.stop()
	for {
		select {
		case a := <-d.answers:
			if a.b != nil {
				a.b.Release()
			}
		default:
			return
		}
	}
}

// Fetch implements [mailhaul.Reader]. All bodies are buffered, also with
// stream: how large a message is shows only at its end. One of more than
// Limits.MaxBuffered octets goes to a temporary file. A message that the server
// refuses, or that is larger than Limits.MaxBody, is left out, and an error of
// its own ends the sequence after the others.
//
// A session that has lasted long enough ends here, and Fetch returns only when
// the next one has begun: after Config.SessionPause.
func (r *Reader) Fetch(ctx context.Context, set mailhaul.UIDSet, _ bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	sess, err := r.lasting(ctx)
	if err != nil {
		return nil, err
	}
	type wanted struct{ first, now int }
	var want []wanted
	for first, now := range r.numbers(set) {
		want = append(want, wanted{first, now})
	}
	if len(want) == 0 {
		return func(func(mailhaul.Fetched, error) bool) {}, nil
	}
	lines, err := sess.way(ctx)
	if err != nil {
		return nil, err
	}
	d := &download{n: len(want), answers: make(chan answer, len(want)), stop: sess.while(ctx)}
	d.left.Store(int64(len(want)))
	items := make([]*item, len(want))
	for i, w := range want {
		items[i] = sess.whole(w.now, lines, func(b *body, err error) { d.got(mailhaul.UID(w.first), b, err) })
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		d.stop()
		return nil, r.src.closedError()
	}
	r.open[d] = struct{}{}
	r.mu.Unlock()
	sess.fetch(items...)
	return func(yield func(mailhaul.Fetched, error) bool) { r.deliver(d, yield) }, nil
}

// deliver hands the bodies of a download over.
func (r *Reader) deliver(d *download, yield func(mailhaul.Fetched, error) bool) {
	var own error // of a message; the others come first
	for ; d.n > 0; d.n-- {
		a := <-d.answers
		switch {
		case a.err == nil:
			date, from := DateOf(a.b.head, time.Now())
			r.src.dated(from)
			if !yield(mailhaul.Fetched{UID: a.uid, Body: a.b, InternalDate: date}, nil) {
				d.n--
				return // Close drops the rest
			}
		case messageOnly(a.err):
			if own == nil {
				e := *a.err.(*mailhaul.Error)
				e.UID = a.uid
				own = &e
			}
		default:
			yield(mailhaul.Fetched{}, a.err)
			return
		}
	}
	r.mu.Lock()
	delete(r.open, d)
	r.mu.Unlock()
	if own != nil {
		yield(mailhaul.Fetched{}, own)
	}
}

// session returns the present session.
func (r *Reader) session() (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, r.src.closedError()
	}
	if err := r.sess.dead(); err != nil {
		return nil, err
	}
	return r.sess, nil
}

// lasting returns the present session, or the next one where that has lasted
// long enough.
func (r *Reader) lasting(ctx context.Context) (*session, error) {
	sess, err := r.session()
	if err != nil || !sess.spent() {
		return sess, err
	}
	stop := sess.while(ctx)
	sess.idle.Wait() // all that was asked for
	stop()
	if err := sess.dead(); err != nil {
		return nil, err
	}
	r.src.retire(sess)
	pause := r.src.cfg.SessionPause
	r.src.mu.Lock()
	pause = max(pause, r.src.early())
	r.src.mu.Unlock()
	r.src.cfg.Logger.Info("the session has lasted long enough; another one begins after a pause", "pause", pause)
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.src.gone:
		return nil, r.src.closedError()
	case <-ctx.Done():
		return nil, sess.cancelled(ctx)
	}
	next, err := r.src.open(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sess = next
	r.now = renumber(r.list, next.list)
	return next, nil
}

// renumber finds the messages of one listing in another: by UIDL, among equal
// ones by size, and then in order. What is not there any more gets 0.
func renumber(list, next []entry) []int {
	there := make(map[mailhaul.UIDL][]int, len(next))
	for i, e := range next {
		there[e.uidl] = append(there[e.uidl], i+1)
	}
	now := make([]int, len(list))
	claim := func(i int, fits func(n int) bool) {
		group := there[list[i].uidl]
		for k, n := range group {
			if fits(n) {
				now[i] = n
				there[list[i].uidl] = append(group[:k:k], group[k+1:]...)
				return
			}
		}
	}
	for i, e := range list {
		claim(i, func(n int) bool { return next[n-1].size == e.size })
	}
	for i := range list {
		if now[i] == 0 {
			claim(i, func(int) bool { return true })
		}
	}
	return now
}

// Close implements [mailhaul.Reader]. The session goes back to the Source
// where nothing is in flight, and is ended otherwise.
func (r *Reader) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	open, sess := r.open, r.sess
	r.open = nil
	r.mu.Unlock()
	for d := range open {
		d.stop() // the end of its context is no longer the end of the session
	}
	if sess.busy() {
		sess.kill(r.src.closedError())
	}
	sess.idle.Wait()
	for d := range open {
		d.drop()
	}
	r.src.give(sess)
	return nil
}
