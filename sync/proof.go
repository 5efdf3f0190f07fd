// Proof of identity: both sides are read, and compared with what the map says.

package sync

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/uidmap"
)

// ProveOptions are settings of [Prove].
type ProveOptions struct {
	// Include, Exclude, Rename and Shared choose and map the mailboxes, as in
	// the Config that the migration ran with.
	Include, Exclude []string
	Rename           func(path []string) []string
	Shared           bool

	// Store holds the map that is to be proved. It is required. Nothing is
	// written to it.
	Store checkpoint.Store

	// UIDLTarget is the target's account as its POP3 server shows it. Nil:
	// UIDLs are not proved. The caller closes it.
	UIDLTarget mailhaul.Source

	// Samples and SampleBytes bound the messages of each mailbox whose octets
	// are read on both sides. Default 50 messages and 20 MB; negative means
	// none. Seed chooses them: the same one chooses the same.
	Samples     int
	SampleBytes int64
	Seed        uint64

	// Progress is called after each mailbox.
	Progress func(MailboxIdentity)
}

// Proof is what [Prove] found. Its JSON form is for scripts.
type Proof struct {
	From      string            `json:"from"`
	To        string            `json:"to"`
	Mailboxes []MailboxIdentity `json:"mailboxes"`
}

// Level returns the lowest level of all mailboxes, and LevelExact where there
// are none.
func (p *Proof) Level() mailhaul.Level {
	level := mailhaul.LevelExact
	for _, m := range p.Mailboxes {
		level = lower(level, m.Level)
	}
	return level
}

// Prove reads both accounts and says, mailbox by mailbox, how much of the
// source's identity holds on the target: UIDVALIDITY, UIDNEXT and HIGHESTMODSEQ
// as the servers say; for each message that the map places on the target, that
// it is there under that UID, with the same size; for a sample, and for those
// whose sizes differ, that the octets are the same; and, given the target's
// POP3 server, each UIDL and their order. It writes nothing.
//
// Whether all of the source is on the target is not its question, but that of
// [Verify]. Messages that come or go meanwhile may show as missing. It does not
// try again: an error means that not everything could be read, and the Proof is
// nil then.
func Prove(ctx context.Context, source, target mailhaul.Source, opts ProveOptions) (*Proof, error) {
	if opts.Store == nil {
		return nil, errors.New("sync: ProveOptions.Store is missing")
	}
	plan, err := verifyPlan(ctx, source, target, VerifyOptions{
		Include: opts.Include, Exclude: opts.Exclude, Rename: opts.Rename, Shared: opts.Shared, Store: opts.Store,
	})
	if err != nil {
		return nil, err
	}
	ledger, err := checkpoint.OpenLedger(ctx, opts.Store, checkpoint.Pair{From: source.Account(), To: target.Account()})
	if err != nil {
		return nil, err
	}
	source = withUIDs(source, ledger)
	if opts.Samples == 0 {
		opts.Samples = 50
	}
	if opts.SampleBytes == 0 {
		opts.SampleBytes = 20_000_000
	}
	p := &Proof{From: source.Account().String(), To: target.Account().String(), Mailboxes: []MailboxIdentity{}}
	for _, m := range plan.Moves {
		if m.Container || m.Target == nil {
			continue
		}
		led, err := ledger.Mailbox(ctx, m.Source.Wire)
		if err != nil {
			return nil, err
		}
		st := led.State()
		if st.Target != m.Target.Wire {
			continue // nothing was moved there
		}
		pr := prover{
			source: source, target: target, pop: opts.UIDLTarget, from: m.Source, to: *m.Target, led: led,
			samples: opts.Samples, bytes: opts.SampleBytes, seed: opts.Seed,
		}
		e, err := pr.prove(ctx, nil)
		if err != nil {
			return nil, err
		}
		out := identityOf(m.Source, *m.Target, e.mapped, identityFacts{
			source: e.source, target: &e.target, assigned: source.Account().Protocol == mailhaul.POP3,
			uidls: tellsUIDLs(source, m.Source), found: e,
		})
		p.Mailboxes = append(p.Mailboxes, out)
		if opts.Progress != nil {
			opts.Progress(out)
		}
	}
	return p, nil
}

// prover proves the identity of one mailbox.
type prover struct {
	source, target mailhaul.Source
	pop            mailhaul.Source // may be nil
	from, to       mailhaul.Mailbox
	led            *checkpoint.MailboxLedger
	samples        int
	bytes          int64
	seed           uint64

	// try, if set, reads the UIDLs; that they cannot be read is no error then,
	// but evidence.popErr.
	try func(func() error) error
}

// evidence is what was read of one mailbox.
type evidence struct {
	source, target mailhaul.Status
	present        mailhaul.UIDSet // of the target; not read where its UIDNEXT says that nothing has come
	mapped         mapped          // all records

	checked, sampled, missing int

	pop                bool // the target's POP3 server was read
	popErr             error
	withUIDL, sameUIDL int
	inOrder            bool
}

