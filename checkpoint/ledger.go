// A Ledger gives the octets of a Store their meaning, for one pair of accounts.

package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// Pair names a migration: whose mail comes from where, and goes where. It is
// the key under which a Store that holds many accounts keeps this one.
type Pair struct{ From, To mailhaul.Account }

// encode returns the pair's parts, each with its length, so that no two pairs
// look the same whatever octets their names have.
func (p Pair) encode() []byte {
	var b []byte
	for _, a := range [...]mailhaul.Account{p.From, p.To} {
		b = appendString(b, string(a.Protocol))
		b = appendString(b, a.Host)
		b = appendString(b, strconv.Itoa(a.Port))
		b = appendString(b, a.User)
	}
	return b
}

// id returns the number that stands for the pair in keys. It is a hash, so
// that Ledgers of a Store need no counter that they would have to agree on.
func (p Pair) id() uint64 { return hashID(p.encode()) }

func hashID(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// Ledger is what is remembered of one pair of accounts. It is safe for
// concurrent use. It writes nothing before the first Commit of a
// MailboxLedger.
//
// A Store may have many Ledgers at a time, but only one of a pair. There is
// nothing to close.
type Ledger struct {
	store   Store
	pair    Pair
	account uint64

	mu      sync.Mutex // protects what follows
	ids     map[string]uint32
	lastID  uint32
	open    map[string]*MailboxLedger
	waiting []*MailboxLedger // that have deferred something
	unnamed bool             // the format and account keys are not known to be in the store
	older   bool             // the store says that it has an earlier format
}

// OpenLedger returns the Ledger of a pair, an empty one where the Store knows
// nothing of it. The context is not kept.
func OpenLedger(ctx context.Context, s Store, p Pair) (*Ledger, error) {
	l := &Ledger{
		store:   s,
		pair:    p,
		account: p.id(),
		ids:     make(map[string]uint32),
		open:    make(map[string]*MailboxLedger),
	}
	if err := l.checkFormat(ctx); err != nil {
		return nil, err
	}
	switch value, err := s.Get(ctx, accountKey(l.account)); {
	case errors.Is(err, ErrNotFound):
		l.unnamed = true
	case err != nil:
		return nil, err
	default:
		body, _, err := unseal(accountKey(l.account), value)
		if err == nil && string(body) != string(p.encode()) {
			err = errors.New("it has the number of another")
		}
		if err != nil {
			return nil, damaged(s, "the account "+p.From.String(), err)
		}
	}
	if err := l.readNames(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// checkFormat returns an error where the Store holds what this package cannot
// read.
func (l *Ledger) checkFormat(ctx context.Context) error {
	version, err := readFormat(ctx, l.store)
	if err != nil || version > 0 {
		l.older = version < formatVersion
		return err
	}
	for _, err := range l.store.Scan(ctx, nil, nil) {
		if err != nil {
			return err
		}
		// Unless another Ledger's first Commit came between.
		if version, err = readFormat(ctx, l.store); err != nil || version > 0 {
			return err
		}
		return fault("open "+location(l.store), mailhaul.Corrupt,
			fmt.Errorf("it is %w: nothing in it says how to read the rest", ErrNotCheckpoint), hintOther)
	}
	return nil
}

// readNames fills ids. Between the heads lie the chunks, so each head is
// looked up by a Scan of its own.
func (l *Ledger) readNames(ctx context.Context) error {
	prefix := mailboxesPrefix(l.account)
	for from := uint64(0); from <= math.MaxUint32; {
		next := uint64(math.MaxUint32 + 1)
		for kv, err := range l.store.Scan(ctx, prefix, mailboxKey(l.account, uint32(from))) {
			if err != nil {
				return err
			}
			h, err := readHead(kv.Key, kv.Value)
			if err != nil {
				return damaged(l.store, "the state of a mailbox", err)
			}
			id := binary.BigEndian.Uint32(kv.Key[accountKeySize:])
			if _, twice := l.ids[h.wire]; twice {
				return damaged(l.store, "the state of a mailbox", fmt.Errorf("%q is there twice", h.wire))
			}
			l.ids[h.wire] = id
			l.lastID = id
			next = uint64(id) + 1
			break
		}
		from = next
	}
	return nil
}

// readHead decodes what should be the head of a mailbox.
func readHead(key, value []byte) (head, error) {
	if len(key) != mailboxKeySize {
		return head{}, errors.New("it is missing")
	}
	body, _, err := unseal(key, value)
	if err != nil {
		return head{}, err
	}
	return decodeHead(body)
}

// Mailbox returns what is remembered of the source mailbox with that Wire
// name, the same MailboxLedger for the same name. One that is not known yet is
// made; it is in the Store from its first Commit on.
func (l *Ledger) Mailbox(ctx context.Context, wire string) (*MailboxLedger, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.open[wire]; ok {
		return m, nil
	}
	m := newMailboxLedger(l, wire)
	id, known := l.ids[wire]
	if known {
		m.key = mailboxKey(l.account, id)
		value, err := l.store.Get(ctx, m.key)
		if err != nil {
			return nil, err
		}
		h, err := readHead(m.key, value)
		if err == nil && h.wire != wire {
			err = fmt.Errorf("it belongs to %q", h.wire)
		}
		if err != nil {
			return nil, m.damaged("its state", err)
		}
		m.load(h)
	} else {
		if l.lastID == math.MaxUint32 {
			return nil, fault("use "+location(l.store), mailhaul.Permanent, errors.New("it holds too many mailboxes"), hintDelete)
		}
		l.lastID++
		l.ids[wire] = l.lastID
		m.key = mailboxKey(l.account, l.lastID)
	}
	l.open[wire] = m
	return m, nil
}

// Mailboxes returns the Wire names of the source mailboxes that are known,
// sorted: those in the Store, and those that Mailbox was asked for.
func (l *Ledger) Mailboxes(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, 0, len(l.ids))
	for name := range l.ids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Rename makes what is remembered of one source mailbox that of another: its
// name has changed. It is durable when Rename returns nil. Nothing may be known
// of the new name; MailboxLedgers of the old one are not to be used any more.
func (l *Ledger) Rename(ctx context.Context, from, to string) error {
	m, err := l.Mailbox(ctx, from)
	if err != nil || from == to {
		return err
	}
	if err := m.Commit(ctx); err != nil { // the old name's
		return err
	}
	l.mu.Lock()
	if _, taken := l.ids[to]; taken {
		l.mu.Unlock()
		return fmt.Errorf("rename mailbox %q to %q: there is one of that name", from, to)
	}
	l.ids[to] = l.ids[from]
	l.open[to] = m
	delete(l.ids, from)
	delete(l.open, from)
	l.mu.Unlock()
	m.mu.Lock()
	m.wire = to
	m.staged()
	m.mu.Unlock()
	if err := m.Commit(ctx); err != nil {
		m.mu.Lock()
		m.wire = from
		m.mu.Unlock()
		l.mu.Lock()
		l.ids[from] = l.ids[to]
		l.open[from] = m
		delete(l.ids, to)
		delete(l.open, to)
		l.mu.Unlock()
		return err
	}
	return nil
}

// nameOps returns the operations that make the account known, none where it
// is.
func (l *Ledger) nameOps() []Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.unnamed {
		if l.older {
			return []Op{formatOp()}
		}
		return nil
	}
	key := accountKey(l.account)
	value, _ := seal(key, l.pair.encode())
	return []Op{formatOp(), {key, value}}
}

// named is called when the account is known to be in the Store.
func (l *Ledger) named() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unnamed, l.older = false, false
}
