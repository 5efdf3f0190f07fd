// What a run tells while it goes on.

package sync

import (
	stdsync "sync"
	"time"
)

// Events are functions that a run calls as it goes on; those that are nil are
// not called. They run on the goroutines of Run, one at a time, and hold the
// run up until they return.
type Events struct {
	// Started is called when the mailboxes are known and before the first is
	// opened.
	Started func(Started)
	// Mailbox is called when the work on a mailbox begins and when it has
	// ended.
	Mailbox func(MailboxEvent)
	// Progress is called after each batch.
	Progress func(Progress)
	// Waiting is called before the run pauses: to try again after an error,
	// because a server asked for it, or to see whether the target still stores
	// a message.
	Waiting func(Waiting)
}

// Started says what a run is about to do.
type Started struct {
	From, To  string
	Mailboxes int
	Messages  int // in these mailboxes, as far as the source's listing says
}

// MailboxEvent says that the work on a mailbox begins or has ended.
type MailboxEvent struct {
	Source, Target string // names as the servers' users see them
	Messages       int    // in the source mailbox, where known
	Done           bool
	Result         MailboxResult // when Done
}

// Progress says how far a mailbox and the account are.
type Progress struct {
	Account string // the source's
	Mailbox string // the source's name

	// Of the mailbox: messages and octets moved in this run, and to be moved.
	Messages, TotalMessages int
	Bytes, TotalBytes       int64

	// Of the account, over all mailboxes opened so far.
	AccountMessages, AccountTotalMessages int
	AccountBytes, AccountTotalBytes       int64

	// Rate is octets a second since the run began; Left is the time that the
	// rest takes at that rate, 0 where nothing can be said.
	Rate float64
	Left time.Duration
}

// Waiting says why a run pauses, and for how long.
type Waiting struct {
	Mailbox string
	For     time.Duration
	Reason  string
}

// emitter calls the functions of Events, one at a time.
type emitter struct {
	mu stdsync.Mutex // held while a function runs: it serialises the calls
	ev Events
}

func (e *emitter) started(v Started)      { emit(&e.mu, e.ev.Started, v) }
func (e *emitter) mailbox(v MailboxEvent) { emit(&e.mu, e.ev.Mailbox, v) }
func (e *emitter) progress(v Progress)    { emit(&e.mu, e.ev.Progress, v) }
func (e *emitter) waiting(v Waiting)      { emit(&e.mu, e.ev.Waiting, v) }

func emit[T any](mu *stdsync.Mutex, f func(T), v T) {
	if f == nil {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	f(v)
}
