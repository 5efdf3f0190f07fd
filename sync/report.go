// The report of a move: what an operator sends to the customer whose mail it
// was.

package sync

import (
	"context"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// ReportFormat is the format of a Report's JSON. It rises when a key changes
// its meaning or goes; new keys may come at any time.
const ReportFormat = 1

// Verdict is what a report comes to.
type Verdict string

// The verdicts.
const (
	// VerdictComplete: each message of the source is on the target, octet by
	// octet, or its absence there is the target user's own doing; both sides
	// were read to prove it, and the last pass found nothing to do. Messages
	// that the target's server stored with other octets are listed.
	VerdictComplete Verdict = "complete"
	// VerdictIncomplete: the report lists what is missing.
	VerdictIncomplete Verdict = "incomplete"
	// VerdictMoving: nothing is missing, but the source was still changing.
	VerdictMoving Verdict = "still changing"
	// VerdictUnverified: nothing is known to be missing, and nothing was read to
	// prove it.
	VerdictUnverified Verdict = "not verified"
	// VerdictStopped: it did not come to an end.
	VerdictStopped Verdict = "stopped"
)

// Report is what came of the move of one account. It is made by
// [Syncer.CutOver] and [Syncer.Report], and written by WriteText, WriteJSON and
// WriteHTML. docs/cutover.md describes the keys.
type Report struct {
	Format  int       `json:"format"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`

	Verdict  Verdict `json:"verdict"`
	InStep   bool    `json:"in_step"`           // the last pass found nothing to do on either side
	Verified bool    `json:"verified"`          // both sides were read and compared
	Stopped  string  `json:"stopped,omitempty"` // why it did not come to an end

	// Total sums the folders up. Its Hash is empty.
	Total   ReportFolder   `json:"total"`
	Folders []ReportFolder `json:"folders"`

	// NotMoved lists what of the source could not be moved, Altered the
	// messages that the target's server keeps with other octets than the
	// source's, Unexplained the differences that the comparison found and
	// nothing accounts for, Held the folders that wait for a decision.
	NotMoved    []Failure          `json:"not_moved"`
	Altered     []Alteration       `json:"altered"`
	Unexplained []ReportDifference `json:"unexplained"`
	Held        []Held             `json:"held"`
	Warnings    []string           `json:"warnings"`
}

// ReportFolder is one mailbox. Counts are of messages.
type ReportFolder struct {
	Source string `json:"source,omitempty"`
	Target string `json:"target,omitempty"`

	// Identity is the level of identity that holds (mailhaul.Level), and
	// IdentityReason why it is no higher, where that is known.
	Identity       string `json:"identity,omitempty"`
	IdentityReason string `json:"identity_reason,omitempty"`

	// Both sides as they were read, all zero where they were not.
	SourceSide MailboxDigest `json:"source_side"`
	TargetSide MailboxDigest `json:"target_side"`

	// What the passes did, as in MailboxResult.
	Messages     int   `json:"messages"`
	Copied       int   `json:"copied"`
	Adopted      int   `json:"adopted"`
	Skipped      int   `json:"skipped"`
	FlagsUpdated int   `json:"flags_updated"`
	FlagsDropped int   `json:"flags_dropped"`
	Deleted      int   `json:"deleted"`
	Bytes        int64 `json:"bytes"`

	// What of the source is not on the target, or is there with other octets,
	// and why: it could not be moved; the target's server altered it; the
	// target's user removed it, or moved it to another folder; it arrived while
	// both sides were read and was moved afterwards; nobody knows.
	NotMoved      int `json:"not_moved"`
	Altered       int `json:"altered"`
	RemovedByUser int `json:"removed_by_user"`
	MovedLater    int `json:"moved_later"`
	Unexplained   int `json:"unexplained"`

	// What the target holds besides: copies of messages that the source no
	// longer has, and mail of the target's own.
	Kept int `json:"kept"`
	Own  int `json:"own"`
}

// Same reports whether both sides were read and hold the same messages.
func (f *ReportFolder) Same() bool {
	return f.SourceSide.Hash != "" && f.SourceSide == f.TargetSide
}

// ReportDifference is a message that one side holds and the other does not, for
// no reason that is known, or that a server lists and does not deliver.
type ReportDifference struct {
	Mailbox string       `json:"mailbox"` // of the source
	Side    Side         `json:"side"`    // that holds it
	UID     mailhaul.UID `json:"uid"`
	Size    int64        `json:"size"`
	SHA256  string       `json:"sha256,omitempty"`
	Reason  string       `json:"reason"`
}

// Complete reports whether the verdict is VerdictComplete.
func (r *Report) Complete() bool { return r.Verdict == VerdictComplete }

// NewReport makes the report of what Run, or Follow, has done since started;
// err is the error that it ended with. Nothing is read, so that nothing is
// proved: the verdict is VerdictUnverified at best. [Syncer.CutOver] makes a
// report that is proved.
func NewReport(res *Result, err error, started time.Time) *Report {
	r := newReport(res)
	r.Started, r.Ended = started, time.Now()
	if err != nil {
		r.Stopped = err.Error()
	}
	r.sumUp()
	r.judge()
	return r
}

func newReport(res *Result) *Report {
	r := &Report{
		Format: ReportFormat, From: res.From, To: res.To, Verdict: VerdictStopped, Folders: []ReportFolder{},
		NotMoved: append([]Failure{}, res.Failed...), Altered: append([]Alteration{}, res.Altered...),
		Unexplained: []ReportDifference{}, Held: append([]Held{}, res.Held...), Warnings: append([]string{}, res.Warnings...),
	}
	for _, m := range res.PerMailbox {
		r.Folders = append(r.Folders, ReportFolder{
			Source: m.Source, Target: m.Target, Identity: res.Identity[m.Source],
			Messages: m.Messages, Copied: m.Copied, Adopted: m.Adopted, Skipped: m.Skipped, FlagsUpdated: m.FlagsUpdated,
			FlagsDropped: m.FlagsDropped, Deleted: m.Deleted, Bytes: m.Bytes, RemovedByUser: m.RemovedOnTarget,
		})
	}
	for _, d := range res.IdentityDetail {
		if i := r.folder(d.Source); i >= 0 {
			r.Folders[i].IdentityReason = d.Reason
		}
	}
	for _, f := range res.Failed {
		if i := r.folder(f.Mailbox); i >= 0 {
			r.Folders[i].NotMoved++
		}
	}
	for _, a := range res.Altered {
		if i := r.folder(a.Mailbox); i >= 0 {
			r.Folders[i].Altered++
		}
	}
	return r
}

func (r *Report) folder(source string) int {
	return slices.IndexFunc(r.Folders, func(f ReportFolder) bool { return f.Source == source })
}

// report puts together what the passes did and what the comparison found.
func (s *Syncer) report(ctx context.Context, res *Result, found *verified, late map[string]mailhaul.UIDSet) (*Report, error) {
	r := newReport(res)
	var err error
	if found != nil {
		err = s.explainAll(ctx, r, found, late)
		r.Verified = err == nil
	}
	r.sumUp()
	return r, err
}

func (s *Syncer) explainAll(ctx context.Context, r *Report, found *verified, late map[string]mailhaul.UIDSet) error {
	ledger, err := s.ledger(ctx)
	if err != nil {
		return err
	}
	for n, m := range found.Mailboxes {
		i := r.folder(m.Source)
		if i < 0 {
			r.Folders = append(r.Folders, ReportFolder{Source: m.Source})
			i = len(r.Folders) - 1
		}
		f := &r.Folders[i]
		if m.Target != "" {
			f.Target = m.Target
		}
		f.SourceSide, f.TargetSide = m.SourceSide, m.TargetSide
		if f.Same() && m.SourceSide.Unread == "" {
			f.RemovedByUser = 0
			continue
		}
		led, err := ledger.Mailbox(ctx, found.read[n].wire)
		if err != nil {
			return err
		}
		e := explainer{r: r, f: f, m: m, read: found.read[n], led: led, late: late[m.Source], failed: make(map[mailhaul.UID]bool)}
		for _, failed := range r.NotMoved {
			if failed.Mailbox == m.Source {
				e.failed[failed.UID] = true // 0 for the whole mailbox
			}
		}
		if err := e.explain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// explainer accounts for the differences that the comparison of one mailbox
// found.
type explainer struct {
	r      *Report
	f      *ReportFolder
	m      MailboxVerification
	read   readMailbox
	led    *checkpoint.MailboxLedger
	late   mailhaul.UIDSet
	failed map[mailhaul.UID]bool
}

func (e *explainer) explain(ctx context.Context) error {
	f := e.f
	f.RemovedByUser, f.NotMoved, f.Altered = 0, 0, 0 // of what is on the source now
	if e.failed[0] {
		f.NotMoved++
	}
	extra := make(map[mailhaul.UID]bool, len(e.m.Extra))
	for _, d := range e.m.Extra {
		extra[d.UID] = true
	}
	for _, d := range e.m.Missing {
		rec, known, err := e.led.Get(ctx, d.UID)
		if err != nil {
			return err
		}
		switch {
		case e.failed[d.UID], e.failed[0]:
			f.NotMoved++
		case known && rec.State == checkpoint.Removed:
			f.RemovedByUser++
		case known && e.late.Contains(d.UID):
			f.MovedLater++
		case known && rec.Altered && extra[rec.Target]:
			f.Altered++
			delete(extra, rec.Target)
		case known && rec.Placed() && !e.read.target.Contains(rec.Target) && e.read.short != "":
			e.differs(SideSource, d, e.read.short)
		case known && rec.Placed() && !e.read.target.Contains(rec.Target):
			f.RemovedByUser++ // since the last pass
		case known && rec.Placed():
			e.differs(SideSource, d, "the message on the target has other octets")
			delete(extra, rec.Target)
		default:
			e.differs(SideSource, d, "the target holds no such message")
		}
	}
	return e.besides(ctx, extra)
}

// besides accounts for what the target holds and the source does not.
func (e *explainer) besides(ctx context.Context, extra map[mailhaul.UID]bool) error {
	gone := make(map[mailhaul.UID]bool) // our copies of what the source no longer has
	ours := make(map[mailhaul.UID]bool)
	if len(extra)+len(e.m.Twice) > 0 {
		for rec, err := range e.led.Records(ctx, 0) {
			if err != nil {
				return err
			}
			if rec.Placed() {
				ours[rec.Target] = true
				if !e.read.source.Contains(rec.Source) && e.read.target.Contains(rec.Target) {
					gone[rec.Target] = true
				}
			}
		}
	}
	for uid := range extra {
		if gone[uid] {
			e.f.Kept++
			delete(gone, uid)
		} else {
			e.f.Own++
		}
	}
	kept := len(gone) // of twins, one is as good as the other
	for _, d := range e.m.Twice {
		switch {
		case !ours[d.UID]:
			e.f.Own++
		case kept > 0:
			kept--
			e.f.Kept++
		default:
			e.differs(SideTarget, d, "the target holds more copies than the source")
		}
	}
	for _, side := range []struct {
		side   Side
		unread string
	}{{SideSource, e.m.SourceSide.Unread}, {SideTarget, e.m.TargetSide.Unread}} {
		uids, err := mailhaul.ParseUIDSet(side.unread)
		if err != nil {
			continue // there are none
		}
		for uid := range uids.All() {
			e.differs(side.side, MessageDigest{UID: uid}, "the server lists the message and does not deliver it")
		}
	}
	return nil
}

func (e *explainer) differs(side Side, d MessageDigest, reason string) {
	e.f.Unexplained++
	e.r.Unexplained = append(e.r.Unexplained, ReportDifference{
		Mailbox: e.m.Source, Side: side, UID: d.UID, Size: d.Size, SHA256: d.SHA256, Reason: reason,
	})
}

// sumUp fills in the totals.
func (r *Report) sumUp() {
	t := &r.Total
	for _, f := range r.Folders {
		for _, add := range []struct {
			to *int
			n  int
		}{
			{&t.SourceSide.Messages, f.SourceSide.Messages}, {&t.TargetSide.Messages, f.TargetSide.Messages},
			{&t.Messages, f.Messages}, {&t.Copied, f.Copied}, {&t.Adopted, f.Adopted}, {&t.Skipped, f.Skipped},
			{&t.FlagsUpdated, f.FlagsUpdated}, {&t.FlagsDropped, f.FlagsDropped}, {&t.Deleted, f.Deleted},
			{&t.NotMoved, f.NotMoved}, {&t.Altered, f.Altered}, {&t.RemovedByUser, f.RemovedByUser},
			{&t.MovedLater, f.MovedLater}, {&t.Unexplained, f.Unexplained}, {&t.Kept, f.Kept}, {&t.Own, f.Own},
		} {
			*add.to += add.n
		}
		t.SourceSide.Bytes += f.SourceSide.Bytes
		t.TargetSide.Bytes += f.TargetSide.Bytes
		t.Bytes += f.Bytes
	}
}

// judge comes to a verdict.
func (r *Report) judge() {
	switch {
	case r.Stopped != "":
		r.Verdict = VerdictStopped
	case len(r.NotMoved)+len(r.Unexplained)+len(r.Held) > 0:
		r.Verdict = VerdictIncomplete
	case !r.Verified:
		r.Verdict = VerdictUnverified
	case !r.InStep:
		r.Verdict = VerdictMoving
	default:
		r.Verdict = VerdictComplete
	}
}
