package pop3x

// When a message arrived: POP3 does not say, so its header has to.

import (
	"bytes"
	"net/mail"
	"strings"
	"time"
)

// DateSource says what an INTERNALDATE was taken from.
type DateSource uint8

// The sources, the best first.
const (
	DateReceived DateSource = iota // the top Received line: when the server took it
	DateHeader                     // the Date field: when it was written
	DateNow                        // neither made sense: the time of the fetch
)

// earliest is when the first mail that still goes around was written; dates
// before it are those of machines without a clock.
var earliest = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// maxHeader is how much of a message is looked at for its header.
const maxHeader = 256 << 10

// DateOf returns when a message arrived, by its header: the date of its
// topmost Received line that has one, else its Date, else now. Dates before
// 1980, and those more than a day after now, count as missing. The octets may
// go on behind the header.
func DateOf(header []byte, now time.Time) (time.Time, DateSource) {
	sane := func(t time.Time, ok bool) bool {
		return ok && !t.Before(earliest) && !t.After(now.Add(24*time.Hour))
	}
	var date string
	dated := false
	for name, value := range fields(header) {
		switch {
		case strings.EqualFold(name, "Received"):
			if at := strings.LastIndexByte(value, ';'); at >= 0 {
				if t, ok := parseDate(value[at+1:]); sane(t, ok) {
					return t, DateReceived
				}
			}
		case !dated && strings.EqualFold(name, "Date"):
			date, dated = value, true
		}
	}
	if t, ok := parseDate(date); sane(t, ok) {
		return t, DateHeader
	}
	return now, DateNow
}

// fields yields the header's fields, unfolded, up to the first empty line.
func fields(header []byte) func(yield func(name, value string) bool) {
	return func(yield func(string, string) bool) {
		header = header[:min(len(header), maxHeader)]
		var name, value string
		have := false
		for line := range bytes.Lines(header) {
			text := strings.TrimRight(string(line), "\r\n")
			if text == "" {
				break
			}
			if text[0] == ' ' || text[0] == '\t' {
				if have && len(value) < 8<<10 {
					value += " " + strings.TrimLeft(text, " \t")
				}
				continue
			}
			if have && !yield(name, value) {
				return
			}
			name, value, have = strings.Cut(text, ":")
			name = strings.TrimRight(name, " \t")
			value = strings.Trim(value, " \t")
		}
		if have {
			yield(name, value)
		}
	}
}

// layouts are forms of dates that net/mail does not know and old mailers wrote.
var layouts = []string{
	"Mon, 2 Jan 2006 15:04:05",
	"2 Jan 2006 15:04:05",
	"Mon, 2-Jan-2006 15:04:05 -0700",
	"Mon Jan 2 15:04:05 2006",
	"Mon Jan 2 15:04:05 MST 2006",
	time.RFC3339,
}

// zones are the names that RFC 5322 section 4.3 gives an offset to. Package
// time takes any other name for UTC, and these too unless it is at home there.
var zones = map[string]string{
	"EST": "-0500", "EDT": "-0400", "CST": "-0600", "CDT": "-0500",
	"MST": "-0700", "MDT": "-0600", "PST": "-0800", "PDT": "-0700",
}

func parseDate(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > 200 {
		return time.Time{}, false
	}
	if at := strings.LastIndexByte(text, ' '); at > 0 && zones[strings.ToUpper(text[at+1:])] != "" {
		text = text[:at+1] + zones[strings.ToUpper(text[at+1:])]
	}
	t, err := mail.ParseDate(text)
	if err != nil {
		if at := strings.IndexByte(text, '('); at > 0 {
			text = strings.TrimSpace(text[:at])
		}
		for _, layout := range layouts {
			if t, err = time.Parse(layout, text); err == nil {
				break
			}
		}
	}
	if err != nil {
		return time.Time{}, false
	}
	// A name of a zone becomes its offset, so that the date can be written.
	_, offset := t.Zone()
	if offset%60 != 0 || offset < -24*3600+1 || offset > 24*3600-1 {
		return t.UTC(), true
	}
	return t.In(time.FixedZone("", offset)), true
}
