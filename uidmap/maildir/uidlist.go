// The lists of UIDs: dovecot-uidlist, and courierimapuiddb, which is Dovecot's
// first version.

package maildir

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// Bounds on a list of UIDs: no server writes one that is larger.
const (
	maxListLine   = 4096
	maxListOctets = 1 << 30
	maxUID        = 1<<32 - 2 // Dovecot calls the next one too high
)

// uidList says which message has which UID.
type uidList struct {
	validity mailhaul.UIDValidity
	next     mailhaul.UID // above every UID in entries
	header   []string     // fields of Dovecot's header besides V and N, as they came
	entries  []uidEntry   // ascending by UID, each name once
}

// uidEntry is one message.
type uidEntry struct {
	uid  mailhaul.UID
	base string   // file name without what follows the colon
	ext  []string // Dovecot's fields, each with its key, as they came
}

// parseUIDList reads a list, or says what is wrong with it. A list that ends in
// the middle of a line, as one that a server was appending to when it died, is
// read to the line before, which is what Dovecot does.
func parseUIDList(text []byte) (*uidList, error) {
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(make([]byte, 0, maxListLine), maxListLine)
	in.Split(wholeLines)
	if !in.Scan() {
		if in.Err() != nil {
			return nil, fmt.Errorf("line 1: %w", in.Err())
		}
		return nil, errors.New("it has no header")
	}
	l := &uidList{}
	version, rest, _ := strings.Cut(in.Text(), " ")
	var err error
	switch version {
	case "1":
		err = l.headerV1(rest)
	case "3":
		err = l.headerV3(rest)
	default:
		err = fmt.Errorf("version %.10q is not known", version)
	}
	if err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	number, ascending := 1, true
	last := mailhaul.UID(0)
	for in.Scan() {
		number++
		e, err := parseEntry(in.Text(), version == "3")
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if e.uid <= last {
			if version == "3" {
				return nil, fmt.Errorf("line %d: UID %d follows %d", number, e.uid, last)
			}
			ascending = false
		}
		last = e.uid
		if e.uid >= l.next {
			l.next = e.uid + 1
		}
		l.entries = append(l.entries, e)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	if !ascending { // Courier does not care
		slices.SortStableFunc(l.entries, func(a, b uidEntry) int { return compareUIDs(a.uid, b.uid) })
		for i := 1; i < len(l.entries); i++ {
			if l.entries[i].uid == l.entries[i-1].uid {
				return nil, fmt.Errorf("UID %d is there twice", l.entries[i].uid)
			}
		}
	}
	l.lastOfEach()
	return l, nil
}

func compareUIDs(a, b mailhaul.UID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// lastOfEach keeps, of entries with the same name, the last: a message that was
// moved away and came back has a new UID.
func (l *uidList) lastOfEach() {
	seen := make(map[string]bool, len(l.entries))
	kept := len(l.entries)
	for i := len(l.entries) - 1; i >= 0; i-- {
		if !seen[l.entries[i].base] {
			seen[l.entries[i].base] = true
			kept--
			l.entries[kept] = l.entries[i]
		}
	}
	l.entries = l.entries[kept:]
}

// wholeLines is bufio.ScanLines without the CR and without a last line that
// does not end.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

func (l *uidList) headerV1(rest string) error {
	validity, next, _ := strings.Cut(rest, " ")
	v, err := strconv.ParseUint(validity, 10, 32)
	n, err2 := strconv.ParseUint(next, 10, 32)
	if err != nil || err2 != nil || v == 0 || n == 0 {
		return errors.New("the header holds no UIDVALIDITY and UIDNEXT")
	}
	l.validity, l.next = mailhaul.UIDValidity(v), mailhaul.UID(n)
	return nil
}

func (l *uidList) headerV3(rest string) error {
	for field := range strings.FieldsSeq(rest) {
		switch key, value := field[0], field[1:]; key {
		case 'V', 'N':
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil || n == 0 {
				return fmt.Errorf("%.20q is no number", field)
			}
			if key == 'V' {
				l.validity = mailhaul.UIDValidity(n)
			} else {
				l.next = mailhaul.UID(n)
			}
		default:
			l.header = append(l.header, field)
		}
	}
	if l.validity == 0 || l.next == 0 {
		return errors.New("the header holds no UIDVALIDITY (V) or no UIDNEXT (N)")
	}
	return nil
}

func parseEntry(line string, extended bool) (uidEntry, error) {
	uid, rest, _ := strings.Cut(line, " ")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil || n == 0 || n > maxUID || uid[0] == '+' {
		return uidEntry{}, fmt.Errorf("%.20q is no UID", uid)
	}
	e := uidEntry{uid: mailhaul.UID(n)}
	rest = strings.TrimLeft(rest, " ")
	for extended && rest != "" && rest[0] != ':' {
		var field string
		field, rest, _ = strings.Cut(rest, " ")
		rest = strings.TrimLeft(rest, " ")
		if field[0] < 'A' || field[0] > 'Z' {
			return uidEntry{}, fmt.Errorf("%.20q is no field", field)
		}
		e.ext = append(e.ext, field)
	}
	if extended {
		rest = strings.TrimPrefix(rest, ":")
	}
	// Old lists of Dovecot may hold the flags.
	e.base, _, _ = strings.Cut(rest, ":")
	if e.base == "" || strings.ContainsAny(e.base, "/\x00") {
		return uidEntry{}, fmt.Errorf("%.60q is no file name", rest)
	}
	return e, nil
}

// formatDovecot returns the list in version 3.
func (l *uidList) formatDovecot() []byte {
	b := make([]byte, 0, 64*len(l.entries)+128)
	b = append(b, "3 V"...)
	b = strconv.AppendUint(b, uint64(l.validity), 10)
	b = append(b, " N"...)
	b = strconv.AppendUint(b, uint64(l.next), 10)
	for _, field := range l.header {
		b = append(append(b, ' '), field...)
	}
	b = append(b, '\n')
	for _, e := range l.entries {
		b = strconv.AppendUint(b, uint64(e.uid), 10)
		for _, field := range e.ext {
			b = append(append(b, ' '), field...)
		}
		b = append(append(append(b, " :"...), e.base...), '\n')
	}
	return b
}

// formatCourier returns the list in version 1.
func (l *uidList) formatCourier() []byte {
	b := make([]byte, 0, 48*len(l.entries)+32)
	b = fmt.Appendf(b, "1 %d %d\n", l.validity, l.next)
	for _, e := range l.entries {
		b = strconv.AppendUint(b, uint64(e.uid), 10)
		b = append(append(append(b, ' '), e.base...), '\n')
	}
	return b
}

// add appends an entry, whose UID is at or above next.
func (l *uidList) add(e uidEntry) {
	l.entries = append(l.entries, e)
	l.next = e.uid + 1
}

// clone returns a list that can be added to without changing l.
func (l *uidList) clone() *uidList {
	c := *l
	c.entries = slices.Clone(l.entries)
	return &c
}
