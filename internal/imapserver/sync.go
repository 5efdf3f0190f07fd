// Telling a client what happened to its mailbox, at command boundaries.

package imapserver

import (
	"strconv"

	"github.com/mailhaul/mailhaul"
)

// sync sends what the client does not know yet. Without expunge, messages that
// are gone keep their numbers for the time being.
func (s *Session) sync(expunge bool) {
	v := s.view
	b := v.box
	b.mu.Lock()
	var gone []uint32
	if expunge && len(v.gone) > 0 {
		gone, v.gone = v.gone, nil
		for i, uid := range gone {
			// Those before it have been announced by then.
			gone[i] = uint32(b.lower(uid) + 1)
		}
	}
	exists, recent := -1, 0
	if v.next < b.uidNext {
		grown := v.known() < len(b.messages)
		v.advanceLocked()
		if grown {
			exists, recent = v.count(), v.countRecent()
		}
	}
	changed := v.changed
	v.changed = nil
	b.mu.Unlock()

	for _, n := range gone {
		s.out.line("* ", strconv.FormatUint(uint64(n), 10), " EXPUNGE")
	}
	if exists >= 0 {
		s.out.line("* ", strconv.Itoa(exists), " EXISTS")
		s.out.line("* ", strconv.Itoa(recent), " RECENT")
	}
	if len(changed) > 0 {
		s.tellFlags(changed, s.condstore)
	}
}

// tellFlags sends FETCH responses with the flags of the messages in the set.
func (s *Session) tellFlags(set mailhaul.UIDSet, withUID bool) {
	items := []fetchItem{{kind: itemFlags}}
	if withUID {
		items = []fetchItem{{kind: itemUID}, {kind: itemFlags}}
	}
	if s.condstore {
		items = append(items, fetchItem{kind: itemModSeq})
	}
	s.view.each(set, func(m *numbered) bool {
		s.fetchLine(m, items)
		return s.out.broken == nil
	})
}

// countRecent returns how many messages are recent in this session. Locked.
func (v *view) countRecent() int {
	n := 0
	for _, r := range v.recent {
		n += v.box.lower(uint32(r.Last)+1) - v.box.lower(uint32(r.First))
	}
	return n
}

// orphaned reports whether the mailbox was deleted under the session.
func (v *view) orphaned() bool {
	v.box.mu.RLock()
	defer v.box.mu.RUnlock()
	return v.box.deleted
}
