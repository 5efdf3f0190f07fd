// Servers with habits.

package faultlab

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/memmail"
)

// persona is a habit of the target's server.
type persona struct {
	name    string
	options func(w *world)           // on the account
	behave  func(w *world, h *habit) // hooks
	octets  func([]byte) []byte      // what it makes of a message
	listed  bool                     // and the engine has to list it
	refuses bool                     // messages with refusedMark
	unsure  bool                     // it does not get said whose a copy is: what could be its user's own stays
	open    string                   // why it does not pass yet
}

func (p *persona) store(b []byte) []byte {
	if p.octets == nil {
		return b
	}
	return p.octets(b)
}

var plain = &persona{name: "plain"}

// mostly lets a habit show at every third call.
func mostly(h *habit) bool { return h.tick()%3 != 1 }

func unknown(n int, err error) []mailhaul.Outcome {
	out := make([]mailhaul.Outcome, n)
	for i := range out {
		out[i].Err = err
	}
	return out
}

func firstHalf(n int) []bool {
	some := make([]bool, n)
	for i := range n / 2 {
		some[i] = true
	}
	return some
}

// personas are the habits that every laboratory knows.
var personas = []*persona{
	plain,
	{name: "no UIDPLUS", options: func(w *world) { w.target.NoUIDPlus = true }},
	{name: "no UIDNEXT", options: func(w *world) { w.target.NoUIDNext = true }},
	{name: "no UIDPLUS, no UIDNEXT, no listings", options: func(w *world) {
		w.target.NoUIDPlus, w.target.NoUIDNext, w.target.NoStatus = true, true, true
	}},
	{name: "no mod-sequences", options: func(w *world) { w.source.NoModSeq, w.target.NoModSeq = true, true }},
	{name: "says nothing", options: func(w *world) {
		w.source.NoModSeq, w.source.NoUIDNext, w.source.NoStatus = true, true, true
		w.target.NoUIDPlus, w.target.NoUIDNext, w.target.NoModSeq, w.target.NoStatus = true, true, true, true
	}},
	{name: "stores and hangs up", behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
			if mostly(h) {
				return nil
			}
			return &memmail.Answer{Outcomes: unknown(len(batch), nil), Err: memmail.Lost("")}
		}
	}},
	{name: "hangs up and does not store", behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
			if mostly(h) {
				return nil
			}
			w.unsent(len(batch))
			return &memmail.Answer{Store: make([]bool, len(batch)), Outcomes: unknown(len(batch), nil), Err: memmail.Lost("")}
		}
	}},
	{name: "stores a half and hangs up", behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
			if mostly(h) {
				return nil
			}
			w.unsent(len(batch) - len(batch)/2)
			return &memmail.Answer{Store: firstHalf(len(batch)), Outcomes: unknown(len(batch), nil), Err: memmail.Lost("")}
		}
	}},
	{name: "hangs up and stores late", behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(path string, batch []mailhaul.Outgoing) *memmail.Answer {
			if mostly(h) {
				return nil
			}
			w.storeLater(strings.Split(path, "/"), copies(w, batch))
			return &memmail.Answer{Err: memmail.Lost(""), Outcomes: unknown(len(batch), nil), Store: make([]bool, len(batch))}
		}
	}},
	{name: "stores and says NO", behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
			if mostly(h) {
				return nil
			}
			// A NO that comes after the last octet and names no refusal of
			// content leaves the outcome open.
			no := &mailhaul.Error{Op: "append to", Kind: mailhaul.Transient, Scope: mailhaul.ScopeMailbox, Code: "SERVERBUG", Err: errors.New("NO")}
			return &memmail.Answer{Outcomes: unknown(len(batch), no)}
		}
	}},
	{name: "stores and refuses all the same", unsure: true, behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
			if mostly(h) {
				return nil
			}
			out := make([]mailhaul.Outcome, len(batch))
			for i := range out {
				out[i] = mailhaul.Outcome{Delivery: mailhaul.NotStored, Err: &mailhaul.Error{
					Op: "append to", Kind: mailhaul.Transient, Scope: mailhaul.ScopeMailbox, Err: errors.New("try later")}}
			}
			return &memmail.Answer{Outcomes: out}
		}
	}},
	{name: "adds a header line", octets: func(b []byte) []byte { return append([]byte("X-Filter: clean\r\n"), b...) }},
	{name: "adds a header line, no UIDPLUS", octets: func(b []byte) []byte { return append([]byte("X-Filter: clean\r\n"), b...) },
		options: func(w *world) { w.target.NoUIDPlus = true }},
	{name: "adds a header line and hangs up", octets: func(b []byte) []byte { return append([]byte("X-Filter: clean\r\n"), b...) },
		behave: func(w *world, h *habit) {
			w.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
				if mostly(h) {
					return nil
				}
				return &memmail.Answer{Outcomes: unknown(len(batch), nil), Err: memmail.Lost("")}
			}
		}},
	{name: "repairs line ends", listed: true, octets: func(b []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}},
	{name: "replaces NUL", listed: true, octets: func(b []byte) []byte { return bytes.ReplaceAll(b, []byte{0}, []byte{0x80}) }},
	{name: "keeps one of twins and names it", behave: discards(func(h *habit, kept mailhaul.UID, _ int) mailhaul.UID { return kept })},
	{name: "keeps one of twins and names a UID that is not there", behave: discards(func(h *habit, _ mailhaul.UID, i int) mailhaul.UID {
		return mailhaul.UID(900000 + i)
	})},
	{name: "keeps one of twins and names none", behave: discards(func(*habit, mailhaul.UID, int) mailhaul.UID { return 0 })},
	{name: "changes UIDVALIDITY in between", behave: func(w *world, h *habit) {
		w.target.Hooks.Open = func(path string, write bool) error {
			if h.tick()%7 == 3 {
				renumber(w.target, path)
				w.spec.back = true
			}
			return nil
		}
	}},
	{name: "APPENDUID lies: one too high", unsure: true, behave: lies(func(_ int, u mailhaul.UID) mailhaul.UID { return u + 1 })},
	{name: "APPENDUID lies: far away", unsure: true, behave: lies(func(_ int, u mailhaul.UID) mailhaul.UID { return u + 5000 })},
	{name: "APPENDUID lies: below what was there", behave: lies(func(int, mailhaul.UID) mailhaul.UID { return 1 })},
	{name: "APPENDUID lies: backwards", behave: func(w *world, h *habit) {
		w.target.Hooks.Answered = func(_ string, truth []mailhaul.Outcome) []mailhaul.Outcome {
			out := append([]mailhaul.Outcome{}, truth...)
			for i := range out {
				out[i].UID = truth[len(truth)-1-i].UID
			}
			return out
		}
	}},
	{name: "EXISTS late", options: func(w *world) { w.target.Lag = settleTime * 8 / 10 }},
	{name: "EXISTS late, no UIDPLUS", options: func(w *world) {
		w.target.Lag = settleTime * 8 / 10
		w.target.NoUIDPlus = true
	}},
	{name: "delivers in between", behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(path string, batch []mailhaul.Outgoing) *memmail.Answer {
			w.deliver(path, text("delivered", h.tick()))
			return nil
		}
	}},
	{name: "delivers in between, no UIDPLUS", options: func(w *world) { w.target.NoUIDPlus = true }, behave: func(w *world, h *habit) {
		w.target.Hooks.Append = func(path string, batch []mailhaul.Outgoing) *memmail.Answer {
			w.deliver(path, text("delivered", h.tick()))
			return nil
		}
	}},
	refusing,
}

