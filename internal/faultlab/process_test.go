// A process that dies: an engine's Source, Target and Store, which stop to
// work, all at once, at a chosen step.

package faultlab

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
)

// errDead is what the dead see. It is no *mailhaul.Error: nobody recovers.
var errDead = errors.New("the process is dead")

// manner is how a step is affected by the death in it.
type manner uint8

const (
	before manner = iota // it has no effect
	after                // it has its effect, and nobody is told
	half                 // of an Append: the first messages are stored; of a Finish: all are, and it does not clear up
	late                 // all that was handed over is stored, after the process is gone
)

func (m manner) String() string { return [...]string{"before", "after", "half of", "late"}[m] }

// kind is what a step does. Only what changes something counts as a step:
// between two of them every moment to die is the same.
type kind uint8

const (
	commit kind = iota
	appendStep
	flagStep
	create
	expunge
	impose  // what OpenImposing changes
	finish  // of an Imposer's Writer
	recover // what a Recoverer removes
)

func (k kind) String() string {
	return [...]string{"commit", "append", "flags", "create", "expunge", "impose", "finish", "recover"}[k]
}

// manners are the ways to die in a step.
func (k kind) manners() []manner {
	switch k {
	case appendStep:
		return []manner{before, after, half, late}
	case finish:
		return []manner{before, after, half, late}
	}
	return []manner{before, after}
}

// death is a moment to die.
type death struct {
	step int // from 0
	how  manner
}

// process is one life of the program.
type process struct {
	w    *world
	stop context.CancelFunc

	mu    sync.Mutex // protects what follows
	plan  *death     // nil: it lives
	steps []kind
	dead  bool

	messages int // that were handed over
}

// name says what a step was.
func (p *process) name(step int) string {
	if step >= len(p.steps) {
		return "not reached"
	}
	return p.steps[step].String()
}

// alive returns errDead to the dead.
func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	return nil
}

// step counts a step and says what becomes of it: do is whether it has its
// effect, wholly or in the manner given.
func (p *process) step(k kind, messages int) (how manner, dies bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return before, false, errDead
	}
	n := len(p.steps)
	p.steps = append(p.steps, k)
	p.messages += messages
	if p.plan == nil || p.plan.step != n {
		return after, false, nil
	}
	p.dead = true
	p.stop()
	how = p.plan.how
	if !slices.Contains(k.manners(), how) {
		how = after
	}
	return how, true, nil
}

// simple runs a step that has its effect or not.
func (p *process) simple(k kind, f func() error) error {
	how, dies, err := p.step(k, 0)
	if err != nil {
		return err
	}
	if how == after {
		err = f()
	}
	if dies {
		return errDead
	}
	return err
}

// mortalStore is the process's disk.
type mortalStore struct {
	checkpoint.Store
	p *process
}

func (s *mortalStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := s.p.alive(); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key)
}

func (s *mortalStore) Scan(ctx context.Context, prefix, from []byte) iter.Seq2[checkpoint.KeyValue, error] {
	return func(yield func(checkpoint.KeyValue, error) bool) {
		if err := s.p.alive(); err != nil {
			yield(checkpoint.KeyValue{}, err)
			return
		}
		s.Store.Scan(ctx, prefix, from)(yield)
	}
}

func (s *mortalStore) Commit(ctx context.Context, ops []checkpoint.Op) error {
	return s.p.simple(commit, func() error { return s.Store.Commit(ctx, ops) })
}

// mortalSource is the process's way to the source.
type mortalSource struct {
	mailhaul.Source
	p *process
}

func (s *mortalSource) List(ctx context.Context) (*mailhaul.Listing, error) {
	if err := s.p.alive(); err != nil {
		return nil, err
	}
	return s.Source.List(ctx)
}

func (s *mortalSource) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	return openReader(ctx, s.p, s.Source, m)
}

func openReader(ctx context.Context, p *process, side mailhaul.Source, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	r, err := side.OpenReader(ctx, m)
	if err != nil {
		return nil, err
	}
	return &mortalReader{r, p}, nil
}

// mortalTarget is the process's way to the target.
type mortalTarget struct {
	mailhaul.Target
	p *process
}

func (t *mortalTarget) List(ctx context.Context) (*mailhaul.Listing, error) {
	if err := t.p.alive(); err != nil {
		return nil, err
	}
	return t.Target.List(ctx)
}

func (t *mortalTarget) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	return openReader(ctx, t.p, t.Target, m)
}

func (t *mortalTarget) Create(ctx context.Context, path []string, role mailhaul.Role) (m mailhaul.Mailbox, err error) {
	err = t.p.simple(create, func() (err error) {
		m, err = t.Target.Create(ctx, path, role)
		return err
	})
	return m, err
}

