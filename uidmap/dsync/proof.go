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

// strangers reports whether something is in the mailbox that is not ours and
// was not there at the beginning.
func (s *session) strangers(ctx context.Context) (found bool, err error) {
	x := s.x
	err = x.t.reading(ctx, x.m, func(r mailhaul.Reader) error {
		uids, err := r.UIDs(ctx)
		if err != nil {
			return err
		}
		uids = uids.Intersect(above(x.box.uidNext))
		if len(uids) == 0 || x.wedged { // the server has written nothing yet
			found = len(uids) > 0
			return nil
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
func (s *session) settle(ctx context.Context, e ending) ([]mailhaul.Outcome, error) {
	x := s.x
	out := make([]mailhaul.Outcome, len(x.entries))
	if len(out) == 0 {
		return out, nil
	}
	var at []mailhaul.UID
	err := x.t.reading(ctx, x.m, func(r mailhaul.Reader) error {
		if got := r.Status().UIDValidity; got != x.given {
			err := x.fault(mailhaul.Conflict, errors.New("the mailbox has another UIDVALIDITY than it was given"))
			err.Scope = mailhaul.ScopeMailbox
			return err
		}
		uids, err := r.UIDs(ctx)
		if err != nil {
			return err
		}
		uids = uids.Intersect(above(min(x.box.uidNext, x.entries[0].uid)))
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
		return nil, err
	}
	for i := range x.entries {
		switch {
		case at[i] != 0:
			out[i] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: at[i]}
		case e.whole:
			out[i] = mailhaul.Outcome{Delivery: mailhaul.Stored}
		default:
			out[i] = mailhaul.Outcome{Err: x.fault(mailhaul.Transient, errors.New("the message was not found in the mailbox after an exchange that was broken off"))}
		}
	}
	return out, nil
}

func (x *exchange) fault(kind mailhaul.Kind, err error) *mailhaul.Error {
	return x.t.fault(x.m.Name, kind, mailhaul.ScopeConnection, err)
}
