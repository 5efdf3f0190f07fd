// Engines that are broken on purpose, to see that the laboratories see. They
// are made of decorators, so that there is no switch in the engine.

package faultlab

import (
	"context"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
	"github.com/mailhaul/mailhaul/internal/imapserver"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// brokenEngines are the controls.
//
// A checkpoint that is rolled back cannot show two of them. A run ends when it
// has heard of everything that it sent, or has waited for it: nothing is on its
// way when an older checkpoint is restored, so whoever waits then sees no more
// than who does not. And an engine that records too early makes its checkpoint
// say more than is true, where a rollback makes it say less: each message that
// an older one names has been stored by the end of the run that is undone.
var brokenEngines = []struct {
	name   string
	damage func(*mailsync.Config)
	server string // the persona that does not make the engine notice in time
	back   bool   // a checkpoint that is older than the truth shows it
}{
	{"does not look for a batch whose answer is missing", func(c *mailsync.Config) { c.Target = &blindTarget{c.Target} }, "plain", true},
	{"does not wait for the settle time", func(c *mailsync.Config) { c.SettleTime = time.Nanosecond }, "plain", false},
	{"records before the OK", func(c *mailsync.Config) { c.Target = &hastyTarget{c.Target} }, "no UIDNEXT", false},
}

// blindTarget shows an engine none of the messages that it has not recorded:
// its settling step finds nothing.
type blindTarget struct{ mailhaul.Target }

func (b *blindTarget) OpenReader(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Reader, error) {
	r, err := b.Target.OpenReader(ctx, m)
	if err != nil {
		return nil, err
	}
	return &blindReader{r}, nil
}

type blindReader struct{ mailhaul.Reader }

func (r *blindReader) Messages(ctx context.Context, set mailhaul.UIDSet, fields mailhaul.Fields, since mailhaul.ModSeq) iter.Seq2[mailhaul.Message, error] {
	if fields&mailhaul.FieldHeader != 0 {
		return func(func(mailhaul.Message, error) bool) {}
	}
	return r.Reader.Messages(ctx, set, fields, since)
}

// hastyTarget says that a batch is stored, and stores it before the next.
type hastyTarget struct{ mailhaul.Target }

func (h *hastyTarget) OpenWriter(ctx context.Context, m mailhaul.Mailbox) (mailhaul.Writer, error) {
	w, err := h.Target.OpenWriter(ctx, m)
	if err != nil {
		return nil, err
	}
	return &hastyWriter{Writer: w, next: max(w.Status().UIDNext, 1)}, nil
}

type hastyWriter struct {
	mailhaul.Writer
	next    mailhaul.UID
	waiting []mailhaul.Outgoing
}

type said []mailhaul.Outcome

func (s said) Wait(context.Context) ([]mailhaul.Outcome, error) { return s, nil }

func (w *hastyWriter) Append(ctx context.Context, batch []mailhaul.Outgoing) (mailhaul.Receipt, error) {
	if err := w.flush(ctx); err != nil {
		release(batch)
		return nothing(len(batch)), err
	}
	out := make(said, len(batch))
	for i := range batch {
		out[i] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: w.next}
		w.next++
		if !batch[i].Body.Buffered() {
			octets, err := io.ReadAll(batch[i].Body.Reader())
			if err != nil {
				panic(err)
			}
			batch[i].Body = heldBody(octets)
		}
	}
	w.waiting = batch
	return out, nil
}

func (w *hastyWriter) flush(ctx context.Context) error {
	batch := w.waiting
	w.waiting = nil
	if len(batch) == 0 {
		return nil
	}
	_, err := w.Writer.Append(ctx, batch)
	return err
}

func (w *hastyWriter) Finish(ctx context.Context) error {
	if err := w.flush(ctx); err != nil {
		return err
	}
	return w.Writer.Finish(ctx)
}

// heldBody is a body in memory.
type heldBody string

func (b heldBody) Size() int64       { return int64(len(b)) }
func (b heldBody) Reader() io.Reader { return strings.NewReader(string(b)) }
func (b heldBody) Buffered() bool    { return true }
func (b heldBody) Release()          {}

// caught fails the test unless the laboratory found that something is wrong.
func caught(t *testing.T, lab string, found []string) {
	t.Helper()
	if len(found) == 0 {
		t.Errorf("%s did not find it", lab)
		return
	}
	t.Logf("%s found it: %.200s", lab, found[0])
}