// proveAtOnce is how many messages of each side are looked at together.
const proveAtOnce = 5000

// prove reads both sides. Of the records, only those of the messages in only
// are checked, where that is given.
func (p *prover) prove(ctx context.Context, only *mailhaul.UIDSet) (*evidence, error) {
	e := &evidence{mapped: mapped{rising: true}}
	var uidls []expectedUIDL
	if err := p.readBoth(ctx, e, only, &uidls); err != nil {
		return nil, err
	}
	if e.source.HighestModSeq != 0 {
		if err := askHighestModSeq(ctx, p.target, p.to, &e.target); err != nil {
			return nil, err
		}
	}
	if p.pop != nil && p.to.IsInbox() && tellsUIDLs(p.source, p.from) {
		try := p.try
		if try == nil {
			try = func(f func() error) error { return f() }
		}
		err := try(func() error { return p.readUIDLs(ctx, e, uidls) })
		switch {
		case err != nil && (ctx.Err() != nil || p.try == nil):
			return nil, err
		case err != nil:
			e.pop, e.popErr = false, err
		}
	}
	return e, nil
}

// statusTeller is a Target that can ask for the state of a mailbox without
// opening it.
type statusTeller interface {
	MailboxStatus(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Status, error)
}

// askHighestModSeq asks for the mailbox's HIGHESTMODSEQ where opening the mailbox did not tell it:
// Dovecot opens a mailbox that another session has just made without
// HIGHESTMODSEQ, and without saying that it has none.
func askHighestModSeq(ctx context.Context, target mailhaul.Source, m mailhaul.Mailbox, now *mailhaul.Status) error {
	teller, ok := mailhaul.As[statusTeller](target)
	if !ok || now.HighestModSeq != 0 {
		return nil
	}
	st, err := teller.MailboxStatus(ctx, m)
	switch {
	case errors.Is(err, mailhaul.ErrUnsupported):
		return nil
	case err != nil:
		return err
	case st.UIDValidity == now.UIDValidity:
		now.HighestModSeq = st.HighestModSeq
	}
	return nil
}

