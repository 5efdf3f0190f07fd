// Verify: whether both accounts hold the same mail, found out by reading it.

package sync

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// VerifyOptions are optional settings of [Verify]. They are those of the
// [Config] that the migration ran with, so that folders are looked for where
// they were put.
type VerifyOptions struct {
	// Include, Exclude, Rename and Shared choose and map the mailboxes, as in
	// Config.
	Include, Exclude []string
	Rename           func(path []string) []string
	Shared           bool

	// Store tells where an earlier pass put a mailbox. Nothing else that it
	// says is believed, and nothing is written to it. Nil: only the names and
	// roles of the mailboxes decide.
	Store checkpoint.Store

	// Progress is called after each mailbox, from one goroutine at a time.
	Progress func(MailboxVerification)
}

// Verification is what [Verify] found. Its JSON form is for scripts.
type Verification struct {
	From string `json:"from"`
	To   string `json:"to"`

	// Messages is how many the source holds in the mailboxes that were
	// compared. Missing of them are not on the target. Twice counts messages
	// of the target that are there more often than on the source, Extra those
	// that the source does not have at all: mail of the target's own. Unread
	// counts messages, of either side, that a server lists and does not deliver.
	Messages int `json:"messages"`
	Missing  int `json:"missing"`
	Twice    int `json:"twice"`
	Extra    int `json:"extra"`
	Unread   int `json:"unread"`

	// Differences are sentences, one for each kind in each mailbox.
	Differences []string `json:"differences"`

	Mailboxes []MailboxVerification `json:"mailboxes"`
}

// Complete reports whether each message of the source is on the target, octet
// by octet, and none of them more often than on the source. Further mail on the
// target does not matter.
func (v *Verification) Complete() bool { return v.Missing+v.Twice+v.Unread == 0 }

// Same reports whether nothing differs at all.
func (v *Verification) Same() bool { return len(v.Differences) == 0 }

// MailboxVerification compares one mailbox of the source with its copy.
type MailboxVerification struct {
	Source string `json:"source"`
	Target string `json:"target"` // empty where there is none

	SourceSide MailboxDigest `json:"source_side"`
	TargetSide MailboxDigest `json:"target_side"`

	// Missing are the messages of the source that the target does not hold,
	// Twice and Extra the messages of the target that are too many.
	Missing []MessageDigest `json:"missing"`
	Twice   []MessageDigest `json:"twice"`
	Extra   []MessageDigest `json:"extra"`
}

// MailboxDigest sums a mailbox up. Two mailboxes with the same digest hold the
// same messages, in whatever order and under whatever UIDs.
type MailboxDigest struct {
	Messages int    `json:"messages"`
	Bytes    int64  `json:"bytes"`
	Hash     string `json:"hash"` // the sum of the messages' SHA-256, modulo 2^256, in hexadecimal digits

	// Unread are the UIDs of messages that the server lists and does not
	// deliver. They are in none of the above.
	Unread string `json:"unread,omitempty"`
}

// MessageDigest is a message that one side holds and the other does not.
type MessageDigest struct {
	UID    mailhaul.UID `json:"uid"`
	Size   int64        `json:"size"`
	SHA256 string       `json:"sha256"`
}

// Verify reads all mail of both accounts and compares it, mailbox by mailbox.
// It writes nothing. It shares no code with a run but the plan of which mailbox
// goes where, and takes no checkpoint's word for what is on the target. A view
// (\All, \Flagged) has to hold only what no other mailbox of the source holds.
//
// Of a message nothing is kept but its digest, some 50 octets. Both sides are
// read at the same time, over one connection each; a lost connection is
// replaced, and the reading goes on where it was. Messages that come or go
// meanwhile may show as differences.
//
// An error means that not everything could be read. The Verification is nil
// then.
func Verify(ctx context.Context, source, target mailhaul.Source, opts VerifyOptions) (*Verification, error) {
	plan, err := verifyPlan(ctx, source, target, opts)
	if err != nil {
		return nil, err
	}
	// UIDs that outlive a lost connection; nobody else is to know them.
	ledger, err := checkpoint.OpenLedger(ctx, checkpoint.NewMemory(), checkpoint.Pair{From: source.Account(), To: target.Account()})
	if err != nil {
		return nil, err
	}
	v, err := verifyPlanned(ctx, withUIDs(source, ledger), target, plan, opts.Progress)
	if err != nil {
		return nil, err
	}
	return v.Verification, nil
}

// verified is a Verification with what was read of each of its mailboxes.
type verified struct {
	*Verification
	read []readMailbox
}

type readMailbox struct {
	wire           string               // of the source
	source, target mailhaul.UIDSet      // UIDs
	validity       mailhaul.UIDValidity // of the source
	short          string               // that the target does not list all that it has; empty: it does
}

