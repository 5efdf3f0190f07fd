package uidmap_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/uidmap"
)

func TestUIDLMapText(t *testing.T) {
	m := uidmap.UIDLMap{Mailbox: "INBOX.\"x\"\n", UIDValidity: 4242, Entries: []uidmap.UIDLEntry{{UIDL: "#a", UID: 7}, {UIDL: "000000016b01fd6a", UID: 3}}}
	var b bytes.Buffer
	n, err := m.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	require.Equal(t, "mailhaul uidl map 1\nuidvalidity 4242\nmailbox \"INBOX.\\\"x\\\"\\n\"\n7 #a\n3 000000016b01fd6a\n", b.String())
	got, err := uidmap.ReadUIDLMap(strings.NewReader("# by hand\n\n" + b.String()))
	require.NoError(t, err)
	require.Equal(t, m, got)

	for _, bad := range []uidmap.UIDLEntry{{UIDL: "a b", UID: 1}, {UIDL: "", UID: 1}, {UIDL: "a", UID: 0}, {UIDL: "\n", UID: 1}} {
		_, err := uidmap.UIDLMap{Entries: []uidmap.UIDLEntry{bad}}.WriteTo(&b)
		require.Error(t, err)
	}
	for _, bad := range []string{"", "mailhaul uidl map 2\n", "mailhaul uidl map 1\nx y\n", "mailhaul uidl map 1\n0 y\n", "mailhaul uidl map 1\n5 y z\n", "mailhaul uidl map 1\nmailbox INBOX\n", "mailhaul uidl map 1\nuidvalidity -1\n"} {
		_, err := uidmap.ReadUIDLMap(strings.NewReader(bad))
		require.Error(t, err, "%q", bad)
	}
}
