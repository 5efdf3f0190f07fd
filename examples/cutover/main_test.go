package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/mailclient"
	"github.com/mailhaul/mailhaul/internal/testserver"
	"github.com/mailhaul/mailhaul/internal/testserver/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func letter(folder string, i int) corpus.Message {
	return corpus.NewMessage(fmt.Appendf(nil, "Message-ID: <%d.%s@example.org>\r\nDate: Wed, 4 May 2016 03:02:01 +0000\r\nFrom: bob@example.org\r\nSubject: %d\r\n\r\n%s\r\n",
		i, folder, i, strings.Repeat("word ", i%40)), time.Unix(1460000000+int64(i), 0))
}

func deliver(t *testing.T, a testserver.Account, folder string, from, to int) {
	var letters []corpus.Message
	for i := from; i < to; i++ {
		letters = append(letters, letter(folder, i))
	}
	require.NoError(t, corpus.Load(t.Context(), a.Server, []corpus.Mailbox{corpus.Of([]string{folder}, letters...)}))
}

// worker is the target's user, with a mail program of another make.
type worker struct {
	t *testing.T
	c *imapclient.Client

	mu      sync.Mutex // protects what follows
	gone    []string   // Message-IDs that the user deleted from INBOX
	filed   []string   // or moved to Filed
	flagged []string
}

func connect(t *testing.T, a testserver.Account) *imapclient.Client {
	conn, err := wire.Dial(t.Context(), a.Server)
	require.NoError(t, err)
	c := imapclient.New(conn, nil)
	require.NoError(t, c.Login(a.User, a.Password).Wait())
	return c
}

// work does something to a message of INBOX.
func (w *worker) work(n int) error {
	if _, err := w.c.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	found, err := w.c.UIDSearch(&imap.SearchCriteria{}, nil).Wait()
	if err != nil || len(found.AllUIDs()) == 0 {
		return err
	}
	uids := found.AllUIDs()
	set := imap.UIDSetNum(uids[rand.IntN(len(uids))])
	msgs, err := w.c.Fetch(set, &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil || len(msgs) != 1 {
		return err
	}
	id := msgs[0].Envelope.MessageID
	w.mu.Lock()
	defer w.mu.Unlock()
	store := func(f imap.Flag) error {
		return w.c.Store(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{f}, Silent: true}, nil).Close()
	}
	switch n % 3 {
	case 0:
		w.flagged = append(w.flagged, id)
		return store(imap.FlagFlagged)
	case 1:
		w.gone = append(w.gone, id)
		if err := store(imap.FlagDeleted); err != nil {
			return err
		}
		return w.c.UIDExpunge(set).Close()
	}
	w.filed = append(w.filed, id)
	_, err = w.c.Move(set, "Filed").Wait()
	return err
}

// ids returns the Message-IDs of a folder, with the flags of each.
func ids(t *testing.T, c *imapclient.Client, folder string) map[string][]imap.Flag {
	selected, err := c.Select(folder, nil).Wait()
	require.NoError(t, err)
	out := map[string][]imap.Flag{}
	if selected.NumMessages == 0 {
		return out
	}
	msgs, err := c.Fetch(imap.SeqSet{imap.SeqRange{Start: 1}}, &imap.FetchOptions{Envelope: true, Flags: true}).Collect()
	require.NoError(t, err)
	for _, m := range msgs {
		require.NotContains(t, out, m.Envelope.MessageID, "twice in %s", folder)
		out[m.Envelope.MessageID] = m.Flags
	}
	return out
}

// told is standard error, watched.
type told struct {
	mu  sync.Mutex
	b   bytes.Buffer
	say func(string)
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.b.Write(p)
	w.mu.Unlock()
	w.say(string(p))
	return len(p), nil
}

