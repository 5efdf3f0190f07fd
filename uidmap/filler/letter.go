package filler

// What a filler looks like, and how it is known again.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"github.com/mailhaul/mailhaul"
)

// mark names the mailbox that fillers are for, so that one which a former move
// has left in another mailbox, and which was copied like any mail, is not taken
// for one of these.
func mark(m mailhaul.Mailbox, v mailhaul.UIDValidity) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", v, m.Wire))
	return hex.EncodeToString(sum[:10])
}

// letter is a filler's octets: a valid message (RFC 5322) that says what it is.
// Each has a number of its own, since some servers keep no more than a few
// messages with the same octets in a mailbox.
func letter(mark string, n mailhaul.UID) []byte {
	return fmt.Appendf(nil, "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"+
		"From: mailhaul <filler@mailhaul.invalid>\r\n"+
		"Message-ID: <%s.%d@filler.mailhaul.invalid>\r\n"+
		"Subject: keeps a place, and goes again\r\n\r\n"+
		"%s %d\r\n", mark, n, mark, n)
}

// largest is what no letter exceeds.
const largest = 320

var inHeader = regexp.MustCompile(`(?mi)^Message-ID:\s*<([0-9a-f]{20})\.([0-9]{1,10})@filler\.mailhaul\.invalid>\s*$`)

// numbered returns the number of the filler whose header fields these are.
func numbered(mark string, header []byte) (mailhaul.UID, bool) {
	m := inHeader.FindSubmatch(header)
	if m == nil || string(m[1]) != mark {
		return 0, false
	}
	n, err := strconv.ParseUint(string(m[2]), 10, 32)
	return mailhaul.UID(n), err == nil
}

// isLetter reports whether a body is that of the filler with the number, to the
// last octet.
func isLetter(mark string, n mailhaul.UID, body io.Reader) (bool, error) {
	got, err := io.ReadAll(io.LimitReader(body, largest+1))
	return bytes.Equal(got, letter(mark, n)), err
}

// body is a filler on its way.
type body struct{ octets []byte }

func (b body) Size() int64       { return int64(len(b.octets)) }
func (b body) Reader() io.Reader { return bytes.NewReader(b.octets) }
func (body) Buffered() bool      { return true }
func (body) Release()            {}

// place returns a filler that is to have the UID.
func place(mark string, uid mailhaul.UID) mailhaul.Outgoing {
	return mailhaul.Outgoing{
		Flags: []mailhaul.Flag{mailhaul.FlagDeleted, mailhaul.FlagSeen},
		Body:  body{letter(mark, uid)}, UID: uid,
	}
}
