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
	if err := t.inspect(ctx, m, exists); err != nil {
		if errors.Is(err, errNotInTree) {
			return limit(mailhaul.LevelOrder, "dsync does not list the mailbox %q", m.Name)
		}
		return can, err
	}
	if want.UIDLs {
		once, err := t.uidlsOnce(ctx)
		if err != nil {
			return can, t.named(m.Name, err)
		}
		can.OneSession = once
	}

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
		return limit(mailhaul.LevelUID, "the mailbox has mail already, and Dovecot, if it keeps it as sdbox, serves only the UIDLs that came with the first; where it keeps it otherwise, say so (Config.Store)")
	}
	return can, nil
}

// inspect makes sure that an exchange about the mailbox can be begun.
func (t *Target) inspect(ctx context.Context, m mailhaul.Mailbox, exists bool) error {
	if exists {
		_, err := t.probe(ctx, m)
		return err
	}
	p, err := t.connect(ctx, m.Name)
	if err != nil {
		return err
	}
	defer p.leave()
	return p.while(ctx, func() error {
		_, err := t.readOnly(p, m)
		return err
	})
}
