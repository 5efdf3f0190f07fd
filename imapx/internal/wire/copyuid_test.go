package wire

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

func TestParseCopyUID(t *testing.T) {
	got, ok := ParseCopyUID("38505 304,319:320 3956:3958", 3)
	require.True(t, ok)
	require.Equal(t, CopyUID{38505, mailhaul.UIDSetOf(304, 319, 320), mailhaul.UIDSetOf(3956, 3957, 3958)}, got)
	_, ok = ParseCopyUID("1 3:2 9,8", 2)
	require.True(t, ok, "in any order")
	for _, bad := range []string{
		"", "1", "1 1", "0 1 1", "1 0 1", "1 1 0", "1 1:2 1", "1 1,1 1,2", "1 1:3 1:3", "1 1:4294967295 1:4294967295",
		"1 4294967296 1", "x 1 1", "1 1 x", "1 1: 1", "1 , ,", "1 1 1 1",
	} {
		_, ok := ParseCopyUID(bad, 2)
		require.False(t, ok, "%q", bad)
	}
}
