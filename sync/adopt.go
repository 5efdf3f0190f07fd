// Recognising messages that are on the target already.

package sync

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

// maxCandidates is how many messages of each side are held in memory to be
// matched with one another: some 3 MB. Where both sides have more, they go to
// disk (adopt_disk.go).
const maxCandidates = 10_000

// adoption is the matching of source messages that are not recorded with
// target messages that nobody accounts for.
type adoption struct {
	j              *job
	source, target mailhaul.Reader
	told           *told           // messages whose UIDs on the target are in doubt; may be nil
	inDoubt        mailhaul.UIDSet // sources of batches that were sent and of which no UIDs are known
	intents        []checkpoint.Intent
	mended         []mendedPair    // what was recognised of these, with flags that may have to be mended
	adopted        mailhaul.UIDSet // sources of the pairs that were recorded
}

// adopt matches source messages that are not recorded with target messages
// that nobody accounts for, and records the pairs. It returns the source's
// side of them, and adds to c flags that are to be set. What was told takes part in it, if there is any: messages whose
// UIDs on the target are in doubt. With an error, what had been recognised by
// then is recorded: the next pass has less to do.
//
// Its memory does not grow with either side, but for messages that have the
// same key: all of these are held at once.
func (j *job) adopt(ctx context.Context, s, t mailhaul.Reader, todo, unexplained mailhaul.UIDSet, told *told, c *comparison) (mailhaul.UIDSet, error) {
	a := &adoption{j: j, source: s, target: t, told: told}
	a.intents = j.led.Intents()
	for _, in := range a.intents {
		a.inDoubt = a.inDoubt.Union(in.Sources)
	}
	var err error
	if min(todo.Len(), unexplained.Len()) > j.r.cfg.maxCandidates {
		err = a.onDisk(ctx, todo, unexplained)
	} else {
		err = a.inMemory(ctx, todo, unexplained)
	}
	if err == nil {
		err = a.restoreFlags(ctx, c)
	}
	return a.adopted, err
}

// mendedPair is a message that we appended, and the flags that it was sent
// with.
type mendedPair struct {
	foundPair
	sent  []mailhaul.Flag
	whole bool // the target has, or had, all of them
}

// ours reports whether we put the message there: it was sent, and what was
// found lies where everything does that was stored since. A twin of it that was
// there before may be its user's own.
func (a *adoption) ours(p foundPair) bool {
	if !a.inDoubt.Contains(p.Source) {
		return false
	}
	return slices.ContainsFunc(a.intents, func(in checkpoint.Intent) bool {
		return p.Target >= in.Watermark && in.Sources.Contains(p.Source)
	})
}

// mend takes note of a message of ours whose flags may be others on the target
// than on the source: the server died, or the source's user has changed them
// since they were sent.
func (a *adoption) mend(p foundPair) {
	m, known := a.j.sent[p.Source]
	switch before, tried := a.j.outlived[p.Source]; {
	case a.ours(p) && !known:
		m.flags = p.flags // an earlier run sent it, with flags that nobody knows
	case a.ours(p):
	case tried && p.Target >= before.watermark && before.validity == a.j.led.State().TargetValidity:
		m, known = sentMessage{flags: before.flags}, true // the server had it after all
	default:
		return // it was there before: its flags are its user's
	}
	sent, _ := mailhaul.NormalizeFlags(m.flags)
	if known && m.stored && sameFlags(sent, p.flags) || len(sent)+len(p.flags) == 0 {
		return
	}
	a.mended = append(a.mended, mendedPair{p, sent, m.stored})
}

// restoreFlags merges the flags of such messages. A server that is killed may
// keep the message of a batch in flight and lose its flags: what is missing is
// no wish of the target's user then, so it is set like any change of the
// source's.
func (a *adoption) restoreFlags(ctx context.Context, c *comparison) error {
	if len(a.mended) == 0 {
		return nil
	}
	pairs := make(map[mailhaul.UID]mendedPair, len(a.mended))
	uids := make([]mailhaul.UID, 0, len(a.mended))
	for _, p := range a.mended {
		pairs[p.Target] = p
		uids = append(uids, p.Target)
	}
	for m, err := range a.target.Messages(ctx, mailhaul.UIDSetOf(uids...), mailhaul.FieldFlags, 0) {
		if err != nil {
			return err
		}
		p, ok := pairs[m.UID]
		if !ok {
			continue
		}
		delete(pairs, m.UID)
		now, _ := mailhaul.NormalizeFlags(m.Flags)
		base := p.sent
		if !p.whole {
			base = common(base, now)
		}
		if sameFlags(base, p.flags) {
			continue
		}
		rec, known, err := a.j.led.Get(ctx, p.Source)
		if err != nil {
			return err
		}
		if !known || rec.Target != p.Target {
			continue
		}
		// Should this run not live to set them, the next one asks for all flags
		// and finds the difference.
		rec.Base = base
		if err := a.j.led.Put(ctx, rec); err != nil {
			return err
		}
		c.rescan = true
		add, remove := mergeFlags(base, p.flags, now)
		rec.Base = p.flags
		c.flags = append(c.flags, flagWork{mailhaul.FlagChange{UID: p.Target, Add: add, Remove: remove}, rec})
	}
	return nil
}

