package uidmap

// Match and Resolve against a specification that is slow and plain.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mailhaul/mailhaul"
)

// world is two mailboxes of messages that are easily taken for one another.
type world struct {
	source, target         []Candidate
	sourceSums, targetSums map[mailhaul.UID]Digest
}

func newWorld(rng *rand.Rand) world {
	side := func() ([]Candidate, map[mailhaul.UID]Digest) {
		sums := map[mailhaul.UID]Digest{}
		var out []Candidate
		uid := mailhaul.UID(0)
		for range rng.IntN(9) {
			uid += mailhaul.UID(1 + rng.IntN(3))
			c := Candidate{UID: uid, HasID: rng.IntN(3) > 0, Size: int64(rng.IntN(4))}
			if kind := rng.IntN(3); kind == 0 {
				c.Key, c.HasID = emptyKey, false
			} else {
				c.Key = Key{byte(kind)}
			}
			if d := rng.IntN(4); d > 0 {
				c.Date = time.Unix(int64(d), int64(rng.IntN(2))).In(time.FixedZone("", rng.IntN(3)*3600))
			}
			// Octets decide text: of four messages two and two share theirs.
			octets := rng.IntN(4)
			d := Digest{Exact: [32]byte{byte(octets)}, Content: [32]byte{byte(octets / 2)}, Size: c.Size}
			if octets/2 == 0 && rng.IntN(2) == 0 {
				d.Exact[1], d.Content = 1, emptyContent
			}
			if rng.IntN(8) > 0 {
				sums[uid] = d
			}
			out = append(out, c)
		}
		rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out, sums
	}
	var w world
	w.source, w.sourceSums = side()
	w.target, w.targetSums = side()
	if rng.IntN(2) == 0 {
		// Another tool was here: most of the source is on the target.
		w.target, w.targetSums = slices.Clone(w.source), w.sourceSums
		for i := range w.target {
			switch rng.IntN(20) {
			case 0:
				w.target[i].Date = time.Time{}
			case 1:
				w.target[i].Size++
			case 2:
				w.target[i].UID = 0
			}
		}
	}
	return w
}

type groupName struct {
	key   Key
	hasID bool
}

// byGroup sorts the candidates of a side by UID into groups.
func byGroup(side []Candidate) map[groupName][]Candidate {
	out := map[groupName][]Candidate{}
	for _, c := range side {
		if n := (groupName{c.Key, c.HasID}); c.UID != 0 {
			out[n] = append(out[n], c)
		}
	}
	for _, g := range out {
		slices.SortFunc(g, func(a, b Candidate) int { return int(a.UID) - int(b.UID) })
	}
	return out
}

// specPartners is what the listing alone gives each message of the source, or
// false where it leaves one without.
func specPartners(source, target []Candidate) (pairs []Pair, ok bool) {
	if !source[0].HasID {
		return nil, false
	}
	same := func(side []Candidate, c Candidate) (n int) {
		for _, o := range side {
			if o.Size == c.Size {
				n++
			}
		}
		return n
	}
	sameDate := func(side []Candidate, c Candidate) (n int) {
		for _, o := range side {
			if o.Size == c.Size && !o.Date.IsZero() && o.Date.Unix() == c.Date.Unix() {
				n++
			}
		}
		return n
	}
	for _, s := range source {
		if s.Size == 0 || same(source, s) != same(target, s) {
			return nil, false
		}
		var found []Pair
		for _, t := range target {
			switch {
			case t.Size != s.Size:
			case same(source, s) == 1:
				found = append(found, Pair{s.UID, t.UID, BasisSize})
			case !s.Date.IsZero() && s.Date.Unix() == t.Date.Unix() && sameDate(source, s) == 1 && sameDate(target, s) == 1:
				found = append(found, Pair{s.UID, t.UID, BasisDate})
			}
		}
		if len(found) != 1 {
			return nil, false
		}
		pairs = append(pairs, found[0])
	}
	return pairs, true
}

