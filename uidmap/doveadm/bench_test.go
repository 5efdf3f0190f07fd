package doveadm_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/uidmap/doveadm"
	"github.com/mailhaul/mailhaul/uidmap/filler"
)

// BenchmarkAgainstPlainCopy appends 5,000 messages of real mail's sizes with their identity, and the
// same messages as they are; it reports how fast the former is compared with the
// latter (1 is as fast).
func BenchmarkAgainstPlainCopy(b *testing.B) {
	const count = 5000
	few, many := make([]mailhaul.UID, 0, count), make([]mailhaul.UID, 0, count)
	for i := range mailhaul.UID(count) {
		few = append(few, 1+i+i/200*1000)
		many = append(many, 1+i+(i/3))
	}
	var letters [][]byte
	for _, box := range corpus.Generate(corpus.Spec{Messages: count, MaxSize: 200_000}) {
		for _, m := range box.All() {
			letters = append(letters, m.Body())
		}
	}
	for _, store := range []string{"maildir", "sdbox", "mdbox"} {
		s := testserver.Dovecot(b, testserver.DovecotOptions{Store: store})
		cl := client(b, s.Account(1).Server)
		f, err := filler.New(filler.Config{Target: cl, Max: 1 << 30})
		require.NoError(b, err)
		run := 0
		move := func(b *testing.B, d *doveadm.Imposer, uids []mailhaul.UID) time.Duration {
			run++
			box, err := cl.Create(b.Context(), []string{fmt.Sprint("box", run)}, mailhaul.RoleNone)
			require.NoError(b, err)
			batch := make([]mailhaul.Outgoing, count)
			for i, u := range uids {
				batch[i] = mailhaul.Outgoing{UID: u, Body: memBody{octets: letters[i]}, InternalDate: time.Unix(1e9, 0)}
			}
			start := time.Now()
			var w mailhaul.Writer
			if d != nil {
				w, err = d.OpenImposing(b.Context(), box, identity(mailhaul.UIDValidity(1000+run), uids[count-1]+10, uids...))
			} else {
				w, err = cl.OpenWriter(b.Context(), box)
			}
			require.NoError(b, err)
			var last mailhaul.Receipt
			for some := range slices.Chunk(batch, 100) {
				last, err = w.Append(b.Context(), some)
				require.NoError(b, err)
			}
			require.NoError(b, w.Finish(b.Context()))
			took := time.Since(start)
			got := uidsOf(b, last)
			require.NoError(b, w.Close())
			if d != nil {
				require.Equal(b, uids[count-100:], got)
			}
			return took
		}
		plain, filled := imposer(b, s, cl), imposer(b, s, f)
		move(b, nil, few) // warm
		for _, c := range []struct {
			name string
			d    *doveadm.Imposer
			uids []mailhaul.UID
		}{
			{"25 gaps", plain, few},
			{"a gap after every third, fillers", filled, many},
			{"a gap after every third, no fillers", plain, many},
		} {
			b.Run(store+"/"+c.name, func(b *testing.B) {
				var base, took time.Duration
				for b.Loop() {
					base += move(b, nil, c.uids)
					took += move(b, c.d, c.uids)
				}
				b.ReportMetric(base.Seconds()/took.Seconds(), "of-plain")
				b.ReportMetric(float64(count*b.N)/took.Seconds(), "msgs/s")
			})
		}
	}
}
