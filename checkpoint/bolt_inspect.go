// A look at a file before bbolt maps it into memory: bbolt extends any file on
// Windows, and dies on one that was cut short.

package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"time"

	"github.com/mailhaul/mailhaul"
)

// bbolt's meta page: a page header, then these fields in the machine's own
// order of octets. There are two, at the first two pages; the one with the
// higher transaction counts, if its checksum is right.
const (
	metaAt         = 16 // behind the page header
	metaMagicAt    = metaAt
	metaVersionAt  = metaAt + 4
	metaPageSizeAt = metaAt + 8
	metaFreelistAt = metaAt + 32
	metaPagesAt    = metaAt + 40
	metaTxAt       = metaAt + 48
	metaSumAt      = metaAt + 56
	metaSize       = metaAt + 64

	metaMagic   = 0xED0CDAED
	metaVersion = 2
	noFreelist  = ^uint64(0)
)

type meta struct {
	pageSize              uint32
	freelist, pages, txID uint64
}

// readMeta reads the meta page at an offset; magic says whether it looks like
// one at all.
func readMeta(f *os.File, at int64) (m meta, magic, valid bool) {
	var b [metaSize]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return m, false, false
	}
	order := binary.NativeEndian
	magic = order.Uint32(b[metaMagicAt:]) == metaMagic && order.Uint32(b[metaVersionAt:]) == metaVersion
	h := fnv.New64a()
	h.Write(b[metaAt:metaSumAt])
	m = meta{order.Uint32(b[metaPageSizeAt:]), order.Uint64(b[metaFreelistAt:]), order.Uint64(b[metaPagesAt:]), order.Uint64(b[metaTxAt:])}
	valid = magic && order.Uint64(b[metaSumAt:]) == h.Sum64() && m.pageSize >= 1024 && m.pageSize <= 1<<24
	return m, magic, valid
}

// inspect returns an error for a file that bbolt had better not open. An empty
// file is fine: there is nothing in it that could be overwritten.
func inspect(op, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Open comes to it
	}
	if err != nil {
		return describe(op, err)
	}
	defer f.Close()
	// Another process may be writing the pages that are being read, without a
	// lock: look again before anyone is told to delete the file.
	for try := range 3 {
		if err = inspectFile(op, f); err == nil {
			return nil
		}
		if try < 2 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return err
}

func inspectFile(op string, f *os.File) error {
	newest, looks, found := readMeta(f, 0)
	sizes := []int64{int64(newest.pageSize)}
	if !found {
		sizes = []int64{1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16}
	}
	for _, size := range sizes {
		m, magic, valid := readMeta(f, size)
		looks = looks || magic
		if valid && (!found || m.txID > newest.txID) {
			newest, found = m, true
		}
	}
	info, err := f.Stat() // after the metas: a file only grows
	if err != nil {
		return describe(op, err)
	}
	switch {
	case info.Size() == 0:
		return nil
	case !found && looks:
		return fault(op, mailhaul.Corrupt, fmt.Errorf("it is %w: its first pages make no sense", ErrDamaged), hintDelete)
	case !found || newest.freelist == noFreelist:
		return fault(op, mailhaul.Permanent, fmt.Errorf("it is %w", ErrNotCheckpoint), hintOther)
	case uint64(info.Size())/uint64(newest.pageSize) < newest.pages:
		return fault(op, mailhaul.Corrupt, fmt.Errorf("it is %w: %d octets of %d are left", ErrDamaged,
			info.Size(), newest.pages*uint64(newest.pageSize)), hintDelete)
	}
	return nil
}
