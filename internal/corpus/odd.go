// Messages that break software.

package corpus

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
)

// Odd returns messages that are no proper mail, each with its name. A server
// may refuse some of them, and is known to alter those with NULs, bare CR or
// bare LF.
func Odd() []Message {
	const header = "From: a@example.com\r\nTo: b@example.com\r\nSubject: odd\r\nDate: Mon, 3 Feb 2020 10:00:00 +0000\r\nMessage-ID: <odd@example.com>\r\n"
	date := time.Date(2020, 2, 3, 10, 0, 0, 0, time.FixedZone("", 3600))
	var all []Message
	add := func(name string, body func() []byte) {
		all = append(all, Message{Name: name, Date: date.Add(time.Duration(len(all)) * time.Hour), Flags: []mailhaul.Flag{mailhaul.FlagSeen}, body: body})
	}
	text := func(name, body string) { add(name, func() []byte { return []byte(body) }) }

	text("0 bytes", "")
	text("one byte", "x")
	text("only a line end", "\r\n")
	text("no header at all", "\r\njust a body\r\n")
	text("a body where the header should be", "this is no header field\r\nnor is this\r\n")
	text("header only, without the empty line", header)
	text("header only, with the empty line", header+"\r\n")
	text("NULs", header+"\r\na\x00b\x00\x00c\r\n")
	text("NUL in the header", "Subject: a\x00b\r\n\r\nbody\r\n")
	text("bare LF", strings.ReplaceAll(header, "\r\n", "\n")+"\nline one\nline two\n")
	text("bare CR", header+"\r\nline one\rline two\r\r\n")
	text("mixed line ends", header+"\r\none\r\ntwo\nthree\rfour\r\n\n\r")
	text("8-bit header", "Subject: caf\xe9 und Gr\xfc\xdfe\r\nFrom: J\xfcrgen <j@example.com>\r\n\r\nbody\r\n")
	text("UTF-8 header", "Subject: 会議の件\r\nFrom: Jürgen <jürgen@example.com>\r\n\r\nbody\r\n")
	text("all octets", header+"\r\n"+everyOctet())
	text("no CRLF at the end", header+"\r\nbody without an end")
	text("dot lines", header+"\r\n.\r\n..\r\n.x\r\nend\r\n.\r\n")
	text("From line", "From someone@example.com Mon Feb  3 10:00:00 2020\r\n"+header+"\r\nFrom here on\r\n>From there on\r\n")
	text("lines that look like IMAP", header+"\r\na1 DELETE INBOX\r\n* 5 EXPUNGE\r\nw1 OK done\r\n+ go ahead\r\n{10+}\r\n")
	text("only IMAP commands", "a1 DELETE INBOX\r\na2 LOGOUT\r\n")
	text("ends like a literal", header+"\r\nbody {10+}\r\n{3}\r\n")
	text("ends in a backslash and a quote", header+"\r\nbody \\\"")
	text("missing date", "From: a@example.com\r\nSubject: no date\r\n\r\nbody\r\n")
	text("broken date", "From: a@example.com\r\nDate: the day before yesterday\r\n\r\nbody\r\n")
	text("the same header twice", header+header+"\r\nbody\r\n")
	text("broken MIME", header+"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x\r\nno end")
	text("folded to the extreme", "Subject:"+strings.Repeat("\r\n ", 2000)+"x\r\n\r\nbody\r\n")
	add("a header field of 200 KB", func() []byte {
		return []byte("Subject: long\r\nReferences:" + strings.Repeat(" <0123456789abcdef0123456789abcdef@example.com>\r\n", 4000) + "\r\nbody\r\n")
	})
	add("a header line of 100 KB", func() []byte {
		return []byte("X-Long: " + strings.Repeat("x", 100<<10) + "\r\n" + header + "\r\nbody\r\n")
	})
	add("10,000 header fields", func() []byte {
		return []byte(strings.Repeat("X-Spam: no\r\n", 10_000) + header + "\r\nbody\r\n")
	})
	add("a line of 1 MB", func() []byte {
		return append([]byte(header+"\r\n"), append(bytes.Repeat([]byte("0123456789abcdef"), 1<<16), "\r\n"...)...)
	})
	add("500 levels of parts", func() []byte {
		var b strings.Builder
		b.WriteString(header)
		for range 500 {
			b.WriteString("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n")
		}
		b.WriteString("\r\nbody\r\n")
		return []byte(b.String())
	})
	return all
}

func everyOctet() string {
	b := make([]byte, 0, 256)
	for c := 1; c < 256; c++ {
		if c != '\r' && c != '\n' {
			b = append(b, byte(c))
		}
	}
	return string(b) + "\r\n"
}

// Large returns a message of exactly size octets (at least 1 KB), which are
// made when they are asked for.
func Large(size int) Message {
	date := time.Date(2021, 3, 4, 5, 6, 7, 0, time.FixedZone("", -5*3600))
	return Message{
		Name: "large", Date: date,
		body: func() []byte {
			c := composer{rand: rand.New(rand.NewPCG(uint64(size), 1)), id: uint64(size), date: date, size: size}
			c.b = make([]byte, 0, size+4096)
			c.header()
			c.textRand = c.rand
			c.line("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n")
			c.base64(size)
			return append(c.b[:size-2], '\r', '\n')
		},
	}
}
