package filler

// How many UIDs may still be burnt: one number for all mailboxes, from which
// each takes what it was promised before others take what is free.

import (
	"strings"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// budget is safe for concurrent use.
type budget struct {
	mu       sync.Mutex // protects the fields below
	left     uint64     // what is not spent, promised or not
	promised map[string]uint64
	total    uint64 // of promised, never more than left
}

func newBudget(most int) *budget {
	return &budget{left: uint64(most), promised: make(map[string]uint64)}
}

// keyOf names a mailbox, also before it is made.
func keyOf(m mailhaul.Mailbox) string {
	if m.IsInbox() {
		return "INBOX"
	}
	return strings.Join(m.Path, "\x00")
}

// free is what nobody else was promised. b.mu is held.
func (b *budget) free(key string) uint64 { return b.left - (b.total - b.promised[key]) }

// set makes n of what a mailbox is promised. b.mu is held.
func (b *budget) set(key string, n uint64) {
	b.total += n - b.promised[key]
	if b.promised[key] = n; n == 0 {
		delete(b.promised, key)
	}
}

// available is how many may be burnt for a mailbox.
func (b *budget) available(key string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free(key)
}

// promise sets n aside for a mailbox, in place of what it was promised before;
// false where there are not as many, and then it is promised none.
func (b *budget) promise(key string, n uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.free(key) {
		b.set(key, 0)
		return false
	}
	b.set(key, n)
	return true
}

// spend takes n for a mailbox, first of what it was promised; false, and
// nothing taken, where there are not as many.
func (b *budget) spend(key string, n uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.free(key) {
		return false
	}
	b.left -= n
	b.set(key, b.promised[key]-min(n, b.promised[key]))
	return true
}

// giveBack undoes a spend of what was not burnt.
func (b *budget) giveBack(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}
