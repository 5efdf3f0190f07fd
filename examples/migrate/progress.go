package main

// How it goes, on standard error: bars on a terminal (bars.go), lines elsewhere.

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	mailsync "github.com/mailhaul/mailhaul/sync"
)

// progress shows how a run goes. Events are called by the run, one at a time;
// say may be called at any time until close.
type progress interface {
	events() mailsync.Events
	say(line string)
	close()
}

func newProgress(sys system, opt *options) progress {
	var p progress
	if sys.terminal {
		p = newBars(sys.stderr)
	} else {
		p = &lines{w: sys.stderr, now: time.Now}
	}
	p.say(fmt.Sprintf("connecting to %s and %s", opt.from.Addr(), opt.toWhere()))
	return p
}

// tally adds up what the events say of the account. The engine's totals cover
// the folders that it has opened; for the others there is the listing.
type tally struct {
	unopened int            // messages in folders that are not opened yet
	opened   map[string]int // by folder, until the engine's totals cover it
	last     mailsync.Progress
}

func (t *tally) started(s mailsync.Started) {
	t.unopened, t.opened = s.Messages, map[string]int{}
}

func (t *tally) mailbox(e mailsync.MailboxEvent) {
	if e.Done {
		t.covered(e.Source)
	} else {
		t.opened[e.Source] = e.Messages
	}
}

func (t *tally) progress(p mailsync.Progress) {
	t.covered(p.Mailbox)
	t.last = p
}

// covered notes that the engine's totals know of a folder.
func (t *tally) covered(mailbox string) {
	t.unopened = max(0, t.unopened-t.opened[mailbox])
	delete(t.opened, mailbox)
}

// messages returns how many were moved, and how many there are to be moved, as
// far as one can say.
func (t *tally) messages() (done, all int) {
	return t.last.AccountMessages, t.last.AccountTotalMessages + t.unopened
}

// speed returns octets, rate and time left in words.
func (t *tally) speed() string {
	var b strings.Builder
	b.WriteString(octets(t.last.AccountBytes, t.last.AccountTotalBytes))
	if t.unopened > 0 {
		b.WriteString(" or more")
	}
	if t.last.Rate > 0 {
		fmt.Fprintf(&b, ", %s/s", size(int64(t.last.Rate)))
	}
	if t.last.Left > 0 {
		b.WriteString(", ")
		if t.unopened > 0 {
			b.WriteString("over ")
		}
		b.WriteString(span(t.last.Left) + " left")
	}
	return b.String()
}

// octets returns so many of so many. The total is not always known, and may
// turn out to be too small: sizes are what servers say.
func octets(done, all int64) string {
	if all < done {
		return size(done)
	}
	return size(done) + " of " + size(all)
}

// lines is progress where nothing can be drawn: what is worth a line gets one,
// and the rest one a second at most.
type lines struct {
	w     io.Writer
	now   func() time.Time
	tally tally
	next  time.Time // before it nothing more is said of messages
}

func (l *lines) events() mailsync.Events {
	return mailsync.Events{Started: l.started, Mailbox: l.mailbox, Progress: l.progress, Waiting: l.waiting}
}

func (l *lines) started(s mailsync.Started) {
	l.tally.started(s)
	l.next = l.now().Add(time.Second)
	l.say(startedText(s))
}

func startedText(s mailsync.Started) string {
	return fmt.Sprintf("%s in %s; moving what is not on the target yet", number(s.Messages, "message"), number(s.Mailboxes, "folder"))
}

// mailbox gives a folder in which something was done a line.
func (l *lines) mailbox(e mailsync.MailboxEvent) {
	l.tally.mailbox(e)
	if text := doneText(e); text != "" {
		l.say(text)
	}
}

// doneText says what was done to a folder; nothing, if nothing was.
func doneText(e mailsync.MailboxEvent) string {
	if !e.Done {
		return ""
	}
	var did []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{e.Result.Copied, "copied"}, {e.Result.Adopted, "already there"}, {e.Result.Vanished, "vanished"},
		{e.Result.FlagsUpdated, "with new flags"}, {e.Result.Failed, "FAILED"},
	} {
		if part.n > 0 {
			did = append(did, count(part.n)+" "+part.what)
		}
	}
	if len(did) == 0 {
		return ""
	}
	if e.Result.Bytes > 0 {
		did = append(did, size(e.Result.Bytes))
	}
	return fmt.Sprintf("%s: %s", e.Source, strings.Join(did, ", "))
}

func (l *lines) progress(p mailsync.Progress) {
	l.tally.progress(p)
	now := l.now()
	if now.Before(l.next) {
		return
	}
	l.next = now.Add(time.Second)
	done, all := l.tally.messages()
	l.say(fmt.Sprintf("%s of %s, %s (%s: %s of %s)", count(done), number(all, "message"), l.tally.speed(),
		p.Mailbox, count(p.Messages), count(p.TotalMessages)))
}

func (l *lines) waiting(w mailsync.Waiting) { l.say(waitingText(w)) }

func waitingText(w mailsync.Waiting) string {
	where := ""
	if w.Mailbox != "" {
		where = w.Mailbox + ": "
	}
	return fmt.Sprintf("%swaiting %s: %s", where, span(w.For), w.Reason)
}

func (l *lines) say(line string) { fmt.Fprintf(l.w, "%s\n", clean(line)) }

func (l *lines) close() {}

// lineWriter lets the log, the progress and the signals share standard error,
// a line each.
type lineWriter struct {
	mu sync.Mutex // protects w
	w  io.Writer
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
