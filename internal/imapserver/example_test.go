// The package in a few lines.

package imapserver_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

func Example() {
	s := imapserver.New(imapserver.Options{Caps: imapserver.Without("MULTIAPPEND")})
	defer func() { _ = s.Close() }()
	u := s.AddUser("alice", "secret")
	u.Create("Sent", `\Sent`).Add(imapserver.Message{
		Flags: []mailhaul.Flag{mailhaul.FlagSeen},
		Date:  time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC),
		Body:  []byte("Subject: hi\r\n\r\nhi\r\n"),
	})

	c, err := s.Dial(context.Background(), "tcp", "imap.example:143") // or dial what s.Listen returns
	if err != nil {
		panic(err)
	}
	fmt.Fprint(c, "a LOGIN alice secret\r\nb STATUS Sent (MESSAGES UIDNEXT)\r\nc LOGOUT\r\n")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if l := lines.Text(); len(l) > 8 && l[2:8] == "STATUS" {
			fmt.Println(l)
		}
	}
	// Output:
	// * STATUS "Sent" (MESSAGES 1 UIDNEXT 2)
}

// A server that stores the message, and is cut off in the middle of saying so.
func ExampleHooks() {
	s := imapserver.New(imapserver.Options{Hooks: imapserver.Hooks{
		Response: func(_ *imapserver.Session, command, tag string, response []byte) imapserver.Action {
			if command == "APPEND" && bytes.HasPrefix(response, []byte(tag+" OK")) {
				return imapserver.Action{End: imapserver.Reset, After: 5}
			}
			return imapserver.Action{}
		},
	}})
	defer func() { _ = s.Close() }()
	u := s.AddUser("alice", "secret")
	c, err := s.Dial(context.Background(), "tcp", "")
	if err != nil {
		panic(err)
	}
	fmt.Fprint(c, "a LOGIN alice secret\r\ntag APPEND INBOX {5+}\r\nhello\r\n")
	lines := bufio.NewReader(c)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			fmt.Printf("%q, then the connection is gone\n", line)
			break
		}
	}
	fmt.Println(u.Mailbox("INBOX").Len(), "message")
	// Output:
	// "tag O", then the connection is gone
	// 1 message
}
