package uidmap

// This file is the matcher's state machine: what it asks for when, and what it
// does next when that was answered.

import (
	"math/bits"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// phase is what the matcher does when all that it asked for is answered.
//
//	recognise ──► prove ──► align ──► samples ──► judge ──► bodies ──► rest ──► done
//	    ▲───────────┘                              ▲──┘
//
// prove goes back where a formula was wrong, judge asks for more headers once.
type phase uint8

const (
	phaseRecognise phase = iota // look for a formula
	phaseProve                  // judge the headers that prove it
	phaseAlign                  // align by size
	phaseSamples                // judge the headers that prove the alignment
	phaseJudge                  // decide what is left by headers
	phaseBodies                 // decide what is left by IMAP's bodies and some of POP3's
	phaseRest                   // decide what is left by all bodies
	phaseDone
)

// answerState is whether a piece of evidence was asked for and given.
type answerState uint8

const (
	unknown answerState = iota
	given
	unavailable
)

// evidence is what is known of one message on one side.
type evidence struct {
	header                 *headerDigest // nil unless given
	body                   Digest
	headerState, bodyState answerState
}

// evidenceOf returns where the answer to r belongs, nil for no message of ours.
func (m *UIDLMatcher) evidenceOf(r Request) *evidence {
	switch r.Evidence {
	case POP3Header, POP3Body:
		if n, ok := m.indexP[r.Number]; ok {
			return &m.evidenceP[n]
		}
	case IMAPHeader, IMAPBody:
		if n, ok := m.indexI[r.UID]; ok {
			return &m.evidenceI[n]
		}
	}
	return nil
}

// advance goes on as far as the evidence goes.
func (m *UIDLMatcher) advance() {
	for m.phase != phaseDone {
		m.need = slices.DeleteFunc(m.need, m.answered)
		if len(m.need) > 0 {
			return
		}
		m.phase = m.step()
		m.need = slices.DeleteFunc(m.need, m.answered)
		slices.SortFunc(m.need, compareRequests)
		m.need = slices.Compact(m.need)
		if len(m.need) > 0 {
			m.rounds++
			for _, r := range m.need {
				m.asked[r] = true
			}
		}
	}
}

// step does what the phase is for, with all its evidence at hand, and returns
// the next one.
func (m *UIDLMatcher) step() phase {
	switch m.phase {
	case phaseRecognise:
		m.judging = recognise(m.pop3, m.imap, m.cfg.UIDValidity, m.wrong)
		if m.judging.Formula.IsZero() {
			return phaseAlign
		}
		for _, c := range m.judging.Check {
			m.askHeaders(m.indexP[c.Number], m.indexI[c.UID])
		}
		return phaseProve
	case phaseProve:
		if !m.formulaHolds() {
			m.wrong = append(m.wrong, m.judging.Formula)
			return phaseRecognise
		}
		m.takeFormula()
		return phaseAlign
	case phaseAlign:
		m.align()
		return phaseSamples
	case phaseSamples:
		m.takeRuns()
		m.askResidue(nil, nil)
		return phaseJudge
	case phaseJudge:
		m.judgeHeaders()
		if !m.widened && m.widen() {
			return phaseJudge
		}
		m.askBodies()
		return phaseBodies
	case phaseBodies:
		m.judgeTwins()
		return phaseRest
	case phaseRest:
		m.judgeBodies()
	}
	return phaseDone
}

func (m *UIDLMatcher) answered(r Request) bool {
	e := m.evidenceOf(r)
	if r.Evidence == POP3Header || r.Evidence == IMAPHeader {
		return e.headerState != unknown
	}
	return e.bodyState != unknown
}

func compareRequests(a, b Request) int {
	switch {
	case a.Evidence != b.Evidence:
		return int(a.Evidence) - int(b.Evidence)
	case a.Number != b.Number:
		return a.Number - b.Number
	case a.UID < b.UID:
		return -1
	case a.UID > b.UID:
		return 1
	}
	return 0
}

func (m *UIDLMatcher) askP(e Evidence, p int) {
	m.need = append(m.need, Request{Evidence: e, Number: m.pop3[p].Number, UIDL: m.pop3[p].UIDL})
}

func (m *UIDLMatcher) askI(e Evidence, i int) {
	m.need = append(m.need, Request{Evidence: e, UID: m.imap[i].UID})
}

func (m *UIDLMatcher) askHeaders(p, i int) {
	m.askP(POP3Header, p)
	m.askI(IMAPHeader, i)
}

// pair makes a pair of two messages that are in none.
func (m *UIDLMatcher) pair(p, i int, b UIDLBasis) {
	if m.pairP[p] >= 0 || m.pairI[i] >= 0 {
		return
	}
	m.pairP[p], m.pairI[i], m.basis[p], m.reason[p] = i, p, b, 0
}

// formulaHolds judges the headers that were asked for to prove a formula.
func (m *UIDLMatcher) formulaHolds() bool {
	proved := 0
	for _, c := range m.judging.Check {
		switch compareHeaders(m.evidenceP[m.indexP[c.Number]].header, m.evidenceI[m.indexI[c.UID]].header) {
		case different:
			return false
		case same:
			proved++
		}
	}
	return proved > 0 || len(m.judging.Check) == 0 || !m.judging.Formula.weak(m.cfg.UIDValidity)
}

// takeFormula pairs what the proved formula explains.
func (m *UIDLMatcher) takeFormula() {
	m.formula = m.judging.Formula
	for _, p := range m.judging.pairs {
		m.pair(p.p, p.i, UIDLByFormula)
	}
	if m.judging.knowsGone() {
		for _, p := range m.judging.gone {
			m.reason[p] = FormulaSaysGone
		}
	}
}

// residue returns the indices of the messages that are still to be paired.
func (m *UIDLMatcher) residue() (pop3, imap []int) {
	for p, i := range m.pairP {
		if i < 0 && m.reason[p] != FormulaSaysGone {
			pop3 = append(pop3, p)
		}
	}
	for i, p := range m.pairI {
		if p < 0 {
			imap = append(imap, i)
		}
	}
	return pop3, imap
}

// alwaysRead is up to how many messages it costs nothing to read all headers.
const alwaysRead = 50

// align aligns what is left by size, takes what a counter proves, and asks for
// samples of the rest.
func (m *UIDLMatcher) align() {
	m.atP, m.atI = m.residue()
	if len(m.atP) == 0 || len(m.atI) == 0 {
		return
	}
	sizesP, sizesI := make([]int64, len(m.atP)), make([]int64, len(m.atI))
	for n, p := range m.atP {
		sizesP[n] = m.pop3[p].Size
	}
	for n, i := range m.atI {
		sizesI[n] = m.imap[i].Size
	}
	m.law, m.runs = alignSizes(sizesP, sizesI)
	m.runs = m.takeCounters(m.runs)
	if m.cfg.Thorough || len(m.atP) <= alwaysRead {
		m.runs = nil
	}
	// What no run explains is read in any case, so that it is asked for along
	// with the samples.
	inRunP, inRunI := map[int]bool{}, map[int]bool{}
	for _, r := range m.runs {
		for _, k := range r.sample() {
			m.askHeaders(m.indices(r, k))
		}
		for k := range r.n {
			if p, i := m.indices(r, k); r.pinned[k] {
				inRunP[p], inRunI[i] = true, true
			}
		}
	}
	m.askResidue(inRunP, inRunI)
}

// indices returns the messages of the k-th pair of a run.
func (m *UIDLMatcher) indices(r run, k int) (p, i int) {
	p, i = r.at(k)
	return m.atP[p], m.atI[i]
}

// takeCounters pairs the runs in which a number in the UIDLs is in step with
// the UIDs, and returns the others. Where all runs agree by how much the two
// are apart, that is a formula, which holds between them too.
func (m *UIDLMatcher) takeCounters(runs []run) (rest []run) {
	apart := map[int64]int{}
	for _, r := range runs {
		d, ok := m.counterOffset(r)
		if !ok {
			rest = append(rest, r)
			continue
		}
		apart[d] += r.n
		for k := range r.n {
			p, i := m.indices(r, k)
			if n, ok := courierCounter(m.pop3[p].UIDL); ok && int64(n)-int64(m.imap[i].UID) == d {
				m.pair(p, i, UIDLByCounter)
			}
		}
	}
	if len(rest) > 0 || len(apart) != 1 {
		return rest
	}
	times := map[uint64]int{}
	for _, p := range m.pop3 {
		if n, ok := courierCounter(p.UIDL); ok {
			times[n]++
		}
	}
	for d := range apart {
		var gone []int
		for _, p := range m.atP {
			n, ok := courierCounter(m.pop3[p].UIDL)
			uid := int64(n) - d
			if !ok || times[n] > 1 || uid <= 0 || uid > maxUint32 {
				continue
			}
			i, listed := m.indexI[mailhaul.UID(uid)]
			switch {
			case !listed:
				gone = append(gone, p)
			case m.law.fits(m.pop3[p].Size, m.imap[i].Size):
				m.pair(p, i, UIDLByCounter)
			}
		}
		if fewGone(len(gone), apart[d]) {
			for _, p := range gone {
				m.reason[p] = FormulaSaysGone
			}
		}
	}
	return nil
}

// counterOffset returns by how much the numbers in the UIDLs are ahead of the
// UIDs, if that is the same for all that is pinned in the run.
func (m *UIDLMatcher) counterOffset(r run) (d int64, ok bool) {
	for k := range r.n {
		if !r.pinned[k] {
			continue
		}
		p, i := m.indices(r, k)
		n, counts := courierCounter(m.pop3[p].UIDL)
		this := int64(n) - int64(m.imap[i].UID)
		if !counts || ok && this != d {
			return 0, false
		}
		d, ok = this, true
	}
	return d, ok
}

// sample returns which pairs of the run are to be read: the first and the last
// that are pinned, and more in between the longer it is.
func (r run) sample() []int {
	var pinned []int
	for k, p := range r.pinned {
		if p {
			pinned = append(pinned, k)
		}
	}
	return spread(pinned, 2+bits.Len(uint(len(pinned)))/3)
}

// takeRuns pairs what is pinned in those runs that their samples prove.
func (m *UIDLMatcher) takeRuns() {
	for _, r := range m.runs {
		proved, contradicted := 0, false
		for _, k := range r.sample() {
			p, i := m.indices(r, k)
			switch compareHeaders(m.evidenceP[p].header, m.evidenceI[i].header) {
			case different:
				contradicted = true
			case same:
				proved++
			}
		}
		if contradicted || proved == 0 {
			continue
		}
		for k := range r.n {
			if !r.pinned[k] {
				continue
			}
			p, i := m.indices(r, k)
			basis := UIDLBySequence
			if compareHeaders(m.evidenceP[p].header, m.evidenceI[i].header) == same {
				basis = UIDLByHeader
			}
			m.pair(p, i, basis)
		}
	}
}

// askResidue asks for the headers of what is left, but for the messages that
// are spoken for: of all POP3 messages, and of those of IMAP that could be one
// of them by size, where sizes follow a law and IMAP has many more.
func (m *UIDLMatcher) askResidue(spokenForP, spokenForI map[int]bool) {
	pop3, imap := m.residue()
	pop3 = slices.DeleteFunc(pop3, func(p int) bool { return spokenForP[p] })
	imap = slices.DeleteFunc(imap, func(i int) bool { return spokenForI[i] })
	if len(pop3) == 0 || len(imap) == 0 {
		return
	}
	for _, p := range pop3 {
		m.askP(POP3Header, p)
	}
	if m.law.known && !m.widened && len(imap) > 2*len(pop3)+64 {
		imap = m.ofOneSize(pop3, imap).imap
	}
	for _, i := range imap {
		m.askI(IMAPHeader, i)
	}
}

// widen asks for the headers that sizes spoke against, if something is still
// without a counterpart. It reports whether there are any.
func (m *UIDLMatcher) widen() bool {
	m.widened = true
	before := len(m.need)
	m.askResidue(nil, nil)
	m.need = slices.DeleteFunc(m.need, m.answered)
	return len(m.need) > before
}
