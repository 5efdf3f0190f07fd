package uidmap_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/uidmap"
)

func writeMap(t testing.TB, lines []uidmap.MapLine) string {
	var b bytes.Buffer
	w := uidmap.NewMapWriter(&b)
	last := uidmap.MapMailbox{}
	for i, l := range lines {
		if i == 0 || l.Mailbox != last {
			require.NoError(t, w.Mailbox(l.Mailbox))
			last = l.Mailbox
		}
		if l.Message != (uidmap.MapEntry{}) {
			require.NoError(t, w.Message(l.Message))
		}
	}
	require.NoError(t, w.Flush())
	return b.String()
}

func readMap(text string) (lines []uidmap.MapLine, err error) {
	for l, err := range uidmap.ReadMap(strings.NewReader(text)) {
		if err != nil {
			return lines, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func TestMapText(t *testing.T) {
	inbox := uidmap.MapMailbox{Source: "INBOX", SourceValidity: 5, Target: "INBOX", TargetValidity: 5}
	odd := uidmap.MapMailbox{Source: "a \"b\"\n&AOQ-\xff", SourceValidity: math.MaxUint32, Target: "INBOX.a mailbox b", TargetValidity: 0}
	empty := uidmap.MapMailbox{Source: "Empty", SourceValidity: 1, Target: "Empty", TargetValidity: 2}
	lines := []uidmap.MapLine{
		{Mailbox: inbox, Message: uidmap.MapEntry{Source: 1, Target: 7, UIDL: "#x\"~"}},
		{Mailbox: inbox, Message: uidmap.MapEntry{Source: 900, Target: math.MaxUint32}},
		{Mailbox: empty},
		{Mailbox: odd, Message: uidmap.MapEntry{Source: 1, Target: 1}},
		{Mailbox: empty},
	}
	text := writeMap(t, lines)
	require.True(t, strings.HasPrefix(text, "mailhaul map 1\nsource uidvalidity 5 mailbox \"INBOX\"\ntarget uidvalidity 5 mailbox \"INBOX\"\n1 7 #x\"~\n900 4294967295\nsource"), text)
	got, err := readMap("# by hand\n\n" + text)
	require.NoError(t, err)
	require.Equal(t, lines, got)
	got, err = readMap("mailhaul map 1\n")
	require.NoError(t, err)
	require.Empty(t, got)

	head := "mailhaul map 1\nsource uidvalidity 5 mailbox \"x\"\ntarget uidvalidity 5 mailbox \"x\"\n"
	for _, bad := range []string{
		"", "mailhaul uidl map 1\n", "mailhaul map 2\n", "mailhaul map 1\n1 1\n", "mailhaul map 1\nsource uidvalidity 5 mailbox \"x\"\n",
		"mailhaul map 1\ntarget uidvalidity 5 mailbox \"x\"\n", "mailhaul map 1\nsource uidvalidity 5 mailbox x\n", "mailhaul map 1\nsource uidvalidity -5 mailbox \"x\"\n",
		"mailhaul map 1\nsource mailbox \"x\"\n", head + "0 1\n", head + "1 0\n", head + "1\n", head + "1 2 \n", head + "1 2 a b\n", head + "2 2\n2 3\n", head + "1 4294967296\n", head + "-1 1\n",
	} {
		_, err := readMap(bad)
		require.Error(t, err, "%q", bad)
	}

	w := uidmap.NewMapWriter(&bytes.Buffer{})
	require.Error(t, w.Message(uidmap.MapEntry{Source: 1, Target: 1}), "no mailbox was begun")
	require.NoError(t, w.Mailbox(inbox))
	require.NoError(t, w.Message(uidmap.MapEntry{Source: 5, Target: 1}))
	for _, e := range []uidmap.MapEntry{{Source: 5, Target: 2}, {Source: 4, Target: 2}, {Source: 6}, {Target: 6}, {Source: 6, Target: 6, UIDL: "a b"}} {
		require.Error(t, w.Message(e))
	}
	broken := uidmap.NewMapWriter(failing{})
	_ = broken.Mailbox(inbox)
	require.Error(t, broken.Flush())
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

// What is read once is written and read again as the same.
func FuzzReadMap(f *testing.F) {
	f.Add("mailhaul map 1\nsource uidvalidity 5 mailbox \"x\"\ntarget uidvalidity 6 mailbox \"y\"\n1 2\n3 4 uidl\n")
	f.Add("mailhaul map 1\n# c\nsource uidvalidity 5 mailbox \"\\xff\"\ntarget uidvalidity 0 mailbox \"\"\nsource uidvalidity 5 mailbox \"x\"\ntarget uidvalidity 5 mailbox \"x\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := readMap(text)
		if err != nil {
			return
		}
		for i := 1; i < len(lines); i++ { // the same mailbox twice in a row is written as one
			if lines[i].Mailbox == lines[i-1].Mailbox && (lines[i-1].Message.Source == 0 || lines[i].Message.Source <= lines[i-1].Message.Source) {
				return
			}
		}
		again, err := readMap(writeMap(t, lines))
		require.NoError(t, err)
		require.Equal(t, lines, again)
	})
}
