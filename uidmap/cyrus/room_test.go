package cyrus

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// A full disk makes Cyrus take the rest of a message for commands of the
// administrator's: without the look at the room, this mail sets the quota of
// another user.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	srv := testserver.CyrusWith(t, testserver.CyrusOptions{Disk: 1 << 20})
	r := newRigOn(t, srv, srv.Users[0], Config{})
	ctx := ctxOf(t)
	other := r.raw(srv.Users[1])
	r.say(other, "SELECT INBOX")

	w, err := r.target.OpenImposing(ctx, r.box("Work"), mailhaul.Identity{UIDValidity: 42})
	require.NoError(t, err)
	defer w.Close()
	hostile := []byte("Subject: hostile\r\n\r\n" + strings.Repeat("x SETQUOTA user/u2 (STORAGE 77)\r\n", 100_000))
	receipt, err := w.Append(ctx, []mailhaul.Outgoing{{UID: 5, Body: &memory{data: hostile}}})
	require.Equal(t, mailhaul.OverQuota, mailhaul.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "KiB free")
	outcomes, err := receipt.Wait(ctx)
	require.Error(t, err)
	require.Equal(t, mailhaul.NotStored, outcomes[0].Delivery)
	require.NoError(t, w.Close())
	require.NotContains(t, r.say(other, "GETQUOTAROOT INBOX"), "77")
}
