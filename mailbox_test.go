package mailhaul

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNaming(t *testing.T) {
	slash := Naming{Delimiter: "/"}
	dot := Naming{Delimiter: ".", Prefix: "INBOX."}
	mail := Naming{Delimiter: "/", Prefix: "Mail/"}
	flat := Naming{}
	for _, tt := range []struct {
		naming Naming
		name   string
		path   []string
	}{
		{slash, "INBOX", []string{"INBOX"}},
		{slash, "Sent", []string{"Sent"}},
		{slash, "a/b/c", []string{"a", "b", "c"}},
		{slash, "a.b", []string{"a.b"}},
		{slash, "INBOX/x", []string{"INBOX", "x"}},
		{slash, "Inboxes", []string{"Inboxes"}},
		{dot, "INBOX", []string{"INBOX"}},
		{dot, "INBOX.Sent", []string{"Sent"}},
		{dot, "INBOX.a.b", []string{"a", "b"}},
		{dot, "INBOX.a/b", []string{"a/b"}},
		{mail, "INBOX", []string{"INBOX"}},
		{mail, "Mail/Sent", []string{"Sent"}},
		{mail, "Mail/a/b", []string{"a", "b"}},
		{flat, "INBOX", []string{"INBOX"}},
		{flat, "a/b.c", []string{"a/b.c"}},
	} {
		assert.Equal(t, tt.path, tt.naming.Split(tt.name), "%+v %s", tt.naming, tt.name)
		assert.Equal(t, tt.name, tt.naming.Join(tt.path), "%+v %q", tt.naming, tt.path)
	}

	// Names that a server writes in more than one way.
	assert.Equal(t, []string{"INBOX"}, slash.Split("inbox"))
	assert.Equal(t, []string{"INBOX", "x"}, slash.Split("Inbox/x"))
	assert.Equal(t, []string{"Sent"}, dot.Split("Inbox.Sent"))
	assert.Equal(t, []string{"Mail"}, mail.Split("Mail"))
	assert.Empty(t, slash.Join(nil))

	// The same path on servers of different kinds.
	for _, path := range [][]string{{"INBOX"}, {"Sent"}, {"a", "b"}} {
		for _, n := range []Naming{slash, dot, mail} {
			assert.Equal(t, path, n.Split(n.Join(path)), "%+v", n)
		}
	}
	// A child of INBOX, where everything is one.
	assert.Equal(t, "INBOX.x", dot.Join([]string{"INBOX", "x"}))
}

// Split undoes Join for every path whose levels do not hold the delimiter and
// are not called INBOX.
func FuzzNaming(f *testing.F) {
	f.Add("a\x00b", "/", "")
	f.Add("Sent", ".", "INBOX.")
	f.Add("x", "", "")
	f.Add("a\x00b\x00c", "^", "Mail^")
	f.Fuzz(func(t *testing.T, joined, delimiter, prefix string) {
		path := strings.Split(joined, "\x00")
		if len(delimiter) > 1 || delimiter == "" && len(path) > 1 || prefix != "" && (delimiter == "" || !strings.HasSuffix(prefix, delimiter)) {
			return // no server has such
		}
		for _, level := range path {
			if level == "" || delimiter != "" && strings.Contains(level, delimiter) || strings.EqualFold(level, "INBOX") {
				return
			}
		}
		n := Naming{Prefix: prefix, Delimiter: delimiter}
		name := n.Join(path)
		// The name itself must not read as INBOX or as something else.
		if strings.EqualFold(name, "INBOX") || prefix == "" && strings.EqualFold(path[0], "INBOX") {
			return
		}
		if got := n.Split(name); !slices.Equal(got, path) {
			t.Fatalf("%+v: %q became %q, and that %q", n, path, name, got)
		}
	})
}

func TestListingFind(t *testing.T) {
	l := &Listing{Mailboxes: []Mailbox{{Path: []string{"INBOX"}}, {Path: []string{"a", "b"}, Wire: "a/b"}}}
	assert.Equal(t, "a/b", l.Find([]string{"a", "b"}).Wire)
	assert.Same(t, &l.Mailboxes[0], l.Find([]string{"INBOX"}))
	assert.Nil(t, l.Find([]string{"a"}))
	assert.Nil(t, l.Find(nil))
	assert.True(t, l.Mailboxes[0].IsInbox())
	assert.False(t, l.Mailboxes[1].IsInbox())
	assert.False(t, Mailbox{}.IsInbox())
}
