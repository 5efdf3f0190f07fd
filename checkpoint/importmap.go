// Taking over a map: of a checkpoint that is lost, or of another tool.

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// importAtOnce is how many messages of a map are made durable together.
const importAtOnce = 4096

// ImportMap takes a map over that ExportMap, or another tool, has written, and
// returns how many messages it took. A mailbox of which anything is known
// already is an error. With an error, what was taken before stays.
//
// The map is believed as a checkpoint is: where the mailboxes contradict it,
// the next run goes by what they hold. It tells neither flags nor who made the
// copies, so that of a message whose flags differ the target gets those that
// the source has set, and none of the copies is ever deleted for what happens
// on the source. Of a POP3 source it takes the messages that have UIDLs.
func (l *Ledger) ImportMap(ctx context.Context, r io.Reader) (messages int, err error) {
	in := importer{ledger: l, pop: l.pair.From.Protocol == mailhaul.POP3}
	for line, err := range uidmap.ReadMap(r) {
		if err == nil {
			err = in.line(ctx, line)
		}
		if err != nil {
			return messages, fmt.Errorf("import the map: %w", err)
		}
		if line.Message.Source != 0 {
			messages++
		}
	}
	if err := in.flush(ctx); err != nil {
		return messages, fmt.Errorf("import the map: %w", err)
	}
	return messages, nil
}

// importer is how far ImportMap is.
type importer struct {
	ledger  *Ledger
	pop     bool
	box     uidmap.MapMailbox
	m       *MailboxLedger
	records []Record
	uidls   []AssignedUIDL
	next    mailhaul.UID // of the UIDLs
}

func (in *importer) line(ctx context.Context, line uidmap.MapLine) error {
	if in.m == nil || line.Mailbox != in.box {
		if err := in.begin(ctx, line.Mailbox); err != nil {
			return err
		}
	}
	e := line.Message
	if e.Source == 0 {
		return nil
	}
	if in.pop {
		if e.UIDL == "" {
			return nil
		}
		// UIDs are assigned without gaps: these of the map stay what they are,
		// and what has none of its UIDs gets a name that is no UIDL.
		if e.Source-in.next > maxImportGap {
			return fmt.Errorf("mailbox %q: UID %d is too far behind UID %d for a POP3 account", in.box.Source, e.Source, in.next)
		}
		for ; in.next < e.Source; in.next++ {
			in.uidls = append(in.uidls, AssignedUIDL{UIDL: mailhaul.UIDL(fmt.Sprintf(" not in the map %d", in.next))})
		}
		in.uidls = append(in.uidls, AssignedUIDL{UIDL: e.UIDL})
		in.next++
	}
	in.records = append(in.records, Record{Source: e.Source, Target: e.Target, Adopted: true})
	if len(in.records) < importAtOnce {
		return nil
	}
	return in.flush(ctx)
}

// maxImportGap bounds what a map can make of memory that it does not have
// itself.
const maxImportGap = 1 << 20

// begin begins a mailbox.
func (in *importer) begin(ctx context.Context, box uidmap.MapMailbox) error {
	if err := in.flush(ctx); err != nil {
		return err
	}
	m, err := in.ledger.Mailbox(ctx, box.Source)
	if err != nil {
		return err
	}
	sources, _, err := m.Sets(ctx)
	if err != nil {
		return err
	}
	assigned, err := m.assigned(ctx)
	if err != nil {
		return err
	}
	if !equalStates(m.State(), MailboxState{}) || len(sources)+len(assigned)+len(m.Intents()) > 0 {
		return fmt.Errorf("mailbox %q is in the checkpoint already", box.Source)
	}
	if box.Target == "" {
		return errors.New("a mailbox of the target has no name")
	}
	m.SetState(MailboxState{Target: box.Target, SourceValidity: box.SourceValidity, TargetValidity: box.TargetValidity, Explained: 1})
	in.box, in.m, in.next = box, m, 1
	return nil
}

// flush makes durable what was read of the mailbox.
func (in *importer) flush(ctx context.Context) error {
	if in.m == nil {
		return nil
	}
	if len(in.uidls) > 0 {
		if _, err := in.m.AssignUIDs(ctx, in.uidls); err != nil {
			return err
		}
	}
	if err := in.m.Put(ctx, in.records...); err != nil {
		return err
	}
	in.uidls, in.records = in.uidls[:0], in.records[:0]
	return in.m.Commit(ctx)
}
