package doveadm_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/uidmap/doveadm"
	"github.com/mailhaul/mailhaul/uidmap/filler"
)

// TestOneConnectionIsEnough: several mailboxes at once, over a pool of one
// connection on either side, which each of them needs for more than one thing:
// nobody waits for what somebody holds who waits.
func TestOneConnectionIsEnough(t *testing.T) {
	s := testserver.Dovecot(t, testserver.DovecotOptions{Store: "mdbox"})
	from := testserver.InProcess(t, imapserver.Options{UIDValidity: 1_000_000, Delimiter: "/"})
	for i, filled := range []bool{false, true} {
		t.Run(fmt.Sprintf("fillers %v", filled), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			a := from.Account(i + 1)
			boxes := []string{"INBOX", "A", "B", "C"}
			for _, name := range boxes[1:] {
				from.User(a.User).Create(name)
			}
			add := func(first, n int) {
				for _, name := range boxes {
					for u := range n {
						uid := mailhaul.UID(first + 3*u)
						from.User(a.User).Mailbox(name).Add(imapserver.Message{UID: uid, Body: []byte(letterTo(uid))})
					}
				}
			}
			open := func(srv mailhaul.Server) *imapx.Client {
				cl, err := imapx.New(imapx.Config{Server: srv, Connections: 1})
				require.NoError(t, err)
				t.Cleanup(func() { _ = cl.Close() })
				return cl
			}
			var below mailhaul.Target = open(s.Account(i + 1).Server)
			if filled {
				f, err := filler.New(filler.Config{Target: below, Max: 1000})
				require.NoError(t, err)
				below = f
			}
			d, err := doveadm.New(doveadm.Config{Target: below, Server: admin(s), Key: mailhaul.NewSecret(testserver.DoveadmAPIKey)})
			require.NoError(t, err)
			defer d.Close()
			cfg := mailsync.Config{Source: open(a.Server), Target: d, Store: checkpoint.NewMemory(), Identity: mailhaul.LevelExact, Mailboxes: 4}
			for pass := range 2 {
				add(5+1000*pass, 20)
				y, err := mailsync.New(cfg)
				require.NoError(t, err)
				res, err := y.Run(ctx)
				require.NoError(t, err)
				require.True(t, res.Complete(), "%+v", res.Failed)
				require.Equal(t, 80, res.Copied)
				for name, level := range res.Identity {
					require.Equal(t, "exact", level, name)
				}
			}
		})
	}
}
