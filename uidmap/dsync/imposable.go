package dsync

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/mailhaul/mailhaul"
)

// Imposable implements [mailhaul.Imposer]. It logs in, begins an exchange and
// breaks it off before anything is written.
func (t *Target) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	can := mailhaul.Imposable{Level: mailhaul.LevelExact, AnswersLate: true}
	limit := func(l mailhaul.Level, format string, args ...any) (mailhaul.Imposable, error) {
		can.Level, can.Reason = l, fmt.Sprintf(format, args...)
		return can, nil
	}
	if m.Name != "" && !utf8.ValidString(m.Name) {
		return limit(mailhaul.LevelOrder, "dsync cannot name the mailbox %q, whose name is not UTF-8", m.Name)
	}
	exists := m.Wire != ""
	var st mailhaul.Status
	if exists {
		if err := t.unselect(ctx, m); err != nil {
			return can, err
		}
		var err error
		if st, _, err = t.look(ctx, m); err != nil {
			return can, err
		}
	}
	dbox, err := t.inspect(ctx, m, st, exists, want.UIDLs)
	if err != nil {
		if errors.Is(err, errNotInTree) {
			return limit(mailhaul.LevelOrder, "dsync does not list the mailbox %q", m.Name)
		}
		return can, err
	}
	can.OneSession = want.UIDLs && dbox

	first := mailhaul.UID(0)
	if len(want.Messages) > 0 {
		first = want.Messages[0].UID
	}
	fits := first == 0 || first >= st.UIDNext
	valid := want.UIDValidity == 0 || want.UIDValidity == st.UIDValidity
	switch {
	case !exists:
	case !fits:
		return limit(mailhaul.LevelOrder, "the mailbox has given out UIDs up to %d already, of which the source still needs some from %d on", st.UIDNext-1, first)
	case st.Messages > 0 && !valid:
		return limit(mailhaul.LevelUID, "the mailbox has mail already under the UIDVALIDITY %d, which only an empty mailbox can change to %d", st.UIDValidity, want.UIDValidity)
	case st.Messages > 0 && can.OneSession && len(want.Messages) > 0:
		return limit(mailhaul.LevelUID, "the mailbox has mail already, and a Dovecot that keeps it as sdbox serves only the UIDLs that came with the first")
	}
	return can, nil
}

// inspect makes sure that an exchange can be begun, and reports whether the
// mailbox's UIDLs have to come in one session, where that matters.
func (t *Target) inspect(ctx context.Context, m mailhaul.Mailbox, st mailhaul.Status, exists, uidls bool) (sdbox bool, err error) {
	store := ""
	if uidls {
		if store, err = t.knownStore(ctx); err != nil {
			return false, t.named(m.Name, err)
		}
	}
	p, err := t.connect(ctx, m.Name)
	if err != nil {
		return false, err
	}
	defer p.leave()
	sdbox = store == storeSdbox
	err = p.while(ctx, func() error {
		tree, err := t.readOnly(p, m)
		if err != nil || !exists {
			sdbox = sdbox || store == ""
			return err
		}
		node := tree.find(m.Name)
		if node == nil {
			return p.fault(mailhaul.Conflict, mailhaul.ScopeMailbox, "", errNotInTree)
		}
		t.setGUID(m.Name, node["mailbox_guid"])
		if !uidls || store != "" {
			return nil
		}
		// The server says in B which GUIDs it keeps. Ours holds nothing that
		// it does not have, and no list of messages follows.
		p.sendTree(tree)
		p.send(itemMailbox, record{
			"mailbox_guid": node["mailbox_guid"], "uid_validity": u32(st.UIDValidity), "uid_next": "1", "messages_count": "0",
			"first_recent_uid": "1", "highest_modseq": "0", "highest_pvt_modseq": "0", "have_guids": "", "have_save_guids": "",
		})
		if err := p.flush(); err != nil {
			return err
		}
		box, err := p.readMailbox()
		sdbox = box.onlyGUID128
		return err
	})
	return sdbox, err
}
