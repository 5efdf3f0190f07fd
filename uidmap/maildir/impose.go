// Identity: what can be imposed, and the Writer that does it.

package maildir

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// Imposable implements [mailhaul.Imposer].
func (t *Target) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	level := func(l mailhaul.Level, format string, args ...any) (mailhaul.Imposable, error) {
		return mailhaul.Imposable{Level: l, Reason: fmt.Sprintf(format, args...)}, nil
	}
	dir := m.Wire
	if dir == "" {
		var err error
		if dir, err = t.dirOf(m.Path); err != nil {
			return level(mailhaul.LevelNone, "there can be no such mailbox: %v", err)
		}
	}
	// An empty mailbox, or one that is still to be made.
	empty, next, validity := true, mailhaul.UID(1), want.UIDValidity
	if t.disk.exists(folder{t, dir, ""}.file("cur")) {
		m.Wire = dir
		f, err := t.folder(ctx, "open", m)
		if err != nil {
			return mailhaul.Imposable{}, err
		}
		v, err := f.look()
		if err != nil {
			return mailhaul.Imposable{}, f.wrap("open", err)
		}
		empty = len(v.messages)+len(v.unlisted) == 0
		if v.list != nil && (!empty || want.UIDValidity == 0 || v.list.validity == want.UIDValidity) {
			next, validity = v.list.next, v.list.validity
		}
		if v.list == nil && !empty {
			validity = 0
		}
	}
	if want.UIDValidity != 0 && validity != want.UIDValidity {
		return level(mailhaul.LevelOrder, "the mailbox holds mail under the UIDVALIDITY %d, which is not changed to %d behind the back of those who know it", validity, want.UIDValidity)
	}
	if want.UIDValidity != 0 && len(want.Messages) > 0 && want.Messages[0].UID != 0 && want.Messages[0].UID < next {
		return level(mailhaul.LevelOrder, "the mailbox has given out UIDs up to %d already, so that UID %d can no longer be had", next-1, want.Messages[0].UID)
	}
	if want.UIDLs {
		if reason := t.cannotName(dir, want.Messages); reason != "" {
			return level(mailhaul.LevelUID, "%s", reason)
		}
	}
	return mailhaul.Imposable{Level: mailhaul.LevelExact}, nil
}

// cannotName returns why the UIDLs cannot be had.
func (t *Target) cannotName(dir string, messages []mailhaul.Message) string {
	names := make(map[mailhaul.UIDL]bool)
	served := slices.Clone(messages) // in the order of POP3
	slices.SortStableFunc(served, func(a, b mailhaul.Message) int { return cmp.Compare(a.Order, b.Order) })
	last, numbered := mailhaul.UIDL(""), false
	for _, m := range served {
		switch {
		case m.UIDL == "":
			continue
		case !validUIDL(m.UIDL):
			return fmt.Sprintf("%q is no unique-id of POP3", string(m.UIDL))
		case t.flavor == Dovecot:
			continue
		case dir != ".":
			return "Courier's POP3 serves INBOX only"
		}
		n, _, reason := courierUIDL(m.UIDL)
		if reason != "" {
			return reason
		}
		if n == 0 && names[m.UIDL] {
			return fmt.Sprintf("Courier takes unique-ids from file names, and %q is there twice", string(m.UIDL))
		}
		names[m.UIDL] = true
		if n != 0 {
			numbered = true
			continue
		}
		if numbered || last != "" && compareNames(string(m.UIDL), string(last)) < 0 {
			return fmt.Sprintf("Courier's POP3 lists messages by their file names, which such unique-ids are: %q would come in another place than on the source", string(m.UIDL))
		}
		last = m.UIDL
	}
	if numbered && last != "" {
		return "Courier's POP3 lists messages by their file names, which some of the unique-ids are and others are not: they would come in another order than on the source"
	}
	return ""
}

// MailboxStatus says of the mailbox what a Reader says, and on Dovecot a
// HIGHESTMODSEQ that the server's is not lower than: 1 where there is no index
// yet. A Reader does not tell it: what changes files raises no mod-sequence
// until Dovecot sees it. Courier keeps none.
func (t *Target) MailboxStatus(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Status, error) {
	f, err := t.folder(ctx, "ask for the status of", m)
	if err != nil {
		return mailhaul.Status{}, err
	}
	v, err := f.sync(ctx)
	if err != nil {
		return mailhaul.Status{}, f.wrap("ask for the status of", err)
	}
	s := v.status()
	if t.flavor == Dovecot {
		s.HighestModSeq, _, err = f.logModSeqs()
		s.HighestModSeq = max(s.HighestModSeq, 1)
	}
	return s, f.wrap("ask for the status of", err)
}

// KeepsModSeqs reports whether the server has mod-sequences (RFC 7162) at all.
func (t *Target) KeepsModSeqs() bool { return t.flavor == Dovecot }

// OpenImposing implements [mailhaul.Imposer]. An empty mailbox gets the
// UIDVALIDITY that it is to have; one with mail keeps its own, and the messages
// get what UIDs are left.
func (t *Target) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	f, err := t.folder(ctx, "open", m)
	if err != nil {
		return nil, err
	}
	return f.openWriter(ctx, &want)
}
