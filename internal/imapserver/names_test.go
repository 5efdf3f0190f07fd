// Names and patterns against definitions that are too slow to use.

package imapserver

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var nameSeeds = []string{"", "INBOX", "a&b", "Entwürfe", "日本語", "😀x&", "&-", "&AOQ-", "~peter/mail/台北/日本語", "\x00\x7f"}

func FuzzNames(f *testing.F) {
	require.NotEmpty(f, nameSeeds)
	for _, s := range nameSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if utf8.ValidString(s) {
			got, err := decodeName(encodeName(s))
			require.NoError(t, err)
			require.Equal(t, s, got)
		}
		if name, err := decodeName(s); err == nil {
			require.Equal(t, s, encodeName(name), "only one form of each name is accepted")
		}
	})
}

func TestNamesRFC3501(t *testing.T) {
	assert.Equal(t, "~peter/mail/&U,BTFw-/&ZeVnLIqe-", encodeName("~peter/mail/台北/日本語"))
}

// matchSlowly is the definition of a match.
func matchSlowly(pattern, name, delimiter string) bool {
	if pattern == "" {
		return name == ""
	}
	switch c := pattern[0]; {
	case c == '*' || c == '%':
		for i := 0; i <= len(name); i++ {
			if c == '%' && strings.Contains(name[:i], delimiter) {
				return false
			}
			if matchSlowly(pattern[1:], name[i:], delimiter) {
				return true
			}
		}
		return false
	}
	return name != "" && name[0] == pattern[0] && matchSlowly(pattern[1:], name[1:], delimiter)
}

func TestPatterns(t *testing.T) {
	var all func(alphabet string, n int) []string
	all = func(alphabet string, n int) []string {
		if n == 0 {
			return []string{""}
		}
		out := []string{""}
		for _, rest := range all(alphabet, n-1) {
			for _, c := range alphabet {
				out = append(out, string(c)+rest)
			}
		}
		return out
	}
	names := all("a/b", 4)
	for _, pattern := range all("a/%*", 4) {
		for _, name := range names {
			if got, want := matchPattern(pattern, name, "/"), matchSlowly(pattern, name, "/"); got != want {
				t.Fatalf("matchPattern(%q, %q) = %v", pattern, name, got)
			}
		}
	}
	assert.True(t, matchPattern("inBOX/a", "INBOX/a", "/"))
}
