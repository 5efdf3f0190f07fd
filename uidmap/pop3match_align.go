package uidmap

// This file aligns two listings by their sizes alone. Sizes repeat, so that an
// alignment is believed only where chance cannot have made it: in a long enough
// run of neighbours, and there only for messages that no message nearby could
// be mistaken for.

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
)

// sizeLaw is how a message's sizes over the two protocols relate.
type sizeLaw struct {
	known bool
	delta int64 // IMAP's less POP3's
	tol   int64 // by how much the difference may be off delta
}

// fits reports whether the sizes can be one message's. An unknown size fits
// nothing.
func (l sizeLaw) fits(pop3, imap int64) bool {
	d := imap - pop3 - l.delta
	return pop3 > 0 && imap > 0 && -l.tol <= d && d <= l.tol
}

// run is a stretch of messages that follow one another in both listings: the
// POP3 positions rise from p, or fall where reverse is set, and the IMAP
// positions rise from i.
type run struct {
	p, i, n int
	reverse bool
	pinned  []bool // per message: it could not be mistaken for another
}

// at returns the k-th pair of the run.
func (r run) at(k int) (p, i int) {
	if r.reverse {
		return r.p - k, r.i + k
	}
	return r.p + k, r.i + k
}

const (
	// seedLen is how many sizes in a row must agree for a run to be looked at.
	seedLen = 4
	// seedPlaces is in how many places a seed may be; one that is in more says
	// nothing, and looking at them all would take a hostile listing's square.
	seedPlaces = 16
	// nearby is how far a message may have been shifted, by ones missing or
	// added, and still be thought of.
	nearby = 24
	// commonShare is the share of messages, one in so many, from where a size is
	// too common to say anything.
	commonShare = 1000
	// chanceBits is how unlikely a run must be by chance: 1 in 2^chanceBits.
	chanceBits = 40
	// maxDelta is the largest constant difference that is looked for.
	maxDelta = 512
	// maxTolerance is the largest deviation from it that is looked for.
	maxTolerance = 8
)

// alignSizes finds the law that the sizes follow and the runs that follow from
// it, none of which overlap. Without runs the law is not known.
func alignSizes(pop3, imap []int64) (sizeLaw, []run) {
	var best []run
	var law sizeLaw
	covered := 0
	try := func(l sizeLaw) bool {
		runs := findRuns(pop3, imap, l)
		if n := pinnedIn(runs); n > covered || n == covered && l.tol < law.tol {
			best, law, covered = runs, l, n
		}
		return covered*10 >= 9*min(len(pop3), len(imap))
	}
	exact, smooth := voteDelta(pop3, imap)
	if try(sizeLaw{known: true}) || try(sizeLaw{known: true, delta: exact}) {
		return law, best
	}
	if try(sizeLaw{known: true, delta: smooth, tol: maxTolerance}); law.tol > 0 {
		// A tolerance also lets strangers pass: no more of it than is needed.
		law = tighten(law, best, pop3, imap)
		best = findRuns(pop3, imap, law)
	}
	law.known = len(best) > 0
	return law, best
}

// tighten returns the law that the runs follow, which were found by a wider
// one: the narrowest that 19 of 20 follow, or all but one. The others will be
// read.
func tighten(l sizeLaw, runs []run, pop3, imap []int64) sizeLaw {
	var deltas []int64
	for _, r := range runs {
		for k := range r.n {
			if r.pinned[k] {
				p, i := r.at(k)
				deltas = append(deltas, imap[i]-pop3[p])
			}
		}
	}
	slices.Sort(deltas)
	most := len(deltas) - max(len(deltas)/20, 1)
	lo, hi := l.delta-l.tol, l.delta+l.tol
	for k := 0; k+most <= len(deltas) && most > 0; k++ {
		if a, b := deltas[k], deltas[k+most-1]; b-a < hi-lo {
			lo, hi = a, b
		}
	}
	delta := lo + (hi-lo)/2
	return sizeLaw{known: true, delta: delta, tol: hi - delta}
}

