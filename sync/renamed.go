// Mailboxes that have another name than at the last pass, or are gone.

package sync

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// followRenames makes the ledger follow mailboxes that were renamed since the
// last pass, on either side. A mailbox is taken for a renamed one only if that
// is proved: by its MAILBOXID (RFC 8474), or by its UIDVALIDITY and by its
// messages, which are under their UIDs what the ledger says.
//
// The copy of a mailbox that was renamed on the source keeps its name: the
// target's users know it by that. What the target's users rename stays renamed.
func (r *run) followRenames(ctx context.Context, source, target *mailhaul.Listing) error {
	known, err := r.ledger.Mailboxes(ctx)
	if err != nil {
		return err
	}
	onSource, onTarget := byWire(source), byWire(target)
	used := make(map[string]bool)  // target mailboxes that have a source
	taken := make(map[string]bool) // source mailboxes that the ledger speaks of
	var lost []string              // names under which the source has no such mailbox any more
	for _, wire := range known {
		led, err := r.ledger.Mailbox(ctx, wire)
		if err != nil {
			return err
		}
		st := led.State()
		if st.Target == "" {
			continue
		}
		used[st.Target] = true
		if now := onSource[wire]; now == nil || st.SourceValidity != 0 && another(*now, st.SourceValidity, st.SourceID) {
			lost = append(lost, wire)
		} else {
			taken[wire] = true
		}
	}
	moved := make(map[string]*mailhaul.Mailbox) // by the name that it had
	for _, wire := range lost {
		led, err := r.ledger.Mailbox(ctx, wire)
		if err != nil {
			return err
		}
		st := led.State()
		now := onTarget[st.Target]
		m, err := r.renamed(ctx, led, source, func(m mailhaul.Mailbox) (identity, *mailhaul.Mailbox, *mailhaul.Mailbox) {
			if taken[m.Wire] || m.Wire == wire {
				return different, nil, nil
			}
			is := identify(m, st.SourceValidity, st.SourceStatus.UIDNext, st.SourceID)
			if is == possible && now == nil {
				is = different // both are gone: there is nothing to compare
			}
			return is, &m, now
		})
		if err != nil {
			return err
		}
		if m != nil {
			moved[wire], taken[m.Wire] = m, true
		}
	}
	if err := r.rename(ctx, lost, moved); err != nil {
		return err
	}
	for _, m := range source.Mailboxes {
		led, err := r.ledger.Mailbox(ctx, m.Wire)
		if err != nil {
			return err
		}
		st := led.State()
		if st.Target == "" || st.TargetValidity == 0 {
			continue
		}
		now := onTarget[st.Target]
		if now != nil && !another(*now, st.TargetValidity, st.TargetID) {
			continue // it is there; where that cannot be told yet, compare sees it
		}
		if _, err := r.followTarget(ctx, m, led, target, used); err != nil {
			return err
		}
	}
	return nil
}

// another reports whether a listing shows that a mailbox is not the one that
// is remembered under its name.
func another(m mailhaul.Mailbox, validity mailhaul.UIDValidity, id string) bool {
	return m.Status != nil && identify(m, validity, 0, id) == different
}

// rename lets the ledger know new names. One that another mailbox has had is
// free when that one has got its own; names that were exchanged stay as they
// are.
func (r *run) rename(ctx context.Context, from []string, to map[string]*mailhaul.Mailbox) error {
	held := make(map[string]bool) // names that the ledger speaks of
	for _, wire := range from {
		held[wire] = true
	}
	for progress := true; progress; {
		progress = false
		for _, wire := range from {
			m := to[wire]
			if m == nil || held[m.Wire] {
				continue
			}
			led, err := r.ledger.Mailbox(ctx, wire)
			if err != nil {
				return err
			}
			copied := led.State().Target
			if err := r.ledger.Rename(ctx, wire, m.Wire); err != nil {
				return err
			}
			r.tally.warn(fmt.Sprintf("mailbox %q of the source is called %q now; its copy keeps the name %q", wire, m.Name, copied))
			delete(to, wire)
			delete(held, wire)
			held[m.Wire], progress = true, true
		}
	}
	return nil
}