// specMatch is the whole of the rules.
func specMatch(w world) (listed, read []Pair, readS, readT mailhaul.UIDSet) {
	source, target := byGroup(w.source), byGroup(w.target)
	for name, s := range source {
		t := target[name]
		if len(t) == 0 {
			continue
		}
		if pairs, ok := specPartners(s, t); ok {
			listed = append(listed, pairs...)
			continue
		}
		takenS, takenT := map[mailhaul.UID]bool{}, map[mailhaul.UID]bool{}
		for _, basis := range []Basis{BasisExact, BasisContent} {
			for _, a := range s {
				for _, b := range t {
					da, okA := w.sourceSums[a.UID]
					db, okB := w.targetSums[b.UID]
					equal := da.Exact == db.Exact
					if basis == BasisContent {
						equal = da.Content == db.Content &&
							(name.hasID || name.key != emptyKey && da.Content != emptyContent)
					}
					if okA && okB && equal && !takenS[a.UID] && !takenT[b.UID] {
						takenS[a.UID], takenT[b.UID] = true, true
						read = append(read, Pair{a.UID, b.UID, basis})
					}
				}
			}
		}
		for _, a := range s {
			readS.Add(a.UID)
		}
		for _, b := range t {
			readT.Add(b.UID)
		}
	}
	sortPairs(listed)
	sortPairs(read)
	return listed, read, readS, readT
}

func TestMatchIsItsSpecification(t *testing.T) {
	seen := map[Basis]int{}
	for seed := range uint64(40_000) {
		w := newWorld(rand.New(rand.NewPCG(seed, 7)))
		listed, read, readS, readT := specMatch(w)

		before := fmt.Sprint(w.source, w.target)
		m := Match(w.source, w.target)
		if fmt.Sprint(w.source, w.target) != before {
			t.Fatalf("seed %d: the arguments were changed", seed)
		}
		s, u := m.Undecided()
		got := m.Resolve(w.sourceSums, w.targetSums)
		if !slices.Equal(m.Pairs(), listed) || !slices.Equal(s, readS) || !slices.Equal(u, readT) || !slices.Equal(got, read) {
			t.Fatalf("seed %d: %+v\n got %s | %s | %s | %s\nwant %s | %s | %s | %s", seed, w,
				show(m.Pairs()), s, u, show(got), show(listed), readS, readT, show(read))
		}

		// No message is in two pairs, and none is in a pair and undecided.
		usedS, usedT := map[mailhaul.UID]bool{}, map[mailhaul.UID]bool{}
		for p := range all(m.Pairs(), got) {
			if usedS[p.Source] || usedT[p.Target] {
				t.Fatalf("seed %d: %v uses a message again", seed, p)
			}
			usedS[p.Source], usedT[p.Target] = true, true
			seen[p.Basis]++
		}
		for _, p := range m.Pairs() {
			if s.Contains(p.Source) || u.Contains(p.Target) {
				t.Fatalf("seed %d: %v is still undecided", seed, p)
			}
		}
		if (len(s) == 0) != (len(u) == 0) {
			t.Fatalf("seed %d: bodies of one side only: %s and %s", seed, s, u)
		}
	}
	for _, b := range []Basis{BasisSize, BasisDate, BasisExact, BasisContent} {
		if seen[b] < 1000 {
			t.Errorf("%q was tried %d times only", b, seen[b])
		}
	}
}

// A mailbox that is its own target is adopted whole.
func TestMatchAdoptsItself(t *testing.T) {
	for seed := range uint64(2000) {
		w := newWorld(rand.New(rand.NewPCG(seed, 8)))
		sums := maps.Clone(w.sourceSums)
		for _, c := range w.source {
			if _, ok := sums[c.UID]; !ok {
				sums[c.UID] = Digest{Exact: [32]byte{99}}
			}
		}
		m := Match(w.source, w.source)
		if n := len(m.Pairs()) + len(m.Resolve(sums, sums)); n != len(w.source) {
			t.Fatalf("seed %d: %d of %d messages recognised", seed, n, len(w.source))
		}
	}
}

func all(lists ...[]Pair) func(func(Pair) bool) {
	return func(yield func(Pair) bool) {
		for _, l := range lists {
			for _, p := range l {
				if !yield(p) {
					return
				}
			}
		}
	}
}
