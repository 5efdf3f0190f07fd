// Verify must see each kind of difference, and write nothing.

package sync_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// copied returns a rig whose accounts hold the same, without the engine's help.
func copied(t *testing.T) *rig {
	r := newRig(t)
	r.fill("INBOX", 20)
	r.fill("Work", 5)
	r.source.Add("Work", mail("twin", 1))
	r.source.Add("Work", mail("twin", 1))
	r.source.Add("Work", strings.Repeat("long\r\n", 100000))
	r.source.Box("Empty")
	for _, path := range r.source.Paths() {
		r.target.Box(path)
		msgs := r.source.Snapshot(path)
		for i := range msgs { // in another order, under other UIDs
			m := msgs[len(msgs)-1-i]
			m.UID = mailhaul.UID(10*i + 7)
			r.target.AddMessage(path, m)
		}
	}
	return r
}

func (r *rig) verify(opts mailsync.VerifyOptions) *mailsync.Verification {
	r.t.Helper()
	source, target := r.source.Clone(), r.target.Clone()
	v, err := mailsync.Verify(context.Background(), r.source, r.target, opts)
	require.NoError(r.t, err)
	for _, path := range source.Paths() {
		require.Equal(r.t, source.Snapshot(path), r.source.Snapshot(path), "the source was written to")
	}
	for _, path := range target.Paths() {
		require.Equal(r.t, target.Snapshot(path), r.target.Snapshot(path), "the target was written to")
	}
	return v
}

func TestVerifyFindsNothing(t *testing.T) {
	r := copied(t)
	v := r.verify(mailsync.VerifyOptions{})
	require.True(t, v.Same())
	require.True(t, v.Complete())
	require.Equal(t, 28, v.Messages)
	require.Len(t, v.Mailboxes, 3)
	for _, m := range v.Mailboxes {
		require.Equal(t, m.SourceSide, m.TargetSide)
		require.Len(t, m.SourceSide.Hash, 64)
	}
	require.Equal(t, strings.Repeat("0", 64), v.Mailboxes[1].SourceSide.Hash, "Empty")
}

func TestVerifyFindsEachDifference(t *testing.T) {
	for name, tt := range map[string]struct {
		change   func(r *rig)
		want     []string
		complete bool
	}{
		"missing": {func(r *rig) { r.target.Expunge("INBOX", 7) },
			[]string{`mailbox "INBOX": 1 of the source's messages are not on the target (UID 20)`}, false},
		"one twin missing": {func(r *rig) { r.target.Expunge("Work", 17) },
			[]string{`mailbox "Work": 1 of the source's messages are not on the target (UID 7)`}, false},
		"twice": {func(r *rig) { r.target.Add("INBOX", mail("INBOX", 3)) },
			[]string{`mailbox "INBOX": 1 of the target's messages are there more often than on the source (UID 198)`}, false},
		"a third twin": {func(r *rig) { r.target.Add("Work", mail("twin", 1)) },
			[]string{`mailbox "Work": 1 of the target's messages are there more often than on the source (UID 78)`}, false},
		"extra": {func(r *rig) { r.target.Add("INBOX", mail("own", 1)) },
			[]string{`mailbox "INBOX": 1 of the target's messages are not the source's (UID 198)`}, true},
		"one octet": {func(r *rig) {
			r.target.Change("INBOX", 17, func(m *memmail.Stored) { m.Body = append([]byte("x"), m.Body[1:]...) })
		},
			[]string{
				`mailbox "INBOX": 1 of the source's messages are not on the target (UID 19)`,
				`mailbox "INBOX": 1 of the target's messages are not the source's (UID 17)`,
			}, false},
		"in another mailbox": {func(r *rig) {
			m := r.target.Snapshot("INBOX")[0]
			m.UID = 0
			r.target.Expunge("INBOX", 7)
			r.target.AddMessage("Work", m)
		}, []string{
			`mailbox "INBOX": 1 of the source's messages are not on the target (UID 20)`,
			`mailbox "Work": 1 of the target's messages are not the source's (UID 78)`,
		}, false},
		"no mailbox": {func(r *rig) { r.target.Delete("Work") },
			[]string{`mailbox "Work": 8 messages are missing, since the mailbox is not on the target (UID 1:8)`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := copied(t)
			tt.change(r)
			v := r.verify(mailsync.VerifyOptions{})
			require.Equal(t, tt.want, v.Differences)
			require.False(t, v.Same())
			require.Equal(t, tt.complete, v.Complete())
			for _, m := range v.Mailboxes {
				for _, d := range append(append(m.Missing, m.Twice...), m.Extra...) {
					require.Len(t, d.SHA256, 64)
					require.NotZero(t, d.Size)
				}
			}
		})
	}
}

