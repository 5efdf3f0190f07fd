package throttle

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func policy(p Policy) func(string) Policy { return func(string) Policy { return p } }

func open(t *testing.T, cfg Config, host, user string) *Account {
	t.Helper()
	th, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return account(t, th, host, user)
}

func account(t *testing.T, th *Throttle, host, user string) *Account {
	t.Helper()
	a, err := th.Account(t.Context(), host, user)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestRatesAreExact: octets a second are within 5 % of the setting over ten
// seconds, for one goroutine and for many together.
func TestRatesAreExact(t *testing.T) {
	for _, perSecond := range []float64{1e3, 10e3, 100e3, 1e6, 10e6, 100e6} {
		for _, workers := range []int{1, 64} {
			t.Run(fmt.Sprintf("%.0f B/s with %d", perSecond, workers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := open(t, Config{Policy: policy(Unlimited), Host: Budget{Read: perSecond, Write: perSecond}}, "h", "u")
					for name, transfer := range map[string]func(context.Context, int) error{"read": a.Read, "write": a.Write} {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						var mu sync.Mutex
						total := 0
						var wg sync.WaitGroup
						for w := range workers {
							wg.Go(func() {
								size := 50 + w
								if perSecond >= 1e6 {
									size = 16<<10 + w
								}
								for transfer(ctx, size) == nil {
									mu.Lock()
									total += size
									mu.Unlock()
								}
							})
						}
						wg.Wait()
						cancel()
						if off := float64(total)/(10*perSecond) - 1; math.Abs(off) > 0.05 {
							t.Errorf("%s: %d octets in 10 s, off by %+.1f %%", name, total, 100*off)
						}
					}
				})
			})
		}
	}
}

func TestMessagesAndCommandsAndLogIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Config{Policy: policy(Unlimited), Account: Budget{Messages: 10, Commands: 5, LogIns: 2}}, "h", "u")
		begun := time.Now()
		if err := a.Messages(t.Context(), 101); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d < 9900*time.Millisecond || d > 10100*time.Millisecond {
			t.Errorf("101 messages at 10 a second took %v", d)
		}
		begun = time.Now()
		var id int64
		for range 5 {
			id, _ = a.Connect(t.Context(), nil)
		}
		if d := time.Since(begun); d < 1900*time.Millisecond || d > 2100*time.Millisecond {
			t.Errorf("5 log-ins at 2 a second took %v", d)
		}
		begun = time.Now()
		for range 11 {
			if err := a.Command(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			a.Idle(id)
		}
		if d := time.Since(begun); d < 1900*time.Millisecond || d > 2100*time.Millisecond {
			t.Errorf("11 commands at 5 a second took %v", d)
		}
	})
}

// TestCapsAreNeverExceeded: in a million steps of many goroutines there are
// never more connections than allowed, nor more of them at work.
func TestCapsAreNeverExceeded(t *testing.T) {
	steps := 1_000_000
	if testing.Short() {
		steps = 100_000
	}
	synctest.Test(t, func(t *testing.T) {
		th, err := New(Config{Policy: policy(Policy{Name: "test", Host: Budget{Connections: 7}, Account: Budget{Connections: 3}})})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex // protects what follows
		hostOpen, done := 0, 0
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for u := range 4 {
			a := account(t, th, "h", fmt.Sprint(u))
			open := 0
			for w := range 5 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(u), uint64(w)))
					for {
						id, err := a.Connect(ctx, nil)
						if err != nil {
							return
						}
						mu.Lock()
						open++
						hostOpen++
						if open > 3 || hostOpen > 7 {
							t.Errorf("%d connections of an account, %d of the host", open, hostOpen)
							cancel()
						}
						mu.Unlock()
						for range 1 + r.IntN(100) {
							if a.Command(ctx, id) != nil {
								break
							}
							if r.IntN(16) == 0 {
								if s := th.Snapshot().Hosts[0]; s.Active > 7 || s.Open > 7 {
									t.Errorf("%+v", s)
									cancel()
								}
							}
							d := time.Duration(r.IntN(50)) * time.Millisecond
							time.Sleep(d)
							a.FirstByte(id, d)
							a.Idle(id)
							mu.Lock()
							if done++; done >= steps {
								cancel()
							}
							mu.Unlock()
						}
						mu.Lock()
						open--
						hostOpen--
						mu.Unlock()
						a.Disconnect(id)
					}
				})
			}
		}
		wg.Wait()
		cancel()
		if s := th.Snapshot().Hosts[0]; s.Open != 0 || s.Active != 0 {
			t.Errorf("left over: %+v", s)
		}
	})
}

