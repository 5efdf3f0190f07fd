// How the laboratories use the package.

package checkpointtest_test

import (
	"context"
	"fmt"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/checkpoint/checkpointtest"
)

// Run the work once to count its commits, then let the process die in each of
// them, before and after it took effect, and look at what the next one finds.
func ExampleCrashAtCommit() {
	ctx := context.Background()
	open := func(s checkpoint.Store) *checkpoint.MailboxLedger {
		ledger, err := checkpoint.OpenLedger(ctx, s, checkpoint.Pair{})
		if err != nil {
			panic(err)
		}
		inbox, err := ledger.Mailbox(ctx, "INBOX")
		if err != nil {
			panic(err)
		}
		return inbox
	}
	work := func(s checkpoint.Store) error {
		inbox := open(s)
		for uid := range mailhaul.UID(3) {
			if err := inbox.Put(ctx, checkpoint.Record{Source: uid + 1, Target: uid + 1}); err != nil {
				return err
			}
			if err := inbox.Commit(ctx); err != nil {
				return err
			}
		}
		return nil
	}

	counted := checkpointtest.NewFaulty(checkpoint.NewMemory(), nil)
	if err := work(counted); err != nil {
		panic(err)
	}
	for n := 1; n <= counted.Commits(); n++ {
		for _, after := range []bool{false, true} {
			disk := checkpoint.NewMemory()
			err := work(checkpointtest.NewFaulty(disk, checkpointtest.CrashAtCommit(n, after)))
			left, _, _ := open(disk).Sets(ctx)
			fmt.Printf("%v: %q is left\n", err, left.String())
		}
	}
	// Output:
	// Commit, call 6: crashed on purpose: "" is left
	// Commit, call 6: crashed on purpose: "1" is left
	// Commit, call 7: crashed on purpose: "1" is left
	// Commit, call 7: crashed on purpose: "1:2" is left
	// Commit, call 8: crashed on purpose: "1:2" is left
	// Commit, call 8: crashed on purpose: "1:3" is left
}

// Every state that a checkpoint ever had can be had again.
func ExampleHistory() {
	ctx := context.Background()
	h := checkpointtest.NewHistory(nil)
	for i := range 3 {
		if err := h.Commit(ctx, []checkpoint.Op{{Key: []byte("n"), Value: fmt.Append(nil, i)}}); err != nil {
			panic(err)
		}
	}
	for n := 1; n <= h.Commits(); n++ {
		value, _ := h.At(n).Get(ctx, []byte("n"))
		fmt.Println("after commit", n, "it was", string(value))
	}
	// Output:
	// after commit 1 it was 0
	// after commit 2 it was 1
	// after commit 3 it was 2
}