func TestVerifyOfARun(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 40)
	r.fill("Work/2024", 12)
	r.fill("All", 3)
	for _, m := range append(r.source.Snapshot("INBOX"), r.source.Snapshot("Work/2024")...) {
		m.UID = 0
		r.source.AddMessage("All", m)
	}
	r.source.Box("All").Role = mailhaul.RoleAll
	r.run()
	v := r.verify(mailsync.VerifyOptions{Store: r.store})
	require.Empty(t, v.Differences)
	require.Equal(t, 40+12+55, v.Messages)
	r.target.Expunge("All", 1)
	require.Equal(t, 1, r.verify(mailsync.VerifyOptions{}).Missing, "the view must hold the rest")
}

func TestVerifyFollowsTheMapping(t *testing.T) {
	r := newRig(t)
	r.fill("INBOX", 3)
	r.fill("Old", 4)
	r.fill("Skip", 4)
	rename := func(path []string) []string {
		if path[0] == "Old" {
			return []string{"New"}
		}
		return path
	}
	r.cfg.Rename, r.cfg.Exclude = rename, []string{"Skip"}
	r.run()
	v := r.verify(mailsync.VerifyOptions{Rename: rename, Exclude: []string{"Skip"}})
	require.True(t, v.Same())
	require.Equal(t, "New", v.Mailboxes[1].Target)
	require.Equal(t, 8, r.verify(mailsync.VerifyOptions{}).Missing)
	require.Equal(t, 4, r.verify(mailsync.VerifyOptions{Store: r.store}).Missing, "the checkpoint knows where Old went")
}

func TestVerifyIsJSON(t *testing.T) {
	r := copied(t)
	r.target.Expunge("INBOX", 7)
	v := r.verify(mailsync.VerifyOptions{})
	text, err := json.Marshal(v)
	require.NoError(t, err)
	for _, key := range []string{`"missing":1`, `"twice":[]`, `"differences":[`, `"sha256":"`, `"hash":"`, `"source_side":{`} {
		require.Contains(t, string(text), key)
	}
	var back mailsync.Verification
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, v, &back)
}

// A lost connection is replaced, and nothing is read twice.
func TestVerifyReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := copied(t)
		n := 0
		r.source.Hooks.Fetch = func(string, mailhaul.UID) (bool, error) {
			if n++; n%5 == 0 {
				return false, memmail.Lost("")
			}
			return false, nil
		}
		v := r.verify(mailsync.VerifyOptions{})
		require.True(t, v.Same(), v.Differences)
	})
}

// What cannot be read on either side is not taken for the same.
func TestVerifyNamesWhatIsNotDelivered(t *testing.T) {
	r := copied(t)
	r.source.Hooks.Fetch = func(path string, uid mailhaul.UID) (bool, error) { return path == "INBOX" && uid == 4, nil }
	r.target.Hooks.Fetch = func(path string, uid mailhaul.UID) (bool, error) { return path == "INBOX" && uid == 167, nil }
	v := r.verify(mailsync.VerifyOptions{})
	require.Equal(t, []string{
		`mailbox "INBOX": the source lists 1 messages and does not deliver them (UID 4)`,
		`mailbox "INBOX": the target lists 1 messages and does not deliver them (UID 167)`,
	}, v.Differences)
	require.False(t, v.Complete())

	// One that is gone by then is no difference.
	r = copied(t)
	r.source.Hooks.Fetch = func(path string, uid mailhaul.UID) (bool, error) {
		if path == "INBOX" && uid == 4 {
			r.source.Expunge(path, uid)
			return true, nil
		}
		return false, nil
	}
	r.target.Expunge("INBOX", 167)
	v, err := mailsync.Verify(context.Background(), r.source, r.target, mailsync.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, v.Differences)
}

func TestVerifyGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := copied(t)
		r.target.Hooks.Open = func(string, bool) error { return memmail.Lost("") }
		begun := time.Now()
		v, err := mailsync.Verify(context.Background(), r.source, r.target, mailsync.VerifyOptions{})
		require.Nil(t, v)
		require.Equal(t, mailhaul.Transient, mailhaul.KindOf(err))
		require.Less(t, time.Since(begun), time.Minute)

		permanent := &mailhaul.Error{Op: "open", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMailbox, Err: errors.New("permission denied")}
		r.target.Hooks.Open = func(string, bool) error { return permanent }
		_, err = mailsync.Verify(context.Background(), r.source, r.target, mailsync.VerifyOptions{})
		require.ErrorIs(t, err, permanent)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = mailsync.Verify(ctx, r.source, r.target, mailsync.VerifyOptions{})
		require.ErrorIs(t, err, context.Canceled)
	})
}
