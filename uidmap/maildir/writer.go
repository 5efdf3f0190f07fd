// Writing: messages are made durable in tmp, and put into the mailbox together.

package maildir

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mailhaul/mailhaul"
)

// writer is a mailbox that is open for writing.
//
// Append writes messages to tmp; the first that asks for an answer, or Finish,
// puts all there are by then into the mailbox. Many at once are much cheaper,
// since the list of UIDs is written anew each time.
type writer struct {
	f      folder
	want   *mailhaul.Identity // nil: none is imposed
	status mailhaul.Status

	imposes bool // UIDs are imposed: they mean what they mean on the source

	mu     sync.Mutex      // protects what follows
	list   *uidList        // as it was last seen
	taken  map[string]bool // names of files in list, once a message is to have one of its own choice
	stamp  stamp           // of the list
	staged []*staged       // messages in tmp, in their order
	dead   error
}

// staged is one message on its way.
type staged struct {
	temp     string // its name in tmp
	out      mailhaul.Outgoing
	keywords []mailhaul.Flag
	letters  []byte
	size     int64 // of the file
	shown    int64 // of what the server will show
	entry    uidEntry
	name     string // its name in cur, without the directory
	outcome  mailhaul.Outcome
	done     bool
}

// openWriter opens the mailbox, which nobody else may have open. With want, it
// gets the UIDVALIDITY of it where that can be.
func (f folder) openWriter(ctx context.Context, want *mailhaul.Identity) (*writer, error) {
	if err := f.checkUnused(); err != nil {
		return nil, err
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, f.wrap("open", err)
	}
	w, err := f.openLocked(want)
	if err = errors.Join(err, unlock()); err != nil {
		return nil, f.wrap("open", err)
	}
	return w, nil
}

func (f folder) openLocked(want *mailhaul.Identity) (*writer, error) {
	v, err := f.syncLocked()
	if err != nil {
		return nil, err
	}
	if want != nil && want.UIDValidity != 0 && want.UIDValidity != v.list.validity && len(v.messages) == 0 {
		if err := f.rename(v, want.UIDValidity); err != nil {
			return nil, err
		}
	}
	if err := f.removeLeftovers(); err != nil {
		return nil, err
	}
	w := &writer{f: f, want: want, status: v.status(), list: v.list, stamp: v.stamp}
	w.imposes = want != nil && (want.UIDValidity == 0 || want.UIDValidity == v.list.validity)
	return w, nil
}

// rename gives an empty mailbox another UIDVALIDITY. What Dovecot remembers of
// it speaks of the old one, and goes.
func (f folder) rename(v *view, validity mailhaul.UIDValidity) error {
	if err := f.newIndex(0); err != nil {
		return err
	}
	list := &uidList{validity: validity, next: 1, header: v.list.header}
	if err := f.writeList(list); err != nil {
		return err
	}
	v.list, v.stamp = list, f.stampOf(f.listName())
	// Dovecot's list of mailboxes asks whether cur has changed, no more.
	return f.disk.touch(f.file("cur"), time.Now())
}

// Status implements [mailhaul.Writer].
func (w *writer) Status() mailhaul.Status { return w.status }

// receipt is the answer to one Append.
type receipt struct {
	w     *writer
	batch []*staged
}

// Wait implements [mailhaul.Receipt].
func (r *receipt) Wait(ctx context.Context) ([]mailhaul.Outcome, error) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	var err error
	if slices.ContainsFunc(r.batch, func(s *staged) bool { return !s.done }) {
		err = r.w.commit(ctx)
	}
	outcomes := make([]mailhaul.Outcome, len(r.batch))
	for i, s := range r.batch {
		outcomes[i] = s.outcome
	}
	return outcomes, err
}

// syncers is how many files are made durable at once: file systems do many for
// the price of one.
const syncers = 8

// Append implements [mailhaul.Writer].
func (w *writer) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &receipt{w: w}
	var files []*os.File
	err := w.usable(ctx)
	for i := range batch {
		s := &staged{out: batch[i]}
		r.batch = append(r.batch, s)
		var f *os.File
		if err == nil {
			if f, err = w.stage(s); err == nil {
				files = append(files, f)
			}
		}
		batch[i].Body.Release()
		s.out.Body = nil
		if err != nil {
			s.outcome, s.done = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: err}, true
		}
	}
	err = errors.Join(err, w.syncAll(files))
	if err != nil {
		w.dead = err
		for _, s := range r.batch { // one batch, one fate
			if !s.done {
				s.outcome, s.done = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: err}, true
			}
		}
		w.drop(r.batch)
		return r, err
	}
	w.staged = append(w.staged, r.batch...)
	return r, nil
}

func (w *writer) usable(ctx context.Context) error {
	if w.dead != nil {
		return w.dead
	}
	if w.f.closed.Load() {
		return w.f.fail("append to", mailhaul.Permanent, mailhaul.ScopeConnection, mailhaul.ErrClosed)
	}
	return ctx.Err()
}

