package maildir

// What is read of the lists is written, and read again, as the same.

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

var listSeeds = []string{
	"3 V1111222233 N9001 G0f0e0d0c0b0a09080706050403020100\n17 PUIDL-seventeen O2 G1111 :170000000017.M1P1.host,S=138,W=138\n20 P000000aa4f5c1d2e O1 :a\n4000 Pabc!\"#$%&~ W145 :b:2,S\n",
	"1 5 100\n7 1500000000.a.h\n8 b\n", "3 V1 N1\n", "3 V1 N5\n1 P:x :a\n2 :a\n", "1 5 9\n4 b\n1 a\n", "3 V1 N5\n1 :a", "", "\n", "3 V1 N4294967295\n4294967294 :a\n",
}

func FuzzUIDList(f *testing.F) {
	require.NotEmpty(f, listSeeds)
	for _, s := range listSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseUIDList(text)
		if err != nil {
			require.Nil(t, l)
			require.Less(t, len(err.Error()), 1000)
			return
		}
		require.NotZero(t, l.validity)
		names := make(map[string]bool)
		for i, e := range l.entries {
			require.Less(t, e.uid, l.next)
			require.True(t, i == 0 || l.entries[i-1].uid < e.uid)
			require.False(t, names[e.base])
			require.NotContains(t, e.base, "/")
			names[e.base] = true
		}
		again, err := parseUIDList(l.formatDovecot())
		require.NoError(t, err)
		require.Equal(t, l, again)
		for _, e := range l.entries {
			if e.base[0] == ' ' {
				return // has no form in version 1
			}
		}
		again, err = parseUIDList(l.formatCourier())
		require.NoError(t, err)
		require.Equal(t, l.next, again.next)
		require.Len(t, again.entries, len(l.entries))
		for i, e := range l.entries {
			require.Equal(t, e.base, again.entries[i].base)
			require.Equal(t, e.uid, again.entries[i].uid)
		}
	})
}

func FuzzSizeList(f *testing.F) {
	for _, s := range []string{
		"/3 3 1795307175\n1700000000.M1P1.h:2,S 17 1:1795307175:0\nGmailId16a0:2, 26 0:0:1\n", "/2 5 99\na:2, 5 4242:0\n", "/2 5\n", "/2 1 1\na b:2, 5 1:1\n", "/1 1 1\n", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseSizeList(text)
		if err != nil {
			require.Nil(t, l)
			return
		}
		again, err := parseSizeList(l.format())
		require.NoError(t, err)
		require.Equal(t, l, again)
	})
}

func FuzzKeywords(f *testing.F) {
	f.Add([]byte("0 $Work\n1 Foo\n25 x\n26 y\n"))
	f.Add([]byte("$Forwarded\n$Work\nFoo\n\n1700000000.M1P1.h:1 2\na:0\n:5\nb:x -1 99\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k := parseDovecotKeywords(text)
		for i, flag := range k {
			require.True(t, flag == "" || flag.Keyword())
			if flag != "" && slices.IndexFunc(k[:], flag.Equal) == i {
				letter, ok, isNew := k.add(flag)
				require.True(t, ok)
				require.False(t, isNew)
				require.Equal(t, byte('a'+i), letter)
			}
		}
		for _, flag := range parseKeywordLines(text) {
			require.True(t, flag.Keyword())
		}
		all := map[string][]mailhaul.Flag{}
		parseKeywordList(text, all)
		for _, flags := range all {
			for _, flag := range flags {
				require.True(t, flag.Keyword())
			}
		}
	})
}

// FuzzForm stores anything and shows it: in pieces as at once, and as it was,
// but for what the server cannot show.
func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "a\r\nb\r\n", "\n", "\r", "\r\r\n", "a\n\r\n\r", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, flavor := range both {
			var file, pieces bytes.Buffer
			stored, shown, err := flavor.store(&file, strings.NewReader(body))
			require.NoError(t, err)
			require.EqualValues(t, file.Len(), stored)
			_, _, err = flavor.store(&pieces, iotest.OneByteReader(strings.NewReader(body)))
			require.NoError(t, err)
			require.Equal(t, file.String(), pieces.String())
			got, err := io.ReadAll(flavor.shown(bytes.NewReader(file.Bytes())))
			require.NoError(t, err)
			require.EqualValues(t, len(got), shown)
			again, err := io.ReadAll(flavor.shown(iotest.OneByteReader(bytes.NewReader(file.Bytes()))))
			require.NoError(t, err)
			require.Equal(t, string(got), string(again))
			if !altered(flavor, body) {
				require.Equal(t, body, string(got))
			}
		}
	})
}
