// Dates in the form of the protocol.

package imapserver

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDates(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		zone := time.FixedZone("", 60*(rng.IntN(2*14*60)-14*60))
		want := time.Unix(rng.Int64N(1<<33)-1<<31, 0).In(zone)
		var m message
		m.setDate(want)
		require.Equal(t, want.Format(`"02-Jan-2006 15:04:05 -0700"`), string(m.appendDate(nil)))
		require.True(t, want.Equal(m.time()))
	}
	var m message
	m.setDate(time.Unix(0, 0).In(time.FixedZone("odd", 61)))
	require.Equal(t, `"01-Jan-1970 00:00:00 +0000"`, string(m.appendDate(nil)))
}
