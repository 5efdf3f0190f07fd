package dsync

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestLevels: what is promised is what can be kept.
func TestLevels(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			can := func(m mailhaul.Mailbox, want mailhaul.Identity) mailhaul.Imposable {
				c, err := r.Imposable(ctxOf(t), m, want)
				require.NoError(t, err)
				require.Equal(t, c.Level == mailhaul.LevelExact, c.Reason == "", c.Reason)
				require.True(t, c.AnswersLate)
				return c
			}
			box := r.box("Box")
			before := r.see("Box")
			uidls := mailhaul.Identity{UIDValidity: 11, UIDNext: 30, UIDLs: true, Messages: withUIDLs(messages(10, 20))}
			c := can(box, uidls)
			require.Equal(t, mailhaul.LevelExact, c.Level)
			require.Equal(t, store == "sdbox", c.OneSession)
			require.False(t, can(box, mailhaul.Identity{UIDValidity: 11, Messages: messages(3)}).OneSession)
			require.Equal(t, before, r.see("Box"), "nothing is written")
			requireStored(t, uidls.Messages, r.impose(box, uidls))

			before = r.see("Box")
			later := mailhaul.Identity{UIDValidity: 11, UIDNext: 50, UIDLs: true, Messages: withUIDLs(messages(30, 40))}
			c = can(box, later)
			if store == "sdbox" {
				require.Equal(t, mailhaul.LevelUID, c.Level, "its UIDLs would never be served")
				require.Contains(t, c.Reason, "sdbox")
			} else {
				require.Equal(t, mailhaul.LevelExact, c.Level)
			}
			later.UIDLs = false
			require.Equal(t, mailhaul.LevelExact, can(box, later).Level)
			later.UIDValidity = 12
			require.Equal(t, mailhaul.LevelUID, can(box, later).Level, "of mail it does not change")
			later.UIDValidity = 11
			later.Messages = messages(29, 40)
			require.Equal(t, mailhaul.LevelOrder, can(box, later).Level)
			require.Equal(t, before, r.see("Box"), "nothing is written")

			// An empty mailbox that has given out UIDs.
			w := r.rawIMAP()
			w.do("SELECT Box")
			w.do(`UID STORE 1:* +FLAGS (\Deleted)`)
			w.do("EXPUNGE")
			w.do("UNSELECT")
			require.Equal(t, mailhaul.LevelExact, can(box, mailhaul.Identity{UIDValidity: 77, UIDNext: 99, Messages: messages(30)}).Level)
			require.Equal(t, mailhaul.LevelOrder, can(box, mailhaul.Identity{UIDValidity: 77, UIDNext: 99, Messages: messages(29)}).Level)
			moved := mailhaul.Identity{UIDValidity: 77, UIDNext: 99, Messages: messages(30, 31)}
			requireStored(t, moved.Messages, r.impose(box, moved))
			require.Contains(t, r.see("Box").status, "UIDVALIDITY 77")

			// One that is empty on the source, too, keeps its UIDVALIDITY.
			empty := r.box("Empty")
			r.impose(empty, mailhaul.Identity{UIDValidity: 4_294_967_000, UIDNext: 1234, HighestModSeq: 55})
			require.Contains(t, r.see("Empty").status, "MESSAGES 0 UIDNEXT 1234 UIDVALIDITY 4294967000 HIGHESTMODSEQ 55")
			lower := r.box("Lower")
			r.impose(lower, mailhaul.Identity{UIDValidity: 1, UIDNext: 2})
			require.Contains(t, r.see("Lower").status, "UIDVALIDITY 1 ")

			// A mailbox that does not exist is made.
			m := mailhaul.Mailbox{Path: []string{"Made"}, Name: "Made"}
			require.Equal(t, mailhaul.LevelExact, can(m, uidls).Level)
			r.impose(m, mailhaul.Identity{UIDValidity: 5, UIDNext: 6, Messages: messages(2)})
			require.Equal(t, []mailhaul.UID{2}, r.see("Made").uids())
		})
	}
}

