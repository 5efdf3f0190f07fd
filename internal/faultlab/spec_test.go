// The specification: what both accounts and the ledger have to look like when
// a migration has ended, whatever happened on the way. It is written down from
// what a test did to the accounts, and asks the engine nothing.

package faultlab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// spec says how the target differs from a plain copy of the source. Messages
// go by their octets, as the source has them.
type spec struct {
	theirs  map[string][]memmail.Stored // what the target holds besides, by mailbox
	removed map[string]bool             // what its user removed there: never brought back
	held    map[string]bool             // adopted there: the target's flags and date stay
	flags   map[string][]mailhaul.Flag  // flags that differ from the source's
	views   map[string]bool             // mailboxes of which only the rest is moved
	once    bool                        // the server keeps one copy of twins; the others are failures
	back    bool                        // the map was lost: what the target's user removed may be back, and flags stay as they are there
	vanish  map[string]mailhaul.UIDSet  // what disappears from the source when it is fetched
	copies  map[string]string           // what the copies of mailboxes are called that have another name than the source's
	leaving map[string]bool             // copies that follow their messages: removed, or flagged as deleted by a process that died
	stopped map[string]bool             // mailboxes that the brake holds
	exact   bool                        // the identity was imposed: UIDs, UIDVALIDITY and UIDNEXT are the source's
}

func newSpec() spec {
	return spec{
		theirs: map[string][]memmail.Stored{}, removed: map[string]bool{}, held: map[string]bool{},
		flags: map[string][]mailhaul.Flag{}, views: map[string]bool{}, vanish: map[string]mailhaul.UIDSet{},
		copies: map[string]string{}, leaving: map[string]bool{}, stopped: map[string]bool{},
	}
}

func (s spec) clone() spec {
	s.theirs = maps.Clone(s.theirs)
	for path, msgs := range s.theirs {
		s.theirs[path] = slices.Clone(msgs)
	}
	s.removed, s.held = maps.Clone(s.removed), maps.Clone(s.held)
	s.flags, s.views, s.vanish = maps.Clone(s.flags), maps.Clone(s.views), maps.Clone(s.vanish)
	s.copies, s.leaving, s.stopped = maps.Clone(s.copies), maps.Clone(s.leaving), maps.Clone(s.stopped)
	return s
}

// at returns what the copy of a mailbox is called.
func (s spec) at(path string) string {
	if copied, ok := s.copies[path]; ok {
		return copied
	}
	return path
}

// line is a message as it is compared.
func line(body []byte, flags []mailhaul.Flag, date time.Time) string {
	kept, _ := mailhaul.NormalizeFlags(flags)
	return fmt.Sprintf("%q %v %s", body, kept, date.UTC().Format(time.RFC3339))
}

// refuses reports whether the server refuses a message.
func (w *world) refuses(body string) bool {
	return w.persona.refuses && strings.Contains(body, refusedMark)
}

// refusals counts the messages that are tried again by each pass, since the
// server refused them.
func (w *world) refusals() (n int) {
	for _, path := range w.source.Paths() {
		for _, m := range w.source.Snapshot(path) {
			if w.refuses(string(m.Body)) {
				n++
			}
		}
	}
	return n
}

// line is a message of this world as it is compared.
func (w *world) line(body []byte, flags []mailhaul.Flag, date time.Time) string {
	if w.spec.back || w.pop {
		flags = nil
	}
	if w.pop { // it has none
		date = time.Time{}
	}
	return line(body, flags, date)
}

