// The head of a mailbox is the value that holds all but its records.

package checkpoint

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/mailhaul/mailhaul"
)

// head is what is stored of a mailbox besides its chunks. It is written with
// every commit.
type head struct {
	wire       string // the source mailbox's name
	state      MailboxState
	keywords   []mailhaul.Flag
	lastIntent uint64 // the highest ID given so far
	intents    []Intent
	chunks     totals
	shape      shape
}

// shape says how the records are cut into chunks.
type shape struct {
	bits     uint   // see narrowBits
	narrowed bool   // they were wider once, and are not to be again
	records  uint32 // their number

	// origins is set where chunks say which messages were adopted, by saying
	// nothing if none was. Those of format 1 say nothing in any case.
	origins bool
}

// freshShape is the shape of a mailbox without records.
var freshShape = shape{bits: narrowBits, origins: true}

// totals proves that no chunk is lost, or older than it should be: a damaged
// page of a database can hide entries whose own checksums would be right.
type totals struct {
	chunks uint32
	sum    uint32 // of the checksums of all chunks
}

func (t totals) add(sum uint32) totals    { return totals{t.chunks + 1, t.sum + sum} }
func (t totals) remove(sum uint32) totals { return totals{t.chunks - 1, t.sum - sum} }

const (
	headComplete = 1 << iota // bits of the head's first octet
	headNarrowed
	headOrigins // from here on: since format 2
	headDeparted
	headIDs      // the MAILBOXIDs follow the intents
	headIdentity // an octet for the levels of identity ends the head
	headBits     = headComplete | headNarrowed | headOrigins | headDeparted | headIDs | headIdentity
)

// levels are the levels of identity by their number in a head.
var levels = [...]mailhaul.Level{"", mailhaul.LevelNone, mailhaul.LevelOrder, mailhaul.LevelUID, mailhaul.LevelExact}

// encodeLevels returns both levels in one octet; one that is not known counts
// as none.
func encodeLevels(imposed, proved mailhaul.Level) byte {
	number := func(l mailhaul.Level) byte { return byte(max(0, slices.Index(levels[:], l))) }
	return number(imposed) | number(proved)<<4
}

const intentStored = 1

func (h *head) encode() []byte {
	b := make([]byte, 0, 128)
	var bits byte
	if h.state.Complete {
		bits |= headComplete
	}
	if h.shape.narrowed {
		bits |= headNarrowed
	}
	if h.shape.origins {
		bits |= headOrigins
	}
	if h.state.Departed {
		bits |= headDeparted
	}
	identified := h.state.SourceID != "" || h.state.TargetID != ""
	if identified {
		bits |= headIDs
	}
	identity := encodeLevels(h.state.Imposed, h.state.Proved)
	if identity != 0 {
		bits |= headIdentity
	}
	b = append(b, bits)
	b = appendString(b, h.wire)
	b = appendString(b, h.state.Target)
	b = binary.AppendUvarint(b, uint64(h.state.SourceValidity))
	b = binary.AppendUvarint(b, uint64(h.state.TargetValidity))
	b = binary.AppendUvarint(b, uint64(h.state.Explained))
	b = appendStatus(b, h.state.SourceStatus)
	b = appendStatus(b, h.state.TargetStatus)
	b = binary.AppendUvarint(b, uint64(h.chunks.chunks))
	b = binary.AppendUvarint(b, uint64(h.chunks.sum))
	b = binary.AppendUvarint(b, uint64(h.shape.bits-narrowBits))
	b = binary.AppendUvarint(b, uint64(h.shape.records))
	b = binary.AppendUvarint(b, uint64(len(h.keywords)))
	for _, k := range h.keywords {
		b = appendString(b, string(k))
	}
	b = binary.AppendUvarint(b, h.lastIntent)
	b = binary.AppendUvarint(b, uint64(len(h.intents)))
	for i := range h.intents {
		b = appendIntent(b, &h.intents[i])
	}
	if identified {
		b = appendString(b, h.state.SourceID)
		b = appendString(b, h.state.TargetID)
	}
	if identity != 0 {
		b = append(b, identity)
	}
	return b
}