// followTarget looks for the copy of a mailbox that is not there any more under
// its name, and lets the ledger know its new one.
func (r *run) followTarget(ctx context.Context, source mailhaul.Mailbox, led *checkpoint.MailboxLedger, target *mailhaul.Listing, used map[string]bool) (*mailhaul.Mailbox, error) {
	st := led.State()
	m, err := r.renamed(ctx, led, target, func(m mailhaul.Mailbox) (identity, *mailhaul.Mailbox, *mailhaul.Mailbox) {
		if used[m.Wire] {
			return different, nil, nil
		}
		return identify(m, st.TargetValidity, st.Explained, st.TargetID), &source, &m
	})
	if err != nil || m == nil {
		return nil, err
	}
	used[m.Wire] = true
	r.tally.warn(fmt.Sprintf("mailbox %q of the target is called %q now; the mail of %q goes there", st.Target, m.Name, source.Name))
	st.Target = m.Wire
	led.SetState(st)
	return m, led.Commit(ctx)
}

// seekCopy looks for the copy of the job's mailbox, since another mailbox has
// its name: the target's user may have renamed it and made a new one. If it is
// found, it is gone on with there.
func (j *job) seekCopy(ctx context.Context) error {
	listing, err := j.r.list(ctx, j.r.cfg.Target)
	if err != nil {
		return err
	}
	used, err := j.r.usedTargets(ctx)
	if err != nil {
		return err
	}
	for _, other := range j.r.every {
		if other.folder.Target != nil {
			used[other.folder.Target.Wire] = true
		}
	}
	m, err := j.r.followTarget(ctx, j.source, j.led, listing, used)
	if err == nil && m != nil {
		j.target = *m
	}
	return err
}

func byWire(l *mailhaul.Listing) map[string]*mailhaul.Mailbox {
	all := make(map[string]*mailhaul.Mailbox, len(l.Mailboxes))
	for i := range l.Mailboxes {
		if m := &l.Mailboxes[i]; !m.NoSelect {
			all[m.Wire] = m
		}
	}
	return all
}

// mailboxID returns the MAILBOXID that a listing told, or what is known of it.
func mailboxID(m mailhaul.Mailbox, known string) string {
	if m.Status != nil && m.Status.MailboxID != "" {
		return m.Status.MailboxID
	}
	return known
}

// identity is what a listing says of whether a mailbox is one that we know.
type identity uint8

const (
	different identity = iota
	possible
	proved
)

// identify compares a listed mailbox with what is remembered of one.
func identify(m mailhaul.Mailbox, validity mailhaul.UIDValidity, least mailhaul.UID, id string) identity {
	s := m.Status
	switch {
	case m.NoSelect || m.Shared:
		return different
	case s == nil:
		return possible
	case id != "" && s.MailboxID != "": // whatever its UIDs are worth
		if id == s.MailboxID {
			return proved
		}
		return different
	case s.UIDValidity != validity || s.UIDNext != 0 && s.UIDNext < least:
		return different
	}
	return possible
}

// maxSuspects is how many pairs of mailboxes are opened at most to find where
// one has gone.
const maxSuspects = 64

// renamed returns the one mailbox of a listing that is the one which the ledger
// knows, nil where there is none or more than one. judge says what the listing
// tells, and which two mailboxes are to be compared.
func (r *run) renamed(ctx context.Context, led *checkpoint.MailboxLedger, in *mailhaul.Listing,
	judge func(mailhaul.Mailbox) (is identity, source, target *mailhaul.Mailbox)) (found *mailhaul.Mailbox, err error) {
	for i := range in.Mailboxes {
		m := &in.Mailboxes[i]
		is, source, target := judge(*m)
		if is == possible && r.suspects < maxSuspects {
			r.suspects++
			var same bool
			err := r.retry(ctx, m.Name, min(2, r.cfg.Retries), func() (err error) {
				same, err = r.samePair(ctx, led, *source, *target)
				return err
			})
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case err != nil && scope(err) != mailhaul.ScopeMailbox && scope(err) != mailhaul.ScopeMessage:
				return nil, err
			case err == nil && same:
				is = proved
			}
		}
		if is != proved {
			continue
		}
		if found != nil {
			return nil, nil // two look like it
		}
		found = m
	}
	return found, nil
}

// proofs is how many messages are compared to recognise a mailbox.
const proofs = 20

