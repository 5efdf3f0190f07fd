// Comparing without servers: the options, and what no server is needed for.

package oracle_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/oracle"
)

// account makes folders out of words: "name=body body", where equal bodies
// are twins, the n-th message has UID n, and "!" marks it as seen.
func account(folders ...string) *oracle.Account {
	a := &oracle.Account{}
	for _, f := range folders {
		name, bodies, _ := strings.Cut(f, "=")
		m := oracle.Mailbox{Path: strings.Split(name, "/"), UIDValidity: 1}
		for i, body := range strings.Fields(bodies) {
			msg := oracle.Message{UID: mailhaul.UID(i + 1), Date: time.Unix(1e9+int64(body[0]), 0)}
			if b, seen := strings.CutSuffix(body, "!"); seen {
				body, msg.Flags = b, []string{`\seen`}
			}
			msg.Sum, msg.Size = sha256.Sum256([]byte(body)), int64(len(body))
			m.Messages = append(m.Messages, msg)
		}
		m.UIDNext = mailhaul.UID(len(m.Messages) + 1)
		a.Mailboxes = append(a.Mailboxes, m)
	}
	return a
}

func TestCompareOptions(t *testing.T) {
	type options = oracle.CompareOptions
	for _, tt := range []struct {
		name     string
		src, dst []string
		opts     options
		want     []string
	}{
		{"equal", []string{"A=a b a!"}, []string{"A=a b a!"}, options{SameUIDs: true}, nil},
		{"empty accounts", nil, nil, options{}, nil},
		{"twins swapped", []string{"A=a a!"}, []string{"A=a! a"}, options{}, []string{"flags differ", "flags differ"}},
		{"twins swapped, order ignored", []string{"A=a a!"}, []string{"A=a! a"}, options{IgnoreOrder: true}, nil},
		{"order ignored", []string{"A=a b c"}, []string{"A=c b a"}, options{IgnoreOrder: true}, nil},
		{"order", []string{"A=a b c"}, []string{"A=c b a"}, options{}, []string{"order differs at 2 places"}},
		{"UIDs", []string{"A=b c"}, []string{"A=a b c"}, options{SameUIDs: true, ExtraMessages: true}, []string{"UID differs", "UID differs"}},
		{"UIDNEXT", []string{"A=a b"}, []string{"A=a"}, options{SameUIDs: true}, []string{"UIDNEXT 3, on the target only 2", "missing: message UID 2"}},
		{"extra message allowed, duplicate not", []string{"A=a"}, []string{"A=a b a"}, options{ExtraMessages: true}, []string{"duplicated: message UID 1 (1 octets) is on the target once more, as UID 3"}},
		{"three of two", []string{"A=a a"}, []string{"A=a a a"}, options{}, []string{"duplicated"}},
		{"one of two", []string{"A=a a"}, []string{"A=a"}, options{}, []string{"missing: message UID 2"}},
		{"in the wrong folder", []string{"A=a", "B="}, []string{"A=", "B=a"}, options{}, []string{"folder A: missing", "folder B: extra"}},
		{"a missing one and a duplicate are not one changed", []string{"A=a aa"}, []string{"A=a a"}, options{}, []string{"missing: message UID 2", "duplicated: message UID 1"}},
		{"changed bytes", []string{"A=a ab c"}, []string{"A=a ax c"}, options{}, []string{"bytes differ: message UID 2"}},
		{"extra folder allowed", []string{"A=a"}, []string{"A=a", "B=b"}, options{ExtraFolders: true}, nil},
		{"flag ignored", []string{"A=a!"}, []string{"A=a"}, options{IgnoreFlag: func(f string) bool { return f == `\seen` }}, nil},
		{"renamed", []string{"A/B=a", "C=c"}, []string{"X/A/B=a"}, options{Rename: func(p []string) []string {
			if p[0] == "C" {
				return nil
			}
			return append([]string{"X"}, p...)
		}}, nil},
		{"limit", []string{"A=a b c d e"}, []string{"A="}, options{Limit: 2}, []string{"missing", "missing", "and 3 more"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := oracle.Compare(account(tt.src...), account(tt.dst...), tt.opts)
			require.Len(t, got, len(tt.want), "%q", got)
			for i := range got {
				require.Contains(t, got[i], tt.want[i])
			}
		})
	}
}

func TestCompareFolders(t *testing.T) {
	src, dst := account("A=a", "B="), account("A=a", "B=")
	src.Mailboxes[0].Role, src.Mailboxes[0].Subscribed = mailhaul.RoleSent, true
	dst.Mailboxes[0].UIDValidity = 2
	require.Len(t, oracle.Compare(src, dst, oracle.CompareOptions{}), 2)
	require.Len(t, oracle.Compare(src, dst, oracle.CompareOptions{SameUIDs: true}), 3)
	require.Empty(t, oracle.Compare(src, dst, oracle.CompareOptions{IgnoreRoles: true, IgnoreSubscriptions: true}))

	// A level that holds others only need not be on the other side.
	src, dst = account("A=", "A/B=b"), account("A/B=b")
	src.Mailboxes[0].NoSelect = true
	require.Empty(t, oracle.Compare(src, dst, oracle.CompareOptions{}))
	require.Empty(t, oracle.Compare(dst, src, oracle.CompareOptions{}))
	src, dst = account("A=a"), account("A=")
	dst.Mailboxes[0].NoSelect = true
	require.Equal(t, []string{"folder A: cannot be selected on the target, 1 messages are missing"}, oracle.Compare(src, dst, oracle.CompareOptions{}))
}

// TestCompareDates: instants count, to the second, not zones.
func TestCompareDates(t *testing.T) {
	src, dst := account("A=a"), account("A=a")
	dst.Mailboxes[0].Messages[0].Date = src.Mailboxes[0].Messages[0].Date.In(time.FixedZone("", 3600))
	require.Empty(t, oracle.Compare(src, dst, oracle.CompareOptions{}))
	dst.Mailboxes[0].Messages[0].Date = src.Mailboxes[0].Messages[0].Date.Add(time.Second)
	require.Len(t, oracle.Compare(src, dst, oracle.CompareOptions{}), 1)
	require.Empty(t, oracle.Compare(src, dst, oracle.CompareOptions{IgnoreDates: true}))
}

// TestCompareManyMessages keeps comparing out of quadratic time, where half of
// a large mailbox is missing and as much is extra.
func TestCompareManyMessages(t *testing.T) {
	var src, dst []string
	for i := range 20_000 {
		src = append(src, fmt.Sprintf("s%d", i))
		dst = append(dst, fmt.Sprintf("d%d", i))
	}
	got := oracle.Compare(account("A="+strings.Join(src, " ")), account("A="+strings.Join(dst, " ")), oracle.CompareOptions{})
	require.Len(t, got, 21)
}
