package mailhaul_test

// Benchmarks of the whole, for those who want to know what to expect and for
// those who change something:
//
//	go test -run='^$' -bench=. -benchtime=1x .
//	go test -run='^$' -bench='FullCopy/rtt=100ms' -corpus=5000 .
//
// Servers run in a process of their own (the same program, started again), so
// that the allocations, the heap, the processor time and the profiles are
// mailhaul's alone; internal/delayproxy stands before them there. A Dovecot is
// used where it is installed and the user is root, and syncs its files as it
// does by default.
//
// The result of each run is compared with the source, message by message,
// outside of the timer: a benchmark that copied something else fails.
// BenchmarkRawReader and BenchmarkRawWriter are the ceilings. docs/performance.md
// says what the numbers mean.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/bench"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/throttle"
)

var (
	corpusSize  = flag.Int("corpus", 1000, "messages of the benchmarks' accounts")
	hugeCount   = flag.Int("huge", 4, "messages of 50 MB in BenchmarkHugeMessages")
	millionSize = flag.Int("million", 50_000, "messages in the folder of BenchmarkMillion")
	connections = flag.Int("connections", 4, "connections to each side")
	budgetSize  = flag.Int64("budget", 64<<20, "octets of message bodies in memory; BenchmarkHugeMessages has at most 16 MB")
	traceFile   = flag.String("imaptrace", "", "append each line of the protocol to a file: seconds since the pass began, side, connection, direction")
	noSync      = flag.Bool("nosync", false, "keep Dovecot from syncing its files to the disk")
)

func TestMain(m *testing.M) {
	if bench.IsLab() {
		os.Exit(bench.ServeLab())
	}
	goleak.VerifyTestMain(withArena{m})
}

// withArena closes the arena before goroutines are counted.
type withArena struct{ m *testing.M }

func (w withArena) Run() int {
	code := w.m.Run()
	if err := benchArena.close(); err != nil {
		fmt.Fprintln(os.Stderr, "the servers of the benchmarks:", err)
		return max(code, 1)
	}
	return code
}

// arena has the servers of all benchmarks, started when they are first needed.
type arena struct {
	lab     *bench.Lab
	hosts   map[string]pairOfHosts
	missing map[string]error
	sources map[sourceKey]source
	ceiling map[string]float64 // messages a second of the raw writer on one connection
}

var benchArena = arena{
	hosts: map[string]pairOfHosts{}, missing: map[string]error{}, sources: map[sourceKey]source{}, ceiling: map[string]float64{},
}

// pairOfHosts is two servers of a kind.
type pairOfHosts struct{ from, to int }

type sourceKey struct {
	kind string
	mail bench.Mail
}

// source is an account that is full of mail.
type source struct {
	user bench.User
	bench.Total
}

func (a *arena) close() error {
	if a.lab == nil {
		return nil
	}
	return a.lab.Close()
}

// start makes sure that the servers of a kind run.
func (a *arena) start(b *testing.B, kind string) pairOfHosts {
	b.Helper()
	if err := a.missing[kind]; err != nil {
		b.Skip(err)
	}
	if h, ok := a.hosts[kind]; ok {
		return h
	}
	var err error
	if a.lab == nil {
		a.lab, err = bench.StartLab()
		must(b, err)
	}
	var h pairOfHosts
	for _, host := range []*int{&h.from, &h.to} {
		*host, err = a.lab.Server(bench.ServerSpec{Kind: kind, NoSync: *noSync})
		if errors.Is(err, bench.ErrMissing) {
			a.missing[kind] = err
			if os.Getenv("MAILHAUL_REQUIRE_SERVERS") == "1" {
				b.Fatal(err)
			}
			b.Skip(err)
		}
		must(b, err)
	}
	a.hosts[kind] = h
	return h
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// setting is where a benchmark runs: between two servers of a kind, at a
// distance.
type setting struct {
	*arena
	kind  string
	rtt   time.Duration
	hosts pairOfHosts
}

func (s setting) name() string {
	rtt := "0"
	if s.rtt > 0 {
		rtt = s.rtt.String()
	}
	return fmt.Sprintf("rtt=%s/server=%s", rtt, s.kind)
}

// everywhere runs f in all settings.
func everywhere(b *testing.B, f func(b *testing.B, s setting)) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		for _, kind := range []string{"imapserver", "dovecot"} {
			s := setting{arena: &benchArena, kind: kind, rtt: rtt}
			b.Run(s.name(), func(b *testing.B) {
				s.hosts = s.start(b, kind)
				f(b, s)
			})
		}
	}
}

