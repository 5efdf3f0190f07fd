// Dovecot's index: it is made from the files, except for the mod-sequences,
// which are in its log only.

package maildir

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/mailhaul/mailhaul"
)

const indexLog = "dovecot.index.log"

// logHeader is the size of the header of a log in version 1.3: version (two
// octets), its own size (2), the index's id (4), the number of the log (4), the
// log before it (8), the time (4), the mod-sequence that it begins with (8),
// flags (1; bit 0: little-endian) and seven octets that are not used, all in the
// machine's order.
const logHeader = 40

// logModSeqs returns the mod-sequence that a log begins with, and one that
// none in it exceeds: each of its records takes eight octets at least.
func (f folder) logModSeqs() (first, most mailhaul.ModSeq, err error) {
	in, err := f.disk.open(f.file(indexLog))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return 0, 0, err
	}
	var h [logHeader]byte
	if _, err := io.ReadFull(in, h[:]); err != nil || h[0] != 1 || h[32]&1 != littleEndian() {
		return 0, 0, nil // not one that Dovecot would read on this machine
	}
	first = mailhaul.ModSeq(binary.NativeEndian.Uint64(h[24:]))
	return first, first + mailhaul.ModSeq(info.Size()/8), nil
}

func littleEndian() byte {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return 1
	}
	return 0
}

// newIndex lets Dovecot make its index anew from the files. Mod-sequences go on
// from least, and from those that there were. Keywords beyond the 26 that file
// names can hold, and \Recent, are lost with the old index. The lock is held,
// and nobody has the mailbox open.
func (f folder) newIndex(least mailhaul.ModSeq) error {
	if f.flavor != Dovecot {
		return nil
	}
	_, most, err := f.logModSeqs()
	if err != nil {
		return err
	}
	least = max(least, most)
	// The log goes last: while it is there, the others belong to it.
	for _, name := range []string{"dovecot.index", "dovecot.index.cache", "dovecot.index.log.2"} {
		if err := f.disk.remove(f.file(name)); err != nil {
			return err
		}
	}
	if least == 0 {
		return f.disk.remove(f.file(indexLog))
	}
	now := uint32(time.Now().Unix())
	var h [logHeader]byte
	h[0], h[1] = 1, 3
	order := binary.NativeEndian
	order.PutUint16(h[2:], logHeader)
	order.PutUint32(h[4:], now)
	order.PutUint32(h[8:], 1)
	order.PutUint32(h[20:], now)
	order.PutUint64(h[24:], uint64(least))
	h[32] = littleEndian()
	return f.disk.replace(f.file(indexLog), f.tempName(), h[:])
}