func decodeHead(body []byte) (head, error) {
	var h head
	if len(body) == 0 || body[0]&^headBits != 0 {
		return h, errors.New("the state of a mailbox makes no sense")
	}
	h.state.Complete = body[0]&headComplete != 0
	h.shape.narrowed = body[0]&headNarrowed != 0
	h.shape.origins = body[0]&headOrigins != 0
	h.state.Departed = body[0]&headDeparted != 0
	body, bits := body[1:], body[0]
	if bits&headIdentity != 0 {
		last := len(body) - 1
		if last < 0 || body[last] == 0 || int(body[last]&0xf) >= len(levels) || int(body[last]>>4) >= len(levels) {
			return h, errors.New("the identity of a mailbox makes no sense")
		}
		h.state.Imposed, h.state.Proved = levels[body[last]&0xf], levels[body[last]>>4]
		body = body[:last]
	}
	in := decoder{b: body}
	h.wire = in.string()
	h.state.Target = in.string()
	h.state.SourceValidity = mailhaul.UIDValidity(in.uvarint(math.MaxUint32))
	h.state.TargetValidity = mailhaul.UIDValidity(in.uvarint(math.MaxUint32))
	h.state.Explained = mailhaul.UID(in.uvarint(math.MaxUint32))
	h.state.SourceStatus = in.status()
	h.state.TargetStatus = in.status()
	h.chunks.chunks = uint32(in.uvarint(math.MaxUint32))
	h.chunks.sum = uint32(in.uvarint(math.MaxUint32))
	h.shape.bits = uint(in.uvarint(wideBits-narrowBits)) + narrowBits
	h.shape.records = uint32(in.uvarint(math.MaxUint32))
	seen := make(map[mailhaul.Flag]bool)
	for range in.uvarint(maxKeywords) {
		k := mailhaul.Flag(in.string())
		if in.err != nil {
			break
		}
		if seen[k] || isSystem(k) {
			return h, errors.New("a keyword of a mailbox is there twice")
		}
		seen[k] = true
		h.keywords = append(h.keywords, k)
	}
	h.lastIntent = in.uvarint(math.MaxUint64)
	for range in.uvarint(uint64(len(in.b))) {
		i := in.intent()
		if in.err != nil {
			break
		}
		if n := len(h.intents); i.ID > h.lastIntent || i.ID == 0 || n > 0 && h.intents[n-1].ID >= i.ID {
			return h, errors.New("the intents of a mailbox are out of order")
		}
		h.intents = append(h.intents, i)
	}
	if bits&headIDs != 0 {
		h.state.SourceID, h.state.TargetID = in.string(), in.string()
		if in.err == nil && h.state.SourceID == "" && h.state.TargetID == "" {
			return h, errors.New("the state of a mailbox announces what it does not hold")
		}
	}
	if in.err == nil && len(in.b) > 0 {
		in.fail(errors.New("the state of a mailbox is longer than it should be"))
	}
	return h, in.err
}

// isSystem reports whether f is one of the first words of each dictionary, in
// these very letters.
func isSystem(f mailhaul.Flag) bool {
	for _, s := range systemFlags {
		if f == s {
			return true
		}
	}
	return false
}

func appendStatus(b []byte, s mailhaul.Status) []byte {
	b = binary.AppendUvarint(b, uint64(s.Messages))
	b = binary.AppendUvarint(b, uint64(s.UIDNext))
	b = binary.AppendUvarint(b, uint64(s.UIDValidity))
	return binary.AppendUvarint(b, uint64(s.HighestModSeq))
}

func (d *decoder) status() (s mailhaul.Status) {
	s.Messages = uint32(d.uvarint(math.MaxUint32))
	s.UIDNext = mailhaul.UID(d.uvarint(math.MaxUint32))
	s.UIDValidity = mailhaul.UIDValidity(d.uvarint(math.MaxUint32))
	s.HighestModSeq = mailhaul.ModSeq(d.uvarint(math.MaxUint64))
	return s
}

func appendIntent(b []byte, i *Intent) []byte {
	b = binary.AppendUvarint(b, i.ID)
	var bits byte
	if i.Stored {
		bits |= intentStored
	}
	b = append(b, bits)
	b = binary.AppendUvarint(b, uint64(i.Validity))
	b = binary.AppendUvarint(b, uint64(i.Watermark))
	b = binary.AppendVarint(b, i.At.Unix())
	b = binary.AppendUvarint(b, uint64(i.At.Nanosecond()))
	b = binary.AppendUvarint(b, uint64(len(i.Sources)))
	var last mailhaul.UID
	for _, r := range i.Sources {
		b = binary.AppendUvarint(b, uint64(r.First-last))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
		last = r.Last
	}
	return b
}

func (d *decoder) intent() (i Intent) {
	i.ID = d.uvarint(math.MaxUint64)
	i.Stored = d.uvarint(intentStored) != 0
	i.Validity = mailhaul.UIDValidity(d.uvarint(math.MaxUint32))
	i.Watermark = mailhaul.UID(d.uvarint(math.MaxUint32))
	seconds := d.varint()
	i.At = time.Unix(seconds, int64(d.uvarint(1e9-1))).UTC()
	if i.At.Unix() != seconds {
		d.fail(errShort)
	}
	last := uint64(0)
	for n := range d.uvarint(uint64(len(d.b))) {
		first := last + d.uvarint(math.MaxUint32)
		last = first + d.uvarint(math.MaxUint32)
		if first == 0 || last > math.MaxUint32 || n > 0 && first <= uint64(i.Sources[n-1].Last)+1 {
			d.fail(errShort)
		}
		if d.err != nil {
			return Intent{}
		}
		i.Sources = append(i.Sources, mailhaul.UIDRange{First: mailhaul.UID(first), Last: mailhaul.UID(last)})
	}
	return i
}