// readBoth compares what both servers say of the messages.
func (p *prover) readBoth(ctx context.Context, e *evidence, only *mailhaul.UIDSet, uidls *[]expectedUIDL) error {
	t, err := p.target.OpenReader(ctx, p.to)
	if err != nil {
		return err
	}
	defer t.Close()
	s, err := p.source.OpenReader(ctx, p.from)
	if err != nil {
		return err
	}
	defer s.Close()
	e.source, e.target = s.Status(), t.Status()
	if e.present, err = uidsOf(ctx, t); err != nil {
		return err
	}
	var order map[mailhaul.UID]mailhaul.Message
	if p.pop != nil && tellsUIDLs(p.source, p.from) {
		if order, err = p.sourceUIDLs(ctx, s); err != nil {
			return err
		}
	}
	pick := newSample(p.samples, p.bytes, p.seed, p.from.Wire)
	last := mailhaul.UID(0)
	batch := make([]checkpoint.Record, 0, proveAtOnce)
	flush := func() error {
		err := p.sizes(ctx, e, s, t, batch, pick)
		batch = batch[:0]
		return err
	}
	for rec, err := range p.led.Records(ctx, 0) {
		if err != nil {
			return err
		}
		if !rec.Placed() {
			continue
		}
		e.mapped.add(rec.Source, rec.Target, &last)
		if m, ok := order[rec.Source]; ok {
			*uidls = append(*uidls, expectedUIDL{m.UIDL, m.Order})
		}
		if only != nil && !only.Contains(rec.Source) {
			continue
		}
		if batch = append(batch, rec); len(batch) == proveAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return p.octets(ctx, e, s, t, pick)
}

// sizes looks for messages under their UIDs, and compares their sizes.
func (p *prover) sizes(ctx context.Context, e *evidence, s, t mailhaul.Reader, batch []checkpoint.Record, pick *sample) error {
	if len(batch) == 0 {
		return nil
	}
	var there []mailhaul.UID
	var here mailhaul.UIDSet
	for _, rec := range batch {
		e.checked++
		if !e.present.Contains(rec.Target) {
			e.missing++
			continue
		}
		here.Add(rec.Source)
		there = append(there, rec.Target)
	}
	theirs, err := sizesOf(ctx, t, uidSetOf(there))
	if err != nil {
		return err
	}
	ours, err := sizesOf(ctx, s, here)
	if err != nil {
		return err
	}
	for _, rec := range batch {
		our, known := ours[rec.Source]
		their, read := theirs[rec.Target]
		if !known || !read || rec.Altered { // gone from the source; or listed as another already
			continue
		}
		pick.offer(samplePair{rec.Source, rec.Target, max(our, their)}, our != their)
	}
	return nil
}

func sizesOf(ctx context.Context, r mailhaul.Reader, set mailhaul.UIDSet) (map[mailhaul.UID]int64, error) {
	sizes := make(map[mailhaul.UID]int64, set.Len())
	if len(set) == 0 {
		return sizes, nil
	}
	for m, err := range r.Messages(ctx, set, mailhaul.FieldSize, 0) {
		if err != nil {
			return nil, err
		}
		sizes[m.UID] = m.Size
	}
	return sizes, nil
}

// octets reads the sample on both sides. What is gone by now says nothing.
func (p *prover) octets(ctx context.Context, e *evidence, s, t mailhaul.Reader, pick *sample) error {
	pairs := pick.pairs()
	if len(pairs) == 0 {
		return nil
	}
	ours, theirs := make([]mailhaul.UID, len(pairs)), make([]mailhaul.UID, len(pairs))
	for i, pair := range pairs {
		ours[i], theirs[i] = pair.source, pair.target
	}
	there, err := hashesOf(ctx, t, uidSetOf(theirs))
	if err != nil {
		return err
	}
	here, err := hashesOf(ctx, s, uidSetOf(ours))
	if err != nil {
		return err
	}
	before := e.missing
	for _, pair := range pairs {
		a, known := here[pair.source]
		b, read := there[pair.target]
		if !known || !read {
			continue
		}
		e.sampled++
		if a != b {
			e.missing++
		}
	}
	if e.missing > before {
		e.missing += pick.unread
	}
	return nil
}

func hashesOf(ctx context.Context, r mailhaul.Reader, set mailhaul.UIDSet) (map[mailhaul.UID][sha256.Size]byte, error) {
	sums := make(map[mailhaul.UID][sha256.Size]byte, set.Len())
	err := streamEach(ctx, r, set, func(uid mailhaul.UID, body io.Reader) error {
		f, err := fingerprintOf(body)
		sums[uid] = f.sum
		return err
	})
	return sums, err
}

// uidSetOf returns UIDs in any order as a set.
func uidSetOf(uids []mailhaul.UID) mailhaul.UIDSet {
	sorted := slices.Clone(uids)
	slices.Sort(sorted)
	return mailhaul.UIDSetOf(sorted...)
}

// samplePair is a message whose octets may be compared.
type samplePair struct {
	source, target mailhaul.UID
	size           int64
}

// sample chooses messages at random, as many as it has room for: any of those
// that it is offered is as likely as any other. Those whose sizes differ go
// first: a server that only guesses sizes is not to be taken for one that
// changes octets.
type sample struct {
	rnd     *rand.Rand
	limit   int
	bytes   int64
	seen    int
	chosen  []samplePair
	suspect []samplePair
	unread  int // of other size, and too many to be read: they count if one that was read differs
}

func newSample(limit int, bytes int64, seed uint64, mailbox string) *sample {
	h := fnv.New64a()
	_, _ = io.WriteString(h, mailbox)
	return &sample{rnd: rand.New(rand.NewPCG(seed, h.Sum64())), limit: max(0, limit), bytes: bytes}
}

func (s *sample) offer(p samplePair, suspect bool) {
	switch {
	case suspect && len(s.suspect) < max(s.limit, 1):
		s.suspect = append(s.suspect, p)
		return
	case suspect:
		s.unread++
		return
	}
	s.seen++
	if len(s.chosen) < s.limit {
		s.chosen = append(s.chosen, p)
	} else if at := s.rnd.IntN(s.seen); at < s.limit {
		s.chosen[at] = p
	}
}

// pairs returns what is to be read, within the bounds.
func (s *sample) pairs() []samplePair {
	var out []samplePair
	left := s.bytes
	for _, p := range s.suspect {
		if len(out) > 0 && p.size > left {
			s.unread++
			continue
		}
		out = append(out, p)
		left -= p.size
	}
	for _, p := range s.chosen {
		if len(out) < s.limit && p.size <= left {
			out = append(out, p)
			left -= p.size
		}
	}
	return out
}

// expectedUIDL is a UIDL that the target should show.
type expectedUIDL struct {
	uidl  mailhaul.UIDL
	order uint32
}

// sourceUIDLs returns the UIDLs of the source's messages, and their order.
func (p *prover) sourceUIDLs(ctx context.Context, s mailhaul.Reader) (map[mailhaul.UID]mailhaul.Message, error) {
	all, err := uidsOf(ctx, s)
	if err != nil {
		return nil, err
	}
	out := make(map[mailhaul.UID]mailhaul.Message, all.Len())
	for m, err := range s.Messages(ctx, all, 0, 0) {
		if err != nil {
			return nil, err
		}
		if uidmap.ValidUIDL(m.UIDL) {
			out[m.UID] = mailhaul.Message{UIDL: m.UIDL, Order: m.Order}
		}
	}
	return out, nil
}

// readUIDLs compares the UIDLs that the target's POP3 server shows with those
// that it should. Others, of mail of the target's own, may stand between them.
func (p *prover) readUIDLs(ctx context.Context, e *evidence, want []expectedUIDL) error {
	slices.SortStableFunc(want, func(a, b expectedUIDL) int { return cmp.Compare(a.order, b.order) })
	r, err := p.pop.OpenReader(ctx, mailhaul.Mailbox{Path: []string{"INBOX"}, Name: "INBOX", Wire: "INBOX"})
	if err != nil {
		return fmt.Errorf("prove the UIDLs: %w", err)
	}
	defer r.Close()
	expected := make(map[mailhaul.UIDL]int, len(want))
	for _, w := range want {
		expected[w.uidl]++
	}
	var shown []mailhaul.UIDL
	all, err := uidsOf(ctx, r)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		for m, err := range r.Messages(ctx, all, mailhaul.FieldSize, 0) {
			if err != nil {
				return err
			}
			if expected[m.UIDL] > 0 {
				expected[m.UIDL]--
				shown = append(shown, m.UIDL)
			}
		}
	}
	e.pop, e.withUIDL, e.sameUIDL, e.inOrder = true, len(want), len(shown), true
	at := 0
	for _, uidl := range shown { // those that are there, in the order in which they should be
		for at < len(want) && want[at].uidl != uidl {
			at++
		}
		if at == len(want) {
			e.inOrder = false
			break
		}
		at++
	}
	return nil
}