// samePair reports whether two mailboxes hold, under the UIDs that the ledger
// has, the same messages: some are compared by Message-ID or header digest. No
// pair may contradict, and four fifths must be there on both sides.
func (r *run) samePair(ctx context.Context, led *checkpoint.MailboxLedger, source, target mailhaul.Mailbox) (bool, error) {
	st := led.State()
	_, mapped, err := led.Sets(ctx)
	if err != nil || len(mapped) == 0 {
		return false, err
	}
	step := max(1, mapped.Len()/proofs)
	targets := make(map[mailhaul.UID]mailhaul.UID) // by source
	var ours, theirs []mailhaul.UID
	n := 0
	for rec, err := range led.Records(ctx, 0) {
		if err != nil {
			return false, err
		}
		if !rec.Placed() || rec.Altered {
			continue
		}
		if n++; n%step == 0 && len(ours) < proofs {
			targets[rec.Source] = rec.Target
			ours, theirs = append(ours, rec.Source), append(theirs, rec.Target)
		}
	}
	t, err := r.cfg.Target.OpenReader(ctx, target)
	if err != nil {
		return false, err
	}
	defer t.Close()
	s, err := r.cfg.Source.OpenReader(ctx, source)
	if err != nil {
		return false, err
	}
	defer s.Close()
	if s.Status().UIDValidity != st.SourceValidity || t.Status().UIDValidity != st.TargetValidity {
		return false, nil
	}
	there, err := candidates(ctx, t, mailhaul.UIDSetOf(theirs...))
	if err != nil {
		return false, err
	}
	keys := make(map[mailhaul.UID]int, len(there))
	for i := range there {
		keys[there[i].UID] = i
	}
	here, err := candidates(ctx, s, mailhaul.UIDSetOf(ours...))
	if err != nil {
		return false, err
	}
	same := 0
	for _, c := range here {
		i, ok := keys[targets[c.UID]]
		if !ok {
			continue
		}
		if there[i].Key != c.Key {
			return false, nil
		}
		same++
	}
	return same > 0 && same*5 >= len(ours)*4, nil
}

// targetGone is called where the ledger knows a copy and the target mailbox is
// not there. It is found again under another name, or was deleted: then its
// messages were removed by the target's user, which the brake has a word in.
// done says that nothing is left to be moved, so that it is not made again.
func (j *job) targetGone(ctx context.Context) (done bool, err error) {
	st := j.led.State()
	if st.TargetValidity != 0 {
		listing, err := j.r.list(ctx, j.r.cfg.Target)
		if err != nil {
			return false, err
		}
		if m := byWire(listing)[st.Target]; m != nil {
			j.target = *m
			return false, nil
		}
		used, err := j.r.usedTargets(ctx)
		if err != nil {
			return false, err
		}
		m, err := j.r.followTarget(ctx, j.source, j.led, listing, used)
		if err != nil {
			return false, err
		}
		if m != nil {
			j.target = *m
			return false, nil
		}
	}
	s, err := j.r.cfg.Source.OpenReader(ctx, j.source)
	if err != nil {
		return false, err
	}
	defer s.Close()
	if st.SourceValidity != s.Status().UIDValidity {
		j.target.Wire = ""
		return false, j.led.Reset(ctx) // nothing is known of these messages
	}
	listing, err := uidsOf(ctx, s)
	if err != nil {
		return false, err
	}
	recorded, mapped, err := j.led.Sets(ctx)
	if err != nil {
		return false, err
	}
	j.firstListing(listing, recorded)
	d, err := j.decide(SideTarget, mapped.Len(), mapped.Len())
	if err != nil {
		return false, err
	}
	if d == Refuse {
		err = j.forgetCopies(ctx, mapped)
	} else {
		if len(mapped) > 0 {
			j.r.tally.warn(fmt.Sprintf("mailbox %q: its copy was deleted on the target, with %d messages, which are not copied again", j.source.Name, mapped.Len()))
		}
		err = j.noteRemovals(ctx, mapped, listing)
	}
	if err != nil {
		return false, err
	}
	if recorded, _, err = j.led.Sets(ctx); err != nil {
		return false, err
	}
	st = j.led.State()
	st.TargetValidity, st.Explained, st.TargetStatus, st.TargetID, st.SourceStatus.HighestModSeq = 0, 1, mailhaul.Status{}, "", 0
	done = len(listing.Minus(recorded)) == 0 && len(j.led.Intents()) == 0
	if !done {
		st.Target = "" // it is made, and begun with
	}
	j.led.SetState(st)
	return done, j.led.Commit(ctx)
}

