package filler_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/uidmap/filler"
)

func TestConfigNamesAllMistakes(t *testing.T) {
	_, err := filler.New(filler.Config{})
	require.ErrorContains(t, err, "Target")
	require.ErrorContains(t, err, "Max")
}

// TestEveryServer: messages get their UIDs over small and wide gaps, and
// nothing else stays.
func TestEveryServer(t *testing.T) {
	servers(t, func(t *testing.T, srv mailhaul.Server) {
		ctx := t.Context()
		cl := client(t, srv)
		f := imposer(t, cl, 10_000)
		box := inbox(t, cl)
		uids := []mailhaul.UID{3, 4, 7, 20, 21, 900, 901, 905}
		want := identity(950, uids...)
		can, err := f.Imposable(ctx, box, want)
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelUID, can.Level, can.Reason)
		require.NotEmpty(t, can.Reason)

		w, err := f.OpenImposing(ctx, box, want)
		require.NoError(t, err)
		r1, err := w.Append(ctx, outgoing(uids[:4]...))
		require.NoError(t, err)
		r2, err := w.Append(ctx, outgoing(uids[4:]...))
		require.NoError(t, err)
		require.NoError(t, w.Finish(ctx))
		require.Equal(t, uids[:4], uidsOf(t, r1))
		require.Equal(t, uids[4:], uidsOf(t, r2))
		require.NoError(t, w.Close())
		require.Equal(t, expected(uids...), holds(t, cl, box))
		st, err := cl.MailboxStatus(ctx, box)
		require.NoError(t, err)
		require.EqualValues(t, 950, st.UIDNext)
		require.Empty(t, f.Warnings())

		// What comes later goes on from there.
		w, err = f.OpenImposing(ctx, box, identity(960, 951, 955))
		require.NoError(t, err)
		r, err := w.Append(ctx, outgoing(951, 955))
		require.NoError(t, err)
		require.NoError(t, w.Finish(ctx))
		require.Equal(t, []mailhaul.UID{951, 955}, uidsOf(t, r))
		require.NoError(t, w.Close())
		require.Len(t, holds(t, cl, box), len(uids)+2)
	})
}

func TestImposable(t *testing.T) {
	for name, c := range map[string]struct {
		opts   imapserver.Options
		before int
		want   mailhaul.Identity
		level  mailhaul.Level
		reason string
	}{
		"fits":            {want: identity(101, 100), level: mailhaul.LevelUID, reason: "UIDVALIDITY"},
		"too many":        {want: identity(0, 102), level: mailhaul.LevelOrder, reason: "101 UIDs would have to be burnt, and no more than 100"},
		"too many behind": {want: identity(103, 1), level: mailhaul.LevelOrder, reason: "101 UIDs"},
		"counted":         {want: mailhaul.Identity{UIDNext: 1000, Count: 899}, level: mailhaul.LevelUID, reason: "UIDVALIDITY"},
		"counted, too":    {want: mailhaul.Identity{UIDNext: 1000, Count: 898}, level: mailhaul.LevelOrder, reason: "101 UIDs would have"},
		"not known":       {want: mailhaul.Identity{UIDNext: 1000}, level: mailhaul.LevelUID, reason: "UIDVALIDITY"},
		"taken":           {before: 5, want: identity(0, 3, 5, 6), level: mailhaul.LevelOrder, reason: "3 of the UIDs are taken"},
		"behind":          {before: 5, want: mailhaul.Identity{UIDNext: 4}, level: mailhaul.LevelOrder, reason: "UID 5 already"},
		"no UIDPLUS":      {opts: imapserver.Options{Caps: imapserver.Without("UIDPLUS")}, want: identity(0, 1), level: mailhaul.LevelOrder, reason: "UIDPLUS"},
		"no UIDNEXT":      {opts: imapserver.Options{NoUIDNext: true, NoStatusUIDNext: true}, want: identity(0, 1), level: mailhaul.LevelOrder, reason: "UIDNEXT"},
		"no room":         {opts: imapserver.Options{Quota: 2048}, want: identity(0, 50), level: mailhaul.LevelOrder, reason: "room for 2048 octets"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testserver.InProcess(t, c.opts)
			a := s.Account(1)
			for range c.before {
				s.User(a.User).Mailbox("INBOX").Add(imapserver.Message{Body: []byte("a: b\r\n\r\n")})
			}
			cl := client(t, a.Server)
			f := imposer(t, cl, 100)
			commands := cl.Traffic().Commands
			can, err := f.Imposable(t.Context(), inbox(t, cl), c.want)
			require.NoError(t, err)
			require.Equal(t, c.level, can.Level)
			require.Contains(t, can.Reason, c.reason)
			require.Greater(t, cl.Traffic().Commands, commands)
			require.Len(t, s.User(a.User).Mailbox("INBOX").Messages(), c.before, "nothing was written")
		})
	}
	t.Run("a mailbox that is still to be made", func(t *testing.T) {
		cl := client(t, testserver.InProcess(t, imapserver.Options{}).Account(1).Server)
		can, err := imposer(t, cl, 100).Imposable(t.Context(), mailhaul.Mailbox{Path: []string{"new"}}, identity(0, 50))
		require.NoError(t, err)
		require.Equal(t, mailhaul.LevelUID, can.Level)
	})
}

