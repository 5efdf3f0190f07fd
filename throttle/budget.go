package throttle

// Budgets, and the buckets that hold them.

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Budget is what may be asked of a host, or of one account of it. A zero means
// that the budget says nothing of it, so budgets can be laid over each other:
// the smaller limit counts.
type Budget struct {
	Connections int     // open at a time
	LogIns      float64 // a second; a connection counts as one
	Commands    float64 // a second
	Messages    float64 // read or written, a second
	Read        float64 // octets a second
	Write       float64 // octets a second
	ReadDay     int64   // octets in any 24 hours
	WriteDay    int64   // octets in any 24 hours
}

// Min returns the smaller of each limit of two budgets.
func (b Budget) Min(o Budget) Budget {
	return Budget{
		Connections: smaller(b.Connections, o.Connections),
		LogIns:      smaller(b.LogIns, o.LogIns),
		Commands:    smaller(b.Commands, o.Commands),
		Messages:    smaller(b.Messages, o.Messages),
		Read:        smaller(b.Read, o.Read),
		Write:       smaller(b.Write, o.Write),
		ReadDay:     smaller(b.ReadDay, o.ReadDay),
		WriteDay:    smaller(b.WriteDay, o.WriteDay),
	}
}

func smaller[T int | int64 | float64](a, b T) T {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}

// validate reports a limit below zero, which can only be a mistake.
func (b Budget) validate() error {
	if b.Connections < 0 || b.LogIns < 0 || b.Commands < 0 || b.Messages < 0 || b.Read < 0 || b.Write < 0 || b.ReadDay < 0 || b.WriteDay < 0 {
		return fmt.Errorf("a limit is negative")
	}
	return nil
}

// String names the limits that there are.
func (b Budget) String() string {
	var parts []string
	add := func(there bool, format string, v any) {
		if there {
			parts = append(parts, fmt.Sprintf(format, v))
		}
	}
	add(b.Connections > 0, "%d connections", b.Connections)
	add(b.LogIns > 0, "%.3g log-ins/s", b.LogIns)
	add(b.Commands > 0, "%.3g commands/s", b.Commands)
	add(b.Messages > 0, "%.3g messages/s", b.Messages)
	add(b.Read > 0, "%.6g B/s read", b.Read)
	add(b.Write > 0, "%.6g B/s written", b.Write)
	add(b.ReadDay > 0, "%d B a day read", b.ReadDay)
	add(b.WriteDay > 0, "%d B a day written", b.WriteDay)
	if parts == nil {
		return "no limit"
	}
	return strings.Join(parts, ", ")
}

