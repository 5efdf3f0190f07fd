package uidmap

// This file decides by digests what listings left open.

import (
	"slices"

	"github.com/mailhaul/mailhaul"
)

// Resolve decides the undecided messages by their Digests and returns the pairs
// that it made, in the order of the source's UIDs. Messages with the same
// octets pair first, then those with the same text; twins pair in the order of
// their UIDs. A message without a Digest, because it is gone or could not be
// read, is in no pair, nor is one that was not undecided: a message of the
// source that has no pair is to be copied, one of the target is somebody
// else's.
func (m *Matching) Resolve(source, target map[mailhaul.UID]Digest) []Pair {
	var pairs []Pair
	for _, g := range m.groups {
		s, t := g.source, g.target
		exactOf := func(of map[mailhaul.UID]Digest) func(mailhaul.UID) ([32]byte, bool) {
			return func(u mailhaul.UID) ([32]byte, bool) { d, ok := of[u]; return d.Exact, ok }
		}
		if m.imposed {
			var same []Pair
			s, t, same = pairSame(s, t, exactOf(source), exactOf(target))
			pairs = append(pairs, same...)
		}
		s, t, exact := pairBy(s, t, BasisExact, exactOf(source), exactOf(target))
		_, _, content := pairBy(s, t, BasisContent,
			func(u mailhaul.UID) ([32]byte, bool) { d, ok := source[u]; return d.Content, ok && g.tells(d) },
			func(u mailhaul.UID) ([32]byte, bool) { d, ok := target[u]; return d.Content, ok && g.tells(d) })
		pairs = append(append(pairs, exact...), content...)
	}
	sortPairs(pairs)
	return pairs
}

// tells reports whether equal Contents say enough. A message without a
// Message-ID is told by its other fields and its text; where it lacks either,
// two strangers would look like one, and one of them would be lost.
func (g group) tells(d Digest) bool {
	return g.hasID || g.key != emptyKey && d.Content != emptyContent
}

// pairSame pairs messages that have the same UID and equal sums, and returns the
// ones left over.
func pairSame(s, t []mailhaul.UID, sumS, sumT func(mailhaul.UID) ([32]byte, bool)) (restS, restT []mailhaul.UID, pairs []Pair) {
	same := make(map[mailhaul.UID]bool)
	for _, u := range s {
		_, there := slices.BinarySearch(t, u)
		ours, ok := sumS(u)
		theirs, read := sumT(u)
		if same[u] = there && ok && read && ours == theirs; same[u] {
			pairs = append(pairs, Pair{u, u, BasisExact})
		} else {
			restS = append(restS, u)
		}
	}
	for _, u := range t {
		if !same[u] {
			restT = append(restT, u)
		}
	}
	return restS, restT, pairs
}

// pairBy pairs messages whose sums are equal, in the order that they come in,
// and returns the ones left over.
func pairBy(s, t []mailhaul.UID, basis Basis, sumS, sumT func(mailhaul.UID) ([32]byte, bool)) (restS, restT []mailhaul.UID, pairs []Pair) {
	free := make(map[[32]byte][]mailhaul.UID, len(t))
	for _, u := range t {
		if sum, ok := sumT(u); ok {
			free[sum] = append(free[sum], u)
		}
	}
	taken := make(map[mailhaul.UID]bool, len(t))
	for _, u := range s {
		sum, ok := sumS(u)
		if list := free[sum]; ok && len(list) > 0 {
			pairs = append(pairs, Pair{u, list[0], basis})
			taken[list[0]] = true
			free[sum] = list[1:]
			continue
		}
		restS = append(restS, u)
	}
	for _, u := range t {
		if !taken[u] {
			restT = append(restT, u)
		}
	}
	return restS, restT, pairs
}