// In a run, a proof reads less of the octets: those that it has just written.
const (
	runSamples     = 8
	runSampleBytes = 1 << 20
)

// proveIdentity proves, at the end of a pass, what the pass has imposed. It
// asks for another pass if UIDs mean something else by now.
func (j *job) proveIdentity(ctx context.Context) (again bool, err error) {
	st := j.led.State()
	if rank(st.Imposed) < rank(mailhaul.LevelUID) {
		return false, nil
	}
	uidls := j.r.cfg.UIDLTarget != nil && tellsUIDLs(j.r.cfg.Source, j.source)
	if st.Proved != "" && (st.Proved == mailhaul.LevelExact || !uidls) {
		return false, nil
	}
	m := mapped{rising: true}
	last := mailhaul.UID(0)
	for rec, err := range j.led.Records(ctx, 0) {
		if err != nil {
			return false, err
		}
		if rec.Placed() {
			m.add(rec.Source, rec.Target, &last)
		}
	}
	if !m.rising || m.endedAt != 0 && !j.assigned() {
		st.Proved = mailhaul.LevelOrder // no more is to be proved
		j.led.SetState(st)
		return false, nil
	}
	p := prover{
		source: j.r.cfg.Source, target: j.r.cfg.Target, pop: j.r.cfg.UIDLTarget, from: j.source, to: j.target, led: j.led,
		samples: runSamples, bytes: runSampleBytes,
		try: func(f func() error) error { return j.r.retry(ctx, j.source.Name, min(2, j.r.cfg.Retries), f) },
	}
	only := &j.wrote
	if rank(j.before) < rank(mailhaul.LevelUID) {
		only = nil
	}
	e, err := p.prove(ctx, only)
	switch {
	case err != nil && ctx.Err() == nil && (messageOnly(err) || mailhaul.KindOf(err) == mailhaul.Permanent && scope(err) == mailhaul.ScopeMailbox):
		// All is moved; that it cannot be proved is no reason to say otherwise.
		j.r.tally.warn(fmt.Sprintf("mailbox %q: its identity could not be proved: %s", j.source.Name, reasonOf(err)))
		return false, nil
	case err != nil:
		return false, err
	case e.target.UIDValidity != st.TargetValidity || e.source.UIDValidity != st.SourceValidity:
		return true, nil
	}
	if e.popErr != nil {
		j.r.tally.warn(fmt.Sprintf("mailbox %q: its UIDLs could not be proved, since the target's POP3 server did not show them: %v", j.source.Name, e.popErr))
	}
	j.proof = e
	// All that is there is ours, and all of ours is there.
	_, placed, err := j.led.Sets(ctx)
	if err != nil {
		return false, err
	}
	since := mailhaul.UIDSet{{First: max(st.Explained, 1), Last: ^mailhaul.UID(0)}}
	if e.target.UIDNext > st.Explained && len(j.led.Intents()) == 0 && e.missing == 0 && len(e.present.Intersect(since).Minus(placed)) == 0 {
		st.Explained = e.target.UIDNext
	}
	j.led.SetState(st)
	st.Proved = j.identityFrom(e.mapped).Level
	j.led.SetState(st)
	return false, nil
}
