package e2e

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/throttle"
)

// TestWeakServer moves an account from a Dovecot that allows a user three
// connections, while the user reads mail all along: the first refusal is a
// lesson, and there is no second one; nothing fails; the
// user is refused only until what was at work then is finished.
func TestWeakServer(t *testing.T) {
	from := testserver.Dovecot(t, testserver.DovecotOptions{MaxUserIPConnections: 3, SpecialUse: true}).Account(1)
	to := testserver.InProcess(t, imapserver.Options{}).Account(1)
	r := newRig(t, from, to)
	messages := 5000
	if testing.Short() {
		messages = 500
	}
	r.load(corpus.Generate(corpus.Spec{Seed: 3, Messages: messages, MedianSize: 2000, MaxSize: 50_000}))

	var mu sync.Mutex
	var lessons []throttle.Limit
	var lesson, last time.Time // that one came, and that the user was refused after it
	th, err := throttle.New(throttle.Config{
		// More than the server allows, from the start.
		Policy: func(string) throttle.Policy {
			return throttle.Policy{Name: "too much", Start: 10, Account: throttle.Budget{Connections: 10, LogIns: 10, Messages: 500}}
		},
		Events: throttle.Events{Limited: func(l throttle.Limit) {
			mu.Lock()
			defer mu.Unlock()
			lessons = append(lessons, l)
			lesson = time.Now()
		}},
	})
	require.NoError(t, err)
	account, err := th.Account(t.Context(), from.Server.Host, from.Server.User)
	require.NoError(t, err)
	source, err := imapx.New(imapx.Config{Server: from.Server, Connections: 6, Throttle: account})
	require.NoError(t, err)
	defer source.Close()
	target := client(t, to.Server)
	defer target.Close()
	store, err := checkpoint.Open(r.state, nil)
	require.NoError(t, err)
	defer store.Close()
	s, err := mailsync.New(mailsync.Config{Source: source, Target: target, Store: store, Mailboxes: 6})
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan struct{})
	reads, refused, err := 0, 0, error(nil)
	var user sync.WaitGroup
	user.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
			cl := client(t, from.Server)
			rd, e := cl.OpenReader(ctx, mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
			if e == nil {
				reads++
				e = rd.Close()
			}
			mu.Lock()
			learned := len(lessons) > 0
			mu.Unlock()
			if mailhaul.KindOf(e) == mailhaul.Throttled {
				if learned {
					refused++
					last = time.Now()
				}
			} else if e != nil {
				err = errors.Join(err, e)
			}
			_ = cl.Close()
		}
	})
	res, runErr := s.Run(ctx)
	close(done)
	user.Wait()
	require.NoError(t, runErr)
	require.NoError(t, err)
	assert.Empty(t, res.Failed)
	assert.Equal(t, messages, res.Copied)
	assert.Len(t, lessons, 1, "log-ins that were refused")
	if !last.IsZero() { // what was at work when the lesson came is finished first
		assert.Less(t, last.Sub(lesson), 5*time.Second, "the user was refused long after the lesson")
	}
	t.Logf("%d messages in %.1f s; the user opened INBOX %d times and was refused %d times; %+v", res.Copied, res.Seconds, reads, refused, lessons)
	for _, d := range oracle.Compare(snapshot(t, from), snapshot(t, to), oracle.CompareOptions{ExtraFolders: true}) {
		t.Error(d)
	}
}
