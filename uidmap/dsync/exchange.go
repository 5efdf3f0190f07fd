package dsync

// One exchange about one mailbox, up to where bodies are sent. The server is
// told to receive ("backup_recv") and never to overwrite
// ("no_backup_overwrite"): it merges then, as if both sides were equal, and
// what follows makes sure that there is nothing to merge but new messages.
//
//   - sync_box names the mailbox, so that it looks at no other.
//   - Its own tree is said back to it.
//   - Of a mailbox that has mail it is told, by a state in S, that both sides
//     agree up to its UIDNEXT. It looks at nothing below then: flags, messages
//     that were deleted, UIDs stay as they are.
//   - What is above, because it came in between, is seen by its answer B, and
//     the exchange begins anew.
//   - UIDVALIDITY is adopted from the side with more messages; we claim one,
//     so that only an empty mailbox's can change.

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

const (
	// attempts is how often an exchange begins anew because mail came in
	// between.
	attempts = 5

	// maxUID leaves room for a UIDNEXT above.
	maxUID = 1<<32 - 2
)

// entry is a message of the exchange.
type entry struct {
	msg       mailhaul.Message
	uid       mailhaul.UID // under which it is offered
	requested bool
	sent      bool // with its body
	dropped   int  // flags that cannot be kept

	size int64     // as IMAP counts the octets that were sent
	date time.Time // that was sent
}

// exchange is a connection on which the server waits for bodies.
type exchange struct {
	t     *Target
	m     mailhaul.Mailbox
	p     *peer
	want  mailhaul.Identity
	box   serverBox
	given mailhaul.UIDValidity // the UIDVALIDITY that the mailbox has now

	entries []entry
	buf     []byte // for bodies
}

// settings is what we ask of the server.
func settings(box string, stateful bool) record {
	kind := "f"
	if stateful {
		kind = "s"
	}
	return record{
		"hostname": "mailhaul", "sync_box": box, "sync_type": kind,
		"send_mail_requests": "", "backup_recv": "", "no_backup_overwrite": "",
		"hashed_headers": "Date\tMessage-ID\t",
	}
}

// errMoved is returned where the mailbox is no longer what it was taken for.
var errMoved = errors.New("mail keeps coming into the mailbox")

// begin opens an exchange. messages may be none.
func (t *Target) begin(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity) (*exchange, error) {
	for range attempts {
		st, err := t.status(ctx, m)
		if err != nil {
			return nil, err
		}
		x, err := t.try(ctx, m, want, st)
		if !errors.Is(err, errMoved) {
			return x, err
		}
	}
	return nil, t.fault(m.Name, mailhaul.Conflict, mailhaul.ScopeMailbox, errMoved)
}

