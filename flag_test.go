package mailhaul

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFlagSystem(t *testing.T) {
	for _, f := range []Flag{FlagSeen, FlagAnswered, FlagFlagged, FlagDeleted, FlagDraft, `\SEEN`, `\draft`} {
		assert.True(t, f.System(), f)
		assert.False(t, f.Keyword(), f)
	}
	for _, f := range []Flag{"", `\Recent`, `\Foo`, "Seen", `\`, `\Seen `, `\*`} {
		assert.False(t, f.System(), f)
	}
}

// A keyword is what cannot end a command early, whatever it holds.
func TestFlagKeyword(t *testing.T) {
	for _, f := range []Flag{"$Forwarded", "NonJunk", "a", "label:1", "x.y", "$", "[x", "it's", "a+b", "~"} {
		assert.True(t, f.Keyword(), "%q", f)
	}
	for _, f := range []Flag{"", `\Seen`, "a b", "a\r\nA1 NOOP", "a\x00", "a\x7f", "é", "\xe9", "a(", "a)", "a{1+}", "50%", "*", `"`, `a\b`, "a]", "\ta"} {
		assert.False(t, f.Keyword(), "%q", f)
	}
	for c := range 256 {
		if f := Flag("x" + string(rune(c))); f.Keyword() {
			assert.False(t, c <= ' ' || c >= 0x7f || strings.ContainsRune(`(){%*"\]`, rune(c)), "%q", f)
		}
	}
}

func TestNormalizeFlags(t *testing.T) {
	in := []Flag{"$Junk", `\seen`, `\Recent`, "alpha", `\RECENT`, "$JUNK", `\Seen`, `\Foo`, "", "bad flag", "Beta", `\DELETED`}
	before := slices.Clone(in)
	kept, dropped := NormalizeFlags(in)
	assert.Equal(t, []Flag{"$Junk", `\Deleted`, `\Seen`, "alpha", "Beta"}, kept)
	assert.Equal(t, 3, dropped)
	assert.Equal(t, before, in)

	again, dropped := NormalizeFlags(kept)
	assert.Equal(t, kept, again)
	assert.Zero(t, dropped)

	kept, dropped = NormalizeFlags(nil)
	assert.Empty(t, kept)
	assert.Zero(t, dropped)
}

func TestHasFlag(t *testing.T) {
	assert.True(t, HasFlag([]Flag{"a", `\SEEN`}, FlagSeen))
	assert.False(t, HasFlag([]Flag{"a"}, FlagSeen))
	assert.False(t, HasFlag(nil, FlagSeen))
	assert.True(t, Flag("$Junk").Equal("$JUNK"))
}

func FuzzNormalizeFlags(f *testing.F) {
	f.Add(`\Seen $Junk \Recent`)
	f.Add("a b\r\n {3+} é")
	f.Fuzz(func(t *testing.T, text string) {
		var flags []Flag
		for s := range strings.SplitSeq(text, " ") {
			flags = append(flags, Flag(s))
		}
		kept, dropped := NormalizeFlags(flags)
		if len(kept)+dropped > len(flags) {
			t.Fatal("flags out of nothing")
		}
		for i, k := range kept {
			if !k.System() && !k.Keyword() {
				t.Fatalf("%q is kept", k)
			}
			if i > 0 && strings.ToLower(string(kept[i-1])) >= strings.ToLower(string(k)) {
				t.Fatalf("%q is not sorted and unique", kept)
			}
		}
	})
}
