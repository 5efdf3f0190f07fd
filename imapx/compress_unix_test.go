//go:build unix

package imapx

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/delayproxy"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCompress measures mail that is appended and fetched with and without
// compression; cpu-ns/B is the processor time of this process for an octet of
// mail, and wire/mail what is left of one.
func BenchmarkCompress(b *testing.B) {
	var mails [][]byte
	octets := int64(0)
	for _, box := range corpus.Default(600) {
		for _, m := range box.All() {
			mails = append(mails, m.Body())
			octets += int64(len(m.Body()))
		}
	}
	srv := testserver.Dovecot(b, testserver.DovecotOptions{Store: "sdbox", Protocols: []string{"imap"}})
	server := srv.Reach(srv.Users[0], testserver.IMAP)
	server.Security = mailhaul.Plaintext
	measure := func(b *testing.B, wire func() int64, f func()) {
		before, cpu := wire(), processorTime()
		b.SetBytes(octets)
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
		n := float64(b.N) * float64(octets)
		b.ReportMetric(float64(processorTime()-cpu)/n, "cpu-ns/B")
		b.ReportMetric(float64(wire()-before)/n, "wire/mail")
	}
	for _, mode := range []CompressMode{CompressNever, CompressAlways} {
		cl, err := New(Config{Server: server, Compress: mode})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, cl.Close()) })
		box, err := cl.Create(b.Context(), []string{"once " + mode.String()}, mailhaul.RoleNone)
		require.NoError(b, err)
		store := func(b *testing.B, w mailhaul.Writer) {
			for i := 0; i < len(mails); i += benchBatch {
				var batch []mailhaul.Outgoing
				for _, m := range mails[i:min(i+benchBatch, len(mails))] {
					batch = append(batch, mailhaul.Outgoing{Body: &heldBody{data: m}})
				}
				if _, err := w.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, w.Finish(b.Context()))
		}
		w, err := cl.OpenWriter(b.Context(), box)
		require.NoError(b, err)
		store(b, w)
		require.NoError(b, w.Close())

		b.Run("append/"+mode.String(), func(b *testing.B) {
			box, err := cl.Create(b.Context(), []string{fmt.Sprint(mode, time.Now().UnixNano())}, mailhaul.RoleNone)
			require.NoError(b, err)
			w, err := cl.OpenWriter(b.Context(), box)
			require.NoError(b, err)
			defer w.Close()
			measure(b, func() int64 { return cl.Traffic().BytesOut }, func() { store(b, w) })
		})
		b.Run("fetch/"+mode.String(), func(b *testing.B) {
			r, err := cl.OpenReader(b.Context(), box)
			require.NoError(b, err)
			defer r.Close()
			set, err := r.UIDs(b.Context())
			require.NoError(b, err)
			got := int64(0)
			measure(b, func() int64 { return cl.Traffic().BytesIn }, func() {
				seq, err := r.Fetch(b.Context(), set, false)
				if err != nil {
					b.Fatal(err)
				}
				for f, err := range seq {
					if err != nil {
						b.Fatal(err)
					}
					got += f.Body.Size()
					f.Body.Release()
				}
			})
			require.Equal(b, int64(b.N)*octets, got)
		})
	}
	b.Run("deflate", func(b *testing.B) {
		d, err := newDeflater(io.Discard)
		require.NoError(b, err)
		b.SetBytes(octets)
		for b.Loop() {
			for _, m := range mails {
				_, _ = d.Write(m)
			}
			_ = d.Flush()
		}
	})
	b.Run("new deflater", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d, err := newDeflater(io.Discard)
			require.NoError(b, err)
			_, _ = d.Write(mails[0])
			_ = d.Flush()
		}
	})
}

// BenchmarkCompressedLine measures where compression begins to pay: a mailbox
// that is fetched over lines of 10, 100 and 1000 Mbit/s.
func BenchmarkCompressedLine(b *testing.B) {
	srv := testserver.Dovecot(b, testserver.DovecotOptions{Store: "sdbox", Protocols: []string{"imap"}})
	var boxes []corpus.Mailbox
	octets := int64(0)
	for _, box := range corpus.Default(300) {
		var mails []corpus.Message
		for _, m := range box.All() {
			mails = append(mails, m)
			octets += int64(len(m.Body()))
		}
		boxes = append(boxes, corpus.Of([]string{"all"}, mails...))
	}
	server := srv.Account(1).Server
	require.NoError(b, corpus.Load(b.Context(), server, boxes))
	for _, rate := range []int64{1_250_000, 12_500_000, 125_000_000} {
		for _, mode := range []CompressMode{CompressNever, CompressAlways} {
			b.Run(fmt.Sprintf("%dMbit/%v", rate*8/1e6, mode), func(b *testing.B) {
				proxy := delayproxy.New(delayproxy.Options{RTT: 20 * time.Millisecond, Bandwidth: rate})
				defer proxy.Close()
				server := server
				server.Dial = proxy.Dial(nil)
				cl, err := New(Config{Server: server, Compress: mode})
				require.NoError(b, err)
				defer cl.Close()
				listing, err := cl.List(b.Context())
				require.NoError(b, err)
				r, err := cl.OpenReader(b.Context(), *listing.Find([]string{"all"}))
				require.NoError(b, err)
				defer r.Close()
				set, err := r.UIDs(b.Context())
				require.NoError(b, err)
				got := int64(0)
				b.SetBytes(octets)
				for b.Loop() {
					seq, err := r.Fetch(b.Context(), set, false)
					require.NoError(b, err)
					for f, err := range seq {
						require.NoError(b, err)
						got += f.Body.Size()
						f.Body.Release()
					}
				}
				require.Equal(b, int64(b.N)*octets, got)
			})
		}
	}
}
