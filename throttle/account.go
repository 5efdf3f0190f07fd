package throttle

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Account is one account on a host. Its methods are what a connection asks and
// tells; the id is that of the connection. They may be called from any
// goroutine. Those that wait return nil, or the error of their context.
type Account struct {
	t    *Throttle
	host *host
	user string

	// Protected by t.mu:
	loop   *limiter
	conns  map[int64]*connection
	active int
	ended  []time.Time // of connections that the server may still count
	memory saved
	store  store
	next   time.Time // of saving

	failures []time.Time // of the last minute

	// free is set where nothing limits the account and nothing ever will: what
	// it reads and writes is only counted, without a lock, until somebody looks.
	free          bool
	read, written atomic.Int64
	said          Wait // what Events.Waiting was told last
	saidEnd       time.Time

	buckets buckets
}

// connection is one connection of an account.
type connection struct {
	id       int64
	recall   func()
	recalled bool
	begun    time.Time // when there was leave for it
	idle     time.Time // since when it has had nothing in flight
	active   bool      // it has something in flight
}

const (
	longest = time.Second      // between looks at clock and schedule
	worth   = 2 * time.Second  // a wait that is worth an event
	linger  = 2 * time.Second  // that a server may take to notice that a connection has ended
	lull    = 2 * time.Second  // of idleness, after which a connection is spare
	yields  = 30 * time.Second // that a command waits for those before it on its connection
)

// Connect waits for leave to open a connection and log in on it. The connection
// counts until Disconnect. recall, if not nil, is called on a goroutine of its
// own when the connection is wanted back: no further command should be sent on
// it, and it should be ended when those in flight have their answers.
func (a *Account) Connect(ctx context.Context, recall func()) (id int64, err error) {
	err = a.wait(ctx, func(now time.Time) (bool, time.Time, string) {
		if until, why := a.barred(now); !until.IsZero() {
			return false, until, why
		}
		if until, why := a.spent(now); !until.IsZero() {
			return false, until, why
		}
		h := a.host
		if len(a.conns)+a.lingering(now) >= connections(a.loop, math.MaxInt) || h.open >= connections(h.loop, a.windowConnections()) {
			a.callBack(now)
			return false, time.Time{}, ""
		}
		a.t.ids++
		id = a.t.ids
		a.conns[id] = &connection{id: id, recall: recall, begun: now, idle: now}
		h.open++
		return true, time.Time{}, ""
	})
	if err != nil {
		return 0, err
	}
	if err = a.take(ctx, a.buckets.logIns, a.host.buckets.logIns, 1); err == nil {
		// A pause may have begun meanwhile.
		err = a.wait(ctx, func(now time.Time) (bool, time.Time, string) {
			until, why := a.barred(now)
			return until.IsZero(), until, why
		})
	}
	if err != nil {
		a.Disconnect(id)
		return 0, err
	}
	return id, nil
}

// lingering returns how many connections a server that has taught a limit may
// still count, though they have ended: one more that came too soon would be
// refused, and that would be taken for another lesson. t.mu is held.
func (a *Account) lingering(now time.Time) int {
	a.ended = slices.DeleteFunc(a.ended, func(at time.Time) bool { return now.Sub(at) >= linger })
	return len(a.ended)
}

// windowConnections is how many the schedule allows the host. t.mu is held.
func (a *Account) windowConnections() int {
	if n := a.t.budget(a.host).Connections; n > 0 {
		return n
	}
	return math.MaxInt
}

// connections returns how many may be open: what is at work at times, and one
// at least, since what is below one is a matter of time.
func connections(l *limiter, most int) int {
	if math.IsInf(l.level, 1) {
		return most
	}
	return min(max(1, int(math.Ceil(l.level-0.05))), most)
}

