package pop3x

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// scripted returns a conn that reads the given octets and nothing behind them.
func scripted(wire string) *conn {
	cfg := Config{Server: mailhaul.Server{Host: "h", User: "u"}}.withDefaults()
	near, far := net.Pipe()
	_ = far.Close()
	c := newConn(&cfg, &meter{}, 1, near, near, nil)
	c.in = bufio.NewReaderSize(strings.NewReader(wire), 8<<10)
	return c
}

func FuzzListing(f *testing.F) {
	for _, seed := range []string{"+OK\r\n1 a\r\n2 b\r\n.\r\n", "+OK\r\n.\r\n", "-ERR no\r\n", "+OK\r\n2 a\r\n1 b\r\n.\r\nrest", "+OK\r\n1 \r\n.\r\n", "+OK\r\n1 a\r\n1 a\r\n.\r\n", "+OK\r\n..1 a\r\n.\r\n"} {
		f.Add(seed, uint8(2))
	}
	f.Fuzz(func(t *testing.T, wire string, count uint8) {
		for _, what := range []string{"UIDL", "LIST"} {
			c := scripted(wire)
			got := make(map[int]string)
			supported, err := c.readListing(what, int(count), func(n int, value string) error {
				if _, twice := got[n]; twice || n < 1 || n > int(count) {
					t.Fatalf("%q yields the number %d", wire, n)
				}
				got[n] = value
				if what == "LIST" {
					size, err := parseSize(value)
					if err == nil && size < 0 {
						t.Fatalf("%q has the size %d", value, size)
					}
					return err
				}
				return checkUIDL(value)
			})
			if err == nil && supported && len(got) != int(count) {
				t.Fatalf("%q: %d of %d messages without an error", wire, len(got), count)
			}
			if _, ok := errors.AsType[*mailhaul.Error](err); err != nil && !ok {
				t.Fatalf("%v is no *mailhaul.Error", err)
			}
			if err == nil && supported && what == "UIDL" { // as it would be sent again
				again := "+OK\r\n"
				for n := 1; n <= int(count); n++ {
					again += fmt.Sprintf("%d %s\r\n", n, got[n])
				}
				if _, err := scripted(again+".\r\n").readListing(what, int(count), func(n int, value string) error {
					if value != got[n] {
						t.Fatalf("%q became %q", got[n], value)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func FuzzCapabilities(f *testing.F) {
	for _, seed := range []string{"+OK\r\nTOP\r\nSASL PLAIN LOGIN\r\nEXPIRE 0\r\nLOGIN-DELAY 10\r\n.\r\n", "-ERR\r\n", "+OK\r\nEXPIRENEVER\r\n.\r\n", "+OK\r\nLOGIN-DELAY 99999999999999999999 USER\r\n.\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire string) {
		caps, err := scripted(wire).readCapabilities()
		if err != nil {
			return
		}
		if d := caps.loginDelay(); d < 0 {
			t.Fatalf("a delay of %v", d)
		}
		caps.expireZero()
		for keyword := range caps {
			if keyword == "" || strings.ContainsAny(keyword, " \t") {
				t.Fatalf("the keyword %q", keyword)
			}
		}
	})
}

func FuzzStatus(f *testing.F) {
	for _, seed := range []string{"+OK", "-ERR [IN-USE] x", "+ok\t[X", "+ abc", "+", "+OKAY", "", "-ERR []"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		st, ok := parseStatus(line)
		if ok && st.ok && (len(line) < 3 || !strings.EqualFold(line[:3], "+OK")) {
			t.Fatalf("%q passes for a success", line)
		}
		count, octets, err := parseStat(line)
		if err == nil && (count < 0 || octets < 0) {
			t.Fatalf("%q: %d %d", line, count, octets)
		}
	})
}

func TestDateOf(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for _, tt := range []struct {
		header, date string
		from         DateSource
	}{
		{"Received: from a by b; Mon, 2 Jan 2023 15:04:05 +0100\r\nReceived: x; Sun, 1 Jan 2023 15:04:05 +0100\r\nDate: Sat, 31 Dec 2022 01:01:01 +0000\r\n\r\n", "2023-01-02T15:04:05+01:00", DateReceived},
		{"Received: from a\r\n\tby b (x; y)\r\n\t; Mon, 2 Jan 2023 15:04:05 -0330 (NST)\r\n\r\n", "2023-01-02T15:04:05-03:30", DateReceived},
		{"Received: no date here\r\nReceived: x; Sun, 1 Jan 2023 15:04:05 GMT\r\n\r\n", "2023-01-01T15:04:05Z", DateReceived},
		{"Received: x; Sun, 1 Jan 2093 15:04:05 GMT\r\nDate: 1 Feb 2003 04:05:06 -0800\r\n\r\n", "2003-02-01T04:05:06-08:00", DateHeader},
		{"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\n", "2026-05-04T03:02:01Z", DateNow},
		{"date : Mon, 02 Jan 2006 15:04:05 EST\n\nDate: no", "2006-01-02T15:04:05-05:00", DateHeader},
		{"Date: Mon Jan  2 15:04:05 2006\r\n\r\n", "2006-01-02T15:04:05Z", DateHeader},
		{"Date: Mon, 2 Jan 06 15:04:05 +0200\r\n\r\n", "2006-01-02T15:04:05+02:00", DateHeader},
		{"Subject: x\r\n\r\nDate: Mon, 2 Jan 2006 15:04:05 +0200\r\n", "2026-05-04T03:02:01Z", DateNow},
		{"", "2026-05-04T03:02:01Z", DateNow},
		{"\x00\xff:;;;\r\n", "2026-05-04T03:02:01Z", DateNow},
		{"Date: Mon, 2 Jan 2006 15:04:05 +9999\r\n\r\n", "", DateNow},
	} {
		date, from := DateOf([]byte(tt.header), now)
		if tt.date == "" {
			_ = date.Format(time.RFC1123Z)
			continue
		}
		require.Equal(t, tt.from, from, "%q", tt.header)
		require.Equal(t, tt.date, date.Format(time.RFC3339), "%q", tt.header)
	}
}

func TestRenumber(t *testing.T) {
	list := []entry{{"a", 1}, {"b", 2}, {"d", 3}, {"d", 4}, {"e", 5}}
	next := []entry{{"e", 5}, {"d", 4}, {"b", 9}, {"new", 1}, {"d", 7}}
	require.Equal(t, []int{0, 3, 5, 2, 1}, renumber(list, next))
}