// try opens an exchange with a mailbox whose state is taken to be st.
func (t *Target) try(ctx context.Context, m mailhaul.Mailbox, want mailhaul.Identity, st mailhaul.Status) (*exchange, error) {
	if st.UIDNext == 0 || st.UIDValidity == 0 {
		return nil, t.fault(m.Name, mailhaul.Permanent, mailhaul.ScopeMailbox, errors.New("the server tells no UIDNEXT or no UIDVALIDITY"))
	}
	x := &exchange{t: t, m: m, want: want, given: st.UIDValidity}
	claim := "0"
	if st.Messages == 0 && want.UIDValidity != 0 && want.UIDValidity != st.UIDValidity {
		x.given, claim = want.UIDValidity, "1"
	}
	// A UIDVALIDITY cannot change under a state, which an empty mailbox does
	// not need.
	stateful := st.UIDNext > 1 && x.given == st.UIDValidity
	guid := ""
	if stateful {
		if guid = t.guidOf(m.Name); guid == "" {
			var err error
			if guid, err = t.probe(ctx, m); err != nil {
				return nil, err
			}
		}
	}
	p, err := t.connect(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	x.p = p
	if err := p.while(ctx, func() error { return x.open(st, stateful, guid, claim) }); err != nil {
		p.leave()
		return nil, err
	}
	return x, nil
}

func (x *exchange) open(st mailhaul.Status, stateful bool, guid, claim string) error {
	p := x.p
	p.announce(settings(x.m.Name, stateful))
	if stateful {
		p.send(itemState, record{
			"mailbox_guid": guid, "last_uidvalidity": u32(st.UIDValidity), "last_common_uid": u32(st.UIDNext - 1),
			// Not the server's: its log may not reach back so far, and nothing
			// is asked of it.
			"last_common_modseq": "0", "last_common_pvt_modseq": "0",
		})
		p.end()
	}
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.greeted(); err != nil {
		return err
	}
	tree, err := p.readTree()
	if err != nil {
		return err
	}
	node := tree.find(x.m.Name)
	if node == nil {
		return p.fault(mailhaul.Conflict, mailhaul.ScopeMailbox, "", errNotInTree)
	}
	x.t.setGUID(x.m.Name, node["mailbox_guid"])
	if stateful && node["mailbox_guid"] != guid {
		return errMoved // deleted and made again
	}

	uidNext := x.uidNext(st.UIDNext)
	p.sendTree(tree)
	p.send(itemMailbox, record{
		"mailbox_guid": node["mailbox_guid"], "uid_validity": u32(x.given), "uid_next": u32(uidNext), "messages_count": claim,
		"first_recent_uid": "1", "highest_modseq": strconv.FormatUint(uint64(x.want.HighestModSeq), 10), "highest_pvt_modseq": "0",
		"have_guids": "", "have_save_guids": "",
	})
	if err := p.flush(); err != nil {
		return err
	}
	if x.box, err = p.readMailbox(); err != nil {
		return err
	}
	switch b := x.box; {
	case b.gone || b.guid != node["mailbox_guid"]:
		return p.fault(mailhaul.Conflict, mailhaul.ScopeMailbox, "", errors.New("the mailbox has gone"))
	case b.validity != st.UIDValidity, b.uidNext != st.UIDNext, st.Messages == 0 && b.messages > 0:
		return errMoved
	case !b.saveGUIDs:
		return p.fault(mailhaul.Permanent, mailhaul.ScopeMailbox, "", errors.New("the mailbox's format keeps no GUIDs"))
	}
	x.assign(uidNext)
	p.end() // of attributes
	x.offer()
	if err := p.flush(); err != nil {
		return err
	}
	return x.readRequests()
}

var errNotInTree = errors.New("dsync does not list the mailbox")

func u32[T ~uint32](n T) string { return strconv.FormatUint(uint64(n), 10) }

// keeps reports whether a message can have its UID in a mailbox whose UIDNEXT
// is next.
func keeps(m mailhaul.Message, next mailhaul.UID) bool { return m.UID >= next && m.UID <= maxUID }

// uidNext returns what the mailbox's UIDNEXT is to be in the end: above all
// UIDs that are kept, not below the source's, and above those besides that
// messages get that cannot keep theirs.
func (x *exchange) uidNext(next mailhaul.UID) mailhaul.UID {
	top := uint64(max(next, min(x.want.UIDNext, maxUID+1)))
	moved := uint64(0)
	for _, m := range x.want.Messages {
		if keeps(m, next) {
			top = max(top, uint64(m.UID)+1)
		} else {
			moved++
		}
	}
	return mailhaul.UID(min(top+moved, maxUID+1))
}

// assign says under which UID each message is offered. Those that cannot have
// their own are put above all that the source has given out: a UID below could
// be one that mail programs know another message by.
func (x *exchange) assign(uidNext mailhaul.UID) {
	x.entries = make([]entry, len(x.want.Messages))
	moved := 0
	for i, m := range x.want.Messages {
		x.entries[i] = entry{msg: m, uid: m.UID}
		if !keeps(m, x.box.uidNext) {
			x.entries[i].uid = 0
			moved++
		}
	}
	uid := uidNext - mailhaul.UID(moved)
	for i := range x.entries {
		if x.entries[i].uid == 0 {
			x.entries[i].uid = uid
			uid++
		}
	}
}

// order returns the entries' indexes, ascending by UID.
func (x *exchange) order() []int {
	order := make([]int, len(x.entries))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(int64(x.entries[a].uid) - int64(x.entries[b].uid)) })
	return order
}

