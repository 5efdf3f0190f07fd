package dsync

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestNames: mailboxes are found by dsync under whatever name they have.
func TestNames(t *testing.T) {
	odd := [][]string{
		{"INBOX"}, {"INBOX", "Child"}, {"Entwürfe & Größe"}, {"日本語", "未読"}, {"100% sure"}, {"%41"}, {"a*b"}, {" lead and trail "},
		{"x", "y", "z"}, {`quote"and\back`}, {"&amp"}, {"Inbox2"},
	}
	for _, c := range []struct {
		name string
		opts testserver.DovecotOptions
	}{
		{"maildir", testserver.DovecotOptions{}},
		{"maildir dots", testserver.DovecotOptions{Separator: ".", Prefix: "INBOX."}},
		{"sdbox", testserver.DovecotOptions{Store: "sdbox"}},
		{"mdbox dots", testserver.DovecotOptions{Store: "mdbox", Separator: ".", Prefix: "INBOX."}},
		{"mdbox prefix", testserver.DovecotOptions{Store: "mdbox", Prefix: "Mail/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.opts)
			var boxes []mailhaul.Mailbox
			for _, path := range odd {
				if c.opts.Prefix == "INBOX." && len(path) == 2 && path[0] == "INBOX" {
					continue // it is below the prefix, as everything is
				}
				m, err := r.Create(ctxOf(t), path, mailhaul.RoleNone)
				if err != nil {
					t.Logf("the server makes no mailbox %q: %v", path, err)
					continue
				}
				boxes = append(boxes, m)
			}
			require.Greater(t, len(boxes), 8)
			for i, m := range boxes {
				validity := mailhaul.UIDValidity(3_000_000_000 + i)
				want := mailhaul.Identity{UIDValidity: validity, UIDNext: 99, Messages: messages(7, 11, 40)}
				can, err := r.Imposable(ctxOf(t), m, want)
				require.NoError(t, err, m.Name)
				require.Equal(t, mailhaul.LevelExact, can.Level, "%q: %s", m.Name, can.Reason)
				requireStored(t, want.Messages, r.impose(m, want))
			}
			before := mailboxesOf(r)
			for i, m := range boxes {
				requireSeen(t, r, m.Wire, messages(7, 11, 40))
				s := r.see(m.Wire).status
				require.Contains(t, s, "UIDNEXT 99", m.Name)
				require.Contains(t, s, "UIDVALIDITY "+u32(mailhaul.UIDValidity(3_000_000_000+i)), m.Name)
				later := mailhaul.Identity{UIDValidity: mailhaul.UIDValidity(3_000_000_000 + i), UIDNext: 101, Messages: messages(99, 100)}
				requireStored(t, later.Messages, r.impose(m, later))
			}
			require.Equal(t, before, mailboxesOf(r), "none was made or renamed")
			require.NotContains(t, r.logged(), "Panic")
		})
	}
}

func mailboxesOf(r *rig) []string {
	w := r.rawIMAP()
	defer w.c.Close()
	var names []string
	for _, l := range w.do(`LIST "" *`) {
		if strings.HasPrefix(l, "* LIST") {
			_, name, _ := strings.Cut(l, ") ")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestUnknownToDsync: a mailbox that cannot be named, or is not listed.
func TestUnknownToDsync(t *testing.T) {
	r := newRig(t, testserver.DovecotOptions{})
	want := mailhaul.Identity{UIDValidity: 5, UIDNext: 6}
	can, err := r.Imposable(ctxOf(t), mailhaul.Mailbox{Path: []string{"New"}}, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact, AnswersLate: true}, can)
	require.Equal(t, []string{`"/" INBOX`}, mailboxesOf(r), "nothing is written")

	box := r.box("Work")
	box.Name = "Other"
	can, err = r.Imposable(ctxOf(t), box, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelOrder, can.Level)
	require.NotEmpty(t, can.Reason)
	_, err = r.OpenImposing(ctxOf(t), box, want)
	require.Equal(t, mailhaul.Conflict, mailhaul.KindOf(err))
	box.Name = "Bad\xff"
	can, err = r.Imposable(ctxOf(t), box, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelOrder, can.Level)
}
