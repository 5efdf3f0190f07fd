package sync

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
)

// TestHighestModSeqOfTheListing: what a mailbox does not tell when it is opened,
// its listing may have told.
func TestHighestModSeqOfTheListing(t *testing.T) {
	j := &job{r: &run{cfg: Config{Source: memmail.New("a")}}}
	j.source.Status = &mailhaul.Status{UIDValidity: 7, HighestModSeq: 40}
	require.EqualValues(t, 40, j.identityOf(mailhaul.Status{UIDValidity: 7}, 1, nil).HighestModSeq)
	require.EqualValues(t, 50, j.identityOf(mailhaul.Status{UIDValidity: 7, HighestModSeq: 50}, 1, nil).HighestModSeq)
	require.EqualValues(t, 0, j.identityOf(mailhaul.Status{UIDValidity: 8}, 1, nil).HighestModSeq)
	j.source.Status = nil
	require.EqualValues(t, 3, j.identityOf(mailhaul.Status{UIDValidity: 7, HighestModSeq: 3}, 1, nil).HighestModSeq)
}
