// The network is cut at each octet of a session with a POP3 server, and while
// what was moved is deleted there.

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
	"github.com/mailhaul/mailhaul/internal/memmail"
	"github.com/mailhaul/mailhaul/internal/pop3server"
	"github.com/mailhaul/mailhaul/pop3x"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// promisedPOP3Cuts is how many cuts an ordinary run makes at least.
const promisedPOP3Cuts = 4000

// popSetting is a POP3 server.
type popSetting struct {
	name    string
	options pop3server.Options
	moves   bool // what was moved is deleted on the source
	part    int  // how many of a hundred cuts an ordinary run makes
}

var popSettings = []*popSetting{
	{name: "pipelined", part: 30},
	{name: "one by one", options: pop3server.Options{NoPipelining: true}, part: 15},
	{name: "without UIDL", options: pop3server.Options{NoUIDL: true}, part: 15},
	{name: "deleted when moved", moves: true, part: 35},
}

// popRig is a maildrop, a target in memory, and a network between them.
type popRig struct {
	*popSetting
	server *pop3server.Server
	drop   *pop3server.Maildrop
	net    *network
	target *memmail.Account
	disk   *checkpoint.Memory
	was    []string
}

func newPopRig(s *popSetting) *popRig {
	r := &popRig{popSetting: s, server: pop3server.New(s.options), target: memmail.New("bob"), disk: checkpoint.NewMemory()}
	r.drop = r.server.AddUser("u", "p")
	r.net = &network{dial: r.server.Dial}
	for i := range 4 {
		body := fmt.Sprintf("Message-ID: <%d@x>\r\nSubject: s\r\n\r\n.%s\r\n", i, strings.Repeat("x", 20*i))
		r.drop.Add(fmt.Sprintf("id%d", i), []byte(body))
		r.was = append(r.was, body)
	}
	for i := range 2 { // twins
		r.drop.Add(fmt.Sprintf("twin%d", i), []byte("Subject: t\r\n\r\ntwin\r\n"))
		r.was = append(r.was, "Subject: t\r\n\r\ntwin\r\n")
	}
	slices.Sort(r.was)
	return r
}

// migrate makes one run, and another attempt where the lab is one of moves.
func (r *popRig) migrate() (*mailsync.Result, error) {
	from, err := pop3x.New(pop3x.Config{Server: mailhaul.Server{
		Protocol: mailhaul.POP3, Host: "127.0.0.1", User: "u", Security: mailhaul.Plaintext, Dial: r.net.Dial,
		Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret("p"), nil },
	}})
	if err != nil {
		return nil, err
	}
	s, err := mailsync.New(mailsync.Config{
		Source: from, Target: r.target, Store: r.disk, SettleTime: settleTime, BatchMessages: 3,
		Deletes: mailsync.DeletesRemove, // which must not take what we have deleted ourselves
	})
	if err != nil {
		return nil, err
	}
	res, err := s.Run(context.Background())
	if err == nil && r.moves {
		var out *mailsync.Removal
		out, err = mailsync.RemoveMoved(context.Background(), mailsync.RemoveOptions{Source: from, Target: r.target, Store: r.disk})
		res.RemovedFromSource = out.Removed
	}
	return res, errors.Join(err, from.Close())
}

// differences says what is wrong. Mail that is gone from the maildrop must have
// been there to be deleted, and all of it be on the target once.
func (r *popRig) differences(done bool) (out []string) {
	var source, target []string
	for _, m := range r.drop.Messages() {
		source = append(source, string(m.Body))
	}
	for _, m := range r.target.Snapshot("INBOX") {
		target = append(target, string(m.Body))
	}
	slices.Sort(source)
	slices.Sort(target)
	switch {
	case !r.moves && !slices.Equal(source, r.was):
		out = append(out, fmt.Sprintf("the source was changed: it holds %d messages", len(source)))
	case r.moves && done && len(source) > 0:
		out = append(out, fmt.Sprintf("the source still holds %d messages", len(source)))
	}
	if done && !slices.Equal(target, r.was) {
		out = append(out, fmt.Sprintf("the target holds %d messages: %q", len(target), target))
	}
	there := make(map[string]int)
	for _, body := range append(source, target...) {
		there[body]++
	}
	for _, body := range r.was {
		if there[body]--; there[body] < 0 {
			out = append(out, fmt.Sprintf("lost: %q", body))
		}
	}
	if err := checkpoint.Check(context.Background(), r.disk); err != nil {
		out = append(out, err.Error())
	}
	return out
}

// TestCutAtEveryOctetOfPOP3 is TestCutAtEveryOctet with a POP3 source.
func TestCutAtEveryOctetOfPOP3(t *testing.T) {
	var cuts, resumed atomic.Int64
	t.Run("settings", func(t *testing.T) {
		for i, s := range popSettings {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				var octets [2]int
				synctest.Test(t, func(t *testing.T) {
					r := newPopRig(s)
					defer r.server.Close()
					if _, err := r.migrate(); err != nil {
						t.Fatal(err)
					}
					if d := r.differences(true); len(d) > 0 {
						t.Fatal(strings.Join(d, "\n"))
					}
					octets = r.net.gone
				})
				t.Logf("octets: %v", octets)
				rnd := rand.New(rand.NewPCG(*seed, uint64(9000+i)))
				for dir := range 2 {
					for at := range octets[dir] + 1 {
						for how := range endings {
							part := s.part
							if *large {
								part = 100
							}
							if rnd.IntN(100) >= share(part) {
								continue
							}
							synctest.Test(t, func(t *testing.T) {
								if s.cutOnce(t, cut{direction(dir), at, how}, &resumed) {
									cuts.Add(1)
								}
							})
							if t.Failed() {
								return
							}
						}
					}
				}
			})
		}
	})
	t.Logf("%d runs did not get over it by themselves", resumed.Load())
	if !filtered() {
		reached(t, "cuts of POP3", &cuts, share(promisedPOP3Cuts))
	}
}

// cutOnce makes one cut. It reports whether the network broke at all.
func (s *popSetting) cutOnce(t *testing.T, c cut, resumed *atomic.Int64) (broke bool) {
	r := newPopRig(s)
	defer r.server.Close()
	r.net.plan = &c
	what := fmt.Sprintf("%v after %d octets %v", c.how, c.at, c.dir)
	res, err := r.migrate()
	faults := r.differences(false)
	for n := 0; (err != nil || !res.Complete()) && n < 3; n++ {
		resumed.Add(1)
		// A server that was not told of the end keeps the maildrop locked until
		// it gives up.
		time.Sleep(11 * time.Minute)
		res, err = r.migrate()
		faults = append(faults, r.differences(false)...)
	}
	if err != nil || !res.Complete() {
		t.Errorf("%s: the runs after it: %v", what, err)
		return true
	}
	time.Sleep(2 * settleTime)
	faults = append(faults, r.differences(true)...)
	if c.at%16 == 0 { // nothing is left to do
		if res, err = r.migrate(); err != nil || res.Copied+res.Adopted+res.Deleted > 0 {
			faults = append(faults, fmt.Sprintf("the pass after it: %v, %d copied, %d adopted, %d deleted", err, res.Copied, res.Adopted, res.Deleted))
		}
		faults = append(faults, r.differences(true)...)
	}
	if len(faults) > 0 {
		t.Errorf("%s:\n\t%s", what, strings.Join(faults, "\n\t"))
	}
	return r.net.done
}
