// UIDs for sources that have none: a POP3 server names its messages by
// unique-ids (UIDL), and the engine by UIDs that rise in the order of arrival.

package sync

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

// withUIDs decorates a source whose Readers know message numbers and UIDLs
// only, so that their UIDs last: each message gets the next UID at first sight,
// in the order of the maildrop, and keeps it for ever. What was assigned is in
// the ledger, staged with whatever else the engine has found out and durable
// together with it: no intent and no record speaks of a UID that could be
// forgotten and given to another message. Other sources are returned as they
// are.
func withUIDs(source mailhaul.Source, ledger *checkpoint.Ledger) mailhaul.Source {
	if source.Account().Protocol != mailhaul.POP3 {
		return source
	}
	return &assigner{source, ledger}
}

// assigner is a source with lasting UIDs.
type assigner struct {
	mailhaul.Source
	ledger *checkpoint.Ledger
}

// Unwrap lets mailhaul.As see the source.
func (a *assigner) Unwrap() mailhaul.Source { return a.Source }

// TellsUIDLs implements mailhaul.UIDLTeller.
func (a *assigner) TellsUIDLs(mailhaul.Mailbox) bool { return true }

// OpenReader opens a Reader whose UIDs last.
func (a *assigner) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	led, err := a.ledger.Mailbox(ctx, m.Wire)
	if err != nil {
		return nil, err
	}
	inner, err := a.Source.OpenReader(ctx, m)
	if err != nil {
		return nil, err
	}
	r := &assignedReader{Reader: inner}
	if err := r.assign(ctx, led, m.Name); err != nil {
		_ = inner.Close()
		return nil, err
	}
	return r, nil
}

// assignedReader translates between UIDs and the numbers that the Reader below
// has for UIDs.
type assignedReader struct {
	mailhaul.Reader
	uids    []mailhaul.UID                // by number, from 1
	numbers map[mailhaul.UID]mailhaul.UID // the inverse
	set     mailhaul.UIDSet
	next    mailhaul.UID
}

// assign finds out which messages have UIDs, and gives UIDs to the others.
func (r *assignedReader) assign(ctx context.Context, led *checkpoint.MailboxLedger, mailbox string) error {
	var list []checkpoint.AssignedUIDL
	if n := r.Reader.Status().Messages; n > 0 {
		all := mailhaul.UIDSet{{First: 1, Last: mailhaul.UID(n)}}
		list = make([]checkpoint.AssignedUIDL, 0, n)
		for m, err := range r.Reader.Messages(ctx, all, mailhaul.FieldSize, 0) {
			if err != nil {
				return err
			}
			if int(m.UID) != len(list)+1 || m.UIDL == "" {
				return fmt.Errorf("the reader of %q lists number %d, with the UIDL %q, in place of %d", mailbox, m.UID, m.UIDL, len(list)+1)
			}
			list = append(list, checkpoint.AssignedUIDL{UIDL: m.UIDL, Size: m.Size})
		}
	}
	known, err := led.UIDLs(ctx)
	if err != nil {
		return err
	}
	if numbersForUIDLs(list, known) {
		return &mailhaul.Error{Op: "list messages of", Mailbox: mailbox, Kind: mailhaul.Corrupt, Scope: mailhaul.ScopeMailbox,
			Err:  errors.New("the server gives message numbers for unique-ids, and they name other messages than before"),
			Hint: "delete the checkpoint (-state) to have all mail recognised by content"}
	}
	if err := r.tellApart(ctx, list, known); err != nil {
		return err
	}
	recognise(list, known)
	var fresh []checkpoint.AssignedUIDL
	for _, m := range list {
		if m.UID == 0 {
			fresh = append(fresh, m)
		}
	}
	next, err := led.AssignUIDs(ctx, fresh)
	if err != nil {
		return err
	}
	r.uids = make([]mailhaul.UID, len(list))
	r.numbers = make(map[mailhaul.UID]mailhaul.UID, len(list))
	for i, m := range list {
		if m.UID == 0 {
			m.UID = next
			next++
		}
		r.uids[i] = m.UID
		r.numbers[m.UID] = mailhaul.UID(i + 1)
	}
	sorted := slices.Clone(r.uids)
	slices.Sort(sorted)
	r.set, r.next = mailhaul.UIDSetOf(sorted...), next
	return nil
}

// apart stands between a UIDL and the key of the message's header in the names
// of messages that share a UIDL. No UIDL holds it.
const apart = "\x00"

// plain returns the UIDL that a name begins with.
func plain(name mailhaul.UIDL) mailhaul.UIDL {
	uidl, _, _ := strings.Cut(string(name), apart)
	return mailhaul.UIDL(uidl)
}