// source returns an account with the mail, which is loaded once.
func (s setting) source(b *testing.B, mail bench.Mail) source {
	b.Helper()
	key := sourceKey{s.kind, mail}
	if src, ok := s.sources[key]; ok {
		return src
	}
	user, err := s.lab.User(s.hosts.from)
	must(b, err)
	total, err := s.lab.Load(user, mail)
	must(b, err)
	src := source{user, total}
	s.sources[key] = src
	return src
}

// far returns the account as it is reached from a distance.
func (s setting) far(b *testing.B, u bench.User) bench.User {
	b.Helper()
	u, err := s.lab.Network(u, s.rtt)
	must(b, err)
	return u
}

// migration is two accounts and what is remembered of the way between them.
type migration struct {
	setting
	src    source
	to     bench.User
	state  string // the checkpoint's file
	budget int64
	wire   int64 // octets on the wire in the last pass, both sides

	throttled bool // both sides ask a throttle that has no limits

	// teleport leaves the distance out, while everything else looks as if it
	// were there: what is only prepared need not take long.
	teleport bool
}

// migration prepares an empty target.
func (s setting) migration(b *testing.B, src source) *migration {
	b.Helper()
	to, err := s.lab.User(s.hosts.to)
	must(b, err)
	return &migration{setting: s, src: src, to: to, state: filepath.Join(b.TempDir(), to.Name+".db"), budget: *budgetSize}
}

// with opens everything that a program would, calls f, and closes it again.
func (m *migration) with(b *testing.B, f func(ctx context.Context, s *mailsync.Syncer) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 15*time.Minute)
	defer cancel()
	store, err := checkpoint.Open(m.state, nil)
	must(b, err)
	trace, endTrace := tracer(b)
	from, err := imapx.New(imapx.Config{Server: m.server(b, m.src.user), Connections: *connections, Trace: trace("from"), Throttle: m.throttle(b, "from")})
	must(b, err)
	to, err := imapx.New(imapx.Config{Server: m.server(b, m.to), Connections: *connections, Trace: trace("to"), Throttle: m.throttle(b, "to")})
	must(b, err)
	syncer, err := mailsync.New(mailsync.Config{
		Source: from, Target: to, Store: store, Mailboxes: *connections, Budget: mailsync.NewBudget(m.budget),
	})
	must(b, err)
	failed := f(ctx, syncer)
	var closing errgroup.Group // as examples/migrate does
	closing.Go(from.Close)
	closing.Go(to.Close)
	must(b, errors.Join(failed, closing.Wait(), store.Close(), endTrace()))
	m.wire = 0
	for _, t := range []mailhaul.Traffic{from.Traffic(), to.Traffic()} {
		m.wire += t.BytesIn + t.BytesOut
	}
}

// throttle returns what one side asks for leave, or nil.
func (m *migration) throttle(b *testing.B, side string) imapx.Throttle {
	b.Helper()
	if !m.throttled {
		return nil
	}
	th, err := throttle.New(throttle.Config{Policy: func(string) throttle.Policy { return throttle.Unlimited }})
	must(b, err)
	account, err := th.Account(b.Context(), side, "user")
	must(b, err)
	return account
}

// server is how a client of the migration reaches an account.
func (m *migration) server(b *testing.B, u bench.User) mailhaul.Server {
	b.Helper()
	srv := m.far(b, u).Server()
	if m.teleport {
		srv.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, u.Addr())
		}
	}
	return srv
}

