// Commit makes what is staged durable.

package checkpoint

import (
	"context"
	"maps"
	"slices"
)

// Commit makes everything that was staged before it was called durable, in one
// Store.Commit, or none of it. With nothing staged it does nothing. After an
// error all is staged as before, and Commit may be called again; what is staged
// while a Commit is under way belongs to the next one.
func (m *MailboxLedger) Commit(ctx context.Context) error {
	select {
	case m.committing <- struct{}{}:
		defer func() { <-m.committing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	p, err := m.prepare(ctx)
	if err != nil || p == nil {
		return err
	}
	if err := m.ledger.store.Commit(ctx, p.ops); err != nil {
		return err
	}
	m.ledger.named()
	m.settle(p)
	return nil
}

// prepared is what one Commit writes.
type prepared struct {
	ops        []Op
	generation uint64 // all that was staged up to it
	chunks     map[uint32]written
	totals     totals
}

// written is a chunk as a Commit writes it.
type written struct {
	chunk  *chunk
	stored bool
	sum    uint32
}

// prepare encodes what is staged, nil where that is nothing.
//
// Each staged chunk gets an operation, also one that is empty and was never
// seen in the Store: an earlier Commit may have returned an error and yet have
// been carried out. For the same reason the totals start from those of the last
// Commit that is known to have been.
func (m *MailboxLedger) prepare(ctx context.Context) (*prepared, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation == m.committed {
		return nil, nil
	}
	p := &prepared{
		ops:        m.ledger.nameOps(),
		generation: m.generation,
		chunks:     make(map[uint32]written),
		totals:     m.stored,
	}
	staged := func(index uint32) bool { return m.chunks[index] != nil && m.chunks[index].generation > m.committed }
	if m.wiped != 0 {
		p.totals = totals{}
		for kv, err := range m.ledger.store.Scan(ctx, m.key, chunkKey(m.key, 0)) {
			if err != nil {
				return nil, err
			}
			if len(kv.Key) != chunkKeySize || !staged(chunkIndex(kv.Key)) {
				p.ops = append(p.ops, Op{Key: slices.Clone(kv.Key)})
			}
		}
	}
	for _, index := range slices.Sorted(maps.Keys(m.chunks)) {
		if !staged(index) {
			continue
		}
		c := m.chunks[index]
		if c.stored && m.wiped == 0 {
			p.totals = p.totals.remove(c.sum)
		}
		w := written{chunk: c}
		op := Op{Key: chunkKey(m.key, index)}
		if len(c.records) > 0 {
			w.stored = true
			op.Value, w.sum = seal(op.Key, encodeChunk(index, c.records, m.dict))
			p.totals = p.totals.add(w.sum)
		}
		p.chunks[index] = w
		p.ops = append(p.ops, op)
	}
	// The head comes last: encoding the chunks may have added keywords.
	h := head{
		wire:       m.wire,
		state:      m.state,
		keywords:   m.dict.keywords(),
		lastIntent: m.lastIntent,
		intents:    m.intents,
		chunks:     p.totals,
	}
	value, _ := seal(m.key, h.encode())
	p.ops = append(p.ops, Op{m.key, value})
	return p, nil
}

// settle takes note that a Commit succeeded.
func (m *MailboxLedger) settle(p *prepared) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.committed = p.generation
	m.stored = p.totals
	if m.wiped <= m.committed {
		m.wiped = 0
	}
	for index, w := range p.chunks {
		w.chunk.stored, w.chunk.sum = w.stored, w.sum
		if m.chunks[index] == w.chunk && w.chunk.generation <= m.committed {
			m.keep(index)
		}
	}
}
