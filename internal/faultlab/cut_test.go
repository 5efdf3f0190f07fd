// The network is cut at each octet of a session, in each direction, on either
// side, in each way in which networks fail.

package faultlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/imapx"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// promisedCuts is how many cuts an ordinary run makes at least.
const promisedCuts = 250000

// setting is a pair of servers, and what they hold when the session begins.
type setting struct {
	name   string
	source imapserver.Options
	target imapserver.Options
	fill   func(r *cutRig)
	change func(r *cutRig)           // after a first pass that is not cut; nil: the first pass is
	habit  func(h *imapserver.Hooks) // of the target
	ways   int                       // in how many ways, of four, each octet is cut by an ordinary run; 0: in all
}

// takes reports whether this kind of run makes a cut: each octet is cut in the
// next of the ways.
func (s *setting) takes(c cut, rnd *rand.Rand) bool {
	if s.ways > 0 && !*large && (c.at*s.ways+int(*seed)+int(c.how))%int(endings) >= s.ways {
		return false
	}
	return rnd.IntN(100) < share(100)
}

// lateSetting is a server that takes its time between the last octet and the
// mailbox, whether anybody is still there or not.
var lateSetting = &setting{name: "stores late", fill: (*cutRig).usual, habit: func(h *imapserver.Hooks) {
	h.Append = func(string, string, *imapserver.Message) error {
		time.Sleep(settleTime / 4) // three in a batch
		return nil
	}
}}

// answers changes what the server says after its first two APPENDs, which it
// has carried out.
func answers(change func(tag string) imapserver.Action) func(h *imapserver.Hooks) {
	return func(h *imapserver.Hooks) {
		var n atomic.Int32
		h.Response = func(_ *imapserver.Session, command, tag string, response []byte) imapserver.Action {
			if command != "APPEND" || !strings.HasPrefix(string(response), tag+" OK") || n.Add(1) > 2 {
				return imapserver.Action{}
			}
			return change(tag)
		}
	}
}

var settings = []*setting{
	lateSetting,
	{name: "stores and says NO", fill: (*cutRig).usual, habit: answers(func(tag string) imapserver.Action {
		return imapserver.Action{Replace: []byte(tag + " NO [SERVERBUG] Internal error\r\n")}
	})},
	{name: "stores and says BYE", fill: (*cutRig).usual, habit: answers(func(string) imapserver.Action {
		return imapserver.Action{Replace: []byte("* BYE going down\r\n"), End: imapserver.Close, After: imapserver.All}
	})},
	{name: "stores and says nothing", fill: (*cutRig).usual, habit: answers(func(string) imapserver.Action {
		return imapserver.Action{Drop: true, End: imapserver.Hang}
	})},
	{name: "closes without a greeting", fill: (*cutRig).usual, habit: func(h *imapserver.Hooks) {
		h.Accept = func(n int) error {
			if n <= 2 {
				return errors.New("too busy")
			}
			return nil
		}
	}},
	{name: "short literals only", fill: (*cutRig).usual, target: imapserver.Options{Caps: imapserver.With("LITERAL-")}},
	{name: "all extensions", fill: (*cutRig).usual},
	{name: "no extensions", fill: (*cutRig).usual, source: imapserver.Options{Caps: []string{}}, target: imapserver.Options{Caps: []string{}}},
	{name: "second pass, all extensions", ways: 2, fill: (*cutRig).usual, change: (*cutRig).secondPass},
	{name: "second pass, no extensions", ways: 2, fill: (*cutRig).usual, change: (*cutRig).secondPass, source: imapserver.Options{Caps: []string{}}, target: imapserver.Options{Caps: []string{}}},
	{name: "mail is there already", fill: func(r *cutRig) {
		r.usual()
		for _, m := range r.source.Mailbox("INBOX").Messages()[:2] {
			m.UID = 0
			r.target.Mailbox("INBOX").Add(m)
		}
	}, target: imapserver.Options{Caps: imapserver.Without("MULTIAPPEND", "UIDPLUS")}},
}

// cutRig is two servers with an account each, and a network to either.
type cutRig struct {
	servers        [2]*imapserver.Server
	source, target *imapserver.User
	nets           [2]*network
	disk           *checkpoint.Memory

	departed string   // a message that is gone from the source: its copy is removed, or flagged
	theirs   []string // what else the target holds
}

