package cyrus

// The names that mailboxes have inside Cyrus, which replication goes by: always
// dots between the levels, always "user." and the user first.

import (
	"strings"

	"github.com/mailhaul/mailhaul"
)

// internalNames returns the names that a user's mailbox may have inside the
// server. There are several where the user's name has a domain: whether the
// server has virtual domains, and which is the default one, it does not tell.
func internalNames(user string, n mailhaul.Naming, m mailhaul.Mailbox) []string {
	sep := n.Delimiter
	if sep == "" {
		sep = "."
	}
	inside := func(level string) string {
		if sep == "/" { // with dots for separators, a dot is written ^ outside already
			level = strings.ReplaceAll(level, ".", "^")
		}
		return level
	}
	var tail string
	if !m.IsInbox() {
		name := m.Wire
		if p := n.Prefix; len(name) > len(p) && strings.EqualFold(name[:len(p)], p) {
			name = name[len(p):]
		}
		for _, level := range strings.Split(name, sep) {
			tail += "." + inside(level)
		}
	}
	dots := func(user string) string { return strings.ReplaceAll(user, ".", "^") }
	names := []string{"user." + dots(user) + tail}
	if at := strings.LastIndexByte(user, '@'); at > 0 {
		local, domain := user[:at], user[at+1:]
		names = append(names, domain+"!user."+dots(local)+tail, "user."+dots(local)+tail)
	}
	if lower := strings.ToLower(user); lower != user { // user names are folded by default
		names = append(names, internalNames(lower, n, m)...)
	}
	return names
}