// TestStoreThatCannotBeAsked: behind a command a store is taken for sdbox; the
// caller may know better.
func TestStoreThatCannotBeAsked(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			srv := testserver.Dovecot(t, testserver.DovecotOptions{Store: store, Options: testserver.Options{Users: 1}})
			command := func(c *Config) {
				c.Server, c.Command = mailhaul.Server{}, []string{"/usr/bin/doveadm", "-c", filepath.Join(srv.Root, "dovecot.conf"), "dsync-server", "-u", "{user}"}
			}
			r := rigOf(t, srv, 1, command)
			box := r.box()
			want := mailhaul.Identity{UIDValidity: 11, UIDNext: 30, UIDLs: true, Messages: withUIDLs(messages(10, 20, 25, 28))}
			c, err := r.Imposable(ctxOf(t), box, want)
			require.NoError(t, err)
			require.Equal(t, mailhaul.LevelExact, c.Level)
			require.True(t, c.OneSession)
			requireStored(t, want.Messages, r.impose(box, want))
			require.Equal(t, []string{string(uidlOf(28)), string(uidlOf(25)), string(uidlOf(20)), string(uidlOf(10))}, r.uidls())

			knowing := rigOf(t, srv, 1, func(c *Config) { command(c); c.Store = store })
			later := mailhaul.Identity{UIDValidity: 11, UIDNext: 50, UIDLs: true, Messages: withUIDLs(messages(30, 40))}
			for _, r := range []*rig{r, knowing} {
				c, err = r.Imposable(ctxOf(t), box, later)
				require.NoError(t, err)
				exact := store != "sdbox" && r == knowing
				require.Equal(t, exact, c.Level == mailhaul.LevelExact, c.Reason)
			}
		})
	}
}

// TestOctets: bodies of all sorts arrive as they are over IMAP's own APPEND.
func TestOctets(t *testing.T) {
	bodies := []string{
		"Subject: a\r\n\r\n.\r\n", ".\r\n", "..\r\n.\r\n...", "", "\r\n", "no end of line", "x\r", "a\r\n.", "bare\n.\nlf\n", "cr\ralone\r.\r",
		"Subject: b\r\n\r\n\r\n.\r\n\r\n.\r\n", "8bit \xff\xfe\r\n", strings.Repeat("long line ", 20_000) + "\r\n.end",
	}
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			plain, box := r.box("Plain"), r.box("Dsync")
			want := mailhaul.Identity{UIDValidity: 9, UIDNext: 100}
			var outs []mailhaul.Outgoing
			for i, b := range bodies {
				m := messages(mailhaul.UID(i + 1))[0]
				want.Messages = append(want.Messages, m)
				outs = append(outs, mailhaul.Outgoing{UID: m.UID, Flags: m.Flags, InternalDate: m.InternalDate, Body: &body{data: []byte(b)}})
			}
			ctx := ctxOf(t)
			w, err := r.OpenImposing(ctx, box, want)
			require.NoError(t, err)
			receipt, err := w.Append(ctx, outs)
			require.NoError(t, err)
			require.NoError(t, w.Finish(ctx))
			outcomes, err := receipt.Wait(ctx)
			require.NoError(t, err)
			requireStored(t, want.Messages, outcomes)
			require.NoError(t, w.Close())
			raw := r.rawIMAP()
			for i, b := range bodies {
				if b == "" {
					continue // refused by APPEND
				}
				raw.do("APPEND %s {%d+}\r\n%s", plain.Wire, len(b), b)
				raw.do("EXAMINE %s", plain.Wire)
				var last mailhaul.UID
				for _, uid := range r.see(plain.Wire).uids() {
					last = uid
				}
				there := raw.octets(last)
				raw.do("EXAMINE %s", box.Wire)
				require.Equalf(t, string(there), string(raw.octets(mailhaul.UID(i+1))), "%.40q", b)
			}
		})
	}
}

// TestDatesAndDrops: dates at the edges, and flags that cannot be kept.
func TestDatesAndDrops(t *testing.T) {
	r := newRig(t, testserver.DovecotOptions{})
	box := r.box()
	msgs := messages(1, 2, 3, 4)
	msgs[0].InternalDate = time.Time{}
	msgs[1].InternalDate = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)
	msgs[2].InternalDate = time.Date(2031, 6, 1, 12, 0, 0, 0, time.FixedZone("", 5*3600))
	msgs[3].Flags = []mailhaul.Flag{`\Recent`, `\Odd`, "bad flag", "Good", `\seen`}
	outcomes := r.impose(box, mailhaul.Identity{UIDValidity: 5, UIDNext: 5, Messages: msgs})
	require.Equal(t, 2, outcomes[3].Dropped)
	s := r.see("INBOX")
	require.Contains(t, s.messages[0], `INTERNALDATE "`+time.Now().UTC().Format("02-Jan-2006"))
	require.Contains(t, s.messages[1], `INTERNALDATE "01-Jan-1970 00:00:00 +0000"`)
	require.Contains(t, s.messages[2], `INTERNALDATE "01-Jun-2031 07:00:00 +0000"`)
	require.Contains(t, s.messages[3], `FLAGS (\Seen Good)`)
}

