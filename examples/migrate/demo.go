package main

// The demonstration: two mail servers inside this process, and mail that moves
// from one to the other. This is the only file that imports what only mailhaul
// can import; without it the program is a user's own.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mailhaul/mailhaul"
	"github.com/mailhaul/mailhaul/checkpoint"
	"github.com/mailhaul/mailhaul/internal/corpus"
	"github.com/mailhaul/mailhaul/internal/imapserver"
)

// This is a program, and the hook lets it live without this file.
func init() { demo = demonstrate }

const demoIntro = `No accounts were named, so this is a demonstration (migrate -h has the real
thing). It starts two mail servers inside this process, moves the mail of Ada from
the old one to the new one, does it again to show that nothing is left to do, and
compares the two. Nothing leaves this machine, and nothing is written to its disks.

`

const demoProof = `The proof: both servers were compared behind the program's back. %s of %s
are the same, octet by octet, with their flags and dates. The folders for sent mail
and trash were on the new server already, under other names:

%s
`

const demoOutro = `
To move a real account, put the two passwords into the environment, where other
users of this machine do not see them, and look before you leap:

  export MAILHAUL_FROM_PASSWORD=… MAILHAUL_TO_PASSWORD=…
  migrate -from imaps://ada@old.example.org -to imaps://ada@new.example.org -dry-run
  migrate -from imaps://ada@old.example.org -to imaps://ada@new.example.org

From the source code, "go run ./examples/migrate" stands for "migrate". The second
command can be repeated at any time: it moves what has come since.
`

// demonstrate shows what a migration is. The story goes to standard error, the
// report of the first pass to standard output.
func demonstrate(ctx context.Context, sys system, opt *options) int {
	tell := func(format string, args ...any) { fmt.Fprintf(sys.stderr, format, args...) }

	oldNaming := mailhaul.Naming{Prefix: "INBOX.", Delimiter: "."}
	newNaming := mailhaul.Naming{Delimiter: "/"}
	oldServer := imapserver.New(imapserver.Options{Prefix: oldNaming.Prefix, Delimiter: oldNaming.Delimiter})
	defer oldServer.Close()
	newServer := imapserver.New(imapserver.Options{Delimiter: newNaming.Delimiter})
	defer newServer.Close()
	opt.from = demoAccount(oldServer, "old.localhost")
	opt.to = demoAccount(newServer, "new.localhost")
	source, target := oldServer.User("ada"), newServer.User("ada")
	fillDemo(source, oldNaming)
	// A new account is rarely empty: it has folders of its own for some purposes.
	target.Create("Sent Items", string(mailhaul.RoleSent))
	target.Create("Deleted Items", string(mailhaul.RoleTrash))

	tell(demoIntro)
	tell("On the old server folders are named INBOX.Like.This, on the new one Like/This.\nAda has, on the old one:\n\n")
	var rows [][]string
	total := 0
	for _, box := range source.Mailboxes() {
		rows = append(rows, []string{box.Name(), number(box.Len(), "message"), strings.Join(box.Attrs(), " ")})
		total += box.Len()
	}
	tell("%s\n", listing(rows))

	store := checkpoint.NewMemory()
	defer store.Close()
	if opt.dryRun {
		tell("What would be done:\n\n")
		return migrate(ctx, sys, opt, store)
	}

	tell("First pass: everything is moved.\n\n")
	first, err := pass(ctx, sys, opt, store)
	if err != nil {
		return report(sys, opt, first, err)
	}
	tell("\n%s copied in %s.\n\n", number(first.Copied, "message"), elapsed(first.Seconds))

	tell("Second pass: the same once more, as one would run it on the next day.\n\n")
	second, err := pass(ctx, sys, opt, store)
	if err != nil {
		return report(sys, opt, second, err)
	}
	tell("\n%s copied: all %s were known, which took %s of the network.\n\n",
		number(second.Copied, "message"), count(second.Skipped), number(int(second.RoundTrips), "round trip"))

	same, where := compareDemo(source, target, oldNaming, newNaming)
	tell(demoProof, count(same), number(total, "message"), listing(where))

	tell("The report of the first pass, as every run prints it:\n\n")
	status := report(sys, opt, first, nil)
	tell(demoOutro)
	if same != total || second.Copied > 0 {
		tell("\nmigrate: the demonstration failed: the two servers do not hold the same mail; please report it\n")
		return max(status, exitIncomplete)
	}
	return status
}

// demoAccount makes Ada's account, and says how to reach it: by a connection in
// memory.
func demoAccount(server *imapserver.Server, host string) mailhaul.Server {
	const user, password = "ada", "correct horse"
	server.AddUser(user, password)
	return mailhaul.Server{
		Host: host, User: user, Security: mailhaul.Plaintext, Dial: server.Dial,
		Credentials: func(context.Context) (mailhaul.Secret, error) { return mailhaul.NewSecret(password), nil },
	}
}

// fillDemo gives the account sample mail, the same each time.
func fillDemo(u *imapserver.User, naming mailhaul.Naming) {
	for _, box := range corpus.Generate(corpus.Spec{Seed: 1, Messages: 60, MedianSize: 2000, MaxSize: 30_000}) {
		name := naming.Join(box.Path)
		var attrs []string
		if box.Role != mailhaul.RoleNone && box.Role != mailhaul.RoleInbox {
			attrs = append(attrs, string(box.Role))
		}
		mailbox := u.Create(name, attrs...)
		if box.Subscribed {
			u.Subscribe(name)
		}
		for _, m := range box.All() {
			mailbox.Add(imapserver.Message{Flags: m.Flags, Date: m.Date, Body: m.Body()})
		}
	}
}

// compareDemo counts the messages that are the same on both servers, in the
// same order, and says which folder became which.
func compareDemo(source, target *imapserver.User, from, to mailhaul.Naming) (same int, where [][]string) {
	for _, box := range source.Mailboxes() {
		twin := target.Mailbox(to.Join(from.Split(box.Name())))
		for _, role := range box.Attrs() { // or the one for the same purpose
			for _, other := range target.Mailboxes() {
				if slices.Contains(other.Attrs(), role) {
					twin = other
				}
			}
		}
		if twin == nil {
			continue
		}
		n := 0
		there := twin.Messages()
		for i, m := range box.Messages() {
			if i < len(there) && sameMessage(m, there[i]) {
				n++
			}
		}
		same += n
		where = append(where, []string{box.Name(), "->", twin.Name(), count(n)})
	}
	return same, where
}

func sameMessage(a, b imapserver.Message) bool {
	flagsA, _ := mailhaul.NormalizeFlags(a.Flags)
	flagsB, _ := mailhaul.NormalizeFlags(b.Flags)
	return bytes.Equal(a.Body, b.Body) && slices.EqualFunc(flagsA, flagsB, mailhaul.Flag.Equal) &&
		a.Date.Truncate(time.Second).Equal(b.Date.Truncate(time.Second))
}

// listing aligns rows, and indents them.
func listing(rows [][]string) string {
	var b strings.Builder
	var wide []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], columns(cell))
		}
	}
	for _, row := range rows {
		line := "  "
		for i, cell := range row {
			line += cell + strings.Repeat(" ", wide[i]-columns(cell)+2)
		}
		_, _ = io.WriteString(&b, strings.TrimRight(line, " ")+"\n")
	}
	return b.String()
}
