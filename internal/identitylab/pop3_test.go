package identitylab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestNoPOP3ProgramNotices moves a maildrop that is read over POP3, whatever its
// UIDLs are like, and programs that left their mail on the server fetch nothing
// again; and one message that has come since once.
func TestNoPOP3ProgramNotices(t *testing.T) {
	programs, kinds := []mailclient.Program{mailclient.Mpop}, []testserver.UIDLs{testserver.UIDLsOdd}
	destinations := []destination{
		dovecotBy("maildir", byDsync, ""), dovecotBy("mdbox", byXUIDL, ""), dovecotBy("sdbox", byXUIDL, ""), dovecotBy("maildir", byFiles, ""),
	}
	if measuring() {
		programs, kinds = mailclient.POP3Programs(), testserver.AllUIDLs()
		destinations = append(destinations, dovecotBy("sdbox", byDsync, ""), dovecotBy("mdbox", byDsync, ""), dovecotBy("maildir", byXUIDL, ""))
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, testserver.Sparse{Messages: 120, MaxSize: 10_000, UIDLs: kind}, false, programs...)
			for _, d := range destinations {
				t.Run(d.name, func(t *testing.T) {
					s, m := d.start(h.in(t))
					m.Level, m.Prove, m.OverPOP3 = mailhaul.LevelExact, true, true
					if m.Driver == byXUIDL {
						m.Driver = onlyXUIDL
					}
					res := m.must(t)
					require.Equal(t, map[string]string{"INBOX": "exact"}, res.Identity)
					h.unnoticed(s, 0, h.judges...)
				})
			}
		})
	}
}
