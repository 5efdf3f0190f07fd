// Random histories of two users who go on working on both accounts while
// passes run, through the whole engine, held against a specification that asks
// the engine nothing.

package sync_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

var (
	historySeed = flag.Uint64("sync.seed", 1, "the first history of TestUsersHistories")
	histories   = flag.Int("sync.histories", 0, "how many histories it plays; 0 for the usual number")
)

// place is a message in a mailbox of the target.
type place struct {
	box  string
	body string
}

// copyOf is a message of the target by its number.
type copyOf struct {
	box string
	uid mailhaul.UID
}

// world is two accounts, their users, and what must come of it.
type users struct {
	mu       stdsync.Mutex
	r        *rand.Rand
	source   *memmail.Account
	target   *memmail.Account
	policy   mailsync.Deletes
	log      []string
	wrong    []string
	inPass   bool
	quiet    bool
	modseq   bool // the target has mod-sequences
	listed   bool // both sides open and describe a mailbox at once
	renames  bool
	sequence int

	copies map[string]string // source mailbox to its copy on the target

	births   map[place]int                     // times that a message came into a mailbox of the source
	appends  map[place]int                     // times that the engine put it into the copy
	ours     map[copyOf]bool                   // appended by the engine, under these UIDs
	own      map[place]int                     // messages of the target's user: what he put there
	left     map[copyOf][]mailhaul.Flag        // flags at the end of the last pass
	used     map[copyOf]bool                   // its flags were changed by the target's user
	pending  map[copyOf]map[mailhaul.Flag]bool // what he made of flags since the last pass
	mine     map[copyOf]map[mailhaul.Flag]int  // how often he has changed a flag
	stirred  map[string]bool                   // the source's user changed its flags during a pass
	excused  map[place]bool                    // may be back or lack flags: UIDs lost their meaning
	gone     map[place]bool                    // he removed the copy, or moved it away
	loose    map[copyOf]bool                   // flags need not converge
	expunged int
	changed  int
}

var modelFlags = []mailhaul.Flag{mailhaul.FlagSeen, mailhaul.FlagFlagged, "$Work"}

func newUsers(seed uint64) *users {
	r := rand.New(rand.NewPCG(seed, 8))
	u := &users{
		r: r, source: memmail.New("ann"), target: memmail.New("bob"),
		policy: []mailsync.Deletes{mailsync.DeletesKeep, mailsync.DeletesFlag, mailsync.DeletesRemove}[seed%3],
		copies: map[string]string{"INBOX": "INBOX", "A": "A", "B": "B"},
		births: map[place]int{}, appends: map[place]int{}, ours: map[copyOf]bool{}, own: map[place]int{}, left: map[copyOf][]mailhaul.Flag{},
		used: map[copyOf]bool{}, pending: map[copyOf]map[mailhaul.Flag]bool{}, excused: map[place]bool{}, stirred: map[string]bool{}, mine: map[copyOf]map[mailhaul.Flag]int{}, gone: map[place]bool{}, loose: map[copyOf]bool{},
		modseq: r.IntN(3) > 0, renames: r.IntN(2) == 0, listed: seed/3%2 == 0,
	}
	u.source.NoModSeq, u.target.NoModSeq = r.IntN(3) == 0, !u.modseq
	u.target.NoUIDPlus = r.IntN(5) == 0
	if r.IntN(6) == 0 {
		u.source.NoStatus, u.target.NoStatus = true, true
		u.renames = false // some messages must be left to recognise a mailbox by
	}
	for _, name := range []string{"INBOX", "A", "B"} {
		for i, a := range []*memmail.Account{u.source, u.target} {
			if u.renames {
				a.Box(name).ID = fmt.Sprint("id", i, name)
			} else {
				a.Box(name)
			}
		}
		for range 1 + r.IntN(4) {
			u.deliver(name)
		}
	}
	return u
}

// asSource and asTarget return the accounts as the engine sees them: half of
// them open and describe a mailbox at once.
func (u *users) asSource() mailhaul.Source {
	if u.listed {
		return listedAccount{u.source}
	}
	return u.source
}

func (u *users) asTarget() mailhaul.Target {
	if u.listed {
		return listedAccount{u.target}
	}
	return u.target
}

// listedAccount is an account that implements [mailhaul.ListedOpener].
type listedAccount struct{ mailhaul.Target }

func (a listedAccount) Unwrap() mailhaul.Target { return a.Target }

