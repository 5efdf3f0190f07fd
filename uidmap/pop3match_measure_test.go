package uidmap

// The measures of the matcher: what it finds, and what that costs.

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestMatcherMeasures: 10,000 messages with 5 % twins, 10 % equal sizes, mails
// that only one side has and headers that differ by protocol, in listings of
// any order. All unambiguous pairs are right and none is wrong.
func TestMatcherMeasures(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     uidlWorldConfig
		maxTOPs float64 // per cent of the messages
	}{
		{"in order, one extra and one missing", uidlWorldConfig{missing: 1}, 15},
		{"in order", uidlWorldConfig{missing: 20}, 17},
		{"reversed", uidlWorldConfig{missing: 20, order: "reversed"}, 17},
		{"blocks moved", uidlWorldConfig{missing: 20, order: "blocks"}, 17},
		{"one in a hundred moved", uidlWorldConfig{missing: 20, order: "swaps"}, 24},
		{"shuffled", uidlWorldConfig{missing: 20, order: "shuffled"}, 100},
		{"constant difference", uidlWorldConfig{missing: 20, delta: 41}, 17},
		{"a few octets off", uidlWorldConfig{missing: 20, delta: -7, jitter: 2}, 20},
		{"drafts and rows", uidlWorldConfig{missing: 20, drafts: 20, sameSizeOnce: 40}, 18},
	} {
		t.Run(c.name, func(t *testing.T) {
			seeds := uint64(4)
			if testing.Short() {
				seeds = 1
			}
			worst := 0.0
			for seed := range seeds {
				cfg := c.cfg
				cfg.n, cfg.twins, cfg.equalSizes, cfg.noMessageID, cfg.headerDiffs = 10_000, 5, 10, 2, true
				w := newUIDLWorld(cfg, seed)
				res := w.run(t, UIDLConfig{UIDValidity: testUIDValidity})
				s := w.score(t, res)
				assert.Zero(t, s.wrong)
				assert.Equal(t, s.unambiguous, s.right)
				assert.Equal(t, s.twins, s.twinsPaired)
				tops := 100 * float64(res.Asked[POP3Header]) / float64(len(w.pop3))
				assert.LessOrEqual(t, tops, c.maxTOPs)
				worst = max(worst, tops)
				// Bodies of IMAP tell twins, and are on their way anyway; those
				// of POP3 are for what is left over.
				assert.LessOrEqual(t, res.Asked[IMAPBody], s.twins+len(w.imap)/200)
				assert.LessOrEqual(t, res.Asked[POP3Body], len(w.pop3)/200)
				assert.LessOrEqual(t, res.Rounds, 4)
			}
			t.Logf("at most %.1f %% TOPs", worst)
		})
	}
}
