// The keys of a checkpoint.

package checkpoint

import (
	"encoding/binary"

	"github.com/mailhaul/mailhaul"
)

// The first octet of a key says what it holds; doc.go has the table.
const (
	kindAccount = 'a' // account id
	kindFormat  = 'f'
	kindMailbox = 'm' // account id, mailbox id: the head; with a chunk index: records
	kindNote    = 'n' // section, name: a note
	kindUIDLs   = 'u' // account id, mailbox id: the head of the UIDLs; with an index: a block
)

const (
	accountKeySize = 1 + 8
	mailboxKeySize = accountKeySize + 4
	chunkKeySize   = mailboxKeySize + 4
)

var formatKey = []byte{kindFormat}

func accountKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindAccount}, id)
}

// mailboxesPrefix begins the keys of an account's mailboxes.
func mailboxesPrefix(account uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindMailbox}, account)
}

// mailboxKey is the key of a mailbox's head and the prefix of its chunks'.
func mailboxKey(account uint64, mailbox uint32) []byte {
	return binary.BigEndian.AppendUint32(mailboxesPrefix(account), mailbox)
}

// chunkKey appends the index of a chunk to a copy of a mailbox's key.
func chunkKey(mailbox []byte, index uint32) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, chunkKeySize), mailbox...), index)
}

// chunkIndex is the inverse of chunkKey.
func chunkIndex(key []byte) uint32 {
	return binary.BigEndian.Uint32(key[mailboxKeySize:])
}

// A chunk holds the records of 1<<bits neighbouring UIDs, bits being the
// mailbox's own: narrow, unless the mailbox has few messages among many UIDs.
const (
	narrowBits = 7
	wideBits   = 18
)

func chunkOf(u mailhaul.UID, bits uint) uint32 { return uint32(u >> bits) }
