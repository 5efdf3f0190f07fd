package cyrus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// hooked is a Session that lets something happen before a command.
type hooked struct {
	Session
	before func(command string)
}

func (h hooked) Send(ctx context.Context, command io.Reader) (func(context.Context) ([][]byte, error), error) {
	head := make([]byte, len("SYNCAPPLY MAILBOX"))
	n, _ := io.ReadFull(command, head)
	h.before(string(head[:n]))
	return h.Session.Send(ctx, io.MultiReader(bytes.NewReader(head[:n]), command))
}

// hook makes every session of the rig's target call before.
func (r *rig) hook(before func(command string)) {
	admin := r.target.cfg.Admin
	r.target.cfg.Admin = func(ctx context.Context) (Session, error) {
		s, err := admin(ctx)
		return hooked{s, before}, err
	}
}

// deliver appends a message as the server's own mail would come.
func deliver(t testing.TB, r *rig, mailbox, text string) {
	c := r.raw(r.srv.Users[0])
	defer c.Close()
	r.say(c, fmt.Sprintf("APPEND %s {%d+}\r\n%s", mailbox, len(text), text))
}

// Passes until the cut-over keep adding to the mailbox; what its user did
// meanwhile stays done.
func TestDelta(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("Work")
	want := mailhaul.Identity{UIDValidity: 42, UIDNext: 31, HighestModSeq: 5000}
	first := []mailhaul.Outgoing{outgoing(10, mailhaul.FlagSeen), outgoing(20, "$a"), outgoing(30)}
	r.write(m, want, 2, first...)

	c := r.raw(r.srv.Users[0])
	r.say(c, "SELECT Work")
	r.say(c, `UID STORE 10 FLAGS (\Flagged mine)`)
	r.say(c, `UID STORE 20 +FLAGS (\Deleted)`)
	r.say(c, `UID EXPUNGE 20`)
	r.say(c, "UNSELECT")
	before := r.list(m)

	want.UIDNext = 42
	second := []mailhaul.Outgoing{outgoing(31, "$b"), outgoing(40, mailhaul.FlagAnswered)}
	can, err := r.target.Imposable(ctxOf(t), m, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelExact, can.Level, can.Reason)
	for i, o := range r.write(m, want, 10, second...) {
		require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: second[i].UID}, o)
	}
	after := r.list(m)
	require.EqualValues(t, 42, after.status.UIDNext)
	require.Greater(t, after.status.HighestModSeq, before.status.HighestModSeq)
	r.holds(after, second...)
	require.Equal(t, []mailhaul.Flag{`\Flagged`, "mine"}, after.msgs[10].Flags)
	require.NotContains(t, after.msgs, mailhaul.UID(20))
	require.Len(t, after.msgs, 4)

	// A client that knows the mailbox by its mod-sequence is told of the new
	// messages, and of nothing else.
	r.say(c, "EXAMINE Work (CONDSTORE)")
	said := r.say(c, fmt.Sprintf("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)", before.status.HighestModSeq))
	require.Equal(t, 2, strings.Count(said, " FETCH "), said)
}

