// What a run has done, in numbers and in lists.

package sync

import (
	"cmp"
	"errors"
	"slices"
	stdsync "sync"

	"github.com/mailhaul/mailhaul"
)

// Result is what a run has done. Its JSON form is the report of
// examples/migrate, whose keys scripts rely on.
//
// Every message of the source is counted in exactly one of Copied, Adopted,
// Skipped, Vanished, RemovedOnTarget and Failed, unless the run was stopped
// early or its mailbox is in Failed as a whole.
type Result struct {
	From string `json:"from"`
	To   string `json:"to"`

	Mailboxes       int `json:"mailboxes"`
	Messages        int `json:"messages"`          // in the source
	Copied          int `json:"copied"`            // appended by this run
	Adopted         int `json:"adopted"`           // found on the target already
	Skipped         int `json:"skipped"`           // known from an earlier run
	Vanished        int `json:"vanished"`          // gone from the source while being moved
	RemovedOnTarget int `json:"removed_on_target"` // moved once, since removed by the target's user; not brought back
	FlagsUpdated    int `json:"flags_updated"`
	Deleted         int `json:"deleted,omitempty"` // copies removed or flagged, their messages being gone from the source

	// RemovedFromSource is for whoever calls RemoveMoved after the run: messages
	// that the source's server has confirmed to be gone.
	RemovedFromSource int `json:"removed_from_source,omitempty"`

	Bytes      int64   `json:"bytes"` // of the messages copied
	Seconds    float64 `json:"seconds"`
	RoundTrips int64   `json:"round_trips"` // waits for a server, the larger side

	// Identity is the level (mailhaul.Level) that holds for each mailbox of the
	// source: "order" where UIDs on the target rise in the order of the source,
	// "none" where they do not (mail was there before). "uid" and "exact" are
	// said only of what was proved by reading both sides. IdentityDetail says
	// more, in the order of the plan.
	Identity       map[string]string `json:"identity"`
	IdentityDetail []MailboxIdentity `json:"identity_detail"`

	// Altered lists messages whose octets on the target are not those of the
	// source: the server changed them, or they were there in that form.
	Altered []Alteration `json:"altered"`

	// Failed lists what of the source is not on the target.
	Failed []Failure `json:"failed"`

	// Held lists mailboxes that the brake has stopped. They are in Failed too.
	Held []Held `json:"held,omitempty"`

	// Warnings are sentences about anything else that an operator should know.
	Warnings []string `json:"warnings"`

	// PerMailbox has the counts of each mailbox, in the order of the plan.
	PerMailbox []MailboxResult `json:"per_mailbox"`
}

// MailboxResult is what a run has done to one mailbox.
type MailboxResult struct {
	Source          string `json:"source"`
	Target          string `json:"target"`
	Messages        int    `json:"messages"`
	Copied          int    `json:"copied"`
	Adopted         int    `json:"adopted"`
	Skipped         int    `json:"skipped"`
	Vanished        int    `json:"vanished"`
	RemovedOnTarget int    `json:"removed_on_target"`
	FlagsUpdated    int    `json:"flags_updated"`
	Deleted         int    `json:"deleted,omitempty"`
	FlagsDropped    int    `json:"flags_dropped"` // keywords that the target cannot keep
	Bytes           int64  `json:"bytes"`
	Failed          int    `json:"failed"`
}

// Finding is what is known of one part of a mailbox's identity.
type Finding string

// The findings.
const (
	Holds       Finding = "holds"
	DoesNotHold Finding = "does not hold"
	NotProved   Finding = "not proved" // nobody has looked

	// HoldsByNamespace is said of a name whose levels are the same, behind
	// another prefix or with another separator between them (INBOX.Work.2020
	// for Work/2020). Programs that ask the server for these (NAMESPACE, LIST)
	// see the same mailbox; one that was given them by its user may have to be
	// given the new ones.
	HoldsByNamespace Finding = "holds by namespace"

	NotApplicable Finding = "n/a" // the source has none, or the target keeps none at all
)

func finding(holds bool) Finding {
	if holds {
		return Holds
	}
	return DoesNotHold
}

