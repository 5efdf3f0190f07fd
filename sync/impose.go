// Moving a mailbox whose messages keep their identity.

package sync

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// maxSession is how many messages one Writer of an Imposer is told of: their
// descriptions are held in memory, some 300 octets each, and it is also what
// has to be sent again when a connection breaks whose answers come late. At a
// thousand messages a second, what it costs to open a Writer is lost in it.
const maxSession = 10_000

// moveImposed is move for a mailbox whose identity is imposed. It describes
// messages before it opens a Writer for them, and what it described is what is
// appended and recorded; no Reader of the target mailbox is open meanwhile.
func (j *job) moveImposed(ctx context.Context, c *comparison) (again bool, err error) {
	m := &imposition{j: j}
	if m.imposer, _ = mailhaul.As[mailhaul.Imposer](j.r.cfg.Target); m.imposer == nil {
		return false, j.errorf("move", mailhaul.Permanent, errors.New("the target has no means of imposing identity"))
	}
	var bases []flagWork
	more := false
	if c != nil {
		more = c.more
		if len(c.orphans) > 0 || slices.ContainsFunc(c.flags, flagWork.needed) {
			if again, err := j.changeCopies(ctx, c); again || err != nil {
				return again, err
			}
		} else {
			bases = c.flags
		}
		m.source, m.next, m.rest = c.source, c.next, j.giveUpBreakers(c.todo.Minus(j.failed))
		if m.rest.Len() == 0 {
			if err := m.askHighestModSeq(ctx, &c.target); err != nil {
				return false, err
			}
		}
		if m.rest.Len() == 0 && !m.owed(c.target, c.present) {
			if err := m.takeOver(ctx, c.target); err != nil {
				return false, err
			}
			return more, j.settleSource(ctx, m.source, bases)
		}
	}
	if err := j.askOnce(ctx, m.imposer); err != nil {
		return false, err
	}
	if !j.impose { // what was imposed before has been lost: the mailbox is another
		return j.move(ctx, c)
	}
	if c != nil {
		m.setBehind(c.target)
	}
	switch again, err := m.prepare(ctx, c); {
	case again || err != nil:
		return again, err
	}
	for first := true; first || len(m.chunk) > 0; first = false {
		more, err := m.write(ctx, c == nil && first)
		again = again || more
		switch {
		case err != nil:
			return false, err
		case m.surprised:
			return true, nil
		case len(m.chunk) > 0 && j.r.draining():
			return false, ErrDrained
		}
	}
	return again || more, j.settleSource(ctx, m.source, bases)
}

// imposition is the way of one mailbox through its sessions.
type imposition struct {
	j       *job
	imposer mailhaul.Imposer
	source  mailhaul.Status // as of the listing that is being moved
	next    mailhaul.UID    // likewise
	rest    mailhaul.UIDSet // to be moved, and not described yet
	behind  mailhaul.UIDSet // to be moved when nothing is left in rest

	chunk     mailhaul.UIDSet    // of the next session,
	msgs      []mailhaul.Message // described
	surprised bool               // the mailbox is not what it was taken for
}

// owed reports whether the target mailbox still lacks something of the
// identity although no message is to be moved.
func (m *imposition) owed(target mailhaul.Status, present int) bool {
	want := m.j.identityOf(m.source, m.next, nil)
	imposed := m.j.led.State().Imposed
	return present == 0 && imposed == "" ||
		want.UIDNext > target.UIDNext && target.UIDNext != 0 ||
		imposed == mailhaul.LevelExact &&
			(present == 0 && want.UIDValidity != 0 && want.UIDValidity != target.UIDValidity ||
				want.HighestModSeq > target.HighestModSeq && target.HighestModSeq != 0)
}

// askHighestModSeq asks for the target's where opening the mailbox did not tell
// it, and it may be lower than what was promised.
func (m *imposition) askHighestModSeq(ctx context.Context, target *mailhaul.Status) error {
	if m.j.assigned() || m.source.HighestModSeq == 0 || m.j.led.State().Imposed != mailhaul.LevelExact {
		return nil
	}
	return askHighestModSeq(ctx, m.j.r.cfg.Target, m.j.target, target)
}

// setBehind takes those messages out of the rest whose UIDs the target has given
// to mail of its own, so that they come last. In their places they would take
// the UIDs of those behind them, which would take others' in turn: one message
// that was delivered to the target would cost all that follows it its UIDs, and
// a mail program would find other messages under the UIDs that it knows. The
// order is lost for the few, which is why nothing is done where it helps nobody:
// where a gap in the UIDs would have room for them, or where programs forget all
// UIDs, since the UIDVALIDITY is another.
func (m *imposition) setBehind(target mailhaul.Status) {
	j := m.j
	if j.assigned() || j.can.OneSession || target.UIDNext <= 1 || target.UIDValidity != m.source.UIDValidity {
		return
	}
	taken := m.rest.Intersect(mailhaul.UIDSet{{First: 1, Last: target.UIDNext - 1}})
	if len(taken) == 0 {
		return
	}
	displaced, next := 0, target.UIDNext
	for uid := range m.rest.All() {
		if uid >= next {
			if displaced == taken.Len() && uid > next {
				return // all have found room
			}
			next = uid
		} else if displaced++; displaced > taken.Len() {
			m.rest, m.behind = m.rest.Minus(taken), taken
			return
		}
		next++
	}
}

