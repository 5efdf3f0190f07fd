package dsync

// What is in the mailbox, as IMAP shows it: dsync itself never says under which
// UID a message was stored.

import (
	"context"
	"errors"
	"time"

	"github.com/mailhaul/mailhaul"
)

// above is the set of all UIDs from one on.
func above(uid mailhaul.UID) mailhaul.UIDSet {
	return mailhaul.UIDSet{{First: uid, Last: 1<<32 - 1}}
}

// reading runs f with the mailbox open for reading.
func (x *exchange) reading(ctx context.Context, f func(mailhaul.Reader) error) error {
	r, err := x.t.OpenReader(ctx, x.m)
	if err != nil {
		return err
	}
	err = f(r)
	_ = r.Close()
	if uerr := x.t.unselect(ctx, x.m); err == nil {
		err = uerr
	}
	return err
}

// strangers reports whether something is in the mailbox that is not ours and
// was not there at the beginning.
func (w *writer) strangers(ctx context.Context) (found bool, err error) {
	x := w.x
	err = x.reading(ctx, func(r mailhaul.Reader) error {
		uids, err := r.UIDs(ctx)
		if err != nil {
			return err
		}
		uids = uids.Intersect(above(x.box.uidNext))
		if len(uids) == 0 {
			return nil
		}
		// What the server has written down by now is the beginning of ours, in
		// whole commits.
		n := uids.Len()
		if w.block.ended(n) && !w.block.ended(n-1) {
			var first mailhaul.UIDSet
			for _, i := range x.order()[:n] {
				first.Add(x.entries[i].uid)
			}
			if len(uids.Minus(first)) == 0 {
				return nil
			}
		}
		there, err := x.list(ctx, r, uids)
		if err != nil {
			return err
		}
		_, rest := x.match(there)
		found = len(rest) > 0
		return nil
	})
	return found, err
}

// list returns what the server says of messages.
func (x *exchange) list(ctx context.Context, r mailhaul.Reader, uids mailhaul.UIDSet) (map[mailhaul.UID]mailhaul.Message, error) {
	there := make(map[mailhaul.UID]mailhaul.Message)
	for m, err := range r.Messages(ctx, uids, mailhaul.FieldSize|mailhaul.FieldDate, 0) {
		if err != nil {
			return nil, err
		}
		there[m.UID] = m
	}
	return there, nil
}

// likeness is what a message is recognised by where its UID is another.
type likeness struct {
	date int64
	size int64
}

func likenessOf(date time.Time, size int64) likeness { return likeness{date.Unix(), size} }

// match says which of the messages is which of ours that were sent: the one
// with its UID, date and size, or else the only one with its date and size. It
// returns a UID for each entry, 0 where there is none, and what is not ours.
func (x *exchange) match(there map[mailhaul.UID]mailhaul.Message) (at []mailhaul.UID, rest map[mailhaul.UID]mailhaul.Message) {
	at = make([]mailhaul.UID, len(x.entries))
	rest = make(map[mailhaul.UID]mailhaul.Message, len(there))
	for uid, m := range there {
		rest[uid] = m
	}
	missing := make(map[likeness][]int)
	for i, e := range x.entries {
		if !e.sent {
			continue
		}
		like := likenessOf(e.date, e.size)
		if m, ok := rest[e.uid]; ok && (likenessOf(m.InternalDate, m.Size) == like || !e.requested) {
			at[i] = e.uid
			delete(rest, e.uid)
			continue
		}
		missing[like] = append(missing[like], i)
	}
	others := make(map[likeness][]mailhaul.UID)
	for uid, m := range rest {
		like := likenessOf(m.InternalDate, m.Size)
		if len(missing[like]) > 0 {
			others[like] = append(others[like], uid)
		}
	}
	for like, uids := range others {
		for _, uid := range uids {
			if len(uids) <= len(missing[like]) {
				delete(rest, uid) // of ours, whichever
			}
		}
		if len(uids) == 1 && len(missing[like]) == 1 {
			at[missing[like][0]] = uids[0]
		}
	}
	return at, rest
}

// settle finds out what became of each message, once the server has ended.
func (w *writer) settle(ctx context.Context, e ending) error {
	x := w.x
	out := make([]mailhaul.Outcome, len(x.entries))
	var at []mailhaul.UID
	err := x.reading(ctx, func(r mailhaul.Reader) error {
		if got := r.Status().UIDValidity; got != x.given {
			err := x.fault(mailhaul.Conflict, errors.New("the mailbox has another UIDVALIDITY than it was given"))
			err.Scope = mailhaul.ScopeMailbox
			return err
		}
		uids, err := r.UIDs(ctx)
		if err != nil {
			return err
		}
		uids = uids.Intersect(above(x.box.uidNext))
		if e.whole && !e.changed {
			// The server has done as it was told; where a UID is missing its
			// user has deleted the message since.
			at = make([]mailhaul.UID, len(x.entries))
			for i, entry := range x.entries {
				if uids.Contains(entry.uid) {
					at[i] = entry.uid
				}
			}
			return nil
		}
		there, err := x.list(ctx, r, uids)
		if err == nil {
			at, _ = x.match(there)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, entry := range x.entries {
		switch {
		case !entry.sent:
		case at[i] != 0:
			out[i] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: at[i]}
		case e.whole:
			out[i] = mailhaul.Outcome{Delivery: mailhaul.Stored}
		default:
			err := x.fault(mailhaul.Transient, errors.New("the message was not found in the mailbox after an exchange that was broken off"))
			out[i] = mailhaul.Outcome{Err: err}
		}
	}
	w.conclude(out, nil)
	return nil
}

// raise raises UIDNEXT and HIGHESTMODSEQ after an exchange that could not end
// as it should, which nothing depends on.
func (x *exchange) raise(ctx context.Context) error {
	want := x.want
	want.Messages = nil
	y, err := x.t.begin(ctx, x.m, want)
	if err != nil {
		return err
	}
	w := newWriter(y)
	defer w.Close()
	var e ending
	err = y.p.while(ctx, func() error { return w.end(&e) })
	w.conclude(nil, err)
	return err
}
