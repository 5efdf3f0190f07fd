// Recognising messages that are on the target already.

package sync

import (
	"context"
	"fmt"
	"io"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

// adopt matches source messages that are not recorded with target messages
// that nobody accounts for, and records the pairs. It returns the source's
// side of them. What was told takes part in it, if there is any: messages whose
// UIDs on the target are in doubt.
func (j *job) adopt(ctx context.Context, s, t mailhaul.Reader, todo, unexplained mailhaul.UIDSet, told *told) (mailhaul.UIDSet, error) {
	flags := make(map[mailhaul.UID][]mailhaul.Flag)
	theirs, err := candidates(ctx, t, unexplained, nil)
	if err != nil {
		return nil, err
	}
	ours, err := candidates(ctx, s, todo, flags)
	if err != nil {
		return nil, err
	}
	match := uidmap.Match(ours, theirs)
	pairs := match.Pairs()
	if us, them := match.Undecided(); len(us) > 0 && len(them) > 0 {
		theirDigests, err := digests(ctx, t, them)
		if err != nil {
			return nil, err
		}
		ourDigests, err := digests(ctx, s, us)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, match.Resolve(ourDigests, theirDigests)...)
	}
	var adopted, inDoubt mailhaul.UIDSet
	for _, in := range j.led.Intents() {
		inDoubt = inDoubt.Union(in.Sources)
	}
	for _, p := range pairs {
		if rec, known, changed := told.confirm(p.Source, p.Target, p.Basis.Altered()); known {
			if changed {
				if rec.Altered && p.Basis.Altered() {
					j.alter(p.Source, p.Target, fmt.Sprintf("the target holds it in another form (%v)", p.Basis))
				}
				if err := j.led.Put(ctx, rec); err != nil {
					return nil, err
				}
			}
			continue
		}
		rec := checkpoint.Record{Source: p.Source, Target: p.Target, Base: flags[p.Source], Altered: p.Basis.Altered()}
		if j.toReadBack(p, inDoubt) {
			rec.State = checkpoint.Unread
		}
		if err := j.led.Put(ctx, rec); err != nil {
			return nil, err
		}
		adopted.Add(p.Source)
		j.found(p)
	}
	return adopted, nil
}

// toReadBack reports whether the octets of a pair are still to be compared:
// those of a message that this run sent if it knows that they are at risk,
// those of an earlier run, which did not live to say, in any case.
func (j *job) toReadBack(p uidmap.Pair, inDoubt mailhaul.UIDSet) bool {
	if p.Basis == uidmap.BasisExact || p.Basis.Altered() {
		return false
	}
	if _, ours := j.sent[p.Source]; ours {
		_, risky := j.checks[p.Source]
		return risky
	}
	return inDoubt.Contains(p.Source)
}

// found counts a message that was recognised: as copied, if this run sent it.
func (j *job) found(p uidmap.Pair) {
	if p.Basis.Altered() {
		j.alter(p.Source, p.Target, fmt.Sprintf("the target holds it in another form (%v)", p.Basis))
		delete(j.checks, p.Source)
	}
	size, ours := j.sent[p.Source]
	if ours {
		delete(j.sent, p.Source)
		j.copied(1, size)
		return
	}
	j.res.Adopted++
	j.progress(1, 0)
}

// candidates describes the messages of a set for the matcher, and keeps their
// flags in the map, if there is one.
func candidates(ctx context.Context, r mailhaul.Reader, set mailhaul.UIDSet, flags map[mailhaul.UID][]mailhaul.Flag) ([]uidmap.Candidate, error) {
	fields := mailhaul.FieldHeader | mailhaul.FieldSize | mailhaul.FieldDate
	if flags != nil {
		fields |= mailhaul.FieldFlags
	}
	list := make([]uidmap.Candidate, 0, set.Len())
	var seen mailhaul.UIDSet
	for m, err := range r.Messages(ctx, set, fields, 0) {
		if err != nil {
			return nil, err
		}
		if !set.Contains(m.UID) || seen.Contains(m.UID) {
			continue
		}
		seen.Add(m.UID)
		key, hasID := uidmap.KeyOf(m.Header)
		list = append(list, uidmap.Candidate{UID: m.UID, Key: key, HasID: hasID, Size: m.Size, Date: m.InternalDate})
		if flags != nil {
			flags[m.UID], _ = mailhaul.NormalizeFlags(m.Flags)
		}
	}
	return list, nil
}

// digests reads the bodies of a set.
func digests(ctx context.Context, r mailhaul.Reader, set mailhaul.UIDSet) (map[mailhaul.UID]uidmap.Digest, error) {
	sums := make(map[mailhaul.UID]uidmap.Digest, set.Len())
	err := streamEach(ctx, r, set, func(uid mailhaul.UID, body io.Reader) error {
		d := uidmap.NewDigester()
		if _, err := io.Copy(d, body); err != nil {
			return err
		}
		sums[uid] = d.Sum()
		return nil
	})
	return sums, err
}
