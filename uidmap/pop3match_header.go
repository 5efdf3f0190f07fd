package uidmap

// This file digests headers so that the same message's over POP3 and over IMAP
// compare as equal, and learns in which fields a server's two protocols differ.

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
)

// headerDigest is what is kept of one header.
type headerDigest struct {
	key    Key
	hasID  bool
	fields []fieldSum // sorted

	// delivered is set where a server handed the message on: what was only
	// stored, such as a draft, may be another version with the same header.
	delivered bool
}

// fieldSum is one header field: its name's number and a digest of its value.
type fieldSum struct {
	name uint32
	sum  uint64
}

// neverCompared are fields that servers add, alter or hide as they like.
var neverCompared = map[string]bool{
	"content-length": true, "return-path": true, "status": true, "x-imap": true,
	"x-imapbase": true, "x-keywords": true, "x-message-flag": true, "x-status": true,
	"x-uid": true, "x-uidl": true, "x-yahoo-newman-property": true,
}

// fieldNames numbers the names of header fields.
type fieldNames struct {
	numbers map[string]uint32
	names   []string
}

func (n *fieldNames) number(name []byte) uint32 {
	lower := bytes.ToLower(name)
	if k, ok := n.numbers[string(lower)]; ok {
		return k
	}
	if n.numbers == nil {
		n.numbers = map[string]uint32{}
	}
	k := uint32(len(n.names))
	n.numbers[string(lower)] = k
	n.names = append(n.names, string(lower))
	return k
}

// digest makes a headerDigest of a header, normalised as KeyOf does it.
func (n *fieldNames) digest(header []byte) *headerDigest {
	h := &headerDigest{}
	h.key, h.hasID = KeyOf(header)
	var room [1024]byte
	for line := range foldedLines(header) {
		name, value, ok := cutField(line)
		if !ok || len(name) < 24 && neverCompared[strings.ToLower(string(name))] {
			continue
		}
		text := appendNormalised(room[:0], value)
		if len(text) == 0 {
			continue // some servers leave an empty field out
		}
		h.delivered = h.delivered || bytes.EqualFold(name, []byte("received"))
		sum := sha256.Sum256(text)
		h.fields = append(h.fields, fieldSum{n.number(name), binary.BigEndian.Uint64(sum[:])})
	}
	slices.SortFunc(h.fields, func(a, b fieldSum) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.sum, b.sum))
	})
	return h
}

// tells reports whether the header says which message it is: two strangers may
// share one that says little.
func (h *headerDigest) tells() bool {
	return h.hasID || h.key != emptyKey && len(h.fields) >= 3
}

// hash returns the digest of all fields but the skipped ones.
func (h *headerDigest) hash(skip map[uint32]bool) [32]byte {
	text := make([]byte, 0, 16*len(h.fields))
	for _, f := range h.fields {
		if !skip[f.name] {
			text = binary.BigEndian.AppendUint32(text, f.name)
			text = binary.BigEndian.AppendUint64(text, f.sum)
		}
	}
	return sha256.Sum256(text)
}

// differing yields the names of the fields that are not the same in both.
func differing(a, b *headerDigest) func(yield func(uint32) bool) {
	return func(yield func(uint32) bool) {
		x, y := a.fields, b.fields
		for len(x) > 0 || len(y) > 0 {
			var name uint32
			switch {
			case len(y) == 0 || len(x) > 0 && x[0].name < y[0].name:
				name = x[0].name
			default:
				name = y[0].name
			}
			i, j := nameLen(x, name), nameLen(y, name)
			if !slices.Equal(x[:i], y[:j]) && !yield(name) {
				return
			}
			x, y = x[i:], y[j:]
		}
	}
}

// nameLen returns how many fields at the front have the name.
func nameLen(f []fieldSum, name uint32) int {
	n := 0
	for n < len(f) && f[n].name == name {
		n++
	}
	return n
}

// sameness is what two headers say about whether they are of one message.
type sameness uint8

const (
	cannotTell sameness = iota
	same
	different
)

// compareHeaders says whether two headers are of one message.
func compareHeaders(a, b *headerDigest) sameness {
	switch {
	case a == nil || b == nil:
		return cannotTell
	case a.key != b.key || a.hasID != b.hasID:
		return different
	case a.tells():
		return same
	}
	return cannotTell
}

// headerPair is the header of one message as each protocol has it.
type headerPair struct{ pop3, imap *headerDigest }

// learnSkip returns the fields in which one message's headers differ by
// protocol as a rule: in one pair of twenty, or more.
func learnSkip(pairs []headerPair) map[uint32]bool {
	times := map[uint32]int{}
	for _, p := range pairs {
		for name := range differing(p.pop3, p.imap) {
			times[name]++
		}
	}
	skip := map[uint32]bool{}
	for name, n := range times {
		if n*20 >= len(pairs) {
			skip[name] = true
		}
	}
	return skip
}
