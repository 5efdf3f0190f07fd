package cyrus

// Whether the server's disk has room.
//
// A Cyrus whose disk is full in the middle of a message stops reading it, and
// takes the rest for commands (reservefile in its dlist.c, all versions). The
// session is an administrator's, and anybody can send mail that holds commands.
// So nothing is uploaded that there is not ample room for.

import (
	"context"
	"fmt"
	"strconv"

	"github.com/mailhaul/mailhaul"
)

const (
	// headroom is what has to be free beyond what is uploaded, since others
	// write too.
	headroom = 64 << 20
	// askAgain is after how many octets the server is asked once more.
	askAgain = 16 << 20
)

// room makes sure that there is room for so many octets more. A server that does
// not tell is believed to have it.
func (w *Writer) room(ctx context.Context, octets int64) error {
	if w.allowed >= octets {
		w.allowed -= octets
		return nil
	}
	text, err := metadata(ctx, w.sess, "", "freespace")
	if err != nil && !refused(err) {
		return err
	}
	w.allowed = max(askAgain, octets)
	if free, err := strconv.ParseInt(text, 10, 53); err == nil && free<<10 < w.allowed+headroom {
		w.allowed = 0
		return w.t.fault(opAppend, w.box, mailhaul.OverQuota, mailhaul.ScopeServer, "make room on its disk, then run again",
			fmt.Errorf("the server has %d KiB free, and is not sent %d octets with fewer than %d MiB to spare", free, octets, headroom>>20))
	}
	w.allowed -= octets
	return nil
}
