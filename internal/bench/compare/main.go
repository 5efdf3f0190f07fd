//go:build unix

// Compare times mbsync and examples/migrate in turn between the same two
// Dovecots, at several distances, and prints a table. scripts/compare-mbsync.sh
// runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mailhaul/mailhaul/internal/bench"
)

var (
	migrate  = flag.String("migrate", "", "the program examples/migrate")
	mbsync   = flag.String("mbsync", "mbsync", "the program mbsync; empty leaves it out")
	timeProg = flag.String("time", "/usr/bin/time", "GNU time")
	messages = flag.Int("messages", 5000, "messages in the account")
	runs     = flag.Int("runs", 3, "how many times; the table has medians")
	rtts     = flag.String("rtt", "0,20,100", "round-trip times in milliseconds")
	store    = flag.String("store", "maildir", "format of the mailboxes: maildir, sdbox or mdbox")
	noSync   = flag.Bool("nosync", false, "keep Dovecot from syncing its files to the disk")
	folders  = flag.Int("unchanged", 0, "time only passes that find nothing to do, over so many folders of small messages")
	depth    = flag.Int("depth", 50, "PipelineDepth of mbsync")
	verbose  = flag.Bool("v", false, "print each run")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &rig{dir: dir, lab: bench.LocalLab(), times: map[key][]sample{}}
	defer r.lab.Close()
	var distances []time.Duration
	for _, ms := range strings.Split(*rtts, ",") {
		n, err := strconv.Atoi(ms)
		if err != nil {
			return fmt.Errorf("-rtt: %w", err)
		}
		distances = append(distances, time.Duration(n)*time.Millisecond)
	}
	if err := r.start(); err != nil {
		return err
	}
	if *folders > 0 {
		return r.unchanged(ctx, distances)
	}
	for n := range *runs {
		for _, rtt := range distances {
			for i := range r.tools {
				// Who goes first has the colder caches, so that alternates.
				t := r.tools[(i+n)%len(r.tools)]
				if err := r.once(ctx, t, rtt); err != nil {
					return fmt.Errorf("%s at %v: %w", t.name, rtt, err)
				}
			}
		}
	}
	r.print(distances)
	return nil
}

// tool is a program that moves an account.
type tool struct {
	name string

	// command prepares a run from one account to the other. What the program
	// remembers goes into dir.
	command func(dir string, from, to bench.User) (*exec.Cmd, error)

	// added is how many octets it adds to each message. A tool that does that
	// is not asked for keywords and subscriptions either.
	added int
}

type rig struct {
	dir      string
	lab      *bench.Lab
	tools    []tool
	from, to int
	source   bench.User
	times    map[key][]sample
	number   int
}

type key struct {
	tool string
	rtt  time.Duration
	pass int
}

// sample is what one run took.
type sample struct {
	wall, cpu time.Duration
	rss       int64 // octets
	turns     int64 // at the delay proxy, of the target's side
}

func (r *rig) start() error {
	if *mbsync != "" {
		r.tools = append(r.tools, tool{"mbsync", mbsyncCommand, len("X-TUID: 123456789012\r\n")})
	}
	if *migrate != "" {
		r.tools = append(r.tools, tool{"migrate", migrateCommand, 0})
	}
	var err error
	for _, host := range []*int{&r.from, &r.to} {
		if *host, err = r.lab.Server(bench.ServerSpec{Kind: "dovecot", Store: *store, NoSync: *noSync}); err != nil {
			return err
		}
	}
	if r.source, err = r.lab.User(r.from); err != nil {
		return err
	}
	mail := bench.Mail{Kind: bench.Account, Messages: *messages}
	if *folders > 0 {
		mail = bench.Mail{Kind: bench.Wide, Messages: *messages, Folders: *folders}
	}
	total, err := r.lab.Load(r.source, mail)
	if err != nil {
		return err
	}
	fmt.Printf("%d messages in %d folders, %.1f MB; two Dovecots, %s", total.Messages, total.Folders, float64(total.Octets)/1e6, *store)
	if *noSync {
		fmt.Print(", mail_fsync = never")
	}
	fmt.Printf("; medians of %d\n\n", *runs)
	return nil
}

// once lets a tool copy the account to an empty one, and look at it again.
func (r *rig) once(ctx context.Context, t tool, rtt time.Duration) error {
	target, err := r.lab.User(r.to)
	if err != nil {
		return err
	}
	from, err := r.lab.Network(r.source, rtt)
	if err != nil {
		return err
	}
	to, err := r.lab.Network(target, rtt)
	if err != nil {
		return err
	}
	r.number++
	dir := filepath.Join(r.dir, strconv.Itoa(r.number))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for pass := range 2 {
		before, err := r.lab.Traffic(target, rtt)
		if err != nil {
			return err
		}
		cmd, err := t.command(dir, from, to)
		if err != nil {
			return err
		}
		s, err := measure(ctx, cmd)
		if err != nil {
			return err
		}
		after, err := r.lab.Traffic(target, rtt)
		if err != nil {
			return err
		}
		s.turns = after.Turns - before.Turns
		if *verbose {
			fmt.Printf("%-8s rtt %-6v pass %d  %v\n", t.name, rtt, pass+1, s)
		}
		k := key{t.name, rtt, pass}
		r.times[k] = append(r.times[k], s)
	}
	if err := r.verify(t, target); err != nil {
		return err
	}
	return r.lab.Drop(target)
}

// verify compares what a tool has made with the source.
func (r *rig) verify(t tool, target bench.User) (err error) {
	var differences []string
	if t.added > 0 {
		differences, err = r.lab.CompareSizes(r.source, target, t.added)
	} else {
		differences, err = r.lab.Compare(r.source, target)
	}
	if err == nil && len(differences) > 0 {
		err = fmt.Errorf("the copy is not the same:\n%s", strings.Join(differences, "\n"))
	}
	return err
}

