// A message, as a test sees it and as a mailbox keeps it.

package imapserver

import (
	"time"

	"github.com/mailhaul/mailhaul"
)

// Message is one message of a mailbox.
type Message struct {
	UID    mailhaul.UID // 0 in Add: the next one
	Flags  []mailhaul.Flag
	Date   time.Time // INTERNALDATE, to the second; the zero Time in Add: now
	Body   []byte    // shared, never written to by the server
	ModSeq mailhaul.ModSeq
}

// message is what a mailbox keeps of one: 56 octets and the shared body.
type message struct {
	body   []byte
	flags  *flagList
	modseq uint64
	date   int64 // seconds since 1970
	uid    uint32
	zone   int16 // minutes east of Greenwich, in which the date is written
}

func (m *message) setDate(t time.Time) {
	m.date = t.Unix()
	_, seconds := t.Zone()
	if m.zone = 0; seconds%60 == 0 && -24*3600 < seconds && seconds < 24*3600 {
		m.zone = int16(seconds / 60)
	}
}

// time returns the date in its zone. It allocates in zones other than UTC.
func (m *message) time() time.Time {
	t := time.Unix(m.date, 0)
	if m.zone == 0 {
		return t.UTC()
	}
	return t.In(time.FixedZone("", int(m.zone)*60))
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// appendDate appends the date as RFC 9051 writes it: "02-Jan-2006 15:04:05 -0700"
// in quotes. It does not allocate.
func (m *message) appendDate(b []byte) []byte {
	zone := int(m.zone)
	t := time.Unix(m.date+int64(zone)*60, 0).UTC()
	two := func(n int) { b = append(b, byte('0'+n/10), byte('0'+n%10)) }
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(b, '"')
	two(day)
	b = append(b, '-')
	b = append(b, months[3*int(month)-3:3*int(month)]...)
	b = append(b, '-')
	two(year / 100 % 100)
	two(year % 100)
	b = append(b, ' ')
	two(hour)
	b = append(b, ':')
	two(minute)
	b = append(b, ':')
	two(second)
	if zone < 0 {
		b = append(b, " -"...)
		zone = -zone
	} else {
		b = append(b, " +"...)
	}
	two(zone / 60)
	two(zone % 60)
	return append(b, '"')
}

func (m *message) public() Message {
	return Message{
		UID:    mailhaul.UID(m.uid),
		Flags:  append([]mailhaul.Flag(nil), m.flags.flags...),
		Date:   m.time(),
		Body:   m.body,
		ModSeq: mailhaul.ModSeq(m.modseq),
	}
}
