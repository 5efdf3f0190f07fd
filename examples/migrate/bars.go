package main

// Progress on a terminal: a bar for the account, and one for each folder that
// is being moved.

import (
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	mailsync "github.com/mailhaul/mailhaul/sync"
)

type bars struct {
	box     *mpb.Progress
	account *bar
	folders map[string]*bar // that have one
	tally   tally

	mu sync.Mutex // protects the words of all bars, which are drawn by goroutines of their own
}

// bar is a line of the screen: a name, how much of how much, and words.
type bar struct {
	*mpb.Bar
	words string
	wait  string    // why nothing happens
	until time.Time // and how long
}

func newBars(w io.Writer) *bars {
	b := &bars{
		box:     mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh()),
		folders: map[string]*bar{},
	}
	b.account = b.add("all", 0)
	b.tell(b.account, "connecting")
	return b
}

func (b *bars) events() mailsync.Events {
	return mailsync.Events{Started: b.started, Mailbox: b.mailbox, Progress: b.progress, Waiting: b.waiting}
}

// nameWidth is how many columns the names of folders get.
const nameWidth = 24

// add draws a new bar. Its total is set later: a bar that is made with one ends
// by itself, and what the engine takes for all may still grow.
func (b *bars) add(name string, priority int) *bar {
	line := &bar{}
	words := func(decor.Statistics) string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if left := time.Until(line.until); left > 0 {
			return "waiting " + span(left) + ": " + line.wait
		}
		return line.words
	}
	line.Bar = b.box.AddBar(0,
		mpb.BarPriority(priority),
		mpb.BarWidth(26),
		mpb.PrependDecorators(decor.Name(cut(clean(name), nameWidth), decor.WC{W: nameWidth, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.Any(words)),
	)
	return line
}

// tell puts words behind a bar, in place of what it waited for.
func (b *bars) tell(line *bar, words string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line.words, line.until = words, time.Time{}
}

// set moves a bar. It is called without the lock, for which the goroutine that
// draws the bar may be waiting.
func (l *bar) set(done, all int) {
	l.SetTotal(int64(all), false)
	l.SetCurrent(int64(done))
}

func (b *bars) started(s mailsync.Started) {
	b.tally.started(s)
	b.tell(b.account, "comparing")
	b.say(startedText(s))
}

func (b *bars) mailbox(e mailsync.MailboxEvent) {
	b.tally.mailbox(e)
	if line := b.folders[e.Source]; line != nil && e.Done {
		delete(b.folders, e.Source)
		line.Abort(true)
	}
	if text := doneText(e); text != "" {
		b.say(text)
	}
}

// folder returns the bar of a folder. It is made when there is something to
// show: most folders of most runs are done in no time.
func (b *bars) folder(name string) *bar {
	if b.folders[name] == nil {
		b.folders[name] = b.add(name, 1)
	}
	return b.folders[name]
}

func (b *bars) progress(p mailsync.Progress) {
	line := b.folder(p.Mailbox)
	b.tally.progress(p)
	done, all := b.tally.messages()
	b.tell(line, count(p.Messages)+"/"+count(p.TotalMessages)+", "+octets(p.Bytes, p.TotalBytes))
	b.tell(b.account, count(done)+"/"+count(all)+", "+b.tally.speed())
	line.set(p.Messages, p.TotalMessages)
	b.account.set(done, all)
}

func (b *bars) waiting(w mailsync.Waiting) {
	line := b.account
	if w.Mailbox != "" {
		line = b.folder(w.Mailbox)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	line.wait, line.until = clean(w.Reason), time.Now().Add(w.For)
}

// say writes a line above the bars.
func (b *bars) say(line string) { _, _ = io.WriteString(b.box, clean(line)+"\n") }

// close takes the bars away and leaves the lines.
func (b *bars) close() {
	b.account.Abort(true)
	for _, line := range b.folders {
		line.Abort(true)
	}
	b.box.Wait()
}