func (a listedAccount) OpenListed(ctx context.Context, m mailhaul.Mailbox, fields mailhaul.Fields) (mailhaul.Reader, []mailhaul.Message, error) {
	r, err := a.OpenReader(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	var msgs []mailhaul.Message
	for m, err := range r.Messages(ctx, mailhaul.UIDSet{{First: 1, Last: ^mailhaul.UID(0)}}, fields, 0) {
		if err != nil {
			r.Close()
			return nil, nil, err
		}
		msgs = append(msgs, m)
	}
	if len(msgs) != int(r.Status().Messages) {
		msgs = nil
	}
	return r, msgs, nil
}

func (u *users) fail(format string, args ...any) {
	u.wrong = append(u.wrong, fmt.Sprintf(format, args...))
}

func (u *users) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if u.inPass && text[0] != ' ' && text != "pass" {
		text = "  meanwhile: " + text
	}
	u.log = append(u.log, text)
}

func (u *users) pick(a *memmail.Account, box string) (memmail.Stored, bool) {
	all := a.Snapshot(box)
	if len(all) == 0 {
		return memmail.Stored{}, false
	}
	return all[u.r.IntN(len(all))], true
}

func (u *users) boxes() []string {
	names := make([]string, 0, len(u.copies))
	for name := range u.copies {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (u *users) born(box, body string) { u.births[place{u.copies[box], body}]++ }

func (u *users) deliver(box string) {
	u.sequence++
	body := mail("m", u.sequence)
	u.source.Add(box, body, u.randomFlags()...)
	u.born(box, body)
	u.note("source: %d arrives in %s", u.sequence, box)
}

func (u *users) randomFlags() (flags []mailhaul.Flag) {
	for _, f := range modelFlags {
		if u.r.IntN(2) == 0 {
			flags = append(flags, f)
		}
	}
	return flags
}

// forget says that UIDs of a mailbox have lost their meaning.
func (u *users) forget(target string) {
	for c := range u.ours {
		if c.box == target {
			delete(u.ours, c)
		}
	}
	for _, m := range []map[copyOf]bool{u.used} {
		for c := range m {
			if c.box == target {
				delete(m, c)
			}
		}
	}
	for c := range u.left {
		if c.box == target {
			delete(u.left, c)
		}
	}
	for c := range u.pending {
		if c.box == target {
			delete(u.pending, c)
		}
	}
	for c := range u.mine {
		if c.box == target {
			delete(u.mine, c)
		}
	}
	for p := range u.births {
		if p.box == target {
			u.excused[p] = true
		}
	}
}

// act lets one of the users do something. mu is held.
func (u *users) act() {
	boxes := u.boxes()
	box := boxes[u.r.IntN(len(boxes))]
	to := u.copies[box]
	switch n := u.r.IntN(22); {
	case n < 3:
		u.deliver(box)
	case n < 7: // a flag on the source
		if m, ok := u.pick(u.source, box); ok {
			flags := u.randomFlags()
			u.note("source: flags of %s/%d become %v", box, m.UID, flags)
			u.source.Change(box, m.UID, func(m *memmail.Stored) { m.Flags = flags })
			u.stirred[string(m.Body)] = u.inPass
		}
	case n < 9:
		if m, ok := u.pick(u.source, box); ok {
			u.note("source: %s/%d is deleted", box, m.UID)
			u.source.Expunge(box, m.UID)
			if u.inPass && u.target.NoUIDPlus {
				// Its copy, if it is being made, is never recognised as one.
				u.excused[place{to, string(m.Body)}] = true
			}
		}
	case n < 10: // moved on the source
		other := boxes[u.r.IntN(len(boxes))]
		if m, ok := u.pick(u.source, box); ok {
			u.note("source: %s/%d is moved to %s", box, m.UID, other)
			u.source.Expunge(box, m.UID)
			if u.inPass && u.target.NoUIDPlus {
				// Its copy, if it is being made, is never recognised as one.
				u.excused[place{to, string(m.Body)}] = true
			}
			u.source.Add(other, string(m.Body), m.Flags...)
			u.born(other, string(m.Body))
		}
	case n < 14: // a flag on the target
		m, ok := u.pick(u.target, to)
		if !ok || u.inPass && !u.modseq && u.policy != mailsync.DeletesKeep {
			return // nothing tells the engine of a change between its reading and its writing
		}
		c := copyOf{to, m.UID}
		f := modelFlags[u.r.IntN(len(modelFlags))]
		has := mailhaul.HasFlag(m.Flags, f)
		u.note("target: %v of %s/%d becomes %v", f, to, m.UID, !has)
		u.target.Change(to, m.UID, func(m *memmail.Stored) {
			m.Flags = slices.DeleteFunc(slices.Clone(m.Flags), func(g mailhaul.Flag) bool { return g == f })
			if !has {
				m.Flags = append(m.Flags, f)
			}
		})
		u.changed++
		u.used[c], u.loose[c] = true, true
		if u.mine[c] == nil {
			u.mine[c] = map[mailhaul.Flag]int{}
		}
		u.mine[c][f]++
		if u.pending[c] == nil {
			u.pending[c] = map[mailhaul.Flag]bool{}
		}
		if left, known := u.left[c]; known && mailhaul.HasFlag(left, f) == !has && !u.inPass {
			delete(u.pending[c], f) // as it was
		} else {
			u.pending[c][f] = !has
		}
	case n < 16:
		if m, ok := u.pick(u.target, to); ok {
			u.note("target: %s/%d is deleted", to, m.UID)
			u.remove(to, m)
		}
	case n < 17: // moved on the target
		other := boxes[u.r.IntN(len(boxes))]
		if m, ok := u.pick(u.target, to); ok && u.copies[other] != to {
			u.note("target: %s/%d is moved to %s", to, m.UID, u.copies[other])
			u.remove(to, m)
			u.target.Add(u.copies[other], string(m.Body), m.Flags...)
			u.own[place{u.copies[other], string(m.Body)}]++
		}
	case n < 18: // mail of the target's user's own
		u.sequence++
		body := mail("own", u.sequence)
		u.target.Add(to, body, u.randomFlags()...)
		u.own[place{to, body}]++
		u.note("target: its own %d in %s", u.sequence, to)
	case u.inPass:
	case n < 19 && u.renames && box != "INBOX":
		u.sequence++
		name := fmt.Sprint("S", u.sequence)
		u.note("source: %s is renamed %s", box, name)
		u.source.Rename(box, name)
		delete(u.copies, box)
		u.copies[name] = to
	case n < 20 && u.renames && to != "INBOX":
		u.sequence++
		name := fmt.Sprint("T", u.sequence)
		u.note("target: %s is renamed %s", to, name)
		u.target.Rename(to, name)
		u.copies[box] = name
		u.rename(to, name)
	case n < 21 && u.r.IntN(3) == 0:
		u.note("source: new UIDVALIDITY of %s", box)
		u.source.NewValidity(box)
		u.forget(to)
	case u.r.IntN(3) == 0:
		u.note("target: new UIDVALIDITY of %s", to)
		u.target.NewValidity(to)
		u.forget(to)
	}
}

// remove lets the target's user remove a message.
func (u *users) remove(box string, m memmail.Stored) {
	u.target.Expunge(box, m.UID)
	u.changed++
	p := place{box, string(m.Body)}
	c := copyOf{box, m.UID}
	delete(u.pending, c)
	if !u.ours[c] && u.own[p] > 0 {
		u.own[p]--
		if u.births[p] > 0 {
			u.gone[p] = true // it may have been adopted
		}
		return
	}
	u.gone[p] = true
}

func (u *users) rename(from, to string) {
	renameAll(u.births, from, to)
	renameAll(u.appends, from, to)
	renameAll(u.own, from, to)
	renameAll(u.excused, from, to)
	renameAll(u.gone, from, to)
	renameCopies(u.ours, from, to)
	renameCopies(u.left, from, to)
	renameCopies(u.used, from, to)
	renameCopies(u.pending, from, to)
	renameCopies(u.mine, from, to)
	renameCopies(u.loose, from, to)
}

func renameAll[V any](m map[place]V, from, to string) {
	for p, v := range m {
		if p.box == from {
			delete(m, p)
			m[place{to, p.body}] = v
		}
	}
}

func renameCopies[V any](m map[copyOf]V, from, to string) {
	for c, v := range m {
		if c.box == from {
			delete(m, c)
			m[copyOf{to, c.uid}] = v
		}
	}
}

// listen makes the accounts report what the engine does, and the users act
// while it does it.
func (u *users) listen() {
	meanwhile := func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.inPass && !u.quiet && u.r.IntN(4) == 0 {
			u.act()
		}
	}
	open := func(string, bool) error { meanwhile(); return nil }
	u.source.Hooks.Open, u.target.Hooks.Open = open, open
	u.source.Hooks.Fetch = func(string, mailhaul.UID) (bool, error) { meanwhile(); return false, nil }
	var bodies []string
	u.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		meanwhile()
		bodies = bodies[:0]
		for _, o := range batch {
			b := make([]byte, o.Body.Size())
			_, _ = o.Body.Reader().Read(b)
			bodies = append(bodies, string(b))
		}
		return nil
	}
	u.target.Hooks.Answered = func(box string, truth []mailhaul.Outcome) []mailhaul.Outcome {
		u.mu.Lock()
		defer u.mu.Unlock()
		all := u.target.Snapshot(box)
		for i, o := range truth {
			p := place{box, bodies[i]}
			u.appends[p]++
			u.note("  engine: appends %s to %s", firstLine(bodies[i]), box)
			if u.appends[p] > u.births[p] && !u.excused[p] {
				u.fail("%s is appended to %s for the %d. time; it came there %d times", firstLine(bodies[i]), box, u.appends[p], u.births[p])
			}
			uid := o.UID
			if uid == 0 {
				uid = all[len(all)-len(truth)+i].UID
			}
			u.ours[copyOf{box, uid}] = true
		}
		return truth
	}
	u.target.Hooks.Flags = func(box string, changes []mailhaul.FlagChange) {
		meanwhile()
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, ch := range changes {
			if mailhaul.HasFlag(ch.Add, mailhaul.FlagDeleted) {
				u.mayDelete(box, ch.UID, "flagged")
			}
		}
	}
	u.target.Hooks.Expunge = func(box string, set mailhaul.UIDSet) error {
		u.mu.Lock()
		defer u.mu.Unlock()
		for uid := range set.All() {
			u.mayDelete(box, uid, "expunged")
			for _, m := range u.target.Snapshot(box) {
				if m.UID == uid && mailhaul.HasFlag(m.Flags, mailhaul.FlagDeleted) {
					u.expunged++
					u.note("  engine: expunges %s/%d", box, uid)
				}
			}
		}
		return nil
	}
}

