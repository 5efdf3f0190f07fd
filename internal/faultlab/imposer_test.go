// A dying process's way to a target that lets itself be told identity.

package faultlab

import (
	"context"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
)

var (
	_ mailhaul.Imposer   = (*mortalImposer)(nil)
	_ mailhaul.Recoverer = (*mortalImposer)(nil)
)

// mortalImposer is mortalTarget with an administrator's access.
type mortalImposer struct {
	*mortalTarget
	imposer *memmail.Imposer
}

func (t *mortalImposer) Imposable(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Imposable, error) {
	if err := t.p.alive(); err != nil {
		return mailhaul.Imposable{}, err
	}
	return t.imposer.Imposable(ctx, m, want)
}

func (t *mortalImposer) OpenImposing(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (mailhaul.Writer, error) {
	var w mailhaul.Writer
	err := t.p.simple(impose, func() (err error) {
		w, err = t.imposer.OpenImposing(context.WithoutCancel(ctx), m, want)
		return err
	})
	if err != nil {
		if w != nil { // it was opened, and nobody is left to close it
			_ = w.Close()
		}
		return nil, err
	}
	return &mortalWriter{Writer: w, p: t.p, m: m, imposing: true}, nil
}

func (t *mortalImposer) Recover(ctx context.Context, m mailhaul.Mailbox, from mailhaul.UID) error {
	return t.p.simple(recover, func() error { return t.imposer.Recover(ctx, m, from) })
}

// answersLate reports whether what is appended is stored by Finish.
func (w *mortalWriter) answersLate() bool { return w.imposing && w.p.w.late }

// Finish is a step of an Imposer's Writer only: any other's changes nothing.
func (w *mortalWriter) Finish(ctx context.Context) error {
	if !w.imposing {
		if err := w.p.alive(); err != nil {
			return err
		}
		return w.Writer.Finish(ctx)
	}
	how, dies, err := w.p.step(finish, 0)
	if err != nil {
		return err
	}
	if !dies {
		err := w.Writer.Finish(ctx)
		if err == nil {
			w.held = nil
		}
		return err
	}
	dead := context.WithoutCancel(ctx)
	switch how {
	case before:
		return errDead
	case after:
		_ = w.Writer.Finish(dead)
	case half:
		hooks := &w.p.w.target.Hooks
		was := hooks.Finish
		hooks.Finish = func(_ string, store func()) error {
			store()
			return errDead
		}
		_ = w.Writer.Finish(dead)
		hooks.Finish = was
	case late:
		if len(w.held) > 0 {
			w.p.w.storeLater(w.m.Path, w.held)
		}
	}
	w.held = nil
	return errDead
}

// appendLate is Append where Finish stores: what the dead have handed over is
// dropped.
func (w *mortalWriter) appendLate(ctx context.Context, how manner, dies bool, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	if dies && how != after {
		release(batch)
		w.p.w.unsent(len(batch))
		return nothing(len(batch)), errDead
	}
	w.held = append(w.held, w.taken(batch)...)
	receipt, err := w.Writer.Append(context.WithoutCancel(ctx), batch)
	if dies {
		return nothing(len(batch)), errDead
	}
	return receipt, err
}

// Close drops what a Finish would have stored.
func (w *mortalWriter) Close() error {
	w.p.w.unsent(len(w.held))
	w.held = nil
	return w.Writer.Close()
}
