// A source whose UIDLs are known.

package identitylab

import (
	"context"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/pop3x"
)

// told is the UIDLs of an INBOX, by UID.
type told map[mailhaul.UID]told1

type told1 struct {
	UIDL  mailhaul.UIDL
	Order uint32
}

// tell asks both of the source's servers what its INBOX holds. Without UIDs
// being missing from either, and without an order of POP3's own, they show the
// same messages in the same order.
func tell(t testing.TB, e end) told {
	t.Helper()
	ctx, inbox := t.Context(), mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"}
	imap, err := imapx.New(imapx.Config{Server: e.server(mailhaul.IMAP)})
	require.NoError(t, err)
	defer imap.Close()
	pop, err := pop3x.New(pop3x.Config{Server: e.server(mailhaul.POP3)})
	require.NoError(t, err)
	defer pop.Close()
	a, err := imap.OpenReader(ctx, inbox)
	require.NoError(t, err)
	defer a.Close()
	uids, err := a.UIDs(ctx)
	require.NoError(t, err)
	b, err := pop.OpenReader(ctx, inbox)
	require.NoError(t, err)
	defer b.Close()
	numbers, err := b.UIDs(ctx)
	require.NoError(t, err)
	require.Equal(t, uids.Len(), numbers.Len())
	byOrder := make(map[mailhaul.UID]mailhaul.UIDL)
	for m, err := range b.Messages(ctx, numbers, mailhaul.FieldSize, 0) {
		require.NoError(t, err)
		byOrder[m.UID] = m.UIDL
	}
	out := make(told)
	n := mailhaul.UID(0)
	for uid := range uids.All() {
		n++
		out[uid] = told1{byOrder[n], uint32(n)}
	}
	return out
}

// teller is an IMAP account that knows the UIDLs of its INBOX.
type teller struct {
	mailhaul.Source
	uidls told
}

var _ mailhaul.UIDLTeller = (*teller)(nil)

func (s *teller) Unwrap() mailhaul.Source { return s.Source }

func (s *teller) TellsUIDLs(m mailhaul.Mailbox) bool { return m.IsInbox() }

func (s *teller) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := s.Source.OpenReader(ctx, m)
	if err != nil || !m.IsInbox() {
		return r, err
	}
	return &tellingReader{r, s.uidls}, nil
}

// OpenListed keeps the engine from asking the account behind the teller's back.
func (s *teller) OpenListed(ctx context.Context, m mailhaul.Mailbox, fields mailhaul.Fields) (mailhaul.Reader, []mailhaul.Message, error) {
	r, list, err := s.Source.(mailhaul.ListedOpener).OpenListed(ctx, m, fields)
	if err != nil || !m.IsInbox() {
		return r, list, err
	}
	for i, m := range list {
		list[i].UIDL, list[i].Order = s.uidls[m.UID].UIDL, s.uidls[m.UID].Order
	}
	return &tellingReader{r, s.uidls}, list, nil
}

type tellingReader struct {
	mailhaul.Reader
	uidls told
}

func (r *tellingReader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		for m, err := range r.Reader.Messages(ctx, set, fields, since) {
			known := r.uidls[m.UID]
			m.UIDL, m.Order = known.UIDL, known.Order
			if !yield(m, err) {
				return
			}
		}
	}
}
