package dsync

// The tree of mailboxes: the server's is read, and said back to it word for
// word, so that it finds nothing to create, rename, subscribe or delete.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// tree is what the server says of the mailboxes that we asked for.
type tree struct {
	nodes     []record
	separator string
	escape    string
	hasEscape bool
}

// readTree reads the server's tree.
func (p *peer) readTree() (*tree, error) {
	t := &tree{}
	size := 0
	for {
		r, end, err := p.next(itemNode)
		if err != nil {
			return nil, err
		}
		if end {
			break
		}
		for _, v := range r {
			size += len(v)
		}
		if len(t.nodes) >= maxNodes || size > maxTree {
			return nil, p.violation("the tree of mailboxes has no end")
		}
		t.nodes = append(t.nodes, r)
	}
	d, err := p.one(itemDeletes)
	if err != nil {
		return nil, err
	}
	if t.separator = d["hierarchy_sep"]; len(t.separator) != 1 {
		return nil, p.violation("the hierarchy separator is %.20q", t.separator)
	}
	t.escape, t.hasEscape = d["escape_char"]
	return t, nil
}

// sendTree says the tree back.
func (p *peer) sendTree(t *tree) {
	for _, n := range t.nodes {
		p.send(itemNode, n)
	}
	p.end()
	d := record{"hierarchy_sep": t.separator}
	if t.hasEscape {
		d["escape_char"] = t.escape
	}
	p.send(itemDeletes, d)
}

// find returns the node of a mailbox, or nil.
func (t *tree) find(name string) record {
	want := strings.Split(name, t.separator)
	if strings.EqualFold(name, "INBOX") {
		want = []string{"INBOX"}
	}
	for _, n := range t.nodes {
		parts, err := splitParts(n["name"])
		if err == nil && n["existence"] == "y" && slices.Equal(parts, want) && len(n["mailbox_guid"]) == 32 {
			return n
		}
	}
	return nil
}

// number reads a decimal value of an item; one that is unset is 0.
func (r record) number(key string, bits int) (uint64, error) {
	text, set := r[key]
	if !set {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is %.30q", errBadLine, key, text)
	}
	return n, nil
}

// flag reports whether a value that stands for yes is there.
func (r record) flag(key string) bool {
	_, set := r[key]
	return set
}

// serverBox is what the server says of the mailbox right before it takes
// changes.
type serverBox struct {
	guid      string
	validity  mailhaul.UIDValidity
	uidNext   mailhaul.UID
	messages  uint32
	modSeq    mailhaul.ModSeq
	saveGUIDs bool
	gone      bool
}

// readMailbox reads it.
func (p *peer) readMailbox() (serverBox, error) {
	r, err := p.one(itemMailbox)
	if err != nil {
		return serverBox{}, err
	}
	b := serverBox{
		guid:      r["mailbox_guid"],
		saveGUIDs: r.flag("have_save_guids"),
		gone:      r.flag("mailbox_lost") || r.flag("mailbox_ignore"),
	}
	for _, f := range []struct {
		key  string
		bits int
		set  func(uint64)
	}{
		{"uid_validity", 32, func(n uint64) { b.validity = mailhaul.UIDValidity(n) }},
		{"uid_next", 32, func(n uint64) { b.uidNext = mailhaul.UID(n) }},
		{"messages_count", 32, func(n uint64) { b.messages = uint32(n) }},
		{"highest_modseq", 64, func(n uint64) { b.modSeq = mailhaul.ModSeq(n) }},
	} {
		n, err := r.number(f.key, f.bits)
		if err != nil {
			return serverBox{}, p.violation("%w", err)
		}
		f.set(n)
	}
	if !b.gone && (b.validity == 0 || b.uidNext == 0) {
		return serverBox{}, p.violation("%w: the mailbox has no UIDVALIDITY or UIDNEXT", errBadLine)
	}
	return b, nil
}
