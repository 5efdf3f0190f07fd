package uidmap

// This file knows how servers make a POP3 UIDL of what IMAP tells of the same
// message, so that the UIDLs of a whole mailbox can be had without reading any
// of it.

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/mailhaul/mailhaul"
)

// IMAPMessage is one message as an IMAP listing shows it to a [UIDLMatcher].
// Only the UID is required; every other field that is known can save reading.
type IMAPMessage struct {
	UID  mailhaul.UID
	Size int64 // RFC822.SIZE; 0 where it is not known

	GmailID   uint64 // X-GM-MSGID
	GUID      string // Dovecot's X-GUID, which is the file's name on a Maildir
	MessageID string // the Message-ID field, with its angle brackets
}

// Formula is a way to make a message's UIDL of what IMAP tells of it. The zero
// Formula is none and makes no UIDL. Formulas can be compared, and are kept by
// their names: [FormulaNamed] has the one of a name.
type Formula struct{ kind formulaKind }

// formulaKind is an index into formulaTable.
type formulaKind uint8

// The formulas, the more common ones first: where two give the same UIDLs for
// a whole listing, the first is taken.
const (
	noFormula formulaKind = iota
	dovecotHex
	cyrusDot
	uidOnly
	courierDash
	uwHex
	dovecotHexUpper
	uwHexUpper
	gmailID
	guidItself
	guidMD5
	messageIDOrMD5
	bareMessageIDOrMD5
	messageIDMD5
	bareMessageIDMD5
	formulaCount
)

// formulaTable has the name of each formula, what makes the UIDL, and what
// takes it apart again where the UID can be read from it.
var formulaTable = [formulaCount]struct {
	name  string
	make  func(m IMAPMessage, v mailhaul.UIDValidity) string
	parse func(uidl string) (uint64, uint64, bool)
}{
	noFormula: {name: "none"},
	dovecotHex: {
		name: "uid+uidvalidity hex",
		make: func(m IMAPMessage, v mailhaul.UIDValidity) string {
			return fmt.Sprintf("%08x%08x", uint32(m.UID), uint32(v))
		},
		parse: func(s string) (uint64, uint64, bool) { return cutHex(s, lowerHex) },
	},
	cyrusDot: {
		name: "uidvalidity.uid",
		make: func(m IMAPMessage, v mailhaul.UIDValidity) string {
			return decimal(uint32(v)) + "." + decimal(uint32(m.UID))
		},
		parse: func(s string) (uint64, uint64, bool) { return swap(cutDecimals(s, ".")) },
	},
	uidOnly: {
		name: "uid",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string { return decimal(uint32(m.UID)) },
		parse: func(s string) (uint64, uint64, bool) {
			u, ok := parseDecimal(s)
			return u, 0, ok
		},
	},
	courierDash: {
		name: "uidvalidity-uid",
		make: func(m IMAPMessage, v mailhaul.UIDValidity) string {
			return decimal(uint32(v)) + "-" + decimal(uint32(m.UID))
		},
		parse: func(s string) (uint64, uint64, bool) { return swap(cutDecimals(s, "-")) },
	},
	uwHex: {
		name: "uidvalidity+uid hex",
		make: func(m IMAPMessage, v mailhaul.UIDValidity) string {
			return fmt.Sprintf("%08x%08x", uint32(v), uint32(m.UID))
		},
		parse: func(s string) (uint64, uint64, bool) { return swap(cutHex(s, lowerHex)) },
	},
	dovecotHexUpper: {
		name: "uid+uidvalidity HEX",
		make: func(m IMAPMessage, v mailhaul.UIDValidity) string {
			return fmt.Sprintf("%08X%08X", uint32(m.UID), uint32(v))
		},
		parse: func(s string) (uint64, uint64, bool) { return cutHex(s, upperHex) },
	},
	uwHexUpper: {
		name: "uidvalidity+uid HEX",
		make: func(m IMAPMessage, v mailhaul.UIDValidity) string {
			return fmt.Sprintf("%08X%08X", uint32(v), uint32(m.UID))
		},
		parse: func(s string) (uint64, uint64, bool) { return swap(cutHex(s, upperHex)) },
	},
	gmailID: {
		name: "GmailId",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string {
			if m.GmailID == 0 {
				return ""
			}
			return "GmailId" + strconv.FormatUint(m.GmailID, 16)
		},
	},
	guidItself: {
		name: "guid",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string { return m.GUID },
	},
	guidMD5: {
		name: "md5 of guid",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string { return md5Hex(m.GUID) },
	},
	messageIDOrMD5: {
		name: "Message-ID",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string { return itselfOrMD5(m.MessageID) },
	},
	bareMessageIDOrMD5: {
		name: "Message-ID without brackets",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string { return itselfOrMD5(withoutBrackets(m.MessageID)) },
	},
	messageIDMD5: {
		name: "md5 of Message-ID",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string { return md5Hex(m.MessageID) },
	},
	bareMessageIDMD5: {
		name: "md5 of Message-ID without brackets",
		make: func(m IMAPMessage, _ mailhaul.UIDValidity) string { return md5Hex(withoutBrackets(m.MessageID)) },
	},
}