// TestHintIsObeyed: nothing is sent before the time that the server named is
// over, on whatever connection; and with half of what was at work afterwards.
func TestHintIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hint = 299961 * time.Millisecond
		var waits []Wait
		var mu sync.Mutex
		a := open(t, Config{
			Policy: policy(Policy{Name: "test", Account: Budget{Connections: 4}}),
			Events: Events{Waiting: func(w Wait) {
				mu.Lock()
				defer mu.Unlock()
				waits = append(waits, w)
			}},
		}, "h", "u")
		ids := make([]int64, 2)
		for i := range ids {
			ids[i], _ = a.Connect(t.Context(), nil)
		}
		a.Refused(ids[0], false, false, hint, "x")
		begun := time.Now()
		a.Refused(ids[1], false, false, hint/2, "x") // the answer to what was in flight
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() {
				for range 20 {
					if a.Command(t.Context(), id) != nil {
						return
					}
					if d := time.Since(begun); d < hint {
						t.Errorf("a command after %v", d)
					}
					time.Sleep(10 * time.Millisecond)
					a.Idle(id)
				}
			})
		}
		if s := a.t.Snapshot().Hosts[0].Accounts[0]; s.Level != 1 || s.PausedUntil != begun.Add(hint) {
			t.Errorf("%+v", s)
		}
		wg.Wait()
		if len(waits) != 1 || waits[0].Reason != "server asked for 299961 ms" || waits[0].For != hint {
			t.Errorf("told of %+v", waits)
		}
	})
}

// TestBackoff: where the server names no time the pauses grow, up to half an
// hour, and clean time makes them short again.
func TestBackoff(t *testing.T) {
	now := simEpoch
	l := newLimiter(now, 4, 4, false)
	for n := range 12 {
		l.refused(now, 0, "no")
		most := time.Second + min(lastBackoff, firstBackoff<<min(n, 10))
		if d := l.paused.Sub(now); d < time.Second || d > most {
			t.Errorf("pause %d is %v, at most %v was due", n+1, d, most)
		}
		now = l.paused
	}
	if l.level != least {
		t.Errorf("level %v", l.level)
	}
	for range 10 * 60 {
		now = now.Add(time.Second)
		l.adjust(now)
	}
	if l.level != 4 || l.strikes > 5 {
		t.Errorf("level %v after ten clean minutes, %d strikes", l.level, l.strikes)
	}
}

// TestDutyCycle: a quarter of a connection is one connection a quarter of the
// time.
func TestDutyCycle(t *testing.T) {
	l := newLimiter(simEpoch, 0.25, 4, false)
	busy := 0
	for ms := range 60_000 {
		n, until := l.active(simEpoch.Add(time.Duration(ms) * time.Millisecond))
		busy += n
		if !until.After(simEpoch.Add(time.Duration(ms) * time.Millisecond)) {
			t.Fatal("a phase that has ended")
		}
	}
	if share := float64(busy) / 60_000; math.Abs(share-0.25) > 0.01 {
		t.Errorf("busy %.3f of the time", share)
	}
}