// usedTargets returns the target mailboxes that are a copy of some mailbox.
func (r *run) usedTargets(ctx context.Context) (map[string]bool, error) {
	known, err := r.ledger.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	for _, wire := range known {
		led, err := r.ledger.Mailbox(ctx, wire)
		if err != nil {
			return nil, err
		}
		used[led.State().Target] = true
	}
	return used, nil
}

// departedJobs returns the work that mailboxes make which are gone from the
// source as a whole: all their messages are, so Config.Deletes decides about
// the copies, and the brake.
func (r *run) departedJobs(ctx context.Context) ([]*job, error) {
	if r.cfg.Deletes == DeletesKeep || len(r.source.Mailboxes) == 0 {
		return nil, nil
	}
	known, err := r.ledger.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	onSource, onTarget := byWire(r.source), byWire(r.target)
	var jobs []*job
	for _, wire := range known {
		if onSource[wire] != nil {
			continue
		}
		led, err := r.ledger.Mailbox(ctx, wire)
		if err != nil {
			return nil, err
		}
		target := onTarget[led.State().Target]
		if target == nil {
			continue
		}
		_, mapped, err := led.Sets(ctx)
		if err != nil {
			return nil, err
		}
		if len(mapped) == 0 {
			continue
		}
		m := mailhaul.Mailbox{Wire: wire, Name: wire}
		jobs = append(jobs, newJob(r, folderMove{Source: m, Target: target, TargetPath: target.Path}, led))
	}
	return jobs, nil
}

// runDeparted deals with the copies of a mailbox that is gone from the source.
func (j *job) runDeparted(ctx context.Context) error {
	more := true
	for more {
		err := j.r.retry(ctx, j.source.Name, j.r.cfg.Retries, func() (err error) {
			more, err = j.departedPass(ctx)
			return err
		})
		if held, ok := errors.AsType[*heldError](err); ok {
			j.hold(held)
			err, more = nil, false
		}
		err = graver(err, j.record(ctx))
		if err != nil && (ctx.Err() != nil || scope(err) != mailhaul.ScopeMailbox && scope(err) != mailhaul.ScopeMessage) {
			return err
		}
		if err != nil {
			j.giveUp(err)
			more = false
		}
	}
	j.res.Source, j.res.Target = j.source.Name, j.target.Name
	j.r.tally.mailbox(j.res)
	return nil
}

func (j *job) departedPass(ctx context.Context) (more bool, err error) {
	c, err := j.compareDeparted(ctx)
	if err != nil || len(c.orphans) == 0 {
		return c.more && err == nil, err
	}
	w, err := j.r.cfg.Target.OpenWriter(ctx, j.target)
	if err != nil {
		return false, err
	}
	defer w.Close()
	if w.Status().UIDValidity != j.led.State().TargetValidity {
		return false, nil
	}
	return c.more, j.deleteCopies(ctx, w, c.orphans, c.asOf)
}

func (j *job) compareDeparted(ctx context.Context) (comparison, error) {
	t, err := j.r.cfg.Target.OpenReader(ctx, j.target)
	if err != nil {
		return comparison{}, err
	}
	defer t.Close()
	st := j.led.State()
	if t.Status().UIDValidity != st.TargetValidity {
		return comparison{}, nil // the copies are not known any more: they stay
	}
	present, err := uidsOf(ctx, t)
	if err != nil {
		return comparison{}, err
	}
	recorded, mapped, err := j.led.Sets(ctx)
	if err != nil {
		return comparison{}, err
	}
	a, err := j.absences(ctx, mailhaul.Status{}, t.Status(), nil, recorded, present, mapped, st.Explained)
	if err != nil {
		return comparison{}, err
	}
	c := comparison{more: a.more, asOf: t.Status().HighestModSeq}
	c.orphans, err = j.orphans(ctx, t, a.orphans)
	return c, err
}