// tellApart puts the keys of the headers behind UIDLs that are not unique, now
// or before. Only then is the server asked for anything. A name that begins
// with a blank is a digest already.
func (r *assignedReader) tellApart(ctx context.Context, list, known []checkpoint.AssignedUIDL) error {
	count := make(map[mailhaul.UIDL]int, len(list))
	for _, m := range list {
		count[m.UIDL]++
	}
	for _, m := range known {
		if u := plain(m.UIDL); u != m.UIDL {
			count[u] += 2
		}
	}
	var ask mailhaul.UIDSet
	for i, m := range list {
		if count[m.UIDL] > 1 && !strings.HasPrefix(string(m.UIDL), " ") {
			ask.Add(mailhaul.UID(i + 1))
		}
	}
	if len(ask) == 0 {
		return nil
	}
	for m, err := range r.Reader.Messages(ctx, ask, mailhaul.FieldHeader, 0) {
		if err != nil {
			return err
		}
		key, _ := uidmap.KeyOf(m.Header)
		list[m.UID-1].UIDL += mailhaul.UIDL(apart + hex.EncodeToString(key[:]))
	}
	return nil
}

// recognise fills in the UIDs of the messages of a listing that were seen
// before. A name that is there once on either side decides by itself, since
// some servers change what they say of sizes. Where it is there more often, the
// size has to be the same, and among equal ones the order decides: they are
// copies of one another. A message whose UIDL was unique when it was first seen
// is recognised by that and its size.
func recognise(list, known []checkpoint.AssignedUIDL) {
	match := func(name func(mailhaul.UIDL) mailhaul.UIDL, alone bool) {
		type group struct{ now, before []int }
		groups := make(map[mailhaul.UIDL]*group, len(list))
		taken := make(map[mailhaul.UID]bool)
		for i, m := range list {
			if m.UID != 0 {
				taken[m.UID] = true
				continue
			}
			g := groups[name(m.UIDL)]
			if g == nil {
				g = &group{}
				groups[name(m.UIDL)] = g
			}
			g.now = append(g.now, i)
		}
		for k, m := range known {
			if g := groups[m.UIDL]; g != nil && !taken[m.UID] {
				g.before = append(g.before, k)
			}
		}
		for _, g := range groups {
			if alone && len(g.now) == 1 && len(g.before) == 1 {
				list[g.now[0]].UID = known[g.before[0]].UID
				continue
			}
			for _, i := range g.now {
				at := slices.IndexFunc(g.before, func(k int) bool { return known[k].Size == list[i].Size })
				if at >= 0 {
					list[i].UID = known[g.before[at]].UID
					g.before = slices.Delete(g.before, at, at+1)
				}
			}
		}
	}
	match(func(u mailhaul.UIDL) mailhaul.UIDL { return u }, true)
	match(plain, false)
}

// numbersForUIDLs reports whether the UIDLs are the numbers of the messages,
// now and before, and most sizes are others than before: such names say nothing
// once a message was deleted.
func numbersForUIDLs(list, known []checkpoint.AssignedUIDL) bool {
	number := func(i int, m checkpoint.AssignedUIDL) bool { return string(m.UIDL) == strconv.Itoa(i+1) }
	changed, same := 0, 0
	for i := range min(len(list), len(known)) {
		if !number(i, list[i]) || !number(i, known[i]) {
			return false
		}
		if list[i].Size == known[i].Size {
			same++
		} else {
			changed++
		}
	}
	return changed > 2 && changed > same
}

// assignedValidity is the UIDVALIDITY of assigned UIDs: they live and end with
// the checkpoint that remembers them.
const assignedValidity = 1

// Status implements mailhaul.Reader.
func (r *assignedReader) Status() mailhaul.Status {
	st := r.Reader.Status()
	st.UIDValidity, st.UIDNext = assignedValidity, r.next
	return st
}

// UIDs implements mailhaul.Reader.
func (r *assignedReader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	return r.set, ctx.Err()
}

// below returns the numbers of the messages in the set.
func (r *assignedReader) below(set mailhaul.UIDSet) mailhaul.UIDSet {
	set = set.Intersect(r.set)
	numbers := make([]mailhaul.UID, 0, set.Len())
	for uid := range set.All() {
		numbers = append(numbers, r.numbers[uid])
	}
	slices.Sort(numbers)
	return mailhaul.UIDSetOf(numbers...)
}

// named returns err with the UID that it is about in the place of the number.
func (r *assignedReader) named(err error) error {
	e, ok := errors.AsType[*mailhaul.Error](err)
	if !ok || e.UID == 0 || int(e.UID) > len(r.uids) {
		return err
	}
	at := *e
	at.UID = r.uids[e.UID-1]
	return &at
}

// Messages implements mailhaul.Reader.
func (r *assignedReader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, changedSince mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		for m, err := range r.Reader.Messages(ctx, r.below(set), fields, changedSince) {
			if err != nil {
				yield(m, r.named(err))
				return
			}
			m.Order = uint32(m.UID)
			m.UID = r.uids[m.UID-1]
			if !yield(m, nil) {
				return
			}
		}
	}
}

// Fetch implements mailhaul.Reader.
func (r *assignedReader) Fetch(ctx context.Context, set mailhaul.UIDSet, stream bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	answer, err := r.Reader.Fetch(ctx, r.below(set), stream)
	if err != nil {
		return nil, r.named(err)
	}
	return func(yield func(mailhaul.Fetched, error) bool) {
		for f, err := range answer {
			if err != nil {
				yield(f, r.named(err))
				return
			}
			f.UID = r.uids[f.UID-1]
			if !yield(f, nil) {
				return
			}
		}
	}, nil
}
