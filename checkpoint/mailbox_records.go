// The records of a mailbox: read and staged.

package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// maxRecent is how many chunks are kept in memory after they were read or
// committed. The next batch most often falls into the last one.
const maxRecent = 16

// Put stages records, each in place of what was recorded of the same Source.
// A record that says nothing new is not staged. All of them are staged or, when
// an error is returned, none.
func (m *MailboxLedger) Put(ctx context.Context, records ...Record) error {
	for i := range records {
		if records[i].Source == 0 || records[i].State >= recordStates {
			return fmt.Errorf("put record into mailbox %q: source UID %d, state %d: no such record", m.wire, records[i].Source, records[i].State)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	touched := make(map[uint32]*chunk)
	for i := range records {
		if err := m.touch(ctx, touched, m.index(records[i].Source)); err != nil {
			return err
		}
	}
	fresh := make(map[uint32]bool) // chunks whose records are a copy already
	for i := range records {
		r := records[i]
		if i > 0 && slices.Equal(r.Base, records[i-1].Base) {
			r.Base = records[i-1].Base
		}
		index := m.index(r.Source)
		c := touched[index]
		at, found := findRecord(c.records, r.Source)
		if found && equalRecords(r, c.records[at]) {
			continue
		}
		r.Base = sortFlags(slices.Clone(r.Base))
		if found && equalRecords(r, c.records[at]) {
			continue
		}
		if !fresh[index] {
			c.records = append(make([]Record, 0, min(len(c.records)+len(records)-i, 1<<m.shape.bits)), c.records...)
			fresh[index] = true
		}
		if found {
			c.records[at] = r
		} else {
			c.records = slices.Insert(c.records, at, r)
		}
		m.stage(index, c)
	}
	return nil
}

// Forget stages the removal of the records with those Source UIDs; UIDs
// without a record are ignored.
func (m *MailboxLedger) Forget(ctx context.Context, set mailhaul.UIDSet) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	touched := make(map[uint32]*chunk)
	kept := make(map[uint32][]Record)
	for _, r := range set {
		// A range may be as wide as all UIDs, so only chunks that exist are
		// looked at.
		var indices []uint32
		if m.index(r.Last)-m.index(r.First) < 8 {
			for i := m.index(r.First); i <= m.index(r.Last); i++ {
				indices = append(indices, i)
			}
		} else {
			err := m.walk(ctx, m.index(r.First), func(index uint32, _ []Record) bool {
				if index > m.index(r.Last) {
					return false
				}
				indices = append(indices, index)
				return true
			})
			if err != nil {
				return err
			}
		}
		for _, index := range indices {
			if err := m.touch(ctx, touched, index); err != nil {
				return err
			}
			before, ok := kept[index]
			if !ok {
				before = touched[index].records
			}
			after := make([]Record, 0, len(before))
			for _, record := range before {
				if record.Source < r.First || record.Source > r.Last {
					after = append(after, record)
				}
			}
			if len(after) < len(before) {
				kept[index] = after
			}
		}
	}
	for index, records := range kept {
		c := touched[index]
		c.records = records
		m.stage(index, c)
	}
	return nil
}

// Get returns the record of one message of the source, and false where there
// is none.
func (m *MailboxLedger) Get(ctx context.Context, source mailhaul.UID) (Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.chunk(ctx, m.index(source))
	if err != nil {
		return Record{}, false, err
	}
	at, found := findRecord(c.records, source)
	if !found {
		return Record{}, false, nil
	}
	return c.records[at], true, nil
}

// Records yields the records whose Source is not below from, ascending. It
// reads a few thousand at a time, so a record that is changed behind the one
// just yielded may be yielded as it was before or after the change. The loop
// may call every method of the MailboxLedger. After an error the sequence ends.
func (m *MailboxLedger) Records(ctx context.Context, from mailhaul.UID) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		const perBatch = 16
		for next := uint64(from); next <= math.MaxUint32; {
			batch := make([][]Record, 0, perBatch)
			start := next
			next = math.MaxUint32 + 1
			m.mu.Lock()
			err := m.walk(ctx, m.index(mailhaul.UID(start)), func(index uint32, records []Record) bool {
				if len(batch) == perBatch {
					next = uint64(index) << m.shape.bits
					return false
				}
				batch = append(batch, records)
				return true
			})
			m.mu.Unlock()
			for _, records := range batch {
				for _, r := range records {
					if uint64(r.Source) >= start && !yield(r, nil) {
						return
					}
				}
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
		}
	}
}

