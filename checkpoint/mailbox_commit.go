// Commit makes what is staged durable.

package checkpoint

import (
	"context"
	"maps"
	"math/bits"
	"slices"
)

// Commit makes everything that was staged before it was called durable, in one
// Store.Commit, or none of it, and with it what other mailboxes have deferred.
// With nothing staged it does nothing. After an error all is staged as before,
// and Commit may be called again; what is staged while a Commit is under way
// belongs to the next one.
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
	all, release := m.ledger.deferred(ctx, m)
	defer release()
	return m.ledger.commit(ctx, append(all, p))
}

// Defer leaves what is staged to the next Commit of any mailbox of the Ledger,
// or to the Ledger's own: for the end of a mailbox, which need not be known by
// itself before anything else is.
func (m *MailboxLedger) Defer() {
	m.ledger.mu.Lock()
	defer m.ledger.mu.Unlock()
	if !slices.Contains(m.ledger.waiting, m) {
		m.ledger.waiting = append(m.ledger.waiting, m)
	}
}

// Commit makes durable what was deferred, in one Store.Commit. With nothing
// deferred it does nothing.
func (l *Ledger) Commit(ctx context.Context) error {
	for {
		l.mu.Lock()
		var first *MailboxLedger
		if len(l.waiting) > 0 {
			first = l.waiting[0]
		}
		l.mu.Unlock()
		if first == nil {
			return nil
		}
		if err := first.Commit(ctx); err != nil {
			return err
		}
		l.done(first) // it may have had nothing staged
	}
}

// deferred prepares what mailboxes other than m have deferred, except those that
// somebody else is committing, or that cannot be read: they stay deferred. The
// caller calls release after its commit.
func (l *Ledger) deferred(ctx context.Context, m *MailboxLedger) (all []*prepared, release func()) {
	l.mu.Lock()
	waiting := slices.Clone(l.waiting)
	l.mu.Unlock()
	var held []*MailboxLedger
	for _, w := range waiting {
		if w == m {
			continue
		}
		select {
		case w.committing <- struct{}{}:
			held = append(held, w)
		default:
			continue
		}
		if p, err := w.prepare(ctx); err == nil && p != nil {
			all = append(all, p)
		}
	}
	return all, func() {
		for _, w := range held {
			<-w.committing
		}
	}
}

// commit writes what was prepared, at once.
func (l *Ledger) commit(ctx context.Context, all []*prepared) error {
	var ops []Op
	for _, p := range all {
		ops = append(ops, p.ops...)
	}
	if err := l.store.Commit(ctx, ops); err != nil {
		return err
	}
	l.named()
	for _, p := range all {
		p.of.settle(p)
		l.done(p.of)
	}
	return nil
}

// done takes a mailbox off those that have deferred something, if all of it is
// durable.
func (l *Ledger) done(m *MailboxLedger) {
	if m.Dirty() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(w *MailboxLedger) bool { return w == m })
}

// prepared is what one Commit writes.
type prepared struct {
	of         *MailboxLedger
	ops        []Op
	generation uint64 // all that was staged up to it
	chunks     map[uint32]written
	totals     totals
	records    uint32
	uidls      int      // entries of the table that are durable then; 0: as before
	uidlSums   []uint32 // of its blocks
}

// written is a chunk as a Commit writes it.
type written struct {
	chunk  *chunk
	stored bool
	sum    uint32
	count  int
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
	if err := m.reshape(ctx); err != nil {
		return nil, err
	}
	p := &prepared{
		of:         m,
		ops:        m.ledger.nameOps(),
		generation: m.generation,
		chunks:     make(map[uint32]written),
		totals:     m.stored,
		records:    m.shape.records,
	}
	staged := func(index uint32) bool { return m.chunks[index] != nil && m.chunks[index].generation > m.committed }
	if m.wiped != 0 {
		p.totals, p.records = totals{}, 0
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
			p.records -= uint32(c.count)
		}
		w := written{chunk: c, count: len(c.records)}
		p.records += uint32(w.count)
		op := Op{Key: chunkKey(m.key, index)}
		if len(c.records) > 0 {
			w.stored = true
			op.Value, w.sum = seal(op.Key, encodeChunk(index, m.shape.bits, m.shape.origins, c.records, m.dict))
			p.totals = p.totals.add(w.sum)
		}
		p.chunks[index] = w
		p.ops = append(p.ops, op)
	}
	var uidls []Op
	uidls, p.uidls, p.uidlSums = m.uidlOps()
	p.ops = append(p.ops, uidls...)
	// The head comes last: encoding the chunks may have added keywords.
	h := head{
		wire:       m.wire,
		state:      m.state,
		keywords:   m.dict.keywords(),
		lastIntent: m.lastIntent,
		intents:    m.intents,
		chunks:     p.totals,
		shape:      shape{m.shape.bits, m.shape.narrowed, p.records, m.shape.origins},
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
	m.stored, m.shape.records = p.totals, p.records
	if p.uidls > 0 {
		m.uidls.committed, m.uidls.sums = p.uidls, p.uidlSums
	}
	if m.wiped <= m.committed {
		m.wiped = 0
	}
	for index, w := range p.chunks {
		w.chunk.stored, w.chunk.sum, w.chunk.count = w.stored, w.sum, w.count
		if m.chunks[index] == w.chunk && w.chunk.generation <= m.committed {
			m.keep(index)
		}
	}
}

// A mailbox whose owner moves nearly all mail out of it has few messages among
// many UIDs, and would have a chunk for each. So, when there are manyChunks
// with fewer than fewRecords in them on average, they are made so wide that
// they will hold some goodRecords; and narrow again, for ever, when dense mail
// comes and one would hold more than mostRecords, since it is written whole.
const (
	manyChunks  = 64
	fewRecords  = 4
	goodRecords = 32
	mostRecords = 1024
)

// reshape stages all records again, in wider or narrower chunks, where that is
// called for. mu is held.
func (m *MailboxLedger) reshape(ctx context.Context) error {
	chunks, records, largest := int(m.stored.chunks), int(m.shape.records), 0
	if m.wiped != 0 {
		chunks, records = 0, 0
	}
	for _, c := range m.chunks {
		if c.generation <= m.committed {
			continue
		}
		if c.stored && m.wiped == 0 {
			chunks--
			records -= c.count
		}
		if len(c.records) > 0 {
			chunks++
			records += len(c.records)
			largest = max(largest, len(c.records))
		}
	}
	next := m.shape
	switch {
	case largest > mostRecords && next.bits > narrowBits:
		next.bits, next.narrowed = narrowBits, true
	case chunks >= manyChunks && records < fewRecords*chunks && !next.narrowed && next.bits < wideBits:
		next.bits = min(wideBits, next.bits+uint(bits.Len(uint(goodRecords*chunks/max(records, 1)))))
	default:
		return nil
	}
	var all []Record
	err := m.walk(ctx, 0, func(_ uint32, records []Record) bool {
		all = append(all, records...)
		return true
	})
	if err != nil {
		return err
	}
	m.wipe(next)
	for len(all) > 0 {
		index := m.index(all[0].Source)
		n := 1
		for n < len(all) && m.index(all[n].Source) == index {
			n++
		}
		m.stage(index, &chunk{records: all[:n:n]})
		all = all[n:]
	}
	return nil
}
