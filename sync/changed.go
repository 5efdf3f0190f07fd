// Whether a pass had anything to do.

package sync

import "slices"

// Changed reports whether the pass found anything to do on either side: mail
// to be moved or recognised, a flag to be carried over, a copy to be removed.
// Two accounts are in step when a pass over everything is complete and has
// changed nothing. What could not be moved does not count, and neither does what
// the target's user removed, which is only noted: a target in use would never
// come to rest.
func (r *Result) Changed() bool {
	return r.Copied+r.Adopted+r.Vanished+r.FlagsUpdated+r.Deleted > 0
}

// add takes a further pass into the sum of several. What was done adds up; what
// mailboxes hold, what failed there and what was found altered is what the last
// pass that looked at them says. whole says that it looked at everything.
func (r *Result) add(p *Result, whole bool) {
	looked := make(map[string]bool, len(p.PerMailbox))
	earlier := make(map[string]MailboxResult, len(r.PerMailbox))
	for _, m := range r.PerMailbox {
		earlier[m.Source] = m
	}
	sum := *p
	sum.PerMailbox = []MailboxResult{}
	for _, m := range p.PerMailbox {
		looked[m.Source] = true
		if e, ok := earlier[m.Source]; ok {
			m.Copied += e.Copied
			m.Adopted += e.Adopted
			m.Skipped = e.Skipped
			m.Vanished += e.Vanished
			m.RemovedOnTarget += e.RemovedOnTarget
			m.FlagsUpdated += e.FlagsUpdated
			m.Deleted += e.Deleted
			m.FlagsDropped += e.FlagsDropped
			m.Bytes += e.Bytes
		}
		sum.PerMailbox = append(sum.PerMailbox, m)
	}
	sum.Copied += r.Copied
	sum.Adopted += r.Adopted
	sum.Vanished += r.Vanished
	sum.RemovedOnTarget += r.RemovedOnTarget
	sum.FlagsUpdated += r.FlagsUpdated
	sum.Deleted += r.Deleted
	sum.Bytes += r.Bytes
	sum.Seconds += r.Seconds
	sum.RoundTrips += r.RoundTrips
	if len(r.PerMailbox) > 0 {
		sum.Skipped = r.Skipped
	}
	if !whole {
		sum.Mailboxes, sum.Messages = r.Mailboxes, r.Messages
		for i, m := range r.PerMailbox { // in the order of the whole pass
			for _, now := range sum.PerMailbox {
				if now.Source == m.Source {
					sum.Messages += now.Messages - m.Messages
					r.PerMailbox[i] = now
				}
			}
		}
		sum.PerMailbox = r.PerMailbox
		for mailbox, level := range r.Identity {
			if _, ok := sum.Identity[mailbox]; !ok {
				sum.Identity[mailbox] = level
			}
		}
		sum.IdentityDetail = slices.Clone(r.IdentityDetail)
		for _, now := range p.IdentityDetail {
			if at := slices.IndexFunc(sum.IdentityDetail, func(m MailboxIdentity) bool { return m.Source == now.Source }); at >= 0 {
				sum.IdentityDetail[at] = now
			} else {
				sum.IdentityDetail = append(sum.IdentityDetail, now)
			}
		}
		for _, d := range r.IdentityDetail {
			if !slices.ContainsFunc(sum.IdentityDetail, func(now MailboxIdentity) bool { return now.Source == d.Source }) {
				sum.IdentityDetail = append(sum.IdentityDetail, d)
			}
		}
		for _, f := range r.Failed {
			if !looked[f.Mailbox] {
				sum.Failed = append(sum.Failed, f)
			}
		}
		for _, h := range r.Held {
			if !looked[h.Mailbox] {
				sum.Held = append(sum.Held, h)
			}
		}
		for _, a := range r.Altered {
			if !looked[a.Mailbox] {
				sum.Altered = append(sum.Altered, a)
			}
		}
	}
	for _, w := range r.Warnings {
		if !slices.Contains(sum.Warnings, w) {
			sum.Warnings = append(sum.Warnings, w)
		}
	}
	*r = sum
}
