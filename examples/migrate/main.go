// Migrate moves the mail of one IMAP account to another, and finds nothing to
// do when it is run again:
//
//	migrate -from imaps://ada@old.example.org -to imaps://ada@new.example.org
//
// "migrate -h" lists its flags and exit statuses. Without accounts it
// demonstrates itself.
//
// It is the reference program of mailhaul, made to be copied. The flags become
// two accounts in flags.go and side.go, the run is in main.go, and the rest
// shows how it goes (progress.go, bars.go) and what came of it (report.go). The
// file demo.go can be left out: it alone imports what only mailhaul can import.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/uidmap/pop3uidl"
)

// The exit statuses, which scripts rely on.
const (
	exitComplete   = 0 // all of the source is on the target
	exitIncomplete = 1 // some messages are not, and the report lists them
	exitUsage      = 2 // the command line is wrong
	exitStopped    = 3 // something stopped it; run again, it resumes
	exitAuth       = 4 // the credentials are refused
)

// system is what the program sees of the world.
type system struct {
	args           []string // without the program's name
	env            func(string) string
	stdout, stderr io.Writer
	terminal       bool // stderr is one: progress is drawn
	signals        <-chan os.Signal
}

// demo shows the program to those who name no accounts. demo.go sets it.
var demo func(ctx context.Context, sys system, opt *options) int

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(context.Background(), system{
		args:     os.Args[1:],
		env:      os.Getenv,
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
		signals:  signals,
	}))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, sys system) int {
	opt, err := parse(sys.args, sys.env)
	if sys.terminal = sys.terminal && err == nil && !opt.verbose && !opt.dryRun; !sys.terminal {
		sys.stderr = &lineWriter{w: sys.stderr}
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(sys.stdout, help)
		return exitComplete
	case err != nil:
		return misused(sys, err)
	case opt.demo && demo == nil:
		fmt.Fprint(sys.stderr, usage)
		return exitUsage
	case opt.demo:
		return demo(ctx, sys, opt)
	}
	store, err := openState(opt)
	if err != nil {
		return report(sys, opt, noResult(opt), err)
	}
	status := migrate(ctx, sys, opt, store)
	if store != nil {
		if err := store.Close(); err != nil {
			status = max(status, complain(sys, err))
		}
	}
	return status
}