// Sets returns the Source UIDs of all records, whatever their state, and the
// Target UIDs of those that are placed. It reads all records, and proves that
// none is missing.
func (m *MailboxLedger) Sets(ctx context.Context) (sources, targets mailhaul.UIDSet, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var runs []mailhaul.UIDRange // targets in the order of their sources
	err = m.walkAll(ctx, func(_ uint32, records []Record) bool {
		for i := range records {
			sources.Add(records[i].Source)
			if t := records[i].Target; records[i].Placed() && t != 0 {
				if n := len(runs); n > 0 && runs[n-1].Last+1 == t {
					runs[n-1].Last = t
				} else {
					runs = append(runs, mailhaul.UIDRange{First: t, Last: t})
				}
			}
		}
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	// A set is slow to add to in any other order.
	slices.SortFunc(runs, func(a, b mailhaul.UIDRange) int { return cmp.Compare(a.First, b.First) })
	for _, r := range runs {
		targets.AddRange(r)
	}
	return sources, targets, nil
}

// Reset stages that nothing is remembered of the mailbox any more: no records,
// no intents, no state. IDs of intents are not given again.
func (m *MailboxLedger) Reset(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	empty := m.stored == totals{} && m.generation == m.committed && m.lastIntent == 0 && equalStates(m.state, MailboxState{})
	if empty {
		return nil
	}
	m.state = MailboxState{}
	m.intents = nil
	m.dict = newDictionary(nil)
	m.wipe(freshShape)
	return nil
}

// wipe stages that all chunks go, and those that come have another shape. mu is
// held.
func (m *MailboxLedger) wipe(s shape) {
	m.chunks = make(map[uint32]*chunk)
	m.recent = nil
	m.shape = s
	m.wiped = m.staged()
}

// index returns the index of the chunk that a UID falls into. mu is held.
func (m *MailboxLedger) index(u mailhaul.UID) uint32 { return chunkOf(u, m.shape.bits) }

func findRecord(records []Record, source mailhaul.UID) (int, bool) {
	return slices.BinarySearchFunc(records, source, func(r Record, u mailhaul.UID) int {
		switch {
		case r.Source < u:
			return -1
		case r.Source > u:
			return 1
		}
		return 0
	})
}

func equalRecords(a, b Record) bool {
	return a.Source == b.Source && a.Target == b.Target && a.State == b.State && a.Altered == b.Altered && a.Adopted == b.Adopted && slices.Equal(a.Base, b.Base)
}

// stage says that a chunk has been changed. mu is held.
func (m *MailboxLedger) stage(index uint32, c *chunk) {
	c.generation = m.staged()
	m.chunks[index] = c
}

// touch puts the chunk into touched, unless it is there: what a method is
// about to change must not be read twice.
func (m *MailboxLedger) touch(ctx context.Context, touched map[uint32]*chunk, index uint32) error {
	if touched[index] != nil {
		return nil
	}
	c, err := m.chunk(ctx, index)
	if err != nil {
		return err
	}
	touched[index] = c
	return nil
}

// chunk returns a chunk, an empty one where there is none. mu is held.
func (m *MailboxLedger) chunk(ctx context.Context, index uint32) (*chunk, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c := m.chunks[index]; c != nil {
		return c, nil
	}
	c := &chunk{}
	if m.wiped == 0 {
		key := chunkKey(m.key, index)
		value, err := m.ledger.store.Get(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		default:
			c.stored = true
			if c.records, c.sum, err = m.decode(key, value); err != nil {
				return nil, err
			}
			c.count = len(c.records)
		}
	}
	m.chunks[index] = c
	m.keep(index)
	return c, nil
}

// keep remembers that a chunk which is not staged is in memory, and drops the
// one that has been there for longest. mu is held.
func (m *MailboxLedger) keep(index uint32) {
	m.recent = append(m.recent, index)
	if len(m.recent) <= maxRecent {
		return
	}
	oldest := m.recent[0]
	m.recent = slices.Delete(m.recent, 0, 1)
	if c := m.chunks[oldest]; c != nil && c.generation <= m.committed && !slices.Contains(m.recent, oldest) {
		delete(m.chunks, oldest)
	}
}

// decode reads a chunk's value.
func (m *MailboxLedger) decode(key, value []byte) ([]Record, uint32, error) {
	body, sum, err := unseal(key, value)
	if err == nil {
		var records []Record
		if records, err = decodeChunk(chunkIndex(key), m.shape.bits, m.shape.origins, body, m.dict); err == nil {
			return records, sum, nil
		}
	}
	return nil, 0, m.damaged(fmt.Sprintf("the records from UID %d on", uint64(chunkIndex(key))<<m.shape.bits), err)
}

// walk calls fn for the chunks from an index on that have records, ascending,
// staged ones included, until fn returns false. mu is held.
func (m *MailboxLedger) walk(ctx context.Context, from uint32, fn func(uint32, []Record) bool) error {
	_, err := m.merge(ctx, chunkKey(m.key, from), from, fn)
	return err
}

// walkAll calls fn for all chunks that have records, and then proves that the
// Store has all that it should have. mu is held.
func (m *MailboxLedger) walkAll(ctx context.Context, fn func(uint32, []Record) bool) error {
	found, err := m.merge(ctx, m.key, 0, fn)
	if err != nil || m.wiped != 0 {
		return err
	}
	if !found.complete() {
		return m.damaged("its records", fmt.Errorf("there are %d chunks where %d should be, or an old one among them", found.found.chunks, found.head.chunks))
	}
	return nil
}

// census compares the chunks that one Scan found with what the head in the
// same Scan said. The head in memory may be newer or older, when a Commit is
// under way.
type census struct{ head, found totals }

func (c census) complete() bool { return c.head == c.found }

// merge merges the chunks of a Scan from key on with those in memory from an
// index on, which count where both are there.
func (m *MailboxLedger) merge(ctx context.Context, key []byte, from uint32, fn func(uint32, []Record) bool) (census, error) {
	var c census
	memory := make([]uint32, 0, len(m.chunks))
	for index := range maps.Keys(m.chunks) {
		if index >= from && len(m.chunks[index].records) > 0 {
			memory = append(memory, index)
		}
	}
	slices.Sort(memory)
	// until calls fn for the chunks in memory below an index.
	until := func(end uint64) bool {
		for len(memory) > 0 && uint64(memory[0]) < end {
			index := memory[0]
			memory = memory[1:]
			if !fn(index, m.chunks[index].records) {
				return false
			}
		}
		return true
	}
	if m.wiped == 0 {
		for kv, err := range m.ledger.store.Scan(ctx, m.key, key) {
			if err != nil {
				return c, err
			}
			if len(kv.Key) == mailboxKeySize {
				h, err := readHead(kv.Key, kv.Value)
				if err != nil {
					return c, m.damaged("its state", err)
				}
				c.head = h.chunks
				continue
			}
			if len(kv.Key) != chunkKeySize {
				return c, m.damaged("its records", fmt.Errorf("a key of %d octets", len(kv.Key)))
			}
			index := chunkIndex(kv.Key)
			if !until(uint64(index)) {
				return c, nil
			}
			if m.chunks[index] != nil {
				_, sum, err := unseal(kv.Key, kv.Value)
				if err != nil {
					return c, m.damaged("its records", err)
				}
				c.found = c.found.add(sum)
				continue // until comes to it
			}
			records, sum, err := m.decode(kv.Key, kv.Value)
			if err != nil {
				return c, err
			}
			c.found = c.found.add(sum)
			if !fn(index, records) {
				return c, nil
			}
		}
	} else if err := ctx.Err(); err != nil {
		return c, err
	}
	until(math.MaxUint32 + 1)
	return c, nil
}
