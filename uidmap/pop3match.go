package uidmap

// This file is what a caller sees of the matcher that finds the POP3 UIDL of
// each IMAP message.

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/mailhaul/mailhaul"
)

// UIDLMatcher finds which message of a POP3 listing is which of an IMAP
// mailbox, so that the UIDLs of an account that is reachable over both can be
// kept. It does no I/O: it says what it needs to know, and is told:
//
//	m, err := uidmap.NewUIDLMatcher(pop3, imap, uidmap.UIDLConfig{UIDValidity: v})
//	for !m.Done() {
//		for _, r := range m.Need() {
//			switch r.Evidence {
//			case uidmap.POP3Header: // TOP n 0
//				m.Header(r, header)
//			…
//			}
//		}
//	}
//	result := m.Result()
//
// Each round of requests can be pipelined. There are five at most, and one more
// for each formula that has to be refuted; two are usual. Requests carry the
// UIDL as well as the number, as numbers do not outlive a session. Where a
// POP3 server has no TOP, RETR answers a request for a header.
//
// # How it decides
//
// First it looks for a formula ([Recognise]), which costs nothing. Else the
// listings are aligned by sizes, up to a constant and a few octets that it
// learns. An alignment counts where it holds for so many neighbours that
// chance would not have made it once in 2^40, and there only for messages that
// none of the 24 before and behind could be mistaken for, and whose size is not
// that of one message in a thousand. It is then proved by the headers of a few
// of them, and given up if one contradicts. This works for listings in either
// order, and for blocks that moved. A counter in the UIDLs that runs in step
// with the UIDs (Courier's UIDn-v) is proof without headers, and also tells
// messages of the same size apart.
//
// Whatever is left is read: headers, without the fields in which this server's
// protocols turn out to differ, then Message-ID, Date, Subject and From with
// the size, then the bodies. Only what is unique on both sides is paired.
// Messages that are the same to the octet are paired in order.
//
// Of 10,000 messages with 5 % twins and 10 % of a few common sizes, about 15 %
// are asked for by TOP if the listing is in order or blocks of it moved, and all
// if it has no order; none with a formula or a counter.
//
// # What it promises
//
// Each pair has a basis, and by that a [Confidence]; what stays undecided is
// listed as unmatched with the reason, and nothing that a server says makes the
// matcher fail. Each message is in one pair at most.
//
// What it cannot see: in a mailbox of more than 50 messages, one that was
// replaced on one side only, in its very place, by another one of its size (up
// to the tolerance) is taken for it ([UIDLBySequence]) unless it happens to be
// among those that are read, or Thorough is asked for.
//
// A UIDLMatcher is for one goroutine.
type UIDLMatcher struct {
	cfg  UIDLConfig
	pop3 []POP3Message // by number
	imap []IMAPMessage // by UID

	indexP map[int]int
	indexI map[mailhaul.UID]int

	phase    phase
	need     []Request
	judging  Recognition
	wrong    []Formula
	formula  Formula
	law      sizeLaw
	runs     []run
	atP, atI []int // the indices that positions of the runs stand for
	names    fieldNames
	skip     map[uint32]bool
	widened  bool // headers were asked for whatever the size
	falling  bool // POP3 lists the newest first

	evidenceP, evidenceI []evidence
	pairP, pairI         []int // the partner's index, or -1
	basis                []UIDLBasis
	reason               []UnmatchedReason
	asked                map[Request]bool
	rounds               int
}

// UIDLConfig is what a UIDLMatcher is told beforehand. The zero value works.
type UIDLConfig struct {
	// UIDValidity is that of the IMAP mailbox; many formulas need it. 0 where
	// it is not known.
	UIDValidity mailhaul.UIDValidity

	// Thorough asks for the header of every message that neither a formula nor a
	// counter explains: no pair is by sequence then.
	Thorough bool

	// NoRETR keeps the matcher from asking for POP3 bodies, since RETR marks
	// mail as seen on some servers. What only they can decide is unmatched.
	NoRETR bool
}

// Evidence is what a Request asks for.
type Evidence uint8

// The evidence. A header is all of it, as TOP n 0 and BODY.PEEK[HEADER] return
// it, with or without the empty line; a body is the Digest of the whole
// message, as RETR and BODY.PEEK[] return it.
const (
	_ Evidence = iota
	POP3Header
	IMAPHeader
	POP3Body
	IMAPBody
)

// Request asks for one piece of evidence: of a POP3 message, which Number and
// UIDL name, or of an IMAP message, which UID names.
type Request struct {
	Evidence Evidence
	Number   int
	UIDL     mailhaul.UIDL
	UID      mailhaul.UID
}

// UIDLBasis is why a POP3 message and an IMAP message were taken for one.
type UIDLBasis uint8