// MailboxIdentity says what of a mailbox's identity holds on the target.
type MailboxIdentity struct {
	Source string         `json:"source"` // names as the servers' users see them
	Target string         `json:"target"`
	Level  mailhaul.Level `json:"level"`

	// Reason says in one sentence why the level is no higher.
	Reason string `json:"reason,omitempty"`

	// Name is whether the mailbox has the same name on both sides. Where it
	// does not hold, programs take it for another mailbox, whatever its UIDs,
	// and the level is not LevelExact.
	Name Finding `json:"name"`

	// UIDValidity is whether both sides have the same, UIDNext and
	// HighestModSeq whether the target's is not lower than the source's was
	// when it was last listed. A target without mod-sequences (CONDSTORE) has
	// none that could be lower: it is not applicable then.
	UIDValidity   Finding `json:"uidvalidity"`
	UIDNext       Finding `json:"uidnext"`
	HighestModSeq Finding `json:"highestmodseq"`

	// Of the Messages that were moved and are still there, SameUID have the UID
	// that they have on the source. EndedAt is the first of the source's UIDs
	// that is another on the target; 0 where there is none.
	Messages int          `json:"messages"`
	SameUID  int          `json:"same_uid"`
	EndedAt  mailhaul.UID `json:"ended_at,omitempty"`

	// UIDLs is whether the target shows each message of the source that it
	// holds under its UIDL, in the same order: SameUIDL of the WithUIDL that
	// were looked for.
	UIDLs    Finding `json:"uidls"`
	WithUIDL int     `json:"with_uidl,omitempty"`
	SameUIDL int     `json:"same_uidl,omitempty"`

	// Checked messages were looked for under their UID on the target, and their
	// sizes compared; the octets of Sampled of them were read on both sides. Of
	// these, Missing were not there, or had other octets, although they are not
	// in Result.Altered. All are 0 where nothing was read.
	Checked int `json:"checked,omitempty"`
	Sampled int `json:"sampled,omitempty"`
	Missing int `json:"missing,omitempty"`
}

// Failure is a message, or a whole mailbox where UID and UIDL are empty, that
// could not be moved.
type Failure struct {
	Mailbox string        `json:"mailbox"`
	UID     mailhaul.UID  `json:"uid,omitempty"`
	UIDL    mailhaul.UIDL `json:"uidl,omitempty"`
	Reason  string        `json:"reason"`

	// Err is the error behind the reason.
	Err error `json:"-"`
}

// Alteration is a message whose octets differ on the target.
type Alteration struct {
	Mailbox   string       `json:"mailbox"`
	UID       mailhaul.UID `json:"uid"`
	TargetUID mailhaul.UID `json:"target_uid"`
	Reason    string       `json:"reason"`
}

// Complete reports whether all of the source is on the target.
func (r *Result) Complete() bool { return len(r.Failed) == 0 }

// tally gathers the Result from the goroutines of a run.
type tally struct {
	mu stdsync.Mutex // protects r
	r  Result
}

func newTally(cfg Config) *tally {
	return &tally{r: Result{
		From: cfg.Source.Account().String(), To: cfg.Target.Account().String(),
		Identity: map[string]string{}, IdentityDetail: []MailboxIdentity{}, Altered: []Alteration{}, Failed: []Failure{}, Warnings: []string{}, PerMailbox: []MailboxResult{},
	}}
}

func (t *tally) warn(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.r.Warnings, text) {
		t.r.Warnings = append(t.r.Warnings, text)
	}
}

func (t *tally) fail(f Failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := errors.AsType[*mailhaul.Error](f.Err); ok && f.UIDL == "" && e.UIDL != "" {
		f.UIDL = e.UIDL
	}
	t.r.Failed = append(t.r.Failed, f)
}

func (t *tally) hold(h Held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Held = append(t.r.Held, h)
}

func (t *tally) alter(a Alteration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Altered = append(t.r.Altered, a)
}

func (t *tally) identity(m MailboxIdentity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.Identity[m.Source] = string(m.Level)
	t.r.IdentityDetail = slices.DeleteFunc(t.r.IdentityDetail, func(earlier MailboxIdentity) bool { return earlier.Source == m.Source })
	t.r.IdentityDetail = append(t.r.IdentityDetail, m)
}

func (t *tally) mailbox(m MailboxResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.r.PerMailbox = slices.DeleteFunc(t.r.PerMailbox, func(earlier MailboxResult) bool { return earlier.Source == m.Source })
	t.r.PerMailbox = append(t.r.PerMailbox, m)
}

// result adds everything up.
func (t *tally) result(order []string) *Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.r
	place := make(map[string]int, len(order))
	for i, name := range order {
		place[name] = i
	}
	slices.SortStableFunc(r.PerMailbox, func(a, b MailboxResult) int { return cmp.Compare(place[a.Source], place[b.Source]) })
	slices.SortStableFunc(r.IdentityDetail, func(a, b MailboxIdentity) int { return cmp.Compare(place[a.Source], place[b.Source]) })
	slices.SortStableFunc(r.Failed, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(place[a.Mailbox], place[b.Mailbox]), cmp.Compare(a.UID, b.UID))
	})
	slices.SortStableFunc(r.Altered, func(a, b Alteration) int {
		return cmp.Or(cmp.Compare(place[a.Mailbox], place[b.Mailbox]), cmp.Compare(a.UID, b.UID))
	})
	r.Mailboxes = len(order)
	for _, m := range r.PerMailbox {
		r.Messages += m.Messages
		r.Copied += m.Copied
		r.Adopted += m.Adopted
		r.Skipped += m.Skipped
		r.Vanished += m.Vanished
		r.RemovedOnTarget += m.RemovedOnTarget
		r.FlagsUpdated += m.FlagsUpdated
		r.Deleted += m.Deleted
		r.Bytes += m.Bytes
	}
	return &r
}
