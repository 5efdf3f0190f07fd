package dsync

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// load is how much a benchmark moves: messages of 8 KiB, with holes in their
// UIDs.
const (
	loadMessages = 2000
	loadOctets   = 8 << 10
)

func loadOf() (msgs []mailhaul.Message, text []byte) {
	for i := range loadMessages {
		uid := mailhaul.UID(i*3 + 1)
		msgs = append(msgs, mailhaul.Message{UID: uid, InternalDate: dateOf(uid), Flags: flagsOf(uid % 32)})
	}
	text = []byte("Subject: load\r\n\r\n")
	for len(text) < loadOctets {
		text = append(text, "a line of text, as long as lines of text use to be, and then the end\r\n"...)
	}
	return msgs, text
}

// fill writes the load through a Writer and returns how long that took.
func fill(b *testing.B, open func(context.Context) (mailhaul.Writer, error), msgs []mailhaul.Message, text []byte) time.Duration {
	ctx := context.Background()
	start := time.Now()
	w, err := open(ctx)
	require.NoError(b, err)
	var receipts []mailhaul.Receipt
	for batch := range slices.Chunk(msgs, 100) {
		var outs []mailhaul.Outgoing
		for _, m := range batch {
			outs = append(outs, mailhaul.Outgoing{Flags: m.Flags, InternalDate: m.InternalDate, Body: &body{data: text}, UID: m.UID})
		}
		receipt, err := w.Append(ctx, outs)
		require.NoError(b, err)
		receipts = append(receipts, receipt)
	}
	require.NoError(b, w.Finish(ctx))
	for _, receipt := range receipts {
		outcomes, err := receipt.Wait(ctx)
		require.NoError(b, err)
		for _, o := range outcomes {
			require.Equal(b, mailhaul.Stored, o.Delivery)
		}
	}
	require.NoError(b, w.Close())
	return time.Since(start)
}

// BenchmarkAgainstAppend fills mailboxes by dsync and by plain APPEND in turn,
// on one server, and reports the ratio of their speeds.
func BenchmarkAgainstAppend(b *testing.B) {
	msgs, text := loadOf()
	for _, store := range stores {
		b.Run(store, func(b *testing.B) {
			r := newRig(b, testserver.DovecotOptions{Store: store})
			b.SetBytes(int64(len(text)) * loadMessages)
			var ours, plain time.Duration
			n := 0
			for b.Loop() {
				n++
				a, c := r.box("dsync"+u32(mailhaul.UID(n))), r.box("plain"+u32(mailhaul.UID(n)))
				plain += fill(b, func(ctx context.Context) (mailhaul.Writer, error) { return r.imap.OpenWriter(ctx, c) }, msgs, text)
				ours += fill(b, func(ctx context.Context) (mailhaul.Writer, error) {
					return r.OpenImposing(ctx, a, mailhaul.Identity{UIDValidity: 5, UIDNext: 10_000, Messages: msgs})
				}, msgs, text)
			}
			b.StopTimer()
			require.Contains(b, r.see("dsync1").status, "MESSAGES 2000")
			b.ReportMetric(float64(n*loadMessages)/ours.Seconds(), "dsync-msgs/s")
			b.ReportMetric(float64(n*loadMessages)/plain.Seconds(), "append-msgs/s")
			b.ReportMetric(plain.Seconds()/ours.Seconds(), "ratio")
		})
	}
}
