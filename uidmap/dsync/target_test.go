package dsync

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// requireSeen asserts that messages are as they should be, on a plain
// connection.
func requireSeen(t testing.TB, r *rig, wire string, msgs []mailhaul.Message) {
	t.Helper()
	s := r.see(wire)
	want := make([]mailhaul.UID, len(msgs))
	for i, m := range msgs {
		want[i] = m.UID
	}
	require.Equal(t, want, s.uids())
	w := r.rawIMAP()
	defer w.c.Close()
	w.do("EXAMINE %q", wire)
	for i, m := range msgs {
		date := m.InternalDate.Format("02-Jan-2006 15:04:05 +0000")
		require.Contains(t, s.messages[i], `INTERNALDATE "`+date+`"`)
		for _, f := range m.Flags {
			require.Contains(t, s.messages[i], string(f))
		}
		if i%9 == 0 {
			require.Equal(t, string(textOf(m.UID)), string(w.octets(m.UID)))
		}
	}
}

func TestEverythingIsImposed(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			box := r.box()
			uids := []mailhaul.UID{5, 6, 7, 900, 70_000, 70_001, 2_000_000_000, 4_294_967_000}
			for u := mailhaul.UID(80_000); u < 80_300; u++ {
				uids = append(uids, u)
			}
			slices.Sort(uids)
			want := mailhaul.Identity{UIDValidity: 1234567, UIDNext: 4_294_967_010, HighestModSeq: 98765, UIDLs: true, Messages: withUIDLs(messages(uids...))}

			can, err := r.Imposable(ctxOf(t), box, want)
			require.NoError(t, err)
			require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact, AnswersLate: true, OneSession: store == "sdbox"}, can)

			requireStored(t, want.Messages, r.impose(box, want))
			requireSeen(t, r, "INBOX", want.Messages)
			status := r.see("INBOX").status
			require.Contains(t, status, "UIDVALIDITY 1234567")
			require.Contains(t, status, "UIDNEXT 4294967010")
			require.Contains(t, status, "HIGHESTMODSEQ 98765")

			var uidls []string
			for _, m := range slices.Backward(want.Messages) { // that is their order
				uidls = append(uidls, string(m.UIDL))
			}
			require.Equal(t, uidls, r.uidls())
			require.Equal(t, mailhaul.UID(4_294_967_010), r.deliver("INBOX", "next"))
			require.NotContains(t, r.logged(), "Error")
		})
	}
}

// TestUsersAtWork: a mailbox that has mail, and whose user works with it.
func TestUsersAtWork(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			box := r.box("Work")
			first := mailhaul.Identity{UIDValidity: 42, UIDNext: 21, Messages: messages(3, 5, 8, 13, 20)}
			requireStored(t, first.Messages, r.impose(box, first))

			// The user reads one, deletes one, and gives one a keyword.
			w := r.rawIMAP()
			w.do("SELECT Work")
			w.do(`UID STORE 5 FLAGS (\Seen Mine)`)
			w.do(`UID STORE 13 FLAGS (\Deleted)`)
			w.do("UID EXPUNGE 13")
			w.do("UNSELECT")
			before := r.see("Work")

			// The source has later mail, and one UID is taken by mail of the
			// target's own: 21 is, and 22 and 30 are free.
			require.Equal(t, mailhaul.UID(21), r.deliver("Work", "foreign"))
			foreign := r.see("Work").messages[4]
			second := mailhaul.Identity{UIDValidity: 42, UIDNext: 35, Messages: messages(21, 22, 30)}
			can, err := r.Imposable(ctxOf(t), box, second)
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelOrder, can.Level)
			require.NotEmpty(t, can.Reason)

			outcomes := r.impose(box, second)
			require.Equal(t, []mailhaul.Outcome{
				{Delivery: mailhaul.Stored, UID: 35}, {Delivery: mailhaul.Stored, UID: 22}, {Delivery: mailhaul.Stored, UID: 30},
			}, outcomes)
			after := r.see("Work")
			require.Equal(t, []mailhaul.UID{3, 5, 8, 20, 21, 22, 30, 35}, after.uids())
			require.Equal(t, before.messages, after.messages[:4])
			require.Equal(t, foreign, after.messages[4])
			require.Contains(t, after.status, "UIDVALIDITY 42")
			require.Contains(t, after.status, "UIDNEXT 36")
			w = r.rawIMAP()
			w.do("EXAMINE Work")
			require.Equal(t, string(textOf(21)), string(w.octets(35)))
			require.NotContains(t, r.logged(), "Error")
			require.NotContains(t, r.logged(), "Panic")
		})
	}
}

// TestLeftOut: messages that were announced and then do not come.
func TestLeftOut(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			box := r.box()
			var uids []mailhaul.UID
			for u := mailhaul.UID(10); u < 260; u++ {
				uids = append(uids, u*3)
			}
			want := mailhaul.Identity{UIDValidity: 99, UIDNext: 1000, UIDLs: true, Messages: withUIDLs(messages(uids...))}
			without := []mailhaul.UID{30, 33, 300, 450, 774, 777}
			kept := slices.DeleteFunc(slices.Clone(want.Messages), func(m mailhaul.Message) bool { return slices.Contains(without, m.UID) })
			requireStored(t, kept, r.impose(box, want, without...))
			requireSeen(t, r, "INBOX", kept)
			require.Contains(t, r.see("INBOX").status, "UIDNEXT 1000")
			var uidls []string
			for _, m := range slices.Backward(kept) {
				uidls = append(uidls, string(m.UIDL))
			}
			require.Equal(t, uidls, r.uidls())
		})
	}
}