// voteDelta returns the constant difference that gives most POP3 messages an
// IMAP message of the size, and the one that does so within a tolerance.
func voteDelta(pop3, imap []int64) (exact, smooth int64) {
	times := make(map[int64]int, len(imap))
	for _, s := range imap {
		if s > 0 {
			times[s] = 1
		}
	}
	var votes [2*maxDelta + 1]int
	for _, s := range spread(pop3, 2000) {
		if s <= 0 {
			continue
		}
		for d := range votes {
			votes[d] += times[s+int64(d)-maxDelta]
		}
	}
	bestExact, bestSmooth := 0, 0
	for d, v := range votes {
		// The smaller difference wins where two do as well.
		if v > bestExact || v == bestExact && abs(int64(d)-maxDelta) < abs(exact) {
			bestExact, exact = v, int64(d)-maxDelta
		}
		sum := 0
		for k := max(d-maxTolerance/2, 0); k <= min(d+maxTolerance/2, len(votes)-1); k++ {
			sum += votes[k]
		}
		if sum > bestSmooth || sum == bestSmooth && abs(int64(d)-maxDelta) < abs(smooth) {
			bestSmooth, smooth = sum, int64(d)-maxDelta
		}
	}
	return exact, smooth
}

// findRuns returns the credible runs under a law, longest first.
func findRuns(pop3, imap []int64, law sizeLaw) []run {
	if len(pop3) == 0 || len(imap) == 0 {
		return nil
	}
	backwards := slices.Clone(pop3)
	slices.Reverse(backwards)
	runs := seedAndExtend(pop3, imap, law)
	for _, r := range seedAndExtend(backwards, imap, law) {
		runs = append(runs, run{p: len(pop3) - 1 - r.p, i: r.i, n: r.n, reverse: true})
	}
	slices.SortStableFunc(runs, func(a, b run) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(abs(int64(a.p-a.i)), abs(int64(b.p-b.i))))
	})
	j := newRunJudge(pop3, imap, law)
	takenP, takenI := make([]bool, len(pop3)), make([]bool, len(imap))
	var out []run
	for _, r := range runs {
		for from := 0; from < r.n; {
			// What is left of the run when longer ones have taken theirs.
			to := from
			for ; to < r.n; to++ {
				if p, i := r.at(to); takenP[p] || takenI[i] {
					break
				}
			}
			part := run{n: to - from, reverse: r.reverse}
			part.p, part.i = r.at(from)
			from = to + 1
			if part.n < seedLen || !j.credible(&part) {
				continue
			}
			for k := range part.n {
				p, i := part.at(k)
				takenP[p], takenI[i] = true, true
			}
			out = append(out, part)
		}
	}
	return out
}

// seedAndExtend returns all maximal runs, in rising order only, that contain a
// seed: seedLen sizes in a row that are not all the same.
func seedAndExtend(pop3, imap []int64, law sizeLaw) []run {
	var runs []run
	quantum := max(16*law.tol, 1)
	covered := make([]int, len(pop3)+len(imap)) // per diagonal, up to which p
	grids := []int64{0}
	if quantum > 1 {
		grids = append(grids, quantum/2)
	}
	for _, grid := range grids {
		seedsI := seedsOf(imap, grid, quantum)
		places := make(map[uint64][]int32, len(seedsI))
		for i, s := range seedsI {
			if list := places[s]; s != 0 && len(list) <= seedPlaces {
				places[s] = append(list, int32(i))
			}
		}
		for p, s := range seedsOf(pop3, grid+law.delta, quantum) {
			if s == 0 || len(places[s]) > seedPlaces {
				continue
			}
			for _, at := range places[s] {
				i := int(at)
				diagonal := i - p + len(pop3) - 1
				if p < covered[diagonal] {
					continue
				}
				from := 0
				for p-from > 0 && i-from > 0 && law.fits(pop3[p-from-1], imap[i-from-1]) {
					from++
				}
				to := 0
				for p+to < len(pop3) && i+to < len(imap) && law.fits(pop3[p+to], imap[i+to]) {
					to++
				}
				covered[diagonal] = p + max(to, 1)
				if from+to >= seedLen && to > 0 {
					runs = append(runs, run{p: p - from, i: i - from, n: from + to})
				}
			}
		}
	}
	return runs
}

