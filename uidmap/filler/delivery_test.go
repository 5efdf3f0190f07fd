package filler_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestDeliveryIntoTheMiddle: on a real server somebody delivers while batches
// are under way. All mail is there once, no filler is, and what was stored
// before the delivery has its UID.
func TestDeliveryIntoTheMiddle(t *testing.T) {
	for _, store := range []string{"maildir", "sdbox", "mdbox"} {
		t.Run(store, func(t *testing.T) {
			srv := testserver.Dovecot(t, testserver.DovecotOptions{Store: store}).Account(1).Server
			cl := client(t, srv)
			f := imposer(t, cl, 5000)
			box := inbox(t, cl)
			foreign, err := client(t, srv).OpenWriter(t.Context(), box)
			require.NoError(t, err)
			delivered := make(chan error, 1)

			w, err := f.OpenImposing(t.Context(), box, identity(0))
			require.NoError(t, err)
			var receipts []mailhaul.Receipt
			var wanted []mailhaul.UID
			for i := range 40 {
				if i == 10 {
					uidsOf(t, receipts[9]) // and all before it
					go func() {
						_, err := foreign.Append(t.Context(), outgoing(90_000))
						delivered <- err
					}()
				}
				if i == 30 {
					require.NoError(t, <-delivered)
					require.NoError(t, foreign.Finish(t.Context()))
				}
				var uids []mailhaul.UID
				for k := range 5 {
					uids = append(uids, mailhaul.UID(i*15+k*3+2))
				}
				wanted = append(wanted, uids...)
				r, err := w.Append(t.Context(), outgoing(uids...))
				require.NoError(t, err)
				receipts = append(receipts, r)
			}
			require.NoError(t, w.Finish(t.Context()))
			require.NoError(t, w.Close())
			require.NoError(t, foreign.Close())
			var got []mailhaul.UID
			for _, r := range receipts {
				got = append(got, uidsOf(t, r)...)
			}
			require.Equal(t, wanted[:50], got[:50], "before the delivery")
			for i := range got[1:] {
				require.Less(t, got[i], got[i+1], "in order")
			}
			found := holds(t, cl, box)
			require.Len(t, found, len(wanted)+1)
			for i, uid := range got {
				require.Equal(t, expected(wanted[i])[wanted[i]], found[uid])
			}
			require.NotEqual(t, wanted, got)
			require.Len(t, f.Warnings(), 1)
			require.Contains(t, f.Warnings()[0], "somebody else")
		})
	}
}
