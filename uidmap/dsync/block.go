package dsync

// What the server writes down at once. Dovecot 2.3 would do so after each
// message, which takes several times as long as the message: it does as soon as
// it has all messages up to one. So the first of a block is held back and sent
// as the block's last; until then the server lacks it and waits.

import (
	"bytes"
	"time"

	"github.com/mailhaul/mailhaul"
)

const (
	// blockMessages and blockOctets end a block. What the server has not
	// written down is lost when it is killed.
	blockMessages = 200
	blockOctets   = 8 << 20

	// maxHeld is how large a message may be that is held back.
	maxHeld = 64 << 10
)

// block is a run of messages that the server writes down together.
type block struct {
	first, last held // what is held back of it
	n           int  // of messages in the block
	octets      int64
	total       int          // of messages that were sent, in all blocks
	endings     map[int]bool // the values of total at which a block ended
}

// held is a message that is held back.
type held struct {
	is    bool
	entry int
	text  bytes.Buffer // as it is sent
}

// ended reports whether a block ended behind the n-th message.
func (b *block) ended(n int) bool { return b.endings[n] }

func (b *block) end() {
	if b.endings == nil {
		b.endings = make(map[int]bool)
	}
	b.endings[b.total] = true
	b.n, b.octets = 0, 0
}

// put sends a message, or holds it back.
//
// Where UIDLs are imposed the latest is held back, too: of a dbox, Dovecot
// serves the stored UIDLs only up to the message that was saved last, which is
// not to be the first of a block.
func (w *writer) put(at int, out mailhaul.Outgoing) error {
	b := &w.block
	small := out.Body.Buffered() && out.Body.Size() <= maxHeld
	if !small && w.x.want.UIDLs {
		if err := w.letGo(); err != nil {
			return err
		}
	}
	b.n++
	b.octets += out.Body.Size()
	switch {
	case small && !b.first.is:
		return w.hold(&b.first, at, out)
	case small && w.x.want.UIDLs:
		if err := w.send(&b.last); err != nil {
			return err
		}
		if err := w.hold(&b.last, at, out); err != nil {
			return err
		}
	default:
		if err := w.x.writeMail(w.x.p.out, &w.x.entries[at], out, time.Now()); err != nil {
			return w.x.p.brokenBy(err)
		}
		w.sent(at)
		if !b.first.is {
			b.end()
		}
	}
	if b.n >= blockMessages || b.octets >= blockOctets {
		return w.letGo()
	}
	return nil
}

func (w *writer) sent(at int) {
	w.x.entries[at].sent = true
	w.block.total++
}

// hold keeps a message to be sent later.
func (w *writer) hold(h *held, at int, out mailhaul.Outgoing) error {
	h.text.Reset()
	if err := w.x.writeMail(&h.text, &w.x.entries[at], out, time.Now()); err != nil {
		return err
	}
	h.is, h.entry = true, at
	return nil
}

// send sends a message that was held back.
func (w *writer) send(h *held) error {
	if !h.is {
		return nil
	}
	h.is = false
	if _, err := w.x.p.out.Write(h.text.Bytes()); err != nil {
		return w.x.p.lost(err)
	}
	w.sent(h.entry)
	return nil
}

// letGo sends what is held back.
func (w *writer) letGo() error {
	b := &w.block
	for _, h := range []*held{&b.first, &b.last} {
		if h.is {
			if err := w.send(h); err != nil {
				return err
			}
			b.end()
		}
	}
	return nil
}