// TestStreamed: a large body that is not at hand goes through as it comes.
func TestStreamed(t *testing.T) {
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testserver.DovecotOptions{Store: store})
			box := r.box()
			msgs := withUIDLs(messages(3, 4, 5, 6, 7))
			ctx := ctxOf(t)
			w, err := r.OpenImposing(ctx, box, mailhaul.Identity{UIDValidity: 5, UIDNext: 8, UIDLs: true, Messages: msgs})
			require.NoError(t, err)
			const size = 9 << 20
			text := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"), size/64)...)
			var released atomic.Int64
			var receipts []mailhaul.Receipt
			for i, m := range msgs {
				out := outgoing(m)
				if i == 2 {
					out.Body = &body{data: text, read: io.MultiReader(bytes.NewReader(text)), released: &released}
				}
				receipt, err := w.Append(ctx, []mailhaul.Outgoing{out})
				require.NoError(t, err)
				receipts = append(receipts, receipt)
			}
			require.Equal(t, int64(1), released.Load())
			require.NoError(t, w.Finish(ctx))
			for i, receipt := range receipts {
				outcomes, err := receipt.Wait(ctx)
				require.NoError(t, err)
				requireStored(t, msgs[i:i+1], outcomes)
			}
			require.NoError(t, w.Close())
			raw := r.rawIMAP()
			raw.do("EXAMINE INBOX")
			require.True(t, bytes.Equal(text, raw.octets(5)))
			require.Equal(t, []string{string(uidlOf(7)), string(uidlOf(6)), string(uidlOf(5)), string(uidlOf(4)), string(uidlOf(3))}, r.uidls())
		})
	}
}

// TestQuotaIsNotLookedAt: an account may become fuller than it is allowed to
// be, as it does by Dovecot's own dsync.
func TestQuotaIsNotLookedAt(t *testing.T) {
	r := newRig(t, testserver.DovecotOptions{QuotaBytes: 500})
	box := r.box()
	want := mailhaul.Identity{UIDValidity: 5, UIDNext: 50, Messages: messages(1, 2, 5, 9, 14, 20, 27, 35, 44)}
	requireStored(t, want.Messages, r.impose(box, want))
	requireSeen(t, r, "INBOX", want.Messages)
}

// TestSideBySide: mailboxes of one account at the same time, and flags that are
// changed in one.
func TestSideBySide(t *testing.T) {
	r := newRig(t, testserver.DovecotOptions{Store: "mdbox"})
	var wg sync.WaitGroup
	for i := range 5 {
		box := r.box(fmt.Sprintf("Box%d", i))
		wg.Go(func() {
			ctx := ctxOf(t)
			msgs := messages(2, 3, 5, 7, 11, 13)
			w, err := r.OpenImposing(ctx, box, mailhaul.Identity{UIDValidity: 5, UIDNext: 20, Messages: msgs})
			if err == nil {
				for _, m := range msgs {
					_, err = w.Append(ctx, []mailhaul.Outgoing{outgoing(m)})
				}
				err = errors.Join(err, w.Finish(ctx), w.Store(ctx, []mailhaul.FlagChange{{UID: 3, Add: []mailhaul.Flag{"Later"}}}), w.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 5 {
		s := r.see(fmt.Sprintf("Box%d", i))
		require.Equal(t, []mailhaul.UID{2, 3, 5, 7, 11, 13}, s.uids())
		require.Contains(t, s.messages[1], "Later")
	}
}

// TestUnknownMessages: what was not announced is refused, and what is out of
// order; nothing else suffers.
func TestUnknownMessages(t *testing.T) {
	r := newRig(t, testserver.DovecotOptions{})
	box := r.box()
	_, err := r.OpenImposing(ctxOf(t), box, mailhaul.Identity{UIDValidity: 5, Messages: messages(3, 2)})
	require.Error(t, err)
	ctx := ctxOf(t)
	msgs := messages(2, 3, 5)
	w, err := r.OpenImposing(ctx, box, mailhaul.Identity{UIDValidity: 5, UIDNext: 20, Messages: msgs})
	require.NoError(t, err)
	receipt, err := w.Append(ctx, []mailhaul.Outgoing{outgoing(msgs[0]), outgoing(messages(4)[0]), outgoing(msgs[2]), outgoing(msgs[1])})
	require.NoError(t, err)
	require.NoError(t, w.Finish(ctx))
	outcomes, err := receipt.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, mailhaul.NotStored, outcomes[1].Delivery)
	require.Equal(t, mailhaul.NotStored, outcomes[3].Delivery)
	require.Equal(t, mailhaul.Conflict, mailhaul.KindOf(outcomes[1].Err))
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	require.Equal(t, []mailhaul.UID{2, 5}, r.see("INBOX").uids())
}
