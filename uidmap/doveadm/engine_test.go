package doveadm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/uidmap/filler"
)

// cutting makes connections that die after so many octets in all, whichever
// way they go.
type cutting struct{ left atomic.Int64 }

type cutConn struct {
	net.Conn
	c *cutting
}

func (c *cutting) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cutConn{conn, c}, nil
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.c.left.Add(-int64(n)) < 0 {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	left := c.c.left.Add(-int64(len(p)))
	if left >= 0 {
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:max(0, int64(len(p))+left)])
	_ = c.Conn.Close()
	return n, net.ErrClosed
}

// TestEngineOverCutConnections: the engine moves mailboxes with holes while the
// connections to a real server die at random octets. In the end every message
// is there once, with its UID unless it was in flight when something died, in
// order, and no filler is left.
func TestEngineOverCutConnections(t *testing.T) {
	seed := uint64(0)
	for _, filled := range []bool{false, true} {
		t.Run(fmt.Sprintf("fillers %v", filled), func(t *testing.T) {
			stores(t, func(t *testing.T, s *testserver.Server) {
				if seed++; !filled && seed > 1 {
					t.Skip("one store is enough where there are only calls")
				}
				rnd := rand.New(rand.NewPCG(seed, 4))
				from := testserver.InProcess(t, imapserver.Options{UIDValidity: 1_000_000})
				a := from.Account(1)
				in := from.User(a.User).Mailbox("INBOX")
				var uids []mailhaul.UID
				u := mailhaul.UID(0)
				for i := range 300 {
					u++
					if i%3 == 0 {
						u++
					}
					if i%60 == 0 {
						u += 10_000
					}
					in.Add(imapserver.Message{UID: u, Body: []byte(letterTo(u))})
					uids = append(uids, u)
				}
				var cut cutting
				srv := s.Account(1).Server
				srv.Dial = cut.dial
				limits := []int64{rnd.Int64N(40_000), 20_000 + rnd.Int64N(100_000), 40_000 + rnd.Int64N(150_000), 1 << 50}
				store := checkpoint.NewMemory()
				var res *mailsync.Result
				for _, limit := range limits {
					cut.left.Store(limit)
					target, err := imapx.New(imapx.Config{Server: srv})
					require.NoError(t, err)
					var below mailhaul.Target = target
					if filled {
						below, err = filler.New(filler.Config{Target: target, Max: 1000})
						require.NoError(t, err)
					}
					d := imposer(t, s, below)
					y, err := mailsync.New(mailsync.Config{Source: client(t, a.Server), Target: d, Store: store, Identity: mailhaul.LevelExact,
						SettleTime: 200 * time.Millisecond, Retries: 1})
					require.NoError(t, err)
					res, err = y.Run(t.Context())
					if limit == 1<<50 {
						require.NoError(t, err)
					}
					require.NoError(t, d.Close())
				}
				require.True(t, res.Complete(), "%+v", res.Failed)
				cl := client(t, s.Account(1).Server)
				found := held(t, cl, named(t, cl, "INBOX"))
				require.Len(t, found, len(uids), "each once, and no filler")
				kept := 0
				for _, u := range uids {
					if found[u] == fmt.Sprintf("message %d", u) {
						kept++
					}
				}
				t.Logf("%d of %d kept their UIDs; warnings: %q", kept, len(uids), res.Warnings)
				require.Equal(t, len(uids), kept)
			})
		})
	}
}