// tracer returns what makes the trace functions of the two sides, and what is
// to be called when neither is any more. Without -imaptrace they do nothing.
func tracer(b *testing.B) (trace func(side string) func(imapx.TraceLine), end func() error) {
	b.Helper()
	if *traceFile == "" {
		return func(string) func(imapx.TraceLine) { return nil }, func() error { return nil }
	}
	f, err := os.OpenFile(*traceFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(b, err)
	start := time.Now()
	fmt.Fprintf(f, "# %s\n", b.Name())
	return func(side string) func(imapx.TraceLine) {
		return func(l imapx.TraceLine) {
			direction := "<"
			if l.Sent {
				direction = ">"
			}
			// One write each, so that lines of several goroutines do not mix.
			fmt.Fprintf(f, "%.4f %s %d %s %s\n", time.Since(start).Seconds(), side, l.Connection, direction, l.Text)
		}
	}, f.Close
}

// run makes one pass.
func (m *migration) run(b *testing.B) (res *mailsync.Result) {
	b.Helper()
	m.with(b, func(ctx context.Context, s *mailsync.Syncer) (err error) {
		res, err = s.Run(ctx)
		return err
	})
	return res
}

// verify fails the benchmark unless the target holds what the source does.
func (m *migration) verify(b *testing.B) {
	b.Helper()
	differences, err := m.lab.Compare(m.src.user, m.to)
	must(b, err)
	for _, d := range differences {
		b.Error(d)
	}
	if b.Failed() {
		b.FailNow()
	}
}

// expect fails the benchmark unless the result accounts for all messages in
// one way.
func (m *migration) expect(b *testing.B, res *mailsync.Result, what string, got int) {
	b.Helper()
	if res.Messages != m.src.Messages || got != m.src.Messages || len(res.Failed)+len(res.Altered) > 0 {
		b.Fatalf("%d messages, %d %s, failed: %v, altered: %v; want %d", res.Messages, got, what, res.Failed, res.Altered, m.src.Messages)
	}
}

// cost adds up what the iterations of a benchmark used.
type cost struct {
	cpu        time.Duration
	allocs     uint64
	heap, rss  uint64
	roundTrips int64
	wire       int64 // octets on the wire of either side, of the last run
}

func (c *cost) add(u bench.Usage, roundTrips int64) {
	c.cpu += u.CPU
	c.allocs += u.Allocs
	c.heap = max(c.heap, u.PeakHeap)
	c.rss = max(c.rss, u.PeakRSS)
	c.roundTrips = roundTrips
}

// report reports the metrics of a benchmark whose iterations dealt with so
// many messages each. It returns how many that were a second.
func (c *cost) report(b *testing.B, messages int) (rate float64) {
	if c.roundTrips > 0 {
		b.ReportMetric(float64(c.roundTrips), "roundtrips")
	}
	b.ReportMetric(float64(c.heap)/(1<<20), "peak-heap-MiB")
	if c.rss > 0 {
		b.ReportMetric(float64(c.rss)/(1<<20), "peak-rss-MiB")
	}
	if c.cpu > 0 {
		b.ReportMetric(c.cpu.Seconds()*1000/float64(b.N), "cpu-ms/op")
	}
	if messages == 0 || b.Elapsed() == 0 {
		return 0
	}
	b.ReportMetric(float64(c.allocs)/float64(b.N)/float64(messages), "allocs/msg")
	rate = float64(messages) * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "msgs/s")
	return rate
}

// benchmarkCopy copies the mail to an empty account.
func benchmarkCopy(b *testing.B, s setting, mail bench.Mail, budget int64) (rate float64) {
	src := s.source(b, mail)
	b.SetBytes(src.Octets)
	b.ReportAllocs()
	var c cost
	for b.Loop() {
		b.StopTimer()
		m := s.migration(b, src)
		m.budget = budget
		meter := bench.Measure()
		b.StartTimer()
		res := m.run(b)
		b.StopTimer()
		c.add(meter.Stop(), res.RoundTrips)
		c.wire = m.wire
		m.expect(b, res, "copied", res.Copied)
		m.verify(b)
		must(b, s.lab.Drop(m.to))
		b.StartTimer()
	}
	// What is moved crosses the wire twice.
	b.ReportMetric(float64(c.wire)/float64(2*src.Octets), "wire-B/B")
	return c.report(b, src.Messages)
}

