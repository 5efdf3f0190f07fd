package e2e

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/delayproxy"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	"github.com/mailhaul/mailhaul/internal/oracle"
	"github.com/mailhaul/mailhaul/internal/testserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/throttle"
)

// attempt is one try of a user to read mail.
type attempt struct {
	begun, ended time.Time
	err          error
}

// foreground reads a message every tenth of a second, each time over a
// connection of its own, as a web mailer does, until done is closed.
func foreground(ctx context.Context, t *testing.T, srv mailhaul.Server, done <-chan struct{}) (all []attempt) {
	read := func() error {
		cl := client(t, srv)
		defer cl.Close()
		rd, err := cl.OpenReader(ctx, mailhaul.Mailbox{Name: "INBOX", Wire: "INBOX"})
		if err != nil {
			return err
		}
		defer rd.Close()
		bodies, err := rd.Fetch(ctx, mailhaul.UIDSet{{First: 1, Last: 1}}, false)
		if err != nil {
			return err
		}
		for f, err := range bodies {
			if err != nil {
				return err
			}
			f.Body.Release()
		}
		return nil
	}
	for {
		select {
		case <-done:
			return all
		case <-time.After(100 * time.Millisecond):
		}
		a := attempt{begun: time.Now()}
		a.err = read()
		a.ended = time.Now()
		all = append(all, a)
	}
}

// oneByOne lets the log-ins of an account come one after another. Dovecot looks
// how many connections a user has before it counts a new one: of log-ins that
// come at the same time it lets in more than it allows, and then there is no
// refusal to learn from. And it keeps most of the messages until there has been a
// lesson, so that there are mailboxes left that want a connection each.
type oneByOne struct {
	*throttle.Account
	learned chan struct{} // closed when the lesson has come
	before  atomic.Int64  // how many messages may still be begun before that

	turn chan struct{} // holds a value while somebody waits for leave or logs in
	id   atomic.Int64  // of the connection that logs in; 0: none
}

// Connect implements [imapx.Throttle].
func (o *oneByOne) Connect(ctx context.Context, recall func()) (int64, error) {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	id, err := o.Account.Connect(ctx, recall)
	if err != nil {
		<-o.turn
		return 0, err
	}
	o.id.Store(id)
	return id, nil
}

// Disconnect implements [imapx.Throttle].
func (o *oneByOne) Disconnect(id int64) {
	o.Account.Disconnect(id)
	if o.id.CompareAndSwap(id, 0) { // it was refused, or never came up
		<-o.turn
	}
}