// The bases.
const (
	_ UIDLBasis = iota
	// UIDLByFormula: the server makes its UIDLs by a formula, which was proved
	// on the listing.
	UIDLByFormula
	// UIDLByCounter: a number in the UIDLs runs in step with the UIDs, as sizes
	// prove.
	UIDLByCounter
	// UIDLBySequence: it and its neighbours have the same sizes in the same
	// order on both sides, and headers of some of them were compared.
	UIDLBySequence
	// UIDLByHeader: the headers are the same, and no other message has them,
	// or none that has them has the size.
	UIDLByHeader
	// UIDLByKey: Message-ID, Date, Subject and From are the same, no other
	// message has them, and the sizes agree; other fields differ.
	UIDLByKey
	// UIDLByBody: the text behind the header is the same, and no other message
	// has it with this header.
	UIDLByBody
	// UIDLByTwins: several messages are the same in header and text; which is
	// which was decided by their order.
	UIDLByTwins
)

var uidlBasisNames = [...]string{
	UIDLByFormula: "formula", UIDLByCounter: "counter", UIDLBySequence: "sequence of sizes",
	UIDLByHeader: "header", UIDLByKey: "Message-ID, Date, Subject, From and size",
	UIDLByBody: "body", UIDLByTwins: "twins in order",
}

// String returns what the two have in common.
func (b UIDLBasis) String() string {
	if int(b) < len(uidlBasisNames) && b > 0 {
		return uidlBasisNames[b]
	}
	return "unknown"
}

// Confidence is how far a pair can be relied upon.
type Confidence uint8

// The degrees of confidence.
const (
	_ Confidence = iota
	// Interchangeable: the messages are copies of one another, and so are
	// others; whether each has the UIDL that it had cannot be known, nor would
	// a client see a difference in what it downloaded.
	Interchangeable
	// Inferred: sound by everything that was looked at, but these two messages
	// themselves were not read, or not in full.
	Inferred
	// Proved: by a proved formula or counter, or by what was read of these two.
	Proved
)

// String returns the degree in a word.
func (c Confidence) String() string {
	switch c {
	case Interchangeable:
		return "interchangeable"
	case Inferred:
		return "inferred"
	case Proved:
		return "proved"
	}
	return "unknown"
}

// Confidence returns how far a pair with the basis can be relied upon.
func (b UIDLBasis) Confidence() Confidence {
	switch b {
	case UIDLByFormula, UIDLByCounter, UIDLByHeader, UIDLByBody:
		return Proved
	case UIDLBySequence, UIDLByKey:
		return Inferred
	case UIDLByTwins:
		return Interchangeable
	}
	return 0
}

// UIDLMatch is one message as POP3 and as IMAP have it. UIDL is empty where the
// POP3 server gave none.
type UIDLMatch struct {
	Number int
	UIDL   mailhaul.UIDL
	UID    mailhaul.UID
	Basis  UIDLBasis
}

// UnmatchedReason is why a POP3 message is in no pair.
type UnmatchedReason uint8

// The reasons.
const (
	_ UnmatchedReason = iota
	// NoCounterpart: no IMAP message that is not in another pair is like it.
	NoCounterpart
	// FormulaSaysGone: by the server's formula or counter its UIDL is that of a
	// UID that IMAP does not list.
	FormulaSaysGone
	// Ambiguous: several messages are too much like it.
	Ambiguous
	// NoEvidence: what would decide could not be read, or must not be.
	NoEvidence
)

// String returns the reason as a phrase.
func (r UnmatchedReason) String() string {
	switch r {
	case NoCounterpart:
		return "no IMAP message is like it"
	case FormulaSaysGone:
		return "its UIDL is that of a UID which IMAP does not list"
	case Ambiguous:
		return "several messages are too much like it"
	case NoEvidence:
		return "what would decide could not be read"
	}
	return "unknown"
}

// UnmatchedUIDL is a POP3 message in no pair.
type UnmatchedUIDL struct {
	Number int
	UIDL   mailhaul.UIDL
	Reason UnmatchedReason
}

// UIDLResult is what a UIDLMatcher found.
type UIDLResult struct {
	Pairs         []UIDLMatch      // in the order of the POP3 numbers
	UnmatchedPOP3 []UnmatchedUIDL  // in the order of the POP3 numbers
	UnmatchedIMAP []mailhaul.UID   // ascending
	Formula       Formula          // the proved one, or none
	SizesKnown    bool             // whether sizes follow a law: IMAP's is POP3's
	SizeDelta     int64            // plus SizeDelta,
	SizeTolerance int64            // give or take SizeTolerance
	SkippedFields []string         // header fields that differ by protocol here
	Asked         map[Evidence]int // how many requests there were
	Rounds        int              // and in how many rounds
}

