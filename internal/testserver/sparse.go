// An account whose UIDs are as years of use leave them.

package testserver

import (
	"fmt"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
)

// UIDLs is a kind of POP3 unique-ids.
type UIDLs string

// The kinds of UIDLs. What the first two are made of is what an IMAP program
// knows a message by.
const (
	// UIDLsDovecot are "%08Xu%08Xv", Dovecot's default.
	UIDLsDovecot UIDLs = "dovecot"
	// UIDLsCyrus are "uidvalidity.uid".
	UIDLsCyrus UIDLs = "cyrus"
	// UIDLsGmail are "GmailId" and 16 digits, which follow from nothing.
	UIDLsGmail UIDLs = "gmail"
	// UIDLsOdd have quotes, tildes and whatever else is allowed.
	UIDLsOdd UIDLs = "odd"
)

// AllUIDLs are the kinds of UIDLs.
func AllUIDLs() []UIDLs { return []UIDLs{UIDLsDovecot, UIDLsCyrus, UIDLsGmail, UIDLsOdd} }

// Stored reports whether UIDLs of the kind follow from nothing else and have
// to be kept for each message.
func (k UIDLs) Stored() bool { return k == UIDLsGmail || k == UIDLsOdd }

// Format is the line of a Dovecot's configuration that makes such UIDLs, or
// nothing where it is not needed.
func (k UIDLs) Format() []string {
	if k == UIDLsCyrus {
		return []string{"pop3_uidl_format = %v.%u"}
	}
	return nil
}

// uidl is the UIDL of a message, or none where the format makes it.
func (k UIDLs) uidl(i int) mailhaul.UIDL {
	switch k {
	case UIDLsGmail:
		return mailhaul.UIDL(fmt.Sprintf("GmailId%016x", uint64(i+1)*0x9e3779b97f4a7c15))
	case UIDLsOdd:
		return mailhaul.UIDL(fmt.Sprintf([]string{`"%d"~`, `~%d'+"`, `{%d}|~!#$%%&`, `<%d@mail.example.org>~`, `%d;,.?=^_`}[i%5], i))
	}
	return ""
}

// Sparse says what an account is like.
type Sparse struct {
	// Messages is how many there are in its ten folders, one of which is empty.
	Messages int

	// GapEvery is after how many messages UIDs are missing. Default 20.
	GapEvery int

	// Gaps are how many UIDs are missing, in turn. Default: from 1 to 69,999.
	Gaps []int

	// UIDLs is the kind that messages in the INBOX have. Default UIDLsDovecot.
	UIDLs UIDLs

	// MaxSize is of a message, in octets. Default: that of corpus.Spec.
	MaxSize int
}

// Plant makes the mailboxes, the same each time. No message in them is marked
// as deleted.
func (s Sparse) Plant() []Planted {
	if s.GapEvery == 0 {
		s.GapEvery = 20
	}
	if s.Gaps == nil {
		s.Gaps = []int{1, 8, 69_999, 2, 350, 1, 12_000}
	}
	var planted []Planted
	for n, box := range corpus.Generate(corpus.Spec{Seed: 6, Messages: s.Messages, MaxSize: s.MaxSize}) {
		// Each has a UIDVALIDITY of its own: far below and above the time of
		// day, which servers take when they choose themselves.
		p := Planted{Mailbox: box, UIDValidity: mailhaul.UIDValidity(1_234_567 + n*300_000_000)}
		uid := mailhaul.UID(5)
		for i := range box.Len {
			if i > 0 && i%s.GapEvery == 0 {
				uid += mailhaul.UID(s.Gaps[(i/s.GapEvery+n)%len(s.Gaps)])
			}
			k := Known{UID: uid}
			if box.Name() == "INBOX" {
				k.UIDL = s.UIDLs.uidl(i)
			}
			p.Known = append(p.Known, k)
			uid++
		}
		p.UIDNext = uid + 11 // the last ones were deleted
		// A program that mirrors both ways would expunge it.
		at := p.At
		p.At = func(i int) corpus.Message {
			m := at(i)
			m.Flags = slices.DeleteFunc(slices.Clone(m.Flags), func(f mailhaul.Flag) bool { return f == mailhaul.FlagDeleted })
			return m
		}
		planted = append(planted, p)
	}
	return planted
}
