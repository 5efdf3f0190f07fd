// Removing from the source what is safely on the target.

package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

// RemoveOptions says what [RemoveMoved] removes from where. All but Logger are
// needed.
type RemoveOptions struct {
	// Source is a POP3 account that implements [mailhaul.Remover], and Target
	// the account that its mail was moved to.
	Source mailhaul.Source
	Target mailhaul.Target

	// Store is the checkpoint of the moves.
	Store checkpoint.Store

	// Logger is told what is done. Default: nobody.
	Logger *slog.Logger
}

// Removal is what [RemoveMoved] has done.
type Removal struct {
	// Removed counts the messages that the source's server has confirmed to be
	// gone.
	Removed int
	// Kept counts the messages that are still on the source, by the reason.
	Kept map[KeptReason]int
}

// KeptReason is why a message was not removed from the source.
type KeptReason string

// The reasons.
const (
	KeptNotMoved  KeptReason = "not moved, as far as the checkpoint knows"
	KeptAltered   KeptReason = "the target's server altered the copy"
	KeptUnread    KeptReason = "the copy has not been read back yet"
	KeptNotThere  KeptReason = "the target does not show the copy now"
	KeptDifferent KeptReason = "it was on the target before, and not with the same octets"
	KeptNameless  KeptReason = "its unique-id does not name it for certain"
	KeptByServer  KeptReason = "the source's server did not remove it"
)

