package imapx

import (
	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/imapx/internal/wire"
)

// statusItems are the items of STATUS that are asked for.
func (c *conn) statusItems() string {
	items := "(MESSAGES UIDNEXT UIDVALIDITY"
	if c.can("CONDSTORE") || c.can("QRESYNC") {
		items += " HIGHESTMODSEQ"
	}
	if c.can("OBJECTID") { // RFC 8474
		items += " MAILBOXID"
	}
	return items + ")"
}

// statusCommand returns a command that asks for the state of a mailbox that is
// not selected (RFC 9051 section 6.3.11).
func (c *conn) statusCommand(wireName, items string, take func(*wire.MailboxStatus)) *command {
	cmd := c.command(opStatus, "STATUS ")
	cmd.enc.String(wireName).SP().Raw(items)
	cmd.wants = func(event any) bool {
		m, ok := event.(*wire.MailboxStatus)
		if ok {
			take(m)
		}
		return ok
	}
	return cmd
}

// newStatus returns the state that a STATUS response tells, or nil where it
// does not tell enough to be of use.
func newStatus(m *wire.MailboxStatus) *mailhaul.Status {
	if !m.HasMessages || m.UIDValidity == 0 {
		return nil
	}
	return &mailhaul.Status{
		Messages: m.Messages, UIDNext: m.UIDNext, UIDValidity: m.UIDValidity, HighestModSeq: m.HighestModSeq, MailboxID: m.MailboxID,
	}
}
