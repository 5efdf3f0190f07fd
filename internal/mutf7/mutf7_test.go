package mutf7

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	for name, wire := range map[string]string{
		"INBOX": "INBOX", "a&b": "a&-b", "Entwürfe": "Entw&APw-rfe", "日本語": "&ZeVnLIqe-",
		"☺!": "&Jjo-!", "😀": "&2D3eAA-", "&": "&-", "a\tb": "a&AAk-b", "": "",
		"~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
	} {
		got, ok := Encode(name)
		assert.True(t, ok)
		assert.Equal(t, wire, got)
		back, ok := Decode(wire)
		assert.True(t, ok)
		assert.Equal(t, name, back)
	}
	for _, bad := range []string{
		"A&B", "a&", "&AGE-", "&APw", "&APw=-", "&A-", "&AP-", "&2D0-", "&Jjo-&Jjo-", "&AAA", "caf\xe9",
		"&APx-", // bits are left over
	} {
		got, ok := Decode(bad)
		assert.False(t, ok, bad)
		assert.Equal(t, bad, got)
	}
	got, ok := Decode("café") // as IMAP4rev2 sends it
	assert.True(t, ok)
	assert.Equal(t, "café", got)
	_, ok = Encode("caf\xe9")
	assert.False(t, ok)
}

// FuzzName decodes anything: what decodes encodes to the same octets, and what
// does not is left alone.
func FuzzName(f *testing.F) {
	seeds := []string{"INBOX", "&-", "&Jjo-", "&2D3eAA-", "A&B", "&AGE-", "caf\xc3\xa9", "\xff", "&APw-rfe"}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, wire string) {
		name, ok := Decode(wire)
		if !ok {
			assert.Equal(t, wire, name)
			return
		}
		back, ok := Encode(name)
		require.True(t, ok)
		again, ok := Decode(back)
		require.True(t, ok)
		assert.Equal(t, name, again)
		for i := range len(wire) {
			if wire[i] >= 0x80 {
				return // UTF-8 already
			}
		}
		if !strings.ContainsFunc(wire, func(r rune) bool { return !direct(r) }) {
			assert.Equal(t, wire, back)
		}
	})
}
