// The rig: two accounts on two servers, an engine between them, an oracle.

package e2e

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// pair is a way to set up the two servers.
type pair struct {
	name string
	make func(t testing.TB) (from, to testserver.Account)
}

// pairs are the servers between which the main job is done.
func pairs() []pair {
	return []pair{
		{"in-process", func(t testing.TB) (from, to testserver.Account) {
			a := testserver.InProcess(t, imapserver.Options{Delimiter: ".", Prefix: "INBOX."})
			b := testserver.InProcess(t, imapserver.Options{Delimiter: "/"})
			return a.Account(1), b.Account(1)
		}},
		{"in-process, back", func(t testing.TB) (from, to testserver.Account) {
			a := testserver.InProcess(t, imapserver.Options{Delimiter: "/"})
			b := testserver.InProcess(t, imapserver.Options{Delimiter: ".", Prefix: "INBOX."})
			return a.Account(1), b.Account(1)
		}},
		{"dovecot", func(t testing.TB) (from, to testserver.Account) {
			a := testserver.Dovecot(t, testserver.DovecotOptions{})
			b := testserver.Dovecot(t, testserver.DovecotOptions{})
			return a.Account(1), b.Account(1)
		}},
		{"dovecot sdbox INBOX. to in-process", func(t testing.TB) (from, to testserver.Account) {
			a := testserver.Dovecot(t, testserver.DovecotOptions{Store: "sdbox", Separator: ".", Prefix: "INBOX."})
			b := testserver.InProcess(t, imapserver.Options{})
			return a.Account(1), b.Account(1)
		}},
		{"in-process to dovecot mdbox", func(t testing.TB) (from, to testserver.Account) {
			a := testserver.InProcess(t, imapserver.Options{})
			b := testserver.Dovecot(t, testserver.DovecotOptions{Store: "mdbox"})
			return a.Account(1), b.Account(1)
		}},
	}
}

// rig moves mail between two accounts.
type rig struct {
	t        testing.TB
	from, to testserver.Account
	state    string // the checkpoint's file
	cfg      mailsync.Config
}

func newRig(t testing.TB, from, to testserver.Account) *rig {
	return &rig{t: t, from: from, to: to, state: filepath.Join(t.TempDir(), "state.db")}
}

// load fills the source.
func (r *rig) load(boxes []corpus.Mailbox) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	require.NoError(r.t, corpus.Load(ctx, r.from.Server, boxes))
}

// run makes one pass and checks the checkpoint afterwards.
func (r *rig) run() (*mailsync.Result, error) {
	r.t.Helper()
	store, err := checkpoint.Open(r.state, nil)
	require.NoError(r.t, err)
	defer func() {
		require.NoError(r.t, checkpoint.Check(context.Background(), store))
		require.NoError(r.t, store.Close())
	}()
	from, to := client(r.t, r.from.Server), client(r.t, r.to.Server)
	defer from.Close()
	defer to.Close()
	cfg := r.cfg
	cfg.Source, cfg.Target, cfg.Store = from, to, store
	s, err := mailsync.New(cfg)
	require.NoError(r.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	return s.Run(ctx)
}

// mustRun makes a pass that must end by itself.
func (r *rig) mustRun() *mailsync.Result {
	r.t.Helper()
	res, err := r.run()
	require.NoError(r.t, err)
	return res
}

func client(t testing.TB, srv mailhaul.Server) *imapx.Client {
	t.Helper()
	c, err := imapx.New(imapx.Config{Server: srv})
	require.NoError(t, err)
	return c
}

// snapshot reads an account with the oracle.
func snapshot(t testing.TB, a testserver.Account) *oracle.Account {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := oracle.Snapshot(ctx, a.Server)
	require.NoError(t, err)
	return s
}

// same compares both sides and reports each difference.
func (r *rig) same(opts oracle.CompareOptions) {
	r.t.Helper()
	for _, d := range oracle.Compare(snapshot(r.t, r.from), snapshot(r.t, r.to), opts) {
		r.t.Error(d)
	}
}
