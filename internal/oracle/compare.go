// Comparing two accounts.

package oracle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CompareOptions says what may differ. With the zero value nothing may, but
// UIDs and UIDVALIDITYs.
type CompareOptions struct {
	// Rename returns where a folder of the source is to be on the target, nil
	// where it is not to be there. Default: where it was.
	Rename func(path []string) []string

	// ExtraFolders allows folders on the target that the source has not.
	ExtraFolders bool

	// ExtraMessages allows messages on the target that the source has not.
	ExtraMessages bool

	// SameUIDs demands the same UID for each message, the same UIDVALIDITY
	// for each folder and a UIDNEXT that is not lower.
	SameUIDs bool

	IgnoreOrder         bool // the order of messages in a folder
	IgnoreDates         bool
	IgnoreRoles         bool // special-use attributes
	IgnoreSubscriptions bool

	// IgnoreFlag leaves out a flag, given in lower case, that the target
	// cannot keep. Default: none.
	IgnoreFlag func(flag string) bool

	// Limit is how many differences of each folder are told one by one; the
	// rest is counted. Default 20.
	Limit int
}

// Compare says in words how dst differs from src. It returns nothing where the
// two are equal.
func Compare(src, dst *Account, opts CompareOptions) []string {
	if opts.Limit == 0 {
		opts.Limit = 20
	}
	var diffs []string
	expected := make(map[string]bool)
	for i := range src.Mailboxes {
		s := &src.Mailboxes[i]
		path := s.Path
		if opts.Rename != nil {
			if path = opts.Rename(slices.Clone(path)); path == nil {
				continue
			}
		}
		expected[key(path)] = true
		d := dst.Find(path...)
		if d == nil {
			// A level that only holds others comes and goes with them.
			if !s.NoSelect {
				diffs = append(diffs, fmt.Sprintf("folder %s: missing on the target, with %d messages", s.Name(), len(s.Messages)))
			}
			continue
		}
		diffs = append(diffs, compareMailbox(s, d, opts)...)
	}
	for i := range dst.Mailboxes {
		d := &dst.Mailboxes[i]
		if !expected[key(d.Path)] && !d.NoSelect && !opts.ExtraFolders {
			diffs = append(diffs, fmt.Sprintf("folder %s: only on the target, with %d messages", d.Name(), len(d.Messages)))
		}
	}
	return diffs
}

func key(path []string) string { return strings.Join(path, "\x00") }

// report collects the differences of one folder.
type report struct {
	folder string
	limit  int
	diffs  []string
	more   int
}

func (r *report) add(format string, args ...any) {
	if len(r.diffs) >= r.limit {
		r.more++
		return
	}
	r.diffs = append(r.diffs, "folder "+r.folder+": "+fmt.Sprintf(format, args...))
}

func (r *report) all() []string {
	if r.more > 0 {
		return append(r.diffs, fmt.Sprintf("folder %s: and %d more differences", r.folder, r.more))
	}
	return r.diffs
}

func compareMailbox(s, d *Mailbox, opts CompareOptions) []string {
	r := &report{folder: s.Name(), limit: opts.Limit}
	if d.NoSelect && !s.NoSelect {
		r.add("cannot be selected on the target, %d messages are missing", len(s.Messages))
		return r.all()
	}
	if !opts.IgnoreRoles && s.Role != d.Role {
		r.add("role %q, on the target %q", s.Role, d.Role)
	}
	if !opts.IgnoreSubscriptions && s.Subscribed != d.Subscribed {
		r.add("subscribed is %v, on the target %v", s.Subscribed, d.Subscribed)
	}
	if opts.SameUIDs && !s.NoSelect {
		if s.UIDValidity != d.UIDValidity {
			r.add("UIDVALIDITY %d, on the target %d", s.UIDValidity, d.UIDValidity)
		}
		if d.UIDNext < s.UIDNext {
			r.add("UIDNEXT %d, on the target only %d", s.UIDNext, d.UIDNext)
		}
	}
	compareMessages(s.Messages, d.Messages, opts, r)
	return r.all()
}

// pair is a message with its copy.
type pair struct{ s, d *Message }

