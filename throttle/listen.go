package throttle

// Listening: what a server's answers, refusals and failures say of how much it
// can take.

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// FirstByte says how long the server took to begin the answer to a command
// whose size has no part in that.
func (a *Account) FirstByte(_ int64, latency time.Duration) {
	if a.free {
		return
	}
	const late = "answers begin later than they used to"
	now := time.Now()
	a.t.mu.Lock()
	h := a.host
	was := a.loop.before > 0
	a.loop.sample(now, max(0, a.active-1), latency)
	var l *Limit
	if !was && a.loop.before > 0 {
		l = a.limit(a.loop, a.user, late)
	}
	// One account in trouble, whose mailbox is being rebuilt perhaps, says
	// nothing of the host; half of them do.
	if h.listens() && (a.loop.before == 0 || h.troubled()) {
		was := h.loop.before > 0
		h.loop.sample(now, max(0, h.active-1), latency)
		if !was && h.loop.before > 0 {
			l = a.limit(h.loop, "", late)
		}
	}
	a.t.mu.Unlock()
	a.limited(l)
}

// troubled reports whether at least half of the accounts that are being worked
// on struggle. t.mu is held.
func (h *host) troubled() bool {
	all, some := 0, 0
	for _, a := range h.accounts {
		if len(a.conns) > 0 {
			all++
			if a.loop.before > 0 {
				some++
			}
		}
	}
	return 2*some >= all
}

// Refused says that the server has asked for less. connections says that it is
// the number of connections that it refuses, server that it is not about this
// account alone. hint is the time that it named, 0 for none.
func (a *Account) Refused(id int64, connections, server bool, hint time.Duration, reason string) {
	now := time.Now()
	a.t.mu.Lock()
	if a.host.policy.Unlimited {
		a.t.mu.Unlock()
		return
	}
	h := a.host
	loop, user, others, m := a.loop, a.user, len(a.conns), &a.memory
	if server {
		loop, user, others, m = h.loop, "", h.open, &h.memory
	}
	stale := false
	if c := a.conns[id]; c != nil {
		others-- // the one that was refused is none
		stale = !m.Learned.IsZero() && !c.begun.After(m.Learned)
	}
	var l *Limit
	switch {
	case connections && hint == 0 && stale: // it was on its way when the lesson came
	case connections && hint == 0 && others > 0:
		// What we had was allowed; one of it is left to the user.
		m.Cap, m.Learned = max(1, others-1), now
		if most := float64(m.Cap); most < loop.cap {
			loop.setCap(most)
		}
		loop.rests(now, time.Second)
		a.t.callBackMore(h, a, server, m.Cap)
		reason = fmt.Sprintf("the server refused connection number %d", others+1)
		l = a.limit(loop, user, reason)
	default:
		if hint > 0 {
			reason = fmt.Sprintf("server asked for %d ms", hint.Milliseconds())
		}
		loop.refused(now, hint, reason)
		l = a.limit(loop, user, reason)
		if !server {
			h.hit[a] = now
			if h.hits(now) {
				h.loop.refused(now, hint, reason)
			}
		}
	}
	a.next = time.Time{}
	a.t.wakeAll()
	a.t.mu.Unlock()
	a.limited(l)
}

// Failed says that the server could not serve: it refused or reset a connection
// before it had said anything, or answered that something is not available now.
// One failure says nothing, and whoever met it waits before the next try anyway;
// three within a minute are taken for a request for less. server says that it is
// not about this account alone.
func (a *Account) Failed(server bool, reason string) {
	now := time.Now()
	a.t.mu.Lock()
	h := a.host
	if h.policy.Unlimited {
		a.t.mu.Unlock()
		return
	}
	loop, user, failures := a.loop, a.user, &a.failures
	if server {
		loop, user, failures = h.loop, "", &h.failures
	}
	*failures = append(slices.DeleteFunc(*failures, func(at time.Time) bool { return now.Sub(at) > time.Minute }), now)
	var l *Limit
	if len(*failures) >= manyFailures {
		*failures = nil
		reason = "the server fails again and again: " + reason
		loop.refused(now, 0, reason)
		l = a.limit(loop, user, reason)
		a.t.wakeAll()
	}
	a.t.mu.Unlock()
	a.limited(l)
}

// manyFailures within a minute are a sign that the server has too much to do.
const manyFailures = 3

// hits reports whether at least half of the accounts, and two at least, were
// refused within a minute: it is the host then. t.mu is held.
func (h *host) hits(now time.Time) bool {
	all, some := 0, 0
	for _, a := range h.accounts {
		if len(a.conns) > 0 {
			all++
		}
		if at, ok := h.hit[a]; ok && now.Sub(at) < time.Minute {
			some++
		}
	}
	return some >= 2 && 2*some >= all
}

// callBackMore asks for what is open above a limit that was just learned, the
// idle ones first. t.mu is held.
func (t *Throttle) callBackMore(h *host, a *Account, server bool, most int) {
	var all []*connection
	for _, other := range h.accounts {
		if server || other == a {
			for _, c := range other.conns {
				if c.recall != nil && !c.recalled {
					all = append(all, c)
				}
			}
		}
	}
	slices.SortFunc(all, func(x, y *connection) int {
		if x.active != y.active {
			return map[bool]int{false: -1, true: 1}[x.active]
		}
		return x.idle.Compare(y.idle)
	})
	for _, c := range all[:max(0, len(all)-most)] {
		c.recalled = true
		go c.recall()
	}
}

// Identified says what the server calls itself (RFC 2971). It may be known what
// such a server allows.
func (a *Account) Identified(name string) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	h := a.host
	p, ok := forID(name)
	if !ok || h.policy.Name != Unknown.Name || a.t.cfg.Policy != nil {
		return
	}
	now := time.Now()
	h.policy = p
	h.loop.setCap(a.t.most(p.Host, a.t.cfg.Host, h.memory.Cap))
	h.buckets.set(now, a.t.budget(h))
	for _, x := range h.accounts {
		x.loop.setCap(a.t.most(p.Account, a.t.cfg.Account, x.memory.Cap))
		x.buckets.set(now, x.budget())
	}
	a.t.wakeAll()
}

func (a *Account) limit(l *limiter, user, reason string) *Limit {
	x := &Limit{Host: a.host.name, Account: user, Connections: l.level, Reason: reason}
	if !math.IsInf(l.cap, 1) {
		x.Most = int(l.cap)
	}
	return x
}

func (a *Account) limited(l *Limit) {
	if l != nil && a.t.cfg.Events.Limited != nil {
		a.t.cfg.Events.Limited(*l)
	}
}
