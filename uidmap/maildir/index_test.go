package maildir

import (
	"context"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

var highest = regexp.MustCompile(`HIGHESTMODSEQ (\d+)`)

func highestModSeq(t *testing.T, s *testserver.Server, mailbox string) int {
	t.Helper()
	c := session(t, s)
	defer c.Close()
	m := highest.FindStringSubmatch(command(t, c, "STATUS %s (HIGHESTMODSEQ)", mailbox))
	require.NotNil(t, m)
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n
}

// HIGHESTMODSEQ is not lower than the source's, and never goes back, whatever
// the server counted in between and whatever comes later.
func TestHighestModSeqIsNotLower(t *testing.T) {
	t.Parallel()
	s := serve(t, Dovecot)
	target := tree(t, s, Dovecot)
	inbox, empty := mailboxOf(t, target, "INBOX"), mailboxOf(t, target, "Empty")
	first := letter{uid: 10, uidl: "first", flags: []mailhaul.Flag{"A"}}
	want := identity(1234, 100, first)
	want.HighestModSeq = 5000
	can, err := target.Imposable(context.Background(), inbox, want)
	require.NoError(t, err)
	require.Equal(t, mailhaul.Imposable{Level: mailhaul.LevelExact}, can)
	impose(t, target, inbox, want, first)
	hollow := identity(42, 7)
	hollow.HighestModSeq = 1 << 40
	impose(t, target, empty, hollow)

	reached := highestModSeq(t, s, "INBOX")
	require.GreaterOrEqual(t, reached, 5000)
	require.Less(t, reached, 6000)
	require.GreaterOrEqual(t, highestModSeq(t, s, "Empty"), 1<<40)
	sameAs(t, served(t, s).Find("INBOX"), 1234, []letter{first})

	// The server's user changes flags, which counts, and the next pass brings
	// mail with a UIDL, which takes a new index.
	c := session(t, s)
	command(t, c, "SELECT INBOX")
	for i := range 50 {
		command(t, c, "STORE 1 %sFLAGS (\\Flagged)", []string{"+", "-"}[i%2])
	}
	c.Close()
	seen := highestModSeq(t, s, "INBOX")
	require.GreaterOrEqual(t, seen, reached+50)
	require.NoError(t, target.checkUnusedSoon(t))
	second := letter{uid: 200, uidl: "second"}
	want = identity(1234, 300, second)
	want.HighestModSeq = 5010
	impose(t, target, inbox, want, second)
	require.GreaterOrEqual(t, highestModSeq(t, s, "INBOX"), seen)
	sameAs(t, served(t, s).Find("INBOX"), 1234, []letter{first, second})
	require.Equal(t, []string{"first", "second"}, maildrop(t, s))
	require.Contains(t, appendMail(t, s, "INBOX"), "[APPENDUID 1234 300]")
	require.Contains(t, appendMail(t, s, "Empty"), "[APPENDUID 42 7]")

	// A pass that finds nothing to raise leaves the index alone.
	require.NoError(t, target.checkUnusedSoon(t))
	f := folder{target, ".", "INBOX"}
	was := f.stampOf(indexLog)
	want = identity(1234, 300)
	want.HighestModSeq = 5010
	impose(t, target, inbox, want)
	require.Equal(t, was, f.stampOf(indexLog))
}