// measure runs a program below GNU time: the memory that a process started by
// this one is said to have used includes what this one used.
func measure(ctx context.Context, cmd *exec.Cmd) (s sample, err error) {
	var output strings.Builder
	read, write, err := os.Pipe()
	if err != nil {
		return s, err
	}
	defer read.Close()
	timed := exec.CommandContext(ctx, *timeProg, append([]string{"-q", "-f", "%M", "-o", "/dev/fd/3", cmd.Path}, cmd.Args[1:]...)...)
	timed.Dir, timed.Env = cmd.Dir, cmd.Env
	timed.Stdout, timed.Stderr = &output, &output
	timed.ExtraFiles = []*os.File{write}
	timed.Cancel = func() error { return syscall.Kill(-timed.Process.Pid, syscall.SIGTERM) }
	timed.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := time.Now()
	err = timed.Run()
	s.wall = time.Since(start)
	write.Close()
	if err != nil {
		return s, fmt.Errorf("%w\n%s", err, output.String())
	}
	buf := make([]byte, 100)
	n, _ := read.Read(buf)
	kib, err := strconv.ParseInt(strings.TrimSpace(string(buf[:n])), 10, 64)
	if err != nil {
		return s, fmt.Errorf("what time says of memory: %w", err)
	}
	s.rss = kib << 10
	s.cpu = timed.ProcessState.UserTime() + timed.ProcessState.SystemTime()
	return s, nil
}

func migrateCommand(dir string, from, to bench.User) (*exec.Cmd, error) {
	url := func(u bench.User) string { return "imap+plain://" + u.Name + "@" + u.Addr() }
	cmd := exec.Command(*migrate, "-from", url(from), "-to", url(to), "-state", filepath.Join(dir, "state.db"), "-json")
	cmd.Env = append(os.Environ(), "MAILHAUL_FROM_PASSWORD="+from.Password, "MAILHAUL_TO_PASSWORD="+to.Password)
	return cmd, nil
}

func mbsyncCommand(dir string, from, to bench.User) (*exec.Cmd, error) {
	var b strings.Builder
	side := func(name string, u bench.User) {
		fmt.Fprintf(&b, "IMAPAccount %s\nHost %s\nPort %d\nUser %s\nPass %s\nSSLType None\nAuthMechs LOGIN\nPipelineDepth %d\n", name, u.Host, u.Port, u.Name, u.Password, *depth)
		// Nothing here is slow enough for compression to pay.
		fmt.Fprintf(&b, "DisableExtension COMPRESS=DEFLATE\n\nIMAPStore %s\nAccount %s\n\n", name, name)
	}
	side("source", from)
	side("target", to)
	fmt.Fprintf(&b, "Channel all\nFar :source:\nNear :target:\nPatterns * INBOX\nCreate Near\nSync Pull\nExpunge None\nCopyArrivalDate yes\nSyncState %s/\n", dir)
	name := filepath.Join(dir, "mbsyncrc")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	program, err := exec.LookPath(*mbsync)
	if err != nil {
		return nil, err
	}
	return exec.Command(program, "-q", "-c", name, "all"), nil
}

func (s sample) String() string {
	return fmt.Sprintf("%.3f s, CPU %.2f s, %.1f MB", s.wall.Seconds(), s.cpu.Seconds(), float64(s.rss)/1e6)
}

// median takes each measure's own.
func median(all []sample) sample {
	pick := func(f func(sample) int64) int64 {
		var v []int64
		for _, s := range all {
			v = append(v, f(s))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return sample{
		wall:  time.Duration(pick(func(s sample) int64 { return int64(s.wall) })),
		cpu:   time.Duration(pick(func(s sample) int64 { return int64(s.cpu) })),
		rss:   pick(func(s sample) int64 { return s.rss }),
		turns: pick(func(s sample) int64 { return s.turns }),
	}
}

// ratios returns the median of the ratios of runs that followed each other, and
// the least and the greatest: disks have moods that outlast a run.
func ratios(ours, theirs []sample) string {
	var all []float64
	for i := range ours {
		all = append(all, ours[i].wall.Seconds()/theirs[i].wall.Seconds())
	}
	slices.Sort(all)
	if len(all) == 1 {
		return fmt.Sprintf("%.2f", all[0])
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", all[len(all)/2], all[0], all[len(all)-1])
}

func (r *rig) print(distances []time.Duration) {
	passes := []string{"full copy", "nothing to do"}
	fmt.Println("| round trip | pass | tool | seconds | of mbsync's | CPU s | peak RSS MB | turns at the target |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for pass, name := range passes {
		if len(r.times[key{r.tools[0].name, distances[0], pass}]) == 0 {
			continue
		}
		for _, rtt := range distances {
			for _, t := range r.tools {
				m := median(r.times[key{t.name, rtt, pass}])
				ratio := "–"
				if other := r.times[key{"mbsync", rtt, pass}]; t.name != "mbsync" && len(other) > 0 {
					ratio = ratios(r.times[key{t.name, rtt, pass}], other)
				}
				turns := "–"
				if rtt > 0 {
					turns = strconv.FormatInt(m.turns, 10)
				}
				fmt.Printf("| %d ms | %s | %s | %.3f | %s | %.2f | %.1f | %s |\n",
					rtt.Milliseconds(), name, t.name, m.wall.Seconds(), ratio, m.cpu.Seconds(), float64(m.rss)/1e6, turns)
			}
		}
	}
}