// takeOver finds out whether a mailbox of which the checkpoint knows nothing, or
// not enough, has been given its identity already: by a run whose checkpoint
// was lost. The proof says then whether that holds.
func (m *imposition) takeOver(ctx context.Context, target mailhaul.Status) error {
	j := m.j
	st := j.led.State()
	if st.Imposed != "" || !j.asked || rank(j.can.Level) < rank(mailhaul.LevelUID) {
		return nil
	}
	others, err := j.underOthers(ctx, tellsUIDLs(j.r.cfg.Source, j.source))
	if err != nil || others > 0 {
		return err
	}
	st.Imposed = mailhaul.LevelUID
	if target.UIDValidity == m.source.UIDValidity && !j.assigned() {
		st.Imposed = j.can.Level
	}
	j.led.SetState(st)
	j.unprove()
	return nil
}

// prepare describes the messages of the first session. Without a comparison it
// lists the source first.
func (m *imposition) prepare(ctx context.Context, c *comparison) (again bool, err error) {
	j := m.j
	if c != nil && len(m.rest) == 0 {
		return false, nil // and nothing is behind
	}
	s, err := j.r.cfg.Source.OpenReader(ctx, j.source)
	if err != nil {
		return false, err
	}
	defer s.Close()
	if c != nil {
		if s.Status().UIDValidity != j.led.State().SourceValidity {
			return true, nil
		}
		return false, m.describe(ctx, s)
	}
	m.source = s.Status()
	listing, err := uidsOf(ctx, s)
	if err != nil {
		return false, err
	}
	recorded, _, err := j.led.Sets(ctx)
	if err != nil {
		return false, err
	}
	j.firstListing(listing, recorded)
	j.short = shortage(m.source, listing)
	m.next = nextUID(m.source, listing)
	m.rest = j.giveUpBreakers(listing.Minus(recorded).Minus(j.failed))
	return false, m.describe(ctx, s)
}

// describe takes the next session's messages out of the rest.
func (m *imposition) describe(ctx context.Context, s mailhaul.Reader) error {
	j := m.j
	m.chunk, m.msgs = nil, nil
	size := j.r.cfg.maxSession
	if j.session > 0 {
		size = min(size, j.session)
	}
	if j.can.OneSession {
		size = max(1, m.rest.Len())
	}
	for len(m.msgs) == 0 && len(m.rest)+len(m.behind) > 0 {
		if len(m.rest) == 0 {
			m.rest, m.behind = m.behind, nil
		}
		for chunk := range m.rest.Chunks(size) {
			m.chunk = chunk
			break
		}
		m.rest = m.rest.Minus(m.chunk)
		msgs, err := describe(ctx, s, m.chunk)
		if err != nil {
			return err
		}
		j.vanish(j.normalize(m.chunk, msgs))
		for i := range msgs {
			properUIDL(&msgs[i])
		}
		m.msgs = msgs
	}
	if len(m.msgs) == 0 {
		m.chunk = nil
	}
	return nil
}

// want returns what the next Writer is told. What it may raise UIDNEXT to is
// below all that is still to come.
func (m *imposition) want() mailhaul.Identity {
	want := m.j.identityOf(m.source, m.next, m.msgs)
	if len(m.rest) > 0 && want.UIDNext != 0 {
		want.UIDNext = min(want.UIDNext, m.rest[0].First)
	}
	return want
}

// write writes one session: the messages that are described, which may be
// none, and the identity of the mailbox.
func (m *imposition) write(ctx context.Context, fresh bool) (again bool, err error) {
	j := m.j
	want := m.want()
	opening, err := m.begin(ctx)
	if err != nil {
		return false, err
	}
	w, err := m.imposer.OpenImposing(ctx, j.target, want)
	if err != nil {
		return false, err
	}
	defer w.Close()
	if m.surprised, err = m.opened(ctx, w.Status(), want, fresh); m.surprised || err != nil {
		return false, err
	}
	if len(m.msgs) == 0 {
		if err := w.Finish(ctx); err != nil {
			return false, err
		}
		m.chunk = nil
		j.led.End(opening)
		return false, nil
	}

	s, err := j.r.cfg.Source.OpenReader(ctx, j.source)
	if err != nil {
		return false, err
	}
	defer s.Close()
	if s.Status().UIDValidity != j.led.State().SourceValidity {
		m.surprised = true
		return false, nil
	}
	a := j.newImposer(w, j.can.AnswersLate)
	missing, err := j.pipeline(ctx, a, s, described(m.msgs).set(), m.msgs)
	if err == nil {
		if err = w.Finish(ctx); err == nil {
			err = a.settle(ctx, 0)
		} else if a.late {
			m.shrink()
		}
	}
	if err != nil {
		a.abandon(ctx)
		return false, err
	}
	j.led.End(opening)
	j.session = min(2*j.session, j.r.cfg.maxSession)
	if len(missing) > 0 {
		if again, err = j.askAfter(ctx, s, missing); err != nil {
			return false, err
		}
	}
	return again, m.describe(ctx, s)
}

