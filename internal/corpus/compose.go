// What a message looks like: header, parts, attachments.

package corpus

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"mime"
	"time"
)

// composer writes one message.
type composer struct {
	rand      *rand.Rand
	textRand  *rand.Rand // for the text where it is not to follow from rand
	id        uint64
	date      time.Time
	size      int
	list      bool
	draft     bool
	sent      bool
	anonymous bool // without a Message-ID

	b []byte
}

func (c *composer) compose() []byte {
	c.b = make([]byte, 0, c.size+2048)
	c.header()
	if c.textRand == nil {
		c.textRand = c.rand
	}
	const smallest = 64
	switch rest := max(c.size-len(c.b), smallest); {
	case rest > 48<<10 || rest > 8<<10 && c.rand.IntN(3) == 0:
		c.mixed(rest)
	case c.rand.IntN(100) < 45:
		c.alternative(rest)
	default:
		c.line("Content-Type: text/plain; charset=utf-8")
		c.line("Content-Transfer-Encoding: 8bit")
		c.line("")
		c.text(rest)
	}
	return c.b
}

func (c *composer) line(format string, args ...any) {
	c.b = fmt.Appendf(c.b, format, args...)
	c.b = append(c.b, '\r', '\n')
}

func (c *composer) header() {
	r := c.rand
	from, to := pick(r, people), pick(r, people)
	if !c.draft && !c.sent {
		c.line("Return-Path: <%s>", from.address)
		for hop := range 1 + r.IntN(4) {
			c.line("Received: from mx%d.%s ([192.0.2.%d])\r\n\tby mail%d.example.net with ESMTPS id %012x\r\n\tfor <%s>; %s",
				hop, pick(r, domains), 1+r.IntN(250), r.IntN(10), r.Uint64()>>16, to.address, rfc822(c.date.Add(-time.Duration(hop)*time.Second)))
		}
		if r.IntN(2) == 0 {
			c.line("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=%s; s=s1;\r\n\th=from:to:subject:date; bh=%s;\r\n\tb=%s",
				pick(r, domains), noise(r, 32), noise(r, 96))
		}
	}
	c.line("From: %s", from)
	c.line("To: %s", to)
	for range r.IntN(3) {
		c.line("Cc: %s", pick(r, people))
	}
	c.line("Subject: %s", c.subject())
	c.line("Date: %s", rfc822(c.date.Add(-time.Duration(r.IntN(90))*time.Second)))
	if !c.anonymous {
		c.line("Message-ID: <%x.%016x@%s>", c.id, r.Uint64(), pick(r, domains))
	}
	if r.IntN(3) == 0 {
		c.line("In-Reply-To: <%016x@%s>", r.Uint64(), pick(r, domains))
	}
	if c.list {
		c.line("List-Id: <golang-nuts.googlegroups.example>")
		c.line("Precedence: list")
	}
	c.line("User-Agent: %s", pick(r, agents))
	c.line("MIME-Version: 1.0")
}

func (c *composer) subject() string {
	r := c.rand
	s := ""
	if r.IntN(3) == 0 {
		s = "Re: "
	}
	for i := range 2 + r.IntN(6) {
		if i > 0 {
			s += " "
		}
		s += pick(r, words)
	}
	switch r.IntN(10) {
	case 0, 1:
		return mime.QEncoding.Encode("utf-8", s+" für Grüße")
	case 2:
		return mime.BEncoding.Encode("utf-8", "会議の件 "+s)
	case 3:
		return mime.QEncoding.Encode("iso-8859-1", "Re: "+"caf\xe9 "+s)
	}
	return s
}

// alternative writes a text and the same in HTML.
func (c *composer) alternative(size int) {
	boundary := noise(c.rand, 24)
	c.line("Content-Type: multipart/alternative; boundary=%q", boundary)
	c.line("")
	c.line("--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", boundary)
	c.text(size / 3)
	c.line("--%s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", boundary)
	c.line("<html><body><p>")
	c.text(size - size/3)
	c.line("</p></body></html>")
	c.line("--%s--", boundary)
}

// mixed writes a text and attachments.
func (c *composer) mixed(size int) {
	boundary := noise(c.rand, 24)
	c.line("Content-Type: multipart/mixed;\r\n boundary=%q", boundary)
	c.line("")
	c.line("This is a multi-part message in MIME format.")
	c.line("--%s\r\nContent-Type: text/plain; charset=utf-8; format=flowed\r\nContent-Transfer-Encoding: 8bit\r\n", boundary)
	c.text(min(size/8, 4<<10))
	n := 1 + c.rand.IntN(3)
	for i := range n {
		kind := pick(c.rand, attachments)
		c.line("--%s\r\nContent-Type: %s; name=\"%s-%d.%s\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n",
			boundary, kind.mime, pick(c.rand, words), i, kind.extension)
		c.base64(size * 7 / 8 / n)
	}
	c.line("--%s--", boundary)
}

// text writes lines of words, about size octets in all.
func (c *composer) text(size int) {
	end := len(c.b) + size
	for column := 0; len(c.b) < end; {
		w := words[c.textRand.Uint32()%uint32(len(words))]
		c.b = append(c.b, w...)
		if column += len(w) + 1; column > 68 {
			c.b = append(c.b, '\r', '\n')
			column = 0
		} else {
			c.b = append(c.b, ' ')
		}
	}
	c.b = append(c.b, '\r', '\n')
}

// base64 writes random octets in lines of 76 characters, about size in all.
func (c *composer) base64(size int) {
	var raw [57]byte
	for lines := max(size/78, 1); lines > 0; lines-- {
		for i := 0; i < len(raw); i += 8 {
			var u [8]byte
			binary.LittleEndian.PutUint64(u[:], c.textRand.Uint64())
			copy(raw[i:], u[:])
		}
		c.b = base64.StdEncoding.AppendEncode(c.b, raw[:])
		c.b = append(c.b, '\r', '\n')
	}
}

func rfc822(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// noise returns n characters that mean nothing.
func noise(r *rand.Rand, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}
