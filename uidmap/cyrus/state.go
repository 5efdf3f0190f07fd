package cyrus

// What the server says of a mailbox, and how it is said back with changes.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// state is a mailbox as SYNCGET MAILBOXES tells it. Everything that was told is
// sent back with each change: what is left out, the server takes for empty.
type state struct {
	all       value
	name      string // internal
	uniqueID  string
	partition string
	options   string
	lastUID   mailhaul.UID
	validity  mailhaul.UIDValidity
	modSeq    mailhaul.ModSeq
	crc       string // "0" where it is not known
	crcAnnot  string
}

// newPOP3UIDLs is the option of a mailbox whose UIDLs follow uidl_format;
// without it they are bare UIDs.
const newPOP3UIDLs = "P"

func newState(v value) (*state, error) {
	s := &state{all: v, crc: "0", crcAnnot: "0"}
	var bad []string
	number := func(key string, bits int) uint64 {
		m, _ := v.get(key)
		n, err := strconv.ParseUint(m.text, 10, bits)
		if err != nil {
			bad = append(bad, key)
		}
		return n
	}
	text := func(key string) string {
		m, ok := v.get(key)
		if !ok || m.kind > literal {
			bad = append(bad, key)
		}
		return m.text
	}
	s.name, s.uniqueID, s.partition, s.options = text("MBOXNAME"), text("UNIQUEID"), text("PARTITION"), text("OPTIONS")
	s.lastUID = mailhaul.UID(number("LAST_UID", 32))
	s.validity = mailhaul.UIDValidity(number("UIDVALIDITY", 32))
	s.modSeq = mailhaul.ModSeq(number("HIGHESTMODSEQ", 63))
	text("ACL")
	if m, ok := v.get("SYNC_CRC"); ok {
		s.crc = m.text
	}
	if m, ok := v.get("SYNC_CRC_ANNOT"); ok {
		s.crcAnnot = m.text
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("%w: it lacks %s", errSyntax, strings.Join(bad, ", "))
	}
	return s, nil
}

// intermediate reports whether the entry only holds other mailboxes.
func (s *state) intermediate() bool {
	m, ok := s.all.get("MBOXTYPE")
	return ok && strings.Contains(m.text, "i")
}

// get asks for the mailboxes with the given internal names. Those that do not
// exist are not returned.
func get(ctx context.Context, sess Session, names []string) ([]*state, error) {
	command := []byte("SYNCGET MAILBOXES (")
	for i, n := range names {
		if i > 0 {
			command = append(command, ' ')
		}
		command = appendString(command, n, false)
	}
	responses, err := do(ctx, sess, append(command, ')'))
	if err != nil {
		return nil, err
	}
	var found []*state
	for _, r := range responses {
		if !bytes.HasPrefix(r, []byte("MAILBOX ")) {
			continue
		}
		v, err := parse(r)
		if err != nil {
			return nil, err
		}
		s, err := newState(v)
		if err != nil {
			return nil, err
		}
		if !s.intermediate() {
			found = append(found, s)
		}
	}
	return found, nil
}

// do gives a command and waits for its answer.
func do(ctx context.Context, sess Session, command []byte) ([][]byte, error) {
	answer, err := sess.Send(ctx, bytes.NewReader(command))
	if err != nil {
		return nil, err
	}
	return answer(ctx)
}

// change is what is to be different of a mailbox.
type change struct {
	uniqueID string // another one replaces the mailbox, which must never have had mail
	validity mailhaul.UIDValidity
	lastUID  mailhaul.UID
	modSeq   mailhaul.ModSeq
}

// same is no change.
func (s *state) same() change { return change{s.uniqueID, s.validity, s.lastUID, s.modSeq} }

// changed returns the state that there is after a change.
func (s *state) changed(c change) *state {
	next := *s
	next.uniqueID, next.validity, next.lastUID, next.modSeq = c.uniqueID, c.validity, c.lastUID, c.modSeq
	next.crc, next.crcAnnot = "0", "0" // the server is asked to compare what is known only
	return &next
}

// command returns SYNCAPPLY MAILBOX with everything as it is, but for the
// change and the records, which are appended. Where the mailbox is another one
// by then the server refuses.
func (s *state) command(c change, records []byte) []byte {
	b := []byte("SYNCAPPLY MAILBOX %(")
	for _, v := range s.all.items {
		switch v.key {
		case "UNIQUEID":
			v.text = c.uniqueID
		case "UIDVALIDITY":
			v = number(v.key, uint64(c.validity))
		case "LAST_UID":
			v = number(v.key, uint64(c.lastUID))
		case "HIGHESTMODSEQ":
			v = number(v.key, uint64(c.modSeq))
		case "SYNC_CRC", "SYNC_CRC_ANNOT": // of what there will be; 0 is for not compared
			v = number(v.key, 0)
		case "RECORD", "SINCE_MODSEQ", "SINCE_CRC", "SINCE_CRC_ANNOT":
			continue
		}
		b = append(appendValue(b, v), ' ')
	}
	if c.uniqueID == s.uniqueID {
		b = fmt.Appendf(b, "SINCE_MODSEQ %d SINCE_CRC %s SINCE_CRC_ANNOT %s ", s.modSeq, s.crc, s.crcAnnot)
	}
	b = append(b, "RECORD ("...)
	b = append(b, records...)
	return append(b, "))"...)
}

func number(key string, n uint64) value {
	return value{kind: atom, key: key, text: strconv.FormatUint(n, 10)}
}

// codeOf returns what Cyrus calls the reason of a refusal, or nothing.
func codeOf(err error) string {
	if e, ok := errors.AsType[*mailhaul.Error](err); ok {
		return e.Code
	}
	return ""
}

// overtaken reports whether a change was refused because the mailbox had
// changed meanwhile: somebody delivered, or set a flag.
func overtaken(err error) bool {
	switch codeOf(err) {
	case "IMAP_SYNC_CHANGED", "IMAP_SYNC_CHECKSUM", "IMAP_MAILBOX_MOVED", "IMAP_MAILBOX_LOCKED":
		return true
	}
	return false
}
