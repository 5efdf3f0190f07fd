// Flags: each combination that a mailbox knows is kept once.

package imapserver

import (
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// System flags as bits.
const (
	bitAnswered = 1 << iota
	bitFlagged
	bitDeleted
	bitSeen
	bitDraft
)

var systemFlags = []struct {
	flag mailhaul.Flag
	bit  uint8
}{
	{mailhaul.FlagAnswered, bitAnswered},
	{mailhaul.FlagFlagged, bitFlagged},
	{mailhaul.FlagDeleted, bitDeleted},
	{mailhaul.FlagSeen, bitSeen},
	{mailhaul.FlagDraft, bitDraft},
}

// flagList is one combination of flags. It is immutable: messages of a mailbox
// that have the same flags share it, and FETCH copies its wire form.
type flagList struct {
	flags  []mailhaul.Flag
	wire   string // space-separated, without parentheses
	system uint8  // bits
}

func (l *flagList) has(f mailhaul.Flag) bool { return slices.ContainsFunc(l.flags, f.Equal) }

var noFlags flagList

// flagTable keeps the combinations and the keywords of one mailbox. It is
// protected by the mailbox's lock.
type flagTable struct {
	lists    map[string]*flagList
	keywords []mailhaul.Flag // spelt as they came first, in the order in which they came
}

// intern returns the list of the given flags. The order in which they are given,
// doubles and \Recent play no part.
func (t *flagTable) intern(flags []mailhaul.Flag) *flagList {
	if len(flags) == 0 {
		return &noFlags
	}
	var system uint8
	var used []int // indexes of keywords
next:
	for _, f := range flags {
		if f.Equal(`\Recent`) {
			continue
		}
		for _, s := range systemFlags {
			if f.Equal(s.flag) {
				system |= s.bit
				continue next
			}
		}
		i := slices.IndexFunc(t.keywords, f.Equal)
		if i < 0 {
			i = len(t.keywords)
			t.keywords = append(t.keywords, f)
		}
		if !slices.Contains(used, i) {
			used = append(used, i)
		}
	}
	slices.Sort(used)

	var list []mailhaul.Flag
	var wire []byte
	add := func(f mailhaul.Flag) {
		if len(wire) > 0 {
			wire = append(wire, ' ')
		}
		wire = append(wire, f...)
		list = append(list, f)
	}
	for _, s := range systemFlags {
		if system&s.bit != 0 {
			add(s.flag)
		}
	}
	for _, i := range used {
		add(t.keywords[i])
	}
	if len(wire) == 0 {
		return &noFlags
	}
	if l := t.lists[string(wire)]; l != nil {
		return l
	}
	if t.lists == nil {
		t.lists = make(map[string]*flagList)
	}
	l := &flagList{flags: list, wire: string(wire), system: system}
	t.lists[l.wire] = l
	return l
}

// permanent says which flags a server stores.
type permanent struct {
	wire     string // the value of PERMANENTFLAGS
	flags    []mailhaul.Flag
	anything bool // \*
}

func newPermanent(flags []string) permanent {
	p := permanent{wire: strings.Join(flags, " ")}
	for _, f := range flags {
		if f == `\*` {
			p.anything = true
		} else {
			p.flags = append(p.flags, mailhaul.Flag(f))
		}
	}
	return p
}

func (p permanent) allows(f mailhaul.Flag) bool {
	return slices.ContainsFunc(p.flags, f.Equal) || p.anything && !f.System()
}

// filter returns the flags that are stored.
func (p permanent) filter(flags []mailhaul.Flag) []mailhaul.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f mailhaul.Flag) bool { return !p.allows(f) })
}
