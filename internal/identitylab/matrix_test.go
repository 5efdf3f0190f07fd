// The table: destination and store, by kind of UIDL, by fresh, later and killed.

package identitylab

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// TestNoProgramNotices moves an account to each destination, once from end to
// end and again when mail has come, and once killed on the way. Each cell
// reaches what the programs judge to be the same account, or refuses before
// anything is written.
func TestNoProgramNotices(t *testing.T) {
	messages, programs := 120, []mailclient.Program{mailclient.Mbsync, mailclient.Mpop}
	if measuring() {
		messages, programs = 500, slices.Concat(mailclient.IMAPPrograms(), mailclient.POP3Programs())
	}
	for _, below := range []bool{false, true} {
		for _, kind := range testserver.AllUIDLs() {
			wanted := slices.DeleteFunc(destinations(), func(d destination) bool {
				return d.below != below || d.keeps(kind) && kind != d.ordinary && !measuring()
			})
			if len(wanted) == 0 {
				continue
			}
			name := string(kind)
			if below {
				name += ", below INBOX"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				h := newHouse(t, testserver.Sparse{Messages: messages, MaxSize: 10_000, UIDLs: kind}, below, programs...)
				h.all(wanted)
			})
		}
	}
}

// all moves the account to each destination.
func (h *house) all(destinations []destination) {
	t := h.t
	later := make(map[string]func(t *testing.T))
	for _, d := range destinations {
		if !d.keeps(h.kind) {
			t.Run("refused by "+d.name, func(t *testing.T) { h.in(t).refused(d) })
			continue
		}
		s, m := d.start(h.in(t)) // for what comes later, too
		t.Run("fresh to "+d.name, func(t *testing.T) { h.in(t).fresh(d, s, m) })
		t.Run("killed to "+d.name, func(t *testing.T) { h.in(t).killed(d) })
		later["later to "+d.name] = func(t *testing.T) { h.in(t).later(d, s, m) }
	}
	h.in(t).arrives()
	for name, f := range later {
		t.Run(name, f)
	}
}

// kept reports whether all is as it was, as far as the server can have it. What
// a Courier cannot have leaves the report at "uid"; the programs decide.
func (d destination) kept(box mailsync.MailboxIdentity) bool {
	return box.Level == d.demand || box.Level == mailhaul.LevelExact
}

// in makes another test the one that fails.
func (h *house) in(t *testing.T) *house { h.t = t; return h }

// refused demands exact where it cannot be had.
func (h *house) refused(d destination) {
	s, m := d.start(h)
	m.Level = mailhaul.LevelExact
	before, err := oracle.Snapshot(h.t.Context(), m.To.server(mailhaul.IMAP))
	require.NoError(h.t, err)
	_, err = m.run(h.t.Context())
	require.ErrorIs(h.t, err, mailsync.ErrIdentity)
	h.t.Log(err)
	after, err := oracle.Snapshot(h.t.Context(), m.To.server(mailhaul.IMAP))
	require.NoError(h.t, err)
	if s.Kind() == "courier" { // gives an empty mailbox another UIDVALIDITY each second
		before.Mailboxes[0].UIDValidity = after.Mailboxes[0].UIDValidity
	}
	require.Equal(h.t, before, after)
}

// fresh moves everything in one run.
func (h *house) fresh(d destination, s *testserver.Server, m move) {
	m.Level, m.Prove = d.demand, true
	began := time.Now()
	res := m.must(h.t)
	h.whole = time.Since(began)
	require.Equal(h.t, len(h.boxes), len(res.IdentityDetail))
	for _, box := range res.IdentityDetail {
		require.True(h.t, d.kept(box), "%+v", box)
		require.Equal(h.t, mailsync.Holds, box.UIDValidity, "%+v", box)
	}
	require.Empty(h.t, h.noticed(s, d.parents, h.judges...))
}

// later moves what has come since, and then the programs stay at the new
// server.
func (h *house) later(d destination, s *testserver.Server, m move) {
	m.Level, m.Prove, m.UIDLs = d.demand, true, h.uidls
	res, err := m.run(h.t.Context())
	require.NoError(h.t, err)
	exact := h.honest(d, s, res)
	if !d.once || !h.kind.Stored() {
		require.True(h.t, exact)
		require.Equal(h.t, 1, res.Copied)
		h.unnoticed(s, d.parents, h.judges...)
	}
}

// killed kills the move on its way, several times, and lets it end then.
func (h *house) killed(d destination) {
	s, m := d.start(h)
	m.Level, m.Prove, m.Batch = d.demand, true, 10
	times, kills := 2, 0
	if measuring() {
		times = 3
	}
	for i := range times {
		if m.killed(h.t, h.whole*time.Duration(i+1)/4) {
			kills++
		}
	}
	res, err := m.run(h.t.Context())
	require.NoError(h.t, err)
	h.t.Logf("%d kills; then %d copied, %d adopted, %d skipped", kills, res.Copied, res.Adopted, res.Skipped)
	require.Empty(h.t, res.Failed)
	exact := h.honest(d, s, res)
	if !d.once || !h.kind.Stored() {
		require.True(h.t, exact)
	}
}

// honest holds what the report says against what the programs see, and returns
// whether both say that all is as it was.
func (h *house) honest(d destination, s *testserver.Server, res *mailsync.Result) (exact bool) {
	exact = true
	for _, box := range res.IdentityDetail {
		if !d.kept(box) {
			exact = false
			h.t.Logf("%s: %s, since %s", box.Source, box.Level, box.Reason)
		}
	}
	noticed := h.noticed(s, d.parents, h.judges...)
	if exact {
		require.Empty(h.t, noticed)
	} else {
		h.t.Log(noticed)
	}
	return exact
}
