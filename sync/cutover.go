// The end of a move: passes until there is nothing to do, the proof by
// reading, and the report.

package sync

import (
	"context"
	"errors"
	"fmt"
	stdsync "sync"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// ErrChanged is returned by CutOver when the accounts did not come to rest: the
// last pass that it made still found something to do. Nothing is wrong; the
// source is still in use.
var ErrChanged = errors.New("the source still changes; run it again when nobody uses it any more")

// CutOverOptions are optional settings of [Syncer.CutOver].
type CutOverOptions struct {
	// Passes is how many are made at most until one finds nothing to do.
	// Default 5.
	Passes int

	// Earlier is what was done before, by Run or by Follow; the report sums it
	// up with the rest. Started is when that began. Default: nothing.
	Earlier *Result
	Started time.Time

	// SkipVerify leaves out the proof by reading, which takes as long as it
	// takes to read both accounts. The report says so.
	SkipVerify bool

	// Passed is called after each pass, Verified after each mailbox that was
	// compared.
	Passed   func(Pass)
	Verified func(MailboxVerification)
}

// CutOver makes passes over everything until one finds nothing to do on either
// side, then compares both accounts octet by octet, as [Verify] does, and
// reports. The target's users may go on working meanwhile: what they do is
// told apart from what is missing by what the checkpoint knows.
//
// The Report is never nil; with an error it says how far that came. The error
// is ErrChanged where the accounts did not come to rest, which the report
// covers all the same, or what stopped a pass or the comparison. That mail is
// missing is no error: it is in the report, whose Complete decides.
//
// Drain and the end of ctx stop it as they stop Run.
func (s *Syncer) CutOver(ctx context.Context, opts CutOverOptions) (*Report, error) {
	switch {
	case opts.Passes < 0:
		return newReport(newTally(s.cfg).result(nil)), fmt.Errorf("sync: CutOverOptions.Passes is %d; it cannot be negative", opts.Passes)
	case opts.Passes == 0:
		opts.Passes = 5
	}
	if opts.Started.IsZero() {
		opts.Started = time.Now()
	}
	sum := newTally(s.cfg).result(nil)
	if opts.Earlier != nil {
		earlier := *opts.Earlier
		sum = &earlier
	}
	pass := func() (*Result, error) {
		res, err := s.Run(ctx)
		if err == nil || res.Mailboxes > 0 {
			sum.add(res, true)
		}
		if opts.Passed != nil {
			opts.Passed(Pass{Whole: true, Result: res, Err: err})
		}
		return res, err
	}
	report := func(found *verified, late map[string]mailhaul.UIDSet, inStep bool, err error) (*Report, error) {
		rep, rerr := s.report(ctx, sum, found, late)
		rep.Started, rep.Ended, rep.InStep = opts.Started, time.Now(), inStep
		if err == nil {
			err = rerr
		}
		if err != nil && !errors.Is(err, ErrChanged) {
			rep.Stopped = err.Error()
		}
		rep.judge()
		return rep, err
	}

	inStep := false
	for range opts.Passes {
		res, err := pass()
		if err != nil {
			return report(nil, nil, false, err)
		}
		if inStep = !res.Changed(); inStep {
			break
		}
	}
	var found *verified
	var late map[string]mailhaul.UIDSet
	if !opts.SkipVerify {
		var err error
		if found, err = s.verify(ctx, opts.Verified); err != nil {
			return report(nil, nil, inStep, err)
		}
		// What came in while everything was read is to be moved too, and
		// about what vanished in great number a pass has to decide.
		var vanished bool
		if late, vanished, err = s.unknown(ctx, found); err != nil {
			return report(found, nil, inStep, err)
		}
		if len(late) > 0 || vanished {
			if _, err := pass(); err != nil {
				return report(found, late, inStep, err)
			}
		}
	}
	if !inStep {
		return report(found, late, false, ErrChanged)
	}
	return report(found, late, true, nil)
}

// verify is Verify for the accounts of the Syncer, with the UIDs that its
// checkpoint knows the messages by. Nothing is written to it.
func (s *Syncer) verify(ctx context.Context, progress func(MailboxVerification)) (*verified, error) {
	drain, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer s.end()
	ctx, cancel := context.WithCancelCause(ctx)
	var watch stdsync.WaitGroup
	watch.Go(func() {
		select {
		case <-drain:
			cancel(ErrDrained)
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel(nil)
	found, err := func() (*verified, error) {
		plan, err := verifyPlan(ctx, s.cfg.Source, s.cfg.Target, VerifyOptions{
			Include: s.cfg.Include, Exclude: s.cfg.Exclude, Rename: s.cfg.Rename, Shared: s.cfg.Shared, Store: s.cfg.Store,
		})
		if err != nil {
			return nil, err
		}
		ledger, err := s.ledger(ctx)
		if err != nil {
			return nil, err
		}
		return verifyPlanned(ctx, withUIDs(s.cfg.Source, ledger), s.cfg.Target, plan, progress)
	}()
	if err != nil && errors.Is(context.Cause(ctx), ErrDrained) {
		err = ErrDrained
	}
	return found, err
}

func (s *Syncer) ledger(ctx context.Context) (*checkpoint.Ledger, error) {
	return checkpoint.OpenLedger(ctx, s.cfg.Store, checkpoint.Pair{From: s.cfg.Source.Account(), To: s.cfg.Target.Account()})
}

// unknown returns, by the source's mailbox, the missing messages of which the
// checkpoint knows nothing. vanished says that so many of those that it knows to
// be on the target have gone from it since that the brake has a word in it.
func (s *Syncer) unknown(ctx context.Context, found *verified) (late map[string]mailhaul.UIDSet, vanished bool, err error) {
	ledger, err := s.ledger(ctx)
	if err != nil {
		return nil, false, err
	}
	late = make(map[string]mailhaul.UIDSet)
	for i, m := range found.Mailboxes {
		if len(m.Missing) == 0 {
			continue
		}
		led, err := ledger.Mailbox(ctx, found.read[i].wire)
		if err != nil {
			return nil, false, err
		}
		_, mapped, err := led.Sets(ctx)
		if err != nil {
			return nil, false, err
		}
		// Of a mailbox that was made anew nothing is known.
		anew := led.State().SourceValidity != found.read[i].validity
		gone := 0
		for _, d := range m.Missing {
			rec, known, err := led.Get(ctx, d.UID)
			if err != nil {
				return nil, false, err
			}
			switch {
			case !known || anew:
				set := late[m.Source]
				set.Add(d.UID)
				late[m.Source] = set
			case rec.Placed() && !found.read[i].target.Contains(rec.Target):
				gone++
			}
		}
		vanished = vanished || braked(gone, mapped.Len())
	}
	return late, vanished, nil
}