// The whole sequence, while the user works on the target with one program, and
// another mirrors it: nothing that the user did is undone, nothing is there
// twice, nothing is missing, and the report says so.
func TestWhileTheUserWorks(t *testing.T) {
	source := testserver.Dovecot(t, testserver.DovecotOptions{})
	target := testserver.Dovecot(t, testserver.DovecotOptions{})
	from, to := source.Account(1), target.Account(1)
	deliver(t, from, "INBOX", 0, 120)
	deliver(t, from, "Work", 0, 30)

	user := &worker{t: t, c: connect(t, to)}
	defer user.c.Close()
	require.NoError(t, user.c.Create("Filed", nil).Wait())
	mirror := mailclient.New(t, mailclient.Mbsync, mailclient.Login{User: to.User, Password: to.Password})
	mirror.PointAt(target.Addr(testserver.IMAP))

	following, last := make(chan bool, 1), make(chan bool)
	var once, end sync.Once
	stderr := &told{say: func(text string) {
		if strings.Contains(text, "tells of changes") {
			once.Do(func() { following <- true })
		}
		if strings.Contains(text, "last passes") {
			end.Do(func() { close(last) })
		}
	}}
	dir := t.TempDir()
	env := map[string]string{"MAILHAUL_FROM_PASSWORD": from.Password, "MAILHAUL_TO_PASSWORD": to.Password}
	var stdout bytes.Buffer
	var status int
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		status = run(ctx, []string{
			"-from", "imaps://" + from.User + "@" + from.Server.Addr(), "-from-ca", source.RootsFile(),
			"-to", "imaps://" + to.User + "@" + to.Server.Addr(), "-to-ca", target.RootsFile(),
			"-state", filepath.Join(dir, "state.db"), "-follow", "2m", "-until-quiet", "4s",
			"-report", filepath.Join(dir, "r.json"), "-report", filepath.Join(dir, "r.html"),
		}, func(name string) string { return env[name] }, &stdout, stderr, make(chan os.Signal))
	}()

	<-following
	var busy sync.WaitGroup
	busy.Go(func() { // mail goes on arriving at the source
		for i := range 6 {
			deliver(t, from, "INBOX", 1000+i, 1001+i)
			time.Sleep(100 * time.Millisecond)
		}
	})
	before := 0 // what the user has taken out of INBOX by the time of the last passes
	busy.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-last:
				if before == 0 {
					before = len(user.gone) + len(user.filed)
				}
			default:
			}
			if !assert.NoError(t, user.work(n)) {
				return
			}
			time.Sleep(150 * time.Millisecond)
		}
	})
	came, runs := 0, 0
	for running := true; running; {
		e := mirror.Run()
		assert.Empty(t, e.Complaints, e.Output)
		came += e.Came
		runs++
		select {
		case <-done:
			running = false
		default:
		}
	}
	busy.Wait()
	require.Equal(t, exitComplete, status, "stdout:\n%s\nstderr:\n%s", stdout.String(), stderr.b.String())

	// The user's work is as the user left it; all else is there once.
	in, filed := ids(t, user.c, "INBOX"), ids(t, user.c, "Filed")
	for _, id := range user.gone {
		require.NotContains(t, in, id, "a message that was deleted is back")
	}
	for _, id := range user.filed {
		require.NotContains(t, in, id, "a message that was filed is back")
		require.Contains(t, filed, id)
	}
	for _, id := range user.flagged {
		if flags, ok := in[id]; ok {
			require.Contains(t, flags, imap.FlagFlagged)
		}
	}
	require.Equal(t, 126-len(user.gone)-len(user.filed), len(in))
	require.Len(t, ids(t, user.c, "Work"), 30)

	// The report tells them apart from what is missing.
	var rep struct {
		Verdict string `json:"verdict"`
		Total   struct {
			RemovedByUser int `json:"removed_by_user"`
			Copied        int `json:"copied"`
		} `json:"total"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "r.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &rep))
	require.Equal(t, "complete", rep.Verdict)
	require.Equal(t, 156, rep.Total.Copied)
	require.GreaterOrEqual(t, rep.Total.RemovedByUser, before)
	require.LessOrEqual(t, rep.Total.RemovedByUser, len(user.gone)+len(user.filed))
	require.Contains(t, stdout.String(), "verdict   complete")
	page, err := os.ReadFile(filepath.Join(dir, "r.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "Verdict: complete")

	// The mirror saw each message once, and has nothing left to do.
	e := mirror.Run()
	came += e.Came
	require.LessOrEqual(t, came, 156+len(user.filed))
	require.Empty(t, mirror.Run().Noticed())
	t.Logf("the user flagged %d, deleted %d and filed %d while it ran; mbsync ran %d times", len(user.flagged), len(user.gone), len(user.filed), runs)
}

func TestCommandLine(t *testing.T) {
	none := func(string) string { return "" }
	for _, c := range []struct{ args, says string }{
		{"", "-from is missing"},
		{"-from imaps://a@b", "there is no password"},
		{"-from imaps://a:s3cret@b", "-to is missing"},
		{"-from imaps://a:s3cret@b -to pop3s://a:s3cret@c", "POP3"},
		{"-from imaps://a:s3cret@b -to imaps://a:s3cret@c -report r.pdf", ".html"},
		{"-from imaps://a:s3cret@b -to imaps://a:s3cret@c -deletes all", "-deletes"},
		{"-from imaps://a:s3cret@b -to imaps://a:s3cret@c -follow -1s", "negative"},
		{"-from imaps://a:s3cret@b -to imaps://a:s3cret@c imaps://a:s3cret@c", "belongs to no flag"},
		{"-from imaps://a:s3cret@b:port -to imaps://a:s3cret@c", "-from"},
		{"-from imaps://a:s3cret@b -from-ca /nowhere -to imaps://a:s3cret@c", "-from-ca"},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), strings.Fields(c.args), none, &out, &errs, nil), c.args)
		require.Contains(t, errs.String(), c.says)
		require.NotContains(t, errs.String(), "s3cret")
	}
	var out, errs bytes.Buffer
	require.Equal(t, exitComplete, run(t.Context(), []string{"-h"}, none, &out, &errs, nil))
	require.Contains(t, errs.String(), "-until-quiet")
}