func (r *cutRig) usual() {
	box := r.source.Mailbox("INBOX")
	for i := range 2 {
		box.Add(imapserver.Message{Body: []byte(fmt.Sprintf("Message-ID: <%d@x>\r\nSubject: s\r\n\r\n%s\r\n", i, strings.Repeat("x", 20*i))),
			Flags: [][]mailhaul.Flag{{mailhaul.FlagSeen}, {"$Work"}}[i], Date: addDate})
	}
	for range 2 { // twins, without a Message-ID
		box.Add(imapserver.Message{Body: []byte("Subject: t\r\n\r\ntwin\r\n"), Date: addDate})
	}
}

func newCutRig(s *setting) *cutRig {
	r := &cutRig{disk: checkpoint.NewMemory()}
	for i, opts := range []imapserver.Options{s.source, s.target} {
		opts.UIDValidity = mailhaul.UIDValidity(1000 + i)
		if i == 1 && s.habit != nil {
			s.habit(&opts.Hooks)
		}
		r.servers[i] = imapserver.New(opts)
		r.nets[i] = &network{dial: r.servers[i].Dial}
	}
	r.source, r.target = r.servers[0].AddUser("u", "p"), r.servers[1].AddUser("u", "p")
	s.fill(r)
	if s.change != nil {
		if _, err := r.migrate(); err != nil {
			panic(err)
		}
		s.change(r)
		for _, n := range r.nets {
			n.gone = [2]int{}
		}
	}
	return r
}

// secondPass lets the source's user remove, answer and get mail, and the
// target's user mark a message of his own as deleted.
func (r *cutRig) secondPass() {
	box := r.source.Mailbox("INBOX")
	first := box.Messages()[0]
	r.departed = string(first.Body)
	box.Expunge(first.UID)
	box.SetFlags(box.Messages()[0].UID, []mailhaul.Flag{"$Work", mailhaul.FlagAnswered})
	box.Add(imapserver.Message{Body: []byte("Message-ID: <new@x>\r\nSubject: s\r\n\r\nnew\r\n"), Flags: []mailhaul.Flag{mailhaul.FlagSeen}, Date: addDate})
	own := imapserver.Message{Body: []byte("Message-ID: <own@x>\r\n\r\nown\r\n"), Flags: []mailhaul.Flag{mailhaul.FlagDeleted}, Date: addDate}
	r.target.Mailbox("INBOX").Add(own)
	r.theirs = append(r.theirs, "INBOX "+line(own.Body, own.Flags, own.Date))
}

func (r *cutRig) client(side int) *imapx.Client {
	cl, err := imapx.New(imapx.Config{
		Server: mailhaul.Server{
			Host: fmt.Sprintf("127.0.0.%d", side+1), User: "u", Security: mailhaul.Plaintext, Dial: r.nets[side].Dial,
			Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("p"), nil },
		},
		Connections: 1,
	})
	if err != nil {
		panic(err)
	}
	return cl
}

// migrate makes one run.
func (r *cutRig) migrate(configure ...func(*mailsync.Config)) (*mailsync.Result, error) {
	from, to := r.client(0), r.client(1)
	defer from.Close()
	defer to.Close()
	cfg := mailsync.Config{Source: from, Target: to, Store: r.disk, SettleTime: settleTime, Mailboxes: 1, BatchMessages: 3, Deletes: mailsync.DeletesRemove}
	for _, f := range configure {
		f(&cfg)
	}
	s, err := mailsync.New(cfg)
	if err != nil {
		return nil, err
	}
	return s.Run(context.Background())
}

func (r *cutRig) close() {
	for _, s := range r.servers {
		_ = s.Close()
	}
}

// differences compares the accounts.
func (r *cutRig) differences(was []string) []string {
	out := diff(was, boxLines(r.source))
	for i := range out {
		out[i] = "the source was changed: " + out[i]
	}
	there := boxLines(r.target)
	if r.departed != "" {
		// The connection broke between STORE and UID EXPUNGE, or there is no UID EXPUNGE.
		flagged := "INBOX " + line([]byte(r.departed), []mailhaul.Flag{mailhaul.FlagSeen, mailhaul.FlagDeleted}, addDate)
		there = slices.DeleteFunc(there, func(l string) bool { return l == flagged })
	}
	out = append(out, diff(slices.Concat(was, r.theirs), there)...)
	if err := checkpoint.Check(context.Background(), r.disk); err != nil {
		out = append(out, err.Error())
	}
	return out
}