// inMemory lists the smaller side first: of the other, only messages that have
// the key of one of these are held.
func (a *adoption) inMemory(ctx context.Context, todo, unexplained mailhaul.UIDSet) error {
	var ours, theirs side
	var err error
	if todo.Len() < unexplained.Len() {
		if ours, err = sideOf(listing(ctx, a.source, todo, true), nil); err == nil {
			theirs, err = sideOf(listing(ctx, a.target, unexplained, false), ours.keys())
		}
	} else {
		if theirs, err = sideOf(listing(ctx, a.target, unexplained, false), nil); err == nil {
			ours, err = sideOf(listing(ctx, a.source, todo, true), theirs.keys())
		}
	}
	if err != nil {
		return err
	}
	pairs, err := a.match(ctx, ours.candidates, theirs.candidates)
	found := make([]foundPair, len(pairs))
	for i, p := range pairs {
		found[i] = foundPair{p, ours.flags[p.Source]}
	}
	return graver(err, a.record(ctx, found))
}

// match pairs messages, and reads bodies where listings do not decide. With an
// error, it returns the pairs that listings decide.
func (a *adoption) match(ctx context.Context, ours, theirs []uidmap.Candidate) ([]uidmap.Pair, error) {
	matching := uidmap.Match
	if a.j.impose || a.j.led.State().Imposed != "" {
		matching = uidmap.MatchImposed
	}
	match := matching(ours, theirs)
	us, them := match.Undecided()
	if len(us) == 0 || len(them) == 0 {
		return match.Pairs(), nil
	}
	theirDigests, err := digests(ctx, a.target, them)
	if err != nil {
		return match.Pairs(), err
	}
	ourDigests, err := digests(ctx, a.source, us)
	if err != nil {
		return match.Pairs(), err
	}
	return slices.Concat(match.Pairs(), match.Resolve(ourDigests, theirDigests)), nil
}

// foundPair is a pair, and the flags that the source has.
type foundPair struct {
	uidmap.Pair
	flags []mailhaul.Flag
}

// recordAtOnce is how many records are staged together: each Put copies the
// chunks that it touches.
const recordAtOnce = 512

// record stages pairs, which it sorts by the source's UIDs, and counts them.
func (a *adoption) record(ctx context.Context, pairs []foundPair) error {
	slices.SortFunc(pairs, func(p, q foundPair) int { return cmp.Compare(p.Source, q.Source) })
	targets := make([]mailhaul.UID, 0, len(pairs))
	defer func() {
		set := mailhaul.UIDSetOf(targets...) // a set is slow to add to in any order
		a.told.take(set)
		a.j.recognised = a.j.recognised.Union(set)
	}()
	for some := range slices.Chunk(pairs, recordAtOnce) {
		records := make([]checkpoint.Record, 0, len(some))
		fresh := make([]foundPair, 0, len(some))
		for _, p := range some {
			rec, known, changed, err := a.told.confirm(ctx, p.Source, p.Target, p.Basis.Altered())
			switch {
			case err != nil:
				return err
			case !known:
				records = append(records, a.recordOf(p))
				fresh = append(fresh, p)
				a.mend(p)
			case changed:
				if p.Basis.Altered() {
					a.j.alterForm(p.Pair)
				}
				records = append(records, rec)
			}
		}
		if err := a.j.led.Put(ctx, records...); err != nil {
			return err
		}
		if len(records) > 0 {
			a.j.unprove()
		}
		for _, p := range some {
			targets = append(targets, p.Target)
			a.j.wrote.Add(p.Source)
		}
		for _, p := range fresh {
			a.adopted.Add(p.Source)
		}
		a.j.found(fresh)
	}
	return nil
}

