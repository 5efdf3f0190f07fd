package e2e

// What a pass costs where little has changed, on the in-process servers.

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// delta is two servers in the process, and a checkpoint that counts.
type delta struct {
	t              *testing.T
	source, target *imapserver.Server
	store          *countingStore
}

func newDelta(t *testing.T, caps []string) *delta {
	d := &delta{
		t: t, source: imapserver.New(imapserver.Options{Caps: caps}), target: imapserver.New(imapserver.Options{Caps: caps}),
		store: &countingStore{Store: checkpoint.NewMemory()},
	}
	t.Cleanup(func() {
		require.NoError(t, d.source.Close())
		require.NoError(t, d.target.Close())
	})
	d.source.AddUser("ada", "pw")
	d.target.AddUser("ada", "pw")
	return d
}

// cost is what a pass took, on both sides together.
type cost struct {
	roundTrips int64
	octets     int64
	writes     int64 // commands that change an account
	commits    int64 // of the checkpoint
}

// sides returns clients of both servers.
func (d *delta) sides() (from, to *imapx.Client) {
	d.t.Helper()
	server := func(s *imapserver.Server, host string) mailhaul.Server {
		return mailhaul.Server{
			Host: host, User: "ada", Security: mailhaul.Plaintext, Dial: s.Dial,
			Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("pw"), nil },
		}
	}
	from, err := imapx.New(imapx.Config{Server: server(d.source, "old.localhost")})
	require.NoError(d.t, err)
	to, err = imapx.New(imapx.Config{Server: server(d.target, "new.localhost")})
	require.NoError(d.t, err)
	return from, to
}

func (d *delta) pass() (*mailsync.Result, cost) {
	d.t.Helper()
	before := []imapserver.Stats{d.source.Stats(), d.target.Stats()}
	commits := d.store.commits.Load()
	from, to := d.sides()
	s, err := mailsync.New(mailsync.Config{Source: from, Target: to, Store: d.store, Deletes: mailsync.DeletesRemove})
	require.NoError(d.t, err)
	res, err := s.Run(d.t.Context())
	require.NoError(d.t, err)
	require.True(d.t, res.Complete(), "%v", res.Failed)
	require.NoError(d.t, from.Close())
	require.NoError(d.t, to.Close())
	c := cost{
		roundTrips: max(from.Traffic().RoundTrips, to.Traffic().RoundTrips),
		commits:    int64(d.store.commits.Load() - commits),
	}
	for i, now := range []imapserver.Stats{d.source.Stats(), d.target.Stats()} {
		c.octets += now.BytesIn + now.BytesOut - before[i].BytesIn - before[i].BytesOut
		for name, n := range now.Commands {
			for _, writing := range []string{"APPEND", "STORE", "EXPUNGE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "COPY", "MOVE", "SELECT"} {
				if strings.TrimPrefix(name, "UID ") == writing {
					c.writes += n - before[i].Commands[name]
				}
			}
		}
	}
	return res, c
}

func deltaMail(folder, i, size int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d.%d@example.org>\r\nDate: Mon, 2 Mar 2020 10:00:00 +0000\r\nSubject: %d\r\nFrom: ada@example.org\r\n\r\n%s\r\n",
		folder, i, i, strings.Repeat("x", size))
}

