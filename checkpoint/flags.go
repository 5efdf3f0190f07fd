// A dictionary turns the flags of a mailbox into a few bits a record.

package checkpoint

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// systemFlags are the first words of every dictionary. Their order is part of
// the format.
var systemFlags = [...]mailhaul.Flag{
	mailhaul.FlagSeen, mailhaul.FlagAnswered, mailhaul.FlagFlagged, mailhaul.FlagDeleted, mailhaul.FlagDraft,
}

// A hostile server could send a new keyword with every message. What is beyond
// these limits is not put into the dictionary, which is written with every
// commit, but spelt out in the chunk.
const (
	maxKeywords   = 256
	maxKeywordLen = 64
)

// dictionary numbers the flags of one mailbox. It only grows, so that what was
// written with it can always be read. Spelling counts: a keyword comes back in
// the very letters that it came in.
type dictionary struct {
	words []mailhaul.Flag // the system flags first
	index map[mailhaul.Flag]int

	// sets holds combinations that were decoded already, by their encoding, so
	// that a million records share a few slices.
	sets map[string][]mailhaul.Flag
}

// maxSets bounds dictionary.sets; when it is full it is emptied.
const maxSets = 4096

// newDictionary returns the dictionary with the given keywords.
func newDictionary(keywords []mailhaul.Flag) *dictionary {
	d := &dictionary{
		words: append(slices.Clone(systemFlags[:]), keywords...),
		index: make(map[mailhaul.Flag]int),
		sets:  make(map[string][]mailhaul.Flag),
	}
	for i, w := range d.words {
		d.index[w] = i
	}
	return d
}

// keywords returns the words that are not system flags.
func (d *dictionary) keywords() []mailhaul.Flag { return d.words[len(systemFlags):] }

// number returns the number of a flag, a new one where there is room.
func (d *dictionary) number(f mailhaul.Flag) (int, bool) {
	if n, ok := d.index[f]; ok {
		return n, true
	}
	if len(d.keywords()) >= maxKeywords || len(f) > maxKeywordLen {
		return 0, false
	}
	d.words = append(d.words, f)
	d.index[f] = len(d.words) - 1
	return len(d.words) - 1, true
}

// appendSet encodes a combination of flags: a bitmap over the words, without
// its last zero octets, and the flags that are spelt out.
func (d *dictionary) appendSet(b []byte, flags []mailhaul.Flag) []byte {
	var bits []byte
	var literal []mailhaul.Flag
	for _, f := range flags {
		n, ok := d.number(f)
		if !ok {
			literal = append(literal, f)
			continue
		}
		for len(bits) <= n/8 {
			bits = append(bits, 0)
		}
		bits[n/8] |= 1 << (n % 8)
	}
	b = binary.AppendUvarint(b, uint64(len(bits)))
	b = append(b, bits...)
	b = binary.AppendUvarint(b, uint64(len(literal)))
	for _, f := range literal {
		b = appendString(b, string(f))
	}
	return b
}

// readSet is the inverse of appendSet.
func (d *dictionary) readSet(in *decoder) []mailhaul.Flag {
	start := in.b
	bits := in.bytes()
	rest := in.b
	literals := in.uvarint(uint64(len(in.b)))
	for range literals {
		in.bytes()
	}
	if in.err != nil {
		return nil
	}
	encoded := start[:len(start)-len(in.b)]
	if flags, ok := d.sets[string(encoded)]; ok {
		return flags
	}
	var flags []mailhaul.Flag
	for i := range 8 * len(bits) {
		if bits[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if i >= len(d.words) {
			in.fail(errUnknownFlag)
			return nil
		}
		flags = append(flags, d.words[i])
	}
	again := decoder{b: rest}
	for range again.uvarint(literals) {
		flags = append(flags, mailhaul.Flag(again.string()))
	}
	flags = sortFlags(flags)
	if len(d.sets) >= maxSets {
		clear(d.sets)
	}
	d.sets[string(encoded)] = flags
	return flags
}

// sortFlags sorts the flags in place, without regard to case first, and leaves
// out what is there twice in the same letters.
func sortFlags(flags []mailhaul.Flag) []mailhaul.Flag {
	if len(flags) == 0 {
		return nil
	}
	slices.SortFunc(flags, func(a, b mailhaul.Flag) int {
		return cmp.Or(strings.Compare(strings.ToLower(string(a)), strings.ToLower(string(b))), cmp.Compare(a, b))
	})
	return slices.Compact(flags)
}