// openState opens the checkpoint. A dry run or a verification makes none: nil says that there is
// nothing to remember.
func openState(opt *options) (checkpoint.Store, error) {
	if opt.dryRun || opt.verify {
		if _, err := os.Stat(opt.state); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	store, err := checkpoint.Open(opt.state, nil)
	if err != nil {
		return nil, err
	}
	return store, nil
}

// migrate makes one pass, a dry run or a verification, and reports it.
func migrate(ctx context.Context, sys system, opt *options, store checkpoint.Store) int {
	switch {
	case opt.verify:
		found, err := verify(ctx, sys, opt, store)
		return reportVerification(sys, opt, found, err)
	case opt.dryRun:
		plan, err := dryRun(ctx, sys, opt, store)
		return reportPlan(sys, opt, plan, err)
	}
	file, err := newReportFile(opt.report)
	if err != nil {
		return misused(sys, err)
	}
	started := time.Now()
	res, err := pass(ctx, sys, opt, store)
	if err == nil && opt.popDelete {
		err = removeMoved(ctx, sys, opt, store, res)
	}
	status := report(sys, opt, res, err)
	return unwritten(sys, status, file.finish(mailsync.NewReport(res, err, started)))
}

// pass moves what there is to move. The first signal drains, the second stops.
func pass(ctx context.Context, sys system, opt *options, store checkpoint.Store) (*mailsync.Result, error) {
	show := newProgress(sys, opt)
	defer show.close()
	events := show.events()

	// A signal may come before Run has begun, when Drain does nothing yet.
	var stopping atomic.Bool
	var syncer *mailsync.Syncer
	started := events.Started
	events.Started = func(s mailsync.Started) {
		if stopping.Load() {
			syncer.Drain()
		}
		started(s)
	}
	syncer, pair, closeAccounts, err := newSyncer(sys, opt, store, events)
	if err != nil {
		return noResult(opt), err
	}
	defer closeAccounts()
	ctx, stop := obey(ctx, sys.signals, show.say, func() {
		stopping.Store(true)
		syncer.Drain()
	})
	defer stop()
	var res *mailsync.Result
	if opt.follow > 0 {
		res, err = follow(ctx, opt, syncer, show.say)
	} else {
		res, err = syncer.Run(ctx)
	}
	// What was moved has its place, whatever stopped the rest.
	return res, errors.Join(err, exportMap(context.WithoutCancel(ctx), opt.identity.mapExport, store, pair))
}

// dryRun finds out what a pass would do. Any signal stops it.
func dryRun(ctx context.Context, sys system, opt *options, store checkpoint.Store) (*mailsync.Plan, error) {
	show := newProgress(sys, opt)
	defer show.close()
	syncer, _, closeAccounts, err := newSyncer(sys, opt, store, show.events())
	if err != nil {
		return nil, err
	}
	defer closeAccounts()
	ctx, stop := obey(ctx, sys.signals, show.say, nil)
	defer stop()
	return syncer.Plan(ctx)
}

// newSyncer connects the library's pieces. Nothing is opened yet. The pair is
// what the checkpoint knows the accounts by.
func newSyncer(sys system, opt *options, store checkpoint.Store, events mailsync.Events) (*mailsync.Syncer, checkpoint.Pair, func(), error) {
	from, to, closeAccounts, err := newAccounts(sys, opt, store, events.Waiting)
	if err != nil {
		return nil, checkpoint.Pair{}, nil, err
	}
	pair := checkpoint.Pair{From: from.Account(), To: to.Account()}
	proof, err := newUIDLTarget(opt, newLogger(sys, opt))
	if err != nil {
		closeAccounts()
		return nil, pair, nil, err
	}
	if proof != nil {
		closeOthers := closeAccounts
		closeAccounts = func() { closeOthers(); _ = proof.Close() }
	}
	syncer, err := mailsync.New(mailsync.Config{
		Source:     from,
		Target:     to,
		Store:      store,
		Include:    opt.include,
		Exclude:    opt.exclude,
		Rename:     opt.renames.path,
		Mailboxes:  opt.connections,
		Identity:   opt.identity.level(),
		UIDLTarget: proof,
		Deletes:    mailsync.Deletes(opt.deletes.policy),
		Confirm:    opt.deletes.decide,
		Events:     events,
		Logger:     newLogger(sys, opt),
	})
	if err != nil {
		closeAccounts()
		return nil, pair, nil, err
	}
	return syncer, pair, closeAccounts, nil
}

// newAccounts makes both sides. Nothing is opened yet. The store, if any, keeps
// what is learned of the servers' limits;
// waiting is told, at any time, why nothing happens.
func newAccounts(sys system, opt *options, store checkpoint.Store, waiting func(mailsync.Waiting)) (from mailhaul.Source, to mailhaul.Target, closeAccounts func(), err error) {
	logger := newLogger(sys, opt)
	reading, endReading, err := newThrottle(opt, store, "from", opt.from, waiting)
	if err != nil {
		return nil, nil, nil, err
	}
	writing, endWriting, err := newThrottle(opt, store, "to", opt.to, waiting)
	if err != nil {
		return nil, nil, nil, err
	}
	from, err = newSource(opt, store, reading, logger.With("side", "from"))
	if err != nil {
		return nil, nil, nil, err
	}
	to, err = newTarget(opt, writing, logger.With("side", "to"))
	if err != nil {
		return nil, nil, nil, errors.Join(err, from.Close())
	}
	return from, to, func() {
		var closing sync.WaitGroup // all that matters has been said and done
		closing.Go(func() { _ = from.Close() })
		closing.Go(func() { _ = to.Close() })
		closing.Wait()
		endReading()
		endWriting()
	}, nil
}

func newLogger(sys system, opt *options) *slog.Logger {
	if !opt.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(sys.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newSource makes the side that mail comes from, over the protocol of its URL.
func newSource(opt *options, store checkpoint.Store, reading imapx.Throttle, logger *slog.Logger) (mailhaul.Source, error) {
	if opt.from.Protocol == mailhaul.POP3 {
		return pop3x.New(pop3x.Config{
			Server: opt.from, Seen: opt.popSeen, AllowExpire0: opt.popExpire0, Throttle: reading, Logger: logger,
		})
	}
	imap, err := imapx.New(imapx.Config{Server: opt.from, Connections: opt.connections, Throttle: reading, Logger: logger})
	if err != nil || opt.identity.uidlFrom == nil {
		return imap, err
	}
	return withUIDLs(opt, store, imap, logger)
}

// withUIDLs adds what POP3 programs know the mail by. The store, if any, keeps
// what was found.
func withUIDLs(opt *options, store checkpoint.Store, imap mailhaul.Source, logger *slog.Logger) (mailhaul.Source, error) {
	pop, err := pop3x.New(pop3x.Config{Server: *opt.identity.uidlFrom, AllowExpire0: opt.popExpire0, Logger: logger})
	if err != nil {
		return nil, errors.Join(err, imap.Close())
	}
	cfg := pop3uidl.Config{IMAP: imap, POP3: pop, Logger: logger}
	if store != nil && !opt.dryRun {
		cfg.Memory = checkpoint.NewNotes(store, "uidls")
	}
	source, err := pop3uidl.New(cfg)
	if err != nil {
		return nil, errors.Join(err, imap.Close(), pop.Close())
	}
	return source, nil
}

// obey calls drain at the first signal and cancels the context at the second;
// without drain it cancels at the first. Later signals have their usual effect.
// The function that it returns ends it.
func obey(ctx context.Context, signals <-chan os.Signal, say func(string), drain func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if drain != nil {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			drain()
			say("stopping: what is under way is finished and recorded; interrupt again to stop at once")
		}
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		say("stopping at once")
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		cancel()
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}