func (t *mortalTarget) Subscribe(ctx context.Context, m mailhaul.Mailbox) error {
	return t.p.simple(create, func() error { return t.Target.Subscribe(ctx, m) })
}

func (t *mortalTarget) OpenWriter(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Writer, error) {
	if err := t.p.alive(); err != nil {
		return nil, err
	}
	w, err := t.Target.OpenWriter(ctx, m)
	if err != nil {
		return nil, err
	}
	return &mortalWriter{Writer: w, p: t.p, m: m}, nil
}

type mortalReader struct {
	mailhaul.Reader
	p *process
}

func (r *mortalReader) UIDs(ctx context.Context) (mailhaul.UIDSet, error) {
	if err := r.p.alive(); err != nil {
		return nil, err
	}
	return r.Reader.UIDs(ctx)
}

func (r *mortalReader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	return func(yield func(mailhaul.Message, error) bool) {
		if err := r.p.alive(); err != nil {
			yield(mailhaul.Message{}, err)
			return
		}
		r.Reader.Messages(ctx, set, fields, since)(yield)
	}
}

func (r *mortalReader) Fetch(ctx context.Context, set mailhaul.UIDSet, stream bool) (iter.Seq2[mailhaul.Fetched, error], error) {
	if err := r.p.alive(); err != nil {
		return nil, err
	}
	return r.Reader.Fetch(ctx, set, stream)
}

type mortalWriter struct {
	mailhaul.Writer
	p *process
	m mailhaul.Mailbox

	imposing bool
	held     []memmail.Stored // what an Imposer's Writer has got and its Finish stores
}

// nothing is the receipt of a process that hears no answer.
type nothing int

func (n nothing) Wait(context.Context) ([]mailhaul.Outcome, error) {
	return make([]mailhaul.Outcome, n), errDead
}

func (w *mortalWriter) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	how, dies, err := w.p.step(appendStep, len(batch))
	switch {
	case err != nil:
		release(batch)
		return nothing(len(batch)), err
	case w.answersLate():
		return w.appendLate(ctx, how, dies, batch)
	case !dies:
		receipt, err := w.Writer.Append(ctx, batch)
		if err != nil && w.p.alive() != nil { // another mailbox's step was the last
			w.p.w.unsent(len(batch))
		}
		return receipt, err
	}
	dead := context.WithoutCancel(ctx) // the server does not know
	switch how {
	case before:
		release(batch)
		w.p.w.unsent(len(batch))
	case after:
		_, _ = w.Writer.Append(dead, batch)
	case half:
		n := len(batch) / 2
		release(batch[n:])
		w.p.w.unsent(len(batch) - n)
		if n > 0 {
			_, _ = w.Writer.Append(dead, batch[:n])
		}
	case late:
		msgs := w.taken(batch)
		release(batch)
		w.p.w.storeLater(w.m.Path, msgs)
	}
	return nothing(len(batch)), errDead
}

// taken reads a batch as the server is to store it.
func (w *mortalWriter) taken(batch []mailhaul.Outgoing) []memmail.Stored {
	var msgs []memmail.Stored
	for _, o := range batch {
		octets, err := io.ReadAll(o.Body.Reader())
		if err != nil {
			panic(err)
		}
		m := memmail.Stored{Flags: o.Flags, Date: o.InternalDate, Body: w.p.w.persona.store(octets)}
		if w.imposing {
			m.UID = o.UID
		}
		msgs = append(msgs, m)
	}
	return msgs
}

func (w *mortalWriter) Store(ctx context.Context, changes []mailhaul.FlagChange) error {
	return w.p.simple(flagStep, func() error { return w.Writer.Store(ctx, changes) })
}

// StoreUnchanged implements mailhaul.ConditionalStorer.
func (w *mortalWriter) StoreUnchanged(ctx context.Context, changes []mailhaul.FlagChange, since mailhaul.ModSeq) (modified mailhaul.UIDSet, err error) {
	err = w.p.simple(flagStep, func() (err error) {
		modified, err = w.Writer.(mailhaul.ConditionalStorer).StoreUnchanged(ctx, changes, since)
		return err
	})
	return modified, err
}

// UIDExpunge implements mailhaul.Expunger.
func (w *mortalWriter) UIDExpunge(ctx context.Context, set mailhaul.UIDSet) error {
	return w.p.simple(expunge, func() error { return w.Writer.(mailhaul.Expunger).UIDExpunge(ctx, set) })
}

func release(batch []mailhaul.Outgoing) {
	for _, o := range batch {
		o.Body.Release()
	}
}

// settleTime is what the servers of the laboratory take at most to store what
// they had received.
const settleTime = 10 * time.Second
