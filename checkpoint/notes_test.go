// Tests of notes.

package checkpoint_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

// Notes last, apart from each other and from the ledgers, in a file that holds
// nothing else as in one that does.
func TestNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	b := openBolt(t, path)
	from, to := checkpoint.NewNotes(b, "from"), checkpoint.NewNotes(b, "to")
	got, err := from.Load(ctx, "example.org")
	require.NoError(t, err)
	assert.Nil(t, got)
	require.NoError(t, from.Save(ctx, "example.org", []byte("one")))
	require.NoError(t, from.Save(ctx, "example.org", []byte("two")))
	require.NoError(t, to.Save(ctx, "example.org", []byte("three")))
	require.NoError(t, to.Save(ctx, "", nil))
	m := openMailbox(t, b, "INBOX")
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: 1}))
	require.NoError(t, m.Commit(ctx))
	assert.Error(t, to.Save(ctx, strings.Repeat("x", 5000), nil))
	require.NoError(t, checkpoint.Check(ctx, b))
	require.NoError(t, b.Close())

	b = openBolt(t, path)
	for section, want := range map[string]string{"from": "two", "to": "three", "tofrom": ""} {
		got, err := checkpoint.NewNotes(b, section).Load(ctx, "example.org")
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	assert.Len(t, records(t, openMailbox(t, b, "INBOX"), 0), 1)
	require.NoError(t, b.Close())
}

// A note that is damaged is not taken for another.
func TestNotesAreChecked(t *testing.T) {
	s := checkpoint.NewMemory()
	n := checkpoint.NewNotes(s, "s")
	require.NoError(t, n.Save(ctx, "k", []byte("value")))
	for kv, err := range s.Scan(ctx, []byte("n"), nil) {
		require.NoError(t, err)
		value := append([]byte{}, kv.Value...)
		value[1] ^= 4
		require.NoError(t, s.Commit(ctx, []checkpoint.Op{{Key: kv.Key, Value: value}}))
	}
	_, err := n.Load(ctx, "k")
	assert.Equal(t, mailhaul.Corrupt, mailhaul.KindOf(err), "%v", err)
	assert.Error(t, checkpoint.Check(ctx, s))
}
