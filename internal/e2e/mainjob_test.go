// The main job: everything is there once, as it was; a second run finds
// nothing to do; without the checkpoint a third adopts everything.

package e2e

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/oracle"
)

func TestMainJob(t *testing.T) {
	messages := 5000
	if testing.Short() {
		messages = 300
	}
	for _, p := range pairs() {
		t.Run(p.name, func(t *testing.T) {
			from, to := p.make(t)
			r := newRig(t, from, to)
			boxes := corpus.Default(messages)
			r.load(boxes)
			before := snapshot(t, from)

			first := r.mustRun()
			require.Empty(t, first.Failed)
			require.Empty(t, first.Altered)
			require.Equal(t, corpus.Total(boxes), first.Messages)
			require.Equal(t, first.Messages, first.Copied)
			r.same(oracle.CompareOptions{IgnoreRoles: from.Kind != to.Kind})
			t.Logf("copied %d messages, %d octets in %.2f s, %d round trips", first.Copied, first.Bytes, first.Seconds, first.RoundTrips)

			second := r.mustRun()
			require.Zero(t, second.Copied+second.Adopted+second.FlagsUpdated)
			require.Equal(t, first.Messages, second.Skipped)
			require.LessOrEqual(t, second.RoundTrips, int64(3*second.Mailboxes), "a few round trips a folder")
			t.Logf("second pass: %.3f s, %d round trips", second.Seconds, second.RoundTrips)

			require.NoError(t, os.Remove(r.state))
			third := r.mustRun()
			require.Zero(t, third.Copied)
			require.Equal(t, first.Messages, third.Adopted)
			t.Logf("without the checkpoint: adopted %d in %.2f s, %d round trips", third.Adopted, third.Seconds, third.RoundTrips)
			r.same(oracle.CompareOptions{IgnoreRoles: from.Kind != to.Kind})

			for _, d := range oracle.Compare(before, snapshot(t, from), oracle.CompareOptions{SameUIDs: true}) {
				t.Errorf("the source was changed: %s", d)
			}
		})
	}
}