// BenchmarkRawReader reads a folder as fast as its server gives it, and does
// nothing with it.
func BenchmarkRawReader(b *testing.B) {
	for _, conns := range []int{1, 4} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			everywhere(b, func(b *testing.B, s setting) {
				src := s.source(b, bench.Mail{Kind: bench.Folder, Messages: *corpusSize})
				srv := s.far(b, src.user).Server()
				b.SetBytes(src.Octets)
				for b.Loop() {
					got, err := bench.RawRead(b.Context(), srv, src.Messages, conns)
					must(b, err)
					if got.Messages != src.Messages || got.Octets != src.Octets {
						b.Fatalf("read %+v, not %+v", got, src.Total)
					}
				}
				b.ReportMetric(float64(src.Messages*b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		})
	}
}

// BenchmarkRawWriter fills folders, one on each connection, as fast as their
// server takes it: MULTIAPPENDs of a hundred messages, and single APPENDs, one
// behind the other without waiting.
func BenchmarkRawWriter(b *testing.B) {
	for _, way := range []struct{ batch, conns int }{{100, 1}, {100, 2}, {100, 4}, {1, 1}} {
		b.Run(fmt.Sprintf("batch=%d/conns=%d", way.batch, way.conns), func(b *testing.B) {
			messages := *corpusSize
			if way.batch == 1 {
				messages /= 5 // a disk may sync once for each
			}
			raw, err := bench.NewRawMail(bench.Mail{Kind: bench.Folder, Messages: messages}, way.batch)
			must(b, err)
			everywhere(b, func(b *testing.B, s setting) {
				b.SetBytes(raw.Octets)
				for b.Loop() {
					b.StopTimer()
					to, err := s.lab.User(s.hosts.to)
					must(b, err)
					srv := s.far(b, to).Server()
					b.StartTimer()
					must(b, bench.RawWrite(b.Context(), srv, raw, way.conns))
					b.StopTimer()
					got, err := s.lab.Count(to)
					must(b, err)
					if got.Messages != raw.Messages || got.Octets != raw.Octets {
						b.Fatalf("wrote %+v, not %+v", got, raw.Total)
					}
					must(b, s.lab.Drop(to))
					b.StartTimer()
				}
				rate := float64(raw.Messages*b.N) / b.Elapsed().Seconds()
				b.ReportMetric(rate, "msgs/s")
				if way.batch > 1 && way.conns == 1 {
					s.ceiling[s.name()] = rate
				}
			})
		})
	}
}

// BenchmarkFullCopy moves an account of ten folders to an empty one.
func BenchmarkFullCopy(b *testing.B) {
	everywhere(b, func(b *testing.B, s setting) {
		benchmarkCopy(b, s, bench.Mail{Kind: bench.Account, Messages: *corpusSize}, *budgetSize)
	})
}

// BenchmarkUnlimitedThrottle is what it costs to ask a throttle that has no
// limits: each iteration is two copies, one that asks and one that does not, in
// turns the first. cpu-ratio is the median of the ratios of their processor time,
// time-ratio that of the time they took; both are 1 where it costs nothing.
func BenchmarkUnlimitedThrottle(b *testing.B) {
	s := setting{arena: &benchArena, kind: "imapserver"}
	s.hosts = s.start(b, s.kind)
	src := s.source(b, bench.Mail{Kind: bench.Account, Messages: *corpusSize})
	b.SetBytes(2 * src.Octets)
	var cpu, took []float64
	var allocs [2]uint64
	for b.Loop() {
		var c, d [2]time.Duration
		for n := range 2 {
			b.StopTimer()
			asks := (n + len(cpu)) % 2
			m := s.migration(b, src)
			m.throttled = asks == 1
			meter := bench.Measure()
			begun := time.Now()
			b.StartTimer()
			res := m.run(b)
			b.StopTimer()
			d[asks] = time.Since(begun)
			u := meter.Stop()
			c[asks] = u.CPU
			allocs[asks] += u.Allocs
			m.expect(b, res, "copied", res.Copied)
			must(b, s.lab.Drop(m.to))
			b.StartTimer()
		}
		cpu = append(cpu, c[1].Seconds()/c[0].Seconds())
		took = append(took, d[1].Seconds()/d[0].Seconds())
	}
	slices.Sort(cpu)
	slices.Sort(took)
	b.ReportMetric(cpu[len(cpu)/2], "cpu-ratio")
	b.ReportMetric(took[len(took)/2], "time-ratio")
	b.ReportMetric((float64(allocs[1])-float64(allocs[0]))/float64(b.N*src.Messages), "more-allocs/msg")
}

// BenchmarkOneFolder moves one folder. Where BenchmarkRawWriter ran before it,
// x-raw is what part it reaches of that on one connection.
func BenchmarkOneFolder(b *testing.B) {
	everywhere(b, func(b *testing.B, s setting) {
		rate := benchmarkCopy(b, s, bench.Mail{Kind: bench.Folder, Messages: *corpusSize}, *budgetSize)
		if c := s.ceiling[s.name()]; c > 0 {
			b.ReportMetric(rate/c, "x-raw")
		}
	})
}

// BenchmarkManySmallFolders moves folders of five messages each, a fifth of
// the messages of the other benchmarks.
func BenchmarkManySmallFolders(b *testing.B) {
	everywhere(b, func(b *testing.B, s setting) {
		benchmarkCopy(b, s, bench.Mail{Kind: bench.Spread, Messages: *corpusSize / 5}, *budgetSize)
	})
}

// BenchmarkTinyMessages moves messages of 150 octets.
func BenchmarkTinyMessages(b *testing.B) {
	everywhere(b, func(b *testing.B, s setting) {
		benchmarkCopy(b, s, bench.Mail{Kind: bench.Tiny, Messages: 5 * *corpusSize}, *budgetSize)
	})
}

// BenchmarkHugeMessages moves messages of 50 MB with room for 16 MB in memory.
func BenchmarkHugeMessages(b *testing.B) {
	everywhere(b, func(b *testing.B, s setting) {
		benchmarkCopy(b, s, bench.Mail{Kind: bench.Huge, Messages: *hugeCount, Size: 50 << 20}, min(*budgetSize, 16<<20))
	})
}

// BenchmarkSecondPass looks at an account that was moved, where nothing has
// changed since.
func BenchmarkSecondPass(b *testing.B) {
	for _, kind := range []string{bench.Account, bench.Spread} {
		b.Run("mail="+kind, func(b *testing.B) {
			everywhere(b, func(b *testing.B, s setting) {
				m := s.migration(b, s.source(b, bench.Mail{Kind: kind, Messages: *corpusSize}))
				m.teleport = true
				first := m.run(b)
				m.expect(b, first, "copied", first.Copied)
				m.teleport = false
				b.ReportAllocs()
				var c cost
				for b.Loop() {
					b.StopTimer()
					meter := bench.Measure()
					b.StartTimer()
					res := m.run(b)
					b.StopTimer()
					c.add(meter.Stop(), res.RoundTrips)
					m.expect(b, res, "skipped", res.Skipped)
					b.StartTimer()
				}
				m.verify(b)
				must(b, s.lab.Drop(m.to))
				c.report(b, 0)
			})
		})
	}
}

// BenchmarkMillion is about one large folder and memory: planned, copied,
// passed over unchanged, and recognised after the checkpoint was lost. Run it
// with -million=1000000.
func BenchmarkMillion(b *testing.B) {
	s := setting{arena: &benchArena, kind: "imapserver"}
	s.hosts = s.start(b, s.kind)
	src := s.source(b, bench.Mail{Kind: bench.Tiny, Messages: *millionSize})
	m := s.migration(b, src)
	step := func(name string, prepare func(), f func(b *testing.B) int64) {
		b.Run(name, func(b *testing.B) {
			var c cost
			for b.Loop() {
				b.StopTimer()
				prepare()
				meter := bench.Measure()
				b.StartTimer()
				trips := f(b)
				b.StopTimer()
				c.add(meter.Stop(), trips)
				b.StartTimer()
			}
			c.report(b, src.Messages)
			if info, err := os.Stat(m.state); err == nil {
				b.ReportMetric(float64(info.Size())/float64(src.Messages), "file-B/msg")
			}
		})
	}
	fresh := func() { m = s.migration(b, src) }
	forget := func() { must(b, os.RemoveAll(m.state)) }
	step("plan", fresh, func(b *testing.B) int64 {
		m.with(b, func(ctx context.Context, s *mailsync.Syncer) error {
			plan, err := s.Plan(ctx)
			if err == nil && plan.Messages != src.Messages {
				err = fmt.Errorf("%d messages planned, not %d", plan.Messages, src.Messages)
			}
			return err
		})
		return 0
	})
	step("copy", fresh, func(b *testing.B) int64 {
		res := m.run(b)
		m.expect(b, res, "copied", res.Copied)
		return res.RoundTrips
	})
	m.verify(b)
	step("unchanged", func() {}, func(b *testing.B) int64 {
		res := m.run(b)
		m.expect(b, res, "skipped", res.Skipped)
		return res.RoundTrips
	})
	step("adopt", forget, func(b *testing.B) int64 {
		res := m.run(b)
		m.expect(b, res, "adopted", res.Adopted)
		return res.RoundTrips
	})
	m.verify(b)
	must(b, s.lab.Drop(m.to))
}
