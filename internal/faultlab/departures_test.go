// What is being migrated when the process dies, continued: mail that is gone
// from one side, mailboxes that change their names, identity that is imposed,
// maildrops, and accounts that are followed.

package faultlab

import (
	"slices"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

func init() {
	scenarios = append(scenarios, departures...)
	scenarios = append(scenarios, imposings...)
	scenarios = append(scenarios, followings...)
}

func deletes(policy mailsync.Deletes) func(*mailsync.Config) {
	return func(c *mailsync.Config) { c.Deletes = policy }
}

// depart lets the source's user remove messages. Their copies follow.
func (w *world) depart(path string, uids ...mailhaul.UID) {
	for _, uid := range uids {
		if m, ok := find(w.source, path, uid); ok {
			w.spec.leaving[string(w.persona.store(m.Body))] = true
		}
	}
	w.source.Expunge(path, uids...)
}

// departs is what users do before a pass that carries deletions over: some
// copies follow their messages, some are in use, one was there before, and the
// target's user has flagged other mail himself.
func departs(w *world) {
	m, _ := find(w.source, "INBOX", 2)
	uid := w.place("INBOX", m.Body).UID
	w.target.Change("INBOX", uid, func(m *memmail.Stored) { m.Flags = append(slices.Clone(m.Flags), mailhaul.FlagAnswered) })
	used, _ := find(w.target, "INBOX", uid)
	w.spec.theirs["INBOX"] = append(w.spec.theirs["INBOX"], used)
	w.source.Expunge("INBOX", 2)
	w.deliver("INBOX", text("own", 1), mailhaul.FlagDeleted)
	w.deliver("Work", text("own", 2))
}

// fillUsed is usual mail, of which one message is on the target already.
func fillUsed(w *world) {
	usual(w)
	m, _ := find(w.source, "Work", 1) // it has no flags, nor has the copy
	w.target.Add("Work", string(m.Body))
	w.hold(m, m.Body)
}

// emptied makes 55 of 60 messages vanish from one side.
func emptied(side mailsync.Side, back bool) func(w *world) {
	return func(w *world) {
		for uid := mailhaul.UID(1); uid <= 55; uid++ {
			switch {
			case side == mailsync.SideSource && back:
				w.forget("INBOX", uid)
			case side == mailsync.SideSource:
				w.depart("INBOX", uid)
			case back:
				m, _ := find(w.source, "INBOX", uid)
				w.target.Expunge("INBOX", w.place("INBOX", m.Body).UID)
			default:
				w.remove("INBOX", uid)
			}
		}
	}
}

func sixty(w *world) {
	fill(w.source, "INBOX", 0, 60)
	fill(w.source, "Work", 0, 3)
}

func confirm(d mailsync.Decision) func(*mailsync.Config) {
	return func(c *mailsync.Config) {
		c.Deletes, c.BatchMessages = mailsync.DeletesRemove, 20
		c.Confirm = func(mailsync.Held) mailsync.Decision { return d }
	}
}

var departures = []*scenario{
	{name: "copies are removed", core: true, fill: fillUsed, configure: deletes(mailsync.DeletesRemove), change: func(w *world) {
		departs(w)
		w.depart("INBOX", 1, 5, 7)
		w.depart("Work", 2)
		w.source.Expunge("Work", 1) // its copy was there before: it is its user's own
		fill(w.source, "INBOX", 20, 26)
	}},
	{name: "copies are flagged", fill: fillUsed, configure: deletes(mailsync.DeletesFlag), change: func(w *world) {
		departs(w)
		for _, uid := range []mailhaul.UID{1, 5, 7} {
			m, _ := find(w.source, "INBOX", uid)
			m.Body, m.Flags = w.persona.store(m.Body), append(slices.Clone(m.Flags), mailhaul.FlagDeleted)
			w.spec.theirs["INBOX"] = append(w.spec.theirs["INBOX"], m)
			w.source.Expunge("INBOX", uid)
		}
		w.source.Expunge("Work", 1)
		fill(w.source, "INBOX", 20, 26)
	}},
	{name: "one of twins is gone, and its copy follows", fill: func(w *world) {
		usual(w)
		w.source.AddMessage("INBOX", stored("twin", 1))
	}, configure: deletes(mailsync.DeletesRemove), change: func(w *world) {
		twin := stored("twin", 1)
		for _, m := range w.source.Snapshot("INBOX") {
			if string(m.Body) == string(twin.Body) {
				w.source.Expunge("INBOX", m.UID)
				break
			}
		}
		w.spec.leaving[string(twin.Body)] = true
		fill(w.source, "INBOX", 20, 23)
	}},
	{name: "a mailbox is gone, and its copies follow", fill: usual, configure: deletes(mailsync.DeletesRemove), change: func(w *world) {
		w.depart("Work", 1, 2, 3)
		w.source.Delete("Work")
		fill(w.source, "INBOX", 20, 24)
	}},
	{name: "both users remove while it is down", fill: usual, configure: deletes(mailsync.DeletesRemove), change: func(w *world) {
		w.depart("INBOX", 1, 5)
		fill(w.source, "INBOX", 20, 26)
	}, meanwhile: func(w *world) {
		w.remove("INBOX", 4)
		if m, ok := find(w.source, "INBOX", 6); ok { // both at once
			w.spec.leaving[string(m.Body)] = true
			w.target.Expunge("INBOX", w.place("INBOX", m.Body).UID)
			w.source.Expunge("INBOX", 6)
		}
		w.depart("INBOX", 9)
		w.deliver("INBOX", text("own", 1), mailhaul.FlagDeleted)
	}},
	{name: "much vanishes from the source, and nobody decides", fill: sixty, configure: confirm(mailsync.Hold), change: func(w *world) {
		w.spec.stopped["INBOX"] = true
		emptied(mailsync.SideSource, true)(w)
		fill(w.source, "Work", 20, 23)
	}},
	{name: "much vanishes from the source, as meant", fill: sixty, configure: confirm(mailsync.Accept), change: emptied(mailsync.SideSource, false)},
	{name: "much vanishes from the source, by mistake", fill: sixty, configure: confirm(mailsync.Refuse), change: emptied(mailsync.SideSource, true)},
	{name: "much vanishes from the target, as meant", fill: sixty, configure: confirm(mailsync.Accept), change: emptied(mailsync.SideTarget, false)},
	{name: "much vanishes from the target, by mistake", fill: sixty, configure: confirm(mailsync.Refuse), change: emptied(mailsync.SideTarget, true)},
	{name: "a mailbox of the source is renamed", fill: usual, change: func(w *world) {
		w.source.Rename("Work", "Projects")
		w.spec.copies["Projects"] = "Work"
		fill(w.source, "Projects", 20, 26)
	}},
	{name: "a mailbox of the target is renamed", fill: usual, change: func(w *world) {
		w.target.Rename("Work", "Job")
		w.spec.copies["Work"] = "Job"
		fill(w.source, "Work", 20, 26)
	}},
	{name: "a mailbox of the target is renamed while it is down", fill: usual, change: func(w *world) {
		fill(w.source, "Work", 20, 26)
	}, meanwhile: func(w *world) {
		w.target.Rename("Work", "Job")
		w.spec.copies["Work"] = "Job"
	}},
	{name: "a maildrop", fill: func(w *world) {
		w.pop = true
		fill(w.source, "INBOX", 0, 11)
		w.source.AddMessage("INBOX", stored("twin", 1))
		w.source.AddMessage("INBOX", stored("twin", 1))
	}},
	{name: "a maildrop with new mail", fill: func(w *world) {
		w.pop = true
		fill(w.source, "INBOX", 0, 11)
	}, change: func(w *world) { fill(w.source, "INBOX", 20, 27) }},
}

// imposed is mail whose UIDs have gaps, in mailboxes whose UIDVALIDITYs the
// target would not come upon by itself.
func imposed(administrator func(*memmail.Imposer)) func(w *world) {
	return func(w *world) {
		w.spec.exact, w.administrator = true, administrator
		for i := range 11 {
			m := stored("INBOX", i)
			m.UID = mailhaul.UID(3*i + 5)
			w.source.AddMessage("INBOX", m)
		}
		for range 3 {
			w.source.AddMessage("INBOX", stored("twin", 1))
		}
		fill(w.source, "Work", 0, 3)
		w.source.Box("INBOX").Validity += 1e6
		w.source.Box("Work").Validity += 1e6
		w.source.Box("Empty").Validity += 1e6
		w.source.Box("INBOX").Next += 5
		w.source.Box("Empty").Next = 99
	}
}

func lateMail(w *world) {
	fill(w.source, "INBOX", 20, 26)
	fill(w.source, "Empty", 0, 3)
	w.source.Box("INBOX").Next += 5
}

func demand(c *mailsync.Config) { c.Identity = mailhaul.LevelExact }

var (
	lateAnswers = func(i *memmail.Imposer) { i.Late = true }
	imposings   = []*scenario{
		{name: "identity, answers at once", fill: imposed(func(*memmail.Imposer) {}), configure: demand},
		{name: "identity, answers late", fill: imposed(lateAnswers), configure: demand},
		{name: "identity, one session", fill: imposed(func(i *memmail.Imposer) { i.Late, i.OneSession = true, true }), configure: demand},
		{name: "identity, fillers", fill: imposed(func(i *memmail.Imposer) { i.Fill = true }), configure: demand},
		{name: "identity of late mail, answers at once", fill: imposed(func(*memmail.Imposer) {}), configure: demand, change: lateMail},
		{name: "identity of late mail, answers late", fill: imposed(lateAnswers), configure: demand, change: lateMail},
		{name: "identity of late mail, fillers", fill: imposed(func(i *memmail.Imposer) { i.Fill = true }), configure: demand, change: lateMail},
	}
)

var followings = []*scenario{
	{name: "followed", fill: func(w *world) {
		usual(w)
		w.script = []func(*world){
			func(w *world) { fill(w.source, "INBOX", 20, 24) },
			func(w *world) {
				reflag(w.source, 3, func(f []mailhaul.Flag) []mailhaul.Flag { return append(f, mailhaul.FlagAnswered) })
				fill(w.source, "New", 0, 3)
			},
			func(w *world) { w.depart("INBOX", 1, 2); w.remove("INBOX", 5) },
			func(w *world) { w.deliver("INBOX", text("own", 1)); fill(w.source, "Work", 20, 22) },
		}
	}, configure: deletes(mailsync.DeletesRemove)},
}
