// Cutover moves one account from its first pass to the signed-off report, while
// the user goes on working:
//
//	cutover -from imaps://ada@old.example.org -to imaps://ada@new.example.org -report ada.html
//
// It makes a first pass, follows the account until nothing has come for a while
// or the time is over, makes passes until one finds nothing to do, reads both
// accounts to prove it, and writes the report. docs/cutover.md says what is done
// around it. Interrupt it once to finish what is under way and stop, twice to
// stop at once; run again, it goes on from there.
//
// It is made to be copied: examples/migrate has more flags, and shows how
// progress is drawn; this shows the sequence.
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/throttle"
)

// The exit statuses, which are those of migrate.
const (
	exitComplete   = 0 // the report says "complete"
	exitIncomplete = 1 // it says something else
	exitUsage      = 2
	exitStopped    = 3 // run again, it resumes
	exitAuth       = 4
)

// options is the command line.
type options struct {
	from, to   mailhaul.Server
	state      string
	follow     time.Duration
	quiet      time.Duration
	deletes    string
	skipVerify bool
	reports    []string
}

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr, signals))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	opt, err := parse(args, env, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitComplete
	case err != nil:
		fmt.Fprintf(stderr, "cutover: %v\n", err)
		return exitUsage
	}
	rep, err := move(ctx, opt, stderr, signals)
	if rep != nil {
		err = errors.Join(err, write(rep, opt.reports, stdout))
	}
	switch {
	case errors.Is(err, mailsync.ErrChanged):
		fmt.Fprintf(stderr, "cutover: %v\n", err)
		return exitIncomplete
	case err != nil:
		fmt.Fprintf(stderr, "cutover: %v\n", err)
		if mailhaul.KindOf(err) == mailhaul.Auth {
			return exitAuth
		}
		return exitStopped
	case !rep.Complete():
		return exitIncomplete
	}
	return exitComplete
}

