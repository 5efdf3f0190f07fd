// What is being migrated when the process dies.

package faultlab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// scenario is a state of both accounts and the pass that is made over it.
type scenario struct {
	name      string
	fill      func(w *world)           // before anything was migrated
	change    func(w *world)           // after a first pass that lived; nil: the first pass dies
	configure func(c *mailsync.Config) // nil: as newWorld
	meanwhile func(w *world)           // between a death and the restart
	core      bool                     // goes through every persona
	with      *persona                 // instead of the plain one
}

// usual is an account with twins and a few folders' worth of mail.
func usual(w *world) {
	fill(w.source, "INBOX", 0, 11)
	w.source.AddMessage("INBOX", stored("twin", 1))
	w.source.AddMessage("INBOX", stored("twin", 1))
	fill(w.source, "Work", 0, 3)
}

// scenarios are all kinds of passes.
var scenarios = []*scenario{
	{name: "first copy", core: true, fill: usual},
	{name: "second pass", fill: usual, change: func(w *world) {}},
	{name: "new mail", core: true, fill: usual, change: func(w *world) {
		fill(w.source, "INBOX", 20, 27)
		fill(w.source, "Work", 20, 22)
		fill(w.source, "New", 0, 5)
	}},
	{name: "flags of the source", core: true, fill: usual, change: func(w *world) {
		for uid := mailhaul.UID(1); uid <= 9; uid++ {
			reflag(w.source, uid, func(f []mailhaul.Flag) []mailhaul.Flag {
				return append(without(f, mailhaul.FlagSeen), mailhaul.FlagAnswered)
			})
		}
	}},
	{name: "flags of both sides", fill: usual, change: func(w *world) {
		for uid := mailhaul.UID(1); uid <= 10; uid++ {
			m, _ := find(w.source, "INBOX", uid)
			body := string(m.Body)
			want := slices.Clone(m.Flags)
			if uid%2 == 0 { // the source's user answers
				reflag(w.source, uid, func(f []mailhaul.Flag) []mailhaul.Flag { return append(f, mailhaul.FlagAnswered) })
				want = append(want, mailhaul.FlagAnswered)
			}
			if uid%3 == 0 { // the target's user toggles the star
				toggle := func(f []mailhaul.Flag) []mailhaul.Flag {
					if mailhaul.HasFlag(f, mailhaul.FlagFlagged) {
						return without(f, mailhaul.FlagFlagged)
					}
					return append(f, mailhaul.FlagFlagged)
				}
				reflag(w.target, uid, toggle)
				want = toggle(want)
			}
			w.spec.flags[body] = want
		}
	}},
	{name: "the target's user removes", core: true, fill: usual, change: func(w *world) {
		w.remove("INBOX", 2, 5, 6)
		w.remove("Work", 1)
		fill(w.source, "INBOX", 20, 26)
	}},
	{name: "the target's user moves", fill: usual, change: func(w *world) {
		m, _ := find(w.source, "INBOX", 3)
		m = w.place("INBOX", m.Body)
		w.remove("INBOX", 3)
		w.spec.theirs["Work"] = append(w.spec.theirs["Work"], m)
		m.UID = 0
		w.target.AddMessage("Work", m)
		fill(w.source, "INBOX", 20, 23)
	}},
	{name: "the source's user removes", core: true, fill: usual, change: func(w *world) {
		w.forget("INBOX", 1, 7, 8)
		fill(w.source, "INBOX", 20, 26)
	}},
	{name: "the source is renumbered", core: true, fill: usual, change: func(w *world) {
		renumber(w.source, "INBOX")
		fill(w.source, "INBOX", 20, 24)
	}},
	{name: "the target is renumbered", core: true, fill: usual, change: func(w *world) {
		renumber(w.target, "INBOX")
		fill(w.source, "INBOX", 20, 24)
	}},
	{name: "both sides are renumbered", fill: usual, change: func(w *world) {
		renumber(w.source, "INBOX")
		renumber(w.target, "INBOX")
		fill(w.source, "INBOX", 20, 24)
	}},
	{name: "the target is restored from a backup", fill: usual, change: func(w *world) {
		b := w.target.Box("INBOX")
		b.Messages, b.Next = slices.Clone(b.Messages[:6]), b.Messages[6].UID
	}},
	{name: "the target's mailbox is deleted", fill: usual, change: func(w *world) {
		for _, m := range w.target.Snapshot("Work") { // by its user, who wants none of it back
			w.spec.removed[string(m.Body)] = true
		}
		w.target.Delete("Work")
	}},
	{name: "twins", core: true, fill: func(w *world) {
		for i := range 4 {
			for range 3 {
				w.source.AddMessage("INBOX", stored("twin", i))
			}
		}
		for range 3 { // without a Message-ID
			w.source.Add("INBOX", "Subject: none\r\n\r\nthe same\r\n")
		}
		for i := range 3 { // the same header, another text
			w.source.Add("INBOX", fmt.Sprintf("Message-ID: <same@x>\r\nSubject: s\r\n\r\ntext %d\r\n", i))
		}
		if w.persona.octets == nil { // nothing is left to recognise these by, if they are changed
			w.source.Add("INBOX", "")
			w.source.Add("INBOX", "\r\n")
		}
	}},
	{name: "many folders", fill: func(w *world) {
		for i := range 8 {
			fill(w.source, fmt.Sprintf("Folder %d", i), 0, 3)
			fill(w.source, fmt.Sprintf("Folder %d/Sub", i), 3, 5)
		}
	}, configure: func(c *mailsync.Config) { c.Mailboxes = 4 }},
	{name: "mail is there already", core: true, fill: func(w *world) {
		usual(w)
		for _, m := range w.source.Snapshot("INBOX")[3:9] { // by another tool, which kept neither date nor flags
			w.target.Add("INBOX", string(m.Body), mailhaul.FlagSeen)
			w.hold(m, m.Body)
		}
		for _, m := range w.source.Snapshot("Work")[:2] { // and added a line
			changed := append([]byte("X-Copied: yes\r\n"), m.Body...)
			w.target.Add("Work", string(changed))
			w.hold(m, changed)
		}
		for i := range 3 {
			w.deliver("INBOX", text("own", i), mailhaul.FlagSeen)
		}
	}},
	{name: "a view of all mail", fill: func(w *world) {
		fill(w.source, "INBOX", 0, 4)
		fill(w.source, "Work", 0, 4)
		for _, path := range []string{"INBOX", "Work"} {
			for _, m := range w.source.Snapshot(path) {
				m.UID = 0
				w.source.AddMessage("All", m)
			}
		}
		fill(w.source, "All", 10, 16)
		w.source.Box("All").Role = mailhaul.RoleAll
		w.spec.views["All"] = true
	}},
	{name: "large messages", core: true, fill: func(w *world) {
		fill(w.source, "INBOX", 0, 3)
		for i := range 5 {
			w.source.Add("INBOX", text("large", i)+strings.Repeat("large text\r\n", 200+i))
			w.source.Add("INBOX", text("small", i))
		}
		w.source.Add("INBOX", text("large", 2)+strings.Repeat("large text\r\n", 202)) // a twin
	}, configure: func(c *mailsync.Config) {
		c.StreamAbove, c.BatchBytes, c.Budget = 1000, 2000, mailsync.NewBudget(3000)
	}},
	{name: "refused messages", with: refusing, fill: func(w *world) {
		fill(w.source, "INBOX", 0, 5)
		for i := range 2 {
			body := text("virus", i) + refusedMark
			w.source.Add("INBOX", body)
			fill(w.source, "INBOX", 10*i+10, 10*i+15)
		}
	}},
	{name: "octets at risk", core: true, fill: func(w *world) {
		fill(w.source, "INBOX", 0, 3)
		for i := range 5 {
			w.source.Add("INBOX", text("nul", i)+"a\x00b\r\n")
			w.source.Add("INBOX", text("lf", i)+"bare\nline\r\n")
			w.source.Add("INBOX", text("cr", i)+"bare\rreturn\r\n")
		}
	}},
	{name: "messages vanish", fill: func(w *world) {
		usual(w)
		w.vanishing("INBOX", 4, 9)
	}},
	{name: "both users work while it is down", fill: usual, change: func(w *world) {
		fill(w.source, "INBOX", 20, 26)
	}, meanwhile: func(w *world) {
		fill(w.source, "INBOX", 40, 43)
		w.deliver("INBOX", text("own", 1))
		w.remove("INBOX", 4)
		reflag(w.source, 6, func(f []mailhaul.Flag) []mailhaul.Flag { return append(f, mailhaul.FlagDraft) })
	}},
	{name: "the source is renumbered while it is down", fill: usual, change: func(w *world) {
		fill(w.source, "INBOX", 20, 26)
	}, meanwhile: func(w *world) { renumber(w.source, "INBOX") }},
	{name: "the target is renumbered while it is down", core: true, fill: usual, change: func(w *world) {
		fill(w.source, "INBOX", 20, 26)
	}, meanwhile: func(w *world) { renumber(w.target, "INBOX") }},
	{name: "batches of one", fill: usual, configure: func(c *mailsync.Config) { c.BatchMessages = 1 }},
	{name: "all in one batch", core: true, fill: usual, configure: func(c *mailsync.Config) { c.BatchMessages = 100 }},
}

