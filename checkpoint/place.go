// Where did this message go: looking it up, and exporting all of it.

package checkpoint

import (
	"context"
	"fmt"
	"io"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// Place is where a message of the source went. The names of mailboxes are those
// of the protocols (Wire).
type Place struct {
	Mailbox     string // of the source
	UIDValidity mailhaul.UIDValidity
	UID         mailhaul.UID
	UIDL        mailhaul.UIDL // of a POP3 source; empty where its server gave none

	// State says what became of it. Only where that is Mapped or Unread is it
	// on the target, under the UID there that TargetUID says.
	State             RecordState
	TargetMailbox     string
	TargetUIDValidity mailhaul.UIDValidity
	TargetUID         mailhaul.UID
}

// Where returns where the message with that UID went, and false where nothing
// is known of it. The mailbox is the source's; the UIDs of a POP3 source are
// those that were assigned to its messages.
func (l *Ledger) Where(ctx context.Context, mailbox string, uid mailhaul.UID) (Place, bool, error) {
	m, err := l.known(ctx, mailbox)
	if err != nil || m == nil {
		return Place{}, false, err
	}
	rec, ok, err := m.Get(ctx, uid)
	if err != nil || !ok {
		return Place{}, false, err
	}
	assigned, err := m.assigned(ctx)
	if err != nil {
		return Place{}, false, err
	}
	return m.place(rec, assigned), true, nil
}

// WhereUIDL returns where the messages with that UIDL went, which are several
// on a server that gave it twice. It is for POP3 sources.
func (l *Ledger) WhereUIDL(ctx context.Context, mailbox string, uidl mailhaul.UIDL) ([]Place, error) {
	m, err := l.known(ctx, mailbox)
	if err != nil || m == nil {
		return nil, err
	}
	assigned, err := m.assigned(ctx)
	if err != nil {
		return nil, err
	}
	var places []Place
	for _, a := range assigned {
		if a.UIDL != uidl || !uidmap.ValidUIDL(uidl) {
			continue
		}
		rec, ok, err := m.Get(ctx, a.UID)
		if err != nil {
			return nil, err
		}
		if ok {
			places = append(places, m.place(rec, assigned))
		}
	}
	return places, nil
}

// ExportMap writes where all messages of all mailboxes went that are on the
// target, in the form of uidmap.MapWriter. It reads records as it goes, and
// holds no more than a few thousand.
//
// The UIDLs are those of a POP3 source. For another, whose UIDLs only the
// caller knows, uidl returns them; it may be nil, and return the empty string.
func (l *Ledger) ExportMap(ctx context.Context, w io.Writer, uidl func(mailbox string, uid mailhaul.UID) mailhaul.UIDL) error {
	out := uidmap.NewMapWriter(w)
	names, err := l.Mailboxes(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		m, err := l.Mailbox(ctx, name)
		if err != nil {
			return err
		}
		if m.State().Target == "" {
			continue
		}
		if err := m.export(ctx, out, uidl); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the map: %w", err)
	}
	return nil
}

func (m *MailboxLedger) export(ctx context.Context, out *uidmap.MapWriter, uidl func(string, mailhaul.UID) mailhaul.UIDL) error {
	st := m.State()
	assigned, err := m.assigned(ctx)
	if err != nil {
		return err
	}
	err = out.Mailbox(uidmap.MapMailbox{Source: m.wire, SourceValidity: st.SourceValidity, Target: st.Target, TargetValidity: st.TargetValidity})
	if err != nil {
		return fmt.Errorf("write the map: %w", err)
	}
	for rec, err := range m.Records(ctx, 1) {
		if err != nil {
			return err
		}
		if !rec.Placed() || rec.Target == 0 {
			continue
		}
		e := uidmap.MapEntry{Source: rec.Source, Target: rec.Target, UIDL: m.place(rec, assigned).UIDL}
		if e.UIDL == "" && uidl != nil {
			e.UIDL = uidl(m.wire, rec.Source)
		}
		if err := out.Message(e); err != nil {
			return fmt.Errorf("write the map: %w", err)
		}
	}
	return nil
}

// known returns a mailbox, nil where nothing is known of it.
func (l *Ledger) known(ctx context.Context, wire string) (*MailboxLedger, error) {
	l.mu.Lock()
	_, ok := l.ids[wire]
	l.mu.Unlock()
	if !ok {
		return nil, ctx.Err()
	}
	return l.Mailbox(ctx, wire)
}

// assigned returns what was assigned to the messages of a POP3 source. Others
// have UIDs of their own.
func (m *MailboxLedger) assigned(ctx context.Context) ([]AssignedUIDL, error) {
	if m.ledger.pair.From.Protocol != mailhaul.POP3 {
		return nil, nil
	}
	return m.UIDLs(ctx)
}

// place returns what a record says. What stands in the place of a UIDL where a
// server gave none, or gave one twice, is left out.
func (m *MailboxLedger) place(rec Record, assigned []AssignedUIDL) Place {
	st := m.State()
	p := Place{Mailbox: m.wire, UIDValidity: st.SourceValidity, UID: rec.Source, State: rec.State}
	if rec.Placed() {
		p.TargetMailbox, p.TargetUIDValidity, p.TargetUID = st.Target, st.TargetValidity, rec.Target
	}
	if int(rec.Source) <= len(assigned) && rec.Source > 0 {
		if uidl := assigned[rec.Source-1].UIDL; uidmap.ValidUIDL(uidl) {
			p.UIDL = uidl
		}
	}
	return p
}
