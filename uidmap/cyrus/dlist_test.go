package cyrus

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

var dlists = []string{
	`MAILBOX %(UNIQUEID x MBOXNAME user.u1 LAST_UID 0 ACL "u1` + "\t" + `lrs ` + "\t" + `" OPTIONS P ANNOTATIONS (%(ENTRY /comment USERID NIL VALUE {3}` + "\r\n" + `a)") %(ENTRY "q\"\\" VALUE "")))`,
	"A ()", "A %()", "A (B (C () %(D E)))", "A NIL", `A ""`, "A {0}\r\n", "A (\\Seen \\Flagged kw)", "A {2+}\r\n\r\n",
}

// What was parsed is written so that it parses to the same.
func FuzzDlist(f *testing.F) {
	require.NotEmpty(f, dlists)
	for _, s := range dlists {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parse([]byte(text))
		if err != nil {
			return
		}
		if strings.ContainsAny(v.key, "\x00\r\n \"(){}%") {
			return // keys are written as they are, and Cyrus's are words
		}
		again, err := parse(appendValue(nil, v))
		if err != nil && strings.Contains(text, "{") || hasOddKey(v) {
			return
		}
		require.NoError(t, err, "%q", appendValue(nil, v))
		require.Equal(t, plain(v), plain(again))
	})
}

// plain returns the value without the form of its strings, which may change.
func plain(v value) value {
	if v.kind == quoted {
		v.kind = literal
	}
	items := v.items
	v.items = nil
	for _, m := range items {
		v.items = append(v.items, plain(m))
	}
	return v
}

func hasOddKey(v value) bool {
	for _, m := range v.items {
		if strings.ContainsAny(m.key, "\x00\r\n \"(){}%") || hasOddKey(m) {
			return true
		}
	}
	return false
}

func TestDlist(t *testing.T) {
	for _, s := range dlists {
		v, err := parse([]byte(s))
		require.NoError(t, err, s)
		again, err := parse(appendValue(nil, v))
		require.NoError(t, err)
		require.Equal(t, plain(v), plain(again))
	}
	// The server sends literals that it would have to be asked for, and takes
	// only such as need no leave.
	v, _ := parse([]byte("A {3}\r\nb\r\n"))
	require.Equal(t, "A {3+}\r\nb\r\n", string(appendValue(nil, v)))

	for _, s := range []string{
		"", "A", "A (", "A %(B", `A "x`, "A {3}\r\nab", "A {9999999999}\r\n", "A {-1}\r\n", "A {3}ab", "A b c", "A )", "A (b))", "(A b)", `A "\`,
		"A " + strings.Repeat("(", 1000) + strings.Repeat(")", 1000),
	} {
		_, err := parse([]byte(s))
		require.ErrorIs(t, err, errSyntax, "%.40q", s)
	}
}

func TestStateIsComplete(t *testing.T) {
	whole := `MAILBOX %(UNIQUEID x MBOXNAME user.u1 SYNC_CRC 7 LAST_UID 3 HIGHESTMODSEQ 9 UIDVALIDITY 5 PARTITION default ACL "a" OPTIONS P NEWER %(THING (1 2)))`
	v, err := parse([]byte(whole))
	require.NoError(t, err)
	s, err := newState(v)
	require.NoError(t, err)
	c := s.same()
	c.lastUID, c.modSeq = 8, 10
	got := string(s.command(c, []byte("%(UID 8)")))
	require.Equal(t, `SYNCAPPLY MAILBOX %(UNIQUEID x MBOXNAME user.u1 SYNC_CRC 0 LAST_UID 8 HIGHESTMODSEQ 10 UIDVALIDITY 5 PARTITION default `+
		`ACL "a" OPTIONS P NEWER %(THING (1 2)) SINCE_MODSEQ 9 SINCE_CRC 7 SINCE_CRC_ANNOT 0 RECORD (%(UID 8)))`, got)
	c.uniqueID = "y"
	require.NotContains(t, string(s.command(c, nil)), "SINCE", "a mailbox that is made anew has no past")
	require.Contains(t, string(s.changed(s.same()).command(s.same(), nil)), "SINCE_MODSEQ 9 SINCE_CRC 0 ", "what is not known is not compared")

	for _, key := range []string{"UNIQUEID x", "MBOXNAME user.u1", "LAST_UID 3", "HIGHESTMODSEQ 9", "UIDVALIDITY 5", "PARTITION default", `ACL "a"`, "OPTIONS P"} {
		v, err := parse([]byte(strings.Replace(whole, key+" ", "", 1)))
		require.NoError(t, err)
		_, err = newState(v)
		require.ErrorIs(t, err, errSyntax, key)
	}
}

// Where a mailbox has the old option its UIDLs are bare UIDs.
func TestUIDLsOfOldMailboxes(t *testing.T) {
	target := &Target{}
	want := mailhaul.Identity{UIDValidity: 5, UIDLs: true, Messages: []mailhaul.Message{{UID: 7, UIDL: "7"}}}
	require.Equal(t, mailhaul.LevelExact, target.judge(&state{}, want).Level)
	require.Equal(t, mailhaul.LevelUID, target.judge(&state{options: "P"}, want).Level)
	want.Messages = []mailhaul.Message{{UID: 7, UIDL: "7", Order: 2}, {UID: 8, UIDL: "8", Order: 1}}
	require.Equal(t, mailhaul.LevelUID, target.judge(&state{}, want).Level, "the maildrop has another order")
	want = mailhaul.Identity{UIDNext: 5}
	require.Equal(t, mailhaul.LevelExact, target.judge(&state{lastUID: 100, validity: 9}, want).Level, "nothing is asked for")
}
