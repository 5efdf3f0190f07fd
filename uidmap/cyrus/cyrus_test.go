package cyrus

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
)

// Everything that a client knows a mailbox by arrives, in an INBOX and in
// folders that are new.
func TestFresh(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"cyrus", "dovecot"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, map[string]string{"uidl_format": format}, Config{UIDLFormat: format})
			uids := []mailhaul.UID{7, 900, 2000000000}
			for _, tt := range []struct {
				path     []string
				validity mailhaul.UIDValidity
			}{{[]string{"INBOX"}, 1234567}, {[]string{"Work"}, 42}, {[]string{"Work", "Büro & Co. 2"}, 4000000000}} {
				m := r.box(tt.path...)
				want := mailhaul.Identity{UIDValidity: tt.validity, UIDNext: 2000000011, HighestModSeq: 77777}
				can, err := r.target.Imposable(ctxOf(t), m, want)
				require.NoError(t, err)
				require.Equal(t, mailhaul.LevelExact, can.Level, can.Reason)

				out := []mailhaul.Outgoing{
					outgoing(7, mailhaul.FlagSeen, "$Forwarded"),
					outgoing(900, mailhaul.FlagFlagged, mailhaul.FlagAnswered, mailhaul.FlagDraft, mailhaul.FlagDeleted),
					outgoing(2000000000),
				}
				for i, o := range r.write(m, want, 2, out...) {
					require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: uids[i]}, o)
				}
				l := r.list(m)
				require.Equal(t, tt.validity, l.status.UIDValidity)
				require.EqualValues(t, 2000000011, l.status.UIDNext)
				require.GreaterOrEqual(t, l.status.HighestModSeq, want.HighestModSeq)
				require.Len(t, l.msgs, len(out))
				r.holds(l, out...)
			}
			if format == "cyrus" {
				require.Equal(t, []mailhaul.UIDL{"1234567.7", "1234567.900", "1234567.2000000000"}, r.uidls())
			} else {
				require.Equal(t, []mailhaul.UIDL{"000000070012d687", "000003840012d687", "773594000012d687"}, r.uidls())
			}

			// A keyword that looks like nothing.
			m := r.box("Nil")
			r.write(m, mailhaul.Identity{}, 1, outgoing(3, "NIL", "x"))
			c := r.raw(r.srv.Users[0])
			r.say(c, "EXAMINE Nil")
			require.Contains(t, r.say(c, "UID FETCH 3 FLAGS"), "NIL x")

			empty := r.box("Empty")
			r.write(empty, mailhaul.Identity{UIDValidity: 99, UIDNext: 500}, 1)
			l := r.list(empty)
			require.EqualValues(t, 99, l.status.UIDValidity)
			require.EqualValues(t, 500, l.status.UIDNext)
			require.Empty(t, l.msgs)
		})
	}
}
