// Which identity each mailbox is to have on the target: chosen, and a demand
// checked, before anything is written.

package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// ErrIdentity is wrapped by the error of a demand for identity (Config.Identity)
// that the target cannot meet. Nothing has been written.
var ErrIdentity = errors.New("the target cannot be told that much identity")

// IdentityError lists the mailboxes for which Config.Identity cannot be met. It
// wraps [ErrIdentity].
type IdentityError struct {
	Demanded  mailhaul.Level
	Mailboxes []RefusedIdentity // in the order of the plan
	Of        int               // mailboxes in the plan
}

// RefusedIdentity is a mailbox that cannot have the level that was demanded.
type RefusedIdentity struct {
	Mailbox string         // the source's name
	Level   mailhaul.Level // that it can have
	Reason  string
}

// Error returns one sentence with all mailboxes, those with the same reason
// together.
func (e *IdentityError) Error() string {
	var reasons []string
	names := make(map[string][]string)
	for _, m := range e.Mailboxes {
		if names[m.Reason] == nil {
			reasons = append(reasons, m.Reason)
		}
		names[m.Reason] = append(names[m.Reason], fmt.Sprintf("%q", m.Mailbox))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %q was demanded, and %d of %d mailboxes cannot have it", ErrIdentity, e.Demanded, len(e.Mailboxes), e.Of)
	for _, reason := range reasons {
		fmt.Fprintf(&b, "; %s: %s", strings.Join(names[reason], ", "), reason)
	}
	b.WriteString("; nothing was written: demand less, or leave these mailboxes out")
	return b.String()
}

// Unwrap returns ErrIdentity.
func (e *IdentityError) Unwrap() error { return ErrIdentity }

// identityJob is what a job knows of its mailbox's identity.
type identityJob struct {
	impose bool               // the identity of the source is imposed on the target
	asked  bool               // can is known
	can    mailhaul.Imposable // what the Imposer says of the mailbox
	broken bool               // a connection was lost since the last Recover

	session int  // how many messages the next Writer is told of; 0: as many as may be
	shrunk  bool // it was made smaller since the last failure

	before mailhaul.Level  // what had been proved before this run wrote anything
	wrote  mailhaul.UIDSet // sources of the records that this run made; job.mu protects it
	proof  *evidence       // what this run's proof found
}

// rank orders the levels.
func rank(l mailhaul.Level) int {
	return slices.Index([]mailhaul.Level{"", mailhaul.LevelNone, mailhaul.LevelOrder, mailhaul.LevelUID, mailhaul.LevelExact}, l)
}

// lower returns the lower of two levels.
func lower(a, b mailhaul.Level) mailhaul.Level {
	if rank(b) < rank(a) {
		return b
	}
	return a
}

// imposer returns the Target's Imposer, unless its services are not asked for.
func (r *run) imposer() (mailhaul.Imposer, bool) {
	if r.cfg.Identity == mailhaul.LevelOrder || r.cfg.Appenders > 1 {
		return nil, false
	}
	return mailhaul.As[mailhaul.Imposer](r.cfg.Target)
}

// tellsUIDLs reports whether the messages of a source mailbox have UIDLs.
func tellsUIDLs(source mailhaul.Source, m mailhaul.Mailbox) bool {
	t, ok := mailhaul.As[mailhaul.UIDLTeller](source)
	return ok && t.TellsUIDLs(m)
}

// chooseIdentity finds out, side by side, which identity each mailbox can have,
// and holds the demand for those that are not begun yet. It writes nothing, and
// asks nothing about mailboxes in which nothing has happened.
func (r *run) chooseIdentity(ctx context.Context, jobs []*job) error {
	imposer, ok := r.imposer()
	demanded := r.cfg.Identity == mailhaul.LevelUID || r.cfg.Identity == mailhaul.LevelExact
	if !ok && !demanded {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Mailboxes)
	jobs = slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return j.folder.View }) // they have no identity of their own
	for _, j := range jobs {
		if !ok {
			j.can = mailhaul.Imposable{Level: mailhaul.LevelOrder, Reason: "the target has no means of imposing identity"}
			continue
		}
		if j.begun() {
			j.impose = true
			continue
		}
		if j.unchanged() && !demanded {
			continue
		}
		g.Go(func() error {
			return r.retry(gctx, j.source.Name, r.cfg.Retries, func() error { return j.ask(gctx, imposer) })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if !demanded {
		return nil
	}
	e := &IdentityError{Demanded: r.cfg.Identity, Of: len(jobs)}
	for _, j := range jobs {
		if ok && j.begun() {
			continue
		}
		level, reason := j.can.Level, j.can.Reason
		if to := j.planned(); level == mailhaul.LevelExact && nameFinding(j.source, to) == DoesNotHold {
			level, reason = mailhaul.LevelUID, renamedReason(to.Name)
		}
		if rank(level) < rank(e.Demanded) {
			e.Mailboxes = append(e.Mailboxes, RefusedIdentity{j.source.Name, level, reason})
		}
	}
	if len(e.Mailboxes) > 0 {
		return e
	}
	return nil
}

// begun reports whether an earlier pass imposed an identity on the mailbox, as
// high a one as is demanded. That goes on, as far as it can.
func (j *job) begun() bool {
	st := j.led.State()
	if rank(st.Imposed) < max(rank(j.r.cfg.Identity), rank(mailhaul.LevelUID)) || st.Target == "" || st.Target != j.target.Wire {
		return false
	}
	now := j.target.Status
	return now == nil || now.UIDValidity == 0 || now.UIDValidity == st.TargetValidity
}

// ask asks the Imposer what can be done about the mailbox as it is.
func (j *job) ask(ctx context.Context, imposer mailhaul.Imposer) error {
	want, err := j.wanted(ctx)
	if err != nil {
		return err
	}
	j.can, err = imposer.Imposable(ctx, j.planned(), want)
	switch {
	case mailhaul.KindOf(err) == mailhaul.Permanent && scope(err) == mailhaul.ScopeMailbox:
		j.can = mailhaul.Imposable{Level: mailhaul.LevelOrder, Reason: reasonOf(err)}
	case err != nil:
		return err
	}
	if !j.begun() {
		// What an earlier pass moved without an identity does not get one later.
		others, err := j.underOthers(ctx, want.UIDLs)
		if err != nil {
			return err
		}
		if others > 0 && rank(j.can.Level) > rank(mailhaul.LevelOrder) {
			j.can.Level = mailhaul.LevelOrder
			j.can.Reason = fmt.Sprintf("an earlier run moved %d of its messages without their identity", others)
		}
		j.impose = rank(j.can.Level) >= rank(mailhaul.LevelUID)
	}
	j.asked = true
	return nil
}

// planned returns the mailbox on the target, also where it is still to be made.
func (j *job) planned() mailhaul.Mailbox {
	if j.target.Wire != "" {
		return j.target
	}
	return mailhaul.Mailbox{Path: j.folder.TargetPath, Name: j.r.target.Naming.Join(j.folder.TargetPath), Role: j.folder.Role}
}

// askOnce is ask for a mailbox that was begun by an earlier pass, as soon as
// something is to be written.
func (j *job) askOnce(ctx context.Context, imposer mailhaul.Imposer) error {
	if j.asked {
		return nil
	}
	return j.ask(ctx, imposer)
}

// underOthers counts the messages that were moved without being given their
// identity.
func (j *job) underOthers(ctx context.Context, uidls bool) (n int, err error) {
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return 0, err
		}
		if rec.Placed() && (uidls || rec.Target != rec.Source) {
			n++
		}
	}
	return n, nil
}