// TestBrokenEnginesAreCaught takes each of them through each laboratory.
func TestBrokenEnginesAreCaught(t *testing.T) {
	for _, e := range brokenEngines {
		t.Run(e.name, func(t *testing.T) {
			t.Run("crash", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var found []string
					var n atomic.Int64
					l := &crashLab{t: t, sc: scenarios[0], p: personaNamed(e.server), rnd: rand.New(rand.NewPCG(*seed, 0)), pairs: &n, twice: &n,
						broken: e.damage, found: func(f string) { found = append(found, f) }}
					l.run()
					caught(t, "the crash laboratory", found)
				})
			})
			t.Run("disk", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { caught(t, "the disk laboratory", breakDisk(t, e.damage)) })
			})
			t.Run("rollback", func(t *testing.T) {
				if !e.back {
					return
				}
				synctest.Test(t, func(t *testing.T) { caught(t, "the rollback laboratory", breakBack(t, e.damage)) })
			})
			t.Run("cut", func(t *testing.T) {
				var found []string
				for at := 0; at < 2000 && len(found) == 0; at++ {
					for _, dir := range []direction{toServer, toClient} {
						for _, how := range []ending{fin, rst} { // where it matters is one octet, which moves a little
							synctest.Test(t, func(t *testing.T) { found = append(found, breakCut(t, e.damage, cut{dir, at, how})...) })
						}
					}
				}
				caught(t, "the cut laboratory", found)
			})
		})
	}
}

// breakDisk lets each commit fail after it took effect, and each append be
// answered too late.
func breakDisk(t *testing.T, broken func(*mailsync.Config)) (found []string) {
	for n := 1; n < 20; n++ {
		for _, late := range []bool{false, true} {
			w := newWorld(personaNamed("hangs up and stores late"))
			usual(w)
			was := w.source.Clone()
			faulty := checkpointtest.NewFaulty(w.disk, checkpointtest.FailCommit(n, late, errDisk))
			w.live(t, nil, broken, func(c *mailsync.Config) { c.Store = faulty })
			last := w.live(t, nil, broken)
			time.Sleep(2 * settleTime)
			found = append(found, w.differences(last.res, was)...)
			w.end()
		}
	}
	return found
}

// breakBack goes back to each commit.
func breakBack(t *testing.T, broken func(*mailsync.Config)) (found []string) {
	w := newWorld(plain)
	usual(w)
	was := w.source.Clone()
	history := checkpointtest.NewHistory(nil)
	w.live(t, nil, broken, func(c *mailsync.Config) { c.Store = history })
	for n := range history.Commits() {
		c := w.clone()
		c.disk = history.At(n)
		l := c.live(t, nil, broken)
		found = append(found, c.differences(l.res, was)...)
		c.end()
	}
	return found
}

// breakCut cuts the target's network once. The server stores what it had
// received a little later.
func breakCut(t *testing.T, broken func(*mailsync.Config), c cut) []string {
	r := newCutRig(lateSetting)
	defer r.close()
	was := boxLines(r.source)
	r.nets[1].plan = &c
	_, _ = r.migrate(broken, func(c *mailsync.Config) { c.Retries = -1 })
	// Mail arrives meanwhile: UIDs go on.
	inbox := r.target.Mailbox("INBOX")
	for i := range 5 {
		inbox.Add(imapserver.Message{Body: []byte(text("delivered", i)), Date: addDate})
	}
	_, _ = r.migrate(broken)
	time.Sleep(2 * settleTime)
	var found []string
	for _, d := range r.differences(was) {
		if !strings.Contains(d, "@delivered") {
			found = append(found, d)
		}
	}
	return found
}

// TestFlippedOctetIsSeen holds that an image with one wrong octet is no map: it
// is refused, and were it not, the laboratory would see that.
func TestFlippedOctetIsSeen(t *testing.T) {
	dir := t.TempDir()
	images := record(t, dir+"/recorded.db")
	image := images[len(images)/2]
	want := content(t, dir+"/image.db", image)
	rnd := random(t, 9)
	refused, same := 0, 0
	for range 1000 { // most octets of a file are not used
		flipped := append([]byte{}, image...)
		flipped[2*pageSize+rnd.IntN(len(image)-2*pageSize)] ^= 1 << rnd.IntN(8)
		got, err := open(dir+"/image.db", flipped, true)
		switch {
		case err != nil:
			refused++
		case got == want:
			same++ // in what is not used
		default:
			t.Errorf("a wrong map")
		}
	}
	t.Logf("%d refused, %d not concerned", refused, same)
	if refused == 0 {
		t.Error("none was refused")
	}
}

func personaNamed(name string) *persona {
	for _, p := range personas {
		if p.name == name {
			return p
		}
	}
	panic("no such persona: " + name)
}
