// The whole account, and how fast it goes.

package identitylab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

// TestFiveThousandMessages moves an account of 5,000 messages, whose UIDs are up
// to 70,000 apart, by each driver, and IMAP programs notice nothing.
func TestFiveThousandMessages(t *testing.T) {
	if !measuring() {
		t.Skip("MAILHAUL_MEASURE is not 1")
	}
	spec := testserver.Sparse{Messages: 5000, MaxSize: 20_000}
	for _, below := range []bool{false, true} {
		h := newHouse(t, spec, below, mailclient.IMAPPrograms()...)
		h.uidls = nil // what POP3 programs know is another test's
		for _, d := range destinations() {
			if d.below != below {
				continue
			}
			t.Run(d.name, func(t *testing.T) {
				s, m := d.start(h.in(t))
				m.Level = d.demand
				res := m.must(t)
				t.Logf("%d messages in %.1f s", res.Copied, res.Seconds)
				h.unnoticed(s, d.parents, h.judges...)
			})
		}
	}
}

// TestSpeed compares each driver with a plain copy of the same account to the
// same kind of server, in turns.
func TestSpeed(t *testing.T) {
	if !measuring() {
		t.Skip("MAILHAUL_MEASURE is not 1")
	}
	const messages, turns = 5000, 3
	for _, gaps := range []struct {
		name    string
		every   int
		widths  []int
		drivers []string
	}{
		{"25 gaps", messages / 25, []int{1, 8, 69_999, 2, 350, 1, 12_000}, []string{plainCopy, byDsync, byHTTP}},
		{"a gap after every third message", 3, []int{1, 3, 9, 2}, []string{plainCopy, byDsync, byHTTP, byHTTP + " and fillers"}},
		{"a gap after every message", 1, []int{1}, []string{plainCopy, byFillers}},
	} {
		t.Run(gaps.name, func(t *testing.T) {
			h := newHouse(t, testserver.Sparse{Messages: messages, GapEvery: gaps.every, Gaps: gaps.widths}, false)
			h.uidls = nil
			for _, store := range []string{"maildir", "sdbox", "mdbox"} {
				best := make(map[string]time.Duration)
				for range turns {
					for _, driver := range gaps.drivers {
						took := h.timed(t, store, driver)
						if best[driver] == 0 || took < best[driver] {
							best[driver] = took
						}
					}
				}
				plain := best[plainCopy]
				for _, driver := range gaps.drivers {
					t.Logf("| %s | %s | %s | %.2f s | %.0f messages/s | %.2f |", gaps.name, store, driver,
						best[driver].Seconds(), messages/best[driver].Seconds(), plain.Seconds()/best[driver].Seconds())
				}
			}
		})
	}
}

// timed makes one move to a server of its own.
func (h *house) timed(t *testing.T, store, driver string) time.Duration {
	t.Helper()
	fillers := 0
	switch driver {
	case byHTTP + " and fillers":
		driver, fillers = byHTTP, 100_000
	case byFillers:
		fillers = 100_000
	}
	s, m := dovecotBy(store, driver, testserver.UIDLsDovecot).start(h.in(t))
	defer s.Stop()
	m.Fillers = fillers
	if driver == byFillers {
		m.Level = mailhaul.LevelUID
	} else if driver != plainCopy {
		m.Level = mailhaul.LevelExact
	}
	began := time.Now()
	res := m.must(t)
	took := time.Since(began)
	require.Equal(t, res.Messages, res.Copied)
	for box, level := range res.Identity {
		if m.Level != "" {
			require.Equal(t, string(m.Level), level, box)
		}
	}
	return took
}
