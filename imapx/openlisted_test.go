package imapx

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

const all = mailhaul.FieldFlags | mailhaul.FieldSize | mailhaul.FieldDate

// Opening and describing at once says what opening and then describing does, on
// every server, and takes one round trip.
func TestOpenListed(t *testing.T) {
	for _, setup := range testserver.Setups() {
		t.Run(setup.Name, func(t *testing.T) {
			cl := openClient(t, Config{Server: setup.Start(t).Server})
			w, err := cl.OpenWriter(t.Context(), inbox)
			require.NoError(t, err)
			for i := range 3 {
				receipt, err := w.Append(t.Context(), []mailhaul.Outgoing{out(mail(i+20), mailhaul.FlagSeen)})
				require.NoError(t, err)
				_, err = receipt.Wait(t.Context())
				require.NoError(t, err)
			}
			require.NoError(t, w.Finish(t.Context()))
			require.NoError(t, w.Close())

			r, err := cl.OpenReader(t.Context(), inbox)
			require.NoError(t, err)
			set, err := r.UIDs(t.Context())
			require.NoError(t, err)
			var want []mailhaul.Message
			for m, err := range r.Messages(t.Context(), set, all, 0) {
				require.NoError(t, err)
				want = append(want, m)
			}
			status := r.Status()
			require.NoError(t, r.Close())

			before := cl.Traffic().RoundTrips
			listed, got, err := cl.OpenListed(t.Context(), inbox, all)
			require.NoError(t, err)
			assert.EqualValues(t, 1, cl.Traffic().RoundTrips-before)
			require.Len(t, got, 3)
			assert.Equal(t, want, got)
			assert.Equal(t, status, listed.Status())
			bodies, err := listed.Fetch(t.Context(), set, false)
			require.NoError(t, err)
			n := 0
			for f, err := range bodies {
				require.NoError(t, err)
				f.Body.Release()
				n++
			}
			assert.Equal(t, 3, n)
			require.NoError(t, listed.Close())
		})
	}
}

func TestOpenListedOfAnEmptyMailbox(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		cl := openClient(t, Config{Server: srv})
		r, msgs, err := cl.OpenListed(t.Context(), inbox, all)
		require.NoError(t, err)
		assert.Empty(t, msgs)
		require.NoError(t, r.Close())
	})
}

// A mailbox that cannot be opened is an error, and the connection as good as
// before.
func TestOpenListedRefused(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		cl := openClient(t, Config{Server: srv})
		_, _, err := cl.OpenListed(t.Context(), mailhaul.Mailbox{Name: "None", Wire: "None"}, all)
		require.Equal(t, mailhaul.Conflict, mailhaul.KindOf(err), "%v", err)
		r, err := cl.OpenReader(t.Context(), inbox)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.EqualValues(t, 1, cl.Traffic().Connections)
	})
}

// What does not agree with the number of messages is not believed, what is said
// of the mailbox that was open before is not taken, and a server that does not
// know CONDSTORE after all is asked without.
func TestOpenListedDoubts(t *testing.T) {
	run := func(t *testing.T, hooks imapserver.Hooks) (*target, mailhaul.Reader, []mailhaul.Message) {
		tg := newTarget(t, imapserver.Options{Hooks: hooks})
		for i := range 3 {
			tg.inbox.Add(imapserver.Message{Body: []byte(mail(i))})
		}
		r, msgs, err := tg.OpenListed(t.Context(), inbox, all)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, r.Close()) })
		set, err := r.UIDs(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 3, set.Len(), "the Reader knows better")
		return tg, r, msgs
	}
	t.Run("one is left out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, msgs := run(t, imapserver.Hooks{Response: func(_ *imapserver.Session, command, _ string, line []byte) imapserver.Action {
				return imapserver.Action{Drop: command == "UID FETCH" && bytes.HasPrefix(line, []byte("* 2 FETCH (UID 2 FLAGS"))}
			}})
			assert.Nil(t, msgs)
		})
	})
	t.Run("another mailbox speaks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, msgs := run(t, imapserver.Hooks{Command: func(_ *imapserver.Session, command, _ string) *imapserver.Override {
				if command != "EXAMINE" {
					return nil
				}
				return &imapserver.Override{Execute: true, Untagged: "* 1 FETCH (UID 1 FLAGS (\\Deleted) RFC822.SIZE 77 INTERNALDATE \"01-Jan-2001 00:00:00 +0000\")\r\n"}
			}})
			require.Len(t, msgs, 3)
			assert.NotEqualValues(t, 77, msgs[0].Size)
		})
	})
	t.Run("no CONDSTORE", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tg, _, _ := run(t, imapserver.Hooks{Command: func(_ *imapserver.Session, command, args string) *imapserver.Override {
				if command == "EXAMINE" && strings.Contains(args, "CONDSTORE") {
					return &imapserver.Override{Reply: "BAD what is CONDSTORE?"}
				}
				return nil
			}})
			assert.Len(t, tg.lines("EXAMINE"), 2)
		})
	})
}

