package uidmap

// This file decides by headers and bodies what listings left open: the
// strongest evidence first, and only what is unique on both sides.

import (
	"slices"
)

// class is messages that some evidence cannot tell apart, each side in the
// order of its listing.
type class struct{ pop3, imap []int }

// classes groups what is left by a name that evidence gives to each message.
// Classes come in the order of their first POP3 message, and have messages of
// both sides.
func classes[K comparable](m *UIDLMatcher, name func(e *evidence) (K, bool)) []*class {
	pop3, imap := m.residue()
	byName := map[K]*class{}
	var order []*class
	for _, p := range pop3 {
		if k, ok := name(&m.evidenceP[p]); ok {
			if byName[k] == nil {
				byName[k] = &class{}
				order = append(order, byName[k])
			}
			byName[k].pop3 = append(byName[k].pop3, p)
		}
	}
	for _, i := range imap {
		if k, ok := name(&m.evidenceI[i]); ok && byName[k] != nil {
			byName[k].imap = append(byName[k].imap, i)
		}
	}
	return slices.DeleteFunc(order, func(c *class) bool { return len(c.imap) == 0 })
}

// byHeader names a message by all of its header that this server's protocols
// agree on.
func (m *UIDLMatcher) byHeader(e *evidence) ([32]byte, bool) {
	if e.header == nil {
		return [32]byte{}, false
	}
	return e.header.hash(m.skip), true
}

// keyName is what byKey names a message by.
type keyName struct {
	key   Key
	hasID bool
}

// byKey names a message by the fields that hardly any server alters.
func (m *UIDLMatcher) byKey(e *evidence) (keyName, bool) {
	if e.header == nil || !e.header.tells() {
		return keyName{}, false
	}
	return keyName{e.header.key, e.header.hasID}, true
}

// fits reports whether the sizes allow the two to be one. Where sizes follow no
// law they allow everything.
func (m *UIDLMatcher) fits(p, i int) bool {
	return !m.law.known || m.law.fits(m.pop3[p].Size, m.imap[i].Size)
}

// judgeHeaders decides by headers what they can decide.
func (m *UIDLMatcher) judgeHeaders() {
	m.learn()
	for _, c := range classes(m, m.byHeader) {
		if m.evidenceP[c.pop3[0]].header.tells() {
			m.pairFitting(c, UIDLByHeader)
		}
	}
	if !m.law.known {
		return // then a header that differs in part needs its body
	}
	for _, c := range classes(m, m.byKey) {
		if len(c.pop3) == 1 && len(c.imap) == 1 {
			m.pairFitting(c, UIDLByKey)
		}
	}
}

// pairFitting pairs the messages of a class of which each fits one message of
// the other side only.
func (m *UIDLMatcher) pairFitting(c *class, b UIDLBasis) {
	if !m.law.known && len(c.pop3)+len(c.imap) > 2 {
		return // sizes do not tell them apart
	}
	if (!m.law.known || m.law.tol > 0) && !m.evidenceP[c.pop3[0]].header.delivered {
		return // they may be two versions of a draft
	}
	if len(c.pop3)*len(c.imap) > maxClass*maxClass {
		return // so many of a kind are not told apart by size
	}
	var pairs []indexPair
	timesI := map[int]int{}
	for _, p := range c.pop3 {
		fitting := -1
		n := 0
		for _, i := range c.imap {
			if m.fits(p, i) {
				fitting = i
				n++
				timesI[i]++
			}
		}
		if n == 1 {
			pairs = append(pairs, indexPair{p, fitting})
		}
	}
	for _, pair := range pairs {
		if timesI[pair.i] == 1 {
			m.pair(pair.p, pair.i, b)
		}
	}
}

// maxClass bounds the work on messages that headers do not tell apart.
const maxClass = 1000

// learn finds out, from messages whose keys are unique, in which fields the two
// protocols' headers differ, and how sizes do if that is not known.
func (m *UIDLMatcher) learn() {
	type place struct{ p, i, nP, nI int }
	keys := map[Key]*place{}
	at := func(e *evidence) *place {
		if e.header == nil || !e.header.hasID {
			return nil
		}
		if keys[e.header.key] == nil {
			keys[e.header.key] = &place{}
		}
		return keys[e.header.key]
	}
	for p := range m.evidenceP {
		if k := at(&m.evidenceP[p]); k != nil {
			k.p, k.nP = p, k.nP+1
		}
	}
	for i := range m.evidenceI {
		if k := at(&m.evidenceI[i]); k != nil {
			k.i, k.nI = i, k.nI+1
		}
	}
	var headers []headerPair
	var deltas, undelivered []int64
	for _, k := range keys {
		if k.nP != 1 || k.nI != 1 {
			continue
		}
		headers = append(headers, headerPair{m.evidenceP[k.p].header, m.evidenceI[k.i].header})
		p, i := m.pop3[k.p].Size, m.imap[k.i].Size
		switch {
		case p <= 0 || i <= 0:
		case m.evidenceP[k.p].header.delivered:
			deltas = append(deltas, i-p)
		default:
			undelivered = append(undelivered, i-p)
		}
	}
	if len(deltas) == 0 {
		deltas = undelivered
	}
	m.skip = learnSkip(headers)
	if !m.law.known {
		m.law = learnLaw(deltas)
		return
	}
	// Runs are of messages that follow the law; some may be a few octets off.
	var off []int64
	for _, d := range deltas {
		if d := abs(d - m.law.delta); d > m.law.tol && d <= maxTolerance {
			off = append(off, d)
		}
	}
	if len(off) >= 3 {
		m.law.tol = slices.Max(off)
	}
}