// TestTooManyIsRefusedBeforeAnythingIsWritten: where the messages were not
// known to Imposable, OpenImposing refuses.
func TestTooManyIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	s := testserver.InProcess(t, imapserver.Options{})
	a := s.Account(1)
	cl := client(t, a.Server)
	_, err := imposer(t, cl, 10).OpenImposing(t.Context(), inbox(t, cl), identity(0, 12))
	require.ErrorContains(t, err, "11 UIDs")
	require.Equal(t, mailhaul.Permanent, mailhaul.KindOf(err))
	require.Empty(t, s.User(a.User).Mailbox("INBOX").Messages())
}

// TestLimitHoldsInTheWriter: whatever happens, no more than Max are burnt.
func TestLimitHoldsInTheWriter(t *testing.T) {
	cl := client(t, testserver.InProcess(t, imapserver.Options{}).Account(1).Server)
	f := imposer(t, cl, 10)
	box := inbox(t, cl)
	w, err := f.OpenFilling(t.Context(), box, mailhaul.Identity{})
	require.NoError(t, err)
	r, err := w.Append(t.Context(), outgoing(5, 10, 20, 40))
	require.NoError(t, err)
	require.NoError(t, w.Finish(t.Context()))
	require.NoError(t, w.Close())
	require.Equal(t, []mailhaul.UID{5, 10, 11, 12}, uidsOf(t, r))
	require.Len(t, f.Warnings(), 1)
	require.Contains(t, f.Warnings()[0], "burnt")
}

// TestStopsWhenSomebodyDelivers: a delivery in the middle of a batch ends
// filling at once; what is there keeps its UID, and all fillers go.
func TestStopsWhenSomebodyDelivers(t *testing.T) {
	for _, wide := range []bool{false, true} {
		t.Run(fmt.Sprintf("wide %v", wide), func(t *testing.T) {
			var s *testserver.InProcessServer
			var appended, fillersAfter atomic.Int32
			var deliver func()
			opts := imapserver.Options{}
			opts.Hooks.Append = func(_, _ string, m *imapserver.Message) error {
				if n := appended.Add(1); n == 12 {
					go deliver()
				}
				return nil
			}
			delivered := make(chan struct{})
			deliver = func() {
				defer close(delivered)
				s.User("u1").Mailbox("INBOX").Add(imapserver.Message{Body: []byte("Subject: foreign\r\n\r\nx\r\n")})
			}
			s = testserver.InProcess(t, opts)
			cl := client(t, s.Account(1).Server)
			f := imposer(t, cl, 100_000)
			box := inbox(t, cl)
			w, err := f.OpenImposing(t.Context(), box, identity(0))
			require.NoError(t, err)
			r, err := w.Append(t.Context(), outgoing(2, 4, 6, 8, 10, 12, 14))
			require.NoError(t, err)
			uidsOf(t, r)
			<-delivered
			second := []mailhaul.UID{20, 30}
			if wide {
				second = []mailhaul.UID{20_000, 30_000}
			}
			r2, err := w.Append(t.Context(), outgoing(second...))
			require.NoError(t, err)
			uidsOf(t, r2)
			before := appended.Load()
			r3, err := w.Append(t.Context(), outgoing(50_000))
			require.NoError(t, err)
			require.NoError(t, w.Finish(t.Context()))
			fillersAfter.Store(appended.Load() - before - 1)
			require.NoError(t, w.Close())
			got := uidsOf(t, r3)
			require.Less(t, got[0], mailhaul.UID(31_000), "not imposed")
			require.Zero(t, fillersAfter.Load())
			require.Len(t, f.Warnings(), 1)
			require.Contains(t, f.Warnings()[0], "somebody else")

			found := holds(t, cl, box)
			require.Len(t, found, 7+2+1+1, "all mail, the foreign one too, and no filler: %v", found)
			for _, subject := range found {
				require.NotContains(t, subject, "keeps a place")
			}
		})
	}
}