func TestCostOfAPassWithLittleToDo(t *testing.T) {
	const folders = 200
	each := 500
	if testing.Short() {
		each = 25
	}
	for name, caps := range map[string][]string{
		"with CONDSTORE":    imapserver.DefaultCaps,
		"without CONDSTORE": imapserver.Without("CONDSTORE"),
	} {
		t.Run(name, func(t *testing.T) {
			n := each
			if name != "with CONDSTORE" {
				n = min(each, 100)
			}
			d := newDelta(t, caps)
			var boxes []*imapserver.Mailbox
			for f := range folders {
				box := d.source.User("ada").Create(fmt.Sprintf("Folder %d", f))
				boxes = append(boxes, box)
				for i := range n {
					box.Add(imapserver.Message{Body: deltaMail(f, i, 20), Date: time.Unix(1.6e9, 0)})
				}
			}
			first, _ := d.pass()
			require.Equal(t, folders*n, first.Copied)

			res, c := d.pass()
			require.False(t, res.Changed())
			t.Logf("unchanged account of %d folders and %d messages: %d round trips, %d octets, %d writes, %d commits",
				folders, folders*n, c.roundTrips, c.octets, c.writes, c.commits)
			require.Zero(t, c.writes)
			if name == "with CONDSTORE" {
				require.Zero(t, c.commits)
				require.LessOrEqual(t, c.roundTrips, int64(6))
			} else {
				// Flags can have changed anywhere: every mailbox is opened on both
				// sides, and asked for what it holds at the same time.
				require.LessOrEqual(t, c.roundTrips, int64(40+folders))
			}
			unchanged := c

			// 100 flags and 100 new messages, in a few folders.
			const changes, size = 100, 1000
			var want int64
			for i := range changes {
				box := boxes[i%10]
				require.True(t, box.SetFlags(mailhaul.UID(1+i/10*2), []mailhaul.Flag{mailhaul.FlagSeen}))
				// The source tells it, the target is asked what it has, and the UID
				// is in a STORE.
				want += int64(len("* 100 FETCH (UID 100 FLAGS (\\Seen) MODSEQ (1000))\r\n")*2 + len("100,"))
				body := deltaMail(i%10, 10_000+i, size)
				box.Add(imapserver.Message{Body: body, Date: time.Unix(1.6e9, 0)})
				// It is described, fetched and appended.
				want += int64(len("* 100 FETCH (UID 100 FLAGS () RFC822.SIZE 1000 INTERNALDATE \"01-Jan-2020 00:00:00 +0000\")\r\n") +
					len("* 100 FETCH (UID 100 BODY[] {1000}\r\n)\r\n") + len(" () \"01-Jan-2020 00:00:00 +0000\" {1000+}\r\n") + 2*len(body))
			}
			res, c = d.pass()
			require.Equal(t, changes, res.Copied)
			require.Equal(t, changes, res.FlagsUpdated)
			t.Logf("%d flags and %d messages of %d octets: %d octets, which themselves take %d (%.2f times), %d round trips, %d commits",
				changes, changes, size, c.octets, want, float64(c.octets)/float64(want), c.roundTrips, c.commits)
			if name == "with CONDSTORE" {
				require.LessOrEqual(t, c.octets, 2*want)
				require.LessOrEqual(t, c.roundTrips, int64(100))
			} else {
				require.LessOrEqual(t, c.octets, 2*want+unchanged.octets, "the scan of all flags, and no more")
				require.LessOrEqual(t, c.roundTrips, int64(100+folders))
			}

			// And what is deleted costs no more.
			for i := range changes {
				boxes[i%10].Expunge(mailhaul.UID(2 + i/10*2))
			}
			res, c = d.pass()
			require.Equal(t, changes, res.Deleted)
			t.Logf("%d deleted messages: %d octets, %d round trips", changes, c.octets, c.roundTrips)
			if name == "with CONDSTORE" {
				require.LessOrEqual(t, c.roundTrips, int64(100), "what we have deleted is not looked for")
			}
		})
	}
}

// Mail in a mailbox that is left out costs nothing, though NOTIFY tells of it.
func TestFollowHearsNothingOfWhatIsLeftOut(t *testing.T) {
	d := newDelta(t, imapserver.With("NOTIFY"))
	spam := d.source.User("ada").Create("Spam")
	add := func(i int) { spam.Add(imapserver.Message{Body: deltaMail(0, i, 20), Date: time.Unix(1.6e9, 0)}) }
	add(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from, to := d.sides()
	s, err := mailsync.New(mailsync.Config{Source: from, Target: to, Store: d.store, Exclude: []string{"Spam"}})
	require.NoError(t, err)
	listening := make(chan int, 10)
	passes := make(chan mailsync.Pass, 100)
	done := make(chan error, 1)
	go func() {
		_, err := s.Follow(ctx, mailsync.FollowOptions{
			Watching: func(told int, _ error) { listening <- told },
			Passed:   func(p mailsync.Pass) { passes <- p },
		})
		done <- err
	}()
	require.Positive(t, <-listening)
	require.True(t, (<-passes).Whole)
	for i := range 20 {
		add(i + 1)
	}
	inbox := d.source.User("ada").Mailbox("INBOX")
	inbox.Add(imapserver.Message{Body: deltaMail(1, 1, 20), Date: time.Unix(1.6e9, 0)})
	p := <-passes
	require.False(t, p.Whole, "nothing but INBOX has changed")
	require.Equal(t, 1, p.Result.Copied)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, from.Close())
	require.NoError(t, to.Close())
}
