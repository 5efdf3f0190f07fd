// What Follow is told while it waits: the goroutine that listens to the
// source, and the news that it brings.

package sync

import (
	"context"
	"errors"
	"maps"
	"slices"
	stdsync "sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// news is what has changed and was not looked at yet. It is safe for
// concurrent use.
type news struct {
	wake chan struct{} // something was added; has room for one

	mu      stdsync.Mutex   // protects what follows
	changed map[string]bool // mailboxes of the source, by wire name
	listed  bool            // the list of mailboxes itself
	begun   bool            // the server has begun to tell: what happened before is to be looked for
}

func newNews() *news { return &news{wake: make(chan struct{}, 1), changed: make(map[string]bool)} }

func (n *news) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) add(changed map[string]bool) {
	if len(changed) == 0 {
		return
	}
	n.mu.Lock()
	maps.Copy(n.changed, changed)
	n.mu.Unlock()
	n.signal()
}

// list says that the list of mailboxes is to be looked at.
func (n *news) list() {
	n.mu.Lock()
	n.listed = true
	n.mu.Unlock()
	n.signal()
}

// look returns what there is to be looked at. What is not in a mailbox that a
// pass over some could look at needs one over everything.
func (n *news) look(g *ground) (changed map[string]bool, list bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list = n.listed
	changed = make(map[string]bool, len(n.changed))
	for wire := range n.changed {
		switch i := slices.IndexFunc(g.moves, func(m folderMove) bool { return m.Source.Wire == wire }); {
		case i < 0: // left out by the caller, or not there at the last pass
			delete(n.changed, wire)
		case g.moves[i].View:
			list = true
		default:
			changed[wire] = true
		}
	}
	return changed, list
}

// begin says that telling has begun, or ended, so that the source is to be
// asked once.
func (n *news) begin() {
	n.mu.Lock()
	n.begun = true
	n.mu.Unlock()
	n.signal()
}

// hasBegun reports that once.
func (n *news) hasBegun() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	begun := n.begun
	n.begun = false
	return begun
}

func (n *news) forget(changed map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for wire := range changed {
		delete(n.changed, wire)
	}
}

func (n *news) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.changed)
	n.listed = false
}

func (n *news) none() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.changed) == 0 && !n.listed
}

// ears are the goroutine that listens.
type ears struct {
	boxes []mailhaul.Mailbox
	end   context.CancelFunc
	done  chan struct{}

	mu    stdsync.Mutex   // protects what follows
	heard map[string]bool // mailboxes that the server tells of
	known map[string]bool // mailboxes that the source has; whether it is one of boxes
}

// stop ends listening and waits for that.
func (e *ears) stop() {
	if e != nil {
		e.end()
		<-e.done
	}
}

// hearsAll reports whether the server tells of every mailbox.
func (e *ears) hearsAll(g *ground) bool {
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.heard) < 2 {
		return false // IDLE, which does not tell of new mailboxes
	}
	return !slices.ContainsFunc(g.moves, func(m folderMove) bool { return !e.heard[m.Source.Wire] })
}

// know notes which mailboxes the source has.
func (e *ears) know(g *ground) {
	known := make(map[string]bool, len(g.source.Mailboxes))
	for _, m := range g.source.Mailboxes {
		known[m.Wire] = false
	}
	for _, m := range e.boxes {
		known[m.Wire] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known = known
}

// told passes on that a mailbox has changed, unless it is one that is left out.
// One that is not known may be new.
func (e *ears) told(wire string, n *news) {
	e.mu.Lock()
	wanted, known := e.known[wire]
	e.mu.Unlock()
	switch {
	case !known:
		n.list()
	case wanted:
		n.add(map[string]bool{wire: true})
	}
}

// listen starts to listen to the mailboxes of the ground, unless that is being
// done.
func (f *follower) listen(ctx context.Context) {
	w, ok := mailhaul.As[mailhaul.Watcher](f.cfg.Source)
	if !ok || f.pop {
		return
	}
	var boxes []mailhaul.Mailbox
	for _, m := range f.ground.moves {
		box := m.Source
		box.Status = nil
		if box.IsInbox() {
			boxes = slices.Insert(boxes, 0, box)
		} else {
			boxes = append(boxes, box)
		}
	}
	if len(boxes) == 0 {
		return
	}
	if f.ears != nil {
		same := slices.EqualFunc(f.ears.boxes, boxes, func(a, b mailhaul.Mailbox) bool { return a.Wire == b.Wire })
		if same {
			f.ears.know(f.ground)
			return
		}
		f.ears.stop()
	}
	ctx, end := context.WithCancel(ctx)
	e := &ears{boxes: boxes, end: end, done: make(chan struct{})}
	e.know(f.ground)
	f.ears = e
	go func() {
		defer close(e.done)
		e.run(ctx, w, f)
	}()
}

// run watches, and watches again when that has ended, until ctx is done.
func (e *ears) run(ctx context.Context, w mailhaul.Watcher, f *follower) {
	for failures := 0; ; {
		var since time.Time
		err := w.Watch(ctx, e.boxes, mailhaul.Listener{
			Listening: func(told []mailhaul.Mailbox) {
				since = time.Now()
				e.mu.Lock()
				e.heard = make(map[string]bool, len(told))
				for _, m := range told {
					e.heard[m.Wire] = true
				}
				e.mu.Unlock()
				f.news.begin()
				if f.opts.Watching != nil {
					f.opts.Watching(len(told), nil)
				}
			},
			Changed: func(m mailhaul.Mailbox) { e.told(m.Wire, f.news) },
		})
		e.mu.Lock()
		told := len(e.heard) > 0
		e.heard = nil
		e.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if f.opts.Watching != nil && (told || failures == 0) {
			f.opts.Watching(0, err)
		}
		f.cfg.Logger.Info("the source tells of no changes any more", "reason", err)
		if told {
			f.news.begin()
		}
		if errors.Is(err, mailhaul.ErrUnsupported) || mailhaul.KindOf(err) == mailhaul.Auth {
			return // it is asked instead
		}
		if failures++; !since.IsZero() && time.Since(since) > time.Minute {
			failures = 1
		}
		wait := backoff(failures, 2*time.Second, 5*time.Minute)
		if e, ok := errors.AsType[*mailhaul.Error](err); ok {
			wait = max(wait, e.Wait)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}