// Formulas returns every formula that is known:
//
//	uid+uidvalidity hex   Dovecot's default (%08Xu%08Xv); Cyrus, uidl_format: dovecot
//	uidvalidity.uid       Cyrus since 2.1.4; Dovecot with %v.%u
//	uid                   Cyrus before that and uidl_format: uidonly; Dovecot with %u
//	uidvalidity-uid       Critical Path; Cyrus, uidl_format: courier
//	uidvalidity+uid hex   UW ipop3d; Dovecot with %08Xv%08Xu
//	… HEX                 the same two in capital letters
//	GmailId               Gmail: the X-GM-MSGID in hexadecimal behind "GmailId"
//	guid, md5 of guid     Dovecot with %g, or with %f or %Mf on a Maildir
//	Message-ID            OpenWave: the field where it can be a UIDL, else its MD5
//	md5 of Message-ID     OpenWave
//
// Courier's own UIDn-v is no formula, since its n is counted by the POP3 server
// alone; a [UIDLMatcher] makes use of it all the same ([UIDLByCounter]).
func Formulas() []Formula {
	out := make([]Formula, 0, formulaCount-1)
	for k := noFormula + 1; k < formulaCount; k++ {
		out = append(out, Formula{k})
	}
	return out
}

// FormulaNamed returns the formula with the given name, as [Formula.String]
// returns it.
func FormulaNamed(name string) (Formula, bool) {
	for _, f := range Formulas() {
		if f.String() == name {
			return f, true
		}
	}
	return Formula{}, false
}

// String returns the formula's name, "none" for the zero Formula.
func (f Formula) String() string { return formulaTable[f.kind].name }

// IsZero reports whether f is no formula at all.
func (f Formula) IsZero() bool { return f.kind == noFormula }

// UIDL returns the UIDL that the formula gives the message. It reports false
// where what the formula is made of is not known, or cannot be a UIDL.
func (f Formula) UIDL(m IMAPMessage, v mailhaul.UIDValidity) (mailhaul.UIDL, bool) {
	if f.kind == noFormula || f.hasUIDValidity() && v == 0 || f.hasUID() && m.UID == 0 {
		return "", false
	}
	s := formulaTable[f.kind].make(m, v)
	return mailhaul.UIDL(s), validUIDL(s)
}

// Parse takes a UIDL of the formula apart. Of a formula without a UIDVALIDITY
// that is 0. It reports false where the UIDL is not one that the formula could
// have made, and always for a formula that the UID cannot be read from.
func (f Formula) Parse(uidl mailhaul.UIDL) (mailhaul.UID, mailhaul.UIDValidity, bool) {
	parse := formulaTable[f.kind].parse
	if parse == nil {
		return 0, 0, false
	}
	u, v, ok := parse(string(uidl))
	if !ok || u == 0 || u > maxUint32 || v > maxUint32 || f.hasUIDValidity() && v == 0 {
		return 0, 0, false
	}
	return mailhaul.UID(u), mailhaul.UIDValidity(v), true
}

// hasUID reports whether the formula is made of the UID.
func (f Formula) hasUID() bool { return formulaTable[f.kind].parse != nil }

// hasUIDValidity reports whether the formula is made of the UIDVALIDITY.
func (f Formula) hasUIDValidity() bool { return f.hasUID() && f.kind != uidOnly }

const (
	maxUint32 = 1<<32 - 1
	maxUIDL   = 70 // RFC 1939 section 7

	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)

// validUIDL reports whether s can be a UIDL (RFC 1939 section 7).
func validUIDL(s string) bool {
	if s == "" || len(s) > maxUIDL {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// parseDecimal reads a number as decimal writes it: no sign, no leading zero.
func parseDecimal(s string) (uint64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// cutDecimals reads two numbers with a separator between them.
func cutDecimals(s, sep string) (a, b uint64, ok bool) {
	left, right, found := strings.Cut(s, sep)
	a, okA := parseDecimal(left)
	b, okB := parseDecimal(right)
	return a, b, found && okA && okB
}

// cutHex reads two numbers of eight hexadecimal digits each.
func cutHex(s, digits string) (a, b uint64, ok bool) {
	if len(s) != 16 || strings.Trim(s, digits) != "" {
		return 0, 0, false
	}
	a, errA := strconv.ParseUint(s[:8], 16, 32)
	b, errB := strconv.ParseUint(s[8:], 16, 32)
	return a, b, errA == nil && errB == nil
}

func swap(a, b uint64, ok bool) (uint64, uint64, bool) { return b, a, ok }

// md5Hex is no matter of security here: it is what these servers do.
func md5Hex(s string) string {
	if s == "" {
		return ""
	}
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func itselfOrMD5(s string) string {
	if validUIDL(s) {
		return s
	}
	return md5Hex(s)
}

func withoutBrackets(id string) string {
	return strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
}

// courierCounter returns the n of a UIDL that a server's POP3 side counts by
// itself: Courier's UIDn-v and UIDn, or a bare number.
func courierCounter(uidl mailhaul.UIDL) (n uint64, ok bool) {
	s := strings.TrimPrefix(string(uidl), "UID")
	if left, right, found := strings.Cut(s, "-"); found && len(s) < len(uidl) {
		if _, ok := parseDecimal(right); !ok {
			return 0, false
		}
		s = left
	}
	n, ok = parseDecimal(s)
	return n, ok && n <= 1<<53
}
