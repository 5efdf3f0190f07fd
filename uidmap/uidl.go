package uidmap

// This file writes and reads the map from POP3 unique-ids to the UIDs of a
// mailbox.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// UIDLEntry is a message with the unique-id that it had over POP3 at the source
// and the UID that it has in a mailbox of the target.
type UIDLEntry struct {
	UIDL mailhaul.UIDL
	UID  mailhaul.UID
}

// UIDLMap says which message of a mailbox had which unique-id.
//
// Its text form is stable, so that scripts may rely on it: lines that end with
// LF, in UTF-8. The first is
//
//	mailhaul uidl map 1
//
// where 1 is the version of the form. Then follow
//
//	uidvalidity N
//	mailbox "NAME"
//
// with the name as the target's protocol has it, quoted as a Go string, and a
// line for each message, in the order of the entries:
//
//	UID UIDL
//
// with one blank between. A UIDL has no blanks in it. Lines that begin with "#"
// are comments, and empty lines are passed over.
type UIDLMap struct {
	Mailbox     string // the name on the wire
	UIDValidity mailhaul.UIDValidity
	Entries     []UIDLEntry
}

const uidlMapHeader = "mailhaul uidl map 1"

// ValidUIDL reports whether a unique-id is what RFC 1939 section 7 allows: 1 to
// 70 octets in the range 0x21 to 0x7E.
func ValidUIDL(uidl mailhaul.UIDL) bool { return validUIDL(string(uidl)) }

// WriteTo writes the map in its text form. It returns an error, and has written
// nothing, where an entry has the UID 0 or a UIDL that is none.
func (m UIDLMap) WriteTo(w io.Writer) (int64, error) {
	for _, p := range m.Entries {
		if p.UID == 0 || !ValidUIDL(p.UIDL) {
			return 0, fmt.Errorf("uidmap: UID %d with the UIDL %.100q cannot be written", p.UID, string(p.UIDL))
		}
	}
	b := bufio.NewWriter(w)
	n, _ := fmt.Fprintf(b, "%s\nuidvalidity %d\nmailbox %q\n", uidlMapHeader, m.UIDValidity, m.Mailbox)
	total := int64(n)
	for _, p := range m.Entries {
		n, _ := fmt.Fprintf(b, "%d %s\n", p.UID, p.UIDL)
		total += int64(n)
	}
	return total, b.Flush()
}

// ReadUIDLMap reads what WriteTo has written.
func ReadUIDLMap(r io.Reader) (UIDLMap, error) {
	var m UIDLMap
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<10)
	number, begun := 0, false
	for in.Scan() {
		number++
		line := in.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if !begun {
			if line != uidlMapHeader {
				return UIDLMap{}, fmt.Errorf("uidmap: line %d is not %q", number, uidlMapHeader)
			}
			begun = true
			continue
		}
		if err := m.readLine(line); err != nil {
			return UIDLMap{}, fmt.Errorf("uidmap: line %d: %w", number, err)
		}
	}
	switch err := in.Err(); {
	case err != nil:
		return UIDLMap{}, fmt.Errorf("uidmap: line %d: %w", number+1, err)
	case !begun:
		return UIDLMap{}, errors.New("uidmap: this is no map of UIDLs")
	}
	return m, nil
}

func (m *UIDLMap) readLine(line string) error {
	word, value, _ := strings.Cut(line, " ")
	switch word {
	case "uidvalidity":
		n, err := strconv.ParseUint(value, 10, 32)
		m.UIDValidity = mailhaul.UIDValidity(n)
		return err
	case "mailbox":
		name, err := strconv.Unquote(value)
		m.Mailbox = name
		return err
	}
	uid, err := strconv.ParseUint(word, 10, 32)
	if err != nil || uid == 0 || !ValidUIDL(mailhaul.UIDL(value)) {
		return errors.New("neither a UID with a UIDL nor anything else that belongs here")
	}
	m.Entries = append(m.Entries, UIDLEntry{UIDL: mailhaul.UIDL(value), UID: mailhaul.UID(uid)})
	return nil
}