// refusing refuses what looks like a virus.
var refusing = &persona{name: "refuses some", refuses: true, behave: func(w *world, h *habit) {
	w.target.Hooks.Append = func(_ string, batch []mailhaul.Outgoing) *memmail.Answer {
		keep := make([]bool, len(batch))
		for i, o := range batch {
			keep[i] = !strings.Contains(octetsOf(o.Body), refusedMark)
		}
		return &memmail.Answer{Store: keep}
	}
	w.target.Hooks.Answered = func(_ string, truth []mailhaul.Outcome) []mailhaul.Outcome {
		for i := range truth {
			if truth[i].Delivery == mailhaul.NotStored {
				truth[i].Err = &mailhaul.Error{Op: "append to", Kind: mailhaul.Permanent, Scope: mailhaul.ScopeMessage, Err: errors.New("it contains a virus")}
			}
		}
		return truth
	}
}}

// refusedMark is in each message that servers refuse which refuse some.
const refusedMark = "X5O!P%@AP"

// copies reads a batch as the target stores it.
func copies(w *world, batch []mailhaul.Outgoing) []memmail.Stored {
	var msgs []memmail.Stored
	for _, o := range batch {
		msgs = append(msgs, memmail.Stored{Flags: o.Flags, Date: o.InternalDate, Body: w.persona.store([]byte(octetsOf(o.Body)))})
	}
	return msgs
}

