package uidmap

// Tests of Match and Resolve on the traps that real mail sets.

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
)

// mail is one message as a test writes it down.
type mail struct {
	uid  mailhaul.UID
	text string // the whole message
	date int    // hours since an epoch; 0: not known
	size int64  // as listed, where that is a lie
	gone bool   // it vanishes before its body is read
}

var testEpoch = time.Date(2025, 7, 1, 0, 0, 0, 0, time.UTC)

func candidates(side []mail) []Candidate {
	var out []Candidate
	for _, m := range side {
		c := Candidate{UID: m.uid, Size: int64(len(m.text))}
		if m.size != 0 {
			c.Size = m.size
		}
		if m.date != 0 {
			c.Date = testEpoch.Add(time.Duration(m.date) * time.Hour)
		}
		c.Key, c.HasID = KeyOf([]byte(m.text))
		out = append(out, c)
	}
	return out
}

// digests reads the bodies that are asked for and still there.
func digests(side []mail, want mailhaul.UIDSet) map[mailhaul.UID]Digest {
	out := map[mailhaul.UID]Digest{}
	for _, m := range side {
		if want.Contains(m.uid) && !m.gone {
			out[m.uid] = digest(m.text)
		}
	}
	return out
}

// withID returns a message with a Message-ID and the given text.
func withID(id, text string) string {
	return "Message-ID: <" + id + "@x>\r\nDate: D\r\nSubject: S\r\nFrom: F\r\n\r\n" + text
}

// withoutID returns a message that has no Message-ID.
func withoutID(subject, text string) string {
	return "Date: D\r\nSubject: " + subject + "\r\nFrom: F\r\n\r\n" + text
}

func show(pairs []Pair) string {
	var b strings.Builder
	for _, p := range pairs {
		basis := [...]string{"?", "size", "date", "exact", "content"}[p.Basis]
		fmt.Fprintf(&b, " %d=%d %s", p.Source, p.Target, basis)
	}
	return strings.TrimSpace(b.String())
}

