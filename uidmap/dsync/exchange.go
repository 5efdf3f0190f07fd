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
//   - UIDNEXT is said to be 1, so that what others deliver meanwhile does not
//     count as above it, and is not moved.
//   - UIDVALIDITY is adopted from the side with more messages; we claim one,
//     so that only an empty mailbox's can change.

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
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

// portion is how many messages one exchange takes, in which the server writes
// them all down at its end.
const portion = 4000

// entry is a message of the exchange.
type entry struct {
	msg       mailhaul.Message
	at        int          // its place in the Writer's identity
	uid       mailhaul.UID // under which it is offered
	requested bool
	sent      bool // with its body

	size int64     // as IMAP counts the octets that were sent
	date time.Time // that was sent
}

// task is what an exchange is for.
type task struct {
	want     mailhaul.Identity
	from     int   // the first message of want that it is to take
	whole    bool  // it takes all from there on
	homeless []int // or else these, which get new UIDs; from is not looked at
	raise    bool  // or else none; UIDNEXT is raised
}

// exchange is a connection on which the server waits for bodies.
//
// Dovecot 2.3 would write each message down by itself, which takes several
// times as long as the message. It does so as soon as it has all up to one,
// though, and counts a message that was there among them, which it never has
// again. So both sides agree up to the mailbox's last message but one, and the
// last is the wedge that keeps the server from writing before the end. Where
// there is no such message, a first exchange of one or two messages makes it.
// (To send the first message last would do as well, but a connection that is
// cut would cost it its UID.)
type exchange struct {
	t     *Target
	m     mailhaul.Mailbox
	p     *peer
	task  task
	box   serverBox
	given mailhaul.UIDValidity // the UIDVALIDITY that the mailbox has now

	to      int // behind the last message of the identity that it takes
	wedged  bool
	entries []entry     // ascending by UID
	place   map[int]int // of a message of the identity among them
	buf     []byte      // for bodies
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

// begin opens an exchange.
func (t *Target) begin(ctx context.Context, m mailhaul.Mailbox, k task) (*exchange, error) {
	for range attempts {
		st, uids, err := t.look(ctx, m)
		if err != nil {
			return nil, err
		}
		x, err := t.try(ctx, m, k, st, uids)
		if !errors.Is(err, errMoved) {
			return x, err
		}
	}
	return nil, t.fault(m.Name, mailhaul.Conflict, mailhaul.ScopeMailbox, errMoved)
}

// try opens an exchange with a mailbox whose state is taken to be st.
func (t *Target) try(ctx context.Context, m mailhaul.Mailbox, k task, st mailhaul.Status, uids mailhaul.UIDSet) (*exchange, error) {
	if st.UIDNext == 0 || st.UIDValidity == 0 {
		return nil, t.fault(m.Name, mailhaul.Permanent, mailhaul.ScopeMailbox, errors.New("the server tells no UIDNEXT or no UIDVALIDITY"))
	}
	x := &exchange{t: t, m: m, task: k, given: st.UIDValidity}
	claim := "0"
	if v := k.want.UIDValidity; st.Messages == 0 && v != 0 && v != st.UIDValidity {
		x.given, claim = v, "1"
	}
	// A UIDVALIDITY cannot change under a state, which an empty mailbox does
	// not need.
	common := mailhaul.UID(0)
	if st.UIDNext > 1 && x.given == st.UIDValidity {
		common = st.UIDNext - 1
	}
	if x.wedged = common >= 2 && uids.Contains(common) && !k.whole && !k.raise; x.wedged {
		common--
	}
	if common > 0 && !k.raise && k.homeless == nil && k.from < len(k.want.Messages) {
		// What is there already of the messages, because the server wrote it
		// down after it was looked for, is recognised by its GUID.
		common = max(1, min(common, k.want.Messages[k.from].UID-1))
	}
	x.choose(st.UIDNext, common)
	guid := ""
	if common > 0 {
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
	if err := p.while(ctx, func() error { return x.open(st, common, guid, claim) }); err != nil {
		p.leave()
		return nil, err
	}
	return x, nil
}

// choose says which messages the exchange takes, and under which UIDs, for a
// mailbox whose UIDNEXT is next and that is not looked at up to common.
func (x *exchange) choose(next, common mailhaul.UID) {
	k := x.task
	switch {
	case k.raise:
	case k.homeless != nil:
		// Above all that the source has given out: a UID below could be one
		// that mail programs know another message by.
		uid := x.top(next)
		for _, at := range k.homeless {
			x.entries = append(x.entries, entry{msg: k.want.Messages[at], at: at, uid: uid})
			uid++
		}
	default:
		n := x.t.portion
		switch {
		case k.whole:
			n = len(k.want.Messages)
		case !x.wedged && next == 1:
			n = 2 // of which the second is the wedge, above a UID that is common
		case !x.wedged:
			n = 1
		}
		for x.to = k.from; x.to < len(k.want.Messages) && n > 0; x.to++ {
			m := k.want.Messages[x.to]
			if m.UID > common && m.UID <= maxUID {
				x.entries = append(x.entries, entry{msg: m, at: x.to, uid: m.UID})
			}
			if keeps(m, next) {
				n--
			}
		}
	}
	x.place = make(map[int]int, len(x.entries))
	for i, e := range x.entries {
		x.place[e.at] = i
	}
}

// top returns the lowest UID that is above all that the source has given out,
// in a mailbox whose UIDNEXT is next.
func (x *exchange) top(next mailhaul.UID) mailhaul.UID {
	top := max(next, x.task.want.UIDNext)
	if n := len(x.task.want.Messages); n > 0 {
		top = max(top, min(x.task.want.Messages[n-1].UID, maxUID)+1)
	}
	return top
}

func (x *exchange) open(st mailhaul.Status, common mailhaul.UID, guid, claim string) error {
	p := x.p
	p.announce(settings(x.m.Name, common > 0))
	if common > 0 {
		p.send(itemState, record{
			"mailbox_guid": guid, "last_uidvalidity": u32(st.UIDValidity), "last_common_uid": u32(common),
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
	if common > 0 && node["mailbox_guid"] != guid {
		return errMoved // deleted and made again
	}

	uidNext := mailhaul.UID(1)
	if x.task.raise {
		uidNext = max(x.task.want.UIDNext, st.UIDNext)
	}
	modSeq := mailhaul.ModSeq(0)
	if x.task.raise || x.to == len(x.task.want.Messages) {
		modSeq = x.task.want.HighestModSeq
	}
	p.sendTree(tree)
	p.send(itemMailbox, record{
		"mailbox_guid": node["mailbox_guid"], "uid_validity": u32(x.given), "uid_next": u32(uidNext), "messages_count": claim,
		"first_recent_uid": "1", "highest_modseq": strconv.FormatUint(uint64(modSeq), 10), "highest_pvt_modseq": "0",
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

// guid returns the GUID that a message gets: the same each time, so that the
// server recognises what it has.
func (x *exchange) guid(m mailhaul.Message) string {
	h := sha256.New()
	fmt.Fprintf(h, "mailhaul\x00%s\x00%s\x00%s\x00", x.t.Account(), x.m.Name, m.UIDL)
	_ = binary.Write(h, binary.BigEndian, [2]uint32{uint32(x.task.want.UIDValidity), uint32(m.UID)})
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// systemBits are the flags' places in Dovecot's numbers.
var systemBits = map[mailhaul.Flag]uint{
	mailhaul.FlagAnswered: 1, mailhaul.FlagFlagged: 2, mailhaul.FlagDeleted: 4, mailhaul.FlagSeen: 8, mailhaul.FlagDraft: 0x10,
}

// offer sends the list of what we have.
func (x *exchange) offer() {
	for _, e := range x.entries {
		r := record{"type": "s", "uid": u32(e.uid), "guid": x.guid(e.msg)}
		flags, _ := mailhaul.NormalizeFlags(e.msg.Flags)
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
			break
		}
		i, known := byGUID[r["guid"]]
		if !known || x.entries[i].requested {
			return x.p.violation("it asks for a message that it was not offered, or twice: %.60q", r["guid"])
		}
		x.entries[i].requested = true
	}
	for _, e := range x.entries {
		if e.requested && e.uid < x.box.uidNext {
			delete(x.place, e.at) // something else has its UID
		}
	}
	return nil
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
