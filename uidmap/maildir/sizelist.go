// Courier's list of what POP3 calls the messages of INBOX: courierpop3dsizelist.

package maildir

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// sizeList is courierpop3dsizelist.
type sizeList struct {
	version  int    // 2, or 3 where each entry says whether the message is in UTF-8
	next     uint64 // the number of the next message that gets one
	validity uint64
	entries  []sizeEntry // in Courier's order, by name
}

// sizeEntry is one message. Its UIDL is UID<n>-<validity>, UID<n> where the
// validity is 0, and the name of its file where n is 0.
type sizeEntry struct {
	name        string // with flags
	size        uint64
	n, validity uint64
	utf8        string // of version 3: what stands behind the last colon
}

func (e sizeEntry) base() string { return baseOf(e.name) }

func parseSizeList(text []byte) (*sizeList, error) {
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(make([]byte, 0, maxListLine), maxListLine)
	in.Split(wholeLines)
	if !in.Scan() {
		return nil, errors.Join(errors.New("it has no header"), in.Err())
	}
	l := &sizeList{}
	if n, err := fmt.Sscanf(in.Text(), "/%d %d %d", &l.version, &l.next, &l.validity); n < 2 || l.version != 2 && l.version != 3 {
		return nil, fmt.Errorf("line 1: not a header of version 2 or 3: %w", err)
	}
	number := 1
	for in.Scan() {
		number++
		e, ok := parseSize(in.Text(), l.version)
		if !ok {
			return nil, fmt.Errorf("line %d: %.60q is no entry", number, in.Text())
		}
		l.entries = append(l.entries, e)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	return l, nil
}

func parseSize(line string, version int) (e sizeEntry, ok bool) {
	rest, uid, found := cutLast(line, ' ')
	if !found {
		return e, false
	}
	name, size, found := cutLast(rest, ' ')
	if !found || name == "" || strings.ContainsAny(name, "/\x00") {
		return e, false
	}
	parts := strings.Split(uid, ":")
	if len(parts) != version {
		return e, false
	}
	var errs [3]error
	e.name = name
	e.size, errs[0] = strconv.ParseUint(size, 10, 64)
	e.n, errs[1] = strconv.ParseUint(parts[0], 10, 64)
	e.validity, errs[2] = strconv.ParseUint(parts[1], 10, 64)
	if version == 3 {
		e.utf8 = parts[2]
	}
	return e, errors.Join(errs[:]...) == nil
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func (l *sizeList) format() []byte {
	b := fmt.Appendf(nil, "/%d %d %d\n", l.version, l.next, l.validity)
	for _, e := range l.entries {
		b = fmt.Appendf(b, "%s %d %d:%d", e.name, e.size, e.n, e.validity)
		if l.version == 3 {
			b = append(append(b, ':'), e.utf8...)
		}
		b = append(b, '\n')
	}
	return b
}

// courierUIDL says how Courier is made to serve a unique-id: by a number and a
// validity, or by the name of the message's file where n is 0. Reason is not
// empty where there is no way.
func courierUIDL(uidl mailhaul.UIDL) (n, validity uint64, reason string) {
	if numbers, ok := strings.CutPrefix(string(uidl), "UID"); ok {
		a, b, two := strings.Cut(numbers, "-")
		n, ok := plainNumber(a)
		if ok && !two {
			return n, 0, ""
		}
		if v, ok2 := plainNumber(b); ok && ok2 {
			return n, v, ""
		}
	}
	switch {
	case !validUIDL(uidl):
		return 0, 0, fmt.Sprintf("%.80q is no unique-id of POP3", string(uidl))
	case strings.ContainsAny(string(uidl), "/:"):
		return 0, 0, fmt.Sprintf("Courier takes unique-ids from file names, which %q cannot be, for its slash or colon", string(uidl))
	case strings.ContainsAny(string(uidl), `'"+`):
		return 0, 0, fmt.Sprintf("Courier serves the quotes and plus signs of unique-ids in another form, as those of %q", string(uidl))
	case uidl[0] == '.':
		return 0, 0, fmt.Sprintf("Courier takes unique-ids from file names, and does not see files that begin with a dot, as %q", string(uidl))
	case leadingNumber(strings.TrimPrefix(string(uidl), "-")) > 1<<31-1:
		return 0, 0, fmt.Sprintf("Courier confuses files whose names begin with a number of more than 31 bits, as the unique-id %q does", string(uidl))
	}
	return 0, 0, ""
}

// plainNumber reads a number as Courier prints it.
func plainNumber(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return n, err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

// leadingNumber returns the number that a name begins with.
func leadingNumber(s string) uint64 {
	var n uint64
	for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		if n = n*10 + uint64(s[i]-'0'); n > 1<<40 {
			break
		}
	}
	return n
}

// compareNames compares the names of files in the order in which Courier's POP3
// lists them: by the number that they begin with, then by octets, of which the
// colon behind the name is one, so that msg10 comes before msg1.
func compareNames(a, b string) int {
	number := func(name string) int64 {
		if rest, minus := strings.CutPrefix(name, "-"); minus {
			return -int64(leadingNumber(rest))
		}
		return int64(leadingNumber(name))
	}
	return cmp.Or(cmp.Compare(number(a), number(b)), cmp.Compare(a+":", b+":"))
}

// validUIDL reports whether a unique-id is 1 to 70 octets in the range 0x21 to
// 0x7E (RFC 1939 section 7).
func validUIDL(u mailhaul.UIDL) bool {
	for i := range len(u) {
		if u[i] < 0x21 || u[i] > 0x7e {
			return false
		}
	}
	return len(u) >= 1 && len(u) <= 70
}
