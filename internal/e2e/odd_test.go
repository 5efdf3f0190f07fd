// Mail that is no proper mail: moved as it is, or listed with its reason.

package e2e

import (
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
)

func TestOddMessages(t *testing.T) {
	targets := map[string]func(testing.TB) testserver.Account{
		"in-process": func(t testing.TB) testserver.Account {
			return testserver.InProcess(t, imapserver.Options{}).Account(1)
		},
		"in-process without extensions": func(t testing.TB) testserver.Account {
			return testserver.InProcess(t, imapserver.Options{Caps: []string{}}).Account(1)
		},
		"dovecot maildir": func(t testing.TB) testserver.Account {
			return testserver.Dovecot(t, testserver.DovecotOptions{}).Account(1)
		},
		"dovecot sdbox": func(t testing.TB) testserver.Account {
			return testserver.Dovecot(t, testserver.DovecotOptions{Store: "sdbox"}).Account(1)
		},
		"cyrus": func(t testing.TB) testserver.Account {
			return testserver.Cyrus(t, testserver.Options{}).Account(1)
		},
	}
	odd := corpus.Odd()
	if !testing.Short() {
		odd = append(odd, corpus.Large(60<<20))
	}
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			source := testserver.InProcess(t, imapserver.Options{})
			source.Load(1, []corpus.Mailbox{corpus.Of([]string{"INBOX"}, odd...), corpus.Of([]string{"Empty"})})
			r := newRig(t, source.Account(1), target(t))
			res := r.mustRun()

			// Everything is accounted for: there with the same octets, listed
			// as altered, or listed as refused.
			there := map[[sha256.Size]byte]int{}
			for _, m := range snapshot(t, r.to).Find("INBOX").Messages {
				there[m.Sum]++
			}
			listed := map[mailhaul.UID]string{}
			for _, f := range res.Failed {
				require.NotEmpty(t, f.Reason)
				require.NotZero(t, f.UID, f.Reason)
				listed[f.UID] = "refused: " + f.Reason
			}
			for _, a := range res.Altered {
				listed[a.UID] = "altered: " + a.Reason
			}
			for i, m := range odd {
				uid := mailhaul.UID(i + 1)
				sum := sha256.Sum256(m.Body())
				if why, ok := listed[uid]; ok {
					t.Logf("%q: %s", m.Name, why)
					continue
				}
				if there[sum] == 0 {
					t.Errorf("%q is neither there nor listed", m.Name)
				}
				there[sum]--
			}
			require.Equal(t, len(odd), res.Copied+len(res.Failed))
			require.NotNil(t, snapshot(t, r.to).Find("Empty"), "empty folders move too")

			again := r.mustRun()
			require.Zero(t, again.Copied)
			require.Equal(t, len(res.Failed), len(again.Failed))
		})
	}
}

// Twins, near-twins and messages without a Message-ID, on a target without
// UIDPLUS: what was appended is found by content alone.
func TestWithoutUIDPLUS(t *testing.T) {
	a := testserver.InProcess(t, imapserver.Options{})
	b := testserver.InProcess(t, imapserver.Options{Caps: imapserver.Without("UIDPLUS")})
	boxes := corpus.Default(400)
	a.Load(1, boxes)
	r := newRig(t, a.Account(1), b.Account(1))
	res := r.mustRun()
	require.Empty(t, res.Failed)
	require.Equal(t, 400, res.Copied)
	r.same(oracle.CompareOptions{})
	require.Zero(t, r.mustRun().Copied)
}

func TestEmptyAccount(t *testing.T) {
	for _, p := range pairs() {
		t.Run(p.name, func(t *testing.T) {
			from, to := p.make(t)
			r := newRig(t, from, to)
			res := r.mustRun()
			require.Zero(t, res.Messages)
			require.True(t, res.Complete())
			r.same(oracle.CompareOptions{IgnoreRoles: from.Kind != to.Kind})
		})
	}
}