// callBack asks for the connection of the host that has been idle longest, for
// somebody who has none. Those that have only just become idle are left alone:
// two accounts would take one connection from each other between any two
// commands, and neither would get anywhere. t.mu is held.
func (a *Account) callBack(now time.Time) {
	if len(a.conns) > 0 {
		return
	}
	var oldest *connection
	for _, other := range a.host.accounts {
		for _, c := range other.conns {
			if c.recalled {
				return // one is on its way
			}
			if c.recall == nil || c.active || now.Sub(c.idle) < lull {
				continue
			}
			if oldest == nil || c.idle.Before(oldest.idle) {
				oldest = c
			}
		}
	}
	if oldest != nil {
		oldest.recalled = true
		go oldest.recall()
	}
}

// Disconnect says that a connection has ended.
func (a *Account) Disconnect(id int64) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	c := a.conns[id]
	if c == nil {
		return
	}
	a.rest(c)
	delete(a.conns, id)
	a.host.open--
	if a.memory.Cap > 0 {
		a.ended = append(a.ended, time.Now())
	}
	a.t.wakeAll()
}

// rest says that a connection has nothing in flight. t.mu is held.
func (a *Account) rest(c *connection) {
	if c.active {
		c.active = false
		a.active--
		a.host.active--
	}
}

// Command waits for leave to send a command.
func (a *Account) Command(ctx context.Context, id int64) error {
	if a.free {
		a.t.mu.Lock()
		defer a.t.mu.Unlock()
		if c := a.conns[id]; c != nil && !c.active {
			c.active = true
			a.active++
			a.host.active++
		}
		return ctx.Err()
	}
	if err := a.take(ctx, a.buckets.commands, a.host.buckets.commands, 1); err != nil {
		return err
	}
	begun := time.Now()
	return a.wait(ctx, func(now time.Time) (bool, time.Time, string) {
		c := a.conns[id]
		if c == nil {
			return true, time.Time{}, "" // it has ended, which others will say
		}
		if until, why := a.barred(now); !until.IsZero() {
			return false, until, why
		}
		if until, why := a.spent(now); !until.IsZero() {
			return false, until, why
		}
		h := a.host
		here, until1 := a.loop.active(now)
		there, until2 := h.loop.active(now)
		there = min(there, a.windowConnections())
		until := until1
		if until2.Before(until) {
			until = until2
		}
		switch {
		case c.active && a.active <= here && h.active <= there:
		case c.active && (here > 0 && there > 0) && now.Sub(begun) >= yields:
			// What is in flight may be waiting for whoever sends this.
		case !c.active && a.active < here && h.active < there:
			c.active = true
			a.active++
			h.active++
		default:
			return false, until, ""
		}
		return true, time.Time{}, ""
	})
}

// Idle says that all commands of a connection have ended.
func (a *Account) Idle(id int64) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if c := a.conns[id]; c != nil && c.active {
		c.idle = time.Now()
		a.rest(c)
		a.t.wakeAll()
	}
}

// Unlimited reports whether nothing ever has to wait for the account: its policy
// is [Unlimited], and there are no budgets and no schedule.
func (a *Account) Unlimited() bool { return a.free }

// Messages waits for leave to read or write n messages.
func (a *Account) Messages(ctx context.Context, n int) error {
	if a.free {
		return ctx.Err()
	}
	return a.take(ctx, a.buckets.messages, a.host.buckets.messages, n)
}

// Read waits until n octets, which have been read, may have been.
func (a *Account) Read(ctx context.Context, n int) error {
	if a.free {
		a.read.Add(int64(n))
		return ctx.Err()
	}
	a.count(n, 0)
	return a.take(ctx, a.buckets.read, a.host.buckets.read, n)
}

// Write waits for leave to write n octets.
func (a *Account) Write(ctx context.Context, n int) error {
	if a.free {
		a.written.Add(int64(n))
		return ctx.Err()
	}
	a.count(0, n)
	return a.take(ctx, a.buckets.write, a.host.buckets.write, n)
}

