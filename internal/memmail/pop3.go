// The account as a POP3 server shows it.

package memmail

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// POP3 returns the account's INBOX as a maildrop: messages that have an Order
// first, by it, then the others by their UIDs. A message without a UIDL of its
// own shows one made of its UID and the UIDVALIDITY. Nothing can be fetched.
func (a *Account) POP3() mailhaul.Source { return maildrop{a} }

type maildrop struct{ a *Account }

func (d maildrop) Account() mailhaul.Account {
	at := d.a.Account()
	at.Protocol = mailhaul.POP3
	return at
}

func (d maildrop) Close() error { return nil }

func (d maildrop) List(ctx context.Context) (*mailhaul.Listing, error) {
	return &mailhaul.Listing{Mailboxes: []mailhaul.Mailbox{{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"}}}, ctx.Err()
}

func (d maildrop) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	b, _, err := d.a.opened(ctx, m, false)
	if err != nil {
		return nil, err
	}
	d.a.mu.Lock()
	defer d.a.mu.Unlock()
	list := slices.Clone(b.Messages)
	for i := range list {
		if list[i].UIDL == "" {
			list[i].UIDL = mailhaul.UIDL(fmt.Sprintf("%08x%08x", list[i].UID, b.Validity))
		}
	}
	slices.SortStableFunc(list, func(x, y Stored) int { return cmp.Compare(x.Order-1, y.Order-1) }) // 0 last
	return &maildropReader{session: session{a: d.a, b: b, name: m.Name, status: mailhaul.Status{Messages: uint32(len(list))}}, list: list}, nil
}

// maildropReader is a Reader of a maildrop.
type maildropReader struct {
	session
	list []Stored
}

func (r *maildropReader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	if len(r.list) == 0 {
		return nil, ctx.Err()
	}
	return mailhaul.UIDSet{{First: 1, Last: mailhaul.UID(len(r.list))}}, ctx.Err()
}

func (r *maildropReader) Messages(ctx context.Context, set mailhaul.UIDSet, _ mailhaul.Fields, _ mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		for i, m := range r.list {
			n := mailhaul.UID(i + 1)
			if set.Contains(n) && !yield(mailhaul.Message{UID: n, Size: int64(len(m.Body)), UIDL: m.UIDL}, ctx.Err()) {
				return
			}
		}
	}
}

func (r *maildropReader) Fetch(context.Context, mailhaul.UIDSet, bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	return nil, mailhaul.ErrUnsupported
}
