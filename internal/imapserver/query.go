// The search keys of SEARCH (RFC 9051 section 6.4.4).

package imapserver

import (
	"bytes"
	"net/mail"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// criterion reports whether a message is meant.
type criterion func(m *numbered) bool

// query parses search keys.
type query struct {
	sess   *Session
	p      *parser
	modseq bool // MODSEQ was used: the answer tells the highest
	depth  int
}

// all parses keys up to the end of the line or of the list; all must hold.
func (q *query) all() criterion {
	keys := []criterion{q.key()}
	for q.p.more() && q.p.peek() != ')' {
		q.p.space()
		keys = append(keys, q.key())
	}
	if len(keys) == 1 {
		return keys[0]
	}
	return func(m *numbered) bool {
		for _, k := range keys {
			if !k(m) {
				return false
			}
		}
		return true
	}
}

func never(*numbered) bool { return false }

func not(c criterion) criterion { return func(m *numbered) bool { return !c(m) } }

func system(bit uint8) criterion {
	return func(m *numbered) bool { return m.flags.system&bit != 0 }
}

func in(set mailhaul.UIDSet) criterion {
	return func(m *numbered) bool { return set.Contains(mailhaul.UID(m.uid)) }
}

func (q *query) key() criterion {
	p := q.p
	if q.depth++; q.depth > 100 {
		p.fail()
		return never
	}
	defer func() { q.depth-- }()
	switch c := p.peek(); {
	case c == '(':
		p.pos++
		inner := q.all()
		p.expect(')')
		return inner
	case c == '*' || '0' <= c && c <= '9':
		return q.numbers(false)
	}
	name := strings.ToUpper(p.atom())
	switch name {
	case "ALL":
		return func(*numbered) bool { return true }
	case "UID":
		p.space()
		return q.numbers(true)
	case "NOT":
		p.space()
		return not(q.key())
	case "OR":
		p.space()
		a := q.key()
		p.space()
		b := q.key()
		return func(m *numbered) bool { return a(m) || b(m) }
	case "NEW":
		return func(m *numbered) bool { return m.recent && m.flags.system&bitSeen == 0 }
	case "OLD":
		return func(m *numbered) bool { return !m.recent }
	case "RECENT":
		return func(m *numbered) bool { return m.recent }
	case "KEYWORD", "UNKEYWORD":
		p.space()
		f := p.flag()
		has := func(m *numbered) bool { return m.flags.has(f) }
		if name == "UNKEYWORD" {
			return not(has)
		}
		return has
	case "LARGER", "SMALLER":
		p.space()
		n := p.number()
		if name == "LARGER" {
			return func(m *numbered) bool { return int64(len(m.body)) > n }
		}
		return func(m *numbered) bool { return int64(len(m.body)) < n }
	case "MODSEQ":
		return q.modSeq()
	}
	if bit, found := flagKeys[strings.TrimPrefix(name, "UN")]; found {
		if strings.HasPrefix(name, "UN") {
			return not(system(bit))
		}
		return system(bit)
	}
	if c := q.dates(name); c != nil {
		return c
	}
	if c := q.content(name); c != nil {
		return c
	}
	p.fail()
	return never
}

var flagKeys = map[string]uint8{"ANSWERED": bitAnswered, "DELETED": bitDeleted, "DRAFT": bitDraft, "FLAGGED": bitFlagged, "SEEN": bitSeen}

func (q *query) numbers(uid bool) criterion {
	set := q.p.set()
	if q.p.err != nil {
		return never
	}
	uids, valid := q.sess.view.resolve(set, uid)
	if !valid {
		q.p.fail()
	}
	return in(uids)
}

func (q *query) modSeq() criterion {
	p := q.p
	p.space()
	if p.peek() == '"' { // an entry name, which changes nothing
		p.quoted()
		p.space()
		p.atom()
		p.space()
	}
	n := p.number()
	if !q.sess.server.has("CONDSTORE") {
		p.fail()
	}
	q.modseq = true
	q.sess.condstore = q.sess.condstore || p.err == nil
	return func(m *numbered) bool { return m.modseq >= uint64(n) }
}

// dates parses the keys that compare days, the time and the zone left out.
func (q *query) dates(name string) criterion {
	day := func(m *numbered) (time.Time, bool) { return m.time(), true }
	if sent, found := strings.CutPrefix(name, "SENT"); found {
		name = sent
		day = func(m *numbered) (time.Time, bool) { return sentDate(m.body) }
	}
	var want func(cmp int) bool
	switch name {
	case "BEFORE":
		want = func(cmp int) bool { return cmp < 0 }
	case "ON":
		want = func(cmp int) bool { return cmp == 0 }
	case "SINCE":
		want = func(cmp int) bool { return cmp >= 0 }
	default:
		return nil
	}
	q.p.space()
	limit := q.p.date()
	return func(m *numbered) bool {
		t, there := day(m)
		y, mo, d := t.Date()
		return there && want(time.Date(y, mo, d, 0, 0, 0, 0, time.UTC).Compare(limit))
	}
}

// sentDate returns the date of the header.
func sentDate(body []byte) (time.Time, bool) {
	value, _ := fieldValue(body, "DATE")
	t, err := mail.ParseDate(value)
	return t, err == nil
}

// content parses the keys that look into the message. They compare octets,
// without regard to the case of ASCII; nothing is decoded.
func (q *query) content(name string) criterion {
	p := q.p
	field := ""
	switch name {
	case "FROM", "TO", "CC", "BCC", "SUBJECT":
		field = name
	case "HEADER":
		p.space()
		field = strings.ToUpper(p.astring())
	case "BODY", "TEXT":
	default:
		return nil
	}
	p.space()
	needle := bytes.ToLower([]byte(p.astring()))
	if field == "" {
		return func(m *numbered) bool {
			hay := m.body
			if name == "BODY" {
				hay = hay[headerEnd(hay):]
			}
			return bytes.Contains(bytes.ToLower(hay), needle)
		}
	}
	return func(m *numbered) bool {
		found := false
		eachField(m.body[:headerEnd(m.body)], func(n string, raw []byte) {
			if n == field && !found {
				_, value, _ := bytes.Cut(raw, []byte(":"))
				value = bytes.ReplaceAll(bytes.ReplaceAll(value, []byte("\r"), nil), []byte("\n"), nil)
				found = bytes.Contains(bytes.ToLower(value), needle)
			}
		})
		return found
	}
}
