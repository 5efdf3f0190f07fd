// What one session knows of the mailbox that it has selected.
//
// A client is told of arrivals and expunges at command boundaries only, so
// that its message numbers lag behind the mailbox. A view keeps no list of
// numbers: it keeps where the known messages end, and the few that are gone but
// still have a number.

package imapserver

import (
	"sort"

	"github.com/mailhaul/mailhaul"
)

// view is one session's sight of a mailbox. The fields are protected by the
// mailbox's lock; the methods that say so are called with it held.
type view struct {
	box      *Mailbox
	readOnly bool
	news     chan struct{} // has room for one

	next    uint32          // UIDs below are known to the client
	gone    []uint32        // known, expunged, not told yet; ascending
	changed mailhaul.UIDSet // flags changed by others, not told yet
	recent  mailhaul.UIDSet

	batch []numbered // scratch of each, the session's own
}

type numbered struct {
	seq    uint32
	recent bool
	message
}

// open returns a new view, which the mailbox keeps up to date until close.
func (b *Mailbox) open(readOnly bool) (*view, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleted {
		return nil, false
	}
	v := &view{box: b, readOnly: readOnly, news: make(chan struct{}, 1)}
	v.advanceLocked()
	b.views[v] = struct{}{}
	return v, true
}

func (v *view) close() {
	v.box.mu.Lock()
	defer v.box.mu.Unlock()
	delete(v.box.views, v)
}

// advanceLocked makes all messages known.
func (v *view) advanceLocked() {
	b := v.box
	if from := max(b.recentFrom, 1); from < b.uidNext {
		v.recent.AddRange(mailhaul.UIDRange{First: mailhaul.UID(from), Last: mailhaul.UID(b.uidNext - 1)})
		if !v.readOnly {
			b.recentFrom = b.uidNext
		}
	}
	v.next = b.uidNext
}

// lose notes expunged messages, given in ascending order. Locked.
func (v *view) lose(uids []uint32) {
	known := sort.Search(len(uids), func(i int) bool { return uids[i] >= v.next })
	uids = uids[:known]
	switch n := len(v.gone); {
	case len(uids) == 0:
	case n == 0 || v.gone[n-1] < uids[0]:
		v.gone = append(v.gone, uids...)
	default:
		v.gone = append(v.gone, uids...)
		sort.Slice(v.gone, func(i, j int) bool { return v.gone[i] < v.gone[j] })
	}
}

// goneBelow returns how many of the gone have a UID below uid. Locked.
func (v *view) goneBelow(uid uint32) int {
	if len(v.gone) == 0 {
		return 0
	}
	return sort.Search(len(v.gone), func(i int) bool { return v.gone[i] >= uid })
}

// known returns how many of the mailbox's messages the client knows. Locked.
func (v *view) known() int {
	b := v.box
	if n := len(b.messages); n == 0 || b.messages[n-1].uid < v.next {
		return n
	}
	return b.lower(v.next)
}

// count returns the number of messages as the client counts. Locked.
func (v *view) count() int { return v.known() + len(v.gone) }

// number returns the message number of the message at index i. Locked.
func (v *view) number(i int) int {
	return i + 1 + v.goneBelow(v.box.messages[i].uid)
}

// resolve turns a set of a command into UIDs of messages that the client
// knows. It reports whether message numbers exist.
func (v *view) resolve(set numSet, uid bool) (mailhaul.UIDSet, bool) {
	b := v.box
	b.mu.RLock()
	defer b.mu.RUnlock()
	known := v.known()
	var out mailhaul.UIDSet
	if uid {
		if known == 0 {
			return nil, true
		}
		last := b.messages[known-1].uid
		for _, r := range set {
			lo, hi := r.bounds(last)
			out.AddRange(mailhaul.UIDRange{First: mailhaul.UID(lo), Last: mailhaul.UID(min(hi, v.next-1))})
		}
		return out, true
	}
	count := uint32(known + len(v.gone))
	for _, r := range set {
		lo, hi := r.bounds(count)
		if count == 0 && r.star() {
			continue
		}
		if hi > count || lo == 0 {
			return nil, false
		}
		i := sort.Search(known, func(i int) bool { return v.number(i) >= int(lo) })
		j := sort.Search(known, func(j int) bool { return v.number(j) > int(hi) })
		if i < j {
			out.AddRange(mailhaul.UIDRange{First: mailhaul.UID(b.messages[i].uid), Last: mailhaul.UID(b.messages[j-1].uid)})
		}
	}
	return out, true
}

// batchSize is how many messages each copies while it holds the lock.
const batchSize = 256

// each calls f for the messages of the set that are still there, in ascending
// order, without holding the lock. It stops when f returns false.
func (v *view) each(set mailhaul.UIDSet, f func(m *numbered) bool) {
	b := v.box
	for r, from := 0, uint64(0); r < len(set); {
		v.batch = v.batch[:0]
		b.mu.RLock()
		known := v.known()
		for ; r < len(set) && len(v.batch) < batchSize; r++ {
			from = max(from, uint64(set[r].First))
			i := known
			if from <= uint64(set[r].Last) {
				i = b.lower(uint32(from))
			}
			if len(v.gone) == 0 && len(v.recent) == 0 {
				for ; i < known && b.messages[i].uid <= uint32(set[r].Last) && len(v.batch) < batchSize; i++ {
					v.batch = append(v.batch, numbered{seq: uint32(i + 1), message: b.messages[i]})
				}
			} else {
				for ; i < known && b.messages[i].uid <= uint32(set[r].Last) && len(v.batch) < batchSize; i++ {
					m := numbered{seq: uint32(v.number(i)), message: b.messages[i]}
					m.recent = v.recent.Contains(mailhaul.UID(m.uid))
					v.batch = append(v.batch, m)
				}
			}
			if i < known && b.messages[i].uid <= uint32(set[r].Last) {
				break // the batch is full before the range ends
			}
		}
		b.mu.RUnlock()
		if n := len(v.batch); n > 0 {
			from = uint64(v.batch[n-1].uid) + 1
		}
		for i := range v.batch {
			if !f(&v.batch[i]) {
				return
			}
		}
	}
}
