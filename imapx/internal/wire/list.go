package wire

import (
	"strings"

	"github.com/mailhaul/mailhaul"
)

// List is one LIST, LSUB or XLIST response (RFC 9051 section 7.3.1).
type List struct {
	Attrs     []string // lower case, with their backslashes
	Delimiter string   // one octet; empty where the server sent NIL
	Name      string   // the octets of the name
}

// Has reports whether the attribute, in lower case, is there.
func (l *List) Has(attr string) bool {
	for _, a := range l.Attrs {
		if a == attr {
			return true
		}
	}
	return false
}

// maxAttrs bounds the attributes of one mailbox that are kept.
const maxAttrs = 64

// List parses a LIST or LSUB response whose head was read.
func (s *Scanner) List() (List, error) {
	var l List
	if s.is('(') {
		for !s.endOfList() {
			v, err := s.value()
			if err != nil {
				return l, err
			}
			if v.kind == kindNone {
				if err := s.skipStray(); err != nil {
					return l, err
				}
				continue
			}
			if len(l.Attrs) < maxAttrs {
				l.Attrs = append(l.Attrs, strings.ToLower(string(v.text)))
			}
		}
	}
	v, err := s.value()
	if err != nil || v.kind == kindNone {
		return l, ErrSyntax
	}
	if v.kind != kindNil && len(v.text) == 1 {
		l.Delimiter = string(v.text)
	}
	if !s.more() {
		return l, ErrSyntax
	}
	name, err := s.mailbox(" (")
	if err != nil {
		return l, err
	}
	l.Name = string(name)
	return l, nil
}

// mailbox takes the name of a mailbox. One without quotes reaches to the text
// end, or to the end of the line: servers were seen to send atoms that are
// none.
func (s *Scanner) mailbox(end string) ([]byte, error) {
	if !s.more() {
		return nil, ErrSyntax
	}
	if v, ok := s.literal(); ok {
		return v.text, nil
	}
	if s.text[s.pos] == '"' {
		return s.quoted()
	}
	rest := s.text[s.pos:s.stop()]
	if i := strings.Index(string(rest), end); i >= 0 {
		rest = rest[:i]
	}
	s.pos += len(rest)
	return rest, nil
}

// MailboxStatus is one STATUS response (RFC 9051 section 7.3.5).
type MailboxStatus struct {
	Name          string
	Messages      uint32
	HasMessages   bool
	UIDNext       mailhaul.UID
	UIDValidity   mailhaul.UIDValidity
	HighestModSeq mailhaul.ModSeq
	AppendLimit   int64 // 0 where none was sent
	MailboxID     string
}

// maxObjectID is the length of an object identifier (RFC 8474 section 7).
const maxObjectID = 255

// MailboxStatus parses a STATUS response whose head was read.
func (s *Scanner) MailboxStatus() (MailboxStatus, error) {
	var m MailboxStatus
	name, err := s.mailbox(" (")
	if err != nil {
		return m, err
	}
	m.Name = string(name)
	if !s.is('(') {
		return m, ErrSyntax
	}
	for !s.endOfList() {
		item := s.Word()
		if len(item) == 0 {
			if err := s.skipStray(); err != nil {
				return m, err
			}
			continue
		}
		if equalFold(item, "MAILBOXID") && s.is('(') {
			for !s.endOfList() {
				id := s.Word()
				if len(id) == 0 {
					if err := s.skipStray(); err != nil {
						return m, err
					}
				} else if len(id) <= maxObjectID {
					m.MailboxID = string(id)
				}
			}
			continue
		}
		if s.more() && s.text[s.pos] == '(' {
			if err := s.skip(); err != nil {
				return m, err
			}
			continue
		}
		v, err := s.value()
		if err != nil {
			return m, err
		}
		n, ok := v.number(63)
		if !ok {
			continue
		}
		fits := n < 1<<32
		switch {
		case equalFold(item, "MESSAGES") && fits:
			m.Messages, m.HasMessages = uint32(n), true
		case equalFold(item, "UIDNEXT") && fits:
			m.UIDNext = mailhaul.UID(n)
		case equalFold(item, "UIDVALIDITY") && fits:
			m.UIDValidity = mailhaul.UIDValidity(n)
		case equalFold(item, "HIGHESTMODSEQ"):
			m.HighestModSeq = mailhaul.ModSeq(n)
		case equalFold(item, "APPENDLIMIT"):
			m.AppendLimit = int64(n)
		}
	}
	return m, nil
}

// NamespaceEntry is one namespace of a NAMESPACE response.
type NamespaceEntry struct{ Prefix, Delimiter string }

// Namespace is a NAMESPACE response (RFC 9051 section 6.3.10).
type Namespace struct{ Personal, Others, Shared []NamespaceEntry }

// maxNamespaces bounds the namespaces of one kind that are kept.
const maxNamespaces = 100

