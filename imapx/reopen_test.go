package imapx

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestReopen(t *testing.T) {
	tg := newTarget(t, imapserver.Options{UIDValidity: 9})
	w := tg.writer(t)
	r, err := w.Append(t.Context(), letters("a", "b"))
	require.NoError(t, err)
	require.NoError(t, w.Reopen(t.Context()))
	outcomes, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, mailhaul.Stored, outcomes[1].Delivery, "all was answered first")
	require.EqualValues(t, 1, w.Status().UIDNext, "the watermark stays")
	r, err = w.Append(t.Context(), letters("c"))
	require.NoError(t, err)
	outcomes, err = r.Wait(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, outcomes[0].UID)
	require.Len(t, tg.lines("SELECT"), 2)

	tg.user.Delete("INBOX")
	require.Error(t, w.Reopen(t.Context()))
	_, err = w.Append(t.Context(), letters("d"))
	require.Error(t, err, "nothing more is appended to what is another mailbox")
}
