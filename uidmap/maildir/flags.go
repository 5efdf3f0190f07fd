// Flags in the names of files.

package maildir

import (
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// infoLetters are the flags that the names of files hold, sorted by letter.
var infoLetters = []struct {
	letter byte
	flag   mailhaul.Flag
}{
	{'D', mailhaul.FlagDraft},
	{'F', mailhaul.FlagFlagged},
	{'R', mailhaul.FlagAnswered},
	{'S', mailhaul.FlagSeen},
	{'T', mailhaul.FlagDeleted},
}

// baseOf returns the part of a file's name that stays the same.
func baseOf(name string) string {
	base, _, _ := strings.Cut(name, ":")
	return base
}

// lettersOf returns the letters of a file's name.
func lettersOf(name string) string {
	_, info, _ := strings.Cut(name, ":")
	letters, _ := strings.CutPrefix(info, "2,")
	letters, _, _ = strings.Cut(letters, ",")
	if !strings.HasPrefix(info, "2,") {
		return ""
	}
	return letters
}

// nameWith returns the name of a file with the letters, sorted.
func nameWith(base string, letters []byte) string {
	letters = slices.Clone(letters)
	slices.Sort(letters)
	return base + ":2," + string(slices.Compact(letters))
}

// systemFlags returns the flags that letters stand for, keywords left out.
func systemFlags(letters string) []mailhaul.Flag {
	var flags []mailhaul.Flag
	for _, l := range infoLetters {
		if strings.IndexByte(letters, l.letter) >= 0 {
			flags = append(flags, l.flag)
		}
	}
	return flags
}

// systemLetter returns the letter of a system flag.
func systemLetter(f mailhaul.Flag) (byte, bool) {
	for _, l := range infoLetters {
		if f.Equal(l.flag) {
			return l.letter, true
		}
	}
	return 0, false
}
