// Varints, strings and checksums: what all values of a checkpoint are made of.

package checkpoint

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumSize is the length of the CRC-32C at the end of each value.
const sumSize = 4

// seal appends the checksum over key and body to the body.
func seal(key, body []byte) (value []byte, sum uint32) {
	sum = crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
	return binary.LittleEndian.AppendUint32(body, sum), sum
}

// unseal returns the body of a value whose checksum is right. The key counts,
// so that a value in the wrong place is found out too.
func unseal(key, value []byte) (body []byte, sum uint32, err error) {
	if len(value) < sumSize {
		return nil, 0, errors.New("the value is too short for its checksum")
	}
	body = value[:len(value)-sumSize]
	sum = binary.LittleEndian.Uint32(value[len(body):])
	if crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body) != sum {
		return nil, 0, errors.New("the checksum is wrong")
	}
	return body, sum, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

var errShort = errors.New("a number or a string is cut short or out of range")

// decoder reads what the append functions wrote. After the first error it
// returns zero values.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

// uvarint reads a number of at most limit.
func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > limit {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes reads a length and that many octets, which alias the input.
func (d *decoder) bytes() []byte {
	n := d.uvarint(uint64(len(d.b)))
	if n > uint64(len(d.b)) { // the length itself took some of them
		d.fail(errShort)
		return nil
	}
	s := d.b[:n]
	d.b = d.b[n:]
	return s
}

func (d *decoder) string() string { return string(d.bytes()) }
