// Comparing accounts otherwise than the oracle does.

package bench

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
)

// compareUsers says how the copy differs from the original: in folders, roles,
// subscriptions, and in the octets, dates, flags and order of messages. Both
// are on servers of this process, and no protocol is in between, so that a
// million messages take a second or two.
func compareUsers(from, to *imapserver.User) []string {
	const most = 20
	var diffs []string
	add := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	there := make(map[string]bool)
	for _, s := range from.Mailboxes() {
		name := s.Name()
		there[name] = true
		d := to.Mailbox(name)
		if d == nil {
			add("folder %s: missing on the target", name)
			continue
		}
		if !slices.Equal(s.Attrs(), d.Attrs()) {
			add("folder %s: attributes %v, on the target %v", name, s.Attrs(), d.Attrs())
		}
		if from.Subscribed(name) != to.Subscribed(name) {
			add("folder %s: subscribed is %v, on the target %v", name, from.Subscribed(name), to.Subscribed(name))
		}
		want, got := s.Messages(), d.Messages()
		if len(want) != len(got) {
			add("folder %s: %d messages, on the target %d", name, len(want), len(got))
			continue
		}
		wrong := 0
		for i := range want {
			if why := differ(want[i], got[i]); why != "" {
				if wrong++; wrong <= most {
					add("folder %s: message UID %d differs from UID %d on the target: %s", name, want[i].UID, got[i].UID, why)
				}
			}
		}
		if wrong > most {
			add("folder %s: and %d more", name, wrong-most)
		}
	}
	for _, d := range to.Mailboxes() {
		if !there[d.Name()] {
			add("folder %s: only on the target", d.Name())
		}
	}
	return diffs
}

// compareSizes says how folders, and the dates and sizes of their messages,
// differ, where each copy has grown by so many octets.
func compareSizes(src, dst *oracle.Account, added int64) []string {
	var diffs []string
	for _, s := range src.Mailboxes {
		if s.NoSelect {
			continue
		}
		d := dst.Find(s.Path...)
		if d == nil {
			diffs = append(diffs, fmt.Sprintf("folder %s: missing on the target", s.Name()))
			continue
		}
		if want, got := datesAndSizes(s.Messages, added), datesAndSizes(d.Messages, 0); !slices.Equal(want, got) {
			diffs = append(diffs, fmt.Sprintf("folder %s: the dates and sizes of %d messages are not those of the %d on the target", s.Name(), len(want), len(got)))
		}
	}
	return diffs
}

func datesAndSizes(messages []oracle.Message, added int64) [][2]int64 {
	var all [][2]int64
	for _, m := range messages {
		all = append(all, [2]int64{m.Date.Unix(), m.Size + added})
	}
	slices.SortFunc(all, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	return all
}

func differ(a, b imapserver.Message) string {
	switch {
	case !bytes.Equal(a.Body, b.Body):
		return "other octets"
	case !a.Date.Equal(b.Date):
		return fmt.Sprintf("date %v, there %v", a.Date, b.Date)
	case !sameFlags(a.Flags, b.Flags):
		return fmt.Sprintf("flags %v, there %v", a.Flags, b.Flags)
	}
	return ""
}

func sameFlags(a, b []mailhaul.Flag) bool {
	if slices.Equal(a, b) {
		return true
	}
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// compareOctets says how two INBOXes differ in the octets of their messages, in
// order.
func compareOctets(src, dst *oracle.Account) (differences []string) {
	a, b := src.Find("INBOX"), dst.Find("INBOX")
	if a == nil || b == nil || len(a.Messages) != len(b.Messages) {
		return []string{"INBOX does not hold as many messages on both sides"}
	}
	for i := range a.Messages {
		if a.Messages[i].Sum != b.Messages[i].Sum {
			differences = append(differences, fmt.Sprintf("INBOX: message %d has other octets", i+1))
		}
	}
	return differences
}
