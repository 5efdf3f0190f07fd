// Check proves that a checkpoint is whole.

package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
)

// maxFindings is how many findings Check returns at most.
const maxFindings = 20

// Check proves that all that a Store holds is sound: that each value has the
// checksum and the structure that it should have, and each record the key; that
// no chunk of records is missing or an old one; that ids stand for one account
// and one mailbox each; that no two source messages of a mailbox are mapped to
// the same target UID; and, where the Store has a method Check(context.Context)
// error, what that proves. It returns everything that it finds, joined. Tests
// call it at their end. An empty Store is sound.
func Check(ctx context.Context, s Store) error {
	for inner := s; inner != nil; {
		if c, ok := inner.(interface{ Check(context.Context) error }); ok {
			if err := c.Check(ctx); err != nil {
				return err
			}
			break
		}
		u, ok := inner.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		inner = u.Unwrap()
	}
	if _, err := readFormat(ctx, s); err != nil {
		return err
	}
	c := checker{accounts: make(map[uint64]bool)}
	for kv, err := range s.Scan(ctx, nil, nil) {
		if err != nil {
			return err
		}
		if err := c.entry(kv); err != nil {
			c.found(fmt.Errorf("key %x: %w", kv.Key, err))
		}
	}
	c.endMailbox()
	c.endUIDLs()
	if !c.format && c.entries > 0 {
		c.found(errors.New("nothing says which format it has"))
	}
	if len(c.findings) > 0 {
		return damaged(s, "it was checked", errors.Join(c.findings...))
	}
	return nil
}

// checker goes through the entries in the order of their keys: accounts, the
// format, then mailboxes, each head before its chunks.
type checker struct {
	findings []error
	entries  int
	format   bool
	accounts map[uint64]bool

	account uint64            // of the mailbox at hand
	names   map[string]uint32 // the account's mailboxes

	mailbox []byte // key of the mailbox at hand
	head    head
	dict    *dictionary
	totals  totals
	records uint32
	targets map[mailhaul.UID]mailhaul.UID // target to source

	uidls *uidlCheck // the table at hand
}

func (c *checker) found(err error) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, err)
	}
}

func (c *checker) entry(kv KeyValue) error {
	c.entries++
	body, sum, err := unseal(kv.Key, kv.Value)
	switch {
	case string(kv.Key) == string(formatKey):
		c.format = true
		return err // readFormat has read it
	case err != nil && (len(kv.Key) != mailboxKeySize || kv.Key[0] != kindMailbox):
		return err
	case len(kv.Key) == accountKeySize && kv.Key[0] == kindAccount:
		return c.accountEntry(binary.BigEndian.Uint64(kv.Key[1:]), body)
	case kv.Key[0] == kindNote:
		return nil
	case len(kv.Key) == mailboxKeySize && kv.Key[0] == kindMailbox:
		c.endMailbox()
		c.beginMailbox(kv.Key)
		if err != nil {
			return err
		}
		return c.headEntry(kv.Key, body)
	case len(kv.Key) == chunkKeySize && kv.Key[0] == kindMailbox:
		return c.chunkEntry(kv.Key, body, sum)
	case (len(kv.Key) == mailboxKeySize || len(kv.Key) == chunkKeySize) && kv.Key[0] == kindUIDLs:
		return c.uidlEntry(kv.Key, body, sum)
	}
	return errors.New("nothing has such a key")
}

func (c *checker) accountEntry(id uint64, body []byte) error {
	in := decoder{b: body}
	for range 2 {
		for range 4 { // protocol, host, port, user
			in.bytes()
		}
	}
	switch {
	case in.err != nil:
		return in.err
	case len(in.b) > 0:
		return errors.New("an account is longer than it should be")
	case hashID(body) != id:
		return errors.New("an account has the number of another")
	}
	c.accounts[id] = true
	return nil
}

func (c *checker) beginMailbox(key []byte) {
	account := binary.BigEndian.Uint64(key[1:])
	if c.names == nil || account != c.account {
		c.account, c.names = account, make(map[string]uint32)
	}
	c.mailbox = append([]byte{}, key[:mailboxKeySize]...)
	c.head, c.totals, c.records = head{shape: freshShape}, totals{}, 0
	c.dict = newDictionary(nil)
	c.targets = make(map[mailhaul.UID]mailhaul.UID)
}

// endMailbox compares what was found of the mailbox with what its head says.
func (c *checker) endMailbox() {
	if c.mailbox != nil && (c.totals != c.head.chunks || c.records != c.head.shape.records) {
		c.found(fmt.Errorf("mailbox %q has %d records in %d chunks with sum %08x, and should have %d in %d with sum %08x",
			c.head.wire, c.records, c.totals.chunks, c.totals.sum, c.head.shape.records, c.head.chunks.chunks, c.head.chunks.sum))
	}
	c.mailbox = nil
}

func (c *checker) headEntry(key, body []byte) error {
	if !c.accounts[c.account] {
		return errors.New("a mailbox of no account")
	}
	h, err := decodeHead(body)
	if err != nil {
		return err
	}
	id := binary.BigEndian.Uint32(key[accountKeySize:])
	if other, twice := c.names[h.wire]; twice {
		c.found(fmt.Errorf("mailbox %q has two numbers, %d and %d", h.wire, other, id))
	}
	c.names[h.wire] = id
	c.head, c.dict = h, newDictionary(h.keywords)
	return nil
}

func (c *checker) chunkEntry(key, body []byte, sum uint32) error {
	if string(c.mailbox) != string(key[:mailboxKeySize]) {
		c.endMailbox()
		c.beginMailbox(key)
		c.found(fmt.Errorf("key %x: records of a mailbox that is not there", key))
	}
	c.totals = c.totals.add(sum)
	records, err := decodeChunk(chunkIndex(key), c.head.shape.bits, c.head.shape.origins, body, c.dict)
	if err != nil {
		return err
	}
	c.records += uint32(len(records))
	for _, r := range records {
		if !r.Placed() || r.Target == 0 {
			continue
		}
		if other, twice := c.targets[r.Target]; twice {
			c.found(fmt.Errorf("mailbox %q maps the source UIDs %d and %d to the target UID %d", c.head.wire, other, r.Source, r.Target))
		}
		c.targets[r.Target] = r.Source
	}
	return nil
}
