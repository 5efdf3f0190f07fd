package uidmap_test

import (
	"fmt"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// An account over both protocols. The POP3 server's UIDLs follow no formula,
// so that headers decide: the mailbox is small.
func ExampleUIDLMatcher() {
	mail := func(n int) string {
		return fmt.Sprintf("Received: from mx\r\nMessage-ID: <%d@example.org>\r\nSubject: Mail %d\r\n\r\n", n, n)
	}
	pop3Server := map[int]string{1: mail(30), 2: mail(10), 3: mail(20)}
	imapServer := map[uint32]string{501: mail(10), 507: mail(20), 519: mail(30), 520: mail(40)}

	m, err := uidmap.NewUIDLMatcher(
		[]uidmap.POP3Message{{Number: 1, UIDL: "zeta", Size: 2200}, {Number: 2, UIDL: "alpha", Size: 4100}, {Number: 3, UIDL: "eta", Size: 4100}},
		[]uidmap.IMAPMessage{{UID: 501, Size: 4100}, {UID: 507, Size: 4100}, {UID: 519, Size: 2200}, {UID: 520, Size: 4100}},
		uidmap.UIDLConfig{UIDValidity: 1700000000},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	for !m.Done() {
		for _, r := range m.Need() {
			switch r.Evidence {
			case uidmap.POP3Header:
				m.Header(r, []byte(pop3Server[r.Number])) // TOP n 0
			case uidmap.IMAPHeader:
				m.Header(r, []byte(imapServer[uint32(r.UID)])) // UID FETCH n BODY.PEEK[HEADER]
			default:
				m.Unavailable(r)
			}
		}
	}
	result := m.Result()
	for _, p := range result.Pairs {
		fmt.Printf("%s is UID %d: %s by %s\n", p.UIDL, p.UID, p.Basis.Confidence(), p.Basis)
	}
	fmt.Println("over IMAP only:", result.UnmatchedIMAP)
	// Output:
	// zeta is UID 519: proved by header
	// alpha is UID 501: proved by header
	// eta is UID 507: proved by header
	// over IMAP only: [520]
}

// A Dovecot with its default pop3_uidl_format: nothing has to be read.
func ExampleRecognise() {
	var pop3 []uidmap.POP3Message
	var imap []uidmap.IMAPMessage
	for n, uidl := range strings.Fields("0000000165536f00 0000000265536f00 0000000565536f00") {
		pop3 = append(pop3, uidmap.POP3Message{Number: n + 1, UIDL: mailhaul.UIDL(uidl), Size: int64(1000 + n)})
	}
	for n, uid := range []uint32{1, 2, 5} {
		imap = append(imap, uidmap.IMAPMessage{UID: mailhaul.UID(uid), Size: int64(1000 + n)})
	}
	r := uidmap.Recognise(pop3, imap, 0x65536f00)
	fmt.Println(r.Formula, r.Explained, "explained", len(r.Check), "to check")
	next, _ := r.Formula.UIDL(uidmap.IMAPMessage{UID: 9}, 0x65536f00)
	fmt.Println("UID 9 is", next)
	// Output:
	// uid+uidvalidity hex 3 explained 0 to check
	// UID 9 is 0000000965536f00
}
