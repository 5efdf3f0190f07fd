// Records on disk, in parts that are read one at a time: for what grows with
// the number of messages.

package sync

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"os"
)

// spillBlock is how many octets of a part are collected in memory before they
// are written.
const spillBlock = 4 << 10

// spill is records in parts. Parts grow side by side, in blocks of one
// temporary file, and are then read in any order, each as often as needed. It
// is for one goroutine.
//
// In memory it keeps one block a part while it is written, and 16 octets for
// each block of the file.
type spill struct {
	file  spillFile
	parts []spillPart
	end   int64 // of what was written to the file
}

// spillPart is one part: the blocks of it that are in the file, and what comes
// behind them. A block is records, each behind its length as a varint.
type spillPart struct {
	blocks  []extent
	pending []byte
}

// extent is where a block lies.
type extent struct {
	at  int64
	len int
}

// spillFile is what a spill writes to. Close removes it.
type spillFile interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}

// newSpill makes a spill of that many parts. The caller closes it.
func newSpill(create func() (spillFile, error), parts int) (*spill, error) {
	f, err := create()
	if err != nil {
		return nil, err
	}
	return &spill{file: f, parts: make([]spillPart, parts)}, nil
}

// Close removes the file.
func (s *spill) Close() error { return s.file.Close() }

// add puts a record, which it copies, behind those of a part.
func (s *spill) add(part int, record []byte) error {
	p := &s.parts[part]
	if p.pending == nil {
		p.pending = make([]byte, 0, spillBlock)
	}
	if len(p.pending) > 0 && len(p.pending)+binary.MaxVarintLen32+len(record) > spillBlock {
		if err := s.write(p); err != nil {
			return err
		}
	}
	p.pending = binary.AppendUvarint(p.pending, uint64(len(record)))
	p.pending = append(p.pending, record...)
	return nil
}

// write moves what is pending of a part to the file.
func (s *spill) write(p *spillPart) error {
	if _, err := s.file.WriteAt(p.pending, s.end); err != nil {
		return err
	}
	p.blocks = append(p.blocks, extent{s.end, len(p.pending)})
	s.end += int64(len(p.pending))
	p.pending = p.pending[:0]
	return nil
}

// flush is called when all records are in: it gives the memory back that the
// parts take.
func (s *spill) flush() error {
	for i := range s.parts {
		p := &s.parts[i]
		if len(p.pending) > 0 {
			if err := s.write(p); err != nil {
				return err
			}
		}
		p.pending = nil
	}
	return nil
}

var errSpill = errors.New("it does not hold what was written to it")

// records yields the records of a part in the order in which they were added.
// Each is valid until the next. flush has been called. After an error the
// sequence ends.
func (s *spill) records(part int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var room []byte
		for _, at := range s.parts[part].blocks {
			if cap(room) < at.len {
				room = make([]byte, at.len)
			}
			block := room[:at.len]
			if _, err := s.file.ReadAt(block, at.at); err != nil {
				yield(nil, err)
				return
			}
			for len(block) > 0 {
				n, used := binary.Uvarint(block)
				if used <= 0 || n > uint64(len(block)-used) {
					yield(nil, errSpill)
					return
				}
				block = block[used:]
				if !yield(block[:n], nil) {
					return
				}
				block = block[n:]
			}
		}
	}
}

// tempFile is a temporary file that is gone once it is closed.
type tempFile struct {
	*os.File
	unnamed bool
}

// createTemp makes a file that nobody else can read, in the directory for
// temporary files. It loses its name at once where the system allows that, so
// that nothing is left of it however the program ends.
func createTemp() (spillFile, error) {
	f, err := os.CreateTemp("", "mailhaul-*") // with mode 0600
	if err != nil {
		return nil, err
	}
	return &tempFile{f, os.Remove(f.Name()) == nil}, nil
}

// Close closes and removes the file.
func (t *tempFile) Close() error {
	err := t.File.Close()
	if !t.unnamed { // else the name may be another file's by now
		err = errors.Join(err, os.Remove(t.Name()))
	}
	return err
}
