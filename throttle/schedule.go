package throttle

// When what is allowed.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Schedule is a list of windows. The first that holds the present time counts;
// outside of all there are no limits but those that always hold.
type Schedule []Window

// Window is a part of the week with a budget of its own. Its times are what a
// clock in Zone shows, so that it begins at the hour that people expect before
// and after a change to daylight-saving time.
type Window struct {
	// Days are those on which the window begins; none means all.
	Days []time.Weekday
	// From and To are times of day, as durations since midnight on a clock. A
	// window whose To is not after its From ends on the next day; the whole day
	// is from 0 to 24 hours.
	From, To time.Duration
	// Zone is UTC if nil.
	Zone *time.Location

	// Budget holds for each host while the window lasts.
	Budget Budget
	// Stop means that nothing may be done while it lasts.
	Stop bool
}

// holds reports whether a time lies in the window.
func (w *Window) holds(now time.Time) bool {
	local := now.In(w.zone())
	clock := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute + time.Duration(local.Second())*time.Second
	today := local.Weekday()
	if w.From < w.To {
		return w.begins(today) && w.From <= clock && clock < w.To
	}
	return w.begins(today) && clock >= w.From || w.begins((today+6)%7) && clock < w.To
}

func (w *Window) begins(day time.Weekday) bool {
	for _, d := range w.Days {
		if d == day {
			return true
		}
	}
	return len(w.Days) == 0
}

func (w *Window) zone() *time.Location {
	if w.Zone == nil {
		return time.UTC
	}
	return w.Zone
}

// at returns the window that counts, or nil.
func (s Schedule) at(now time.Time) *Window {
	for i := range s {
		if s[i].holds(now) {
			return &s[i]
		}
	}
	return nil
}

// until returns when the window that counts may be another one; the zero time
// if there are none.
func (s Schedule) until(now time.Time) time.Time {
	present := s.at(now)
	var edges []time.Time
	for i := range s {
		w := &s[i]
		y, m, d := now.In(w.zone()).Date()
		for day := range 9 {
			for _, clock := range []time.Duration{w.From, w.To} {
				edges = append(edges, time.Date(y, m, d+day, 0, 0, int(clock/time.Second), 0, w.zone()))
			}
		}
	}
	var first time.Time
	for _, e := range edges {
		if e.After(now) && s.at(e) != present && (first.IsZero() || e.Before(first)) {
			first = e
		}
	}
	return first
}

