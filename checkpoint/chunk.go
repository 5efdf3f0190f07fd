// A chunk is the value that holds the records of neighbouring UIDs.

package checkpoint

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// stateBits is the room that a chunk has for a RecordState. One that does not fit
// needs another format: it would be read as Altered.
const stateBits = 2

// What stands above the state in the last number of a run.
const (
	metaAltered = 1 << stateBits
	metaAdopted = metaAltered << 1 // only in a chunk that says so
)

// withOrigins is the first octet of a chunk whose runs say which messages were
// adopted. No chunk of format 1 begins so: it has one combination of flags at
// least.
const withOrigins = 0

var _ = [1]struct{}{}[(recordStates-1)>>stateBits] // does not compile then

var (
	errUnknownFlag = errors.New("a record has a flag that the mailbox does not know")
	errChunk       = errors.New("the records of a chunk make no sense")
)

// encodeChunk returns the body of the chunk with that index, which holds the
// records, ascending by Source; bits is how many UIDs it may hold, as a power
// of two. origins says that records were never stored without their origin.
// Its layout:
//
//	0, only if some records are Adopted, or origins is not set
//	number of flag combinations, each as dictionary.appendSet writes it
//	runs, to the end; one run is
//	  gap<<1 | long       gap: sources left out since the last run
//	  length-2            only if long: a run of one record has none
//	  target delta        signed, from the last target + 1
//	  combination<<3 | altered<<2 | state
//	  or, after the 0, combination<<4 | adopted<<3 | altered<<2 | state
//
// In a run, sources and targets rise by one and all else is the same. Numbers
// are varints. A mailbox that moved in order to an empty one costs a few
// octets a change of flags.
func encodeChunk(index uint32, bits uint, origins bool, records []Record, dict *dictionary) []byte {
	explicit := !origins || slices.ContainsFunc(records, func(r Record) bool { return r.Adopted })
	above := metaBits(explicit)
	var combinations []byte
	numbers := make(map[string]uint64)
	metas := make([]uint64, len(records))
	var scratch []byte
	for i, r := range records {
		if i > 0 && slices.Equal(r.Base, records[i-1].Base) {
			metas[i] = metas[i-1] >> above << above
		} else {
			scratch = dict.appendSet(scratch[:0], r.Base)
			n, ok := numbers[string(scratch)]
			if !ok {
				n = uint64(len(numbers))
				numbers[string(scratch)] = n
				combinations = append(combinations, scratch...)
			}
			metas[i] = n << above
		}
		if r.Altered {
			metas[i] |= metaAltered
		}
		if r.Adopted {
			metas[i] |= metaAdopted
		}
		metas[i] |= uint64(r.State)
	}

	b := make([]byte, 0, 2*len(records)+len(combinations)+8)
	if explicit {
		b = append(b, withOrigins)
	}
	b = binary.AppendUvarint(b, uint64(len(numbers)))
	b = append(b, combinations...)
	source, target := uint64(index)<<bits, uint64(0) // what would need no gap and no delta
	for i := 0; i < len(records); {
		first := records[i]
		n := 1
		for i+n < len(records) && metas[i+n] == metas[i] &&
			uint64(records[i+n].Source) == uint64(first.Source)+uint64(n) &&
			uint64(records[i+n].Target) == uint64(first.Target)+uint64(n) {
			n++
		}
		gap := (uint64(first.Source) - source) << 1
		if n == 1 {
			b = binary.AppendUvarint(b, gap)
		} else {
			b = binary.AppendUvarint(b, gap|1)
			b = binary.AppendUvarint(b, uint64(n-2))
		}
		b = binary.AppendVarint(b, int64(first.Target)-int64(target))
		b = binary.AppendUvarint(b, metas[i])
		source, target = uint64(first.Source)+uint64(n), uint64(first.Target)+uint64(n)
		i += n
	}
	return b
}

// metaBits is how many bits the last number of a run has below the
// combination.
func metaBits(explicit bool) uint {
	if explicit {
		return stateBits + 2
	}
	return stateBits + 1
}

// decodeChunk is the inverse of encodeChunk. Whatever body is, it returns
// records that encodeChunk could have been given, or an error.
func decodeChunk(index uint32, bits uint, origins bool, body []byte, dict *dictionary) ([]Record, error) {
	explicit := len(body) > 0 && body[0] == withOrigins
	if explicit {
		body = body[1:]
	}
	above := metaBits(explicit)
	in := decoder{b: body}
	size := uint64(1) << bits
	// A combination takes two octets at least.
	combinations := make([][]mailhaul.Flag, in.uvarint(min(size, uint64(len(body)/2))))
	for i := range combinations {
		combinations[i] = dict.readSet(&in)
	}
	var records []Record
	low := uint64(index) << bits
	source, target := low, uint64(0)
	for in.err == nil && len(in.b) > 0 {
		head := in.uvarint(size<<1 | 1)
		n := uint64(1)
		if head&1 != 0 {
			n = in.uvarint(size) + 2
		}
		delta := in.varint()
		meta := in.uvarint(uint64(len(combinations))<<above | (1<<above - 1))
		if in.err != nil {
			break
		}
		source += head >> 1
		if delta < -math.MaxUint32-1 || delta > math.MaxUint32 {
			return nil, errChunk
		}
		first := int64(target) + delta
		state := RecordState(meta & (1<<stateBits - 1))
		if first < 0 || first+int64(n)-1 > math.MaxUint32 || source == 0 ||
			source+n-low > size || source+n-1 > math.MaxUint32 ||
			meta>>above >= uint64(len(combinations)) || state >= recordStates {
			return nil, errChunk
		}
		for i := range n {
			records = append(records, Record{
				Source:  mailhaul.UID(source + i),
				Target:  mailhaul.UID(uint64(first) + i),
				State:   state,
				Base:    combinations[meta>>above],
				Altered: meta&metaAltered != 0,
				Adopted: explicit && meta&metaAdopted != 0 || !explicit && !origins,
			})
		}
		source, target = source+n, uint64(first)+n
	}
	if in.err != nil {
		return nil, in.err
	}
	if len(records) == 0 {
		return nil, errors.New("a chunk without records")
	}
	return records, nil
}