var seedHash = maphash.MakeSeed()

// seedsOf returns a hash of the seed at each place, 0 where there is none.
func seedsOf(sizes []int64, add, quantum int64) []uint64 {
	out := make([]uint64, max(len(sizes)-seedLen+1, 0))
	for at := range out {
		var q [seedLen]int64
		distinct := false
		for k := range q {
			if sizes[at+k] <= 0 {
				distinct = false
				break
			}
			q[k] = (sizes[at+k] + add + maxDelta) / quantum
			distinct = distinct || q[k] != q[0]
		}
		if distinct {
			out[at] = maphash.Comparable(seedHash, q) | 1
		}
	}
	return out
}

// runJudge decides whether runs are credible.
type runJudge struct {
	pop3, imap     []int64
	law            sizeLaw
	aloneP, aloneI []bool
	sorted         []int64 // IMAP's sizes
	threshold      float64
}

func newRunJudge(pop3, imap []int64, law sizeLaw) *runJudge {
	return &runJudge{
		pop3: pop3, imap: imap, law: law,
		aloneP:    rare(pop3, law.tol, alone(pop3, 2*law.tol)),
		aloneI:    rare(imap, law.tol, alone(imap, 2*law.tol)),
		sorted:    slices.Sorted(slices.Values(imap)),
		threshold: chanceBits + math.Log2(float64(len(pop3))) + math.Log2(float64(len(imap))),
	}
}

// credible marks the run's pinned messages and reports whether they are too
// many to be there by chance.
func (j *runJudge) credible(r *run) bool {
	r.pinned = make([]bool, r.n)
	bits := 0.0
	for k := range r.n {
		p, i := r.at(k)
		if !j.aloneP[p] || !j.aloneI[i] {
			continue
		}
		r.pinned[k] = true
		want := j.pop3[p] + j.law.delta
		lo, _ := slices.BinarySearch(j.sorted, want-j.law.tol)
		hi, _ := slices.BinarySearch(j.sorted, want+j.law.tol+1)
		bits += math.Log2(float64(len(j.sorted)) / float64(max(hi-lo, 1)))
	}
	return bits >= j.threshold
}

// alone reports of each message whether none nearby is of about its size.
func alone(sizes []int64, within int64) []bool {
	out := make([]bool, len(sizes))
	for a := range out {
		out[a] = true
	}
	for a := range sizes {
		for b := a + 1; b < len(sizes) && b <= a+nearby; b++ {
			if abs(sizes[a]-sizes[b]) <= within {
				out[a], out[b] = false, false
			}
		}
	}
	return out
}

// rare takes out what has a common size: a message of one size that is missing
// on one side, beside one that is missing on the other, would look like one
// message on both.
func rare(sizes []int64, within int64, is []bool) []bool {
	sorted := slices.Sorted(slices.Values(sizes))
	for a, s := range sizes {
		if is[a] {
			lo, _ := slices.BinarySearch(sorted, s-within)
			hi, _ := slices.BinarySearch(sorted, s+within+1)
			is[a] = hi-lo <= 2+len(sizes)/commonShare
		}
	}
	return is
}

// pinnedIn counts the pinned messages of the runs.
func pinnedIn(runs []run) int {
	n := 0
	for _, r := range runs {
		for _, pinned := range r.pinned {
			if pinned {
				n++
			}
		}
	}
	return n
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}
