package pop3uidl_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
	"github.com/mailhaul/mailhaul/uidmap"
	"github.com/mailhaul/mailhaul/uidmap/pop3uidl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is one account over two protocols, and where it goes.
type rig struct {
	t      *testing.T
	imap   *memmail.Account
	server *pop3server.Server
	drop   *pop3server.Maildrop
	store  checkpoint.Store
	target *memmail.Account
	pop    pop3x.Config
	change func(*pop3uidl.Config)
	wrap   func(mailhaul.Source) mailhaul.Source

	report   pop3uidl.Report
	warnings []string
}

func newRig(t *testing.T, opts pop3server.Options) *rig {
	r := &rig{t: t, imap: memmail.New("ann"), server: pop3server.New(opts), store: checkpoint.NewMemory(), target: memmail.New("bob")}
	t.Cleanup(func() { require.NoError(t, r.server.Close()) })
	r.drop = r.server.AddUser("ann", "secret")
	r.imap.Box("INBOX").Validity = 1_700_000_000
	r.pop = pop3x.Config{
		Server: mailhaul.Server{
			Protocol: mailhaul.POP3, Host: "127.0.0.1", Security: mailhaul.Plaintext, User: "ann", Dial: r.server.Dial,
			Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("secret"), nil },
		},
		ProgressTimeout: 5 * time.Second,
	}
	return r
}

// mail makes message i. Messages with the same i are twins.
func mail(i int) string {
	return fmt.Sprintf("Received: from mx%d by mx; Mon, 2 Jan 2023 15:04:%02d +0100\r\nMessage-ID: <%d@test>\r\nDate: Mon, 2 Jan 2023 14:00:00 +0000\r\nSubject: no %d\r\n\r\n%s\r\n",
		i, i%60, i, i, strings.Repeat("text ", i*7919%800))
}

// run moves the mail.
func (r *rig) run() (*mailsync.Result, error) {
	r.t.Helper()
	pop, err := pop3x.New(r.pop)
	require.NoError(r.t, err)
	var imap mailhaul.Source = r.imap
	if r.wrap != nil {
		imap = r.wrap(imap)
	}
	cfg := pop3uidl.Config{IMAP: imap, POP3: pop, Memory: checkpoint.NewNotes(r.store, "uidls")}
	if r.change != nil {
		r.change(&cfg)
	}
	source, err := pop3uidl.New(cfg)
	require.NoError(r.t, err)
	s, err := mailsync.New(mailsync.Config{Source: source, Target: r.target.Imposer(), Store: r.store, SettleTime: time.Millisecond})
	require.NoError(r.t, err)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	res, err := s.Run(ctx)
	r.report, r.warnings = source.Report(), source.Warnings()
	require.NoError(r.t, source.Close())
	require.NoError(r.t, checkpoint.Check(context.Background(), r.store))
	return res, err
}

func (r *rig) mustRun() *mailsync.Result {
	r.t.Helper()
	res, err := r.run()
	require.NoError(r.t, err)
	require.Empty(r.t, res.Failed)
	return res
}

// uidls returns what the target's messages are known by, in the maildrop's
// order, with the messages' subjects.
func (r *rig) uidls() (out []string) {
	msgs := r.target.Snapshot("INBOX")
	slices.SortStableFunc(msgs, func(a, b memmail.Stored) int { return int(a.Order) - int(b.Order) })
	for _, m := range msgs {
		if m.UIDL != "" {
			out = append(out, string(m.UIDL)+" "+subject(string(m.Body)))
		}
	}
	return out
}

// wanted is the same of the maildrop.
func (r *rig) wanted() (out []string) {
	for _, m := range r.drop.Messages() {
		out = append(out, m.UIDL+" "+subject(string(m.Body)))
	}
	return out
}

func subject(body string) string {
	_, rest, _ := strings.Cut(body, "Subject: ")
	text, _, _ := strings.Cut(rest, "\r\n")
	return text
}

func TestUIDLsOfAShuffledMaildrop(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	order := rand.New(rand.NewPCG(1, 2)).Perm(300)
	for i := range 300 {
		r.imap.Add("INBOX", mail(i))
	}
	r.imap.Add("Work", mail(1000))
	for n, i := range order {
		r.drop.Add(fmt.Sprintf("x%04x", n*7919), []byte(mail(i)))
	}
	res := r.mustRun()
	require.Equal(t, 301, res.Copied)
	require.Equal(t, r.wanted(), r.uidls(), "each has its UIDL, in the order of the maildrop")
	require.Zero(t, r.server.Commands("RETR"), "nothing is marked as read")
	require.Empty(t, r.warnings)
	pairs := 0
	for basis, n := range r.report.Pairs {
		require.Equal(t, uidmap.Proved, basis.Confidence())
		pairs += n
	}
	require.Equal(t, 300, pairs)
	require.False(t, r.drop.Locked())

	// With nothing new, POP3 is only asked whether it lets us in.
	r.server.ForgetCommands()
	require.Zero(t, r.mustRun().Copied)
	require.Zero(t, r.server.Commands("TOP"))

	// With new mail, only that is read.
	r.server.ForgetCommands()
	r.imap.Expunge("INBOX", 3)
	r.drop.Change(func(m []*pop3server.Message) []*pop3server.Message {
		return slices.DeleteFunc(m, func(m *pop3server.Message) bool { return subject(string(m.Body)) == "no 2" })
	})
	for i := 400; i < 403; i++ {
		r.imap.Add("INBOX", mail(i))
		r.drop.Add(fmt.Sprintf("new%d", i), []byte(mail(i)))
	}
	require.Equal(t, 3, r.mustRun().Copied)
	require.LessOrEqual(t, r.server.Commands("TOP"), 3)
	got := r.uidls()
	require.Equal(t, []string{"new400 no 400", "new401 no 401", "new402 no 402"}, got[len(got)-3:])
}

