package identitylab

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestPlainCopyIsNoticed: without a driver every program notices the move, so
// that what it does not notice elsewhere is a driver's doing.
func TestPlainCopyIsNoticed(t *testing.T) {
	programs := slices.Concat(mailclient.IMAPPrograms(), mailclient.POP3Programs())
	h := newHouse(t, testserver.Sparse{Messages: 100, MaxSize: 10_000, UIDLs: testserver.UIDLsGmail}, false, programs...)
	s := testserver.Dovecot(t, testserver.DovecotOptions{})
	h.to(s, plainCopy).must(t)
	noticed := h.noticed(s, 0, h.judges...)
	for _, p := range programs {
		require.NotEmpty(t, noticed[p.Name], p.Name)
		t.Log(p.Name, noticed[p.Name])
	}
}