// mayDelete holds that a copy is the engine's to delete.
func (u *users) mayDelete(box string, uid mailhaul.UID, how string) {
	c := copyOf{box, uid}
	i := slices.IndexFunc(u.target.Snapshot(box), func(m memmail.Stored) bool { return m.UID == uid })
	if i < 0 {
		return // its user was faster
	}
	m := u.target.Snapshot(box)[i]
	switch {
	case u.policy == mailsync.DeletesKeep:
		u.fail("%s/%d is %s, and all is to be kept", box, uid, how)
	case how == "expunged" && u.policy != mailsync.DeletesRemove:
		u.fail("%s/%d is %s", box, uid, how)
	case !u.ours[c] && u.target.NoUIDPlus && u.appends[place{box, string(m.Body)}] > 0:
		// A twin that came while ours was appended: nothing tells them apart.
	case !u.ours[c]:
		u.fail("%s/%d is not ours, and is %s", box, uid, how)
	case u.differs(c) && how == "expunged" && mailhaul.HasFlag(m.Flags, mailhaul.FlagDeleted):
		u.fail("%s/%d is in use, and is %s", box, uid, how)
	}
}

// differs reports whether the target's user has changed flags of a message since
// the last pass, other than back to what they were before he changed them.
func (u *users) differs(c copyOf) bool {
	for f := range u.pending[c] {
		if u.mine[c][f] == 1 {
			return true
		}
	}
	return false
}

