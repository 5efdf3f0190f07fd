package uidmap_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/uidmap"
)

// A mailbox of the source, and what another tool made of it: it added a line
// to one header and left out the last message.
func Example() {
	source := map[mailhaul.UID]string{
		101: "Message-ID: <1@example.org>\r\nSubject: Hello\r\n\r\nHello!\r\n",
		102: "Message-ID: <2@example.org>\r\nSubject: Lunch\r\n\r\nAt one?\r\n",
		103: "Message-ID: <3@example.org>\r\nSubject: Thanks\r\n\r\nThanks.\r\n",
	}
	target := map[mailhaul.UID]string{
		1: source[101],
		2: "X-Imported: yes\r\n" + source[102],
	}

	m := uidmap.Match(list(source), list(target))
	for _, p := range m.Pairs() {
		fmt.Printf("%d is on the target as %d: %s\n", p.Source, p.Target, p.Basis)
	}
	s, t := m.Undecided()
	fmt.Printf("to be read: %s there, %s here\n", s, t)
	for _, p := range m.Resolve(read(source, s), read(target, t)) {
		fmt.Printf("%d is on the target as %d: %s (altered: %v)\n", p.Source, p.Target, p.Basis, p.Basis.Altered())
	}
	// Output:
	// 101 is on the target as 1: same Message-ID, key and size
	// to be read: 102 there, 2 here
	// 102 is on the target as 2: same key and text, other octets (altered: true)
}

// The connection died when a batch of three had been sent. The mailbox's
// UIDNEXT had been 500, so the copies, if any, are at or above it.
func Example_settle() {
	batch := map[mailhaul.UID]string{ // numbered by their place in the batch
		1: "Message-ID: <1@example.org>\r\n\r\nHello!\r\n",
		2: "Message-ID: <2@example.org>\r\n\r\nAt one?\r\n",
		3: "Message-ID: <3@example.org>\r\n\r\nThanks.\r\n",
	}
	aboveWatermark := map[mailhaul.UID]string{
		500: "Message-ID: <new@example.org>\r\n\r\nThis one was delivered.\r\n",
		501: batch[1],
		502: batch[2],
	}

	m := uidmap.Match(list(batch), list(aboveWatermark))
	stored := map[mailhaul.UID]mailhaul.UID{}
	for _, p := range m.Pairs() {
		stored[p.Source] = p.Target
	}
	for i := mailhaul.UID(1); i <= 3; i++ {
		if uid, ok := stored[i]; ok {
			fmt.Println(i, "was stored as", uid)
		} else {
			fmt.Println(i, "is to be sent again")
		}
	}
	// Output:
	// 1 was stored as 501
	// 2 was stored as 502
	// 3 is to be sent again
}

// list is what a server's listing tells of messages.
func list(messages map[mailhaul.UID]string) []uidmap.Candidate {
	var out []uidmap.Candidate
	for uid, text := range messages {
		c := uidmap.Candidate{UID: uid, Size: int64(len(text))}
		c.Key, c.HasID = uidmap.KeyOf([]byte(text))
		out = append(out, c)
	}
	return out
}

// read fetches the bodies of the set and digests them as they stream by.
func read(messages map[mailhaul.UID]string, set mailhaul.UIDSet) map[mailhaul.UID]uidmap.Digest {
	out := map[mailhaul.UID]uidmap.Digest{}
	for uid := range set.All() {
		d := uidmap.NewDigester()
		io.Copy(d, strings.NewReader(messages[uid]))
		out[uid] = d.Sum()
	}
	return out
}