// learnLaw finds the law that nine in ten of the differences follow, if there
// are enough to learn from.
func learnLaw(deltas []int64) sizeLaw {
	if len(deltas) < enoughExplained {
		return sizeLaw{}
	}
	l := sizeLaw{known: true, delta: median(deltas)}
	for ; l.tol <= maxTolerance; l.tol++ {
		n := 0
		for _, d := range deltas {
			if abs(d-l.delta) <= l.tol {
				n++
			}
		}
		if n*10 >= 9*len(deltas) {
			return l
		}
	}
	return sizeLaw{}
}

// balanced reports whether the class has as many messages on each side, whose
// headers and sizes say that they are copies of one another: then it is enough
// that IMAP's are.
func (m *UIDLMatcher) balanced(c *class) bool {
	h := m.evidenceP[c.pop3[0]].header
	if !m.law.known || len(c.pop3) != len(c.imap) || len(c.pop3) < 2 || h == nil || !h.tells() {
		return false
	}
	for n, p := range c.pop3 {
		if !m.fits(p, c.imap[0]) || !m.fits(c.pop3[0], c.imap[n]) {
			return false
		}
	}
	return true
}

// askBodies asks for the bodies of what headers could not decide.
func (m *UIDLMatcher) askBodies() {
	for _, c := range m.doubtful() {
		if len(c.pop3) == 0 || len(c.imap) == 0 {
			continue
		}
		if m.balanced(c) {
			for _, i := range c.imap {
				m.askI(IMAPBody, i)
			}
			continue
		}
		m.askBodiesOf(c)
	}
}

// doubtful returns what headers leave open: the messages with one header, those
// with one key, and those without a header that sizes allow to be one.
func (m *UIDLMatcher) doubtful() []*class {
	out := classes(m, m.byHeader)
	known := map[int]bool{}
	for _, c := range out {
		for _, p := range c.pop3 {
			known[p] = true
		}
	}
	for _, c := range classes(m, m.byKey) {
		c.pop3 = slices.DeleteFunc(c.pop3, func(p int) bool { return known[p] })
		if len(c.pop3) > 0 {
			out = append(out, c)
		}
	}
	pop3, imap := m.residue()
	noP := slices.DeleteFunc(slices.Clone(pop3), func(p int) bool { return m.evidenceP[p].header != nil })
	noI := slices.DeleteFunc(slices.Clone(imap), func(i int) bool { return m.evidenceI[i].header != nil })
	return append(out, m.ofOneSize(noP, imap), m.ofOneSize(pop3, noI))
}

// ofOneSize returns the messages of which the other side has one that could be
// the same by size.
func (m *UIDLMatcher) ofOneSize(pop3, imap []int) *class {
	if !m.law.known || len(pop3) == 0 || len(imap) == 0 {
		return &class{pop3, imap}
	}
	sizesP, sizesI := make([]int64, len(pop3)), make([]int64, len(imap))
	for n, p := range pop3 {
		sizesP[n] = m.pop3[p].Size + m.law.delta
	}
	for n, i := range imap {
		sizesI[n] = m.imap[i].Size
	}
	nearP, nearI := sizesNear(sizesP, m.law.tol), sizesNear(sizesI, m.law.tol)
	return &class{
		slices.DeleteFunc(slices.Clone(pop3), func(p int) bool { return !nearI(m.pop3[p].Size + m.law.delta) }),
		slices.DeleteFunc(slices.Clone(imap), func(i int) bool { return !nearP(m.imap[i].Size) }),
	}
}

// sizesNear returns what tells whether one of the sizes is near another, and
// sorts them.
func sizesNear(sizes []int64, tol int64) func(size int64) bool {
	slices.Sort(sizes)
	return func(size int64) bool {
		at, _ := slices.BinarySearch(sizes, size-tol)
		return at < len(sizes) && sizes[at] <= size+tol
	}
}