// compareMessages pairs the messages of both sides by their octets, copies of
// the same octets in UID order, and reports what is left over and what else is
// different in a pair.
func compareMessages(src, dst []Message, opts CompareOptions, r *report) {
	copies := make(map[[sha256.Size]byte][]*Message)
	for i := range dst {
		copies[dst[i].Sum] = append(copies[dst[i].Sum], &dst[i])
	}
	if opts.IgnoreOrder {
		// Twins may have changed places; pair those that agree in all else.
		src = slices.SortedStableFunc(slices.Values(src), byDateAndFlags)
		for _, c := range copies {
			slices.SortStableFunc(c, func(a, b *Message) int { return byDateAndFlags(*a, *b) })
		}
	}

	var pairs []pair
	var missing []*Message
	seen := make(map[[sha256.Size]byte]*Message)
	for i := range src {
		s := &src[i]
		seen[s.Sum] = s
		c := copies[s.Sum]
		if len(c) == 0 {
			missing = append(missing, s)
			continue
		}
		pairs = append(pairs, pair{s, c[0]})
		copies[s.Sum] = c[1:]
	}
	var extra []*Message
	for _, c := range copies {
		extra = append(extra, c...)
	}
	slices.SortFunc(extra, func(a, b *Message) int { return cmp.Compare(a.UID, b.UID) })

	pairs, extra = reportMissing(missing, extra, pairs, r, seen)
	for _, d := range extra {
		switch s := seen[d.Sum]; {
		case s != nil:
			r.add("duplicated: message UID %d (%d octets) is on the target once more, as UID %d", s.UID, s.Size, d.UID)
		case !opts.ExtraMessages:
			r.add("extra: target message UID %d (%d octets, %v) is not on the source", d.UID, d.Size, stamp(d.Date))
		}
	}
	for _, p := range pairs {
		comparePair(p, opts, r)
	}
	if !opts.IgnoreOrder {
		compareOrder(pairs, r)
	}
}

// reportMissing reports what the target lacks. Where one message is missing
// and another is too many, of the same date, it is the same message with other
// octets; it becomes a pair and is no longer extra.
func reportMissing(missing, extra []*Message, pairs []pair, r *report, onSource map[[sha256.Size]byte]*Message) ([]pair, []*Message) {
	byDate := make(map[int64][]*Message)
	for _, d := range extra {
		if onSource[d.Sum] == nil {
			byDate[d.Date.Unix()] = append(byDate[d.Date.Unix()], d)
		}
	}
	changed := make(map[*Message]bool)
	for _, s := range missing {
		at := s.Date.Unix()
		if len(byDate[at]) == 0 {
			r.add("missing: message UID %d (%d octets, %v) is not on the target", s.UID, s.Size, stamp(s.Date))
			continue
		}
		d := byDate[at][0]
		byDate[at] = byDate[at][1:]
		changed[d] = true
		r.add("bytes differ: message UID %d has %d octets, its copy UID %d has %d, and they are not the same", s.UID, s.Size, d.UID, d.Size)
		pairs = append(pairs, pair{s, d})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.s.UID, b.s.UID) })
	return pairs, slices.DeleteFunc(extra, func(d *Message) bool { return changed[d] })
}

func comparePair(p pair, opts CompareOptions, r *report) {
	if s, d := keep(p.s.Flags, opts), keep(p.d.Flags, opts); !slices.Equal(s, d) {
		r.add("flags differ: message UID %d has (%s), its copy UID %d has (%s)", p.s.UID, strings.Join(s, " "), p.d.UID, strings.Join(d, " "))
	}
	if !opts.IgnoreDates && !p.s.Date.Equal(p.d.Date) {
		r.add("date differs: message UID %d has %v, its copy UID %d has %v", p.s.UID, stamp(p.s.Date), p.d.UID, stamp(p.d.Date))
	}
	if opts.SameUIDs && p.s.UID != p.d.UID {
		r.add("UID differs: message UID %d has become UID %d", p.s.UID, p.d.UID)
	}
}

// compareOrder reports where the copies' UIDs do not rise with the source's.
func compareOrder(pairs []pair, r *report) {
	wrong := 0
	var first [2]pair
	for i := 1; i < len(pairs); i++ {
		if pairs[i].d.UID < pairs[i-1].d.UID {
			if wrong == 0 {
				first = [2]pair(pairs[i-1 : i+1])
			}
			wrong++
		}
	}
	if wrong > 0 {
		a, b := first[0], first[1]
		r.add("order differs at %d places: messages UID %d, %d have become UID %d, %d", wrong, a.s.UID, b.s.UID, a.d.UID, b.d.UID)
	}
}

func keep(flags []string, opts CompareOptions) []string {
	if opts.IgnoreFlag == nil {
		return flags
	}
	return slices.DeleteFunc(slices.Clone(flags), opts.IgnoreFlag)
}

func byDateAndFlags(a, b Message) int {
	return cmp.Or(a.Date.Compare(b.Date), slices.Compare(a.Flags, b.Flags), bytes.Compare(a.Sum[:], b.Sum[:]), cmp.Compare(a.UID, b.UID))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