// wanted returns the identity that the source mailbox has, from its listing
// where that says enough.
func (j *job) wanted(ctx context.Context) (mailhaul.Identity, error) {
	uidls := tellsUIDLs(j.r.cfg.Source, j.source)
	if st := j.source.Status; st != nil && !uidls && st.UIDNext != 0 && st.UIDValidity != 0 {
		return j.identityOf(*st, st.UIDNext, nil), nil
	}
	var want mailhaul.Identity
	err := j.reading(ctx, j.source, func(s mailhaul.Reader) error {
		listing, err := uidsOf(ctx, s)
		if err != nil {
			return err
		}
		var msgs []mailhaul.Message
		if uidls {
			recorded, _, err := j.led.Sets(ctx)
			if err != nil {
				return err
			}
			if msgs, err = describe(ctx, s, listing.Minus(recorded)); err != nil {
				return err
			}
			for i := range msgs {
				msgs[i].Flags, _ = mailhaul.NormalizeFlags(msgs[i].Flags)
				properUIDL(&msgs[i])
			}
		}
		want = j.identityOf(s.Status(), nextUID(s.Status(), listing), msgs)
		return nil
	})
	return want, err
}

// identityOf returns the identity of the source mailbox in the given state. The
// UIDs of a POP3 source are the engine's own: its UIDVALIDITY and UIDNEXT mean
// nothing to anybody.
func (j *job) identityOf(st mailhaul.Status, next mailhaul.UID, msgs []mailhaul.Message) mailhaul.Identity {
	want := mailhaul.Identity{
		UIDValidity: st.UIDValidity, UIDNext: next, HighestModSeq: st.HighestModSeq, Count: int(st.Messages),
		UIDLs: tellsUIDLs(j.r.cfg.Source, j.source), Messages: msgs,
	}
	// Dovecot may open a mailbox without telling HIGHESTMODSEQ, and without
	// saying that there is none; the listing told it.
	if listed := j.source.Status; listed != nil && listed.UIDValidity == st.UIDValidity {
		want.HighestModSeq = max(want.HighestModSeq, listed.HighestModSeq)
	}
	if j.assigned() {
		want.UIDValidity, want.UIDNext, want.HighestModSeq = 0, 0, 0
	}
	return want
}

// assigned reports whether the UIDs of the source were assigned by the engine.
func (j *job) assigned() bool { return j.r.cfg.Source.Account().Protocol == mailhaul.POP3 }

// nextUID returns the UIDNEXT that a mailbox had when it was listed: what was
// listed may have come after the status was told, and what has come since has a
// higher UID than anything that was listed.
func nextUID(st mailhaul.Status, listing mailhaul.UIDSet) mailhaul.UID {
	next := st.UIDNext
	if n := len(listing); n > 0 && listing[n-1].Last < ^mailhaul.UID(0) {
		next = max(next, listing[n-1].Last+1)
	}
	return next
}

// properUIDL takes from a message what is no UIDL: a digest in the place of
// one, or what a server made up against the rules (RFC 1939 section 7).
func properUIDL(m *mailhaul.Message) {
	if !uidmap.ValidUIDL(m.UIDL) {
		m.UIDL = ""
	}
}
