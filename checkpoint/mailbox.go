// A MailboxLedger is what is remembered of one mailbox: its state and intents
// are here, its records in mailbox_records.go, Commit in mailbox_commit.go.

package checkpoint

import (
	"fmt"
	"slices"
	"sync"

	"github.com/mailhaul/mailhaul"
)

// MailboxLedger is what is remembered of one mailbox of the source and of its
// copy on the target. Changes are staged: they are seen at once by all who
// read, and become durable together, by Commit. It is safe for concurrent use.
//
// A method that returns an error has changed nothing.
type MailboxLedger struct {
	ledger *Ledger
	wire   string
	key    []byte // of the head; prefix of the chunks' keys

	// committing is held, by having sent to it, by the Commit under way: a
	// mutex that can be waited for with a context.
	committing chan struct{}

	// mu protects all that follows. It is held while the Store is read, never
	// while it is written to.
	mu         sync.Mutex
	state      MailboxState
	dict       *dictionary
	intents    []Intent // ascending by ID
	lastIntent uint64

	// chunks holds those that are staged and a few that were read lately; all
	// others are in the Store only. recent lists the latter, oldest first.
	chunks map[uint32]*chunk
	recent []uint32

	// wiped is the generation of the last Reset that is not durable yet. Until
	// then nothing that the Store has of the mailbox counts.
	wiped uint64

	// generation counts changes; committed is the generation that is durable.
	// What was changed after it is staged.
	generation, committed uint64

	// stored is what the head in the Store says of the chunks in the Store,
	// shape.records too; the rest of shape is that of the chunks in memory and,
	// unless wiped, of those in the Store.
	stored totals
	shape  shape

	uidls *uidlTable // nil until it is asked for
}

// chunk is a chunk in memory.
type chunk struct {
	records    []Record // ascending by Source; replaced, never changed in place
	generation uint64   // of its last change; 0: as in the Store
	stored     bool     // the Store has it, as the last Commit left it,
	sum        uint32   // with this checksum
	count      int      // and that many records
}

func newMailboxLedger(l *Ledger, wire string) *MailboxLedger {
	return &MailboxLedger{
		ledger:     l,
		wire:       wire,
		committing: make(chan struct{}, 1),
		dict:       newDictionary(nil),
		chunks:     make(map[uint32]*chunk),
		shape:      freshShape,
	}
}

// load takes over what the Store says.
func (m *MailboxLedger) load(h head) {
	m.state = h.state
	m.dict = newDictionary(h.keywords)
	m.intents = h.intents
	m.lastIntent = h.lastIntent
	m.stored = h.chunks
	m.shape = h.shape
}

// damaged makes the Error for a value of this mailbox.
func (m *MailboxLedger) damaged(what string, err error) error {
	return damaged(m.ledger.store, fmt.Sprintf("%s, of mailbox %q", what, m.wire), err)
}

// staged says that something has been changed, and returns the generation. mu
// is held.
func (m *MailboxLedger) staged() uint64 {
	m.generation++
	return m.generation
}

// State returns the mailbox's state, the zero one for a mailbox that was never
// seen.
func (m *MailboxLedger) State() MailboxState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// SetState stages the mailbox's state.
func (m *MailboxLedger) SetState(s MailboxState) {
	s.SourceStatus.Flags, s.SourceStatus.AnyKeyword = nil, false
	s.TargetStatus.Flags, s.TargetStatus.AnyKeyword = nil, false
	m.mu.Lock()
	defer m.mu.Unlock()
	if equalStates(s, m.state) {
		return
	}
	m.state = s
	m.staged()
}

func equalStates(a, b MailboxState) bool {
	return a.Target == b.Target && a.SourceValidity == b.SourceValidity && a.TargetValidity == b.TargetValidity &&
		a.Explained == b.Explained && a.Complete == b.Complete && a.Departed == b.Departed &&
		a.SourceID == b.SourceID && a.TargetID == b.TargetID &&
		a.Imposed == b.Imposed && a.Proved == b.Proved &&
		equalStatus(a.SourceStatus, b.SourceStatus) && equalStatus(a.TargetStatus, b.TargetStatus)
}

func equalStatus(a, b mailhaul.Status) bool {
	return a.Messages == b.Messages && a.UIDNext == b.UIDNext && a.UIDValidity == b.UIDValidity && a.HighestModSeq == b.HighestModSeq
}

// Intents returns the intents that were begun and not ended, in the order in
// which they were begun.
func (m *MailboxLedger) Intents() []Intent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.intents)
}

// Begin stages an intent and returns the ID that it gave it, which was never
// another's.
func (m *MailboxLedger) Begin(i Intent) uint64 {
	var sources mailhaul.UIDSet
	for _, r := range i.Sources {
		sources.AddRange(r)
	}
	i.Sources = sources
	i.At = i.At.Round(0).UTC()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastIntent++
	i.ID = m.lastIntent
	m.intents = append(m.intents, i)
	m.staged()
	return i.ID
}

// MarkStored stages that the server stored an intent's messages without
// saying where. An ID that is not known is ignored.
func (m *MailboxLedger) MarkStored(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.intents {
		if m.intents[i].ID == id && !m.intents[i].Stored {
			m.intents[i].Stored = true
			m.staged()
		}
	}
}

// End stages that all is known of an intent's messages. An ID that is not
// known is ignored.
func (m *MailboxLedger) End(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.IndexFunc(m.intents, func(i Intent) bool { return i.ID == id }); i >= 0 {
		m.intents = slices.Delete(m.intents, i, i+1)
		m.staged()
	}
}

// Dirty reports whether anything is staged.
func (m *MailboxLedger) Dirty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation > m.committed
}