func octetsOf(b mailhaul.Body) string {
	var s bytes.Buffer
	if _, err := s.ReadFrom(b.Reader()); err != nil {
		panic(err)
	}
	return s.String()
}

// discards makes a server that stores a message only if it has none with the
// same octets, and says OK in any case, with a UID of the given choice.
func discards(say func(h *habit, kept mailhaul.UID, i int) mailhaul.UID) func(w *world, h *habit) {
	return func(w *world, h *habit) {
		w.spec.once = true
		var batchBodies []string
		w.target.Hooks.Append = func(path string, batch []mailhaul.Outgoing) *memmail.Answer {
			have := map[string]bool{}
			for _, m := range w.target.Snapshot(path) {
				have[string(m.Body)] = true
			}
			keep := make([]bool, len(batch))
			batchBodies = nil
			for i, o := range batch {
				body := octetsOf(o.Body)
				keep[i] = !have[body]
				have[body] = true
				batchBodies = append(batchBodies, body)
			}
			return &memmail.Answer{Store: keep}
		}
		w.target.Hooks.Answered = func(path string, truth []mailhaul.Outcome) []mailhaul.Outcome {
			for i := range truth {
				if truth[i].Delivery == mailhaul.Stored {
					continue
				}
				for _, m := range w.target.Snapshot(path) {
					if string(m.Body) == batchBodies[i] {
						truth[i] = mailhaul.Outcome{Delivery: mailhaul.Stored, UID: say(h, m.UID, i)}
					}
				}
			}
			return truth
		}
	}
}

// lies makes a server whose every other answer names wrong UIDs.
func lies(say func(i int, truth mailhaul.UID) mailhaul.UID) func(w *world, h *habit) {
	return func(w *world, h *habit) {
		w.target.Hooks.Answered = func(_ string, truth []mailhaul.Outcome) []mailhaul.Outcome {
			if h.tick()%2 == 1 {
				return truth
			}
			out := append([]mailhaul.Outcome{}, truth...)
			for i := range out {
				out[i].UID = say(i, truth[i].UID)
			}
			return out
		}
	}
}

// renumber gives a mailbox another UIDVALIDITY and its messages other UIDs.
func renumber(a *memmail.Account, path string) {
	b := a.Box(path)
	b.Validity += 7
	for i := range b.Messages {
		b.Messages[i].UID = mailhaul.UID(3*i + 2)
	}
	b.Next = mailhaul.UID(3*len(b.Messages) + 5)
}

// text makes a message.
func text(name string, i int) string {
	return fmt.Sprintf("Message-ID: <%d@%s>\r\nDate: Mon, 1 Jan 2018 00:00:%02d +0000\r\nSubject: %d\r\nFrom: ann@example.org\r\n\r\n%s\r\n",
		i, name, i%60, i, strings.Repeat("text ", i%20))
}

// stored makes a message with flags and a date of its own.
func stored(name string, i int) memmail.Stored {
	return memmail.Stored{
		Body:  []byte(text(name, i)),
		Flags: [][]mailhaul.Flag{nil, {mailhaul.FlagSeen}, {mailhaul.FlagSeen, "$Work"}, {mailhaul.FlagFlagged}}[i%4],
		Date:  time.Date(2015, 3, 4, 5, 6, i, 0, time.FixedZone("", 3600*(i%5))),
	}
}

func fill(a *memmail.Account, path string, from, to int) {
	for i := from; i < to; i++ {
		a.AddMessage(path, stored(path, i))
	}
}

// TestPersonasHaveNames keeps the list printable.
func TestPersonasHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range personas {
		if p.name == "" || seen[p.name] {
			t.Errorf("persona %q is there twice, or has no name", p.name)
		}
		seen[p.name] = true
	}
}
