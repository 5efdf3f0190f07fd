// The old server, the programs that know it, and what they find at a new one.

package identitylab

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

// house is an old server whose account is known to mail programs.
type house struct {
	t      *testing.T
	old    *testserver.Server
	user   testserver.User
	kind   testserver.UIDLs
	boxes  []testserver.Planted
	judges []*mailclient.Client
	uidls  told // of the INBOX, as it is now
	moves  int
	whole  time.Duration // that a move takes
}

// newHouse plants an account and lets the programs have it, with names as most
// servers have them or, below INBOX, as Courier does.
func newHouse(t *testing.T, spec testserver.Sparse, below bool, programs ...mailclient.Program) *house {
	h := &house{t: t, kind: spec.UIDLs, boxes: spec.Plant()}
	opts := testserver.DovecotOptions{Extra: spec.UIDLs.Format()}
	if below {
		opts.Separator, opts.Prefix = ".", "INBOX."
	}
	h.old = testserver.Dovecot(t, opts)
	h.user = h.old.Users[0]
	h.old.Plant(h.user, h.boxes)
	// POP3 programs first: Dovecot marks as seen what they fetch, which IMAP
	// programs are to have seen before the move.
	programs = slices.Clone(programs)
	slices.SortStableFunc(programs, func(a, b mailclient.Program) int { return -cmp.Compare(a.Protocol, b.Protocol) })
	for _, p := range programs {
		c := mailclient.New(t, p, mailclient.Login{User: h.user.Name, Password: h.user.Password})
		c.PointAt(h.old.Addr(serviceOf(p)))
		e := c.Run()
		require.Empty(t, e.First(h.seen(p)), "%s:\n%s", p.Name, e.Output)
		e = c.Run()
		require.Empty(t, e.Noticed(), "%s:\n%s", p.Name, e.Output)
		h.judges = append(h.judges, c)
	}
	h.seenOld()
	return h
}

// seenOld lets all programs look at the old server and remember it; what they
// have seen of new ones they forget.
func (h *house) seenOld() {
	h.t.Helper()
	for _, c := range h.judges {
		c.Save()
	}
	h.uidls = tell(h.t, endOf(h.old, h.user))
}

// arrives puts a message into the old INBOX, and changes flags of another, and
// lets the programs see it.
func (h *house) arrives() {
	h.t.Helper()
	deliver(h.t, h.old, 1)
	flag(h.t, h.old, 1)
	for _, c := range h.judges {
		c.Restore()
		c.PointAt(h.old.Addr(serviceOf(c.Program)))
		e := c.Run()
		require.Empty(h.t, e.Brought(1, changes(c)), "%s:\n%s", c.Name, e.Output)
		c.Run() // Dovecot marks as seen what POP3 fetches
	}
	h.seenOld()
}

// changes is how many messages a program sees whose flags change.
func changes(c *mailclient.Client) int {
	if c.Protocol == mailhaul.POP3 {
		return 0
	}
	return 1
}

func serviceOf(p mailclient.Program) testserver.Service {
	if p.Protocol == mailhaul.POP3 {
		return testserver.POP3
	}
	return testserver.IMAP
}

// seen is how many messages a program sees of the account.
func (h *house) seen(p mailclient.Program) int {
	n := 0
	for _, b := range h.boxes {
		if p.Protocol != mailhaul.POP3 || b.Name() == "INBOX" {
			n += b.Len
		}
	}
	return n
}

// to is a move of the account to another server.
func (h *house) to(s *testserver.Server, driver string) move {
	h.moves++
	return move{
		From: endOf(h.old, h.user), To: endOf(s, s.Users[0]),
		State:  filepath.Join(h.t.TempDir(), fmt.Sprintf("state%d.db", h.moves)),
		Driver: driver, UIDLs: h.uidls, Admin: endOf(s, s.Users[0]),
	}
}

// noticed lets programs look at a new server, as they were when they had seen
// the old one, and says what they noticed. Cyrus makes folders of the names
// that others lie below; so many of them are no surprise.
func (h *house) noticed(s *testserver.Server, parents int, judges ...*mailclient.Client) map[string][]string {
	h.t.Helper()
	out := make(map[string][]string)
	for _, c := range judges {
		c.Restore()
		c.PointAt(s.Addr(serviceOf(c.Program)))
		e := c.Run()
		if e.Folders == parents {
			e.Folders = 0
		}
		if n := e.Noticed(); len(n) > 0 {
			out[c.Name] = n
		}
	}
	return out
}

// unnoticed demands that no program notices that it is at a new server, and
// that each gets one new message there, and one change of a flag.
func (h *house) unnoticed(s *testserver.Server, parents int, judges ...*mailclient.Client) {
	h.t.Helper()
	require.Empty(h.t, h.noticed(s, parents, judges...))
	deliver(h.t, s, 2)
	flag(h.t, s, 2)
	for _, c := range judges {
		e := c.Run()
		require.Empty(h.t, e.Brought(1, changes(c)), "%s:\n%s", c.Name, e.Output)
		e = c.Run()
		require.Empty(h.t, e.Noticed(), "%s:\n%s", c.Name, e.Output)
	}
}

// deliver puts one more message into the INBOX.
func deliver(t testing.TB, s *testserver.Server, n int) {
	t.Helper()
	text := fmt.Sprintf("Message-ID: <new%d@example.org>\r\nSubject: new\r\nFrom: a@example.org\r\n\r\nnew\r\n", n)
	m := corpus.NewMessage([]byte(text), time.Now())
	require.NoError(t, corpus.Load(t.Context(), s.Account(1).Server, []corpus.Mailbox{corpus.Of([]string{"INBOX"}, m)}))
}

// flag changes the flags of the n-th message of the INBOX.
func flag(t testing.TB, s *testserver.Server, n int) {
	t.Helper()
	c, err := wire.Open(t.Context(), s.Account(1).Server)
	require.NoError(t, err)
	defer c.Close()
	for _, command := range []string{"SELECT INBOX", fmt.Sprintf(`STORE %d FLAGS (\Flagged \Draft)`, n), "LOGOUT"} {
		_, err := c.Command(command)
		require.NoError(t, err)
	}
}