// NewUIDLMatcher returns a matcher of two listings of one mailbox. They may
// come in any order, and are not changed; POP3 messages are taken to follow one
// another by their numbers. It is an error if two messages have one number or
// one UID, or none: such listings are not of a mailbox.
func NewUIDLMatcher(pop3 []POP3Message, imap []IMAPMessage, cfg UIDLConfig) (*UIDLMatcher, error) {
	m := &UIDLMatcher{
		cfg:       cfg,
		pop3:      slices.Clone(pop3),
		imap:      slices.Clone(imap),
		indexP:    make(map[int]int, len(pop3)),
		indexI:    make(map[mailhaul.UID]int, len(imap)),
		evidenceP: make([]evidence, len(pop3)),
		evidenceI: make([]evidence, len(imap)),
		pairP:     slices.Repeat([]int{-1}, len(pop3)),
		pairI:     slices.Repeat([]int{-1}, len(imap)),
		basis:     make([]UIDLBasis, len(pop3)),
		reason:    make([]UnmatchedReason, len(pop3)),
		asked:     map[Request]bool{},
	}
	slices.SortFunc(m.pop3, func(a, b POP3Message) int { return cmp.Compare(a.Number, b.Number) })
	slices.SortFunc(m.imap, func(a, b IMAPMessage) int { return cmp.Compare(a.UID, b.UID) })
	var errs []error
	for n, p := range m.pop3 {
		if p.Number <= 0 {
			errs = append(errs, fmt.Errorf("POP3 listing: message number %d", p.Number))
		} else if _, twice := m.indexP[p.Number]; twice {
			errs = append(errs, fmt.Errorf("POP3 listing: message %d twice", p.Number))
		}
		m.indexP[p.Number] = n
	}
	for n, i := range m.imap {
		if i.UID == 0 {
			errs = append(errs, errors.New("IMAP listing: message without UID"))
		} else if _, twice := m.indexI[i.UID]; twice {
			errs = append(errs, fmt.Errorf("IMAP listing: UID %d twice", i.UID))
		}
		m.indexI[i.UID] = n
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs[:min(len(errs), 10)]...)
	}
	return m, nil
}

// Need returns the requests that must be answered for the matcher to go on, in
// the order of the listings; none when it is done. Until all are answered, it
// returns those that are not.
func (m *UIDLMatcher) Need() []Request {
	m.advance()
	return slices.Clone(m.need)
}

// Done reports whether nothing more is needed.
func (m *UIDLMatcher) Done() bool {
	m.advance()
	return m.phase == phaseDone
}

// Header answers a request for a header. The octets are not kept. Evidence
// that is at hand anyway may be given unasked, as long as the matcher has not
// asked for the same before.
func (m *UIDLMatcher) Header(r Request, header []byte) {
	if e := m.evidenceOf(r); e != nil && e.headerState == unknown && (r.Evidence == POP3Header || r.Evidence == IMAPHeader) {
		e.header, e.headerState = m.names.digest(header), given
	}
}

// Body answers a request for a body.
func (m *UIDLMatcher) Body(r Request, d Digest) {
	if e := m.evidenceOf(r); e != nil && e.bodyState == unknown && (r.Evidence == POP3Body || r.Evidence == IMAPBody) {
		e.body, e.bodyState = d, given
	}
}

// Unavailable answers a request for something that cannot be had: the message
// is gone, or the server does not hand it out. The matcher does without.
func (m *UIDLMatcher) Unavailable(r Request) {
	e := m.evidenceOf(r)
	if e == nil {
		return
	}
	switch r.Evidence {
	case POP3Header, IMAPHeader:
		if e.headerState == unknown {
			e.headerState = unavailable
		}
	case POP3Body, IMAPBody:
		if e.bodyState == unknown {
			e.bodyState = unavailable
		}
	}
}

// Result returns what was found so far; it is final when the matcher is done.
func (m *UIDLMatcher) Result() UIDLResult {
	m.advance()
	res := UIDLResult{
		Formula: m.formula, Rounds: m.rounds, Asked: map[Evidence]int{},
		SizesKnown: m.law.known, SizeDelta: m.law.delta, SizeTolerance: m.law.tol,
	}
	for n, p := range m.pop3 {
		if i := m.pairP[n]; i >= 0 {
			res.Pairs = append(res.Pairs, UIDLMatch{p.Number, p.UIDL, m.imap[i].UID, m.basis[n]})
			continue
		}
		reason := m.reason[n]
		if reason == 0 {
			reason = NoCounterpart
		}
		res.UnmatchedPOP3 = append(res.UnmatchedPOP3, UnmatchedUIDL{p.Number, p.UIDL, reason})
	}
	for n, i := range m.imap {
		if m.pairI[n] < 0 {
			res.UnmatchedIMAP = append(res.UnmatchedIMAP, i.UID)
		}
	}
	for name := range m.skip {
		res.SkippedFields = append(res.SkippedFields, m.names.names[name])
	}
	slices.Sort(res.SkippedFields)
	for r := range m.asked {
		res.Asked[r.Evidence]++
	}
	return res
}
