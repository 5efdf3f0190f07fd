package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func TestDeletes(t *testing.T) {
	for _, policy := range []string{"keep", "flag", "remove"} {
		t.Run(policy, func(t *testing.T) {
			r := newRig(t, imapserver.Options{}, imapserver.Options{})
			r.fill("INBOX", 160)
			r.run("-deletes", policy).want(exitComplete)
			source, target := r.source.User("ada").Mailbox("INBOX"), r.target.User("ada").Mailbox("INBOX")
			flagged := func() (n int) {
				for _, m := range target.Messages() {
					if mailhaul.HasFlag(m.Flags, mailhaul.FlagDeleted) {
						n++
					}
				}
				return n
			}
			target.SetFlags(1, []mailhaul.Flag{`\Flagged`, "mine"})
			source.Expunge(1, 2, 3)
			plan := r.run("-deletes", policy, "-dry-run").want(exitComplete)
			require.Equal(t, policy != "keep", strings.Contains(plan.stdout, "to be flagged or removed: 2.\n  2 in INBOX\n"), plan.stdout)
			require.Equal(t, 160, target.Len())
			out := r.run("-deletes", policy).want(exitComplete)
			switch policy {
			case "keep":
				require.Equal(t, 160, target.Len())
				require.Zero(t, flagged())
				return
			case "flag":
				require.Contains(t, out.stdout, "deleted")
				require.Equal(t, 160, target.Len())
				require.Equal(t, 2, flagged())
			case "remove":
				require.Contains(t, out.stdout, "deleted")
				require.Equal(t, 158, target.Len())
			}
			left := target.Len()
			for uid := mailhaul.UID(4); uid <= 90; uid++ {
				source.Expunge(uid)
			}
			for range 2 {
				out = r.run("-deletes", policy).want(exitIncomplete)
				require.Contains(t, out.stdout, "87 of 157 messages are gone from the source at once")
				require.Contains(t, out.stdout, "-confirm-deletes")
				require.Equal(t, left, target.Len())
			}
			held := r.run("-deletes", policy, "-json").want(exitIncomplete).json()["held"].([]any)
			require.Equal(t, map[string]any{"mailbox": "INBOX", "target": "INBOX", "side": "source", "gone": 87.0, "of": 157.0}, held[0])
			r.run("-deletes", policy, "-confirm-deletes", "Other").want(exitIncomplete)
			r.run("-deletes", policy, "-confirm-deletes", "INBOX", "-json").want(exitComplete).counts(map[string]int{"deleted": 87})
			r.run("-deletes", policy).want(exitComplete)
			if policy == "remove" {
				require.Equal(t, left-87, target.Len())
				target.Clear()
				r.run().want(exitIncomplete)
				require.Zero(t, target.Len())
				r.run("-refuse-deletes", "*").want(exitComplete)
				require.Equal(t, 70, target.Len())
			}
		})
	}
}
