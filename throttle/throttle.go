package throttle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
)

// Config is how a [Throttle] treats its hosts. The zero value is safe with any
// server.
type Config struct {
	// Policy says what a host may be asked for. Default [ForHost], and what is
	// known of the kind of server, once it has said what it is, for hosts that
	// ForHost does not know.
	Policy func(host string) Policy

	// Host and Account are limits on top of the policy's, for each host and
	// each account; they hold for unlimited hosts too. Default: none.
	Host, Account Budget

	// Schedule is limits on top of these that come and go, for each host.
	// Default: none.
	Schedule Schedule

	// Storage remembers what was used of a day and what was learned. Default:
	// nothing outlives the Throttle.
	Storage Storage

	// Events are told what happens. Default: nobody.
	Events Events
}

// Events are functions that are called as things happen; those that are nil are
// not called. They run on the goroutines of those who wait, several at a time,
// and hold them up until they return.
type Events struct {
	// Waiting is called before a wait of more than two seconds for anything but
	// a turn.
	Waiting func(Wait)
	// Limited is called when a server has asked for less, or struggles, or has
	// taught a limit.
	Limited func(Limit)
}

// Wait says who waits, how long, and why.
type Wait struct {
	Host, Account string
	For           time.Duration
	Reason        string // as in "server asked for 299961 ms"
}

// Limit says what a host, or an account of it, is held to now.
type Limit struct {
	Host        string
	Account     string  // empty: all of the host
	Connections float64 // at work at a time, on average
	Most        int     // the most that will be tried
	Reason      string
}

// Throttle is one side of any number of migrations. It is safe for concurrent
// use.
type Throttle struct {
	cfg    Config
	choose func(string) Policy

	mu    sync.Mutex // protects the fields below, and all of hosts, accounts and connections
	hosts map[string]*host
	ids   int64
	wake  chan struct{} // closed when somebody who waits for a turn may have it

	waiters int // who wait for that
}

// host is what all accounts on a host have in common.
type host struct {
	name     string
	policy   Policy
	accounts map[string]*Account
	loop     *limiter
	open     int // connections
	active   int // connections that have commands in flight
	buckets  buckets
	window   *Window
	looked   time.Time // at the schedule
	memory   saved
	store    store
	hit      map[*Account]time.Time // accounts that were refused lately
	failures []time.Time            // of the last minute
}

// buckets are the rates of a host or an account.
type buckets struct{ logIns, commands, messages, read, write *bucket }

func newBuckets() buckets {
	return buckets{newBucket(), newBucket(), newBucket(), newBucket(), newBucket()}
}

func (b *buckets) set(now time.Time, x Budget) {
	b.logIns.set(now, x.LogIns)
	b.commands.set(now, x.Commands)
	b.messages.set(now, x.Messages)
	b.read.set(now, x.Read)
	b.write.set(now, x.Write)
}

