// Checkpoints that an earlier version wrote, and mailboxes that get another
// name.

package checkpoint_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

// format1 is a checkpoint of format 1, octet by octet.
var format1 = [][2]string{
	{"a\xd5\xde\xc4MA=\x8bx", "\x04imap\vold.example\x03993\x04anna\x04imap\vnew.example\x03993\x04anna\x99Y\xd9W"},
	{"f", "mailhaul checkpoint\n\x01\xd4\xfa\xd2X"},
	{"m\xd5\xde\xc4MA=\x8bx\x00\x00\x00\x01", "\x01\x05INBOX\x05INBOX\x01\x02\t\x00\x00\x00\x00\x00\x00\x00\x00\x02\xa1\xf9\x8b\xe6\t\x00\x03\x01\x04work\x01\x01\x01\x00\x00\x00\xff\xdb\x8f\xf9\xce\x03\x00\x00:\xa3\\\xc8"},
	{"m\xd5\xde\xc4MA=\x8bx\x00\x00\x00\x01\x00\x00\x00\x00", "\x02\x01!\x00\x00\x00\x02\x02\x00\x00\x00\f6\xed\x02\xf6"},
	{"m\xd5\xde\xc4MA=\x8bx\x00\x00\x00\x01\x00\x00\x00\x02", "\x01\x00\x00X\x06\x01k\x0f\xc0\xa6"},
}

func TestReadsFormat1(t *testing.T) {
	s := checkpoint.NewMemory()
	for _, kv := range format1 {
		require.NoError(t, s.Commit(ctx, []checkpoint.Op{{Key: []byte(kv[0]), Value: []byte(kv[1])}}))
	}
	checkpointtest.Check(t, s)
	m := openMailbox(t, s, "INBOX")
	old := []string{`1>1 0 ["\\Seen" "work"] false adopted`, `2>2 0 [] true adopted`, `300>3 1 [] false adopted`}
	assert.Equal(t, old, records(t, m, 0), "nobody knows who put them there")
	assert.Equal(t, mailhaul.UID(9), m.State().Explained)
	format, err := s.Get(ctx, []byte("f"))
	require.NoError(t, err)
	assert.Equal(t, format1[1][1], string(format), "reading writes nothing")

	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 3, Target: 4}))
	require.NoError(t, m.Commit(ctx))
	checkpointtest.Check(t, s)
	want := []string{old[0], old[1], `3>4 0 [] false`, old[2]}
	assert.Equal(t, want, records(t, openMailbox(t, s, "INBOX"), 0))
	format, err = s.Get(ctx, []byte("f"))
	require.NoError(t, err)
	assert.Contains(t, string(format), "checkpoint\n\x02", "an older program could no longer read it")

	require.NoError(t, m.Reset(ctx))
	require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: 1}))
	require.NoError(t, m.Commit(ctx))
	assert.Equal(t, []string{`1>1 0 [] false`}, records(t, openMailbox(t, s, "INBOX"), 0))
	checkpointtest.Check(t, s)
}

func TestRename(t *testing.T) {
	var fault checkpointtest.Fault
	s := checkpointtest.NewFaulty(checkpoint.NewMemory(), func(c checkpointtest.Call) checkpointtest.Fault {
		if c.Op == checkpointtest.Commit {
			return fault
		}
		return checkpointtest.Fault{}
	})
	l := openLedger(t, s, "anna")
	for _, name := range []string{"Work", "Home"} {
		m, err := l.Mailbox(ctx, name)
		require.NoError(t, err)
		require.NoError(t, m.Put(ctx, checkpoint.Record{Source: 1, Target: 7, Adopted: name == "Home"}))
		require.NoError(t, m.Commit(ctx))
	}
	require.Error(t, l.Rename(ctx, "Work", "Home"), "it is taken")
	fault = checkpointtest.Fault{Err: errors.New("full")}
	require.Error(t, l.Rename(ctx, "Work", "Job"))
	fault = checkpointtest.Fault{}
	names, err := l.Mailboxes(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{"Home", "Work"}, names, "an error changes nothing")
	require.NoError(t, l.Rename(ctx, "Work", "Job"))
	checkpointtest.Check(t, s)
	for _, l := range []*checkpoint.Ledger{l, openLedger(t, s, "anna")} {
		names, err := l.Mailboxes(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"Home", "Job"}, names)
		m, err := l.Mailbox(ctx, "Job")
		require.NoError(t, err)
		assert.Equal(t, []string{`1>7 0 [] false`}, records(t, m, 0))
	}
}
