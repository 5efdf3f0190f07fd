package sync_test

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul/internal/memmail"
	mailsync "github.com/mailhaul/mailhaul/sync"
)

// Two passes over the same account: the second finds nothing to do. The
// endpoints here are accounts in memory; a program uses those of package imapx.
func Example() {
	from, to := memmail.New("ann"), memmail.New("ann-new")
	from.Add("INBOX", "Message-ID: <1@example.org>\r\nSubject: hello\r\n\r\nHello!\r\n")
	from.Add("Work/2026", "Message-ID: <2@example.org>\r\nSubject: report\r\n\r\nDone.\r\n")

	s, err := mailsync.New(mailsync.Config{Source: from, Target: to})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		res, err := s.Run(context.Background())
		if err != nil {
			fmt.Println(err) // one sentence: what stopped it, and what to do
			return
		}
		fmt.Println("copied", res.Copied, "skipped", res.Skipped, "complete", res.Complete())
	}
	// Output:
	// copied 2 skipped 0 complete true
	// copied 0 skipped 2 complete true
}

// Failures are listed, message by message; the hook hears of each as it
// happens.
func ExampleConfig_onFailure() {
	from, to := memmail.New("ann"), memmail.New("ann-new")
	from.Add("INBOX", "Subject: hello\r\n\r\nHello!\r\n")
	s, err := mailsync.New(mailsync.Config{
		Source: from, Target: to,
		OnFailure: func(f mailsync.Failure) { fmt.Println(f.Mailbox, f.UID, f.Reason) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := s.Run(context.Background())
	fmt.Println(res.Copied, len(res.Failed), err)
	// Output: 1 0 <nil>
}
