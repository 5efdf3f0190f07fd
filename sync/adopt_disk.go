// Recognising more messages than are held in memory.

package sync

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// maxParts bounds into how many parts two sides are divided, each of which has
// a block in memory while they are listed. Beyond maxParts*maxCandidates
// messages, 5 million, the parts grow.
const maxParts = 512

// onDisk matches two sides of any size. Only messages with the same key are
// ever compared, so both listings are divided by it, and a part of each is
// matched at a time: what is found is what inMemory would find.
//
// The pairs of a part are spread over all UIDs. Recorded in that order, each
// chunk of the checkpoint would be written once for each part; so they are
// divided once more, by the source's UIDs, and then recorded in their order.
//
// The files take some 80 octets a message.
func (a *adoption) onDisk(ctx context.Context, todo, unexplained mailhaul.UIDSet) error {
	limit := a.j.r.cfg.maxCandidates
	parts := min(maxParts, (max(todo.Len(), unexplained.Len())+limit-1)/limit)
	var files [3]*spill
	for i := range files {
		f, err := newSpill(a.j.r.cfg.createTemp, parts)
		if err != nil {
			return a.diskError(err)
		}
		defer func() { _ = f.Close() }()
		files[i] = f
	}
	ours, theirs, pairs := files[0], files[1], files[2]

	// Not one that the sender of a message could foresee: he could fill a part.
	seed := maphash.MakeSeed()
	if err := a.spill(ctx, theirs, a.target, unexplained, false, seed); err != nil {
		return err
	}
	if err := a.spill(ctx, ours, a.source, todo, true, seed); err != nil {
		return err
	}
	err := a.matchParts(ctx, ours, theirs, pairs, boundaries(todo, parts))
	return graver(err, a.recordParts(ctx, pairs))
}

// diskError says that a temporary file cannot be used. Nothing may be copied
// then, since it may be there already.
func (a *adoption) diskError(err error) error {
	return &mailhaul.Error{
		Op: "recognise the messages of", Mailbox: a.j.source.Name, Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox,
		Err:  fmt.Errorf("a temporary file cannot be used: %w", err),
		Hint: "make room in the directory for temporary files (TMPDIR), or name another, and run again: nothing is lost",
	}
}

// spill lists a set and writes what is listed into the parts that the keys
// fall into.
func (a *adoption) spill(ctx context.Context, to *spill, r mailhaul.Reader, set mailhaul.UIDSet, flags bool, seed maphash.Seed) error {
	var record []byte
	for m, err := range listing(ctx, r, set, flags) {
		if err != nil {
			return err
		}
		record = appendListed(record[:0], m)
		part := maphash.Bytes(seed, m.Key[:]) % uint64(len(to.parts))
		if err := to.add(int(part), record); err != nil {
			return a.diskError(err)
		}
	}
	if err := to.flush(); err != nil {
		return a.diskError(err)
	}
	return nil
}

// matchParts matches part by part, and writes the pairs into the parts that
// their sources fall into. With an error, the pairs that were found before are
// there.
func (a *adoption) matchParts(ctx context.Context, ours, theirs, pairs *spill, starts []mailhaul.UID) error {
	var record []byte
	var failure error
	for part := range ours.parts {
		if failure = ctx.Err(); failure != nil {
			break
		}
		us, err := a.read(ours, part, nil)
		if err != nil {
			return err
		}
		them, err := a.read(theirs, part, us.keys())
		if err != nil {
			return err
		}
		found, err := a.match(ctx, us.candidates, them.candidates)
		for _, p := range found {
			record = appendPair(record[:0], foundPair{p, us.flags[p.Source]})
			at, exact := slices.BinarySearch(starts, p.Source)
			if !exact {
				at--
			}
			if err := pairs.add(at, record); err != nil {
				return a.diskError(err)
			}
		}
		if failure = err; failure != nil {
			break
		}
	}
	if err := pairs.flush(); err != nil {
		return a.diskError(err)
	}
	return failure
}