// RemoveMoved removes from a POP3 account what earlier runs of a [Syncer] have
// moved. It is for those who want the mail gone from where it was: nothing else
// in this package changes the source. Call it between runs, never during one.
//
// A message is removed only when all of this holds:
//
//   - its record is durable in the Store, and says that the target has it;
//   - the target, asked now, shows the copy, in the mailbox with the
//     UIDVALIDITY that the record speaks of;
//   - the copy is not known to be altered, nor still to be read back; one that
//     was on the target already is read on both sides, and has the same octets;
//   - the source names it, now as then, by the same unique UIDL and size.
//
// Before the first is removed it is made durable that their copies are the
// target's user's own, so that no later run takes the copies for orphans,
// whatever Config.Deletes says. The removal is one POP3 session: whatever ends
// it before QUIT is answered, a crash here or there, removes nothing, or what
// was safe to be removed. To repeat RemoveMoved is safe.
//
// The Removal is never nil. The error is that of a connection, or of the Store.
func RemoveMoved(ctx context.Context, o RemoveOptions) (*Removal, error) {
	out := &Removal{Kept: make(map[KeptReason]int)}
	if o.Source == nil || o.Target == nil || o.Store == nil {
		return out, errors.New("sync: Source, Target and Store are all needed to remove what was moved")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	remover, ok := mailhaul.As[mailhaul.Remover](o.Source)
	if !ok || o.Source.Account().Protocol != mailhaul.POP3 {
		return out, fmt.Errorf("sync: removing moved mail from %v: %w", o.Source.Account(), mailhaul.ErrUnsupported)
	}
	ledger, err := checkpoint.OpenLedger(ctx, o.Store, checkpoint.Pair{From: o.Source.Account(), To: o.Target.Account()})
	if err != nil {
		return out, err
	}
	led, err := ledger.Mailbox(ctx, pop3Inbox.Wire)
	if err != nil {
		return out, err
	}
	m := &removal{RemoveOptions: o, remover: remover, led: led, out: out}
	return out, m.run(ctx)
}

// pop3Inbox is the one mailbox of a POP3 account.
var pop3Inbox = mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX", Role: mailhaul.RoleInbox, Subscribed: true}

// moved is a message that may be removed.
type moved struct {
	message mailhaul.Message // as the source lists it now; the UID is its number
	record  checkpoint.Record
}

type removal struct {
	RemoveOptions
	remover mailhaul.Remover
	led     *checkpoint.MailboxLedger
	out     *Removal
}

func (r *removal) run(ctx context.Context) error {
	st := r.led.State()
	if st.Target == "" {
		return nil // nothing was ever moved
	}
	src, err := r.Source.OpenReader(ctx, pop3Inbox)
	if err != nil {
		return err
	}
	defer src.Close() // again is no harm
	listed, err := r.candidates(ctx, src)
	if err != nil || len(listed) == 0 {
		return err
	}
	listed, err = r.onTarget(ctx, st, src, listed)
	if err != nil || len(listed) == 0 {
		return err
	}
	if err := src.Close(); err != nil {
		return err
	}
	messages := make([]mailhaul.Message, len(listed))
	for i, c := range listed {
		messages[i] = c.message
		if c.record.Adopted {
			continue
		}
		c.record.Adopted = true
		if err := r.led.Put(ctx, c.record); err != nil {
			return err
		}
	}
	if err := r.led.Commit(ctx); err != nil {
		return err
	}
	removed, err := r.remover.Remove(ctx, pop3Inbox, messages)
	r.out.Removed = len(removed)
	r.keep(KeptByServer, len(messages)-len(removed))
	r.Logger.Info("removed from the source what was moved", "removed", len(removed), "of", len(messages))
	return err
}

func (r *removal) keep(why KeptReason, n int) {
	if n > 0 {
		r.out.Kept[why] += n
	}
}

// candidates returns what the source lists and the checkpoint knows to be
// moved.
func (r *removal) candidates(ctx context.Context, src mailhaul.Reader) (out []moved, err error) {
	assigned, err := r.led.UIDLs(ctx)
	if err != nil {
		return nil, err
	}
	// A name that two messages ever had names neither.
	known := make(map[mailhaul.UIDL]checkpoint.AssignedUIDL, len(assigned))
	twice := make(map[mailhaul.UIDL]bool)
	for _, a := range assigned {
		name := plain(a.UIDL)
		if _, ok := known[name]; ok || name != a.UIDL || !uidmap.ValidUIDL(name) {
			twice[name] = true
		}
		known[name] = a
	}
	all, err := src.UIDs(ctx)
	if err != nil {
		return nil, err
	}
	var list []mailhaul.Message
	count := make(map[mailhaul.UIDL]int)
	for m, err := range src.Messages(ctx, all, mailhaul.FieldSize, 0) {
		if err != nil {
			return nil, err
		}
		list = append(list, m)
		count[m.UIDL]++
	}
	for _, m := range list {
		a, ok := known[m.UIDL]
		switch {
		case !ok:
			r.keep(KeptNotMoved, 1)
			continue
		case twice[m.UIDL] || count[m.UIDL] > 1 || a.Size != m.Size:
			r.keep(KeptNameless, 1)
			continue
		}
		rec, ok, err := r.led.Get(ctx, a.UID)
		switch {
		case err != nil:
			return nil, err
		case !ok || rec.Target == 0 || !rec.Placed():
			r.keep(KeptNotMoved, 1)
		case rec.Altered:
			r.keep(KeptAltered, 1)
		case rec.State == checkpoint.Unread:
			r.keep(KeptUnread, 1)
		default:
			out = append(out, moved{m, rec})
		}
	}
	return out, nil
}

// onTarget returns those whose copies the target shows now, with the same
// octets where only likeness says that they are copies.
func (r *removal) onTarget(ctx context.Context, st checkpoint.MailboxState, src mailhaul.Reader, listed []moved) ([]moved, error) {
	listing, err := r.Target.List(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(listing.Mailboxes, func(m mailhaul.Mailbox) bool { return m.Wire == st.Target })
	if at < 0 {
		r.keep(KeptNotThere, len(listed))
		return nil, nil
	}
	t, err := r.Target.OpenReader(ctx, listing.Mailboxes[at])
	if err != nil {
		return nil, err
	}
	defer t.Close()
	there, err := t.UIDs(ctx)
	if err != nil {
		return nil, err
	}
	if t.Status().UIDValidity != st.TargetValidity {
		there = nil
	}
	var numbers, copies mailhaul.UIDSet // of what has to be read
	sure := listed[:0]
	for _, c := range listed {
		if !there.Contains(c.record.Target) {
			r.keep(KeptNotThere, 1)
			continue
		}
		if c.record.Adopted {
			numbers.Add(c.message.UID)
			copies.Add(c.record.Target)
		}
		sure = append(sure, c)
	}
	if len(numbers) == 0 {
		return sure, nil
	}
	ours, err := digests(ctx, src, numbers)
	if err != nil {
		return nil, err
	}
	theirs, err := digests(ctx, t, copies)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(sure, func(c moved) bool {
		if !c.record.Adopted {
			return false
		}
		a, read := ours[c.message.UID]
		b, there := theirs[c.record.Target]
		if read && there && a.Exact == b.Exact {
			return false
		}
		r.keep(KeptDifferent, 1)
		return true
	}), nil
}