// guid returns the GUID that a message gets: the same each time, so that the
// server recognises what it has.
func (x *exchange) guid(m mailhaul.Message) string {
	h := sha256.New()
	fmt.Fprintf(h, "mailhaul\x00%s\x00%s\x00%s\x00", x.t.Account(), x.m.Name, m.UIDL)
	_ = binary.Write(h, binary.BigEndian, [2]uint32{uint32(x.want.UIDValidity), uint32(m.UID)})
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// systemBits are the flags' places in Dovecot's numbers.
var systemBits = map[mailhaul.Flag]uint{
	mailhaul.FlagAnswered: 1, mailhaul.FlagFlagged: 2, mailhaul.FlagDeleted: 4, mailhaul.FlagSeen: 8, mailhaul.FlagDraft: 0x10,
}

// offer sends the list of what we have.
func (x *exchange) offer() {
	for _, i := range x.order() {
		e := &x.entries[i]
		r := record{"type": "s", "uid": u32(e.uid), "guid": x.guid(e.msg)}
		flags, dropped := mailhaul.NormalizeFlags(e.msg.Flags)
		e.dropped = dropped
		var bits uint
		var keywords []byte
		for _, f := range flags {
			if f.System() {
				bits |= systemBits[f]
				continue
			}
			if len(keywords) > 0 {
				keywords = append(keywords, '\t')
			}
			keywords = appendEscaped(append(keywords, '&'), string(f)) // "added, and there in the end"
		}
		r["final_flags"] = strconv.FormatUint(uint64(bits), 16)
		if len(keywords) > 0 {
			r["keyword_changes"] = string(keywords)
		}
		x.p.send(itemChange, r)
	}
	x.p.end()
}

// readRequests reads which of them the server wants.
func (x *exchange) readRequests() error {
	if err := x.p.flush(); err != nil {
		return err
	}
	byGUID := make(map[string]int, len(x.entries))
	for i, e := range x.entries {
		byGUID[x.guid(e.msg)] = i
	}
	for {
		r, end, err := x.p.next(itemRequest)
		if err != nil {
			return err
		}
		if end {
			return nil
		}
		i, known := byGUID[r["guid"]]
		if !known || x.entries[i].requested {
			return x.p.violation("it asks for a message that it was not offered, or twice: %.60q", r["guid"])
		}
		x.entries[i].requested = true
	}
}

// probe asks for the mailbox's GUID, and gives nothing.
func (t *Target) probe(ctx context.Context, m mailhaul.Mailbox) (guid string, err error) {
	p, err := t.connect(ctx, m.Name)
	if err != nil {
		return "", err
	}
	defer p.leave()
	err = p.while(ctx, func() error {
		tree, err := t.readOnly(p, m)
		if err != nil {
			return err
		}
		node := tree.find(m.Name)
		if node == nil {
			return p.fault(mailhaul.Conflict, mailhaul.ScopeMailbox, "", errNotInTree)
		}
		guid = node["mailbox_guid"]
		t.setGUID(m.Name, guid)
		return nil
	})
	return guid, err
}

// readOnly begins an exchange and reads the server's tree.
func (t *Target) readOnly(p *peer, m mailhaul.Mailbox) (*tree, error) {
	name := m.Name
	if name == "" {
		name = strings.Join(m.Path, "/")
	}
	p.announce(settings(name, false))
	if err := p.flush(); err != nil {
		return nil, err
	}
	if err := p.greeted(); err != nil {
		return nil, err
	}
	return p.readTree()
}