// askBodiesOf asks for the bodies of a class.
func (m *UIDLMatcher) askBodiesOf(c *class) {
	asked := false
	for _, p := range c.pop3 {
		if m.cfg.NoRETR && m.evidenceP[p].bodyState == unknown {
			m.reason[p] = NoEvidence
			continue
		}
		m.askP(POP3Body, p)
		asked = true
	}
	if asked {
		for _, i := range c.imap {
			m.askI(IMAPBody, i)
		}
	}
}

// judgeTwins pairs the balanced classes whose messages are the same on IMAP,
// and asks for the POP3 bodies of the others.
func (m *UIDLMatcher) judgeTwins() {
	m.falling = m.backwards()
	for _, c := range classes(m, m.byHeader) {
		if !m.balanced(c) {
			continue
		}
		if m.sameText(c.imap) {
			m.pairInOrder(c, UIDLByTwins)
			continue
		}
		m.askBodiesOf(c)
	}
}

// sameText reports whether the IMAP messages are known to have one text.
func (m *UIDLMatcher) sameText(imap []int) bool {
	for _, i := range imap {
		e := &m.evidenceI[i]
		if e.bodyState != given || e.body.Content != m.evidenceI[imap[0]].body.Content {
			return false
		}
	}
	return true
}

// judgeBodies decides by bodies, and says why the rest is left over.
func (m *UIDLMatcher) judgeBodies() {
	type headerAndText struct{ header, text [32]byte }
	type keyAndText struct {
		key  keyName
		text [32]byte
	}
	hasText := func(e *evidence) bool { return e.bodyState == given && e.body.Content != emptyContent }
	for _, c := range classes(m, func(e *evidence) (headerAndText, bool) {
		h, ok := m.byHeader(e)
		return headerAndText{h, e.body.Content}, ok && e.bodyState == given && (hasText(e) || e.header.tells())
	}) {
		m.pairTwins(c)
	}
	for _, c := range classes(m, func(e *evidence) ([32]byte, bool) { return e.body.Exact, hasText(e) }) {
		m.pairTwins(c)
	}
	for _, c := range classes(m, func(e *evidence) (keyAndText, bool) {
		k, ok := m.byKey(e)
		return keyAndText{k, e.body.Content}, ok && hasText(e)
	}) {
		m.pairUnique(c)
	}
	// What is left has no header on one side: then the text must do.
	for _, c := range classes(m, func(e *evidence) ([32]byte, bool) { return e.body.Content, hasText(e) }) {
		m.pairUnique(c)
	}
	pop3, imap := m.residue()
	for _, p := range pop3 {
		e := &m.evidenceP[p]
		if m.reason[p] == 0 && len(imap) > 0 && (e.headerState == unavailable || e.bodyState == unavailable) {
			m.reason[p] = NoEvidence
		}
	}
}

// pairTwins pairs messages that are the same in header and text.
func (m *UIDLMatcher) pairTwins(c *class) {
	if len(c.pop3) == 1 && len(c.imap) == 1 {
		m.pair(c.pop3[0], c.imap[0], UIDLByBody)
		return
	}
	m.pairInOrder(c, UIDLByTwins)
}

// pairUnique pairs two messages that nothing else can be.
func (m *UIDLMatcher) pairUnique(c *class) {
	if len(c.pop3) > 1 || len(c.imap) > 1 {
		for _, p := range c.pop3 {
			m.reason[p] = Ambiguous
		}
		return
	}
	p, i := c.pop3[0], c.imap[0]
	if m.headersContradict(p, i) {
		return
	}
	m.pair(p, i, UIDLByBody)
}

// headersContradict reports whether both headers are known and are of two
// messages: then a text that they share, such as a form letter's, says nothing.
func (m *UIDLMatcher) headersContradict(p, i int) bool {
	return compareHeaders(m.evidenceP[p].header, m.evidenceI[i].header) == different
}

// pairInOrder pairs messages that nothing tells apart in the order in which the
// listings have them.
func (m *UIDLMatcher) pairInOrder(c *class, b UIDLBasis) {
	pop3 := slices.Clone(c.pop3)
	if m.falling {
		slices.Reverse(pop3)
	}
	for n := range min(len(pop3), len(c.imap)) {
		m.pair(pop3[n], c.imap[n], b)
	}
}

// backwards reports whether POP3 lists the messages in falling order of their
// UIDs, as far as pairs tell.
func (m *UIDLMatcher) backwards() bool {
	last, rising := -1, 0
	for p, i := range m.pairP {
		if i < 0 || m.basis[p] == UIDLByTwins {
			continue
		}
		if last >= 0 && i > last {
			rising++
		} else if last >= 0 {
			rising--
		}
		last = i
	}
	return rising < 0
}