func (a *adoption) recordOf(p foundPair) checkpoint.Record {
	rec := checkpoint.Record{Source: p.Source, Target: p.Target, Base: p.flags, Altered: p.Basis.Altered()}
	rec.Adopted = !a.ours(p)
	if a.j.toReadBack(p.Pair, a.inDoubt) {
		rec.State = checkpoint.Unread
	}
	return rec
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

// found counts messages that were recognised: as copied, if this run sent them.
func (j *job) found(pairs []foundPair) {
	adopted, copied, bytes := 0, 0, int64(0)
	for _, p := range pairs {
		if p.Basis.Altered() {
			j.alterForm(p.Pair)
			delete(j.checks, p.Source)
		}
		if m, ours := j.sent[p.Source]; ours {
			delete(j.sent, p.Source)
			copied++
			bytes += m.size
		} else {
			adopted++
		}
	}
	if copied > 0 {
		j.copied(copied, bytes)
	}
	if adopted > 0 {
		j.res.Adopted += adopted
		j.progress(adopted, 0)
	}
}

// alterForm lists a pair whose octets differ.
func (j *job) alterForm(p uidmap.Pair) {
	j.alter(p.Source, p.Target, fmt.Sprintf("the target holds it in another form (%v)", p.Basis))
}

// listed is a message as a listing shows it.
type listed struct {
	uidmap.Candidate
	flags []mailhaul.Flag // normalised; only if they were asked for
}

// listing yields what the matcher is to know of the messages of a set, each
// once. After an error it ends.
func listing(ctx context.Context, r mailhaul.Reader, set mailhaul.UIDSet, flags bool) iter.Seq2[listed, error] {
	fields := mailhaul.FieldHeader | mailhaul.FieldSize | mailhaul.FieldDate
	if flags {
		fields |= mailhaul.FieldFlags
	}
	return func(yield func(listed, error) bool) {
		var seen mailhaul.UIDSet
		for m, err := range r.Messages(ctx, set, fields, 0) {
			if err != nil {
				yield(listed{}, err)
				return
			}
			if !set.Contains(m.UID) || seen.Contains(m.UID) {
				continue
			}
			seen.Add(m.UID)
			var l listed
			l.UID, l.Size, l.Date = m.UID, m.Size, m.InternalDate
			l.Key, l.HasID = uidmap.KeyOf(m.Header)
			if flags {
				l.flags, _ = mailhaul.NormalizeFlags(m.Flags)
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// side is the messages of one side that are held in memory.
type side struct {
	candidates []uidmap.Candidate
	flags      map[mailhaul.UID][]mailhaul.Flag // of those that have any
}

// sideOf collects messages: all of them, or those that have one of the keys.
func sideOf(messages iter.Seq2[listed, error], only map[uidmap.Key]bool) (side, error) {
	s := side{flags: make(map[mailhaul.UID][]mailhaul.Flag)}
	sets := make(flagSets)
	for m, err := range messages {
		if err != nil {
			return s, err
		}
		if only != nil && !only[m.Key] {
			continue
		}
		s.candidates = append(s.candidates, m.Candidate)
		if len(m.flags) > 0 {
			s.flags[m.UID] = sets.shared(m.flags)
		}
	}
	return s, nil
}

func (s side) keys() map[uidmap.Key]bool {
	keys := make(map[uidmap.Key]bool, len(s.candidates))
	for i := range s.candidates {
		keys[s.candidates[i].Key] = true
	}
	return keys
}

// flagSets lets messages with the same flags share them, by their text. A
// server may send others with each message: it never holds more than
// maxFlagSets.
type flagSets map[string][]mailhaul.Flag

const maxFlagSets = 1024

// shared returns the flags that were first given for such flags. They are
// normalised: none holds a blank.
func (f flagSets) shared(flags []mailhaul.Flag) []mailhaul.Flag {
	var room [128]byte
	text := appendFlags(room[:0], flags)
	if known, ok := f[string(text)]; ok {
		return known
	}
	f.keep(string(text), flags)
	return flags
}

// parse is the inverse of appendFlags.
func (f flagSets) parse(text []byte) []mailhaul.Flag {
	if len(text) == 0 {
		return nil
	}
	if known, ok := f[string(text)]; ok {
		return known
	}
	var flags []mailhaul.Flag
	whole := string(text)
	for flag := range strings.SplitSeq(whole, " ") {
		flags = append(flags, mailhaul.Flag(flag))
	}
	f.keep(whole, flags)
	return flags
}

func (f flagSets) keep(text string, flags []mailhaul.Flag) {
	if len(f) >= maxFlagSets {
		clear(f)
	}
	f[text] = flags
}

// appendFlags appends normalised flags, separated by blanks.
func appendFlags(b []byte, flags []mailhaul.Flag) []byte {
	for i, flag := range flags {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, flag...)
	}
	return b
}

// candidates describes the messages of a set for the matcher.
func candidates(ctx context.Context, r mailhaul.Reader, set mailhaul.UIDSet) ([]uidmap.Candidate, error) {
	s, err := sideOf(listing(ctx, r, set, false), nil)
	return s.candidates, err
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