func TestUIDLsByFormula(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	for i := range 50 {
		uid := r.imap.Add("INBOX", mail(i))
		r.drop.Add(fmt.Sprintf("%08x%08x", uint32(uid), 1_700_000_000), []byte(mail(i)))
	}
	r.mustRun()
	require.Equal(t, r.wanted(), r.uidls())
	require.Zero(t, r.server.Commands("TOP")+r.server.Commands("RETR"))
	require.Equal(t, "uid+uidvalidity hex", r.report.Formula.String())
	// One more, which a formula explains by itself.
	uid := r.imap.Add("INBOX", mail(50))
	r.drop.Add(fmt.Sprintf("%08x%08x", uint32(uid), 1_700_000_000), []byte(mail(50)))
	require.Equal(t, 1, r.mustRun().Copied)
	require.Equal(t, r.wanted(), r.uidls())
	require.Zero(t, r.server.Commands("TOP")+r.server.Commands("RETR"))
}

// Twins get the UIDLs of their kind; what only one side has gets none.
func TestTwinsAndStrangers(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	kind := func(i int) int { // the last twenty are ten pairs of twins
		if i >= 40 {
			return i &^ 1
		}
		return i
	}
	for i := range 60 {
		r.imap.Add("INBOX", mail(kind(i)))
	}
	r.imap.Add("INBOX", mail(100)) // over IMAP only
	for i := range 60 {
		r.drop.Add(fmt.Sprintf("t%d", (i*17)%60), []byte(mail(kind((i*17)%60))))
	}
	r.drop.Add("stranger", []byte(mail(200)))
	res := r.mustRun()
	require.Equal(t, 61, res.Copied)
	want := r.wanted()
	require.Equal(t, want[:60], r.uidls())
	require.Equal(t, 20, r.report.Pairs[uidmap.UIDLByTwins])
	require.Len(t, r.report.Unmatched, 1)
	require.Equal(t, mailhaul.UIDL("stranger"), r.report.Unmatched[0].UIDL)
	require.Equal(t, "61", r.report.WithoutUIDL.String())
	all := strings.Join(res.Warnings, "\n")
	require.Contains(t, all, "20 are of messages that are copies of one another")
	require.Contains(t, all, `"stranger"`)
	require.Contains(t, all, "1 messages of INBOX have none")
}

// Mail that comes between the two listings gets its UIDL all the same.
func TestMailBetweenTheListings(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	for i := range 30 {
		r.imap.Add("INBOX", mail(i))
		r.drop.Add(fmt.Sprintf("u%d", i), []byte(mail(i)))
	}
	opened := 0
	r.wrap = func(s mailhaul.Source) mailhaul.Source {
		return watched{s, func(m mailhaul.Mailbox) {
			if opened++; opened == 2 { // POP3 has been listed
				r.imap.Add("INBOX", mail(30))
				r.drop.Add("late", []byte(mail(30)))
			}
		}}
	}
	res := r.mustRun()
	require.Equal(t, 31, res.Copied)
	require.Equal(t, r.wanted(), r.uidls())
	require.Empty(t, r.report.WithoutUIDL)
}

// A mailbox that never rests is not waited for; what came last is in the next
// run, with its UIDL.
func TestMailThatKeepsComing(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	for i := range 30 {
		r.imap.Add("INBOX", mail(i))
		r.drop.Add(fmt.Sprintf("u%d", i), []byte(mail(i)))
	}
	next := 30
	r.wrap = func(s mailhaul.Source) mailhaul.Source {
		return watched{s, func(m mailhaul.Mailbox) {
			if next < 60 {
				r.imap.Add("INBOX", mail(next))
				r.drop.Add(fmt.Sprintf("u%d", next), []byte(mail(next)))
				next++
			}
		}}
	}
	first := r.mustRun()
	require.Less(t, first.Copied, next)
	next = 60
	res := r.mustRun()
	require.Positive(t, res.Copied)
	require.Len(t, r.target.Snapshot("INBOX"), len(r.drop.Messages()))
	require.Equal(t, r.wanted(), r.uidls())
}

// watched calls opening before a mailbox is opened.
type watched struct {
	mailhaul.Source
	opening func(mailhaul.Mailbox)
}

func (w watched) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	w.opening(m)
	return w.Source.OpenReader(ctx, m)
}

