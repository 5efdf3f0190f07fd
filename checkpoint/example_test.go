// Examples of use.

package checkpoint_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "mailhaul.db")
	accounts := checkpoint.Pair{
		From: mailhaul.Server{Host: "old.example", User: "anna"}.Account(),
		To:   mailhaul.Server{Host: "new.example", User: "anna@new.example"}.Account(),
	}

	// The first run journals a batch of three messages, hears that two of them
	// are stored, and is killed.
	run := func(work func(inbox *checkpoint.MailboxLedger) error) {
		store, err := checkpoint.Open(path, nil)
		if err != nil {
			log.Fatal(err)
		}
		defer store.Close()
		ledger, err := checkpoint.OpenLedger(ctx, store, accounts)
		if err != nil {
			log.Fatal(err)
		}
		inbox, err := ledger.Mailbox(ctx, "INBOX")
		if err != nil {
			log.Fatal(err)
		}
		if err := work(inbox); err != nil {
			log.Fatal(err)
		}
	}
	run(func(inbox *checkpoint.MailboxLedger) error {
		inbox.SetState(checkpoint.MailboxState{Target: "INBOX", SourceValidity: 1, TargetValidity: 1700000000})
		inbox.Begin(checkpoint.Intent{Validity: 1700000000, Watermark: 101, Sources: mailhaul.UIDSetOf(1, 2, 5)})
		if err := inbox.Commit(ctx); err != nil {
			return err
		}
		if err := inbox.Put(ctx,
			checkpoint.Record{Source: 1, Target: 101, Base: []mailhaul.Flag{mailhaul.FlagSeen}},
			checkpoint.Record{Source: 2, Target: 102},
		); err != nil {
			return err
		}
		return inbox.Commit(ctx)
	})

	// The second one knows what is there and where to look for the rest.
	run(func(inbox *checkpoint.MailboxLedger) error {
		for r, err := range inbox.Records(ctx, 0) {
			if err != nil {
				return err
			}
			fmt.Println("source UID", r.Source, "is target UID", r.Target, r.Base)
		}
		moved, _, err := inbox.Sets(ctx)
		if err != nil {
			return err
		}
		for _, intent := range inbox.Intents() {
			fmt.Println("unknown:", intent.Sources.Minus(moved), "may be at target UID", intent.Watermark, "or above")
		}
		return nil
	})
	// Output:
	// source UID 1 is target UID 101 [\Seen]
	// source UID 2 is target UID 102 []
	// unknown: 5 may be at target UID 101 or above
}

// A file that is in use says so; the other errors of Open read likewise.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "holiday.txt")
	if err := os.WriteFile(path, []byte("sun, sea\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	_, err = checkpoint.Open(path, nil)
	fmt.Println(err.(*mailhaul.Error).Err)
	fmt.Println(err.(*mailhaul.Error).Hint)
	// Output:
	// it is not a checkpoint of mailhaul
	// use another -state file
}