// ParseSize reads a number of octets such as "500", "20kB", "2500MB" or "1GiB".
// kB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024; a K, M,
// G or T alone is the former.
func ParseSize(text string) (int64, error) {
	n := strings.TrimSpace(text)
	end := strings.IndexFunc(n, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	unit := ""
	if end >= 0 {
		n, unit = n[:end], strings.ToLower(strings.TrimSpace(n[end:]))
	}
	factor, ok := map[string]float64{
		"": 1, "b": 1,
		"k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	}[unit]
	v, err := strconv.ParseFloat(n, 64)
	v *= factor
	if !ok || err != nil || v < 1 || v > 1<<60 {
		return 0, fmt.Errorf("%q is no size such as 500kB, 20MB or 2.5GB", text)
	}
	return int64(v), nil
}

// ParseRate reads octets a second, such as "2MB/s" or "100kB/min".
func ParseRate(text string) (float64, error) {
	size, per, err := cutPer(text)
	if err == nil {
		var n int64
		if n, err = ParseSize(size); err == nil {
			return float64(n) / per, nil
		}
	}
	return 0, fmt.Errorf("%q is no rate such as 500kB/s or 2MB/s", text)
}

// ParseCount reads a number of things a second, such as "10/s", "600/min" or
// "3600/h".
func ParseCount(text string) (float64, error) {
	count, per, err := cutPer(text)
	if err == nil {
		var n float64
		if n, err = strconv.ParseFloat(strings.TrimSpace(count), 64); err == nil && n > 0 && n <= 1e9 {
			return n / per, nil
		}
	}
	return 0, fmt.Errorf("%q is no rate such as 10/s or 600/min", text)
}

func cutPer(text string) (what string, seconds float64, err error) {
	what, unit, ok := strings.Cut(text, "/")
	if !ok {
		unit = "s"
	}
	seconds = map[string]float64{"s": 1, "min": 60, "m": 60, "h": 3600}[strings.TrimSpace(strings.ToLower(unit))]
	if seconds == 0 {
		err = fmt.Errorf("%q is no time: s, min or h", unit)
	}
	return what, seconds, err
}

// bucket holds one rate for any number of goroutines. They are served in turn,
// in pieces of a tenth of a second, so that a change of the rate takes effect
// within that time and nobody waits for the whole of another's message.
type bucket struct {
	turn chan struct{} // held, by having put something in, by whoever is next
	rate atomic.Uint64 // math.Float64bits; +Inf: no limit

	mu      sync.Mutex // protects the fields below
	lim     *rate.Limiter
	changed chan struct{} // closed by set
}

func newBucket() *bucket {
	b := &bucket{turn: make(chan struct{}, 1), lim: rate.NewLimiter(rate.Inf, 1), changed: make(chan struct{})}
	b.rate.Store(math.Float64bits(math.Inf(1)))
	return b
}

// set changes the rate; 0 is no limit. It takes effect on those who wait.
func (b *bucket) set(now time.Time, perSecond float64) {
	if perSecond <= 0 {
		perSecond = math.Inf(1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if math.Float64frombits(b.rate.Load()) == perSecond {
		return
	}
	b.rate.Store(math.Float64bits(perSecond))
	if math.IsInf(perSecond, 1) {
		b.lim.SetLimitAt(now, rate.Inf)
	} else {
		burst := max(1, int(perSecond/10))
		if b.lim.Limit() == rate.Inf {
			b.lim = rate.NewLimiter(rate.Limit(perSecond), burst)
		} else {
			b.lim.SetLimitAt(now, rate.Limit(perSecond))
			b.lim.SetBurstAt(now, burst)
		}
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// unlimited reports whether take returns at once.
func (b *bucket) unlimited() bool { return math.IsInf(math.Float64frombits(b.rate.Load()), 1) }

// take waits until n may go. Where ctx ends first some of it may have gone. look
// is called each second of the wait; it may change the rate.
func (b *bucket) take(ctx context.Context, n int, look func()) error {
	for n > 0 {
		look()
		if b.unlimited() {
			return nil
		}
		select {
		case b.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		went, err := b.piece(ctx, n)
		<-b.turn
		n -= went
		if err != nil {
			return err
		}
	}
	return nil
}

// piece waits for as much as the bucket holds at most. It is for whoever has
// the turn, so that nobody else has a reservation.
func (b *bucket) piece(ctx context.Context, n int) (went int, err error) {
	b.mu.Lock()
	lim, changed := b.lim, b.changed
	b.mu.Unlock()
	if lim.Limit() == rate.Inf {
		return n, nil
	}
	n = min(n, lim.Burst())
	now := time.Now()
	r := lim.ReserveN(now, n)
	if !r.OK() {
		return 0, nil // the bucket has just become smaller
	}
	wait := r.DelayFrom(now)
	if wait <= 0 {
		return n, nil
	}
	t := time.NewTimer(min(wait, longest))
	defer t.Stop()
	select {
	case <-t.C:
		if wait > longest {
			r.CancelAt(time.Now())
			return 0, nil
		}
		return n, nil
	case <-changed:
		r.CancelAt(time.Now())
		return 0, nil
	case <-ctx.Done():
		r.CancelAt(time.Now())
		return 0, ctx.Err()
	}
}
