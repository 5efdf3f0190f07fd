// The level of identity that a mailbox ends up with.

package sync

import (
	"context"
	"fmt"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// mapped is what the ledger says of a mailbox's UIDs.
type mapped struct {
	messages, same int
	rising         bool            // UIDs on the target rise in the order of the source
	endedAt        mailhaul.UID    // the first of the source's UIDs that is another on the target
	others         mailhaul.UIDSet // the source's UIDs that are others on the target, but for those beyond maxOthers runs
}

// maxOthers is how many runs of UIDs a reason names.
const maxOthers = 20

func (m *mapped) add(source, target mailhaul.UID, last *mailhaul.UID) {
	m.messages++
	switch {
	case source == target:
		m.same++
	default:
		if m.endedAt == 0 {
			m.endedAt = source
		}
		if n := len(m.others); n < maxOthers || m.others[n-1].Last+1 == source {
			m.others.Add(source)
		}
	}
	if target <= *last {
		m.rising = false
	}
	*last = target
}

// concludeIdentity says what level of identity the mailbox has. On the way it
// lists the messages that an earlier run found altered: that run may not have
// lived to say so.
func (j *job) concludeIdentity(ctx context.Context) (MailboxIdentity, bool) {
	m := mapped{rising: true}
	last := mailhaul.UID(0)
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return MailboxIdentity{}, false
		}
		if !rec.Placed() {
			continue
		}
		if rec.Altered && !j.altered.Contains(rec.Source) {
			j.alter(rec.Source, rec.Target, "the target holds other octets, as an earlier run found")
		}
		m.add(rec.Source, rec.Target, &last)
	}
	out := j.identityFrom(m)
	if n := j.failed.Len(); n > 0 && out.Level == mailhaul.LevelExact {
		out.Level, out.Reason = mailhaul.LevelUID, fmt.Sprintf("%d messages of the source could not be moved, so that programs find them gone", n)
	}
	return out, true
}

// identityFrom concludes the level from what the ledger says of UIDs, what both
// servers said of the mailboxes, and what was proved.
func (j *job) identityFrom(m mapped) MailboxIdentity {
	st := j.led.State()
	source, target := st.SourceStatus, j.target.Status
	if j.proof != nil {
		target = &j.proof.target
	}
	out := identityOf(j.source, j.target, m, identityFacts{
		source: source, target: target, assigned: j.assigned(), uidls: tellsUIDLs(j.r.cfg.Source, j.source), found: j.proof, noModSeqs: noModSeqs(j.r.cfg.Target, target),
		inherited: j.proof == nil && st.Proved != "", proved: st.Proved,
	})
	if rank(st.Imposed) < rank(mailhaul.LevelUID) && out.Level != mailhaul.LevelNone {
		out.Level, out.Reason = mailhaul.LevelOrder, j.whyNotImposed()
	} else if out.Level == j.can.Level && j.can.Reason != "" {
		out.Reason = j.can.Reason // its driver knows best
	}
	return out
}

// noModSeqs reports whether a target keeps no mod-sequences: one that knows
// without asking its server says so, and otherwise its listing shows it.
func noModSeqs(target mailhaul.Target, now *mailhaul.Status) bool {
	if k, ok := mailhaul.As[interface{ KeepsModSeqs() bool }](target); ok {
		return !k.KeepsModSeqs()
	}
	return now != nil && now.UIDValidity != 0 && now.HighestModSeq == 0
}

// whyNotImposed says why no identity is imposed on the mailbox.
func (j *job) whyNotImposed() string {
	switch {
	case j.can.Reason != "":
		return j.can.Reason
	case j.r.cfg.Identity == mailhaul.LevelOrder:
		return "no more was asked for"
	case j.r.cfg.Appenders > 1:
		return "several connections append to it, so that no more can be asked for"
	case j.folder.View:
		return "it is a view, of which only what no other mailbox holds is moved"
	}
	if _, ok := j.r.imposer(); !ok {
		return "the target has no means of imposing identity"
	}
	return "it was moved by an earlier run without its identity"
}

// identityFacts is what a level is concluded from, beside the UIDs.
type identityFacts struct {
	source          mailhaul.Status
	target          *mailhaul.Status // nil: not known
	assigned, uidls bool
	found           *evidence
	noModSeqs       bool           // the target keeps no mod-sequences, as far as is known without a proof
	inherited       bool           // an earlier run has read both sides, and nothing has changed since
	proved          mailhaul.Level // by that run
}