// Messages implements [imapx.Throttle].
func (o *oneByOne) Messages(ctx context.Context, n int) error {
	if o.before.Add(-int64(n)) <= -int64(n) {
		select {
		case <-o.learned:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return o.Account.Messages(ctx, n)
}

// loggedIn says that a log-in has its answer. It comes from the process that
// serves the connection, which has told the one that counts by then.
func (o *oneByOne) loggedIn() {
	if o.id.Swap(0) != 0 {
		<-o.turn
	}
}

// TestWeakServer moves an account from a Dovecot that allows a user three
// connections and has few processes, over a line on which what one connection
// carries holds the others up, while the user reads mail all along. The first
// refusal is a lesson, and there is no second one; nothing fails. From the lesson
// on nothing more is asked for on the connection that is given back, and when it
// is gone the user is never refused again.
func TestWeakServer(t *testing.T) {
	from := testserver.Dovecot(t, testserver.DovecotOptions{MaxUserIPConnections: 3, SpecialUse: true, Extra: []string{
		"service imap-login {\n process_limit = 1\n service_count = 0\n client_limit = 12\n}",
		"service imap {\n client_limit = 1\n process_limit = 6\n}",
	}}).Account(1)
	to := testserver.InProcess(t, imapserver.Options{}).Account(1)
	r := newRig(t, from, to)
	messages := 5000
	if testing.Short() {
		messages = 500
	}
	r.load(corpus.Generate(corpus.Spec{Seed: 3, Messages: messages, MedianSize: 2000, MaxSize: 50_000}))
	line := delayproxy.New(delayproxy.Options{RTT: 2 * time.Millisecond, Bandwidth: 8 << 20, Shared: true})
	defer line.Close()
	far := from.Server
	far.Dial = line.Dial(nil)

	var mu sync.Mutex // protects what follows
	var lessons []throttle.Limit
	var lesson time.Time
	learned := make(chan struct{})       // closed with the first
	refused := 0                         // log-ins of ours
	fetched := make(map[int64]time.Time) // the last FETCH, by connection
	left := make(map[int64]time.Time)    // LOGOUT, likewise
	th, err := throttle.New(throttle.Config{
		// More than the server allows, from the start.
		Policy: func(string) throttle.Policy {
			return throttle.Policy{Name: "too much", Start: 10, Account: throttle.Budget{Connections: 10, LogIns: 10, Messages: 500}}
		},
		Events: throttle.Events{Limited: func(l throttle.Limit) {
			mu.Lock()
			defer mu.Unlock()
			if lessons = append(lessons, l); len(lessons) == 1 {
				lesson = time.Now()
				close(learned)
			}
		}},
	})
	require.NoError(t, err)
	account, err := th.Account(t.Context(), from.Server.Host, from.Server.User)
	require.NoError(t, err)
	polite := &oneByOne{Account: account, learned: learned, turn: make(chan struct{}, 1)}
	polite.before.Store(int64(messages / 10))
	source, err := imapx.New(imapx.Config{Server: far, Connections: 6, Throttle: polite, Trace: func(l imapx.TraceLine) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !l.Sent && strings.Contains(l.Text, "mail_max_userip_connections"):
			refused++
		case !l.Sent && strings.Contains(l.Text, "Logged in"):
			polite.loggedIn()
		case l.Sent && strings.Contains(l.Text, "UID FETCH"):
			fetched[l.Connection] = time.Now()
		case l.Sent && strings.Contains(l.Text, "LOGOUT") && left[l.Connection].IsZero():
			left[l.Connection] = time.Now()
		}
	}})
	require.NoError(t, err)
	defer source.Close()
	target := client(t, to.Server)
	defer target.Close()
	store, err := checkpoint.Open(r.state, nil)
	require.NoError(t, err)
	defer store.Close()
	s, err := mailsync.New(mailsync.Config{Source: source, Target: target, Store: store, Mailboxes: 6})
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	done := make(chan struct{})
	var tries []attempt
	var back time.Time // when no more connections were open than the lesson allows
	var watching sync.WaitGroup
	watching.Go(func() { tries = foreground(ctx, t, far, done) })
	watching.Go(func() {
		for back.IsZero() {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
			mu.Lock()
			learned := len(lessons) > 0
			mu.Unlock()
			if s := th.Snapshot().Hosts[0].Accounts[0]; learned && float64(s.Open) <= s.Most {
				back = time.Now()
			}
		}
	})
	res, runErr := s.Run(ctx)
	close(done)
	watching.Wait()
	require.NoError(t, runErr)
	assert.Empty(t, res.Failed)
	assert.Equal(t, messages, res.Copied)
	assert.Len(t, lessons, 1)
	assert.Equal(t, 1, refused, "log-ins of ours that were refused")
	require.False(t, back.IsZero(), "no connection was given back")

	// The server takes a moment to notice that a connection has ended.
	const notice = 2 * time.Second
	reads, before, waiting, after := 0, 0, 0, 0
	for _, a := range tries {
		switch {
		case a.err == nil:
			reads++
		case !assert.Equal(t, mailhaul.Throttled, mailhaul.KindOf(a.err), "%v", a.err):
		case a.begun.Before(lesson):
			before++
		case a.begun.Before(back.Add(notice)):
			waiting++
		default:
			after++
		}
	}
	assert.Zero(t, after, "the user was refused after the connection had been given back")
	assert.Greater(t, reads, 0)
	// What was in flight then is a fraction of what there is.
	assert.Less(t, back.Sub(lesson).Seconds(), max(2, res.Seconds/2), "the connection was given back late")
	mu.Lock()
	defer mu.Unlock()
	for number, at := range left {
		if at.Before(back.Add(time.Second)) && !at.Before(lesson) {
			// It may be on its way to the connection when the lesson comes.
			assert.Less(t, fetched[number].Sub(lesson), 500*time.Millisecond, "connection %d went on being used", number)
		}
	}
	t.Logf("%d messages in %.1f s; the lesson came after %.1f s, there was room for the user %.2f s later; the user read %d times, and was refused %d times before the lesson, %d times until then, and %d times after",
		res.Copied, res.Seconds, res.Seconds-time.Since(lesson).Seconds(), back.Sub(lesson).Seconds(), reads, before, waiting, after)
	for _, d := range oracle.Compare(snapshot(t, from), snapshot(t, to), oracle.CompareOptions{ExtraFolders: true}) {
		t.Error(d)
	}
}
