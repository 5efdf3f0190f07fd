// The settle time is asked for when it is needed.

package sync_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

type account = memmail.Account

// knowing is a target that knows its server once it has been asked for its
// mailboxes.
type knowing struct {
	*account
	asked bool
}

func (k *knowing) List(ctx context.Context) (*mailhaul.Listing, error) {
	k.asked = true
	return k.account.List(ctx)
}

func (k *knowing) SettleTime() (time.Duration, bool) { return time.Second, k.asked }

func TestSettleTimeOfAServerThatIsKnownLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fill("INBOX", 5)
		lost := false
		r.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
			if lost {
				return nil
			}
			lost = true
			return &memmail.Answer{Store: make([]bool, len(batch)), Outcomes: make([]mailhaul.Outcome, len(batch)), Err: memmail.Lost("")}
		}
		s, err := mailsync.New(mailsync.Config{Source: r.source, Target: &knowing{account: r.target}, Store: r.store})
		require.NoError(t, err)
		begun := time.Now()
		res, err := s.Run(context.Background())
		require.NoError(t, err)
		require.Equal(t, 5, res.Copied)
		require.GreaterOrEqual(t, time.Since(begun), time.Second)
		require.Less(t, time.Since(begun), 3*time.Second)
	})
}