func boxLines(u *imapserver.User) []string {
	var lines []string
	for _, b := range u.Mailboxes() {
		for _, m := range b.Messages() {
			lines = append(lines, b.Name()+" "+line(m.Body, m.Flags, m.Date))
		}
	}
	slices.Sort(lines)
	return lines
}

// TestCutAtEveryOctet migrates once without a fault and counts the octets.
// Then it migrates once for each of them and each way to fail, with the network
// cut there. The run goes on by itself, or the next one does; both accounts
// hold the same then, and another run sends nothing.
func TestCutAtEveryOctet(t *testing.T) {
	var cuts, resumed, longest atomic.Int64
	t.Run("settings", func(t *testing.T) {
		for i, s := range settings {
			t.Run(s.name, func(t *testing.T) {
				var octets [2][2]int
				synctest.Test(t, func(t *testing.T) {
					r := newCutRig(s)
					defer r.close()
					was := boxLines(r.source)
					if _, err := r.migrate(); err != nil {
						t.Fatal(err)
					}
					if d := r.differences(was); len(d) > 0 {
						t.Fatal(strings.Join(d, "\n"))
					}
					if s.change != nil && s.target.Caps == nil && strings.Contains(fmt.Sprint(boxLines(r.target)), "<0@x>") {
						t.Fatal("the copy of a message that is gone was not removed")
					}
					octets = [2][2]int{r.nets[0].gone, r.nets[1].gone}
				})
				t.Logf("octets: source %v, target %v", octets[0], octets[1])
				for side := range 2 {
					for dir := range 2 {
						t.Run(fmt.Sprintf("%s %v", []string{"source", "target"}[side], direction(dir)), func(t *testing.T) {
							t.Parallel()
							rnd := rand.New(rand.NewPCG(*seed, uint64(100*i+10*side+dir)))
							for at := range octets[side][dir] + 1 {
								for how := range endings {
									c := cut{direction(dir), at, how}
									if !s.takes(c, rnd) {
										continue
									}
									synctest.Test(t, func(t *testing.T) {
										if cutOnce(t, s, side, c, &resumed, &longest) {
											cuts.Add(1)
										}
									})
									if t.Failed() {
										return
									}
								}
							}
						})
					}
				}
			})
		}
	})
	t.Logf("%d runs did not get over it by themselves; the longest took %v of the bubble's time", resumed.Load(), time.Duration(longest.Load()))
	if !filtered() {
		reached(t, "cuts", &cuts, share(promisedCuts))
	}
}

// cutOnce makes one cut. It reports whether the network broke at all.
func cutOnce(t *testing.T, s *setting, side int, c cut, resumed, longest *atomic.Int64) (broke bool) {
	r := newCutRig(s)
	defer r.close()
	was := boxLines(r.source)
	r.nets[side].plan = &c
	what := fmt.Sprintf("%v after %d octets %v", c.how, c.at, c.dir)
	begun := time.Now()
	res, err := r.migrate()
	if took := int64(time.Since(begun)); took > longest.Load() {
		longest.Store(took)
	}
	if err != nil || !res.Complete() {
		resumed.Add(1)
		if res, err = r.migrate(); err != nil || !res.Complete() {
			t.Errorf("%s: the run after it: %v, %+v", what, err, res.Failed)
			return true
		}
	}
	time.Sleep(2 * settleTime)
	faults := r.differences(was)
	if c.at%16 == 0 { // nothing is left to do
		if res, err = r.migrate(); err != nil || res.Copied > 0 || res.Adopted > 0 {
			faults = append(faults, fmt.Sprintf("the pass after it: %v, %d copied, %d adopted", err, res.Copied, res.Adopted))
		}
		faults = append(faults, r.differences(was)...)
	}
	if len(faults) > 0 {
		t.Errorf("%s:\n\t%s", what, strings.Join(faults, "\n\t"))
	}
	return r.nets[side].done
}
