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

func (d *delta) pass() (*mailsync.Result, cost) {
	d.t.Helper()
	server := func(s *imapserver.Server, host string) mailhaul.Server {
		return mailhaul.Server{
			Host: host, User: "ada", Security: mailhaul.Plaintext, Dial: s.Dial,
			Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("pw"), nil },
		}
	}
	before := []imapserver.Stats{d.source.Stats(), d.target.Stats()}
	commits := d.store.commits.Load()
	from, err := imapx.New(imapx.Config{Server: server(d.source, "old.localhost")})
	require.NoError(d.t, err)
	to, err := imapx.New(imapx.Config{Server: server(d.target, "new.localhost")})
	require.NoError(d.t, err)
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
				// sides and asked for its UIDs, and the source for its flags.
				require.LessOrEqual(t, c.roundTrips, int64(6+4*folders))
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
			} else {
				require.LessOrEqual(t, c.octets, 2*want+unchanged.octets, "the scan of all flags, and no more")
			}

			// And what is deleted costs no more.
			for i := range changes {
				boxes[i%10].Expunge(mailhaul.UID(2 + i/10*2))
			}
			res, c = d.pass()
			require.Equal(t, changes, res.Deleted)
			t.Logf("%d deleted messages: %d octets, %d round trips", changes, c.octets, c.roundTrips)
		})
	}
}