// TestRefusedConnectionTeaches: what a refusal has taught is kept, one
// connection is left to the user, and one above that is asked for back.
func TestRefusedConnectionTeaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &mapStorage{}
		cfg := Config{Policy: policy(Policy{Name: "test", Account: Budget{Connections: 10}}), Storage: memory}
		a := open(t, cfg, "h", "u")
		a.loop.level = 10
		recalled := make(chan int64, 4)
		var ids []int64
		for range 4 {
			var id int64
			id, _ = a.Connect(t.Context(), func() { recalled <- id })
			ids = append(ids, id)
		}
		a.Refused(ids[3], true, false, 0, "too many connections") // three are allowed
		a.Disconnect(ids[3])
		synctest.Wait()
		s := a.t.Snapshot().Hosts[0].Accounts[0]
		if s.Most != 2 {
			t.Errorf("the limit is %v, not 2", s.Most)
		}
		if len(recalled) == 0 {
			t.Fatal("nothing was asked for back")
		}
		for len(recalled) > 0 {
			a.Disconnect(<-recalled)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var more []int64
		for {
			id, err := a.Connect(ctx, nil)
			if err != nil {
				break
			}
			more = append(more, id)
		}
		if n := a.t.Snapshot().Hosts[0].Accounts[0].Open; n != 2 {
			t.Errorf("%d are open, %d of them new", n, len(more))
		}
		if err := a.t.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := open(t, cfg, "h", "u").t.Snapshot().Hosts[0].Accounts[0]; s.Most != 2 {
			t.Errorf("after a restart the limit is %v", s.Most)
		}
	})
}

// TestOneLesson: what was on its way when a refusal taught a limit teaches nothing
// more, and a connection that has just ended is still counted for a while, as the
// server may do.
func TestOneLesson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lessons := 0
		a := open(t, Config{
			Policy: policy(Policy{Name: "test", Start: 10, Account: Budget{Connections: 10}}),
			Events: Events{Limited: func(Limit) { lessons++ }},
		}, "h", "u")
		var ids []int64
		for range 5 {
			id, _ := a.Connect(t.Context(), nil)
			ids = append(ids, id)
		}
		time.Sleep(time.Millisecond)
		a.Refused(ids[3], true, false, 0, "too many connections")
		a.Disconnect(ids[3])
		a.Disconnect(ids[2])
		a.Refused(ids[4], true, false, 0, "too many connections")
		a.Disconnect(ids[4])
		a.Disconnect(ids[1])
		if s := a.t.Snapshot().Hosts[0].Accounts[0]; s.Most != 3 || lessons != 1 {
			t.Errorf("a limit of %v after %d lessons", s.Most, lessons)
		}
		begun := time.Now()
		if _, err := a.Connect(t.Context(), nil); err != nil || time.Since(begun) < linger {
			t.Errorf("another after %v: %v", time.Since(begun), err)
		}
	})
}

// TestFailures: one or two failures say nothing; the third within a minute is a
// sign, for the account or for all of its host.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, err := New(Config{Policy: policy(Policy{Name: "test", Start: 4, Host: Budget{Connections: 4}, Account: Budget{Connections: 4}})})
		if err != nil {
			t.Fatal(err)
		}
		a := account(t, th, "h", "u")
		check := func(when string, ofAccount, ofHost bool) {
			s := th.Snapshot().Hosts[0]
			if got := !s.Accounts[0].PausedUntil.IsZero(); got != ofAccount {
				t.Errorf("%s: the account is paused: %v", when, got)
			}
			if got := !s.PausedUntil.IsZero(); got != ofHost {
				t.Errorf("%s: the host is paused: %v", when, got)
			}
		}
		for range 10 {
			a.Failed(true, "x")
			time.Sleep(31 * time.Second)
		}
		check("now and then", false, false)
		time.Sleep(time.Hour)
		a.Failed(false, "x")
		a.Failed(false, "x")
		check("twice", false, false)
		a.Failed(false, "x")
		check("three times", true, false)
		time.Sleep(time.Hour)
		for range 3 {
			a.Failed(true, "x")
		}
		check("of the host", false, true)
	})
}

