package lineup

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

func TestOrderIsThatOfUIDs(t *testing.T) {
	for _, c := range []struct {
		orders []uint32
		first  mailhaul.UID
	}{
		{nil, 0}, {[]uint32{1, 2, 9}, 0}, {[]uint32{0, 0}, 0}, {[]uint32{2, 1}, 2}, {[]uint32{1, 0, 3, 2}, 4},
	} {
		var messages []mailhaul.Message
		for i, o := range c.orders {
			messages = append(messages, mailhaul.Message{UID: mailhaul.UID(i + 1), UIDL: "x", Order: o})
		}
		first, ok := OrderIsThatOfUIDs(messages)
		require.Equal(t, c.first == 0, ok, "%v", c.orders)
		require.Equal(t, c.first, first, "%v", c.orders)
	}
	_, ok := OrderIsThatOfUIDs([]mailhaul.Message{{UID: 1, Order: 9}, {UID: 2, Order: 3}})
	require.True(t, ok, "without UIDLs there is no maildrop")
}
