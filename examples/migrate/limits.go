package main

// What is asked of the servers, and how fast.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/throttle"
)

// limits is what the flags say of them.
type limits struct {
	budget   throttle.Budget
	schedule throttle.Schedule
	policy   func(host string) throttle.Policy // nil: what is known of the host
}

// rates are the flags as they were given.
type rates struct{ rate, messages, daily, schedule, offPeak, preset string }

// limits reads them. Its errors do not quote the flags: any may hold a URL that
// was put in a wrong place, and that a password.
func (r rates) limits() (l limits, err error) {
	if r.rate != "" {
		if l.budget.Read, err = throttle.ParseRate(r.rate); err != nil {
			return l, errors.New("-max-rate takes a rate such as 500kB/s or 2MB/s")
		}
		l.budget.Write = l.budget.Read
	}
	if r.messages != "" {
		if l.budget.Messages, err = throttle.ParseCount(r.messages); err != nil {
			return l, errors.New("-max-messages takes a rate such as 10/s or 600/min")
		}
	}
	if r.daily != "" {
		if l.budget.ReadDay, err = throttle.ParseSize(r.daily); err != nil {
			return l, errors.New("-daily takes a size such as 2500MB")
		}
		l.budget.WriteDay = l.budget.ReadDay
	}
	switch {
	case r.schedule != "" && r.offPeak != "":
		return l, errors.New("-schedule and -off-peak both say when; choose one")
	case r.schedule != "":
		text, err := os.ReadFile(r.schedule)
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		if err != nil {
			return l, fmt.Errorf("-schedule: the file cannot be read: %w", err)
		}
		if l.schedule, err = throttle.ParseSchedule(bytes.NewReader(text)); err != nil {
			return l, fmt.Errorf("-schedule: %w", err)
		}
	case r.offPeak != "":
		if l.schedule, err = throttle.OffPeak(r.offPeak); err != nil {
			return l, errors.New(`-off-peak takes a time and a zone such as "22:00-06:00 Europe/Berlin"`)
		}
	}
	if r.preset != "" {
		p, ok := throttle.Preset(r.preset)
		if r.preset == "none" {
			p, ok = throttle.Unlimited, true
		}
		if !ok {
			return l, fmt.Errorf("-preset is none, or one of %s", strings.Join(throttle.Presets(), ", "))
		}
		l.policy = func(string) throttle.Policy { return p }
	}
	return l, nil
}

// any reports whether there is a limit for a host.
func (l limits) any(host string) bool {
	p := throttle.ForHost(host)
	if l.policy != nil {
		p = l.policy(host)
	}
	return !p.Unlimited || l.budget != (throttle.Budget{}) || l.schedule != nil
}

// newThrottle returns what protects the server of one side, and a function that
// ends it; nil where nothing does.
func newThrottle(opt *options, store checkpoint.Store, side string, srv mailhaul.Server, waiting func(mailsync.Waiting)) (imapx.Throttle, func(), error) {
	if !opt.limits.any(srv.Host) {
		return nil, func() {}, nil
	}
	cfg := throttle.Config{Policy: opt.limits.policy, Host: opt.limits.budget, Schedule: opt.limits.schedule}
	if store != nil && !opt.dryRun {
		cfg.Storage = checkpoint.NewNotes(store, "throttle "+side)
	}
	if waiting != nil {
		cfg.Events.Waiting = func(w throttle.Wait) {
			waiting(mailsync.Waiting{For: w.For, Reason: w.Reason + " (" + w.Host + ")"})
		}
	}
	th, err := throttle.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	account, err := th.Account(context.Background(), srv.Host, srv.Account().User)
	if err != nil {
		return nil, nil, err
	}
	return account, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = th.Close(ctx) // it costs a lesson at most
	}, nil
}