// A mailbox that is there is subscribed to together with those that are made.
func TestCreateManySubscribes(t *testing.T) {
	eachServer(t, func(t *testing.T, srv mailhaul.Server) {
		cl := openClient(t, Config{Server: srv})
		made, err := cl.CreateMany(t.Context(), []mailhaul.NewMailbox{
			{Path: []string{"INBOX"}, Wire: "INBOX", Subscribe: true},
			{Path: []string{"New"}},
		})
		require.NoError(t, err)
		assert.True(t, made[0].Subscribed)
		assert.False(t, made[1].Subscribed)
		// Dovecot shows it to other sessions only, for a moment.
		l, err := openClient(t, Config{Server: srv}).List(t.Context())
		require.NoError(t, err)
		assert.True(t, l.Find([]string{"INBOX"}).Subscribed)
		assert.False(t, l.Find([]string{"New"}).Subscribed)
	})
}

// Connections are made side by side once the first is there, as many as are
// asked for and no more than there may be.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{}, func(c *Config) { c.Connections = 4 })
		done := make(chan struct{})
		go func() {
			tg.Warm(t.Context(), 3)
			close(done)
		}()
		synctest.Wait()
		assert.EqualValues(t, 0, tg.Traffic().Connections, "nobody has logged in yet")
		_, err := tg.List(t.Context())
		require.NoError(t, err)
		<-done
		assert.EqualValues(t, 3, tg.Traffic().Connections)
		tg.Warm(t.Context(), 100)
		assert.EqualValues(t, 4, tg.Traffic().Connections)
		assert.EqualValues(t, 4, tg.server.Stats().Open)
	})
}

// A server that lets nobody in is asked once, and a Client that is closed ends
// the wait.
func TestWarmWithoutAFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{Hooks: imapserver.Hooks{Accept: func(int) error { return errors.New("no") }}})
		done := make(chan struct{})
		go func() {
			tg.Warm(t.Context(), 3)
			close(done)
		}()
		_, err := tg.List(t.Context())
		require.Error(t, err)
		synctest.Wait()
		assert.LessOrEqual(t, tg.Traffic().Connections, int64(1))
		require.NoError(t, tg.Close())
		<-done
	})
}

// A connection that was reserved is given back by Open, whatever comes of it.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tg := newTarget(t, imapserver.Options{}, func(c *Config) { c.Connections = 1 })
		for range 3 {
			r, err := tg.Reserve(t.Context(), mailhaul.Mailbox{Name: "None", Wire: "None"})
			require.NoError(t, err)
			_, err = r.Open(t.Context())
			require.Error(t, err)
		}
		r, err := tg.Reserve(t.Context(), inbox)
		require.NoError(t, err)
		w, err := r.Open(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.Close())
		w, err = tg.OpenWriter(t.Context(), inbox)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		assert.EqualValues(t, 1, tg.Traffic().Connections)
	})
}
