package cyrus

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// BenchmarkImpose writes the same messages, with gaps between their UIDs, by
// replication and by plain APPEND to the same Cyrus, in turns, and reports how
// many times as fast the first is.
func BenchmarkImpose(b *testing.B) {
	for _, size := range []int{2 << 10, 20 << 10} {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			const messages, batch = 2000, 100
			r := newRig(b, nil, Config{})
			text := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", size/50)
			out := func() (out []mailhaul.Outgoing) {
				for i := range messages {
					body := fmt.Appendf(nil, "Message-ID: <%d.%d@example>\r\nSubject: %d\r\n\r\n%s", b.N, i, i, text)
					out = append(out, mailhaul.Outgoing{
						UID: mailhaul.UID(i*3 + 7), Flags: []mailhaul.Flag{mailhaul.FlagSeen},
						InternalDate: dateOf(mailhaul.UID(i)), Body: &memory{data: body},
					})
				}
				return out
			}
			ctx := context.Background()
			write := func(w mailhaul.Writer, err error) time.Duration {
				require.NoError(b, err)
				msgs := out()
				begin := time.Now()
				var receipts []mailhaul.Receipt
				for i := 0; i < len(msgs); i += batch {
					receipt, err := w.Append(ctx, msgs[i:i+batch])
					require.NoError(b, err)
					receipts = append(receipts, receipt)
				}
				require.NoError(b, w.Finish(ctx))
				took := time.Since(begin)
				for _, receipt := range receipts {
					outcomes, err := receipt.Wait(ctx)
					require.NoError(b, err)
					require.Equal(b, mailhaul.Stored, outcomes[batch-1].Delivery)
				}
				require.NoError(b, w.Close())
				return took
			}
			var imposed, plain time.Duration
			n := 0
			for b.Loop() {
				n++
				plain += write(r.client.OpenWriter(ctx, r.box(fmt.Sprintf("plain%d", n))))
				imposed += write(r.target.OpenImposing(ctx, r.box(fmt.Sprintf("imposed%d", n)), mailhaul.Identity{UIDValidity: 42, UIDNext: 100000}))
			}
			b.ReportMetric(float64(n*messages)/imposed.Seconds(), "msgs/s")
			b.ReportMetric(float64(n*messages)/plain.Seconds(), "plain-msgs/s")
			b.ReportMetric(plain.Seconds()/imposed.Seconds(), "ratio")
		})
	}
}