// TestIdleConnectionIsCalledBack: an account that has no connection gets that
// of another which does not need it.
func TestIdleConnectionIsCalledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, err := New(Config{Policy: policy(Policy{Name: "test", Host: Budget{Connections: 1}})})
		if err != nil {
			t.Fatal(err)
		}
		a, b := account(t, th, "h", "a"), account(t, th, "h", "b")
		var id int64
		id, _ = a.Connect(t.Context(), func() { a.Disconnect(id) })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := b.Connect(ctx, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOneStrugglingAccount: it is slowed down, and the others of its host are
// not; when half of them struggle, it is the host.
func TestOneStrugglingAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, err := New(Config{Policy: policy(Policy{Name: "test", Host: Budget{Connections: 8}, Account: Budget{Connections: 4}})})
		if err != nil {
			t.Fatal(err)
		}
		var accounts []*Account
		for u := range 5 {
			a := account(t, th, "h", fmt.Sprint(u))
			a.host.loop.level = 8
			if _, err := a.Connect(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			accounts = append(accounts, a)
		}
		round := func(n, slow int) {
			for range n {
				for i, a := range accounts {
					d := 50 * time.Millisecond
					if i < slow {
						d = time.Second
					}
					a.FirstByte(1, d)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		struggling := func() (n int, host bool) {
			s := th.Snapshot().Hosts[0]
			for _, a := range s.Accounts {
				if a.Struggling {
					n++
				}
			}
			return n, s.Struggling
		}
		round(100, 0)
		round(100, 1)
		if n, host := struggling(); n != 1 || host {
			t.Errorf("%d accounts struggle, the host: %v", n, host)
		}
		round(100, 3)
		if n, host := struggling(); n != 3 || !host {
			t.Errorf("%d accounts struggle, the host: %v", n, host)
		}
	})
}

// TestUnknownHost: two at the start, four at most.
func TestUnknownHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Config{}, "mail.example.org", "u")
		if s := a.t.Snapshot().Hosts[0]; s.Level != 2 || s.Most != 4 || s.Policy != "unknown host" {
			t.Errorf("%+v", s)
		}
		a.Identified("Dovecot")
		if s := a.t.Snapshot().Hosts[0]; s.Level != 2 || s.Most != 9 || s.Policy != "dovecot" {
			t.Errorf("%+v", s)
		}
		if s := open(t, Config{}, "127.0.0.1", "u").t.Snapshot().Hosts[0]; !math.IsInf(s.Most, 1) || !math.IsInf(s.Level, 1) {
			t.Errorf("%+v", s)
		}
	})
}

// TestDay: what a day allows is remembered across restarts, and lasts for any
// 24 hours.
func TestDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &mapStorage{}
		cfg := Config{Policy: policy(Policy{Name: "test", Account: Budget{ReadDay: 1e6}}), Storage: memory}
		a := open(t, cfg, "h", "u")
		id, _ := a.Connect(t.Context(), nil)
		if err := a.Command(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		_ = a.Read(t.Context(), 600e3)
		a.Idle(id)
		if err := a.t.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)

		a = open(t, cfg, "h", "u")
		id, _ = a.Connect(t.Context(), nil)
		begun := time.Now()
		for range 2 {
			if err := a.Command(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			_ = a.Read(t.Context(), 500e3)
			a.Idle(id)
		}
		if d := time.Since(begun); d < 21*time.Hour || d > 22*time.Hour {
			t.Errorf("the day's budget was free again after %v", d)
		}
	})
}

