package sync_test

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// Mail with 8-bit characters in its header is read back until a few messages
// show that the target keeps them; from one that does not, all of it.
func TestEightBitHeaders(t *testing.T) {
	const folders, messages = 10, 20
	load := func(r *rig) {
		for f := range folders {
			for i := range messages {
				r.source.Add("Box"+strconv.Itoa(f), "Subject: \xfcber "+strconv.Itoa(i)+"\r\n"+mail("eight"+strconv.Itoa(f), i))
			}
			r.source.Add("Box"+strconv.Itoa(f), mail("lf"+strconv.Itoa(f), 1)+"bare\nkept\r\n")
		}
	}
	t.Run("kept", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Mailboxes = 1
		load(r)
		read := 0
		r.target.Hooks.Fetch = func(string, mailhaul.UID) (bool, error) {
			read++
			return false, nil
		}
		res := r.run()
		require.Equal(t, folders*(messages+1), res.Copied)
		require.Empty(t, res.Altered)
		require.Equal(t, 8+folders, read, "a sample, and what is at risk on every server")
		require.Equal(t, folders*(messages+1), r.run().Skipped)
		require.Equal(t, 8+folders, read, "nothing is left to be read")
	})
	t.Run("changed", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Mailboxes = 4
		r.target.Hooks.Store = func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\xfc"), []byte("X")) }
		load(r)
		res := r.run()
		require.Len(t, res.Altered, folders*messages)
		require.Len(t, r.run().Altered, folders*messages, "and a later pass says so again")
	})
	t.Run("streamed", func(t *testing.T) {
		r := newRig(t)
		r.cfg.Budget = mailsync.NewBudget(64)
		r.target.Hooks.Store = func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\xfc"), []byte("X")) }
		r.source.Add("INBOX", "Subject: \xfcber\r\n"+mail("one", 1))
		require.Len(t, r.run().Altered, 1)
	})
}