// remove lets the target's user remove messages that were moved. They are
// named by their UIDs on the source.
func (w *world) remove(path string, uids ...mailhaul.UID) {
	for _, uid := range uids {
		m, _ := find(w.source, path, uid)
		w.spec.removed[string(m.Body)] = true
		w.target.Expunge(w.spec.at(path), w.place(path, m.Body).UID)
	}
}

// place finds the copy of a message on the target.
func (w *world) place(path string, body []byte) memmail.Stored {
	for _, m := range w.target.Snapshot(w.spec.at(path)) {
		if string(m.Body) == string(w.persona.store(body)) {
			return m
		}
	}
	panic(fmt.Sprintf("nothing in %s has the octets %.80q", path, body))
}

// forget lets the source's user remove messages that were moved: the target
// keeps them.
func (w *world) forget(path string, uids ...mailhaul.UID) {
	for _, uid := range uids {
		if m, ok := find(w.source, path, uid); ok {
			m.Body = w.persona.store(m.Body)
			w.spec.theirs[path] = append(w.spec.theirs[path], m)
		}
	}
	w.source.Expunge(path, uids...)
}

// hold says that a message is on the target in the given form.
func (w *world) hold(m memmail.Stored, form []byte) {
	w.spec.held[string(m.Body)] = true
	for _, path := range w.target.Paths() {
		for _, there := range w.target.Snapshot(path) {
			if string(there.Body) == string(form) {
				w.spec.theirs[path] = append(w.spec.theirs[path], there)
			}
		}
	}
}

// vanishing lets messages disappear from the source when they are fetched.
func (w *world) vanishing(path string, uids ...mailhaul.UID) {
	w.spec.vanish[path] = mailhaul.UIDSetOf(uids...)
	w.hookVanishing()
}

func (w *world) hookVanishing() {
	if len(w.spec.vanish) == 0 {
		return
	}
	w.source.Hooks.Fetch = func(path string, uid mailhaul.UID) (skip bool, err error) {
		if !w.spec.vanish[path].Contains(uid) {
			return false, nil
		}
		w.source.Expunge(path, uid)
		return true, nil
	}
}

func reflag(a *memmail.Account, uid mailhaul.UID, f func([]mailhaul.Flag) []mailhaul.Flag) {
	a.Change("INBOX", uid, func(m *memmail.Stored) { m.Flags = f(slices.Clone(m.Flags)) })
}

func without(flags []mailhaul.Flag, f mailhaul.Flag) []mailhaul.Flag {
	return slices.DeleteFunc(slices.Clone(flags), f.Equal)
}
