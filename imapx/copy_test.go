package imapx

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestUIDCopyIntoTheSameMailbox(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		cl := openClient(t, Config{Server: srv})
		box := inboxOf(t, cl)
		can, err := cl.Capable(t.Context(), "UIDPLUS")
		require.NoError(t, err)
		require.True(t, can)
		wr, err := cl.OpenWriter(t.Context(), box)
		require.NoError(t, err)
		w := wr.(*Writer)
		defer w.Close()
		require.True(t, w.Multi())
		_, err = w.Append(t.Context(), []mailhaul.Outgoing{out(mail(1), mailhaul.FlagDeleted), out(mail(2)), out(mail(3), mailhaul.FlagDeleted)})
		require.NoError(t, err)

		copies, err := w.UIDCopy(t.Context(), mailhaul.UIDSetOf(1, 3), box)
		require.NoError(t, err)
		require.Equal(t, mailhaul.UIDSetOf(4, 5), copies, "behind what was appended before")
		copies, err = w.UIDCopy(t.Context(), nil, box)
		require.NoError(t, err)
		require.Nil(t, copies)
		_, err = w.UIDCopy(t.Context(), mailhaul.UIDSetOf(1), mailhaul.Mailbox{Name: "no", Wire: "no"})
		require.Equal(t, mailhaul.Conflict, mailhaul.KindOf(err))

		require.NoError(t, w.UIDExpunge(t.Context(), mailhaul.UIDSet{{First: 1, Last: 5}}))
		require.NoError(t, w.Finish(t.Context()))
		st, err := cl.MailboxStatus(t.Context(), box)
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Messages, "copies keep their flags")
		require.EqualValues(t, 6, st.UIDNext)
	})
}

func inboxOf(t *testing.T, cl *Client) mailhaul.Mailbox {
	t.Helper()
	l, err := cl.List(t.Context())
	require.NoError(t, err)
	for _, m := range l.Mailboxes {
		if m.IsInbox() {
			return m
		}
	}
	t.Fatal("no INBOX")
	return mailhaul.Mailbox{}
}

func TestUIDCopyWithoutUIDs(t *testing.T) {
	tg := newTarget(t, imapserver.Options{Caps: imapserver.Without("UIDPLUS")})
	w := tg.writer(t)
	_, err := w.Append(t.Context(), letters("a", "b"))
	require.NoError(t, err)
	copies, err := w.UIDCopy(t.Context(), mailhaul.UIDSetOf(1, 2), inbox)
	require.NoError(t, err)
	require.Nil(t, copies, "the server does not say")
	require.Len(t, tg.stored(), 4)
	can, err := tg.Capable(t.Context(), "UIDPLUS")
	require.NoError(t, err)
	require.False(t, can)
}

// TestWhenRefused: something takes the place of a refused message before those
// behind it are stored.
func TestWhenRefused(t *testing.T) {
	eachWay(t, func(t *testing.T, name string, opts imapserver.Options) {
		refuse := opts.Refuse
		opts.Refuse = func(body []byte) error {
			if strings.HasPrefix(string(body), "bad") {
				return errors.New("[TOOBIG] no")
			}
			if refuse != nil {
				return refuse(body)
			}
			return nil
		}
		tg := newTarget(t, opts)
		w := tg.writer(t)
		var refused []mailhaul.UID
		var became []mailhaul.Outcome
		w.WhenRefused(func(_ context.Context, o mailhaul.Outgoing) (*mailhaul.Outgoing, func(mailhaul.Outcome), error) {
			refused = append(refused, o.UID)
			in := out("instead")
			return &in, func(o mailhaul.Outcome) { became = append(became, o) }, nil
		})
		batch := letters("a", "bad 1", "c", "d", "bad 2", "e")
		for i := range batch {
			batch[i].UID = mailhaul.UID(i + 1)
		}
		r, err := w.Append(t.Context(), batch)
		require.NoError(t, err)
		r2, err := w.Append(t.Context(), letters("f", "g"))
		require.NoError(t, err)
		require.NoError(t, w.Finish(t.Context()))
		outcomes, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, mailhaul.NotStored, outcomes[1].Delivery)
		require.Equal(t, mailhaul.Stored, outcomes[5].Delivery)
		_, err = r2.Wait(t.Context())
		require.NoError(t, err)
		if !w.Multi() {
			require.Equal(t, []string{"a", "c", "d", "e", "f", "g"}, tg.stored())
			return
		}
		require.Equal(t, []string{"a", "instead", "c", "d", "instead", "e", "f", "g"}, tg.stored())
		require.Equal(t, []mailhaul.UID{2, 5}, refused)
		require.Len(t, became, 2)
		require.Equal(t, mailhaul.Stored, became[0].Delivery)
		if name != "bare" {
			require.EqualValues(t, 2, became[0].UID)
			require.EqualValues(t, 6, outcomes[5].UID)
		}
	})
}