func firstLine(body string) string {
	line, _, _ := strings.Cut(body, "\r\n")
	return line
}

// pass runs one pass, and holds what must be true after each.
func (u *users) pass(ctx context.Context, t *testing.T, store checkpoint.Store) *mailsync.Result {
	s, err := mailsync.New(mailsync.Config{
		Source: u.asSource(), Target: u.asTarget(), Store: store, Deletes: u.policy, SettleTime: time.Millisecond, Mailboxes: 1,
	})
	require.NoError(t, err)
	u.mu.Lock()
	u.inPass = true
	u.note("pass")
	u.mu.Unlock()
	res, err := s.Run(ctx)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inPass = false
	if err != nil {
		u.fail("the pass ended with %v", err)
	}
	// No change of the target's user is lost.
	for c, flags := range u.pending {
		for _, m := range u.target.Snapshot(c.box) {
			if m.UID != c.uid {
				continue
			}
			for f, want := range flags {
				// Where he takes back an earlier change of his own while the
				// source's user makes it, the source's is carried over: the base
				// is what the source had. Nor is that known where UIDs lost their
				// meaning. And a flag that both set, and the source's user then took
				// off while the pass was under way, may have been merged twice.
				if u.mine[c][f] > 1 || u.stirred[string(m.Body)] || u.excused[place{c.box, string(m.Body)}] {
					continue
				}
				if mailhaul.HasFlag(m.Flags, f) != want {
					u.fail("%v of %s/%d was made %v by its user, and is %v", f, c.box, c.uid, want, !want)
				}
			}
		}
	}
	u.pending = map[copyOf]map[mailhaul.Flag]bool{}
	u.left = map[copyOf][]mailhaul.Flag{}
	for _, box := range u.copies {
		for _, m := range u.target.Snapshot(box) {
			u.left[copyOf{box, m.UID}] = m.Flags
		}
	}
	// Nor any of his mail.
	for p, n := range u.own {
		if there := u.count(p); there < n {
			u.fail("%s in %s is the user's own, and is gone", firstLine(p.body), p.box)
		}
	}
	return res
}