// The destination has mail of its own: what it has taken is stored under other
// UIDs, in order, and nothing that is there moves.
func TestOwnDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("INBOX")
	deliver(t, r, "INBOX", "Subject: welcome\r\n\r\nhello\r\n")
	deliver(t, r, "INBOX", "Subject: again\r\n\r\nhello\r\n")
	before := r.list(m)

	// The UIDVALIDITY cannot be lowered any more, but it can be raised.
	can, err := r.target.Imposable(ctxOf(t), m, mailhaul.Identity{UIDValidity: 42})
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelUID, can.Level)
	require.Contains(t, can.Reason, "UIDVALIDITY")
	want := mailhaul.Identity{UIDValidity: 4000000000, UIDNext: 1001}
	can, err = r.target.Imposable(ctxOf(t), m, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelExact, can.Level, can.Reason)

	uids := []mailhaul.UID{1, 2, 3, 4, 900, 901}
	want.Messages = []mailhaul.Message{{UID: 1}, {UID: 2}}
	can, err = r.target.Imposable(ctxOf(t), m, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelOrder, can.Level)
	require.Contains(t, can.Reason, "up to 2")

	var out []mailhaul.Outgoing
	for _, uid := range uids {
		out = append(out, outgoing(uid, "$kw"))
	}
	out[1].Body.(*memory).stream = true // has to be taken at once
	outcomes := r.write(m, want, 1, out...)
	l := r.list(m)
	require.EqualValues(t, 4000000000, l.status.UIDValidity)
	require.Equal(t, before.bodies[1], l.bodies[1])
	require.Equal(t, before.bodies[2], l.bodies[2])
	var got []mailhaul.UID
	for i, o := range outcomes {
		require.Equal(t, mailhaul.Stored, o.Delivery)
		require.Equal(t, string(mailText(uids[i])), l.bodies[o.UID])
		got = append(got, o.UID)
	}
	require.Equal(t, []mailhaul.UID{3, 4, 5, 6, 900, 901}, got)
	require.EqualValues(t, 1001, l.status.UIDNext)
	require.Len(t, l.msgs, 8)
	for _, o := range out {
		require.Positive(t, o.Body.(*memory).released)
	}
	// An Identity that asks for nothing leaves everything to the server.
	o := r.write(m, mailhaul.Identity{}, 1, outgoing(0))
	require.EqualValues(t, 1001, o[0].UID)
}

// Somebody delivers, or sets flags, between the look at the mailbox and the
// change, each time: nothing is lost, nothing comes twice, and each message is
// where its Outcome says.
func TestRaces(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("Work")
	var mu sync.Mutex
	var own []string
	applied := 0
	r.hook(func(command string) {
		if command != "SYNCAPPLY MAILBOX" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		switch applied++; applied {
		case 3: // the first two give the UIDVALIDITY
			own = append(own, "Subject: own\r\n\r\none\r\n")
			deliver(t, r, "Work", own[0])
		case 5, 6, 7: // only flags
			c := r.raw(r.srv.Users[0])
			r.say(c, "SELECT Work")
			r.say(c, fmt.Sprintf("UID STORE 1:* +FLAGS (touched%d)", applied))
			require.NoError(t, c.Close())
		case 9:
			own = append(own, "Subject: own\r\n\r\ntwo\r\n")
			deliver(t, r, "Work", own[1])
		}
	})
	var out []mailhaul.Outgoing
	for uid := mailhaul.UID(1); uid <= 12; uid++ {
		out = append(out, outgoing(uid*uid))
	}
	outcomes := r.write(m, mailhaul.Identity{UIDValidity: 42, UIDNext: 1000}, 3, out...)
	l := r.list(m)
	require.EqualValues(t, 42, l.status.UIDValidity)
	require.EqualValues(t, 1000, l.status.UIDNext)
	require.Len(t, l.msgs, len(out)+len(own))
	var bodies []string
	for _, b := range l.bodies {
		bodies = append(bodies, b)
	}
	for _, text := range own {
		require.Contains(t, bodies, text)
	}
	moved := 0
	for i, o := range outcomes {
		require.Equal(t, mailhaul.Stored, o.Delivery)
		require.Equal(t, string(out[i].Body.(*memory).data), l.bodies[o.UID])
		if o.UID != out[i].UID {
			moved++
		}
		if i > 0 {
			require.Greater(t, o.UID, outcomes[i-1].UID)
		}
	}
	require.NotZero(t, moved)
	require.Less(t, moved, 6)
	require.Greater(t, applied, 9)
}

// A mailbox that never keeps still is given up, with nothing stored.
func TestNeverStill(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("Work")
	deliver(t, r, "Work", "Subject: own\r\n\r\n")
	c := r.raw(r.srv.Users[0])
	r.say(c, "SELECT Work")
	n := 0
	r.hook(func(command string) {
		if command == "SYNCAPPLY MAILBOX" {
			n++
			r.say(c, fmt.Sprintf("UID STORE 1 FLAGS (n%d)", n))
		}
	})
	w, err := r.target.OpenImposing(ctxOf(t), m, mailhaul.Identity{})
	require.NoError(t, err)
	defer w.Close()
	receipt, err := w.Append(ctxOf(t), []mailhaul.Outgoing{outgoing(50)})
	require.NoError(t, err)
	outcomes, err := receipt.Wait(ctxOf(t))
	require.ErrorIs(t, err, errBusy)
	require.Equal(t, mailhaul.NotStored, outcomes[0].Delivery)
	require.Equal(t, maxTries, n)
	require.Len(t, r.list(m).msgs, 1)
}