// New returns a Throttle. An error names all mistakes in the configuration.
func New(cfg Config) (*Throttle, error) {
	var errs []error
	for _, b := range []Budget{cfg.Host, cfg.Account} {
		if err := b.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	for i := range cfg.Schedule {
		if err := cfg.Schedule[i].validate(); err != nil {
			errs = append(errs, fmt.Errorf("window %d: %w", i+1, err))
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("throttle: bad configuration: %w", errors.Join(errs...))
	}
	t := &Throttle{cfg: cfg, choose: cfg.Policy, hosts: make(map[string]*host), wake: make(chan struct{})}
	if t.choose == nil {
		t.choose = ForHost
	}
	return t, nil
}

// Account returns the account of a user on a host, the same for the same names.
// ctx bounds the look into the Storage.
func (t *Throttle) Account(ctx context.Context, hostName, user string) (*Account, error) {
	key := strings.ToLower(hostName)
	var hostMemory, accountMemory saved
	hostStore := store{t.cfg.Storage, "host " + key}
	accountStore := store{t.cfg.Storage, "account " + key + " " + user}
	if err := errors.Join(hostStore.load(ctx, &hostMemory), accountStore.load(ctx, &accountMemory)); err != nil {
		return nil, fmt.Errorf("throttle: %w", err)
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hosts[key]
	if h == nil {
		h = &host{
			name: hostName, policy: t.choose(hostName), accounts: make(map[string]*Account), buckets: newBuckets(),
			memory: hostMemory, store: hostStore, hit: make(map[*Account]time.Time),
		}
		t.hosts[key] = h
		most := t.most(h.policy.Host, t.cfg.Host, h.memory.Cap)
		h.loop = newLimiter(now, begin(h.policy, most), most, h.listens())
		h.loop.watch = h.listens()
		if !h.listens() {
			h.loop.level = most // each account has its own
		}
	}
	a := h.accounts[user]
	if a == nil {
		a = &Account{t: t, host: h, user: user, conns: make(map[int64]*connection), buckets: newBuckets(), memory: accountMemory, store: accountStore}
		most := t.most(h.policy.Account, t.cfg.Account, a.memory.Cap)
		a.loop = newLimiter(now, begin(h.policy, most), most, !h.policy.Unlimited && !h.listens())
		a.loop.watch = !h.policy.Unlimited
		h.accounts[user] = a
		a.buckets.set(now, a.budget())
		a.free = h.policy.Unlimited && len(t.cfg.Schedule) == 0 && a.budget() == (Budget{}) && t.budget(h) == (Budget{})
	}
	t.refresh(h, now)
	return a, nil
}

// begin is the level that a loop begins with.
func begin(p Policy, most float64) float64 {
	if p.Unlimited {
		return most
	}
	return min(float64(cmp.Or(p.Start, start)), most)
}

// listens reports whether the loop that goes by latencies is the host's.
func (h *host) listens() bool { return !h.policy.Unlimited && h.policy.Host.Connections > 0 }

// most returns how high a loop may go.
func (t *Throttle) most(policy, own Budget, learned int) float64 {
	n := smaller(smaller(policy.Connections, own.Connections), learned)
	if n == 0 {
		return math.Inf(1)
	}
	return float64(n)
}

// budget is what holds for the host in the present window.
func (t *Throttle) budget(h *host) Budget {
	b := h.policy.Host.Min(t.cfg.Host)
	if h.window != nil {
		b = b.Min(h.window.Budget)
	}
	return b
}

func (a *Account) budget() Budget { return a.host.policy.Account.Min(a.t.cfg.Account) }

// refresh applies the schedule, once a second at most, and lets the loops do
// what is due. t.mu is held.
func (t *Throttle) refresh(h *host, now time.Time) {
	if !h.looked.IsZero() && now.Sub(h.looked) < time.Second && now.After(h.looked) {
		return
	}
	first := h.looked.IsZero()
	h.looked = now
	if w := t.cfg.Schedule.at(now); w != h.window || first {
		h.window = w
		h.buckets.set(now, t.budget(h))
		t.wakeAll()
	}
	if h.loop.adjust(now) {
		t.wakeAll()
	}
	for _, a := range h.accounts {
		if a.loop.adjust(now) {
			t.wakeAll()
		}
	}
}

// look is refresh for those who do not hold t.mu.
func (t *Throttle) look(h *host) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh(h, time.Now())
}

// wakeAll lets all look again who wait for a turn. t.mu is held.
func (t *Throttle) wakeAll() {
	if t.waiters == 0 {
		return
	}
	close(t.wake)
	t.wake = make(chan struct{})
}

// Close saves what is to be remembered. Connections may still be given back.
func (t *Throttle) Close(ctx context.Context) error {
	var errs []error
	for _, s := range t.dirty() {
		errs = append(errs, s.store.save(ctx, s.data))
	}
	return errors.Join(errs...)
}

type pending struct {
	store store
	data  []byte
}

// dirty returns what is worth saving: where a day has a budget, or something was
// learned.
func (t *Throttle) dirty() []pending {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []pending
	for _, h := range t.hosts {
		if h.memory.worth(t.budget(h)) {
			all = append(all, pending{h.store, h.memory.bytes()})
		}
		for _, a := range h.accounts {
			if a.memory.worth(a.budget()) {
				all = append(all, pending{a.store, a.memory.bytes()})
			}
		}
	}
	return all
}

// store is the place of one host or account in the Storage.
type store struct {
	Storage
	key string
}

func (s store) load(ctx context.Context, to *saved) error {
	if s.Storage == nil {
		return nil
	}
	data, err := s.Load(ctx, s.key)
	if err != nil {
		return fmt.Errorf("what was used today cannot be read: %w", err)
	}
	if data != nil {
		to.load(data)
	}
	return nil
}

func (s store) save(ctx context.Context, data []byte) error {
	if s.Storage == nil {
		return nil
	}
	if err := s.Save(ctx, s.key, data); err != nil {
		return fmt.Errorf("throttle: what was used today cannot be saved: %w", err)
	}
	return nil
}

// Snapshot is what a Throttle does at a moment.
type Snapshot struct{ Hosts []HostState }

// HostState is the state of a host.
type HostState struct {
	State
	Policy   string // its name
	Window   string // the limits of the schedule's window; empty: none
	Accounts []State
}

// State is what holds for a host or an account.
type State struct {
	Name        string
	Budget      Budget
	Level       float64 // connections that may be at work, on average; +Inf: any number
	Most        float64 // what the level may rise to; +Inf: anything
	Open        int     // connections
	Active      int     // those of them with commands in flight
	PausedUntil time.Time
	Reason      string // of the pause
	Struggling  bool   // answers begin later than they used to
	ReadToday   int64  // octets in the last 24 hours
	WroteToday  int64
}

// Snapshot returns the state of all hosts and accounts, in no order.
func (t *Throttle) Snapshot() Snapshot {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var s Snapshot
	for _, h := range t.hosts {
		t.refresh(h, now)
		for _, a := range h.accounts {
			if a.free {
				a.add(now, int(a.read.Swap(0)), int(a.written.Swap(0)))
			}
		}
		hs := HostState{State: state(h.name, t.budget(h), h.loop, &h.memory, now), Policy: h.policy.Name}
		hs.Open, hs.Active = h.open, h.active
		if h.window != nil {
			hs.Window = h.window.Budget.String()
			if h.window.Stop {
				hs.Window = "stop"
			}
		}
		for _, a := range h.accounts {
			as := state(a.user, a.budget(), a.loop, &a.memory, now)
			as.Open, as.Active = len(a.conns), a.active
			hs.Accounts = append(hs.Accounts, as)
		}
		s.Hosts = append(s.Hosts, hs)
	}
	return s
}

func state(name string, b Budget, l *limiter, m *saved, now time.Time) State {
	s := State{
		Name: name, Budget: b, Level: l.level, Most: l.cap, Struggling: l.before > 0,
		ReadToday: m.Read.sum(now), WroteToday: m.Written.sum(now),
	}
	if now.Before(l.paused) {
		s.PausedUntil, s.Reason = l.paused, l.reason
	}
	return s
}