// want returns what a mailbox of the target is to hold.
func (w *world) want(path string) []string {
	var lines []string
	elsewhere := map[string]bool{}
	if w.spec.views[path] {
		for _, other := range w.source.Paths() {
			if other == path {
				continue
			}
			for _, m := range w.source.Snapshot(other) {
				elsewhere[string(m.Body)] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, m := range w.source.Snapshot(path) {
		body := string(m.Body)
		if w.spec.removed[body] || w.refuses(body) || w.spec.held[body] || elsewhere[body] || w.spec.once && seen[body] {
			continue
		}
		seen[body] = true
		flags, ok := w.spec.flags[body]
		if !ok {
			flags = m.Flags
		}
		lines = append(lines, w.line(w.persona.store(m.Body), flags, m.Date))
	}
	for _, m := range w.spec.theirs[w.spec.at(path)] {
		lines = append(lines, w.line(m.Body, m.Flags, m.Date))
	}
	slices.Sort(lines)
	return lines
}

// differences returns sentences about what is not as it has to be after a run
// that ended well.
func (w *world) differences(res *mailsync.Result, untouched *memmail.Account) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, path := range w.source.Paths() {
		var got []string
		for _, m := range w.target.Snapshot(w.spec.at(path)) {
			if w.spec.back && w.spec.removed[string(m.Body)] {
				continue
			}
			if w.spec.leaving[string(m.Body)] && w.mayStay(m) {
				continue
			}
			got = append(got, w.line(m.Body, m.Flags, m.Date))
		}
		slices.Sort(got)
		for _, d := range diff(w.want(path), got) {
			bad("%s: %s", path, d)
		}
		was := slices.DeleteFunc(untouched.Snapshot(path), func(m memmail.Stored) bool { return w.spec.vanish[path].Contains(m.UID) })
		if !slices.EqualFunc(w.source.Snapshot(path), was, sameStored) {
			bad("%s: the source was changed", path)
		}
	}
	w.reported(res, bad)
	w.ledger(res, bad)
	w.identity(bad)
	return out
}

// mayStay reports whether a copy whose message is gone may be there still: it
// is flagged, but the process died before it was removed, or the server cannot
// do that; or nobody knows for sure that it is ours.
func (w *world) mayStay(m memmail.Stored) bool {
	return mailhaul.HasFlag(m.Flags, mailhaul.FlagDeleted) || w.spec.back || w.persona.unsure
}

// left returns how many copies are there that were to be removed.
func (w *world) left() (n int) {
	for _, path := range w.target.Paths() {
		for _, m := range w.target.Snapshot(path) {
			if w.spec.leaving[string(m.Body)] {
				n++
			}
		}
	}
	for _, path := range w.source.Paths() { // a twin of it that stays
		for _, m := range w.source.Snapshot(path) {
			if w.spec.leaving[string(w.persona.store(m.Body))] {
				n--
			}
		}
	}
	return n
}

// identity holds that mailboxes whose identity was imposed have it.
func (w *world) identity(bad func(string, ...any)) {
	if !w.spec.exact {
		return
	}
	for _, path := range w.source.Paths() {
		s, t := w.source.Box(path), w.target.Box(w.spec.at(path))
		if s.Validity != t.Validity || t.Next < s.Next {
			bad("%s: UIDVALIDITY %d and UIDNEXT %d became %d and %d", path, s.Validity, s.Next, t.Validity, t.Next)
		}
		there := map[mailhaul.UID]string{}
		for _, m := range t.Messages {
			there[m.UID] = string(m.Body)
			if m.Filler {
				bad("%s: a filler is left", path)
			}
		}
		for _, m := range s.Messages {
			if there[m.UID] != string(m.Body) {
				bad("%s UID %d: is not under its UID", path, m.UID)
			}
		}
	}
}

func sameStored(a, b memmail.Stored) bool {
	return a.UID == b.UID && a.ModSeq == b.ModSeq && string(a.Body) == string(b.Body) && slices.Equal(a.Flags, b.Flags) && a.Date.Equal(b.Date)
}

// diff compares two sorted multisets.
func diff(want, got []string) []string {
	var out []string
	count := map[string]int{}
	for _, l := range want {
		count[l]++
	}
	for _, l := range got {
		count[l]--
	}
	for _, l := range slices.Sorted(maps.Keys(count)) {
		switch n := count[l]; {
		case n > 0:
			out = append(out, fmt.Sprintf("%d missing: %.300s", n, l))
		case n < 0:
			out = append(out, fmt.Sprintf("%d too many: %.300s", -n, l))
		}
	}
	return out
}

// reported holds that what is not on the target, and what is there in another
// form, is listed.
func (w *world) reported(res *mailsync.Result, bad func(string, ...any)) {
	failed, altered := map[string]int{}, map[string]bool{}
	for _, f := range res.Failed {
		if f.UID == 0 && w.spec.stopped[f.Mailbox] {
			continue
		}
		m, ok := find(w.source, f.Mailbox, f.UID)
		if !ok {
			bad("failure of nothing known: %+v", f)
			continue
		}
		failed[string(m.Body)]++
	}
	for _, a := range res.Altered {
		m, _ := find(w.source, a.Mailbox, a.UID)
		altered[string(m.Body)] = true
	}
	for _, path := range w.source.Paths() {
		seen := map[string]bool{}
		for _, m := range w.source.Snapshot(path) {
			body := string(m.Body)
			switch {
			case w.refuses(body), w.spec.once && seen[body]:
				if failed[body] == 0 {
					bad("%s UID %d is not on the target and not listed", path, m.UID)
				}
				failed[body]--
			case w.persona.listed && !w.spec.removed[body] && string(w.persona.store(m.Body)) != body:
				if !altered[body] {
					bad("%s UID %d has other octets on the target and is not listed", path, m.UID)
				}
			}
			seen[body] = true
		}
	}
	for body, n := range failed {
		if n > 0 {
			bad("listed as failed and moved: %.80q", body)
		}
	}
}

func find(a *memmail.Account, path string, uid mailhaul.UID) (memmail.Stored, bool) {
	for _, m := range a.Snapshot(path) {
		if m.UID == uid {
			return m, true
		}
	}
	return memmail.Stored{}, false
}

// ledger holds that the checkpoint is sound, that no batch is left in doubt,
// and that each record is true: it names two messages that are the same.
func (w *world) ledger(res *mailsync.Result, bad func(string, ...any)) {
	ctx := context.Background()
	if err := checkpoint.Check(ctx, w.disk); err != nil {
		bad("the checkpoint is not sound: %v", err)
		return
	}
	from := w.source.Account()
	if w.pop {
		from = newMaildrop(w.source).Account()
	}
	l, err := checkpoint.OpenLedger(ctx, w.disk, checkpoint.Pair{From: from, To: w.target.Account()})
	if err != nil {
		bad("the ledger cannot be opened: %v", err)
		return
	}
	for _, path := range w.source.Paths() {
		m, err := l.Mailbox(ctx, path)
		if err != nil {
			bad("the ledger of %s: %v", path, err)
			continue
		}
		if n := len(m.Intents()); n > 0 && res.Complete() {
			bad("%s: %d batches are left in doubt", path, n)
		}
		records := map[mailhaul.UID]checkpoint.Record{}
		for rec, err := range m.Records(ctx, 0) {
			if err != nil {
				bad("the records of %s: %v", path, err)
				break
			}
			records[rec.Source] = rec
		}
		for _, msg := range w.source.Snapshot(path) {
			rec, ok := records[msg.UID]
			body := string(msg.Body)
			switch {
			case !ok && !w.refuses(body) && !w.spec.once:
				bad("%s UID %d: no record", path, msg.UID)
			case !ok || rec.State != checkpoint.Mapped:
			default:
				copied, there := find(w.target, w.spec.at(path), rec.Target)
				switch {
				case !there && !w.spec.removed[body]:
					bad("%s UID %d: is recorded as UID %d, which is not there", path, msg.UID, rec.Target)
				case there && !w.same(msg, copied):
					bad("%s UID %d: is recorded as UID %d, which is another message", path, msg.UID, rec.Target)
				}
			}
		}
	}
}

// same reports whether b may be the copy of a.
func (w *world) same(a, b memmail.Stored) bool {
	return string(a.Body) == string(b.Body) || string(w.persona.store(a.Body)) == string(b.Body) ||
		w.spec.held[string(a.Body)] && strings.HasSuffix(string(b.Body), afterHeader(a.Body))
}

func afterHeader(b []byte) string {
	_, text, _ := strings.Cut(string(b), "\r\n\r\n")
	return text
}