// Octets that no APPEND would be let through with arrive as they are; so do
// dates at the ends of time, or the nearest.
func TestOddMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("Odd")
	odd := []string{
		"\r\n", "x", "Subject: bare\nline\n\nfeeds\n", "Subject: bare\rreturn\r\r", "Subject: \x00nul\r\n\r\n\x00\x00",
		"Subject: gr\xfc\xdfe\r\n\r\n\xff\xfe", "no header at all", "Subject: cut", ")\r\nA1 LOGOUT\r\n", "{5+}\r\nhello",
		strings.Repeat("a", 100000), "Subject: same\r\n\r\n", "Subject: same\r\n\r\n",
	}
	var out []mailhaul.Outgoing
	for i, text := range odd {
		o := outgoing(mailhaul.UID(i + 1))
		o.Body = &memory{data: []byte(text), stream: i%2 == 1}
		out = append(out, o)
	}
	for i, o := range r.write(m, mailhaul.Identity{UIDValidity: 42}, 1, out...) {
		require.Equal(t, mailhaul.Outcome{Delivery: mailhaul.Stored, UID: out[i].UID}, o, "%q", odd[i])
	}
	r.holds(r.list(m), out...)

	// Nothing at all is what Cyrus does not take.
	empty := outgoing(1000)
	empty.Body = &memory{}
	outcomes := r.write(m, mailhaul.Identity{UIDNext: 2001}, 3, outgoing(900), empty, outgoing(2000))
	require.Equal(t, []mailhaul.Delivery{mailhaul.Stored, mailhaul.NotStored, mailhaul.Stored},
		[]mailhaul.Delivery{outcomes[0].Delivery, outcomes[1].Delivery, outcomes[2].Delivery})
	require.True(t, hopeless(outcomes[1].Err), "%v", outcomes[1].Err)
	require.EqualValues(t, 2001, r.list(m).status.UIDNext)
	require.Len(t, r.list(m).msgs, len(odd)+2)
}

// A mailbox has room for 128 keywords: beyond that messages come without.
func TestManyKeywords(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("Work")
	var out []mailhaul.Outgoing
	for uid := mailhaul.UID(1); uid <= 140; uid++ {
		out = append(out, outgoing(uid, mailhaul.FlagSeen, mailhaul.Flag(fmt.Sprintf("kw%d", uid))))
	}
	out = append(out, outgoing(200, "kw1"))
	outcomes := r.write(m, mailhaul.Identity{UIDValidity: 42}, 40, out...)
	l := r.list(m)
	kept := 0
	for i, o := range outcomes {
		require.Equal(t, mailhaul.Stored, o.Delivery)
		require.Equal(t, out[i].UID, o.UID)
		require.True(t, i == 140 || mailhaul.HasFlag(l.msgs[o.UID].Flags, mailhaul.FlagSeen))
		has := mailhaul.HasFlag(l.msgs[o.UID].Flags, out[i].Flags[len(out[i].Flags)-1])
		require.Equal(t, has, o.Dropped == 0)
		if has {
			kept++
		}
	}
	require.Equal(t, 129, kept)
	require.Zero(t, outcomes[140].Dropped)
}