// TestRefusedMessageKeepsItsPlace: a message that is refused in the middle of a
// batch, and a large one that travels alone, do not shift those behind them.
func TestRefusedMessageKeepsItsPlace(t *testing.T) {
	for name, caps := range map[string][]string{"together": imapserver.DefaultCaps, "one by one": imapserver.Without("MULTIAPPEND")} {
		t.Run(name, func(t *testing.T) {
			s := testserver.InProcess(t, imapserver.Options{Caps: caps, Refuse: func(body []byte) error {
				if strings.Contains(string(body), "Subject: message 5\r") || strings.Contains(string(body), "Subject: message 9\r") {
					return errors.New("[TOOBIG] no")
				}
				return nil
			}})
			cl := client(t, s.Account(1).Server)
			f := imposer(t, cl, 100)
			box := inbox(t, cl)
			w, err := f.OpenImposing(t.Context(), box, identity(0))
			require.NoError(t, err)
			batch := outgoing(2, 5, 6, 8)
			r, err := w.Append(t.Context(), batch)
			require.NoError(t, err)
			large := outgoing(9)
			b := large[0].Body.(memBody)
			b.stream = true
			large[0].Body = b
			_, err = w.Append(t.Context(), large)
			require.NoError(t, err)
			r3, err := w.Append(t.Context(), outgoing(10, 11, 15))
			require.NoError(t, err)
			require.NoError(t, w.Finish(t.Context()))
			require.NoError(t, w.Close())
			outcomes, err := r.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, mailhaul.NotStored, outcomes[1].Delivery)
			require.EqualValues(t, 6, outcomes[2].UID)
			require.Equal(t, []mailhaul.UID{10, 11, 15}, uidsOf(t, r3))
			require.Equal(t, expected(2, 6, 8, 10, 11, 15), holds(t, cl, box))
			require.Empty(t, f.Warnings())
		})
	}
}

// TestCopiesOfOneMessageAreRefused: a server that keeps no more than a few
// messages with the same octets (Cyrus with conversations) gets different ones.
func TestCopiesOfOneMessageAreRefused(t *testing.T) {
	opts := imapserver.Options{}
	opts.Hooks.Command = func(_ *imapserver.Session, command, _ string) *imapserver.Override {
		if command == "UID COPY" {
			return &imapserver.Override{Reply: "NO [LIMIT] Too many identical emails"}
		}
		return nil
	}
	cl := client(t, testserver.InProcess(t, opts).Account(1).Server)
	f := imposer(t, cl, 10_000)
	box := inbox(t, cl)
	w, err := f.OpenImposing(t.Context(), box, identity(0, 3000))
	require.NoError(t, err)
	r, err := w.Append(t.Context(), outgoing(3000))
	require.NoError(t, err)
	require.NoError(t, w.Finish(t.Context()))
	require.NoError(t, w.Close())
	require.Equal(t, []mailhaul.UID{3000}, uidsOf(t, r))
	require.Equal(t, expected(3000), holds(t, cl, box))
	require.Empty(t, f.Warnings())
}

// TestQuotaIsMet: what is there at a time stays below the quota, and an account
// that fills up all the same keeps no filler.
func TestQuotaIsMet(t *testing.T) {
	srv := testserver.Dovecot(t, testserver.DovecotOptions{QuotaBytes: 400_000}).Account(1).Server
	cl := client(t, srv)
	f := imposer(t, cl, 100_000)
	box := inbox(t, cl)
	can, err := f.Imposable(t.Context(), box, identity(0, 5000))
	require.NoError(t, err)
	require.Equal(t, mailhaul.LevelOrder, can.Level)
	require.Contains(t, can.Reason, "room for")

	// Nobody asked: it goes on without fillers.
	w, err := f.OpenImposing(t.Context(), box, identity(0, 5000))
	require.NoError(t, err)
	r, err := w.Append(t.Context(), outgoing(5000))
	require.NoError(t, err)
	require.NoError(t, w.Finish(t.Context()))
	require.NoError(t, w.Close())
	require.Equal(t, []mailhaul.UID{1}, uidsOf(t, r))
	require.Len(t, holds(t, cl, box), 1)

	// The quota bites in the middle.
	w, err = f.OpenFilling(t.Context(), box, mailhaul.Identity{})
	require.NoError(t, err)
	_, err = w.Append(t.Context(), outgoing(4000))
	if err == nil {
		err = w.Finish(t.Context())
	}
	require.Error(t, err)
	_ = w.Close()
	require.NoError(t, f.Recover(t.Context(), box, 1))
	for _, subject := range holds(t, cl, box) {
		require.NotContains(t, subject, "keeps a place")
	}
}
