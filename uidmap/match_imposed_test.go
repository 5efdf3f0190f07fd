package uidmap_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// Twins keep their UIDs where these were imposed, and their order where they
// were not.
func TestImposedTwinsKeepTheirUIDs(t *testing.T) {
	key, _ := uidmap.KeyOf([]byte("Message-ID: <twin@x>\r\n"))
	side := func(uids ...mailhaul.UID) (list []uidmap.Candidate, sums map[mailhaul.UID]uidmap.Digest) {
		sums = make(map[mailhaul.UID]uidmap.Digest)
		d := uidmap.NewDigester()
		_, _ = d.Write([]byte("Message-ID: <twin@x>\r\n\r\ntext\r\n"))
		for _, u := range uids {
			list = append(list, uidmap.Candidate{UID: u, Key: key, HasID: true, Size: 30})
			sums[u] = d.Sum()
		}
		return list, sums
	}
	source, ours := side(3, 5, 9)
	target, theirs := side(5, 9, 12)
	pairs := uidmap.MatchImposed(source, target).Resolve(ours, theirs)
	require.Equal(t, []uidmap.Pair{{Source: 3, Target: 12, Basis: uidmap.BasisExact}, {Source: 5, Target: 5, Basis: uidmap.BasisExact}, {Source: 9, Target: 9, Basis: uidmap.BasisExact}}, pairs)
	pairs = uidmap.Match(source, target).Resolve(ours, theirs)
	require.Equal(t, []uidmap.Pair{{Source: 3, Target: 5, Basis: uidmap.BasisExact}, {Source: 5, Target: 9, Basis: uidmap.BasisExact}, {Source: 9, Target: 12, Basis: uidmap.BasisExact}}, pairs)

	// The same UID with other octets is no pair.
	d := uidmap.NewDigester()
	_, _ = d.Write([]byte("Message-ID: <twin@x>\r\n\r\nanother\r\n"))
	theirs[5] = d.Sum()
	pairs = uidmap.MatchImposed(source, target).Resolve(ours, theirs)
	require.Equal(t, []uidmap.Pair{{Source: 3, Target: 12, Basis: uidmap.BasisExact}, {Source: 9, Target: 9, Basis: uidmap.BasisExact}}, pairs)
}
