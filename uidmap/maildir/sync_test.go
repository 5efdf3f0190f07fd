package maildir

// The engine moves accounts into a tree, and out of it.

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
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func runSync(t *testing.T, source mailhaul.Source, target mailhaul.Target, store checkpoint.Store, change func(*mailsync.Config)) *mailsync.Result {
	t.Helper()
	cfg := mailsync.Config{Source: source, Target: target, Store: store}
	if change != nil {
		change(&cfg)
	}
	s, err := mailsync.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	res, err := s.Run(ctx)
	require.NoError(t, err)
	return res
}

func source(t *testing.T, srv mailhaul.Server) *imapx.Client {
	t.Helper()
	c, err := imapx.New(imapx.Config{Server: srv})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestEngineMovesIntoATree(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		ctx := context.Background()
		from := testserver.InProcess(t, imapserver.Options{Delimiter: "."}).Account(1)
		boxes := corpus.Default(150)
		boxes = append(boxes, corpus.Of([]string{"Odd"}, corpus.Odd()...))
		boxes = append(boxes, corpus.Of([]string{"Large"}, corpus.Large(9<<20)))
		require.NoError(t, corpus.Load(ctx, from.Server, boxes))
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		store := checkpoint.NewMemory()
		res := runSync(t, source(t, from.Server), target, store, func(c *mailsync.Config) { c.StreamAbove = 1 << 20 })
		require.True(t, res.Complete(), "%+v", res.Failed)
		require.Equal(t, corpus.Total(boxes), res.Copied)

		src, err := oracle.Snapshot(ctx, from.Server)
		require.NoError(t, err)
		dst := served(t, s)
		// Odd messages that the server cannot show as they are have been listed.
		listed := make(map[string]int)
		for _, a := range res.Altered {
			listed[a.Mailbox]++
		}
		require.Positive(t, listed["Odd"])
		require.Len(t, listed, 1, "%v", listed)
		diffs := oracle.Compare(without(src, "Odd"), without(dst, "Odd"), oracle.CompareOptions{IgnoreRoles: true})
		require.Empty(t, diffs)
		bad := 0
		for _, m := range src.Find("Odd").Messages {
			found := false
			for _, n := range dst.Find("Odd").Messages {
				found = found || n.Sum == m.Sum
			}
			if !found {
				bad++
			}
		}
		require.Equal(t, bad, listed["Odd"], "as many as differ are listed")

		// Again, with the checkpoint and without: nothing is to be done.
		require.NoError(t, target.checkUnusedSoon(t))
		res = runSync(t, source(t, from.Server), target, store, nil)
		require.True(t, res.Complete())
		require.Zero(t, res.Copied)
		res = runSync(t, source(t, from.Server), target, nil, nil)
		require.True(t, res.Complete(), "%+v", res.Failed)
		require.Zero(t, res.Copied, "all is recognised")
	})
}

func without(a *oracle.Account, name string) *oracle.Account {
	b := &oracle.Account{Name: a.Name}
	for _, m := range a.Mailboxes {
		if m.Name() != name {
			b.Mailboxes = append(b.Mailboxes, m)
		}
	}
	return b
}

// A tree of one server moves into a tree of the other, and several Writers
// write one mailbox at once.
func TestEngineMovesFromTreeToTree(t *testing.T) {
	ctx := context.Background()
	from := testserver.InProcess(t, imapserver.Options{Delimiter: "."}).Account(1)
	require.NoError(t, corpus.Load(ctx, from.Server, corpus.Default(60)))
	dir := t.TempDir()
	trees := []*Target{
		open(t, Config{Path: filepath.Join(dir, "a"), Flavor: Dovecot}),
		open(t, Config{Path: filepath.Join(dir, "b"), Flavor: Courier}),
		open(t, Config{Path: filepath.Join(dir, "c"), Flavor: Dovecot}),
	}
	var last mailhaul.Source = source(t, from.Server)
	for i, to := range trees {
		res := runSync(t, last, to, nil, func(c *mailsync.Config) { c.Appenders, c.BatchMessages = 1+2*i, 7 })
		require.True(t, res.Complete(), "%+v", res.Failed)
		require.Equal(t, 60, res.Copied)
		last = to
	}
	l, err := trees[2].List(ctx)
	require.NoError(t, err)
	total := 0
	for _, m := range l.Mailboxes {
		a, b := readAll(t, trees[0], m), readAll(t, trees[2], m)
		total += len(a.messages)
		want, got := make(map[string]int), make(map[string]int)
		for _, text := range a.bodies {
			want[text]++
		}
		for _, text := range b.bodies {
			got[text]++
		}
		require.Equal(t, want, got)
	}
	require.Equal(t, 60, total)
}

// An engine that is asked for every identity moves an account with it, a delta
// too, and a client of the server sees no difference.
func TestEngineMovesWithEveryIdentity(t *testing.T) {
	eachServer(t, func(t *testing.T, flavor Flavor) {
		ctx := context.Background()
		server := testserver.InProcess(t, imapserver.Options{Delimiter: "."})
		from := server.Account(1)
		boxes := corpus.Default(60)
		require.NoError(t, corpus.Load(ctx, from.Server, boxes))
		makeHoles(t, from)
		s := serve(t, flavor)
		target := tree(t, s, flavor)
		store := checkpoint.NewMemory()
		highest := mailsync.Holds
		if flavor == Courier { // which keeps no mod-sequences
			highest = mailsync.NotApplicable
		}
		check := func(res *mailsync.Result) {
			t.Helper()
			require.True(t, res.Complete(), "%+v", res.Failed)
			src, err := oracle.Snapshot(ctx, from.Server)
			require.NoError(t, err)
			require.Empty(t, oracle.Compare(src, served(t, s), oracle.CompareOptions{IgnoreRoles: true, SameUIDs: flavor == Dovecot}))
			if flavor == Courier { // which does not tell UIDNEXT when a mailbox is opened
				dst := served(t, s)
				for _, m := range src.Mailboxes {
					n := dst.Find(m.Path...)
					require.Equal(t, m.UIDValidity, n.UIDValidity)
					for i := range m.Messages {
						require.Equal(t, m.Messages[i].UID, n.Messages[i].UID)
					}
				}
			}
			for _, m := range res.IdentityDetail {
				require.Equal(t, mailhaul.LevelExact, m.Level, "%+v", m)
				require.Equal(t, highest, m.HighestModSeq, "%+v", m)
			}
			require.NotEmpty(t, res.IdentityDetail)
		}
		check(runSync(t, source(t, from.Server), target, store, func(c *mailsync.Config) { c.Identity = mailhaul.LevelExact }))

		require.NoError(t, corpus.Load(ctx, from.Server, []corpus.Mailbox{corpus.Of([]string{"INBOX"}, corpus.Large(4000), corpus.Large(5000))}))
		require.NoError(t, target.checkUnusedSoon(t))
		res := runSync(t, source(t, from.Server), target, store, func(c *mailsync.Config) { c.Identity = mailhaul.LevelExact })
		require.Equal(t, 2, res.Copied)
		check(res)
	})
}

// makeHoles removes every other message of INBOX, the last among them.
func makeHoles(t *testing.T, a testserver.Account) {
	t.Helper()
	c, err := wire.Open(context.Background(), a.Server)
	require.NoError(t, err)
	defer c.Close()
	command(t, c, "SELECT INBOX")
	command(t, c, "STORE 2,4,6,8,* +FLAGS.SILENT (\\Deleted)")
	command(t, c, "EXPUNGE")
}