// Namespace parses a NAMESPACE response whose head was read. A short one is
// taken for what it has.
func (s *Scanner) Namespace() (Namespace, error) {
	var ns Namespace
	for _, list := range []*[]NamespaceEntry{&ns.Personal, &ns.Others, &ns.Shared} {
		if !s.is('(') {
			if err := s.skip(); err != nil { // NIL
				return ns, err
			}
			continue
		}
		for !s.endOfList() {
			if !s.is('(') {
				if err := s.skipStray(); err != nil {
					return ns, err
				}
				continue
			}
			prefix, err := s.value()
			if err != nil {
				return ns, err
			}
			delim, err := s.value()
			if err != nil {
				return ns, err
			}
			for !s.endOfList() { // extensions
				if err := s.skipStray(); err != nil {
					return ns, err
				}
			}
			e := NamespaceEntry{Prefix: string(prefix.text)}
			if len(delim.text) == 1 {
				e.Delimiter = string(delim.text)
			}
			if len(*list) < maxNamespaces {
				*list = append(*list, e)
			}
		}
	}
	return ns, nil
}

// maxIDFields is what RFC 2971 section 3.3 allows.
const maxIDFields = 30

// ID parses an ID response (RFC 2971) whose head was read. Names come in lower
// case; a NIL value is left out.
func (s *Scanner) ID() (map[string]string, error) {
	if !s.is('(') {
		return nil, s.skip()
	}
	id := make(map[string]string)
	for !s.endOfList() {
		name, err := s.value()
		if err != nil {
			return id, err
		}
		if name.kind == kindNone {
			if err := s.skipStray(); err != nil {
				return id, err
			}
			continue
		}
		val, err := s.value()
		if err != nil {
			return id, err
		}
		if val.kind != kindNil && val.kind != kindNone && len(id) < maxIDFields {
			id[strings.ToLower(string(name.text))] = Cut(string(val.text))
		}
	}
	return id, nil
}

// maxWords bounds the capabilities that are kept.
const maxWords = 1000

// Words takes all that is left as words in upper case: a list of capabilities.
func (s *Scanner) Words() []string {
	var words []string
	for len(words) < maxWords {
		w := s.Word()
		if len(w) == 0 {
			if !s.more() {
				break
			}
			s.pos++ // a stray parenthesis or quote
			continue
		}
		words = append(words, strings.ToUpper(string(w)))
	}
	return words
}

// QuotaResource is one resource of a quota root (RFC 9208 section 5.1).
type QuotaResource struct {
	Name         string // upper case
	Usage, Limit int64
}

// QuotaRoots parses a QUOTAROOT response whose head was read and returns the
// names of the roots.
func (s *Scanner) QuotaRoots() ([]string, error) {
	if v, err := s.value(); err != nil || v.kind == kindNone { // the mailbox
		return nil, ErrSyntax
	}
	var roots []string
	for s.more() && len(roots) < maxNamespaces {
		v, err := s.value()
		if err != nil || v.kind == kindNone {
			return roots, ErrSyntax
		}
		roots = append(roots, string(v.text))
	}
	return roots, nil
}

// Quota parses a QUOTA response whose head was read.
func (s *Scanner) Quota() (root string, resources []QuotaResource, err error) {
	v, err := s.value()
	if err != nil {
		return "", nil, err
	}
	root = string(v.text)
	if !s.is('(') {
		return root, nil, ErrSyntax
	}
	for !s.endOfList() && len(resources) < maxNamespaces {
		var field [3]value
		for i := range field {
			if field[i], err = s.value(); err != nil || field[i].kind == kindNone {
				return root, resources, ErrSyntax
			}
		}
		usage, ok1 := field[1].number(63)
		limit, ok2 := field[2].number(63)
		if ok1 && ok2 {
			name := strings.ToUpper(string(field[0].text))
			resources = append(resources, QuotaResource{Name: name, Usage: int64(usage), Limit: int64(limit)})
		}
	}
	return root, resources, nil
}

// AppendUID is the argument of an APPENDUID response code (RFC 4315 section 3).
type AppendUID struct {
	UIDValidity mailhaul.UIDValidity
	UIDs        []mailhaul.UID
}

// ParseAppendUID parses the argument of APPENDUID for an APPEND of n messages.
// It is false unless there are n UIDs, strictly ascending: anything else names
// no message that can be trusted.
func ParseAppendUID(arg string, n int) (AppendUID, bool) {
	validity, set, found := strings.Cut(arg, " ")
	v, ok := parseUint([]byte(validity), 32)
	if !found || !ok || v == 0 {
		return AppendUID{}, false
	}
	a := AppendUID{UIDValidity: mailhaul.UIDValidity(v), UIDs: make([]mailhaul.UID, 0, n)}
	last := uint64(0)
	for part := range strings.SplitSeq(strings.TrimSpace(set), ",") {
		lo, hi, ranged := strings.Cut(part, ":")
		first, ok := parseUint([]byte(lo), 32)
		if !ok {
			return AppendUID{}, false
		}
		end := first
		if ranged {
			if end, ok = parseUint([]byte(hi), 32); !ok {
				return AppendUID{}, false
			}
		}
		if first <= last || end < first || end-first >= uint64(n-len(a.UIDs)) {
			return AppendUID{}, false
		}
		for u := first; u <= end; u++ {
			a.UIDs = append(a.UIDs, mailhaul.UID(u))
		}
		last = end
	}
	return a, len(a.UIDs) == n
}
