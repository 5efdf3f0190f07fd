// What a line of IMAP or POP3 asks for, or brings.

package mailclient

import (
	"bytes"
	"strconv"
	"strings"
)

// imapCommand counts a line of a client's.
func imapCommand(t *Traffic, line []byte) {
	words := strings.Fields(strings.ToUpper(string(line)))
	if len(words) < 2 {
		return
	}
	words = words[1:] // without the tag
	if words[0] == "UID" {
		words = words[1:]
	}
	switch {
	case len(words) == 0:
	case words[0] == "APPEND":
		t.Appends++
	case words[0] == "STORE" && len(words) > 2:
		n := setSize(words[1])
		if strings.Contains(strings.Join(words[2:], " "), `\DELETED`) {
			t.Deletes += n
		} else {
			t.Stores += n
		}
	}
}

// imapAnswer counts a line of a server's.
func imapAnswer(t *Traffic, line []byte) {
	t.Bodies += bytes.Count(line, []byte("BODY[] ")) + bytes.Count(line, []byte("RFC822 {"))
	t.Headers += bytes.Count(line, []byte("BODY[HEADER")) + bytes.Count(line, []byte("RFC822.HEADER "))
}

// setSize is how many messages a set names, each of whose ranges has an end.
func setSize(set string) int {
	n := 0
	for part := range strings.SplitSeq(set, ",") {
		from, to, isRange := strings.Cut(part, ":")
		if !isRange {
			n++
			continue
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if errA != nil || errB != nil {
			n++ // "*": it names one at least
			continue
		}
		n += max(a, b) - min(a, b) + 1
	}
	return n
}

// popCommand counts a line of a client's. TOP with lines is how fetchmail
// retrieves what it leaves on the server.
func popCommand(t *Traffic, line []byte) {
	words := strings.Fields(strings.ToUpper(string(line)))
	switch {
	case len(words) < 2:
	case words[0] == "RETR", words[0] == "TOP" && len(words) > 2 && words[2] != "0":
		t.Bodies++
	case words[0] == "TOP":
		t.Headers++
	case words[0] == "DELE":
		t.Deletes++
	}
}
