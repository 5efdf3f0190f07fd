// Comparing two accounts of the server in this process, without a protocol in
// between: a million messages take a second or two.

package bench

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// compareUsers says how the copy differs from the original: in folders, roles,
// subscriptions, and in the octets, dates, flags and order of messages.
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
