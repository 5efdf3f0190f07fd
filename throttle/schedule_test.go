package throttle

import (
	"strings"
	"testing"
	"time"
)

func berlin(t *testing.T) *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestWindows(t *testing.T) {
	s, err := ParseSchedule(strings.NewReader(`
# a comment
mon-fri 08:00-18:00 Europe/Berlin stop
fri 22:00-06:00 Europe/Berlin connections=1 rate=200kB/s messages=600/min  # into Saturday
sat,sun 00:00-24:00 Europe/Berlin full
daily 22:00-06:00 UTC read=1MB/s logins=1/s commands=3600/h
`))
	if err != nil {
		t.Fatal(err)
	}
	zone := berlin(t)
	for _, tt := range []struct {
		when   string
		window int
	}{
		{"2024-05-06 08:00", 0}, {"2024-05-06 07:59", 3}, {"2024-05-06 09:00", 0}, {"2024-05-06 17:59", 0}, {"2024-05-06 18:00", -1}, // Monday
		{"2024-05-10 22:00", 1}, {"2024-05-11 05:59", 1}, {"2024-05-11 06:00", 2}, {"2024-05-12 23:59", 2},
		{"2024-05-13 00:30", 3}, {"2024-05-13 07:59", 3}, {"2024-05-13 08:00", 0},
		// The clock goes from 2:00 to 3:00 on 31 March, and back on 27 October.
		{"2024-03-29 23:00", 1}, {"2024-03-31 03:30", 2}, {"2024-04-01 08:00", 0}, {"2024-10-28 08:00", 0},
	} {
		now, err := time.ParseInLocation("2006-01-02 15:04", tt.when, zone)
		if err != nil {
			t.Fatal(err)
		}
		got := -1
		for i := range s {
			if s.at(now) == &s[i] {
				got = i
			}
		}
		if got != tt.window {
			t.Errorf("%s: window %d, not %d", tt.when, got, tt.window)
		}
	}
	if b := s[1].Budget; b.Connections != 1 || b.Read != 200e3 || b.Write != 200e3 || b.Messages != 10 {
		t.Errorf("%+v", b)
	}
	if b := s[3].Budget; b.Read != 1e6 || b.Write != 0 || b.LogIns != 1 || b.Commands != 1 {
		t.Errorf("%+v", b)
	}
}

// TestDaylightSaving: a window is as long as a clock on the wall makes it.
func TestDaylightSaving(t *testing.T) {
	zone := berlin(t)
	s := Schedule{{From: 22 * time.Hour, To: 6 * time.Hour, Zone: zone}}
	for _, tt := range []struct {
		evening time.Time
		long    time.Duration
	}{
		{time.Date(2024, 3, 29, 22, 0, 0, 0, zone), 8 * time.Hour},
		{time.Date(2024, 3, 30, 22, 0, 0, 0, zone), 7 * time.Hour},
		{time.Date(2024, 10, 26, 22, 0, 0, 0, zone), 9 * time.Hour},
	} {
		if s.at(tt.evening) == nil || s.at(tt.evening.Add(-time.Second)) != nil {
			t.Errorf("%v is not the beginning", tt.evening)
		}
		if d := s.until(tt.evening).Sub(tt.evening); d != tt.long {
			t.Errorf("the window of %v lasts %v", tt.evening, d)
		}
		end := tt.evening.Add(tt.long)
		if s.at(end.Add(-time.Second)) == nil || s.at(end) != nil {
			t.Errorf("%v is not the end", end)
		}
	}
}

func TestOffPeak(t *testing.T) {
	s, err := OffPeak("22:00-06:00 Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	zone := berlin(t)
	if w := s.at(time.Date(2024, 5, 6, 23, 0, 0, 0, zone)); w == nil || w.Budget != (Budget{}) {
		t.Errorf("at night: %+v", w)
	}
	if w := s.at(time.Date(2024, 5, 6, 12, 0, 0, 0, zone)); w == nil || w.Budget != Trickle {
		t.Errorf("at noon: %+v", w)
	}
}

func TestScheduleMistakes(t *testing.T) {
	for _, text := range []string{
		"", "# nothing", "mon 08:00-18:00 UTC", "mond 08:00-18:00 UTC stop", "mon 8-18 UTC stop", "mon 08:00-25:00 UTC stop",
		"mon 08:60-18:00 UTC stop", "mon 24:00-18:00 UTC stop", "mon 08:00-18:00 Nowhere/Land stop", "mon 08:00-18:00 UTC slow",
		"mon 08:00-18:00 UTC stop full", "mon 08:00-18:00 UTC rate=fast", "mon 08:00-18:00 UTC connections=0",
		"mon 08:00-18:00 UTC speed=1MB/s", "mon 08:00-18:00 UTC messages=-1/s", "mon 08:00-18:00 UTC rate=1MB/fortnight",
	} {
		if s, err := ParseSchedule(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
	for _, text := range []string{"", "22:00-06:00", "22:00 Europe/Berlin", "22:00-06:00 Nowhere", "22:00-06:00 UTC UTC"} {
		if s, err := OffPeak(text); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{"500": 500, "20kB": 20e3, "2500MB": 2500e6, "2.5 GB": 25e8, "1GiB": 1 << 30, "3M": 3e6} {
		if n, err := ParseSize(text); err != nil || n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for text, want := range map[string]float64{"2MB/s": 2e6, "60kB/min": 1e3, "1MB": 1e6} {
		if n, err := ParseRate(text); err != nil || n != want {
			t.Errorf("%q: %f, %v", text, n, err)
		}
	}
	for text, want := range map[string]float64{"10/s": 10, "600/min": 10, "3600/h": 1, "0.5/s": 0.5} {
		if n, err := ParseCount(text); err != nil || n != want {
			t.Errorf("%q: %f, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "MB", "-1MB", "0", "1XB", "1e400", "NaN", "99999999TB"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
	for _, text := range []string{"", "/s", "0/s", "-1/s", "NaN/s", "Inf/s", "10/year"} {
		if n, err := ParseCount(text); err == nil {
			t.Errorf("%q: %f", text, n)
		}
	}
}

func TestPresets(t *testing.T) {
	for host, want := range map[string]string{
		"imap.gmail.com": "gmail", "IMAP.Gmail.com.": "gmail", "outlook.office365.com": "office365", "imap.mail.yahoo.com": "yahoo",
		"imap.aol.com": "yahoo", "imap.mail.me.com": "icloud", "imap.zoho.eu": "zoho", "secure.emailsrvr.com": "rackspace",
		"notgmail.com": "unknown host", "imap.gmail.com.evil.example": "unknown host", "localhost": "none", "127.0.0.1": "none", "::1": "none",
		"10.0.0.1": "unknown host",
	} {
		if p := ForHost(host); p.Name != want {
			t.Errorf("%s: %s", host, p.Name)
		}
	}
	for _, name := range Presets() {
		p, ok := Preset(name)
		if !ok || p.Account.Connections == 0 || p.Host.LogIns == 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if len(Presets()) < 12 {
		t.Error("presets are missing")
	}
}