// take takes from the account's bucket and then from the host's.
func (a *Account) take(ctx context.Context, own, common *bucket, n int) error {
	if own.unlimited() && common.unlimited() && len(a.t.cfg.Schedule) == 0 {
		return nil
	}
	look := func() { a.t.look(a.host) }
	if err := own.take(ctx, n, look); err != nil {
		return err
	}
	return common.take(ctx, n, look)
}

// count adds to what was used today.
func (a *Account) count(read, written int) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	a.add(time.Now(), read, written)
}

// add is count while t.mu is held.
func (a *Account) add(now time.Time, read, written int) {
	for _, m := range []*saved{&a.memory, &a.host.memory} {
		if read > 0 {
			m.Read.add(now, int64(read))
		}
		if written > 0 {
			m.Written.add(now, int64(written))
		}
	}
}

// barred returns until when nothing may be sent, and why. t.mu is held.
func (a *Account) barred(now time.Time) (until time.Time, why string) {
	if w := a.host.window; w != nil && w.Stop {
		until, why = a.t.cfg.Schedule.until(now), "the schedule allows nothing now"
		if until.IsZero() {
			until = now.Add(time.Hour)
		}
	}
	for _, l := range []*limiter{a.loop, a.host.loop} {
		if now.Before(l.paused) && l.paused.After(until) {
			until, why = l.paused, l.reason
		}
	}
	return until, why
}

// spent returns until when a day's budget is used up. t.mu is held.
func (a *Account) spent(now time.Time) (until time.Time, why string) {
	own, common := a.budget(), a.t.budget(a.host)
	for _, x := range []struct {
		used   *usage
		budget int64
		what   string
	}{
		{&a.memory.Read, own.ReadDay, "reading"}, {&a.memory.Written, own.WriteDay, "writing"},
		{&a.host.memory.Read, common.ReadDay, "reading"}, {&a.host.memory.Written, common.WriteDay, "writing"},
	} {
		if x.budget == 0 {
			continue
		}
		if end := x.used.until(now, x.budget); end.After(now) && end.After(until) {
			until, why = end, fmt.Sprintf("the %d MB that a day allows for %s are used up", x.budget/1e6, x.what)
		}
	}
	return until, why
}

// wait waits until try returns true, which is called with t.mu held. With a
// time it is tried again then, or when something changes.
func (a *Account) wait(ctx context.Context, try func(now time.Time) (ok bool, until time.Time, why string)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.save(ctx)
		now := time.Now()
		a.t.mu.Lock()
		a.t.refresh(a.host, now)
		ok, until, why := try(now)
		wake := a.t.wake
		if !ok {
			a.t.waiters++
		}
		a.t.mu.Unlock()
		if ok {
			return nil
		}
		a.tell(now, until, why)
		d := longest
		if !until.IsZero() {
			d = max(time.Millisecond, min(d, until.Sub(now)))
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
		}
		timer.Stop()
		a.t.mu.Lock()
		a.t.waiters--
		a.t.mu.Unlock()
	}
}

// tell tells Events.Waiting of a wait, once.
func (a *Account) tell(now, until time.Time, why string) {
	if why == "" || a.t.cfg.Events.Waiting == nil || until.Sub(now) < worth {
		return
	}
	a.t.mu.Lock()
	same := a.said.Reason == why && a.saidEnd.Equal(until)
	if !same {
		a.said, a.saidEnd = Wait{Host: a.host.name, Account: a.user, For: until.Sub(now), Reason: why}, until
	}
	w := a.said
	a.t.mu.Unlock()
	if !same {
		a.t.cfg.Events.Waiting(w)
	}
}

// save saves what was used, every now and then. What cannot be saved is tried
// again later, and by Close.
func (a *Account) save(ctx context.Context) {
	if a.t.cfg.Storage == nil {
		return
	}
	now := time.Now()
	a.t.mu.Lock()
	due := !now.Before(a.next)
	if due {
		a.next = now.Add(saveEvery)
	}
	a.t.mu.Unlock()
	if due {
		for _, p := range a.t.dirty() {
			if p.store.save(ctx, p.data) != nil {
				return
			}
		}
	}
}
