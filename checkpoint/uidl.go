// The unique-ids of a POP3 source, and the UIDs that were assigned to them.

package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// AssignedUIDL is a message of a POP3 source, which has no UIDs: the UID that
// was assigned to it, and what it is recognised by. Several may have the same
// UIDL, on a server that gives one twice. The engine may put more behind a UIDL,
// or something of its own in the place of one, as long as that is no UIDL: only
// what is one is exported.
type AssignedUIDL struct {
	UID  mailhaul.UID
	UIDL mailhaul.UIDL
	Size int64 // as the server listed it at first sight
}

// uidlTable is the UIDLs of a mailbox: that of UID n is in place n-1. Nothing
// is ever taken out of it, so that no UID is assigned twice.
type uidlTable struct {
	entries   []uidlEntry
	sums      []uint32 // checksums of the blocks that are in the Store
	committed int      // entries that are durable
}

type uidlEntry struct {
	uidl mailhaul.UIDL
	size int64
}

// uidlBlock is how many entries a value holds.
const uidlBlock = 256

// uidlKey is the key of a mailbox's table and the prefix of its blocks'. It is
// not below the mailbox's own key, which Reset wipes: what was assigned stays.
func uidlKey(mailbox []byte) []byte {
	return append([]byte{kindUIDLs}, mailbox[1:]...)
}

// UIDLs returns what was assigned so far, in the order of the UIDs, which begin
// with 1 and have no gaps. Staged ones are among them.
func (m *MailboxLedger) UIDLs(ctx context.Context) ([]AssignedUIDL, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.uidlTable(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]AssignedUIDL, len(t.entries))
	for i, e := range t.entries {
		out[i] = AssignedUIDL{UID: mailhaul.UID(i + 1), UIDL: e.uidl, Size: e.size}
	}
	return out, nil
}

// AssignUIDs stages messages that were not seen before, and returns the UID
// that it gave the first; the others follow it. The UIDs in list are ignored.
func (m *MailboxLedger) AssignUIDs(ctx context.Context, list []AssignedUIDL) (mailhaul.UID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.uidlTable(ctx)
	if err != nil {
		return 0, err
	}
	first := len(t.entries) + 1
	if int64(first)+int64(len(list)) > math.MaxUint32 {
		return 0, fault("use "+location(m.ledger.store), mailhaul.Permanent, errors.New("a mailbox has had too many messages"), hintDelete)
	}
	if len(list) == 0 {
		return mailhaul.UID(first), nil
	}
	for _, a := range list {
		t.entries = append(t.entries, uidlEntry{a.UIDL, max(a.Size, 0)})
	}
	m.staged()
	return mailhaul.UID(first), nil
}

// UIDLMap returns which message of the target has which UIDL of the source, for
// those that are there. Its mailbox and its UIDVALIDITY are the target's.
func (m *MailboxLedger) UIDLMap(ctx context.Context) (uidmap.UIDLMap, error) {
	assigned, err := m.UIDLs(ctx)
	if err != nil {
		return uidmap.UIDLMap{}, err
	}
	st := m.State()
	out := uidmap.UIDLMap{Mailbox: st.Target, UIDValidity: st.TargetValidity}
	for rec, err := range m.Records(ctx, 1) {
		if err != nil {
			return uidmap.UIDLMap{}, err
		}
		if !rec.Placed() || rec.Target == 0 || int(rec.Source) > len(assigned) {
			continue
		}
		if uidl := assigned[rec.Source-1].UIDL; uidmap.ValidUIDL(uidl) {
			out.Entries = append(out.Entries, uidmap.UIDLEntry{UIDL: uidl, UID: rec.Target})
		}
	}
	return out, nil
}

// uidlTable returns the table, which it reads the first time. mu is held.
func (m *MailboxLedger) uidlTable(ctx context.Context) (*uidlTable, error) {
	if m.uidls != nil {
		return m.uidls, nil
	}
	t := &uidlTable{}
	key := uidlKey(m.key)
	var h uidlHead
	for kv, err := range m.ledger.store.Scan(ctx, key, nil) {
		if err != nil {
			return nil, err
		}
		body, sum, err := unseal(kv.Key, kv.Value)
		if err == nil && len(kv.Key) == mailboxKeySize {
			h, err = decodeUIDLHead(body)
		} else if err == nil {
			t.entries, err = decodeUIDLs(t.entries, kv.Key, body)
			t.sums = append(t.sums, sum)
		}
		if err != nil {
			return nil, m.damaged("its unique-ids", err)
		}
	}
	if err := h.proves(len(t.entries), t.sums); err != nil {
		return nil, m.damaged("its unique-ids", err)
	}
	// What else is recorded speaks of UIDs that were assigned.
	if n := len(t.entries); uint64(m.state.SourceStatus.UIDNext) > uint64(n)+1 {
		return nil, m.damaged("its unique-ids", fmt.Errorf("there are %d, and the UIDNEXT was %d", n, m.state.SourceStatus.UIDNext))
	}
	t.committed = len(t.entries)
	m.uidls = t
	return t, nil
}

