// A Ledger gives the octets of a Store their meaning, for one pair of accounts.

package checkpoint

import (
	"context"
	"iter"

	"github.com/mailhaul/mailhaul"
)

// Pair names a migration: whose mail comes from where, and goes where. It is
// the key under which a Store that holds many accounts keeps this one.
type Pair struct{ From, To mailhaul.Account }

type Ledger struct{}

func OpenLedger(ctx context.Context, s Store, p Pair) (*Ledger, error) { panic("soon") }

func (l *Ledger) Mailbox(ctx context.Context, wire string) (*MailboxLedger, error) { panic("soon") }

func (l *Ledger) Mailboxes(ctx context.Context) ([]string, error) { panic("soon") }

type MailboxLedger struct{}

func (m *MailboxLedger) State() MailboxState                                     { panic("soon") }
func (m *MailboxLedger) SetState(MailboxState)                                   { panic("soon") }
func (m *MailboxLedger) Put(ctx context.Context, records ...Record) error        { panic("soon") }
func (m *MailboxLedger) Forget(ctx context.Context, s mailhaul.UIDSet) error     { panic("soon") }
func (m *MailboxLedger) Get(context.Context, mailhaul.UID) (Record, bool, error) { panic("soon") }
func (m *MailboxLedger) Records(ctx context.Context, from mailhaul.UID) iter.Seq2[Record, error] {
	panic("soon")
}
func (m *MailboxLedger) Sets(ctx context.Context) (sources, targets mailhaul.UIDSet, err error) {
	panic("soon")
}
func (m *MailboxLedger) Intents() []Intent                { panic("soon") }
func (m *MailboxLedger) Begin(Intent) uint64              { panic("soon") }
func (m *MailboxLedger) MarkStored(id uint64)             { panic("soon") }
func (m *MailboxLedger) End(id uint64)                    { panic("soon") }
func (m *MailboxLedger) Reset(ctx context.Context) error  { panic("soon") }
func (m *MailboxLedger) Commit(ctx context.Context) error { panic("soon") }
func (m *MailboxLedger) Dirty() bool                      { panic("soon") }
