package maildir

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// BenchmarkImpose writes 5,000 messages of 4 KB with holes between their UIDs,
// all durable, in batches of 100 of which eight wait for their answers.
func BenchmarkImpose(b *testing.B) {
	ctx := context.Background()
	const messages = 5000
	body := []byte("Subject: x\r\n\r\n" + strings.Repeat("sixty-two octets of text, and a line end behind them, as usual\r\n", 64))
	for _, flavor := range both {
		b.Run(string(flavor), func(b *testing.B) {
			b.SetBytes(int64(messages * len(body)))
			for b.Loop() {
				target := open(b, Config{Path: filepath.Join(b.TempDir(), "Maildir"), Flavor: flavor})
				inbox := mailboxOf(b, target, "INBOX")
				w, err := target.OpenImposing(ctx, inbox, identity(5, 1<<30))
				require.NoError(b, err)
				var open []mailhaul.Receipt
				settle := func(keep int) {
					for ; len(open) > keep; open = open[1:] {
						_, err := open[0].Wait(ctx)
						require.NoError(b, err)
					}
				}
				for i := 0; i < messages; i += 100 {
					batch := make([]mailhaul.Outgoing, 100)
					for j := range batch {
						n := i + j
						batch[j] = mailhaul.Outgoing{UID: mailhaul.UID(1 + 7*n), UIDL: mailhaul.UIDL(fmt.Sprintf("uidl-%d", n)), Body: octets{body}}
					}
					settle(7)
					r, err := w.Append(ctx, batch)
					require.NoError(b, err)
					open = append(open, r)
				}
				settle(0)
				require.NoError(b, w.Finish(ctx))
				require.NoError(b, w.Close())
				b.StopTimer()
				r, err := target.OpenReader(ctx, inbox)
				require.NoError(b, err)
				set, err := r.UIDs(ctx)
				require.NoError(b, err)
				require.Equal(b, messages, set.Len())
				require.True(b, set.Contains(1+7*(messages-1)))
				b.StartTimer()
			}
			b.ReportMetric(float64(messages*b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