// identityOf concludes the level of a mailbox on which an identity was imposed.
func identityOf(from, to mailhaul.Mailbox, m mapped, f identityFacts) MailboxIdentity {
	out := MailboxIdentity{
		Source: from.Name, Target: to.Name, Name: nameFinding(from, to), Messages: m.messages, SameUID: m.same, EndedAt: m.endedAt,
		UIDValidity: NotApplicable, UIDNext: NotApplicable, HighestModSeq: NotApplicable, UIDLs: NotApplicable,
	}
	if !f.assigned {
		out.UIDValidity, out.UIDNext = NotProved, NotProved
		if f.source.HighestModSeq != 0 {
			out.HighestModSeq = NotProved
		}
		if t := f.target; t != nil && t.UIDValidity != 0 {
			out.UIDValidity = finding(t.UIDValidity == f.source.UIDValidity)
			if t.UIDNext != 0 {
				out.UIDNext = finding(t.UIDNext >= f.source.UIDNext)
			}
			switch {
			case f.source.HighestModSeq == 0:
			case t.HighestModSeq != 0:
				out.HighestModSeq = finding(t.HighestModSeq >= f.source.HighestModSeq)
			case f.found != nil:
				// It was asked for, and the target keeps none: there is nothing
				// that a program could compare with what it remembers.
				out.HighestModSeq = NotApplicable
			}
		}
	}
	if f.uidls {
		out.UIDLs = NotProved
	}
	proved := f.proved
	if e := f.found; e != nil {
		proved = mailhaul.LevelExact
		out.Checked, out.Sampled, out.Missing = e.checked, e.sampled, e.missing
		if f.uidls && e.pop {
			out.WithUIDL, out.SameUIDL = e.withUIDL, e.sameUIDL
			out.UIDLs = finding(e.sameUIDL == e.withUIDL && e.inOrder)
			if e.withUIDL == 0 && m.messages > 0 {
				out.UIDLs = NotApplicable // its server gives none
			}
		}
	} else if f.inherited && rank(proved) >= rank(mailhaul.LevelExact) {
		if out.HighestModSeq == NotProved && f.noModSeqs {
			out.HighestModSeq = NotApplicable
		}
		for _, part := range []*Finding{&out.UIDValidity, &out.UIDNext, &out.HighestModSeq, &out.UIDLs} {
			if *part == NotProved {
				*part = Holds
			}
		}
	}
	out.Level, out.Reason = levelOf(out, m, f, proved)
	if out.Level == mailhaul.LevelExact && out.Name == DoesNotHold {
		out.Level, out.Reason = mailhaul.LevelUID, renamedReason(to.Name)
	}
	return out
}

// nameFinding says whether programs find the mailbox under its name.
func nameFinding(from, to mailhaul.Mailbox) Finding {
	switch {
	case from.IsInbox() && to.IsInbox() || from.Name == to.Name && slices.Equal(from.Path, to.Path):
		return Holds
	case slices.Equal(from.Path, to.Path):
		return HoldsByNamespace
	}
	return DoesNotHold
}

// renamedReason says why a mailbox with another name is not exact.
func renamedReason(name string) string {
	return fmt.Sprintf("its name is %q on the target, so that programs take it for another mailbox", name)
}

// samePlaces reports whether UIDs on the target can mean what they do on the
// source.
func (f *identityFacts) samePlaces() bool {
	return !f.assigned && f.target != nil && f.target.UIDValidity == f.source.UIDValidity
}

// elsewhere says which messages have other UIDs than on the source.
func (m *mapped) elsewhere() string {
	more := ""
	if m.others.Len() < m.messages-m.same {
		more = " and more"
	}
	return fmt.Sprintf("%d of %d messages have other UIDs on the target (on the source they have %s%s)", m.messages-m.same, m.messages, m.others, more)
}

// levelOf returns the level that the findings amount to, and why it is no
// higher.
func levelOf(out MailboxIdentity, m mapped, f identityFacts, proved mailhaul.Level) (mailhaul.Level, string) {
	if !m.rising && f.samePlaces() && m.same > 0 {
		return mailhaul.LevelNone, fmt.Sprintf("%s, and stand behind later ones, where other mail had come before them", m.elsewhere())
	}
	if !m.rising {
		return mailhaul.LevelNone, "UIDs on the target do not rise in the order of the source: mail was there before, or some came late"
	}
	if rank(proved) < rank(mailhaul.LevelUID) && m.endedAt == 0 {
		return mailhaul.LevelOrder, "both sides have not been read and compared"
	}
	if out.Missing > 0 {
		return mailhaul.LevelOrder, fmt.Sprintf("%d messages are not on the target under the UIDs, or with the octets, that they should have", out.Missing)
	}
	level := mailhaul.LevelUID
	if m.endedAt != 0 {
		level = mailhaul.LevelOrder
		if !f.assigned {
			return level, m.elsewhere() + ", where other mail had come before them"
		}
	}
	for _, part := range []struct {
		finding Finding
		name    string
	}{{out.UIDValidity, "UIDVALIDITY is another on the target"}, {out.UIDNext, "UIDNEXT is lower on the target"}, {out.HighestModSeq, "HIGHESTMODSEQ is lower on the target"},
		{out.UIDLs, fmt.Sprintf("UIDLs are not all the same, or not in the same order: %d of %d are found", out.SameUIDL, out.WithUIDL)}} {
		switch part.finding {
		case DoesNotHold:
			return level, "the " + part.name
		case NotProved:
			if part.name[:4] == "UIDL" {
				return level, "the UIDLs are not proved, which takes the target's POP3 server"
			}
			return level, "it is not proved that the mailboxes have the same state"
		}
	}
	if f.assigned && out.UIDLs != Holds {
		return level, "the source has neither UIDs nor UIDLs"
	}
	return mailhaul.LevelExact, ""
}
