package pop3x

// What the maildrop holds: STAT, UIDL and LIST, which must agree.

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// entry is one message of a session's listing. Its number is its place, from 1.
type entry struct {
	uidl mailhaul.UIDL // "" where the server gives none
	size int64         // as LIST says
}

// parseStat reads the text of STAT's answer (RFC 1939 section 5).
func parseStat(text string) (count int, octets int64, err error) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return 0, 0, fmt.Errorf("STAT was answered with %s", quote(text))
	}
	n, err1 := parseNumber(words[0])
	o, err2 := parseNumber(words[1])
	if err1 != nil || err2 != nil || n > 1<<31-1 {
		return 0, 0, fmt.Errorf("STAT was answered with %s", quote(text))
	}
	return int(n), o, nil
}

var errNumber = errors.New("not a number")

// parseNumber reads digits and nothing else.
func parseNumber(text string) (int64, error) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, errNumber
		}
	}
	return strconv.ParseInt(text, 10, 64)
}

// parseEntry reads a line of LIST or UIDL: a number and what stands behind it.
func parseEntry(line string, count int) (number int, value string, err error) {
	digits, rest, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
	n, err := parseNumber(digits)
	if err != nil {
		return 0, "", fmt.Errorf("a line of the listing has no number: %s", quote(line))
	}
	if n < 1 || n > int64(count) {
		return 0, "", fmt.Errorf("a line of the listing has the number %d, and STAT counts %d messages", n, count)
	}
	return int(n), strings.Trim(rest, " \t"), nil
}

// parseSize reads the size of a line of LIST; servers may put more behind it.
func parseSize(value string) (int64, error) {
	size, _, _ := strings.Cut(value, " ")
	n, err := parseNumber(size)
	if err != nil {
		return 0, fmt.Errorf("a line of LIST has no size: %s", quote(value))
	}
	return n, nil
}

// maxUIDL is the length of unique-ids that is taken; RFC 1939 section 7 has 70.
const maxUIDL = 1000

// checkUIDL refuses what cannot be a unique-id at all. It is less strict than
// RFC 1939, which some servers break.
func checkUIDL(value string) error {
	switch {
	case value == "":
		return errors.New("a line of UIDL has no unique-id")
	case len(value) > maxUIDL:
		return fmt.Errorf("a unique-id has %d octets", len(value))
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("a unique-id holds control characters: %s", quote(value))
	}
	return nil
}

// proper reports whether a unique-id is what RFC 1939 allows.
func proper(uidl mailhaul.UIDL) bool {
	if len(uidl) > 70 {
		return false
	}
	for i := range len(uidl) {
		if uidl[i] < 0x21 || uidl[i] > 0x7e {
			return false
		}
	}
	return true
}

// readStat reads the answer to STAT.
func (c *conn) readStat() (count int, octets int64, err error) {
	c.phase = opList
	st, err := c.status()
	if err != nil {
		return 0, 0, err
	}
	if !st.ok {
		return 0, 0, c.failed(c.refused(st))
	}
	if count, octets, err = parseStat(st.text); err != nil {
		return 0, 0, c.failed(c.violation("%w", err))
	}
	if count > c.cfg.Limits.MaxMessages {
		return 0, 0, c.failed(c.violation("the maildrop has %d messages, more than Limits.MaxMessages", count))
	}
	return count, octets, nil
}

// readListing reads the answer to LIST or UIDL: each number from 1 to count
// exactly once. supported is false where the server refuses the command.
func (c *conn) readListing(what string, count int, got func(number int, value string) error) (supported bool, err error) {
	c.phase = opList
	st, err := c.status()
	if err != nil {
		return false, err
	}
	if !st.ok {
		if what == "LIST" || st.code == "SYS/TEMP" || st.code == "IN-USE" {
			return false, c.failed(c.refused(st))
		}
		return false, nil
	}
	seen, n := make([]bool, count+1), 0
	err = c.lines(count+1, func(line string) error {
		number, value, err := parseEntry(line, count)
		if err == nil && seen[number] {
			err = fmt.Errorf("the number %d is in the listing twice", number)
		}
		if err == nil {
			err = got(number, value)
		}
		if err != nil {
			return c.failed(c.violation("%s: %w", what, err))
		}
		seen[number] = true
		n++
		return nil
	})
	if err == nil && n != count {
		err = c.failed(c.violation("%s lists %d messages and STAT counts %d", what, n, count))
	}
	return true, err
}
