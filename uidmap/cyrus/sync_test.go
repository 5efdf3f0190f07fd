package cyrus

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// A whole account moves from one Cyrus to another at exact, and so does what
// comes later.
func TestThroughTheEngine(t *testing.T) {
	t.Parallel()
	from, to := newRig(t, nil, Config{}), newRig(t, nil, Config{})
	ctx := ctxOf(t)
	boxes := [][]string{{"INBOX"}, {"Sent"}, {"Projects", "v1.2"}, {"Büro"}, {"Empty"}}
	holes := func(first, last mailhaul.UID) (out []mailhaul.Outgoing) {
		for uid := first; uid <= last; uid += 1 + uid%70 {
			out = append(out, outgoing(uid, mailhaul.FlagSeen, "$kw"))
		}
		return out
	}
	for i, path := range boxes {
		want := mailhaul.Identity{UIDValidity: mailhaul.UIDValidity(100 + i), UIDNext: 9000, HighestModSeq: mailhaul.ModSeq(50000 + i)}
		var out []mailhaul.Outgoing
		if path[0] != "Empty" {
			out = holes(7, 1500)
		}
		from.write(from.box(path...), want, 100, out...)
	}
	// The octets of 8-bit headers come through too, as no APPEND to Cyrus brings
	// them.
	odd := outgoing(9500)
	odd.Body = &memory{data: []byte("Message-ID: <8bit@example>\r\nSubject: über\r\n\r\ntext\r\n")}
	from.write(from.box("Sent"), mailhaul.Identity{UIDNext: 9501}, 1, odd)

	syncer, err := mailsync.New(mailsync.Config{Source: from.client, Target: to.target, Identity: mailhaul.LevelExact})
	require.NoError(t, err)
	same := func() {
		t.Helper()
		begin := time.Now()
		res, err := syncer.Run(ctx)
		require.NoError(t, err)
		t.Logf("a pass took %v", time.Since(begin))
		require.Empty(t, res.Failed)
		require.Empty(t, res.Altered)
		for _, path := range boxes {
			a, b := from.list(from.box(path...)), to.list(to.box(path...))
			require.Equal(t, a.status.UIDValidity, b.status.UIDValidity, path)
			require.Equal(t, a.status.UIDNext, b.status.UIDNext, path)
			require.GreaterOrEqual(t, b.status.HighestModSeq, a.status.HighestModSeq, path)
			require.Equal(t, a.bodies, b.bodies, path)
			for uid, m := range a.msgs {
				require.Equal(t, m.Flags, b.msgs[uid].Flags)
				require.Equal(t, m.InternalDate.Unix(), b.msgs[uid].InternalDate.Unix())
			}
		}
		for name, level := range res.Identity {
			require.Equal(t, string(mailhaul.LevelExact), level, "%s %+v", name, res.IdentityDetail)
		}
		require.Equal(t, from.uidls(), to.uidls())
	}
	same()
	for i, path := range boxes {
		from.write(from.box(path...), mailhaul.Identity{UIDNext: 20000}, 10, holes(10000+mailhaul.UID(i), 10300)...)
	}
	c := from.raw(from.srv.Users[0])
	from.say(c, "SELECT INBOX")
	from.say(c, fmt.Sprintf("UID STORE 1:* +FLAGS (%s)", "later"))
	require.NoError(t, c.Close())
	same()
	same()
}