// shrink makes the next sessions smaller after one whose end failed, until the
// message is found that it fails for.
func (m *imposition) shrink() {
	j := m.j
	if n := len(m.msgs); n > 1 && !j.can.OneSession {
		j.session, j.shrunk = n/2, true
		return
	}
	if len(m.msgs) == 1 {
		j.suspect(m.chunk)
	}
}

// begin notes that a Writer is about to be opened, where one that dies may
// leave something behind: the next pass then has it removed.
func (m *imposition) begin(ctx context.Context) (uint64, error) {
	j := m.j
	if _, ok := mailhaul.As[mailhaul.Recoverer](j.r.cfg.Target); !ok {
		return 0, nil
	}
	st := j.led.State()
	id := j.led.Begin(checkpoint.Intent{Validity: st.TargetValidity, Watermark: st.Explained, At: time.Now()})
	return id, j.led.Commit(ctx)
}

// opened takes note of the state in which the mailbox was opened. It reports
// whether that is not what it was taken for; then nothing may be written.
func (m *imposition) opened(ctx context.Context, now mailhaul.Status, want mailhaul.Identity, fresh bool) (surprised bool, err error) {
	j := m.j
	if fresh {
		j.top, j.there = 0, 0
	}
	if int(now.Messages) > j.there {
		j.target.Status = &now // no longer known to be empty: compare
		return true, nil
	}
	if j.led.State().Target == "" {
		if _, _, err := j.trust(ctx, m.source, now); err != nil {
			return false, err
		}
		fresh = true
	}
	st := j.led.State()
	if now.UIDValidity != st.TargetValidity {
		_, placed, err := j.led.Sets(ctx)
		if err != nil {
			return false, err
		}
		if now.UIDValidity != want.UIDValidity || len(placed) > 0 {
			return true, nil
		}
		st.TargetValidity, fresh = now.UIDValidity, true
	}
	if fresh {
		st.Explained = max(now.UIDNext, 1)
	}
	if rank(st.Imposed) < rank(j.can.Level) {
		st.Imposed = j.can.Level
	}
	st.Complete = false
	j.led.SetState(st)
	j.unprove()
	return false, nil
}

// changeCopies does what is to be done about messages that are on the target
// already, by an ordinary Writer: an Imposer's is for new ones.
func (j *job) changeCopies(ctx context.Context, c *comparison) (again bool, err error) {
	w, err := j.r.cfg.Target.OpenWriter(ctx, j.target)
	if err != nil {
		return false, err
	}
	defer w.Close()
	if j.surprised(w.Status(), c) {
		return true, nil
	}
	if again, err = j.changeBy(ctx, w, c); again || err != nil {
		return again, err
	}
	return false, w.Finish(ctx)
}

// unprove notes that something is about to be written of which nothing has
// been proved.
func (j *job) unprove() {
	st := j.led.State()
	if st.Proved == "" {
		return
	}
	j.before = st.Proved
	st.Proved = ""
	j.led.SetState(st)
}

// recover has the Imposer remove what one of its Writers may have left when it
// died.
func (j *job) recover(ctx context.Context) error {
	r, ok := mailhaul.As[mailhaul.Recoverer](j.r.cfg.Target)
	intents := j.led.Intents()
	if !ok || !j.broken && len(intents) == 0 {
		return nil
	}
	from := max(j.led.State().Explained, 1)
	for _, in := range intents {
		from = min(from, max(in.Watermark, 1))
	}
	if err := r.Recover(ctx, j.target, from); err != nil {
		return err
	}
	j.broken = false
	return nil
}

// changedByUs says why the ledger and the mailboxes may differ without any harm.
// own: the target has the UIDVALIDITY that was imposed on it while it was empty.
// nothing: the ledger holds nothing that could be wrong.
func (j *job) changedByUs(ctx context.Context, source, target mailhaul.Status) (own, nothing bool, err error) {
	for _, in := range j.led.Intents() {
		if len(in.Sources) > 0 {
			return false, false, nil
		}
	}
	recorded, placed, err := j.led.Sets(ctx)
	if err != nil || len(placed) > 0 {
		return false, false, err
	}
	st := j.led.State()
	own = (j.impose || st.Imposed != "") && st.Target == j.target.Wire &&
		st.SourceValidity == source.UIDValidity && target.UIDValidity == source.UIDValidity && st.TargetValidity != target.UIDValidity
	return own, len(recorded) == 0, nil
}
