// A world: two accounts, a disk, and what has to be true of them in the end.

package faultlab

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// world is what outlives a process.
type world struct {
	source, target *memmail.Account
	disk           *checkpoint.Memory
	persona        *persona
	habit          *habit
	cfg            mailsync.Config
	spec           spec

	administrator func(*memmail.Imposer) // of the target; nil: there is none
	late          bool                   // its Writers store in Finish
	pop           bool                   // the source is a maildrop
	script        []func(*world)         // what users do after each pass of Follow; nil: Run is what lives
	played        int                    // how much of it was done

	mu      sync.Mutex // protects what follows
	pending []pending  // what the target has received and not stored yet
	lost    int        // messages that were handed over and that the target never had whole
}

// pending is a batch in a server's buffer.
type pending struct {
	due    time.Time
	path   string
	msgs   []memmail.Stored
	timer  *time.Timer
	stored bool
}

func newWorld(p *persona) *world {
	w := &world{source: memmail.New("ann"), target: memmail.New("bob"), disk: checkpoint.NewMemory(), spec: newSpec()}
	w.cfg = mailsync.Config{SettleTime: settleTime, BatchMessages: 4, Mailboxes: 1, Retries: 50}
	w.adopt(p)
	return w
}

// adopt gives the target a persona, from now on.
func (w *world) adopt(p *persona) {
	w.persona, w.habit = p, &habit{}
	w.target.Hooks = memmail.Hooks{Store: p.octets}
	if p.options != nil {
		p.options(w)
	}
	if p.behave != nil {
		p.behave(w, w.habit)
	}
}

// clone returns a world of its own in the same state, at the same time.
func (w *world) clone() *world {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &world{
		source: w.source.Clone(), target: w.target.Clone(), disk: w.disk.Clone(),
		cfg: w.cfg, spec: w.spec.clone(), lost: w.lost,
		administrator: w.administrator, late: w.late, pop: w.pop, script: w.script, played: w.played,
	}
	c.hookVanishing()
	c.adopt(w.persona)
	*c.habit = w.habit.clone()
	for _, p := range w.pending {
		if !p.stored {
			c.schedule(p.path, p.msgs, p.due)
		}
	}
	return c
}

// unsent counts messages that were handed over and never arrived.
func (w *world) unsent(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost += n
}

// storeLater lets the target store messages just within the settle time.
func (w *world) storeLater(path []string, msgs []memmail.Stored) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.schedule(strings.Join(path, "/"), msgs, time.Now().Add(settleTime*9/10))
}

func (w *world) schedule(path string, msgs []memmail.Stored, due time.Time) {
	i := len(w.pending)
	w.pending = append(w.pending, pending{due: due, path: path, msgs: msgs})
	w.pending[i].timer = time.AfterFunc(time.Until(due), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pending[i].stored = true
		for _, m := range msgs {
			if w.refuses(string(m.Body)) || w.spec.once && slices.Contains(bodies(w.target.Snapshot(path)), string(m.Body)) {
				continue
			}
			w.target.AddMessage(path, m)
		}
	})
}

// end stops what the world would still do.
func (w *world) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pending {
		p.timer.Stop()
	}
}

// deliver puts a message of somebody else into the target.
func (w *world) deliver(path, body string, flags ...mailhaul.Flag) {
	w.target.Add(path, body, flags...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spec.theirs[path] = append(w.spec.theirs[path], memmail.Stored{Body: []byte(body), Flags: flags, Date: addDate})
}

// addDate is the date that memmail gives to what Add puts there.
var addDate = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// life is what one process did.
type life struct {
	p   *process
	res *mailsync.Result
	err error
}

// live runs a process until it ends, or dies as planned.
func (w *world) live(t testing.TB, plan *death, configure ...func(*mailsync.Config)) life {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p := &process{w: w, stop: stop, plan: plan}
	cfg := w.cfg
	cfg.Source = &mortalSource{w.source, p}
	if w.pop {
		cfg.Source = &mortalSource{newMaildrop(w.source), p}
	}
	target := &mortalTarget{w.target, p}
	cfg.Target = target
	if w.administrator != nil {
		imposer := w.target.Imposer()
		w.administrator(imposer)
		w.late = imposer.Late
		cfg.Target = &mortalImposer{target, imposer}
	}
	cfg.Store = &mortalStore{w.disk, p}
	for _, f := range configure {
		f(&cfg)
	}
	s, err := mailsync.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var res *mailsync.Result
	if w.script == nil {
		res, err = s.Run(ctx)
	} else {
		res, err = w.follow(ctx, s)
	}
	if p.dead && err == nil {
		// It died in its very last steps, whose failure is no error.
		err = errDead
	}
	return life{p, res, err}
}

// follow lets the process follow the source. Users work after each pass, as
// long as there is something in the script.
func (w *world) follow(ctx context.Context, s *mailsync.Syncer) (*mailsync.Result, error) {
	return s.Follow(ctx, mailsync.FollowOptions{
		UntilQuiet: 3 * time.Minute,
		Passed: func(pass mailsync.Pass) {
			if pass.Err == nil && w.played < len(w.script) {
				w.played++
				w.script[w.played-1](w)
			}
		},
	})
}

// habit is the memory of a persona: what it has done so far.
type habit struct {
	mu    sync.Mutex // protects what follows
	calls int
	seen  map[string]mailhaul.UID
}

func (h *habit) clone() habit {
	h.mu.Lock()
	defer h.mu.Unlock()
	return habit{calls: h.calls, seen: maps.Clone(h.seen)}
}

// tick counts the calls, from 0.
func (h *habit) tick() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	return h.calls - 1
}

// bodies returns the octets of a mailbox, sorted.
func bodies(msgs []memmail.Stored) []string {
	var out []string
	for _, m := range msgs {
		out = append(out, string(m.Body))
	}
	slices.Sort(out)
	return out
}
