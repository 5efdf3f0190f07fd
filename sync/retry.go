// What happens after an error: try again, give a mailbox up, or stop.

package sync

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/mailhaul/mailhaul"
)

// verdict is what follows from an error.
type verdict uint8

const (
	stopRun     verdict = iota // nothing more can be done for this account
	failMailbox                // this mailbox cannot be moved; others can
	tryAgain
)

// attempts counts the failures of one piece of work since it last got
// somewhere, and decides about the next.
type attempts struct {
	limit  int // failures in a row after which the work is given up
	failed int
}

// progress forgets the failures so far.
func (a *attempts) progress() { a.failed = 0 }

// after decides what follows from err, and how long to wait before it.
func (a *attempts) after(ctx context.Context, err error) (verdict, time.Duration) {
	e, ok := errors.AsType[*mailhaul.Error](err)
	if ctx.Err() != nil || !ok {
		return stopRun, 0
	}
	switch e.Kind {
	case mailhaul.Auth, mailhaul.OverQuota:
		return stopRun, 0
	case mailhaul.Permanent, mailhaul.KindUnknown:
		if e.Scope == mailhaul.ScopeMailbox || e.Scope == mailhaul.ScopeMessage {
			return failMailbox, 0
		}
		return stopRun, 0
	}
	a.failed++
	if a.failed > a.limit {
		if e.Op == "connect" || e.Op == "log in" || e.Scope == mailhaul.ScopeAccount || e.Scope == mailhaul.ScopeServer {
			return stopRun, 0
		}
		return failMailbox, 0
	}
	if e.Wait > 0 {
		return tryAgain, e.Wait + jitter(e.Wait/10)
	}
	if e.Kind == mailhaul.Throttled {
		return tryAgain, backoff(a.failed, 2*time.Second, 5*time.Minute)
	}
	return tryAgain, backoff(a.failed, 500*time.Millisecond, 30*time.Second)
}

// retry calls f until it succeeds or is not worth another try.
func (r *run) retry(ctx context.Context, mailbox string, limit int, f func() error) error {
	tries := attempts{limit: limit}
	for {
		err := f()
		if err == nil {
			return nil
		}
		v, wait := tries.after(ctx, err)
		if v != tryAgain {
			return err
		}
		r.wait(mailbox, wait, err)
		if r.pause(ctx, wait) != nil {
			return err
		}
	}
}

// graver returns that of two errors which leaves less to be done; the first,
// where they are alike.
func graver(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil || gravity(a) >= gravity(b):
		return a
	}
	return b
}

func gravity(err error) int {
	e, ok := errors.AsType[*mailhaul.Error](err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return 0
	case !ok:
		return 4
	}
	switch e.Kind {
	case mailhaul.OverQuota, mailhaul.Auth:
		return 3
	case mailhaul.Permanent, mailhaul.KindUnknown, mailhaul.Throttled, mailhaul.Conflict:
		return 2
	}
	return 1
}

// backoff returns the pause before the n-th try, n from 1: it doubles from
// base to top, and a half of it is left to chance, so that connections that
// were lost together do not come back together.
func backoff(n int, base, top time.Duration) time.Duration {
	d := top
	if n < 16 {
		d = min(top, base<<(n-1))
	}
	return d/2 + jitter(d/2)
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// pause waits for d, until Drain is called, or until ctx is done.
func (r *run) pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.drain:
		return ErrDrained
	case <-ctx.Done():
		return ctx.Err()
	}
}