// move is the sequence.
func move(ctx context.Context, opt *options, stderr io.Writer, signals <-chan os.Signal) (rep *mailsync.Report, err error) {
	started := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}
	store, err := checkpoint.Open(opt.state, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	from, to, closeAccounts, err := accounts(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer closeAccounts()

	// A signal may come between two passes, when Drain does nothing.
	var stopping atomic.Bool
	var syncer *mailsync.Syncer
	syncer, err = mailsync.New(mailsync.Config{
		Source: from, Target: to, Store: store, Deletes: mailsync.Deletes(opt.deletes),
		Events: mailsync.Events{
			Started: func(mailsync.Started) {
				if stopping.Load() {
					syncer.Drain()
				}
			},
			Waiting: func(w mailsync.Waiting) { say("waiting %v: %q", w.For.Round(time.Second), w.Reason) },
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	obeyed := make(chan struct{})
	go func() {
		defer close(obeyed)
		for first := true; ; first = false {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			if !first {
				cancel()
				return
			}
			say("stopping when what is under way is finished; interrupt again to stop at once")
			stopping.Store(true)
			syncer.Drain()
		}
	}()
	defer func() { cancel(); <-obeyed }()

	passed := func(p mailsync.Pass) {
		if r := p.Result; r.Changed() || p.Whole {
			say("%d copied, %d found there, %d flags changed, %d failed", r.Copied, r.Adopted, r.FlagsUpdated, len(r.Failed))
		}
	}
	var earlier *mailsync.Result
	if opt.follow > 0 {
		say("first pass, and then whatever changes, for %v", opt.follow)
		earlier, err = syncer.Follow(ctx, mailsync.FollowOptions{
			For: opt.follow, UntilQuiet: opt.quiet, Passed: passed,
			Watching: func(told int, reason error) {
				if told > 0 {
					say("the source tells of changes in %d folders", told)
				} else {
					say("the source tells of no changes: %q", reason.Error())
				}
			},
		})
		if err != nil {
			return mailsync.NewReport(earlier, err, started), err
		}
	}
	say("last passes, and the proof")
	return syncer.CutOver(ctx, mailsync.CutOverOptions{
		Earlier: earlier, Started: started, SkipVerify: opt.skipVerify, Passed: passed,
		Verified: func(m mailsync.MailboxVerification) { say("%q: %d messages read", m.Source, m.SourceSide.Messages) },
	})
}

// accounts makes both sides, each with the limits that are known of its host.
// Nothing is opened yet.
func accounts(ctx context.Context, opt *options) (from mailhaul.Source, to mailhaul.Target, closeAll func(), err error) {
	limits, err := throttle.New(throttle.Config{})
	if err != nil {
		return nil, nil, nil, err
	}
	reading, err := limits.Account(ctx, opt.from.Host, opt.from.Account().User)
	if err != nil {
		return nil, nil, nil, err
	}
	writing, err := limits.Account(ctx, opt.to.Host, opt.to.Account().User)
	if err != nil {
		return nil, nil, nil, err
	}
	if opt.from.Protocol == mailhaul.POP3 {
		from, err = pop3x.New(pop3x.Config{Server: opt.from, Throttle: reading})
	} else {
		from, err = imapx.New(imapx.Config{Server: opt.from, Throttle: reading})
	}
	if err != nil {
		return nil, nil, nil, err
	}
	to, err = imapx.New(imapx.Config{Server: opt.to, Throttle: writing})
	if err != nil {
		return nil, nil, nil, errors.Join(err, from.Close())
	}
	return from, to, func() {
		_ = from.Close() // all that matters has been said and done
		_ = to.Close()
		_ = limits.Close(context.WithoutCancel(ctx))
	}, nil
}

// write writes the report: as text to standard output, and into the files.
func write(rep *mailsync.Report, files []string, stdout io.Writer) error {
	errs := []error{rep.WriteText(stdout)}
	for _, name := range files {
		f, err := os.Create(name)
		if err == nil {
			err = errors.Join(formats[ending(name)](rep, f), f.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var formats = map[string]func(*mailsync.Report, io.Writer) error{
	".html": (*mailsync.Report).WriteHTML,
	".json": (*mailsync.Report).WriteJSON,
	".txt":  (*mailsync.Report).WriteText,
}

func ending(name string) string { return strings.ToLower(filepath.Ext(name)) }

// parse reads the command line. Its errors hold no password.
func parse(args []string, env func(string) string, stderr io.Writer) (*options, error) {
	opt := &options{}
	fs := flag.NewFlagSet("cutover", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "cutover -from URL -to URL [flags]\n\nURLs are those of migrate; passwords come from MAILHAUL_FROM_PASSWORD and\nMAILHAUL_TO_PASSWORD, or from the URLs.\n\n")
		fs.PrintDefaults()
	}
	// Only what is checked is kept: a URL may hold a password, which no message
	// of package flag is to show.
	var from, to string
	fs.Func("from", "the account to move, such as imaps://ada@old.example.org (`URL`)", keep(&from))
	fs.Func("to", "where it goes, such as imaps://ada@new.example.org (`URL`)", keep(&to))
	fromCA := fs.String("from-ca", "", "certificates of authorities to trust for -from, besides the system's (`FILE` in PEM)")
	toCA := fs.String("to-ca", "", "the same for -to (`FILE`)")
	fs.StringVar(&opt.state, "state", "mailhaul.db", "remember what was moved in this `FILE`")
	fs.DurationVar(&opt.follow, "follow", 48*time.Hour, "follow the source for so long at most; 0 goes to the last pass at once")
	fs.DurationVar(&opt.quiet, "until-quiet", 12*time.Hour, "end that when nothing has changed for so long; 0 does not")
	fs.StringVar(&opt.deletes, "deletes", "keep", "what becomes of copies whose message is deleted on the source: keep, flag or remove")
	fs.BoolVar(&opt.skipVerify, "skip-verify", false, "do not read both accounts to prove it")
	fs.Func("report", "write the report to this `FILE`, which ends in .html, .json or .txt; repeatable", func(name string) error {
		if formats[ending(name)] == nil {
			return errors.New("its name ends in .html, .json or .txt")
		}
		opt.reports = append(opt.reports, name)
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, errors.New("there is an argument that belongs to no flag")
	}
	switch mailsync.Deletes(opt.deletes) {
	case mailsync.DeletesKeep, mailsync.DeletesFlag, mailsync.DeletesRemove:
	default:
		return nil, errors.New("-deletes is keep, flag or remove")
	}
	if opt.follow < 0 || opt.quiet < 0 {
		return nil, errors.New("-follow and -until-quiet cannot be negative")
	}
	var err error
	if opt.from, err = server("from", from, *fromCA, env); err != nil {
		return nil, err
	}
	if opt.to, err = server("to", to, *toCA, env); err != nil {
		return nil, err
	}
	if opt.to.Protocol == mailhaul.POP3 {
		return nil, errors.New("-to: nothing can be moved to a POP3 server")
	}
	return opt, nil
}

func keep(to *string) func(string) error {
	return func(value string) error { *to = value; return nil }
}

// server makes one side of its URL and the environment.
func server(side, url, ca string, env func(string) string) (srv mailhaul.Server, err error) {
	if url == "" {
		return srv, fmt.Errorf("-%s is missing", side)
	}
	if srv, err = mailhaul.ParseServerURL(url); err != nil {
		return srv, fmt.Errorf("-%s: %w", side, err)
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return srv, fmt.Errorf("-%s-ca: %w", side, err)
		}
		srv.TLS.Roots = x509.NewCertPool()
		if !srv.TLS.Roots.AppendCertsFromPEM(pem) {
			return srv, fmt.Errorf("-%s-ca: %s holds no certificate in PEM form", side, ca)
		}
	}
	name := "MAILHAUL_" + strings.ToUpper(side) + "_PASSWORD"
	if srv.Credentials == nil && srv.Mechanism != "EXTERNAL" {
		if env(name) == "" {
			return srv, fmt.Errorf("-%s: there is no password; put it into %s", side, name)
		}
		secret := mailhaul.NewSecret(env(name))
		srv.Credentials = func(context.Context) (mailhaul.Secret, error) { return secret, nil }
	}
	return srv, nil
}
