package sync

// Tests of names: what they may be on the target.

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFolderOctets(t *testing.T) {
	for name, want := range map[string]int{
		"": 0, "abc": 3, "&": 2, "ü": 5, "üü": 8, "üüü": 10, "aüb": 7, "日本語": 10, "日本": 8,
		"😀": 8, "Entwürfe": 12, strings.Repeat("日", 100): 300,
	} {
		if got := folderOctets(name); got != want {
			t.Errorf("%q takes %d octets, want %d", name, got, want)
		}
	}
}

// Long names are cut to what fits and stay apart.
func TestFolderLongNames(t *testing.T) {
	for _, naming := range folderNamings() {
		n := folderNamer{naming: naming}
		for _, unit := range []string{"a", "ü", "日", "😀", "ab ", "&"} {
			level := strings.Repeat(unit, 300)
			short, wrong := n.level(level)
			other, _ := n.level(level + "x")
			if folderOctets(short) > folderLevelLimit || folderOctets(short) < 200 || len(wrong) == 0 || short == other || !utf8.ValidString(short) {
				t.Errorf("a level of 300 %q becomes %q (%d octets) and %q", unit, short, folderOctets(short), other)
			}
			for _, depth := range []int{2, 5, 50, 1000} {
				for _, length := range []int{1, 3, 40, 60} {
					levels := slices.Repeat([]string{strings.Repeat(unit, length)}, depth)
					for i := range levels {
						levels[i], _ = n.level(levels[i])
					}
					path, wrong := n.path(levels)
					again, _ := n.path(path)
					name := naming.Join(path)
					tooLong := folderOctets(strings.Join(levels, naming.Delimiter)) > folderNameLimit
					if folderOctets(name) > folderNameLimit || tooLong && len(wrong) == 0 || !slices.Equal(path, again) {
						t.Errorf("%v: %d levels of %d %q become %d octets (%q)", naming, depth, length, unit, folderOctets(name), wrong)
					}
					for _, level := range path {
						if folderOctets(level) > folderLevelLimit {
							t.Errorf("%v: %d levels of %d %q have a level of %d octets", naming, depth, length, unit, folderOctets(level))
						}
					}
				}
			}
		}
	}
}