// read reads one part of a side, all of it or what has one of the keys.
func (a *adoption) read(from *spill, part int, only map[uidmap.Key]bool) (side, error) {
	sets := make(flagSets)
	return sideOf(func(yield func(listed, error) bool) {
		for record, err := range from.records(part) {
			var m listed
			if err == nil {
				m, err = parseListed(record, sets)
			}
			if err != nil {
				yield(m, a.diskError(err))
				return
			}
			if !yield(m, nil) {
				return
			}
		}
	}, only)
}

// recordParts records the pairs in the order of their sources. It commits after
// each part, so that no more than that is staged. That does no harm if this run
// ends here: what is recorded is true, what is not is matched again, and
// nothing says that the target is explained.
func (a *adoption) recordParts(ctx context.Context, pairs *spill) error {
	sets := make(flagSets)
	for part := range pairs.parts {
		var found []foundPair
		for record, err := range pairs.records(part) {
			var p foundPair
			if err == nil {
				p, err = parsePair(record, sets)
			}
			if err != nil {
				return a.diskError(err)
			}
			found = append(found, p)
		}
		if len(found) == 0 {
			continue
		}
		if err := a.record(ctx, found); err != nil {
			return err
		}
		st := a.j.led.State()
		st.Complete = false
		a.j.led.SetState(st)
		if err := a.j.led.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// boundaries divides a set into parts of the same size, and returns the first
// UID of each.
func boundaries(set mailhaul.UIDSet, parts int) []mailhaul.UID {
	starts := make([]mailhaul.UID, 0, parts)
	for part := range set.Chunks((set.Len() + parts - 1) / parts) {
		starts = append(starts, part[0].First)
	}
	return starts
}

// The layout of a message: UID, key, bits, size and date as varints, and its
// flags as text.
const (
	bitHasID = 1 << iota
	bitDate  // there is one
)

func appendListed(b []byte, m listed) []byte {
	var bits byte
	var date int64
	if m.HasID {
		bits |= bitHasID
	}
	if !m.Date.IsZero() {
		bits |= bitDate
		date = m.Date.Unix() // the matcher compares no more
	}
	b = binary.BigEndian.AppendUint32(b, uint32(m.UID))
	b = append(b, m.Key[:]...)
	b = append(b, bits)
	b = binary.AppendVarint(b, m.Size)
	b = binary.AppendVarint(b, date)
	return appendFlags(b, m.flags)
}

func parseListed(b []byte, sets flagSets) (m listed, err error) {
	const fixed = 4 + len(m.Key) + 1
	if len(b) < fixed {
		return m, errSpill
	}
	m.UID = mailhaul.UID(binary.BigEndian.Uint32(b))
	copy(m.Key[:], b[4:])
	bits := b[fixed-1]
	b = b[fixed:]
	size, n := binary.Varint(b)
	if n <= 0 {
		return m, errSpill
	}
	b = b[n:]
	date, n := binary.Varint(b)
	if n <= 0 {
		return m, errSpill
	}
	m.HasID, m.Size = bits&bitHasID != 0, size
	if bits&bitDate != 0 {
		m.Date = time.Unix(date, 0)
	}
	m.flags = sets.parse(b[n:])
	return m, nil
}

// The layout of a pair: both UIDs, basis, and the flags of the source as text.
func appendPair(b []byte, p foundPair) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(p.Source))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Target))
	b = append(b, byte(p.Basis))
	return appendFlags(b, p.flags)
}

func parsePair(b []byte, sets flagSets) (p foundPair, err error) {
	if len(b) < 9 {
		return p, errSpill
	}
	p.Source = mailhaul.UID(binary.BigEndian.Uint32(b))
	p.Target = mailhaul.UID(binary.BigEndian.Uint32(b[4:]))
	p.Basis = uidmap.Basis(b[8])
	p.flags = sets.parse(b[9:])
	return p, nil
}