// TestScheduleChangesWhatIsUnderWay: a transfer that began in a slow window
// goes on fast when that ends, and the other way round.
func TestScheduleChangesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Time begins at midnight UTC here.
		s := Schedule{{From: 0, To: time.Minute, Budget: Budget{Read: 1000}}, {From: time.Minute, To: 2 * time.Minute, Stop: true}}
		a := open(t, Config{Policy: policy(Unlimited), Schedule: s}, "h", "u")
		begun := time.Now()
		if err := a.Read(t.Context(), 1e9); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d < 60*time.Second || d > 62*time.Second {
			t.Errorf("took %v", d)
		}
		id, err := a.Connect(t.Context(), nil)
		if d := time.Since(begun); err != nil || d < 2*time.Minute || d > 2*time.Minute+2*time.Second {
			t.Errorf("connected after %v: %v", d, err)
		}
		if err := a.Command(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCancel: whatever waits ends with its context.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, Config{Policy: policy(Policy{Name: "test", Account: Budget{Connections: 1, Read: 1, Messages: 0.001}})}, "h", "u")
		id, _ := a.Connect(t.Context(), nil)
		a.Refused(id, false, false, time.Hour, "x")
		for name, f := range map[string]func(context.Context) error{
			"Connect":  func(ctx context.Context) error { _, err := a.Connect(ctx, nil); return err },
			"Command":  func(ctx context.Context) error { return a.Command(ctx, id) },
			"Messages": func(ctx context.Context) error { return a.Messages(ctx, 100) },
			"Read":     func(ctx context.Context) error { return a.Read(ctx, 100) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begun := time.Now()
			if err := f(ctx); err == nil || time.Since(begun) != time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(begun))
			}
			cancel()
		}
	})
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "limits")
	f := NewFile(name)
	if v, err := f.Load(t.Context(), "a"); v != nil || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	for _, value := range []string{"1", "2"} {
		if err := f.Save(t.Context(), "a", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := NewFile(name).Load(t.Context(), "a"); string(v) != "2" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if files, err := filepath.Glob(name + "*"); len(files) != 1 || err != nil {
		t.Errorf("%q, %v", files, err)
	}
	if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFile(name).Load(t.Context(), "a"); err == nil {
		t.Error("a damaged file is read")
	}
}

func TestMistakes(t *testing.T) {
	_, err := New(Config{Host: Budget{Read: -1}, Schedule: Schedule{{From: 25 * time.Hour}}})
	if err == nil {
		t.Fatal("no error")
	}
}

// mapStorage is a Storage for tests.
type mapStorage struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (s *mapStorage) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[key], nil
}

func (s *mapStorage) Save(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[string][]byte)
	}
	s.m[key] = value
	return nil
}

// TestUnlimited: whoever has no limits is not held up, and what he does is shown
// all the same.
func TestUnlimited(t *testing.T) {
	a := open(t, Config{Policy: policy(Unlimited)}, "h", "u")
	id, err := a.Connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Refused(id, true, true, time.Hour, "x")
	a.Failed(true, "x")
	if err := a.Command(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_ = a.Read(t.Context(), 1e9)
	_ = a.Write(t.Context(), 1e6)
	_ = a.Messages(t.Context(), 1e6)
	a.FirstByte(id, time.Hour)
	s := a.t.Snapshot().Hosts[0]
	if s.Active != 1 || s.Open != 1 || s.ReadToday != 1e9 || s.WroteToday != 1e6 || s.Accounts[0].ReadToday != 1e9 || s.Accounts[0].Active != 1 {
		t.Errorf("%+v", s)
	}
	a.Idle(id)
	a.Disconnect(id)
	if s := a.t.Snapshot().Hosts[0]; s.Active != 0 || s.Open != 0 {
		t.Errorf("%+v", s)
	}
	if n := testing.AllocsPerRun(100, func() {
		_ = a.Command(t.Context(), id)
		_ = a.Read(t.Context(), 1)
		a.FirstByte(id, 1)
		a.Idle(id)
	}); n > 0 {
		t.Errorf("%v allocations a command", n)
	}
}