// Store goes through the user's own session, and what is appended afterwards
// keeps its UIDs.
func TestStore(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	m := r.box("Work")
	ctx := ctxOf(t)
	w, err := r.target.OpenImposing(ctx, m, mailhaul.Identity{UIDValidity: 42, UIDNext: 100})
	require.NoError(t, err)
	defer w.Close()
	require.EqualValues(t, 42, w.Status().UIDValidity)
	require.EqualValues(t, 1, w.Status().UIDNext)
	require.True(t, w.Status().AnyKeyword)
	_, err = w.Append(ctx, []mailhaul.Outgoing{outgoing(7, mailhaul.FlagSeen)})
	require.NoError(t, err)
	require.NoError(t, w.Store(ctx, []mailhaul.FlagChange{{UID: 7, Add: []mailhaul.Flag{"new"}, Remove: []mailhaul.Flag{mailhaul.FlagSeen}}}))
	receipt, err := w.Append(ctx, []mailhaul.Outgoing{outgoing(8)})
	require.NoError(t, err)
	outcomes, err := receipt.Wait(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 8, outcomes[0].UID)
	require.NoError(t, w.Finish(ctx))
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	l := r.list(m)
	require.Equal(t, []mailhaul.Flag{"new"}, l.msgs[7].Flags)
	require.EqualValues(t, 100, l.status.UIDNext)

	_, err = w.Append(ctx, []mailhaul.Outgoing{outgoing(9)})
	require.ErrorIs(t, err, mailhaul.ErrClosed)
}

// UIDLs that Cyrus would not give are refused before anything is written, and a
// user who is no administrator is told so.
func TestImposable(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, Config{})
	ctx := ctxOf(t)
	msgs := func(uidls ...mailhaul.UIDL) (out []mailhaul.Message) {
		for i, u := range uidls {
			out = append(out, mailhaul.Message{UID: mailhaul.UID(i + 5), UIDL: u})
		}
		return out
	}
	for _, m := range []mailhaul.Mailbox{{Path: []string{"New"}}, r.box("INBOX")} {
		for _, tt := range []struct {
			want mailhaul.Identity
			is   mailhaul.Level
		}{
			{mailhaul.Identity{UIDValidity: 42, UIDLs: true, Messages: msgs("42.5", " digest", "", "42.8")}, mailhaul.LevelExact},
			{mailhaul.Identity{UIDValidity: 42, UIDLs: true, Messages: msgs("42.5", "42.7")}, mailhaul.LevelUID},
			{mailhaul.Identity{UIDValidity: 42, UIDLs: true, Messages: msgs("GmailId16a0")}, mailhaul.LevelUID},
			{mailhaul.Identity{UIDValidity: 42, UIDLs: true, Messages: msgs("000000050000002a")}, mailhaul.LevelUID},
		} {
			can, err := r.target.Imposable(ctx, m, tt.want)
			require.NoError(t, err)
			require.Equal(t, tt.is, can.Level, "%v %s", tt.want, can.Reason)
			require.Equal(t, tt.is == mailhaul.LevelExact, can.Reason == "")
		}
	}

	plain, err := New(r.client, Config{Admin: func(ctx context.Context) (Session, error) { return r.client.OpenRaw(ctx) }})
	require.NoError(t, err)
	can, err := plain.Imposable(ctx, r.box("INBOX"), mailhaul.Identity{UIDValidity: 42})
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelOrder, can.Level)
	require.Contains(t, can.Reason, "admins")
	_, err = plain.OpenImposing(ctx, r.box("INBOX"), mailhaul.Identity{UIDValidity: 42})
	require.ErrorIs(t, err, errNotAdmin)

	wrong := r.connect(r.srv.Reach(testserver.User{Name: "cyrus", Password: "no"}, testserver.IMAPS))
	bad, err := New(r.client, Config{Admin: func(ctx context.Context) (Session, error) { return wrong.OpenRaw(ctx) }})
	require.NoError(t, err)
	_, err = bad.Imposable(ctx, r.box("INBOX"), mailhaul.Identity{})
	require.Equal(t, mailhaul.Auth, mailhaul.KindOf(err))

	other, err := New(r.client, Config{Admin: r.target.cfg.Admin, User: "u2"})
	require.NoError(t, err)
	_, err = other.OpenImposing(ctx, r.box("INBOX"), mailhaul.Identity{UIDValidity: 42})
	require.ErrorContains(t, err, "user.u2")

	_, err = New(nil, Config{UIDLFormat: "x"})
	for _, part := range []string{"Target", "Admin", "UIDLFormat"} {
		require.ErrorContains(t, err, part)
	}
}
