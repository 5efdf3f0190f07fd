package testserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestPlant: an independent client finds what was planted.
func TestPlant(t *testing.T) {
	srv := testserver.Dovecot(t, testserver.DovecotOptions{})
	boxes := testserver.Sparse{Messages: 300, UIDLs: testserver.UIDLsOdd, MaxSize: 20_000}.Plant()
	srv.Plant(srv.Users[0], boxes)
	found, err := oracle.Snapshot(t.Context(), srv.Account(1).Server)
	require.NoError(t, err)
	require.Equal(t, 10, len(found.Mailboxes))
	gap := 0
	for _, box := range boxes {
		m := found.Find(box.Path...)
		require.NotNil(t, m, box.Name())
		require.EqualValues(t, box.UIDValidity, m.UIDValidity, box.Name())
		require.EqualValues(t, box.UIDNext, m.UIDNext, box.Name())
		require.Equal(t, box.Len, len(m.Messages), box.Name())
		require.Equal(t, box.Subscribed, m.Subscribed, box.Name())
		for i, want := range box.All() {
			got := m.Messages[i]
			require.EqualValues(t, box.Known[i].UID, got.UID)
			require.Equal(t, want.Date.Unix(), got.Date.Unix())
			require.Len(t, got.Flags, len(want.Flags), "%v", got.Flags)
			if i > 0 {
				gap = max(gap, int(box.Known[i].UID-box.Known[i-1].UID))
			}
		}
	}
	require.Equal(t, 70_000, gap)
}