func (w *Window) validate() error {
	if w.From < 0 || w.To < 0 || w.From >= 24*time.Hour || w.To > 24*time.Hour || w.From%time.Second != 0 || w.To%time.Second != 0 {
		return errors.New("the times of a window are from 00:00 to 24:00, in whole seconds")
	}
	return w.Budget.validate()
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseSchedule reads a schedule, a window a line:
//
//	# days    time         zone           limits
//	mon-fri   08:00-18:00  Europe/Berlin  stop
//	sat,sun   08:00-18:00  Europe/Berlin  connections=1 rate=200kB/s
//	daily     22:00-06:00  Europe/Berlin  full
//
// Days are names of three letters, ranges and lists of them, or "daily". The
// limits are "stop", "full", or some of connections=N, rate=, read= and write=
// (octets, as in 2MB/s), messages=, commands= and logins= (as in 10/s). The
// first line that fits counts; what is after a # is a comment.
func ParseSchedule(r io.Reader) (Schedule, error) {
	var s Schedule
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		w, err := parseWindow(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		s = append(s, w)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(s) == 0 {
		return nil, errors.New("there is no window in it")
	}
	return s, nil
}

func parseWindow(words []string) (w Window, err error) {
	if len(words) < 4 {
		return w, errors.New(`a window is days, time, zone and limits, as in "mon-fri 08:00-18:00 Europe/Berlin stop"`)
	}
	if w.Days, err = parseDays(words[0]); err != nil {
		return w, err
	}
	if w.From, w.To, err = parseSpan(words[1]); err != nil {
		return w, err
	}
	if w.Zone, err = parseZone(words[2]); err != nil {
		return w, err
	}
	if len(words) == 4 && words[3] == "stop" {
		w.Stop = true
		return w, nil
	}
	if len(words) == 4 && words[3] == "full" {
		return w, nil
	}
	for _, word := range words[3:] {
		if err := w.Budget.parse(word); err != nil {
			return w, err
		}
	}
	return w, nil
}

// parse reads one limit, such as "rate=2MB/s".
func (b *Budget) parse(word string) (err error) {
	key, value, ok := strings.Cut(word, "=")
	if !ok {
		return fmt.Errorf(`%q is no limit; there are "stop" and "full", which stand alone, and limits such as connections=1 and rate=200kB/s`, word)
	}
	switch key {
	case "connections":
		b.Connections, err = strconv.Atoi(value)
		if err != nil || b.Connections < 1 || b.Connections > 10_000 {
			err = fmt.Errorf("%q is no number of connections", value)
		}
	case "rate":
		b.Read, err = ParseRate(value)
		b.Write = b.Read
	case "read":
		b.Read, err = ParseRate(value)
	case "write":
		b.Write, err = ParseRate(value)
	case "messages":
		b.Messages, err = ParseCount(value)
	case "commands":
		b.Commands, err = ParseCount(value)
	case "logins":
		b.LogIns, err = ParseCount(value)
	default:
		err = fmt.Errorf("there is no limit %q; there are connections, rate, read, write, messages, commands and logins", key)
	}
	return err
}

func parseDays(text string) (days []time.Weekday, err error) {
	if strings.EqualFold(text, "daily") {
		return nil, nil
	}
	day := func(name string) (int, error) {
		for i, d := range weekdays {
			if strings.EqualFold(d, name) {
				return i, nil
			}
		}
		return 0, fmt.Errorf(`%q is no day: mon, tue, wed, thu, fri, sat, sun, or "daily"`, name)
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := day(from)
		if err != nil {
			return nil, err
		}
		last := first
		if ranged {
			if last, err = day(to); err != nil {
				return nil, err
			}
		}
		for d := first; ; d = (d + 1) % 7 {
			days = append(days, time.Weekday(d))
			if d == last {
				break
			}
		}
	}
	return days, nil
}

// parseSpan reads "22:00-06:00".
func parseSpan(text string) (from, to time.Duration, err error) {
	a, b, ok := strings.Cut(text, "-")
	if ok {
		if from, err = parseClock(a); err == nil {
			to, err = parseClock(b)
		}
	}
	if !ok || err != nil || from == 24*time.Hour {
		return 0, 0, fmt.Errorf("%q is no time such as 22:00-06:00", text)
	}
	return from, to, nil
}

func parseClock(text string) (time.Duration, error) {
	h, m, ok := strings.Cut(text, ":")
	hour, err1 := strconv.ParseUint(h, 10, 8)
	minute, err2 := strconv.ParseUint(m, 10, 8)
	d := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
	if !ok || err1 != nil || err2 != nil || len(m) != 2 || minute > 59 || d > 24*time.Hour {
		return 0, fmt.Errorf("%q is no time of day", text)
	}
	return d, nil
}

func parseZone(text string) (*time.Location, error) {
	if text == "" {
		return nil, errors.New("the time zone is missing, such as UTC or Europe/Berlin")
	}
	zone, err := time.LoadLocation(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone that this system knows, such as UTC or Europe/Berlin", text)
	}
	return zone, nil
}

// Trickle is what [OffPeak] leaves for the rest of the day: a connection, and
// 100 kB a second.
var Trickle = Budget{Connections: 1, Read: 100e3, Write: 100e3}

// OffPeak reads a time without limits, such as "22:00-06:00 Europe/Berlin".
// Outside of it a [Trickle] goes.
func OffPeak(text string) (Schedule, error) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return nil, fmt.Errorf(`%q is no time and zone such as "22:00-06:00 Europe/Berlin"`, text)
	}
	from, to, err := parseSpan(words[0])
	if err != nil {
		return nil, err
	}
	zone, err := parseZone(words[1])
	if err != nil {
		return nil, err
	}
	return Schedule{
		{From: from, To: to, Zone: zone},
		{To: 24 * time.Hour, Zone: zone, Budget: Trickle},
	}, nil
}