// verifyPlanned reads what the plan names on both sides.
func verifyPlanned(ctx context.Context, source, target mailhaul.Source, plan *folderPlan, progress func(MailboxVerification)) (*verified, error) {
	v := &verified{Verification: &Verification{
		From: source.Account().String(), To: target.Account().String(), Differences: []string{}, Mailboxes: []MailboxVerification{},
	}}
	var elsewhere map[[sha256.Size]byte]bool
	if slices.ContainsFunc(plan.Moves, func(m folderMove) bool { return m.View }) {
		elsewhere = make(map[[sha256.Size]byte]bool)
	}
	for _, m := range plan.Moves { // views come last
		if m.Container {
			continue
		}
		g, gctx := errgroup.WithContext(ctx)
		var ours, theirs contents
		g.Go(func() (err error) {
			ours, err = digestMailbox(gctx, source, m.Source)
			return err
		})
		if m.Target != nil {
			g.Go(func() (err error) {
				theirs, err = digestMailbox(gctx, target, *m.Target)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		var held map[[sha256.Size]byte]bool
		if m.View {
			held = elsewhere
		} else if elsewhere != nil {
			for _, d := range ours.read {
				elsewhere[d.sum] = true
			}
		}
		read := readMailbox{wire: m.Source.Wire, source: ours.uids(), target: theirs.uids(), validity: ours.validity}
		if theirs.short > 0 {
			read.short = fmt.Sprintf("the target lists %d of %d messages, and not this one", theirs.has-theirs.short, theirs.has)
		}
		v.read = append(v.read, read)
		v.add(compareDigests(m, ours, theirs, held))
		if progress != nil {
			progress(v.Mailboxes[len(v.Mailboxes)-1])
		}
	}
	return v, nil
}

// verifyPlan says which mailbox is to be compared with which.
func verifyPlan(ctx context.Context, source, target mailhaul.Source, opts VerifyOptions) (*folderPlan, error) {
	from, err := source.List(ctx)
	if err != nil {
		return nil, err
	}
	to, err := target.List(ctx)
	if err != nil {
		return nil, err
	}
	options := folderOptions{Include: opts.Include, Exclude: opts.Exclude, Rename: opts.Rename, Shared: opts.Shared}
	if opts.Store != nil {
		ledger, err := checkpoint.OpenLedger(ctx, opts.Store, checkpoint.Pair{From: source.Account(), To: target.Account()})
		if err != nil {
			return nil, err
		}
		r := &run{ledger: ledger}
		if options.Earlier, err = r.earlier(ctx, to); err != nil {
			return nil, err
		}
	}
	return planFolders(from, to, options)
}

// digest is what is kept of a message.
type digest struct {
	sum  [sha256.Size]byte
	uid  mailhaul.UID
	size int64
}

// contents is what was read of a mailbox.
type contents struct {
	read   []digest
	unread mailhaul.UIDSet // listed, and not delivered

	validity   mailhaul.UIDValidity
	has, short int // messages that it has, and of those how many it does not list
}

// digestMailbox reads a mailbox, over as many connections as it takes, one at
// a time.
func digestMailbox(ctx context.Context, side mailhaul.Source, m mailhaul.Mailbox) (c contents, err error) {
	for failed, shorts := 0, 0; ; {
		read := len(c.read)
		err := c.readOn(ctx, side, m)
		if err == nil && c.short > 0 && shorts < maxShorts {
			shorts++ // some may have been deleted while it was listed
			continue
		}
		if err == nil {
			return c, nil
		}
		if failed++; len(c.read) > read {
			failed = 1
		}
		kind := mailhaul.KindOf(err)
		if ctx.Err() != nil || failed > 5 || kind != mailhaul.Transient && kind != mailhaul.Throttled {
			return c, err
		}
		select {
		case <-time.After(backoff(failed, 500*time.Millisecond, 30*time.Second)):
		case <-ctx.Done():
			return c, ctx.Err()
		}
	}
}

// verifyAhead is how many messages are asked for before the first has come.
const verifyAhead = 16

// readOn reads what has not been read yet, over one connection.
func (c *contents) readOn(ctx context.Context, side mailhaul.Source, m mailhaul.Mailbox) error {
	r, err := side.OpenReader(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	c.validity, c.has, c.short = r.Status().UIDValidity, int(r.Status().Messages), 0
	if c.has == 0 {
		return nil
	}
	uids, err := r.UIDs(ctx)
	if err != nil {
		return err
	}
	c.short = shortage(r.Status(), uids)
	var read mailhaul.UIDSet
	for _, d := range c.read {
		read.Add(d.uid)
	}
	uids = uids.Minus(read)
	for chunk := range uids.Chunks(verifyAhead) {
		var answers []seq
		for uid := range chunk.All() {
			answer, err := r.Fetch(ctx, mailhaul.UIDSetOf(uid), true)
			if err != nil {
				return err
			}
			answers = append(answers, answer)
		}
		for _, answer := range answers {
			for got, err := range answer {
				if err != nil {
					return err
				}
				if !chunk.Contains(got.UID) {
					got.Body.Release()
					continue
				}
				d := digest{uid: got.UID}
				h := sha256.New()
				d.size, err = io.Copy(h, got.Body.Reader())
				got.Body.Release()
				if err != nil {
					return err
				}
				h.Sum(d.sum[:0])
				c.read = append(c.read, d)
				read.Add(d.uid)
			}
		}
	}
	if c.unread = uids.Minus(read); len(c.unread) > 0 { // gone meanwhile, or withheld
		there, err := r.UIDs(ctx)
		if err != nil {
			return err
		}
		c.unread = c.unread.Intersect(there)
	}
	return nil
}

// compareDigests compares two mailboxes as multisets. What of the source is
// held elsewhere need not be on the target.
func compareDigests(m folderMove, source, target contents, elsewhere map[[sha256.Size]byte]bool) MailboxVerification {
	v := MailboxVerification{
		Source: m.Source.Name, SourceSide: source.sumUp(), TargetSide: target.sumUp(),
		Missing: []MessageDigest{}, Twice: []MessageDigest{}, Extra: []MessageDigest{},
	}
	if m.Target != nil {
		v.Target = m.Target.Name
	}
	if v.SourceSide == v.TargetSide {
		return v
	}
	ours, theirs := source.read, target.read
	byDigest := func(a, b digest) int { return cmp.Or(bytes.Compare(a.sum[:], b.sum[:]), cmp.Compare(a.uid, b.uid)) }
	slices.SortFunc(ours, byDigest)
	slices.SortFunc(theirs, byDigest)
	i, k := 0, 0
	for i < len(ours) || k < len(theirs) {
		order := -1
		if i == len(ours) {
			order = 1
		} else if k < len(theirs) {
			order = bytes.Compare(ours[i].sum[:], theirs[k].sum[:])
		}
		switch {
		case order == 0:
			i++
			k++
		case order < 0:
			if !elsewhere[ours[i].sum] {
				v.Missing = append(v.Missing, ours[i].message())
			}
			i++
		default:
			if i > 0 && ours[i-1].sum == theirs[k].sum {
				v.Twice = append(v.Twice, theirs[k].message())
			} else {
				v.Extra = append(v.Extra, theirs[k].message())
			}
			k++
		}
	}
	for _, list := range [][]MessageDigest{v.Missing, v.Twice, v.Extra} {
		slices.SortFunc(list, func(a, b MessageDigest) int { return cmp.Compare(a.UID, b.UID) })
	}
	return v
}

func (c *contents) uids() mailhaul.UIDSet {
	uids := make([]mailhaul.UID, len(c.read))
	for i, d := range c.read {
		uids[i] = d.uid
	}
	slices.Sort(uids)
	return mailhaul.UIDSetOf(uids...)
}

func (d digest) message() MessageDigest {
	return MessageDigest{UID: d.uid, Size: d.size, SHA256: hex.EncodeToString(d.sum[:])}
}

// sumUp adds the digests of a mailbox up. A sum, unlike an exclusive or, does
// not lose twins.
func (c *contents) sumUp() MailboxDigest {
	d := MailboxDigest{Messages: len(c.read), Unread: c.unread.String()}
	var sum [sha256.Size]byte
	for _, m := range c.read {
		d.Bytes += m.size
		var carry uint
		for i := len(sum) - 1; i >= 0; i-- {
			s, over := bits.Add(uint(sum[i]), uint(m.sum[i]), carry)
			sum[i], carry = byte(s), over|s>>8
		}
	}
	d.Hash = hex.EncodeToString(sum[:])
	return d
}

// add puts a mailbox into the verification, and its differences into words.
func (v *Verification) add(m MailboxVerification) {
	v.Mailboxes = append(v.Mailboxes, m)
	v.Messages += m.SourceSide.Messages
	v.Missing += len(m.Missing)
	v.Twice += len(m.Twice)
	v.Extra += len(m.Extra)
	say := func(list []MessageDigest, text string) {
		if len(list) == 0 {
			return
		}
		var uids mailhaul.UIDSet
		for _, d := range list {
			uids.Add(d.UID)
		}
		which := uids.String()
		if len(which) > 60 {
			which = fmt.Sprintf("%.60s…", which)
		}
		v.Differences = append(v.Differences, fmt.Sprintf("mailbox %q: %d %s (UID %s)", m.Source, len(list), text, which))
	}
	missing := "of the source's messages are not on the target"
	if m.Target == "" {
		missing = "messages are missing, since the mailbox is not on the target"
	}
	for _, side := range []struct {
		name   string
		digest MailboxDigest
	}{{"source", m.SourceSide}, {"target", m.TargetSide}} {
		if uids, err := mailhaul.ParseUIDSet(side.digest.Unread); err == nil && len(uids) > 0 {
			v.Unread += uids.Len()
			v.Differences = append(v.Differences, fmt.Sprintf("mailbox %q: the %s lists %d messages and does not deliver them (UID %.60s)",
				m.Source, side.name, uids.Len(), side.digest.Unread))
		}
	}
	say(m.Missing, missing)
	say(m.Twice, "of the target's messages are there more often than on the source")
	say(m.Extra, "of the target's messages are not the source's")
}
