package main

// Mail that is moved in the sense of gone from where it was: -pop3-delete.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// removeMoved deletes on the POP3 server what is safely on the target, and puts
// into the result what came of it. Any signal stops it. A maildrop that somebody
// else has locked is waited for a few times.
func removeMoved(ctx context.Context, sys system, opt *options, store checkpoint.Store, res *mailsync.Result) error {
	say := func(text string) { fmt.Fprintln(sys.stderr, text) }
	ctx, stop := obey(ctx, sys.signals, say, nil)
	defer stop()
	from, to, closeAccounts, err := newAccounts(sys, opt, store, func(w mailsync.Waiting) { say(clean(waitingText(w))) })
	if err != nil {
		return err
	}
	defer closeAccounts()
	var out *mailsync.Removal
	const tries = 4
	for n := 1; ; n++ {
		out, err = mailsync.RemoveMoved(ctx, mailsync.RemoveOptions{Source: from, Target: to, Store: store, Logger: newLogger(sys, opt)})
		e, ok := errors.AsType[*mailhaul.Error](err)
		if !ok || n == tries || ctx.Err() != nil || e.Kind != mailhaul.Transient && e.Kind != mailhaul.Throttled {
			break
		}
		pause := max(e.Wait, time.Duration(n)*time.Second)
		say(fmt.Sprintf("waiting %v before mail is deleted on the source: %s", pause.Round(time.Second), clean(e.Reason())))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	res.RemovedFromSource = out.Removed
	for _, why := range slices.Sorted(maps.Keys(out.Kept)) {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%s stayed on the source: %s", number(out.Kept[why], "message"), why))
	}
	return err
}
