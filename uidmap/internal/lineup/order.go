package lineup

import "github.com/mailhaul/mailhaul"

// OrderIsThatOfUIDs reports whether messages, ascending by UID, that have UIDLs
// are in the order of their UIDs in the maildrop too, which is that in which a
// POP3 server shows them that was told of no other. If not, it returns the
// first that is not.
func OrderIsThatOfUIDs(messages []mailhaul.Message) (mailhaul.UID, bool) {
	last := uint32(0)
	for _, m := range messages {
		if m.UIDL == "" || m.Order == 0 {
			continue
		}
		if m.Order < last {
			return m.UID, false
		}
		last = m.Order
	}
	return 0, true
}