func (u *users) count(p place) (n int) {
	for _, m := range u.target.Snapshot(p.box) {
		if string(m.Body) == p.body {
			n++
		}
	}
	return n
}

// settled holds what must be true when nobody does anything any more.
func (u *users) settled() {
	for source, target := range u.copies {
		here := map[string]int{}
		for _, m := range u.source.Snapshot(source) {
			here[string(m.Body)]++
			p := place{target, string(m.Body)}
			if u.gone[p] {
				continue
			}
			found := false
			for _, c := range u.target.Snapshot(target) {
				if string(c.Body) != p.body {
					continue
				}
				found = true
				key := copyOf{target, c.UID}
				if u.births[p] > 1 || u.own[p] > 0 || u.excused[p] || u.loose[key] || !u.ours[key] {
					continue
				}
				want, _ := mailhaul.NormalizeFlags(m.Flags)
				got, _ := mailhaul.NormalizeFlags(c.Flags)
				if !slices.Equal(want, got) {
					u.fail("%s in %s has %v, and %v on the source", firstLine(p.body), target, got, want)
				}
			}
			if !found {
				u.fail("%s is lost: in %s of the source, and not in %s", firstLine(p.body), source, target)
			}
		}
		for _, c := range u.target.Snapshot(target) {
			p, key := place{target, string(c.Body)}, copyOf{target, c.UID}
			if here[p.body] > 0 || !u.ours[key] || u.used[key] || u.excused[p] || u.births[p] > 1 || u.count(p) > 1 {
				continue
			}
			deleted := mailhaul.HasFlag(c.Flags, mailhaul.FlagDeleted)
			switch {
			case u.policy == mailsync.DeletesRemove && !u.target.NoUIDPlus:
				u.fail("%s is still in %s", firstLine(p.body), target)
			case u.policy != mailsync.DeletesKeep && !deleted:
				u.fail("%s in %s is not flagged as deleted", firstLine(p.body), target)
			case u.policy == mailsync.DeletesKeep && deleted:
				u.fail("%s in %s is flagged as deleted", firstLine(p.body), target)
			}
		}
	}
}

// play plays one history.
func (u *users) play(t *testing.T) {
	u.listen()
	ctx := t.Context()
	store := checkpoint.NewMemory()
	for range 2 + u.r.IntN(3) {
		u.pass(ctx, t, store)
		u.mu.Lock()
		for range u.r.IntN(7) {
			u.act()
		}
		u.mu.Unlock()
	}
	u.quiet = true
	var res *mailsync.Result
	for range 3 {
		res = u.pass(ctx, t, store)
	}
	for _, f := range res.Failed {
		// Without UIDPLUS, what its user removes before it was recognised looks
		// as if the server had thrown it away. It is listed and not sent again.
		if !u.target.NoUIDPlus || !strings.Contains(f.Reason, "it discarded or rewrote it") {
			u.fail("not complete: %v", f)
		}
	}
	if res.Changed() {
		u.fail("the third pass over accounts at rest still found something to do: %+v", res)
	}
	u.settled()
	if err := checkpoint.Check(ctx, store); err != nil {
		u.fail("%v", err)
	}
}

func TestUsersHistories(t *testing.T) {
	n := 2400
	if raceEnabled || testing.Short() {
		n /= 10
	}
	if *histories > 0 {
		n = *histories
	}
	var changed, expunged, next atomic.Int64
	var workers stdsync.WaitGroup
	for range min(4, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for !t.Failed() {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				seed := *historySeed + uint64(i)
				u := newUsers(seed)
				u.play(t)
				changed.Add(int64(u.changed))
				expunged.Add(int64(u.expunged))
				if len(u.wrong) > 0 {
					t.Errorf("seed %d (-sync.seed %d -sync.histories 1), policy %s:\n  %s\nwhat happened:\n  %s", seed, seed, u.policy,
						strings.Join(u.wrong, "\n  "), strings.Join(u.log, "\n  "))
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d histories from seed %d on: %d changes of the target's user, %d copies expunged", n, *historySeed, changed.Load(), expunged.Load())
	if n > 100 && !t.Failed() {
		require.Greater(t, changed.Load(), int64(n), "the users do too little")
		require.Greater(t, expunged.Load(), int64(n/20), "the engine does too little")
	}
}