// The two protocols never have the mailbox open at once.
func TestOneProtocolAtATime(t *testing.T) {
	var r *rig
	var wrong atomic.Int64
	r = newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if strings.HasPrefix(line, "TOP") && r.imap.Open() > 0 {
			wrong.Add(1)
		}
		return nil
	}}})
	for i := range 40 {
		r.imap.Add("INBOX", mail(i))
		r.drop.Add(fmt.Sprintf("u%d", i), []byte(mail(39-i)))
	}
	r.wrap = func(s mailhaul.Source) mailhaul.Source {
		return watched{s, func(m mailhaul.Mailbox) {
			if r.drop.Locked() {
				wrong.Add(1)
			}
		}}
	}
	r.drop.Add("odd", []byte(mail(77)))
	r.mustRun()
	require.Positive(t, r.server.Commands("TOP"))
	require.Zero(t, wrong.Load())
}

// Sessions that die while headers are read, and a message that kills each of
// them, cost nobody else a UIDL.
func TestSessionsThatDie(t *testing.T) {
	tops := 0
	r := newRig(t, pop3server.Options{Hooks: pop3server.Hooks{Command: func(_ int, line string) *pop3server.Override {
		if strings.HasPrefix(line, "TOP") {
			if tops++; tops%40 == 0 || strings.HasPrefix(line, "TOP 5 ") {
				return &pop3server.Override{Close: true}
			}
		}
		return nil
	}}})
	for i := range 30 {
		r.imap.Add("INBOX", mail(i))
		r.drop.Add(fmt.Sprintf("u%d", i), []byte(mail(29-i)))
	}
	for i := range 30 { // of one size, so that headers have to be read
		text := strings.Replace(mail(1000+i), "Subject: no", "Subject: NO", 1)
		text = text[:min(len(text), 180)] + "\r\n"
		text += strings.Repeat("y", 400-len(text)) + "\r\n"
		r.imap.Add("INBOX", text)
		r.drop.Add(fmt.Sprintf("v%d", i*7%30), []byte(text))
	}
	res := r.mustRun()
	require.Equal(t, 60, res.Copied)
	got, want := r.uidls(), r.wanted()
	require.GreaterOrEqual(t, len(got), 59)
	for _, line := range got {
		require.Contains(t, want, line)
	}
}

func TestWrongPasswordShowsBeforeAnythingIsMoved(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	r.imap.Add("INBOX", mail(1))
	r.pop.Server.Credentials = func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("wrong"), nil }
	_, err := r.run()
	require.Equal(t, mailhaul.Auth, mailhaul.KindOf(err))
	require.Empty(t, r.target.Snapshot("INBOX"))
}

// Without unique-ids there is nothing to keep, and nothing is asked for.
func TestServerWithoutUIDL(t *testing.T) {
	r := newRig(t, pop3server.Options{NoUIDL: true})
	for i := range 5 {
		r.imap.Add("INBOX", mail(i))
		r.drop.Add("", []byte(mail(i)))
	}
	require.Equal(t, 5, r.mustRun().Copied)
	require.Empty(t, r.uidls())
	require.Equal(t, 5, r.report.WithoutUIDL.Len())
}

// A replaced INBOX is compared anew, and damaged memory is found out again.
func TestMemoryThatDoesNotFit(t *testing.T) {
	r := newRig(t, pop3server.Options{})
	memory := &broken{values: map[string][]byte{}}
	r.change = func(c *pop3uidl.Config) { c.Memory = memory }
	for i := range 20 {
		r.imap.Add("INBOX", mail(i))
		r.drop.Add(fmt.Sprintf("u%d", i), []byte(mail(i)))
	}
	r.mustRun()
	for key := range memory.values {
		if path.Base(key) == "0" {
			memory.values[key] = []byte("[")
		}
	}
	r.target, r.store = memmail.New("bob"), checkpoint.NewMemory()
	r.mustRun()
	require.Equal(t, r.wanted(), r.uidls())
	r.imap.NewValidity("INBOX")
	r.target, r.store = memmail.New("bob"), checkpoint.NewMemory()
	r.mustRun()
	require.Equal(t, r.wanted(), r.uidls())

	memory.fail = errors.New("the disk is full")
	r.imap.Add("INBOX", mail(21))
	_, err := r.run()
	require.ErrorIs(t, err, memory.fail)
}

// broken is a Memory that can be made to fail.
type broken struct {
	values map[string][]byte
	fail   error
}

func (b *broken) Load(_ context.Context, key string) ([]byte, error) { return b.values[key], nil }
func (b *broken) Save(_ context.Context, key string, value []byte) error {
	if b.fail == nil {
		b.values[key] = slices.Clone(value)
	}
	return b.fail
}

func TestConfigIsChecked(t *testing.T) {
	_, err := pop3uidl.New(pop3uidl.Config{})
	require.ErrorContains(t, err, "both needed")
	_, err = pop3uidl.New(pop3uidl.Config{IMAP: memmail.New("a"), POP3: memmail.New("b")})
	require.ErrorContains(t, err, "POP3 is an account over")
}
