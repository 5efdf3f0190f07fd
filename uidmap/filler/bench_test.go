package filler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// BenchmarkHoles appends 5,000 messages with a hole behind each, on each store
// of Dovecot: what the holes take is the time above that of the plain copy.
func BenchmarkHoles(b *testing.B) {
	const count = 5000
	var dense, holes []mailhaul.UID
	for i := range mailhaul.UID(count) {
		dense = append(dense, i+1)
		holes = append(holes, 2*(i+1))
	}
	for _, store := range []string{"maildir", "sdbox", "mdbox"} {
		b.Run(store, func(b *testing.B) {
			s := testserver.Dovecot(b, testserver.DovecotOptions{Store: store})
			cl := client(b, s.Account(1).Server)
			f := imposer(b, cl, 1<<30)
			run := 0
			move := func(uids []mailhaul.UID) time.Duration {
				run++
				box, err := cl.Create(b.Context(), []string{fmt.Sprint("box", run)}, mailhaul.RoleNone)
				require.NoError(b, err)
				start := time.Now()
				w, err := f.OpenImposing(b.Context(), box, identity(0, uids...))
				require.NoError(b, err)
				var last mailhaul.Receipt
				for i := 0; i < len(uids); i += 100 {
					last, err = w.Append(b.Context(), outgoing(uids[i:i+100]...))
					require.NoError(b, err)
				}
				require.NoError(b, w.Finish(b.Context()))
				took := time.Since(start)
				require.Equal(b, uids[len(uids)-100:], uidsOf(b, last))
				require.NoError(b, w.Close())
				st, err := cl.MailboxStatus(b.Context(), box)
				require.NoError(b, err)
				require.EqualValues(b, count, st.Messages)
				return took
			}
			var plain, filled time.Duration
			for b.Loop() {
				plain += move(dense)
				filled += move(holes)
			}
			b.ReportMetric((filled-plain).Seconds()/float64(b.N), "s/5000-holes")
			b.ReportMetric(plain.Seconds()/float64(b.N), "s/plain")
		})
	}
}
