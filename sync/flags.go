// The merge of flags: pure, no I/O.

package sync

import (
	"slices"

	"github.com/mailhaul/mailhaul"
)

// exclusive names the flags for which the target keeps what it has as soon as
// both sides differ from each other: a client that sets one of them clears
// another, so that half of such a change would make no sense.
var exclusive = []mailhaul.Flag{mailhaul.FlagDraft, "$Junk", "$NotJunk", "Junk", "NonJunk", "$MDNSent"}

// mergeFlags carries what the source's user changed since the last pass over
// to the target, flag by flag: base is what the source had then, source what
// it has now, target what the target has now. Where the target's user changed
// the same flag, the target stays as it is.
//
// The base of the next pass is the source's value of this one. Any other base
// (the result, or the target's value) would undo, one pass later, what the
// target's user did.
func mergeFlags(base, source, target []mailhaul.Flag) (add, remove []mailhaul.Flag) {
	for _, f := range source {
		if !mailhaul.HasFlag(base, f) && !mailhaul.HasFlag(target, f) && !blocked(f, target) {
			add = append(add, f)
		}
	}
	for _, f := range base {
		if !mailhaul.HasFlag(source, f) && mailhaul.HasFlag(target, f) && !mailhaul.HasFlag(exclusive, f) {
			remove = append(remove, f)
		}
	}
	return add, remove
}

// blocked reports whether f excludes, or is excluded by, a flag that the target has.
func blocked(f mailhaul.Flag, target []mailhaul.Flag) bool {
	for _, o := range opposites {
		if f.Equal(o[0]) && mailhaul.HasFlag(target, o[1]) || f.Equal(o[1]) && mailhaul.HasFlag(target, o[0]) {
			return true
		}
	}
	return false
}

var opposites = [...][2]mailhaul.Flag{{"$Junk", "$NotJunk"}, {"Junk", "NonJunk"}}

// sameFlags reports whether two normalised lists hold the same flags.
func sameFlags(a, b []mailhaul.Flag) bool {
	return slices.EqualFunc(a, b, mailhaul.Flag.Equal)
}

// common returns the flags of a that b has too.
func common(a, b []mailhaul.Flag) []mailhaul.Flag {
	return slices.DeleteFunc(slices.Clone(a), func(f mailhaul.Flag) bool { return !mailhaul.HasFlag(b, f) })
}

// keepable returns those of flags that a mailbox can store.
func keepable(flags []mailhaul.Flag, st mailhaul.Status) []mailhaul.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f mailhaul.Flag) bool {
		return !mailhaul.HasFlag(st.Flags, f) && (f.System() || !st.AnyKeyword)
	})
}