// uidlOps returns the operations for what is staged of the table, and how many
// entries and which sums are durable with them. mu is held.
func (m *MailboxLedger) uidlOps() (ops []Op, entries int, sums []uint32) {
	t := m.uidls
	if t == nil || t.committed == len(t.entries) {
		return nil, 0, nil
	}
	key := uidlKey(m.key)
	sums = append(sums, t.sums[:t.committed/uidlBlock]...)
	for start := len(sums) * uidlBlock; start < len(t.entries); start += uidlBlock {
		op := Op{Key: chunkKey(key, uint32(start/uidlBlock))}
		var sum uint32
		op.Value, sum = seal(op.Key, encodeUIDLs(t.entries[start:min(start+uidlBlock, len(t.entries))]))
		sums = append(sums, sum)
		ops = append(ops, op)
	}
	head := uidlHead{entries: uint32(len(t.entries)), sum: sumOf(sums)}
	value, _ := seal(key, head.encode())
	return append(ops, Op{key, value}), len(t.entries), sums
}

// uidlHead proves that no block is lost, or older than it should be.
type uidlHead struct{ entries, sum uint32 }

func (h uidlHead) encode() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(h.entries)), uint64(h.sum))
}

func decodeUIDLHead(body []byte) (uidlHead, error) {
	in := decoder{b: body}
	h := uidlHead{uint32(in.uvarint(math.MaxUint32)), uint32(in.uvarint(math.MaxUint32))}
	if in.err == nil && len(in.b) > 0 {
		in.err = errors.New("the head of the unique-ids is longer than it should be")
	}
	return h, in.err
}

func (h uidlHead) proves(entries int, sums []uint32) error {
	if int(h.entries) != entries || h.sum != sumOf(sums) {
		return fmt.Errorf("there are %d unique-ids with sum %08x, and should be %d with %08x", entries, sumOf(sums), h.entries, h.sum)
	}
	return nil
}

func sumOf(sums []uint32) (total uint32) {
	for _, s := range sums {
		total += s
	}
	return total
}

func encodeUIDLs(entries []uidlEntry) []byte {
	b := make([]byte, 0, 32*len(entries))
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(e.size))
		b = appendString(b, string(e.uidl))
	}
	return b
}

// decodeUIDLs appends the entries of a block, which must follow those that are
// there.
func decodeUIDLs(entries []uidlEntry, key, body []byte) ([]uidlEntry, error) {
	if len(key) != chunkKeySize || int(chunkIndex(key))*uidlBlock != len(entries) {
		return entries, errors.New("a block of unique-ids is out of place")
	}
	in := decoder{b: body}
	n := 0
	for ; in.err == nil && len(in.b) > 0; n++ {
		size := in.uvarint(math.MaxInt64)
		entries = append(entries, uidlEntry{mailhaul.UIDL(in.string()), int64(size)})
	}
	if in.err == nil && (n == 0 || n > uidlBlock) {
		in.err = fmt.Errorf("a block of %d unique-ids", n)
	}
	return entries, in.err
}

// uidlEntry checks one value of a table: each table's head comes before its
// blocks.
func (c *checker) uidlEntry(key, body []byte, sum uint32) (err error) {
	if len(key) == mailboxKeySize {
		c.endUIDLs()
		c.uidls = &uidlCheck{key: append([]byte{}, key...)}
		if !c.accounts[binary.BigEndian.Uint64(key[1:])] {
			return errors.New("unique-ids of no account")
		}
		c.uidls.head, err = decodeUIDLHead(body)
		return err
	}
	if c.uidls == nil || string(c.uidls.key) != string(key[:mailboxKeySize]) {
		return errors.New("unique-ids without a head")
	}
	c.uidls.sums = append(c.uidls.sums, sum)
	c.uidls.entries, err = decodeUIDLs(c.uidls.entries, key, body)
	return err
}

// uidlCheck is the table that is being checked.
type uidlCheck struct {
	key     []byte
	head    uidlHead
	entries []uidlEntry
	sums    []uint32
}

// endUIDLs compares what was found of a table with what its head says.
func (c *checker) endUIDLs() {
	if c.uidls == nil {
		return
	}
	if err := c.uidls.head.proves(len(c.uidls.entries), c.uidls.sums); err != nil {
		c.found(err)
	}
	c.uidls = nil
}