// stage writes one message to tmp.
func (w *writer) stage(s *staged) (_ *os.File, err error) {
	f := w.f
	temp := f.tempName()
	file, err := f.disk.create(temp)
	if err != nil {
		return nil, f.wrap("append to", err)
	}
	s.temp = temp
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	source := &sourceReader{r: s.out.Body.Reader()}
	err = f.disk.may("write", temp)
	if err == nil {
		s.size, s.shown, err = f.flavor.store(file, source)
	}
	if source.err != nil {
		return nil, source.err // the source's, not ours
	}
	if err == nil && !s.out.InternalDate.IsZero() {
		if err = f.disk.may("touch", temp); err == nil {
			err = f.disk.root.Chtimes(temp, time.Now(), s.out.InternalDate)
		}
	}
	if err != nil {
		return nil, f.wrap("append to", err)
	}
	flags, dropped := mailhaul.NormalizeFlags(s.out.Flags)
	s.outcome.Dropped = dropped
	for _, flag := range flags {
		if letter, ok := systemLetter(flag); ok {
			s.letters = append(s.letters, letter)
		} else {
			s.keywords = append(s.keywords, flag)
		}
	}
	return file, nil
}

// sourceReader remembers the error of what is read.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// syncAll makes files durable and closes them.
func (w *writer) syncAll(files []*os.File) error {
	errs := make([]error, len(files))
	var group sync.WaitGroup
	next := make(chan int)
	for range min(syncers, len(files)) {
		group.Go(func() {
			for i := range next {
				errs[i] = errors.Join(files[i].Sync(), files[i].Close())
			}
		})
	}
	for i := range files {
		next <- i
	}
	close(next)
	group.Wait()
	return w.f.wrap("append to", errors.Join(errs...))
}

// drop removes what is in tmp of messages that will not be stored. What cannot
// be removed is removed by the next Writer.
func (w *writer) drop(batch []*staged) {
	for _, s := range batch {
		if s.temp != "" {
			_ = w.f.disk.remove(s.temp)
		}
	}
}

// Finish implements [mailhaul.Writer].
func (w *writer) Finish(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.commit(ctx); err != nil {
		return err
	}
	if err := w.usable(ctx); err != nil {
		return err
	}
	if !w.imposes {
		return nil
	}
	err := w.raise(ctx)
	if err != nil {
		w.dead = err
	}
	return err
}

// modSeqRoom is how much higher than the source's HIGHESTMODSEQ the target's is
// made: the source's goes on rising until nobody uses it any more, and each time
// that the target's is raised it costs Dovecot its index.
const modSeqRoom = 1 << 9

// raise makes UIDNEXT, and the mod-sequence that the next change gets, what they
// are to be at least.
func (w *writer) raise(ctx context.Context) error {
	f := w.f
	unseen := mailhaul.ModSeq(0) // of all that clients may have seen, the highest
	if f.flavor == Dovecot && w.want.HighestModSeq > 0 {
		first, _, err := f.logModSeqs()
		if err != nil {
			return f.wrap("raise HIGHESTMODSEQ of", err)
		}
		// Somebody who has the mailbox open by now keeps it from being done.
		if first < w.want.HighestModSeq && f.checkUnused() == nil {
			unseen = w.want.HighestModSeq + modSeqRoom
		}
	}
	if w.want.UIDNext <= w.list.next && unseen == 0 {
		return nil
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return f.wrap("raise UIDNEXT of", err)
	}
	return f.wrap("raise UIDNEXT of", errors.Join(w.raiseLocked(unseen), unlock()))
}

func (w *writer) raiseLocked(unseen mailhaul.ModSeq) error {
	f := w.f
	v, err := f.syncLocked()
	if err != nil || v.list.validity != w.status.UIDValidity {
		return err
	}
	if unseen > 0 {
		if err := f.newIndex(unseen); err != nil {
			return err
		}
	}
	if v.list.next < w.want.UIDNext {
		v.list = v.list.clone()
		v.list.next = w.want.UIDNext
		if err := f.writeList(v.list); err != nil {
			return err
		}
	}
	w.list, w.stamp = v.list, f.stampOf(f.listName())
	// Dovecot's list of mailboxes asks whether cur has changed, no more.
	return f.disk.touch(f.file("cur"), time.Now())
}

// Close implements [mailhaul.Writer]. What was appended and not asked after is
// not stored.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead == nil {
		w.dead = w.f.fail("append to", mailhaul.Permanent, mailhaul.ScopeConnection, mailhaul.ErrClosed)
	}
	batch := w.staged
	w.staged = nil
	for _, s := range batch {
		s.outcome.Delivery, s.outcome.Err, s.done = mailhaul.NotStored, w.dead, true
	}
	w.drop(batch)
	return nil
}
