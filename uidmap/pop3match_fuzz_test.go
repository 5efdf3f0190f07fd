package uidmap

// The matcher on nonsense.

import (
	"testing"

	"github.com/mailhaul/mailhaul"
)

// FuzzUIDLMatcher feeds the matcher whatever headers and sizes: it comes to an
// end, and no message is in two pairs.
func FuzzUIDLMatcher(f *testing.F) {
	f.Add([]byte("Message-ID: <1@x>\r\nReceived: y\r\n\r\n"), []byte{1, 2, 3, 4, 5, 6, 7, 8}, uint8(3))
	f.Add([]byte(": \r\r\n\x00"), []byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, header, sizes []byte, mode uint8) {
		w := &uidlWorld{byNum: map[int]*oneMail{}}
		for k, s := range sizes {
			w.pop3 = append(w.pop3, POP3Message{Number: k + 1, UIDL: mailhaul.UIDL(rune(s%64 + 48)), Size: int64(s)})
			w.imap = append(w.imap, IMAPMessage{UID: mailhaul.UID(k + 1), Size: int64(sizes[len(sizes)-1-k]) + int64(mode%3)})
		}
		m, err := NewUIDLMatcher(w.pop3, w.imap, UIDLConfig{UIDValidity: 1, Thorough: mode&4 != 0, NoRETR: mode&8 != 0})
		if err != nil {
			t.Fatal(err)
		}
		for rounds := 0; !m.Done(); rounds++ {
			if rounds > 20 {
				t.Fatal("no end")
			}
			for _, r := range m.Need() {
				at := (r.Number + int(r.UID)) % (len(header) + 1)
				switch {
				case mode&16 != 0 && at%5 == 0:
					m.Unavailable(r)
				case r.Evidence == POP3Header || r.Evidence == IMAPHeader:
					m.Header(r, header[at:])
				default:
					d := NewDigester()
					d.Write(header[at:])
					m.Body(r, d.Sum())
				}
			}
		}
		res := m.Result()
		usedP, usedI := map[int]bool{}, map[int]bool{}
		for _, p := range res.Pairs {
			if usedP[p.Number] || usedI[int(p.UID)] || p.Basis.Confidence() == 0 {
				t.Fatalf("%+v", res.Pairs)
			}
			usedP[p.Number], usedI[int(p.UID)] = true, true
		}
		if len(usedP)+len(res.UnmatchedPOP3) != len(w.pop3) || len(usedI)+len(res.UnmatchedIMAP) != len(w.imap) {
			t.Fatalf("%+v", res)
		}
	})
}
