package cyrus

// What the server lets itself be told, asked for without writing anything.

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
	"github.com/mailhaul/mailhaul/uidmap/internal/lineup"
)

// Imposable implements [mailhaul.Imposer]. Exact is everything but: UIDLs that
// the server's uidl_format does not make of the UID and the UIDVALIDITY; a
// UIDVALIDITY below that of a mailbox which has, or ever had, mail; and messages
// whose UIDs are not above those that the mailbox has given.
func (t *Target) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	sess, err := t.session(ctx)
	switch {
	case errors.Is(err, errNotAdmin):
		return mailhaul.Imposable{
			Level:  mailhaul.LevelOrder,
			Reason: "the administrator's log-in may not replicate: it has to be one that Cyrus (3.0 or later) lists in admins",
		}, nil
	case err != nil:
		return mailhaul.Imposable{}, t.named("ask what can be imposed on", m, err)
	}
	defer sess.Close()
	if m.Wire == "" {
		return t.judge(&state{options: newPOP3UIDLs}, want), nil
	}
	s, err := t.locate(ctx, sess, m)
	if err != nil {
		return mailhaul.Imposable{}, t.named("ask what can be imposed on", m, err)
	}
	return t.judge(s, want), nil
}

// locate is find for a mailbox that need not be opened where the listing has
// told enough of it.
func (t *Target) locate(ctx context.Context, sess Session, m mailhaul.Mailbox) (*state, error) {
	if m.Status != nil && m.Status.UIDValidity != 0 {
		if s, err := t.find(ctx, sess, m, m.Status); err == nil {
			return s, nil
		}
	}
	status, err := t.look(ctx, m)
	if err != nil {
		return nil, err
	}
	return t.find(ctx, sess, m, &status)
}

// judge says how much of want can be imposed on a mailbox. It is pure.
func (t *Target) judge(s *state, want mailhaul.Identity) mailhaul.Imposable {
	for _, m := range want.Messages {
		if m.UID != 0 && m.UID <= s.lastUID {
			return mailhaul.Imposable{Level: mailhaul.LevelOrder, Reason: fmt.Sprintf(
				"the mailbox has given the UIDs up to %d to mail of its own, so that UID %d of the source cannot be kept", s.lastUID, m.UID)}
		}
	}
	validity := s.validityFor(want.UIDValidity)
	if want.UIDValidity != 0 && validity != want.UIDValidity {
		return mailhaul.Imposable{Level: mailhaul.LevelUID, Reason: fmt.Sprintf(
			"the mailbox has had mail under the UIDVALIDITY %d, which Cyrus does not let be lowered to %d", s.validity, want.UIDValidity)}
	}
	formula := t.formula
	if !strings.Contains(s.options, newPOP3UIDLs) {
		formula, _ = uidmap.FormulaNamed(formulas["uidonly"])
	}
	if want.UIDLs {
		for _, m := range want.Messages {
			if m.UIDL == "" || m.UIDL[0] == ' ' {
				continue // the source has none
			}
			if made, ok := formula.UIDL(uidmap.IMAPMessage{UID: m.UID}, validity); !ok || made != m.UIDL {
				return mailhaul.Imposable{Level: mailhaul.LevelUID, Reason: fmt.Sprintf(
					"Cyrus makes UIDLs by its uidl_format alone (%v): UID %d would have %q and not %q", formula, m.UID, made, m.UIDL)}
			}
		}
		if uid, ok := lineup.OrderIsThatOfUIDs(want.Messages); !ok {
			return mailhaul.Imposable{Level: mailhaul.LevelUID, Reason: fmt.Sprintf(
				"Cyrus's POP3 shows messages in the order of their UIDs, in which that of UID %d is not on the source", uid)}
		}
	}
	return mailhaul.Imposable{Level: mailhaul.LevelExact}
}

// validityFor returns the UIDVALIDITY that the mailbox can have where want is
// asked for.
func (s *state) validityFor(want mailhaul.UIDValidity) mailhaul.UIDValidity {
	if want == 0 || want < s.validity && s.lastUID > 0 {
		return s.validity
	}
	return want
}
