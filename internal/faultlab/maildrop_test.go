// The source as a POP3 server shows it, messages included.

package faultlab

import (
	"context"
	"fmt"
	"iter"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
)

// maildrop is the INBOX of an account, as POP3 shows it: numbers, UIDLs, sizes,
// headers and messages, and neither flags nor dates.
type maildrop struct {
	mailhaul.Source
	account *memmail.Account
}

func newMaildrop(a *memmail.Account) maildrop { return maildrop{a.POP3(), a} }

func (d maildrop) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := d.account.OpenReader(ctx, m)
	if err != nil {
		return nil, err
	}
	drop := &maildropReader{Reader: r}
	for _, msg := range d.account.Snapshot("INBOX") {
		drop.uids = append(drop.uids, msg.UID)
	}
	return drop, nil
}

// maildropReader numbers the messages that were there when it was opened.
type maildropReader struct {
	mailhaul.Reader
	uids []mailhaul.UID
}

func (r *maildropReader) Status() mailhaul.Status {
	return mailhaul.Status{Messages: uint32(len(r.uids))}
}

func (r *maildropReader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	if len(r.uids) == 0 {
		return nil, ctx.Err()
	}
	return mailhaul.UIDSet{{First: 1, Last: mailhaul.UID(len(r.uids))}}, ctx.Err()
}

// real returns the UIDs of numbers, and the numbers of UIDs.
func (r *maildropReader) real(numbers mailhaul.UIDSet) (mailhaul.UIDSet, map[mailhaul.UID]mailhaul.UID) {
	var set mailhaul.UIDSet
	number := make(map[mailhaul.UID]mailhaul.UID, len(r.uids))
	for i, uid := range r.uids {
		if n := mailhaul.UID(i + 1); numbers.Contains(n) {
			set.Add(uid)
			number[uid] = n
		}
	}
	return set, number
}

func (r *maildropReader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, _ mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	set, number := r.real(set)
	return func(yield func(mailhaul.Message, error) bool) {
		for m, err := range r.Reader.Messages(ctx, set, fields, 0) {
			out := mailhaul.Message{UID: number[m.UID], Size: m.Size, Header: m.Header, UIDL: mailhaul.UIDL(fmt.Sprintf("u%08x", m.UID))}
			if !yield(out, err) {
				return
			}
		}
	}
}

func (r *maildropReader) Fetch(ctx context.Context, set mailhaul.UIDSet, stream bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	set, number := r.real(set)
	bodies, err := r.Reader.Fetch(ctx, set, stream)
	if err != nil {
		return nil, err
	}
	return func(yield func(mailhaul.Fetched, error) bool) {
		for f, err := range bodies {
			f.UID = number[f.UID]
			if !yield(f, err) {
				return
			}
		}
	}, nil
}