func TestMatch(t *testing.T) {
	const received = "Received: by tool\r\n"
	for name, c := range map[string]struct {
		source, target []mail
		listed         string // pairs without reading
		readS, readT   string // bodies that are asked for
		read           string // pairs after reading
	}{
		"nothing": {},
		"empty target": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withoutID("s", "a")}},
		},
		"empty source": {
			target: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withoutID("s", "a")}},
		},
		"one copy": {
			source: []mail{{uid: 7, text: withID("1", "a"), date: 1}},
			target: []mail{{uid: 1, text: withID("1", "a"), date: 1}},
			listed: "7=1 size",
		},
		"the date is lost": {
			source: []mail{{uid: 7, text: withID("1", "a"), date: 1}, {uid: 8, text: withID("2", "b"), date: 2}},
			target: []mail{{uid: 1, text: withID("1", "a"), date: 9}, {uid: 2, text: withID("2", "b")}},
			listed: "7=1 size 8=2 size",
		},
		"other order": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("2", "b")}, {uid: 3, text: withID("3", "c")}},
			target: []mail{{uid: 1, text: withID("3", "c")}, {uid: 2, text: withID("1", "a")}, {uid: 3, text: withID("2", "b")}},
			listed: "1=2 size 2=3 size 3=1 size",
		},
		"strangers on both sides": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("2", "b")}},
			target: []mail{{uid: 1, text: withID("3", "a")}, {uid: 2, text: withID("2", "b")}, {uid: 3, text: withoutID("s", "b")}},
			listed: "2=2 size",
		},
		"the same ID on another subject": {
			source: []mail{{uid: 1, text: "Message-ID: <1@x>\r\nSubject: a\r\n\r\nt"}},
			target: []mail{{uid: 1, text: "Message-ID: <1@x>\r\nSubject: b\r\n\r\nt"}},
		},

		"twins and twins, dates tell": {
			source: []mail{{uid: 1, text: withID("1", "a"), date: 1}, {uid: 2, text: withID("1", "a"), date: 2}},
			target: []mail{{uid: 5, text: withID("1", "a"), date: 2}, {uid: 6, text: withID("1", "a"), date: 1}},
			listed: "1=6 date 2=5 date",
		},
		"twins and twins, same dates": {
			source: []mail{{uid: 1, text: withID("1", "a"), date: 1}, {uid: 2, text: withID("1", "a"), date: 1}},
			target: []mail{{uid: 5, text: withID("1", "a"), date: 1}, {uid: 6, text: withID("1", "a"), date: 1}},
			readS:  "1:2", readT: "5:6", read: "1=5 exact 2=6 exact",
		},
		"twins and twins, a date is missing": {
			source: []mail{{uid: 1, text: withID("1", "a"), date: 1}, {uid: 2, text: withID("1", "a")}},
			target: []mail{{uid: 5, text: withID("1", "a"), date: 1}, {uid: 6, text: withID("1", "a")}},
			readS:  "1:2", readT: "5:6", read: "1=5 exact 2=6 exact",
		},
		"twins and one copy": {
			source: []mail{{uid: 1, text: withID("1", "a"), date: 1}, {uid: 2, text: withID("1", "a"), date: 2}},
			target: []mail{{uid: 5, text: withID("1", "a"), date: 2}},
			readS:  "1:2", readT: "5", read: "1=5 exact",
		},
		"one message and two copies": {
			source: []mail{{uid: 1, text: withID("1", "a")}},
			target: []mail{{uid: 5, text: withID("1", "a")}, {uid: 6, text: withID("1", "a")}},
			readS:  "1", readT: "5:6", read: "1=5 exact",
		},
		"three and two": {
			source: []mail{{uid: 3, text: withoutID("s", "a")}, {uid: 1, text: withoutID("s", "a")}, {uid: 2, text: withoutID("s", "a")}},
			target: []mail{{uid: 9, text: withoutID("s", "a")}, {uid: 8, text: withoutID("s", "a")}},
			readS:  "1:3", readT: "8:9", read: "1=8 exact 2=9 exact",
		},

		"near twins of other sizes": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("1", "a, and the list's footer")}},
			target: []mail{{uid: 5, text: withID("1", "a, and the list's footer")}, {uid: 6, text: withID("1", "a")}},
			listed: "1=6 size 2=5 size",
		},
		"near twins of other sizes, one has come": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("1", "a, and the list's footer")}},
			target: []mail{{uid: 5, text: withID("1", "a, and the list's footer")}},
			readS:  "1:2", readT: "5", read: "2=5 exact",
		},
		"near twins of one size": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("1", "b")}},
			target: []mail{{uid: 5, text: withID("1", "b")}, {uid: 6, text: withID("1", "a")}},
			readS:  "1:2", readT: "5:6", read: "1=6 exact 2=5 exact",
		},
		"a near twin that grew to its twin's size": {
			// 1 never came; what looks like it is 2.
			source: []mail{{uid: 1, text: received + withID("1", "direct")}, {uid: 2, text: withID("1", "listed")}},
			target: []mail{{uid: 5, text: received + withID("1", "listed")}},
			readS:  "1:2", readT: "5", read: "2=5 content",
		},
		"the target's own near twin": {
			source: []mail{{uid: 1, text: withID("1", "a")}},
			target: []mail{{uid: 5, text: withID("1", "a")}, {uid: 6, text: received + withID("1", "a")}},
			listed: "1=5 size",
		},

		"a header line was added": {
			source: []mail{{uid: 1, text: withID("1", "a\r\n")}},
			target: []mail{{uid: 5, text: received + withID("1", "a\r\n")}},
			readS:  "1", readT: "5", read: "1=5 content",
		},
		"line ends were repaired": {
			source: []mail{{uid: 1, text: strings.ReplaceAll(withID("1", "a\r\nb\r\n"), "\r", "")}},
			target: []mail{{uid: 5, text: withID("1", "a\r\nb\r\n")}},
			readS:  "1", readT: "5", read: "1=5 content",
		},
		"a NUL was replaced": {
			source: []mail{{uid: 1, text: withoutID("s", "a\x00b")}},
			target: []mail{{uid: 5, text: withoutID("s", "a\x80b")}},
			readS:  "1", readT: "5", read: "1=5 content",
		},
		"header folded anew, 8-bit replaced": {
			source: []mail{{uid: 1, text: withoutID("Gr\xfc\xdfe aus Wien", "a")}},
			target: []mail{{uid: 5, text: withoutID("Gr??e\r\n aus Wien", "a")}},
			readS:  "1", readT: "5", read: "1=5 content",
		},
		"a server that guesses sizes": {
			source: []mail{{uid: 1, text: withID("1", "a"), size: 1000}},
			target: []mail{{uid: 5, text: withID("1", "a")}},
			readS:  "1", readT: "5", read: "1=5 exact",
		},
		"a server that lists no sizes": {
			source: []mail{{uid: 1, text: withID("1", "a"), size: -1}},
			target: []mail{{uid: 5, text: withID("1", "b"), size: -1}},
			readS:  "1", readT: "5",
		},
		"the same octets before the same text": {
			source: []mail{{uid: 1, text: received + withID("1", "a")}, {uid: 2, text: withID("1", "a")}},
			target: []mail{{uid: 5, text: withID("1", "a")}},
			readS:  "1:2", readT: "5", read: "2=5 exact",
		},
		"exact, content and nothing in one group": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("1", "b")}, {uid: 3, text: withID("1", "c")}, {uid: 4, text: withID("1", "d")}},
			target: []mail{{uid: 5, text: withID("1", "x")}, {uid: 6, text: received + withID("1", "c")}, {uid: 7, text: withID("1", "b")}},
			readS:  "1:4", readT: "5:7", read: "2=7 exact 3=6 content",
		},

		"no ID": {
			source: []mail{{uid: 1, text: withoutID("s", "a"), date: 1}},
			target: []mail{{uid: 5, text: withoutID("s", "a"), date: 1}},
			readS:  "1", readT: "5", read: "1=5 exact",
		},
		"no ID, another text": {
			source: []mail{{uid: 1, text: withoutID("s", "a"), date: 1}},
			target: []mail{{uid: 5, text: withoutID("s", "b"), date: 1}},
			readS:  "1", readT: "5",
		},
		"no ID, no text, other header": {
			source: []mail{{uid: 1, text: "X-Of: one\r\n" + withoutID("s", "")}},
			target: []mail{{uid: 5, text: "X-Of: two\r\n" + withoutID("s", "")}},
			readS:  "1", readT: "5",
		},
		"no field at all, the same text": {
			// One paragraph of each looks like a header.
			source: []mail{{uid: 1, text: "Note: buy milk\r\n\r\nAnn\r\n"}},
			target: []mail{{uid: 5, text: "Note: buy bread\r\n\r\nAnn\r\n"}},
			readS:  "1", readT: "5",
		},
		"no header": {
			source: []mail{{uid: 1, text: "just text"}, {uid: 2, text: "other text"}},
			target: []mail{{uid: 5, text: "other text"}},
			readS:  "1:2", readT: "5", read: "2=5 exact",
		},
		"messages of 0 octets": {
			source: []mail{{uid: 1}, {uid: 2}},
			target: []mail{{uid: 5}},
			readS:  "1:2", readT: "5", read: "1=5 exact",
		},
		"an ID on one side only": {
			source: []mail{{uid: 1, text: withID("1", "a")}},
			target: []mail{{uid: 5, text: withoutID("S", "a")}},
		},

		"gone before they are read": {
			source: []mail{{uid: 1, text: withoutID("s", "a"), gone: true}, {uid: 2, text: withoutID("s", "a")}},
			target: []mail{{uid: 5, text: withoutID("s", "a"), gone: true}, {uid: 6, text: withoutID("s", "a")}},
			readS:  "1:2", readT: "5:6", read: "2=6 exact",
		},
		"listed twice": {
			source: []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("1", "a")}},
			target: []mail{{uid: 5, text: withID("1", "a")}, {uid: 5, text: withID("1", "a")}},
			readS:  "1:2", readT: "5", read: "1=5 exact",
		},
		"no UID": {
			source: []mail{{uid: 0, text: withID("1", "a")}},
			target: []mail{{uid: 5, text: withID("1", "a")}},
		},
		"the highest UID": {
			source: []mail{{uid: 1<<32 - 1, text: withID("1", "a")}},
			target: []mail{{uid: 1<<32 - 1, text: withID("1", "a")}},
			listed: "4294967295=4294967295 size",
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := candidates(c.source), candidates(c.target)
			m := Match(source, target)
			if got := show(m.Pairs()); got != c.listed {
				t.Errorf("without reading: got pairs %q, want %q", got, c.listed)
			}
			s, u := m.Undecided()
			if s.String() != c.readS || u.String() != c.readT {
				t.Errorf("asks for the bodies %q and %q, want %q and %q", s, u, c.readS, c.readT)
			}
			got := m.Resolve(digests(c.source, s), digests(c.target, u))
			if show(got) != c.read {
				t.Errorf("after reading: got pairs %q, want %q", show(got), c.read)
			}

			// The order of the listings does not matter.
			slices.Reverse(source)
			slices.Reverse(target)
			r := Match(source, target)
			if !slices.Equal(r.Pairs(), m.Pairs()) || !slices.Equal(r.Resolve(digests(c.source, s), digests(c.target, u)), got) {
				t.Error("in the other order the pairs differ")
			}
		})
	}
}

// Digests of messages that nobody asked for, or of pairs already made, change
// nothing.
func TestResolveKeepsToTheUndecided(t *testing.T) {
	source := []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("2", "b")}}
	target := []mail{{uid: 1, text: withID("1", "a")}, {uid: 2, text: withID("3", "b")}}
	m := Match(candidates(source), candidates(target))
	all := mailhaul.UIDSetOf(1, 2)
	if got := m.Resolve(digests(source, all), digests(target, all)); len(got) != 0 {
		t.Errorf("got %s", show(got))
	}
}

func TestBasis(t *testing.T) {
	for b := Basis(0); b < 6; b++ {
		if b.String() == "" || b.Altered() != (b == BasisContent) {
			t.Errorf("%d is %q, altered %v", b, b, b.Altered())
		}
	}
}
